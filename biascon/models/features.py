"""Extract the features of images with a trained encoder."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from biascon.data.memory_map import release_pages
from biascon.errors import RunError
from biascon.models.encoders import Encoder
from biascon.models.preprocess import normalize
from biascon.utils.types import Array

PIXELS = 784_000  # pixels that are encoded at a time: 1,000 images of 28 x 28


def extract_features(
    encoder: Encoder,
    images: Array,
    *,
    device: torch.device,
    prepare: Callable[[Tensor], Tensor] = normalize,
    batch_size: int | None = None,
) -> Array:
    """Return float32 ``(N, D)``: the features of images without augmentation, in evaluation mode.

    Args:
        encoder: The encoder, on ``device``.
        images: uint8 ``(N, 3, H, W)``.
        device: The device of the computation.
        prepare: Maps a block of uint8 images to the input of the encoder. It is called for each block, in
            order.
        batch_size: Images in a block. The default is 1,000 images of 28 x 28 pixels and fewer larger images.

    Raises:
        RunError: A feature is not finite.
    """
    training = encoder.training
    encoder.eval()
    features = torch.empty(len(images), encoder.dim)
    size = batch_size or min(1000, max(1, PIXELS // math.prod(images.shape[2:])))
    with torch.inference_mode():
        for start in range(0, len(images), size):
            rows = slice(start, start + size)
            block = torch.from_numpy(images[rows]).to(device)
            features[rows] = encoder(prepare(block)).float().cpu()
            release_pages(images)
    encoder.train(training)
    if not bool(features.isfinite().all()):
        raise RunError("the encoder gives features that are not finite; its training diverged")
    array: Array = features.numpy()
    return array
