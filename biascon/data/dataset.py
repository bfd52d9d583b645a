"""The dataset folder: ``train|val|test.safetensors`` and ``manifest.json``, readable without biascon.

Each split holds ``images`` uint8 (N, C, H, W), ``labels`` int64 (N,), ``bias`` int64 (N,), ``aligned``
bool (N,), ``index`` int64 (N,), the row in the source, and an int64 (N,) array ``attribute.<name>`` for
each further attribute. Without a bias attribute ``bias`` is 0 for every image. ``aligned`` is False for every
image if no alignment is defined. The manifest (``biascon.data.manifest``) holds the settings of the builder,
the counts of every (label, bias) cell and the SHA-256 of every file. A folder in which one byte differs is
refused. ``croissant.json`` describes the folder for other programs and is never read
(``biascon.data.bridges.croissant``). This module does not need PyTorch; ``Split.torch`` does.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from biascon.data import memory_map
from biascon.data.bias_views import view_by_attributes, view_identity
from biascon.data.bridges.croissant import write_metadata
from biascon.data.manifest import (
    FORMAT,
    REJECTED,
    SPLITS,
    DatasetDescription,
    Manifest,
    dataset_digest,
    describe_file,
    is_dataset_folder,
    make_manifest,
    read_manifest,
    verify,
    with_checksum,
)
from biascon.data.split import ATTRIBUTE, DTYPES, BiasedDataset, Split, find_aligned_rows, summarize
from biascon.errors import BiasconError, DataError
from biascon.utils.files import os_error
from biascon.utils.folders import new_folder, recover_folders
from biascon.utils.text import visible
from biascon.utils.types import Array

__all__ = [
    "ATTRIBUTE",
    "FORMAT",
    "REJECTED",
    "SPLITS",
    "BiasedDataset",
    "DatasetDescription",
    "Manifest",
    "Split",
    "dataset_digest",
    "describe_file",
    "find_latest",
    "is_dataset_folder",
    "load",
    "make_manifest",
    "mark_used",
    "read_manifest",
    "save",
    "summarize",
    "verify",
    "view_by_attributes",
    "view_identity",
    "with_checksum",
]  # fmt: skip


def save(
    folder: Path,
    splits: Mapping[str, Split],
    description: DatasetDescription | Mapping[str, Any],
    *,
    replace: bool,
) -> Manifest:
    """Write a dataset folder, complete or not at all.

    Args:
        folder: The dataset folder. It appears only when it is complete.
        splits: The splits by name.
        description: The description of the dataset, or a mapping with its keys: ``name``, ``builder``,
            ``protocol``, ``parameters``, ``source``, ``labels``, ``bias``, and optionally ``attributes``.
        replace: Whether to replace an existing folder.

    Returns:
        The manifest.

    Raises:
        DataError: The description lacks a key, or a value in it is not valid.
        BiasconError: The folder is not writable, the disk is full, or the folder exists.
    """
    from safetensors.numpy import save_file

    if not isinstance(description, DatasetDescription):
        description = DatasetDescription.from_json(description)
    sizes, knows_aligned = (description.n_labels, description.n_bias), description.knows_aligned
    with new_folder(folder, replace=replace) as work:
        files = {}
        for name, split in splits.items():
            path = work / f"{name}.safetensors"
            arrays = {
                key: np.ascontiguousarray(value, dtype=DTYPES.get(key, np.int64))
                for key, value in split.arrays().items()
            }
            try:
                save_file(arrays, path)
            except OSError as error:
                raise os_error(error, "write", folder) from error
            except Exception as error:  # safetensors has its own error type for a full disk
                raise BiasconError(f"cannot write {folder}: {error}") from error
            files[path.name] = describe_file(path)
        counts = {
            name: summarize(split, *sizes, knows_aligned=knows_aligned)
            for name, split in splits.items()
        }
        manifest = make_manifest(description, counts, files)
        write_metadata(work, manifest)
    return manifest


def load(folder: Path | str, *, only: Sequence[str] = SPLITS) -> BiasedDataset:
    """Read a dataset folder and verify every byte of it. The images are memory-mapped.

    Args:
        folder: The dataset folder.
        only: The splits to read. The other splits are verified, but not read.

    Raises:
        DataError: A file is missing, corrupt, or not of this format.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    verify(folder, manifest)
    splits = {}
    for name in SPLITS:
        path = folder / f"{name}.safetensors"
        if path.name not in manifest.files or name not in only:
            continue
        splits[name] = _check_split(path, memory_map.read_arrays(path), manifest)
        shape = (manifest.n_labels, manifest.n_bias)
        counts = summarize(splits[name], *shape, knows_aligned=manifest.knows_aligned)
        if counts != manifest.counts[name]:
            raise DataError(f"{path}: its images have other counts than the manifest states")
    return BiasedDataset(manifest.name, manifest, splits, dataset_digest(manifest))


