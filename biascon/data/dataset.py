"""The dataset folder: ``train|val|test.safetensors`` and ``manifest.json``, readable without biascon.

Each split holds ``images`` uint8 (N, C, H, W), ``labels`` int64 (N,), ``bias`` int64 (N,), ``aligned``
bool (N,) and ``index`` int64 (N,), the row in the source. The manifest holds what made the folder, the
counts of every (label, bias) cell and the SHA-256 of every file; a folder that differs by a byte is
refused. Nothing here needs PyTorch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from biascon import __version__
from biascon.data import mapped
from biascon.errors import BiasconError, DataError
from biascon.files import digest_of, explain, new_folder, pretty_json, read_json, sha256_file

FORMAT = 1
SPLITS = ("train", "val", "test")

Array = npt.NDArray[Any]
_KEYS = (
    "name", "builder", "protocol", "parameters", "source", "labels", "bias", "counts", "files",
)  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Split:
    """One split: N images with their label, bias attribute and origin.

    Attributes:
        images: uint8 ``(N, C, H, W)``.
        labels: int64 ``(N,)`` in 0..K-1.
        bias: int64 ``(N,)`` in 0..M-1.
        aligned: bool ``(N,)``: whether the bias attribute is the one that goes with the label.
        index: int64 ``(N,)``: the row in the source.
    """

    images: Array
    labels: Array
    bias: Array
    aligned: Array
    index: Array

    def __len__(self) -> int:
        return len(self.labels)

    def counts(self, n_labels: int, n_bias: int) -> Array:
        """Return the int64 ``(K, M)`` table of how many images each (label, bias) cell has."""
        table = np.zeros((n_labels, n_bias), dtype=np.int64)
        np.add.at(table, (self.labels, self.bias), 1)
        return table

    def arrays(self) -> dict[str, Array]:
        """Return the five arrays by name."""
        return {name: getattr(self, name) for name in _DTYPES}


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
    """

    name: str
    manifest: Mapping[str, Any]
    splits: Mapping[str, Split]
    digest: str

    @property
    def n_labels(self) -> int:
        """K, the number of classes."""
        return len(self.manifest["labels"])

    @property
    def n_bias(self) -> int:
        """M, the number of values of the bias attribute."""
        return len(self.manifest["bias"]["values"])


