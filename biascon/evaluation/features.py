"""Features of the frozen encoder: computed once, cached in the run folder, shared between runs of an encoder.

The features of a split whose float32 numbers take more than 1 GiB are stored as float16. They are computed
block by block into the file, and read from there by memory mapping. If a feature is above the largest
float16, the file is float32. The size of the split and the features decide this, not the free memory.

A file states its origin: the SHA-256 of the encoder, the digest of the dataset, the device and the threads.
It also states the SHA-256 of the features, which is compared when an unfinished run goes on.
A run takes the features of a finished run of the same method and seed whose file has the same origin, for
example under another protocol, instead of computing them again: by a hard link, or by a copy where the disk
has no links. A file that differs from the SHA-256 of the finished run is not taken.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
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
from biascon.runs.folder import (
    DONE,
    ENCODER,
    FEATURES,
    read_seal,
    record_artifacts,
    stated_sha256,
    write_artifacts,
)
from biascon.runs.journal import verify
from biascon.runs.seals import changed_error
from biascon.training.augment import augment
from biascon.utils.files import os_error, read_json, sha256_file
from biascon.utils.renaming import sync_folder
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
        DivergedError: A feature is not finite.
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
        RunError: A feature is not finite (``DivergedError``), or the file in the folder is damaged.
        BiasconError: The folder is not writable, or the disk is full.
    """
    path, split = context.folder / FEATURE_FILES[part], context.data.splits[part]
    shape = (len(split), encoder.dim)
    dtype = feature_dtype(shape)
    origin = _describe_origin(context)
    if not path.is_file() and not _take_from_other_run(path, shape, origin):
        return write_features(path, encoder, split.images, dtype, origin, context.device)
    features = _read(path)
    stated, digest = _read_origin(path)
    if _sealed_sha256(path) is not None:
        # A finished run may be of another device, or of a version that stated no origin.
        stated, digest = origin, digest or _hash(features)
    if (stated, digest) != (origin, _hash(features)):
        raise damaged_file_error(path)
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
    origin: str,
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
        DivergedError: A feature is not finite.
        BiasconError: The folder is not writable, or the disk is full.
    """
    if dtype == np.float32:
        features = extract_features(encoder, images, device=device)
        metadata = {_ORIGIN: f"{origin}/{_hash(features)}"}
        write_artifacts(path.parent, {path.name: save({"features": features}, metadata=metadata)})
        return features
    if not _write_blocks(path, encoder, images, "F16", origin, device):
        _write_blocks(path, encoder, images, "F32", origin, device)
    return _read(path)


def _write_blocks(
    path: Path, encoder: Encoder, images: Array, dtype: str, origin: str, device: torch.device
) -> bool:
    """Write features block by block; return False, and write nothing, if the dtype cannot hold one."""
    shape = (len(images), encoder.dim)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    digest = hashlib.sha256()
    try:
        with temporary.open("wb") as file:
            file.write(_header(shape, dtype, f"{origin}/{digest.hexdigest()}"))
            for _, output in iter_outputs(encoder, images, device=device):
                check_finite(output)
                block = output.to(_DTYPES[dtype])
                if not bool(block.isfinite().all()):
                    return False
                content = block.numpy().tobytes()
                digest.update(content)
                file.write(content)
            file.seek(0)
            file.write(_header(shape, dtype, f"{origin}/{digest.hexdigest()}"))
            file.flush()
            os.fsync(file.fileno())
        sha256 = _sha256_of_blocks(temporary, digest.hexdigest())
        if _sealed_sha256(path) not in (None, sha256):
            raise RunError(
                f"{path.parent} is finished, and its features come out differently on this machine; pass "
                "another --runs to compute the run here"
            )
        record_artifacts(path.parent, {path.name: sha256})
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise os_error(error, "write", path) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return True


def _sha256_of_blocks(path: Path, sha256: str) -> str:
    """Return the SHA-256 of a file of features that was just written, whose features have a SHA-256.

    Raises:
        RunError: The disk does not give back the features that were written.
    """
    whole, features = hashlib.sha256(), hashlib.sha256()
    with path.open("rb") as file:
        size = file.read(8)
        header = file.read(int.from_bytes(size, "little"))
        whole.update(size + header)
        while block := file.read(1 << 20):
            whole.update(block)
            features.update(block)
    if features.hexdigest() != sha256:
        raise RunError(
            f"{path.parent} does not hold the features that were written; check the disk"
        )
    return whole.hexdigest()


_ORIGIN = "origin"  # one entry of metadata: safetensors does not keep the order of several
_DTYPES = {"F16": torch.float16, "F32": torch.float32}


def _header(shape: tuple[int, int], dtype: str, origin: str) -> bytes:
    """Return the first bytes of a safetensors file with one array ``features``."""
    size = _DTYPES[dtype].itemsize * shape[0] * shape[1]
    entry = {"dtype": dtype, "shape": shape, "data_offsets": (0, size)}
    header = json.dumps({"__metadata__": {_ORIGIN: origin}, "features": entry}).encode()
    header = header.ljust(-(-len(header) // 8) * 8)
    return len(header).to_bytes(8, "little") + header


def _hash(features: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(features).data).hexdigest()


def _read_origin(path: Path) -> tuple[str, str]:
    """Return the origin that a file of features states, and the SHA-256 of its features."""
    try:
        with safe_open(path, framework="np") as file:
            stated = (file.metadata() or {}).get(_ORIGIN, "")
    except (SafetensorError, OSError) as error:
        raise damaged_file_error(path) from error
    origin, _, digest = stated.rpartition("/")
    return origin, digest


def _describe_origin(context: RunContext) -> str:
    """Return what features depend on."""
    device, encoder = context.device.type, stated_sha256(context.folder, ENCODER)
    threads = f"/{context.config.train.threads}" if device == "cpu" else ""
    images = context.data.base or context.data  # a view by another attribute has the same images
    return f"{encoder}/{images.digest}/{device}{threads}"


def _take_from_other_run(path: Path, shape: tuple[int, int], origin: str) -> bool:
    """Link or copy the features of another run of the same encoder on the same dataset, if there is one."""
    seed = path.parent.name.partition("-")[0]
    for candidate in sorted(path.parent.parent.glob(f"{seed}-*/{path.name}")):
        try:
            with safe_open(candidate, framework="np") as file:
                stated_shape = tuple(file.get_slice("features").get_shape())
            if _read_origin(candidate)[0] != origin or stated_shape != shape:
                continue
            seals = read_json(candidate.with_name(DONE))["files"]
            sha256 = sha256_file(candidate)
            if seals.get(path.name) != sha256 or _sealed_sha256(path) not in (None, sha256):
                continue
        except (SafetensorError, OSError, BiasconError, KeyError, TypeError, AttributeError):
            continue  # not finished, or damaged: a command on that run reports it
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            try:
                os.link(candidate, temporary)
            except OSError:
                shutil.copyfile(candidate, temporary)
            record_artifacts(path.parent, {path.name: sha256})
            temporary.replace(path)
        except OSError:
            continue  # the other run may have been deleted in between
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        return True
    return False


def _sealed_sha256(path: Path) -> str | None:
    """Return the SHA-256 that ``done`` states for a file, None if the run is not finished or lacks it."""
    seal = read_seal(path.parent)
    return None if seal is None else seal.files.get(path.name)


def _read(path: Path) -> Array:
    """Return the features of a file; float16, and float32 of more than 1 GiB, is memory-mapped.

    The file is compared with ``done``, or with the journal while the run is not finished.

    Raises:
        RunError: The file is damaged.
    """
    found = sha256_file(path)
    if not (path.parent / DONE).is_file():
        verify(path.parent, path.name, found)
    elif _sealed_sha256(path) not in (None, found):
        raise changed_error(path)
    try:
        with safe_open(path, framework="np") as file:  # checks the header and every offset
            entry = file.get_slice("features")
            is_half, shape = entry.get_dtype() == "F16", tuple(entry.get_shape())
        dtype = np.dtype(np.float16 if is_half else np.float32)
        size = dtype.itemsize * math.prod(shape)
        if not is_half and size <= HALF_ABOVE_BYTES:
            features: Array = load_file(path)["features"]
            return features
        return np.memmap(path, dtype, "c", path.stat().st_size - size, shape)
    except (SafetensorError, KeyError, OSError, ValueError) as error:
        raise damaged_file_error(path) from error
