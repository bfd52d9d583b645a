"""Features of the frozen encoder: computed once, cached in the run folder, shared between runs of an encoder.

The features of a split whose float32 numbers take more than 1 GiB are stored as float16. They are computed
block by block into the file, and read from there by memory mapping. The size of the split alone decides this,
so a run always gets the same numbers.

A file states its origin: the SHA-256 of the encoder, the digest of the dataset, the device and the threads.
A run takes the features of a finished run of the same method and seed whose file has the same origin, for
example under another protocol, instead of computing them again: by a hard link, or by a copy where the disk
has no links. A file that differs from the SHA-256 of the finished run is not taken.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from biascon.config.augmentation import Augmentation
from biascon.errors import BiasconError, RunError
from biascon.models.encoders import Encoder
from biascon.models.features import (
    check_finite,
    extract_features,
    fixed_block_size,
    iter_outputs,
)
from biascon.runs.checkpoint import damaged_file_error
from biascon.runs.context import RunContext
from biascon.runs.folder import DONE, ENCODER, FEATURES
from biascon.training.augment import augment
from biascon.utils.files import os_error, read_json, sha256_file, write_atomic
from biascon.utils.seeds import torch_generator
from biascon.utils.types import Array

FEATURE_FILES = dict(zip(("train", "val", "test"), FEATURES, strict=True))
HALF_ABOVE_BYTES = 1 << 30  # float32 features of a split that take more are stored as float16


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
            # The views are drawn block by block: the block must not depend on the free memory.
            batch_size=fixed_block_size(images),
        )
        for view in (0, 1)
    )
    return first, second


def cached_features(context: RunContext, part: str, encoder: Encoder) -> Array:
    """Return the features of a split ``(N, D)``: from the run folder, from another run, or computed.

    They are float32, or memory-mapped float16 where float32 would take more than 1 GiB.

    Args:
        context: The run, its folder locked.
        part: The name of the split: ``"train"``, ``"val"`` or ``"test"``.
        encoder: The trained encoder of the run, on the device of the run.

    Raises:
        RunError: A feature is not finite, or the file in the folder is damaged.
        BiasconError: The folder is not writable, or the disk is full.
    """
    path, split = context.folder / FEATURE_FILES[part], context.data.splits[part]
    shape = (len(split), encoder.dim)
    dtype = feature_dtype(shape)
    if not path.is_file():
        origin = _describe_origin(context)
        if not _take_from_other_run(path, shape, origin):
            return write_features(path, encoder, split.images, dtype, origin, context.device)
    features = _read(path)
    if features.shape != shape or features.dtype not in (dtype, np.float32):
        raise damaged_file_error(path)
    return features


def feature_dtype(shape: tuple[int, int]) -> np.dtype[Any]:
    """Return the dtype that features of a split are stored in: float32, or float16 above 1 GiB."""
    return np.dtype(np.float16 if shape[0] * shape[1] * 4 > HALF_ABOVE_BYTES else np.float32)


def write_features(
    path: Path,
    encoder: Encoder,
    images: Array,
    dtype: np.dtype[Any],
    origin: dict[str, str],
    device: torch.device,
) -> Array:
    """Compute features, write them to a file, complete or not at all, and return them.

    This is the only function that writes features.

    Args:
        path: The file, in a locked folder.
        encoder: The encoder, on ``device``.
        images: uint8 ``(N, 3, H, W)``.
        dtype: float32, which is returned from memory, or float16, which is returned memory-mapped.
        origin: What the file states about itself.
        device: The device to compute on.

    Raises:
        RunError: A feature is not finite.
        BiasconError: The folder is not writable, or the disk is full.
    """
    if dtype == np.float32:
        features = extract_features(encoder, images, device=device)
        write_atomic(path, save({"features": features}, metadata=origin))
        return features
    shape = (len(images), encoder.dim)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(_half_header(shape, origin))
            for _, output in iter_outputs(encoder, images, device=device):
                check_finite(output)
                half = output.half()
                if not bool(half.isfinite().all()):
                    raise RunError("the encoder gives features above 65,504, the largest float16")
                file.write(half.numpy().tobytes())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise os_error(error, "write", path) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return _read(path)


def _half_header(shape: tuple[int, int], origin: dict[str, str]) -> bytes:
    """Return the first bytes of a safetensors file with one float16 array ``features``."""
    entry = {"dtype": "F16", "shape": shape, "data_offsets": (0, 2 * shape[0] * shape[1])}
    header = json.dumps({"__metadata__": origin, "features": entry}).encode()
    header = header.ljust(-(-len(header) // 8) * 8)
    return len(header).to_bytes(8, "little") + header


def _describe_origin(context: RunContext) -> dict[str, str]:
    """Return what features depend on. One entry: safetensors does not keep the order of several."""
    device, encoder = context.device.type, sha256_file(context.folder / ENCODER)
    threads = f"/{context.config.train.threads}" if device == "cpu" else ""
    return {"origin": f"{encoder}/{context.data.digest}/{device}{threads}"}


def _take_from_other_run(path: Path, shape: tuple[int, int], origin: dict[str, str]) -> bool:
    """Link or copy the features of another run of the same encoder on the same dataset, if there is one."""
    seed = path.parent.name.partition("-")[0]
    for candidate in sorted(path.parent.parent.glob(f"{seed}-*/{path.name}")):
        try:
            with safe_open(candidate, framework="np") as file:
                stated, found = file.metadata(), file.get_slice("features").get_shape()
            if stated != origin or tuple(found) != shape:
                continue
            seals = read_json(candidate.with_name(DONE))["files"]
            if seals.get(path.name) != sha256_file(candidate):
                continue
        except (SafetensorError, OSError, BiasconError, KeyError, TypeError, AttributeError):
            continue  # not finished, or damaged: a command on that run reports it
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            try:
                os.link(candidate, temporary)
            except OSError:
                shutil.copyfile(candidate, temporary)
            temporary.replace(path)
        except OSError:
            continue  # the other run may have been deleted in between
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        return True
    return False


def _read(path: Path) -> Array:
    """Return the features of a file; float16 is memory-mapped.

    Raises:
        RunError: The file is damaged.
    """
    try:
        with safe_open(path, framework="np") as file:  # checks the header and every offset
            entry = file.get_slice("features")
            is_half, shape = entry.get_dtype() == "F16", tuple(entry.get_shape())
        if not is_half:
            features: Array = load_file(path)["features"]
            return features
        start = path.stat().st_size - 2 * shape[0] * shape[1]
        return np.memmap(path, np.float16, "c", start, shape)
    except (SafetensorError, KeyError, OSError, ValueError) as error:
        raise damaged_file_error(path) from error
