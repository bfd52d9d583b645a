"""Features of the frozen encoder: computed once a run, and kept in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from biascon import runs
from biascon.augment import normalise
from biascon.checkpoint import damaged
from biascon.data.dataset import Split
from biascon.data.mapped import release
from biascon.encoders import Encoder
from biascon.errors import RunError
from biascon.files import write_atomic

Array = npt.NDArray[Any]
FILES = dict(zip(("train", "val", "test"), runs.FEATURES, strict=True))
KEPT = 1 << 30  # bytes of a split's features that are kept at most


def extract(
    encoder: Encoder, images: Array, *, device: torch.device, batch_size: int = 1000
) -> Array:
    """Return float32 ``(N, D)``: the encoder's features of un-augmented images, in evaluation mode.

    Args:
        encoder: On ``device``.
        images: uint8 ``(N, 3, H, W)``.
        device: Where to compute.
        batch_size: Images at a time.

    Raises:
        RunError: A feature is not finite.
    """
    training = encoder.training
    encoder.eval()
    features = torch.empty(len(images), encoder.dim)
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            rows = slice(start, start + batch_size)
            block = torch.from_numpy(images[rows]).to(device)
            features[rows] = encoder(normalise(block)).float().cpu()
            release(images)
    encoder.train(training)
    if not bool(features.isfinite().all()):
        raise RunError("the encoder gives features that are not finite; its training diverged")
    found: Array = features.numpy()
    return found


def of_run(
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
            raise damaged(path) from error
        if found.shape != (len(split), encoder.dim) or found.dtype != np.float32:
            raise damaged(path)
        return found
    found = extract(encoder, split.images, device=device)
    if found.nbytes <= KEPT:
        write_atomic(path, save({"features": found}))
    return found
