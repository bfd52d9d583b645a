"""``manifest.json``: what a dataset folder says of itself, and whether its files are those.

Keys: ``name``, ``builder``, ``protocol``, ``parameters``, ``source``, ``labels`` (the classes' names),
``bias`` (``name``, ``values`` and, but for old folders, ``aligned``; or null: no bias attribute),
``counts``, ``files``, and where they are used ``attributes`` and ``rejected``, see ``misfits``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from biascon.errors import DataError
from biascon.utils.files import digest_of, read_json, sha256_file
from biascon.version import __version__

FORMAT = 1
SPLITS = ("train", "val", "test")
REJECTED = "rejected.csv"

_KEYS = (
    "name", "builder", "protocol", "parameters", "source", "labels", "bias", "counts", "files",
)  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def n_bias(manifest: Mapping[str, Any]) -> int:
    """M: how many values the bias attribute has, 1 without one."""
    return 1 if manifest["bias"] is None else len(manifest["bias"]["values"])


def knows_aligned(manifest: Mapping[str, Any]) -> bool:
    """Whether it is defined which (label, bias) cells are bias-aligned."""
    bias = manifest["bias"]
    return bias is not None and bias.get("aligned", "as built") is not None


def make_manifest(
    description: Mapping[str, Any],
    counts: Mapping[str, Mapping[str, Any]],
    files: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the sealed manifest of a dataset folder.

    Args:
        description: What it says besides counts and digests: ``name``, ``builder``, ``protocol``,
            ``parameters``, ``source``, ``labels``, ``bias``, and perhaps ``attributes`` and ``rejected``.
        counts: Of each split, by name, as ``biascon.data.dataset.summarize`` gives them.
        files: Of each file, by name: ``sha256`` and ``bytes``, as ``file_entry`` gives them.
    """
    return with_checksum(
        {
            "format": FORMAT,
            "biascon": __version__,
            **description,
            "counts": dict(counts),
            "files": dict(files),
        }
    )


def file_entry(path: Path) -> dict[str, Any]:
    """Return what the manifest says of a file: its SHA-256 and size."""
    return {"sha256": sha256_file(path), "bytes": path.stat().st_size}


def sync_folder(folder: Path) -> None:
    """Have the system write every file of a folder to the disk, before the folder is renamed."""
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
    wrong = first_invalid_key(manifest)
    if wrong:
        raise DataError(f"{path} is damaged: it has no proper {wrong}; build the dataset again")
    for name in ("train", "test"):
        if f"{name}.safetensors" not in manifest["files"]:
            raise DataError(f"{folder} has no {name} split; build the dataset again")
    if not _NAME.fullmatch(str(manifest["name"])):  # it becomes part of a path
        raise DataError(f"{path} has a name that no dataset may have: {manifest['name']!r}")
    return manifest


def dataset_digest(manifest: Mapping[str, Any]) -> str:
    """Return the digest of what a dataset is: all of its manifest but who wrote it, found where and how."""
    source = {
        k: v for k, v in manifest["source"].items() if k not in ("origin", "decoder", "folder")
    }
    what = {k: v for k, v in manifest.items() if k not in ("biascon", "sha256", "source")}
    return digest_of({**what, "source": source})


def with_checksum(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest with the SHA-256 of itself (of all its other keys) as its last key."""
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return {**rest, "sha256": digest_of(rest)}


def first_invalid_key(manifest: Mapping[str, Any]) -> str | None:
    """Return the key of a manifest whose value is of another kind than biascon writes, or None.

    ``bias`` may be null; its ``aligned`` is a text, or null where no alignment is defined. ``attributes``
    maps names (no comma) to ``values``, a list of names, and ``aligned``, a list of pairs
    ``[label, value]`` of such names or null; the bias attribute is one of them. ``rejected`` has ``n`` and
    ``by_reason``, reason to number.
    """
    for key in ("protocol", "parameters", "source", "counts", "files"):
        if not isinstance(manifest[key], dict):
            return key
    if not _texts(manifest["labels"]):
        return "labels"
    bias = manifest["bias"]
    if bias is not None and not (
        isinstance(bias, dict)
        and isinstance(bias.get("name"), str)
        and _texts(bias.get("values"))
        and isinstance(bias.get("aligned", ""), str | None)
    ):
        return "bias"
    if not isinstance(manifest["source"].get("origin"), str):
        return "source"
    entries = manifest["files"].values()
    if not all(isinstance(e, dict) and isinstance(e.get("sha256"), str) for e in entries):
        return "files"
    if "attributes" in manifest and not _proper_attributes(manifest):
        return "attributes"
    if "store" in manifest and not isinstance(manifest["store"], dict):
        return "store"
    if "rejected" in manifest and not _proper_rejected(manifest["rejected"]):
        return "rejected"
    return None


def _texts(names: Any) -> bool:
    return isinstance(names, list) and bool(names) and all(isinstance(n, str) for n in names)


def _proper_attributes(manifest: Mapping[str, Any]) -> bool:
    attributes, bias = manifest["attributes"], manifest["bias"]
    if not isinstance(attributes, dict) or any(not name or "," in name for name in attributes):
        return False
    for about in attributes.values():
        if not (isinstance(about, dict) and _texts(about.get("values"))):
            return False
        if len(set(about["values"])) != len(about["values"]):
            return False
        pairs = about.get("aligned")
        if pairs is None:
            continue
        if not (isinstance(pairs, list) and all(_texts(p) and len(p) == 2 for p in pairs)):
            return False
        if not all(p[0] in manifest["labels"] and p[1] in about["values"] for p in pairs):
            return False
    if bias is None or not attributes:
        return True
    own = attributes.get(bias["name"])
    return (
        own is not None
        and own["values"] == bias["values"]
        and (own.get("aligned") is None) == (not knows_aligned(manifest))
    )


def _proper_rejected(rejected: Any) -> bool:
    if not isinstance(rejected, dict) or not isinstance(rejected.get("by_reason"), dict):
        return False
    numbers = rejected["by_reason"].values()
    return all(isinstance(n, int) for n in numbers) and rejected.get("n") == sum(numbers)


def is_dataset_folder(folder: Path) -> bool:
    """Whether a folder holds nothing but what a builder writes, so that it may be replaced."""
    known = {"manifest.json", REJECTED, *(f"{name}.safetensors" for name in SPLITS)}
    return folder.is_dir() and all(path.name in known for path in folder.iterdir())


def verify(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Check the SHA-256 of every file that the manifest names.

    Raises:
        DataError: A file is missing or differs.
    """
    if manifest != with_checksum(manifest):
        raise DataError(
            f"{folder / 'manifest.json'} has changed since it was written (its sha256 does not fit); "
            "build the dataset again with --force"
        )
    for name, stated in manifest["files"].items():
        if name not in {REJECTED, *(f"{split}.safetensors" for split in SPLITS)}:
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
