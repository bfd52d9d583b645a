"""The dataset folder: ``train|val|test.safetensors`` and ``manifest.json``, readable without biascon.

Each split holds ``images`` uint8 (N, C, H, W), ``labels`` int64 (N,), ``bias`` int64 (N,), ``aligned``
bool (N,) and ``index`` int64 (N,), the row in the source; further attributes of the images are int64 (N,)
arrays named ``attribute.<name>``. Without a bias attribute ``bias`` is all 0; ``aligned`` is all False there
and where no alignment is defined. The manifest (``biascon.data.manifest``) holds what made the folder, the
counts of every (label, bias) cell and the SHA-256 of every file; a folder that differs by a byte is refused.
Nothing here needs PyTorch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from biascon.data import memory_map
from biascon.data.bias_views import view_by_attributes, view_identity
from biascon.data.manifest import (
    FORMAT,
    REJECTED,
    SPLITS,
    DatasetDescription,
    Manifest,
    dataset_digest,
    file_entry,
    is_dataset_folder,
    make_manifest,
    read_manifest,
    sync_folder,
    verify,
    with_checksum,
)
from biascon.data.split import ATTRIBUTE, DTYPES, BiasedDataset, Split, aligned_rows, summarize
from biascon.errors import BiasconError, DataError
from biascon.utils.files import new_folder, os_error, pretty_json
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
    "file_entry",
    "find_latest",
    "is_dataset_folder",
    "load",
    "make_manifest",
    "mark_used",
    "read_manifest",
    "save",
    "summarize",
    "sync_folder",
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
            except Exception as error:  # safetensors reports a full disk as an error of its own
                raise BiasconError(f"cannot write {folder}: {error}") from error
            files[path.name] = file_entry(path)
        counts = {
            name: summarize(split, *sizes, knows_aligned=knows_aligned)
            for name, split in splits.items()
        }
        manifest = make_manifest(description, counts, files)
        (work / "manifest.json").write_text(pretty_json(manifest.to_json()), encoding="utf-8")
        sync_folder(work)
    return manifest


def load(folder: Path | str, *, only: Sequence[str] = SPLITS) -> BiasedDataset:
    """Read a dataset folder and verify every byte of it; the images stay on the disk, mapped.

    Args:
        folder: The dataset folder.
        only: The splits to read; the others are verified, but not decoded.

    Raises:
        DataError: Something is missing, corrupt or not of this format.
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
            raise DataError(f"{path}: expected '{name}' as {np.dtype(dtype)}, but got {got}")
    n = len(arrays["labels"])
    for name in dtypes:
        ndim = 4 if name == "images" else 1
        if arrays[name].ndim != ndim or len(arrays[name]) != n:
            raise DataError(f"{path}: '{name}' has shape {arrays[name].shape} for {n} labels")
    sizes = {"labels": manifest.n_labels, "bias": manifest.n_bias}
    sizes |= {f"{ATTRIBUTE}{name}": len(entry.values) for name, entry in attributes.items()}
    for name, size in sizes.items():
        if n and not (arrays[name].min() >= 0 and arrays[name].max() < size):
            raise DataError(f"{path}: '{name}' has values outside 0..{size - 1}")
    if arrays["aligned"].any() and not manifest.knows_aligned:
        raise DataError(f"{path}: 'aligned' has rows where the manifest defines no alignment")
    attribute_arrays = {name: arrays[f"{ATTRIBUTE}{name}"] for name in attributes}
    if manifest.bias is not None and attributes:
        own = manifest.bias.name
        values = attribute_arrays[own]
        aligned = aligned_rows(arrays["labels"], values, manifest.labels, attributes[own])
        if not (
            np.array_equal(values, arrays["bias"]) and np.array_equal(aligned, arrays["aligned"])
        ):
            raise DataError(f"{path}: 'bias' or 'aligned' differs from the attribute '{own}'")
    return Split(**{name: arrays[name] for name in DTYPES}, attributes=attribute_arrays)


def find_latest(root: Path) -> Path:
    """Return the dataset folder made (or asked for) last under ``root``.

    Raises:
        DataError: There is none; the message gives the command that makes one.
    """
    found = [
        path.parent for path in sorted(root.glob("*/manifest.json")) if path.parent.name[0] != "."
    ]
    if not found:
        raise DataError(
            f"there is no dataset in {root}; make one with: biascon make-bmnist --rho 0.997"
        )
    return max(found, key=lambda folder: (folder / "manifest.json").stat().st_mtime_ns)


def mark_used(folder: Path) -> None:
    """Mark a dataset as the one asked for last."""
    os.utime(folder / "manifest.json")
