"""Features of the frozen encoder: computed once a run, and kept in its folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from biascon.config.augmentation import Augmentation
from biascon.data.dataset import Split
from biascon.models.encoders import Encoder
from biascon.models.features import extract_features
from biascon.runs.checkpoint import damaged_file_error
from biascon.runs.folder import FEATURES
from biascon.training.augment import augment
from biascon.utils.files import write_atomic
from biascon.utils.seeds import torch_generator
from biascon.utils.types import Array

FILES = dict(zip(("train", "val", "test"), FEATURES, strict=True))
KEPT = 1 << 30  # bytes of a split's features that are kept at most


def two_view_features(
    encoder: Encoder, images: Array, recipe: Augmentation, *, seed: int, device: torch.device
) -> tuple[Array, Array]:
    """Return the features of two augmented views of every image, each float32 ``(N, D)``.

    Args:
        encoder: On ``device``.
        images: uint8 ``(N, 3, H, W)``.
        recipe: What a view is.
        seed: Of the views, which have a generator of their own.
        device: Where to compute.

    Raises:
        RunError: A feature is not finite.
    """
    first, second = (
        extract_features(
            encoder,
            images,
            device=device,
            prepare=partial(
                augment,
                recipe=recipe,
                generator=torch_generator(seed, f"views/test/{view}", device),
                views=1,
            ),
        )
        for view in (0, 1)
    )
    return first, second


def cached_features(
    folder: Path, part: str, split: Split, encoder: Encoder, *, device: torch.device
) -> Array:
    """Return float32 ``(N, D)``: the features of a split, from the run's folder or computed and kept there.

    Args:
        folder: Of a run that is trained, and locked.
        part: ``"train"``, ``"val"`` or ``"test"``.
        split: Its images.
        encoder: The run's, on ``device``.
        device: Where to compute.

    Raises:
        RunError: A feature is not finite, or the file in the folder is damaged.
        BiasconError: The folder is not writable, or the disk is full.
    """
    path = folder / FILES[part]
    if path.is_file():
        try:
            found = load_file(path)["features"]
        except (SafetensorError, KeyError, OSError) as error:
            raise damaged_file_error(path) from error
        if found.shape != (len(split), encoder.dim) or found.dtype != np.float32:
            raise damaged_file_error(path)
        return found
    found = extract_features(encoder, split.images, device=device)
    if found.nbytes <= KEPT:
        write_atomic(path, save({"features": found}))
    return found
