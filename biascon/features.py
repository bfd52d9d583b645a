"""Features of the frozen encoder: computed once a run, and kept in its folder."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import Tensor

from biascon import runs
from biascon.augment import augment, normalise
from biascon.checkpoint import damaged
from biascon.data.dataset import Split
from biascon.data.mapped import release
from biascon.encoders import Encoder
from biascon.errors import RunError
from biascon.files import write_atomic
from biascon.recipe import Recipe
from biascon.seeds import torch_generator

Array = npt.NDArray[Any]
FILES = dict(zip(("train", "val", "test"), runs.FEATURES, strict=True))
KEPT = 1 << 30  # bytes of a split's features that are kept at most


PIXELS = 784_000  # of the images that are encoded at a time: 1,000 of 28 x 28


def extract(
    encoder: Encoder,
    images: Array,
    *,
    device: torch.device,
    prepare: Callable[[Tensor], Tensor] = normalise,
    batch_size: int | None = None,
) -> Array:
    """Return float32 ``(N, D)``: the encoder's features of un-augmented images, in evaluation mode.

    Args:
        encoder: On ``device``.
        images: uint8 ``(N, 3, H, W)``.
        device: Where to compute.
        prepare: Makes uint8 images what the network takes; called on block after block of them, in order.
        batch_size: Images at a time; by default fewer of larger ones.

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
            release(images)
    encoder.train(training)
    if not bool(features.isfinite().all()):
        raise RunError("the encoder gives features that are not finite; its training diverged")
    found: Array = features.numpy()
    return found


def of_two_views(
    encoder: Encoder, images: Array, recipe: Recipe, *, seed: int, device: torch.device
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
        extract(
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
