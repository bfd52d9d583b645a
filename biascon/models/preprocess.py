"""Normalize uint8 images for an encoder."""

from __future__ import annotations

import torch
from torch import Tensor

from biascon.errors import UsageError

MEAN, STD = 0.5, 0.5  # of pixel values in [0, 1], the same for every image and channel


def normalize(images: Tensor) -> Tensor:
    """Map uint8 ``(N, 3, H, W)`` to float32 in [-1, 1], channels-last: (x / 255 - 0.5) / 0.5."""
    check_images(images)
    scaled = images.to(torch.float32).mul_(1 / (255 * STD)).sub_(MEAN / STD)
    return scaled.contiguous(memory_format=torch.channels_last)


def check_images(images: Tensor) -> None:
    """Refuse images that are not uint8 ``(N, 3, H, W)``.

    Raises:
        UsageError: Another shape or dtype.
    """
    fits = images.ndim == 4 and images.shape[1] == 3 and 0 not in images.shape[2:]
    if not fits or images.dtype != torch.uint8:
        got = f"{images.dtype} {tuple(images.shape)}"
        raise UsageError(f"expected images as uint8 of shape (N, 3, H, W), but got {got}")