def _check_split(path: Path, arrays: Mapping[str, Array], manifest: Manifest) -> Split:
    """Return the split of a file, after a check of its arrays against each other and the manifest."""
    if manifest.store is not None:  # an index of image files instead of pixels
        from biascon.data.images.lazy import open_lazy_images

        # LazyImages has every property of an array that the rest of the package uses.
        images: Any = open_lazy_images(path, arrays.get("files"), manifest)
        arrays = {**arrays, "images": images}
    attributes = manifest.attributes or {}
    dtypes = {**DTYPES, **{f"{ATTRIBUTE}{name}": np.int64 for name in attributes}}
    for name, dtype in dtypes.items():
        if name not in arrays or arrays[name].dtype != dtype:
            got = arrays[name].dtype if name in arrays else "nothing"
            raise DataError(
                f"{path}: expected '{visible(name)}' as {np.dtype(dtype)}, but got {got}"
            )
    n = len(arrays["labels"])
    for name in dtypes:
        ndim = 4 if name == "images" else 1
        if arrays[name].ndim != ndim or len(arrays[name]) != n:
            raise DataError(
                f"{path}: '{visible(name)}' has shape {arrays[name].shape} for {n} labels"
            )
    sizes = {"labels": manifest.n_labels, "bias": manifest.n_bias}
    sizes |= {f"{ATTRIBUTE}{name}": len(entry.values) for name, entry in attributes.items()}
    for name, size in sizes.items():
        if n and not (arrays[name].min() >= 0 and arrays[name].max() < size):
            raise DataError(f"{path}: '{visible(name)}' has values outside 0..{size - 1}")
    if arrays["aligned"].any() and not manifest.knows_aligned:
        raise DataError(f"{path}: 'aligned' has rows where the manifest defines no alignment")
    attribute_arrays = {name: arrays[f"{ATTRIBUTE}{name}"] for name in attributes}
    if manifest.bias is not None and attributes:
        own = manifest.bias.name
        values = attribute_arrays[own]
        aligned = find_aligned_rows(arrays["labels"], values, manifest.labels, attributes[own])
        if not (
            np.array_equal(values, arrays["bias"]) and np.array_equal(aligned, arrays["aligned"])
        ):
            raise DataError(
                f"{path}: 'bias' or 'aligned' differs from the attribute '{visible(own)}'"
            )
    return Split(**{name: arrays[name] for name in DTYPES}, attributes=attribute_arrays)


def find_latest(root: Path) -> Path:
    """Return the dataset folder under ``root`` that was made or used last.

    Raises:
        DataError: There is no dataset folder. The message shows the command that makes one.
    """
    recover_folders(root)
    folders = [
        path.parent for path in sorted(root.glob("*/manifest.json")) if path.parent.name[0] != "."
    ]
    if not folders:
        raise DataError(
            f"there is no dataset in {root}; make one with: biascon make-bmnist --rho 0.997"
        )
    return max(folders, key=lambda folder: (folder / "manifest.json").stat().st_mtime_ns)


def mark_used(folder: Path) -> None:
    """Mark a dataset as used last, for ``find_latest``; nothing happens if it is not writable."""
    with contextlib.suppress(OSError):
        os.utime(folder / "manifest.json")
