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
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as with_changes
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from biascon.data import manifest as manifests
from biascon.data import mapped
from biascon.data.manifest import (
    FORMAT,
    REJECTED,
    SPLITS,
    file_entry,
    flush,
    identity,
    is_ours,
    manifest_of,
    read_manifest,
    sealed,
    verify,
)
from biascon.errors import BiasconError, DataError, UsageError, did_you_mean
from biascon.files import digest_of, explain, new_folder, pretty_json

__all__ = [
    "FORMAT", "REJECTED", "SPLITS", "BiasedDataset", "Split", "choose_bias", "file_entry", "flush",
    "identity", "is_ours", "latest", "load", "manifest_of", "read_manifest", "save", "sealed", "summarise",
    "touch", "verify",
]  # fmt: skip

Array = npt.NDArray[Any]
ATTRIBUTE = "attribute."  # what the name of an attribute's array starts with
PRODUCT = " x "


@dataclass(frozen=True)
class Split:
    """One split: N images with their label, bias attribute and origin.

    Attributes:
        images: uint8 ``(N, C, H, W)``.
        labels: int64 ``(N,)`` in 0..K-1.
        bias: int64 ``(N,)`` in 0..M-1.
        aligned: bool ``(N,)``: whether the bias attribute is the one that goes with the label.
        index: int64 ``(N,)``: the row in the source.
        attributes: int64 ``(N,)`` each, by name: further attributes, and the bias attribute among them.
    """

    images: Array
    labels: Array
    bias: Array
    aligned: Array
    index: Array
    attributes: Mapping[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def counts(self, n_labels: int, n_bias: int) -> Array:
        """Return the int64 ``(K, M)`` table of how many images each (label, bias) cell has."""
        table = np.zeros((n_labels, n_bias), dtype=np.int64)
        np.add.at(table, (self.labels, self.bias), 1)
        return table

    def arrays(self) -> dict[str, Array]:
        """Return the arrays by the names that they have in the split's file."""
        more = {f"{ATTRIBUTE}{name}": array for name, array in self.attributes.items()}
        return {**{name: getattr(self, name) for name in _DTYPES}, **more}


_DTYPES: dict[str, Any] = {
    "images": np.uint8,
    "labels": np.int64,
    "bias": np.int64,
    "aligned": np.bool_,
    "index": np.int64,
}


@dataclass(frozen=True)
class BiasedDataset:
    """A dataset folder in memory.

    Attributes:
        name: The folder's name in reports, such as ``bmnist-0.997``.
        manifest: ``manifest.json`` as plain data.
        splits: The splits that exist, by name.
        digest: SHA-256 that stands for every byte of the dataset, see ``identity``.
        base: The dataset as it was read, where this is its view by another attribute (``choose_bias``).
    """

    name: str
    manifest: Mapping[str, Any]
    splits: Mapping[str, Split]
    digest: str
    base: BiasedDataset | None = None

    @property
    def n_labels(self) -> int:
        """K, the number of classes."""
        return len(self.manifest["labels"])

    @property
    def n_bias(self) -> int:
        """M, the number of values of the bias attribute; 1 without one."""
        return manifests.n_bias(self.manifest)

    @property
    def has_bias(self) -> bool:
        """Whether the dataset has a bias attribute."""
        return self.manifest["bias"] is not None

    @property
    def knows_aligned(self) -> bool:
        """Whether it is defined which (label, bias) cells are bias-aligned."""
        return manifests.knows_aligned(self.manifest)


def summarise(
    split: Split, n_labels: int, n_bias: int, *, knows_aligned: bool = True
) -> dict[str, Any]:
    """Return the counts of a split as the manifest holds them.

    Args:
        split: Only ``labels``, ``bias`` and ``aligned`` are read.
        n_labels: K.
        n_bias: M, 1 without a bias attribute.
        knows_aligned: Whether an alignment is defined; else ``aligned`` and ``conflicting`` are None.
    """
    table = split.counts(n_labels, n_bias)
    return {
        "n": len(split),
        "aligned": int(split.aligned.sum()) if knows_aligned else None,
        "conflicting": int((~split.aligned).sum()) if knows_aligned else None,
        "empty_cells": int((table == 0).sum()),
        "cells": table.tolist(),
    }


def save(
    folder: Path, splits: Mapping[str, Split], description: Mapping[str, Any], *, replace: bool
) -> dict[str, Any]:
    """Write a dataset folder, whole or not at all.

    Args:
        folder: Where; it appears only when it is complete.
        splits: The splits by name.
        description: What the manifest says besides counts and digests: ``name``, ``builder``,
            ``protocol``, ``parameters``, ``source``, ``labels``, ``bias``, perhaps ``attributes``.
        replace: Whether an existing folder gives way.

    Returns:
        The manifest.

    Raises:
        BiasconError: The place is not writable, the disk is full, or the folder exists.
    """
    from safetensors.numpy import save_file

    sizes = (len(description["labels"]), manifests.n_bias(description))
    known = manifests.knows_aligned(description)
    with new_folder(folder, replace=replace) as work:
        files = {}
        for name, split in splits.items():
            path = work / f"{name}.safetensors"
            arrays = {
                key: np.ascontiguousarray(value, dtype=_DTYPES.get(key, np.int64))
                for key, value in split.arrays().items()
            }
            try:
                save_file(arrays, path)
            except OSError as error:
                raise explain(error, "write", folder) from error
            except Exception as error:  # safetensors reports a full disk as an error of its own
                raise BiasconError(f"cannot write {folder}: {error}") from error
            files[path.name] = file_entry(path)
        counts = {
            name: summarise(split, *sizes, knows_aligned=known) for name, split in splits.items()
        }
        manifest = manifest_of(description, counts, files)
        (work / "manifest.json").write_text(pretty_json(manifest), encoding="utf-8")
        flush(work)
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
        if path.name not in manifest["files"] or name not in only:
            continue
        splits[name] = _check_split(path, mapped.read(path), manifest)
    return BiasedDataset(manifest["name"], manifest, splits, identity(manifest))


def _check_split(path: Path, arrays: Mapping[str, Array], manifest: Mapping[str, Any]) -> Split:
    """Refuse a split whose arrays do not fit each other or the manifest, whoever wrote it."""
    attributes = manifest.get("attributes", {})
    dtypes = {**_DTYPES, **{f"{ATTRIBUTE}{name}": np.int64 for name in attributes}}
    for name, dtype in dtypes.items():
        if name not in arrays or arrays[name].dtype != dtype:
            got = arrays[name].dtype if name in arrays else "nothing"
            raise DataError(f"{path}: expected '{name}' as {np.dtype(dtype)}, but got {got}")
    n = len(arrays["labels"])
    for name in dtypes:
        want = 4 if name == "images" else 1
        if arrays[name].ndim != want or len(arrays[name]) != n:
            raise DataError(f"{path}: '{name}' has shape {arrays[name].shape} for {n} labels")
    sizes = {"labels": len(manifest["labels"]), "bias": manifests.n_bias(manifest)}
    sizes |= {f"{ATTRIBUTE}{name}": len(about["values"]) for name, about in attributes.items()}
    for name, size in sizes.items():
        if n and not (arrays[name].min() >= 0 and arrays[name].max() < size):
            raise DataError(f"{path}: '{name}' has values outside 0..{size - 1}")
    if arrays["aligned"].any() and not manifests.knows_aligned(manifest):
        raise DataError(f"{path}: 'aligned' has rows where the manifest defines no alignment")
    more = {name: arrays[f"{ATTRIBUTE}{name}"] for name in attributes}
    if manifest["bias"] is not None and attributes:
        own = manifest["bias"]["name"]
        aligned = _aligned(arrays["labels"], more[own], manifest, own)
        if not (
            np.array_equal(more[own], arrays["bias"]) and np.array_equal(aligned, arrays["aligned"])
        ):
            raise DataError(f"{path}: 'bias' or 'aligned' is not what its attribute '{own}' says")
    return Split(**{name: arrays[name] for name in _DTYPES}, attributes=more)


def _aligned(labels: Array, values: Array, manifest: Mapping[str, Any], name: str) -> Array:
    """Return bool ``(N,)``: whether each (label, value) is one of the attribute's aligned pairs."""
    about = manifest["attributes"][name]
    cells = np.zeros((len(manifest["labels"]), len(about["values"])), dtype=bool)
    for label, value in about.get("aligned") or ():
        cells[manifest["labels"].index(label), about["values"].index(value)] = True
    return cells[labels, values]


def choose_bias(data: BiasedDataset, names: Sequence[str]) -> BiasedDataset:
    """Return a dataset seen by another of its attributes, or by the product of several.

    A product has a value for every combination, the last attribute changing fastest, and no alignment.
    The view's digest is that of the base's digest and the names; choosing the bias attribute that the
    dataset was built with gives the dataset itself.

    Args:
        data: The dataset.
        names: Of one attribute or more, each once.

    Raises:
        UsageError: No name, one twice, or one that the dataset does not have.
    """
    data = data.base or data
    manifest, names = data.manifest, list(names)
    attributes = manifest.get("attributes", {})
    if manifest["bias"] is not None and names == [manifest["bias"]["name"]]:
        return data
    if not names or len(set(names)) != len(names):
        raise UsageError(f"expected one bias attribute or several, each once, but got {names}")
    wrong = [name for name in names if name not in attributes]
    if wrong:
        known = list(attributes) or ([manifest["bias"]["name"]] if data.has_bias else [])
        there = f"it has: {', '.join(known)}" if known else "it has none"
        near = did_you_mean(wrong[0], known)
        raise UsageError(f"{data.name} has no attribute '{wrong[0]}'{near} ({there})")
    sizes = tuple(len(attributes[name]["values"]) for name in names)
    values = [PRODUCT.join(part) for part in product(*(attributes[n]["values"] for n in names))]
    pairs = attributes[names[0]].get("aligned") if len(names) == 1 else None
    splits = {}
    for key, split in data.splits.items():
        bias = np.ravel_multi_index([split.attributes[name] for name in names], sizes)
        if pairs is None:
            aligned = np.zeros(len(split), dtype=bool)
        else:
            aligned = _aligned(split.labels, bias, manifest, names[0])
        splits[key] = with_changes(split, bias=bias.astype(np.int64), aligned=aligned)
    told = None if pairs is None else ", ".join(f"{label} = {value}" for label, value in pairs)
    size = (data.n_labels, len(values))
    seen = {
        **{key: value for key, value in manifest.items() if key != "sha256"},
        "bias": {"name": PRODUCT.join(names), "values": values, "aligned": told, "chosen": names},
        "counts": {
            key: summarise(split, *size, knows_aligned=pairs is not None)
            for key, split in splits.items()
        },
    }
    name = f"{data.name}-by-{re.sub('[^A-Za-z0-9._]+', '_', '-'.join(names))}"
    digest = digest_of({"dataset": data.digest, "bias": names})
    return BiasedDataset(name, seen, splits, digest, base=data)


def latest(root: Path) -> Path:
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


def touch(folder: Path) -> None:
    """Mark a dataset as the one asked for last."""
    os.utime(folder / "manifest.json")
