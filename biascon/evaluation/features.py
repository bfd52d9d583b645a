"""Features of the frozen encoder: computed once in a run, and cached in the run folder."""

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

FEATURE_FILES = dict(zip(("train", "val", "test"), FEATURES, strict=True))
MAX_CACHED_BYTES = 1 << 30  # features of a split that are larger are not written


def two_view_features(
    encoder: Encoder, images: Array, augmentation: Augmentation, *, seed: int, device: torch.device
) -> tuple[Array, Array]:
    """Return the features of two augmented views of every image, each float32 ``(N, D)``.

    Args:
        encoder: The encoder, on ``device``.
        images: uint8 ``(N, 3, H, W)``.
        augmentation: The distribution of a view.
        seed: The seed of the views, which have their own generator.
        device: The device to compute on.

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
                augmentation=augmentation,
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
    """Return float32 ``(N, D)``: the features of a split, from the run folder or computed and cached there.

    Args:
        folder: The run folder, locked.
        part: The name of the split: ``"train"``, ``"val"`` or ``"test"``.
        split: The split.
        encoder: The trained encoder of the run, on ``device``.
        device: The device to compute on.

    Raises:
        RunError: A feature is not finite, or the file in the folder is damaged.
        BiasconError: The folder is not writable, or the disk is full.
    """
    path = folder / FEATURE_FILES[part]
    if path.is_file():
        try:
            features: Array = load_file(path)["features"]
        except (SafetensorError, KeyError, OSError) as error:
            raise damaged_file_error(path) from error
        if features.shape != (len(split), encoder.dim) or features.dtype != np.float32:
            raise damaged_file_error(path)
        return features
    features = extract_features(encoder, split.images, device=device)
    if features.nbytes <= MAX_CACHED_BYTES:
        write_atomic(path, save({"features": features}))
    return features