def summarise(split: Split, n_labels: int, n_bias: int) -> dict[str, Any]:
    """Return the counts of a split as the manifest holds them."""
    table = split.counts(n_labels, n_bias)
    return {
        "n": len(split),
        "aligned": int(split.aligned.sum()),
        "conflicting": int((~split.aligned).sum()),
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
            ``protocol``, ``parameters``, ``source``, ``labels``, ``bias``.
        replace: Whether an existing folder gives way.

    Returns:
        The manifest.

    Raises:
        BiasconError: The place is not writable, the disk is full, or the folder exists.
    """
    from safetensors.numpy import save_file

    sizes = (len(description["labels"]), len(description["bias"]["values"]))
    with new_folder(folder, replace=replace) as work:
        files = {}
        for name, split in splits.items():
            path = work / f"{name}.safetensors"
            arrays = {
                key: np.ascontiguousarray(value, dtype=_DTYPES[key])
                for key, value in split.arrays().items()
            }
            try:
                save_file(arrays, path)
            except OSError as error:
                raise explain(error, "write", folder) from error
            except Exception as error:  # safetensors reports a full disk as an error of its own
                raise BiasconError(f"cannot write {folder}: {error}") from error
            files[path.name] = {"sha256": sha256_file(path), "bytes": path.stat().st_size}
        manifest = {
            "format": FORMAT,
            "biascon": __version__,
            **description,
            "counts": {name: summarise(split, *sizes) for name, split in splits.items()},
            "files": files,
        }
        manifest = sealed(manifest)
        (work / "manifest.json").write_text(pretty_json(manifest), encoding="utf-8")
        _flush(work)
    return manifest


def _flush(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and check ``manifest.json``.

    Raises:
        DataError: There is none, or it is not one of this format.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise DataError(
            f"{folder} is not a dataset folder: it has no manifest.json; "
            "make one with: biascon make-bmnist --rho 0.997"
        )
    manifest = read_json(path)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise DataError(f"{path} is not a manifest of format {FORMAT}; build the dataset again")
    missing = [key for key in _KEYS if key not in manifest]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)}; build the dataset again")
    wrong = _misfits(manifest)
    if wrong:
        raise DataError(f"{path} is damaged: it has no proper {wrong}; build the dataset again")
    for name in ("train", "test"):
        if f"{name}.safetensors" not in manifest["files"]:
            raise DataError(f"{folder} has no {name} split; build the dataset again")
    if not _NAME.fullmatch(str(manifest["name"])):  # it becomes part of a path
        raise DataError(f"{path} has a name that no dataset may have: {manifest['name']!r}")
    return manifest


def identity(manifest: Mapping[str, Any]) -> str:
    """Return the digest of what a dataset is: all of its manifest but who wrote it, and found where."""
    source = {k: v for k, v in manifest["source"].items() if k != "origin"}
    what = {k: v for k, v in manifest.items() if k not in ("biascon", "sha256", "source")}
    return digest_of({**what, "source": source})


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest with the SHA-256 of itself (of all its other keys) as its last key."""
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return {**rest, "sha256": digest_of(rest)}


def _misfits(manifest: Mapping[str, Any]) -> str | None:
    """Return the key of a manifest whose value is of another kind than biascon writes, or None."""
    texts = {"labels": manifest["labels"]}
    for key in ("protocol", "parameters", "source", "bias", "counts", "files"):
        if not isinstance(manifest[key], dict):
            return key
    texts["bias"] = manifest["bias"].get("values")
    for key, names in texts.items():
        if not (isinstance(names, list) and names and all(isinstance(n, str) for n in names)):
            return key
    if not isinstance(manifest["source"].get("origin"), str):
        return "source"
    entries = manifest["files"].values()
    if not all(isinstance(e, dict) and isinstance(e.get("sha256"), str) for e in entries):
        return "files"
    return None


def is_ours(folder: Path) -> bool:
    """Whether a folder holds nothing but what a builder writes, so that it may be replaced."""
    known = {"manifest.json", *(f"{name}.safetensors" for name in SPLITS)}
    return folder.is_dir() and all(path.name in known for path in folder.iterdir())


def verify(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Check the SHA-256 of every file that the manifest names.

    Raises:
        DataError: A file is missing or differs.
    """
    if manifest != sealed(manifest):
        raise DataError(
            f"{folder / 'manifest.json'} has changed since it was written (its sha256 does not fit); "
            "build the dataset again with --force"
        )
    for name, stated in manifest["files"].items():
        if name not in {f"{split}.safetensors" for split in SPLITS}:
            raise DataError(
                f"{folder / 'manifest.json'} names a file that no dataset has: {name!r}"
            )
        path = folder / name
        if not path.is_file():
            raise DataError(f"{path} is missing; build the dataset again with --force")
        found = sha256_file(path)
        if found != stated["sha256"]:
            raise DataError(
                f"{path} is not the file that its manifest describes "
                f"(sha256 {found[:12]}..., expected {stated['sha256'][:12]}...); "
                "build the dataset again with --force"
            )


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
    sizes = (len(manifest["labels"]), len(manifest["bias"]["values"]))
    splits = {}
    for name in SPLITS:
        path = folder / f"{name}.safetensors"
        if path.name not in manifest["files"] or name not in only:
            continue
        splits[name] = _check_split(path, mapped.read(path), *sizes)
    return BiasedDataset(manifest["name"], manifest, splits, identity(manifest))


def _check_split(path: Path, arrays: Mapping[str, Array], n_labels: int, n_bias: int) -> Split:
    """Refuse a split whose arrays do not fit each other, whoever wrote it."""
    for name, dtype in _DTYPES.items():
        if name not in arrays or arrays[name].dtype != dtype:
            got = arrays[name].dtype if name in arrays else "nothing"
            raise DataError(f"{path}: expected '{name}' as {np.dtype(dtype)}, but got {got}")
    n = len(arrays["labels"])
    for name in _DTYPES:
        want = 4 if name == "images" else 1
        if arrays[name].ndim != want or len(arrays[name]) != n:
            raise DataError(f"{path}: '{name}' has shape {arrays[name].shape} for {n} labels")
    for name, size in (("labels", n_labels), ("bias", n_bias)):
        if n and not (arrays[name].min() >= 0 and arrays[name].max() < size):
            raise DataError(f"{path}: '{name}' has values outside 0..{size - 1}")
    return Split(**{name: arrays[name] for name in _DTYPES})


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
