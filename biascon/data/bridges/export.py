"""Write a dataset in the layout of another library: Hugging Face, WILDS, or folders of classes.

The folder appears only when it is complete. The same dataset gives the same bytes with the same versions of
Pillow and pyarrow. ``biascon-export.json`` in it holds the manifest, the dataset digest, the names of all
values and a digest of all files. It marks a folder that a later export may replace if no file has changed.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from biascon.data.bridges.croissant import list_values
from biascon.data.manifest import Manifest
from biascon.data.split import BiasedDataset, Split
from biascon.errors import BiasconError, DataError, unknown_name
from biascon.utils.entry_points import load
from biascon.utils.files import os_error, pretty_json, read_json, sha256_file
from biascon.utils.folders import lock_target, new_folder
from biascon.utils.text import quote_some
from biascon.utils.types import Array

MARKER = "biascon-export.json"
WRITERS = {
    "hf": "biascon.data.bridges.parquet:write_hugging_face",
    "wilds": "biascon.data.bridges.pictures:write_wilds",
    "folder": "biascon.data.bridges.pictures:write_class_folders",
}
_CHUNK = 256  # images that are in memory at a time
_NAMES = {"data", "images", "README.md", "croissant.json", "metadata.csv", "table.csv", MARKER}
_NAMES |= {"train", "val", "test"}

ProgressCallback = Callable[[int, int], None]  # called with (finished images, all images)


@dataclass(frozen=True)
class Source:
    """What a writer needs: the dataset, the names of its columns, and the progress.

    Attributes:
        data: The dataset.
        on_image: Called after each image.
    """

    data: BiasedDataset
    on_image: Callable[[], None]

    @property
    def manifest(self) -> Manifest:
        """The manifest."""
        return self.data.manifest

    def name_columns(self, reserved: set[str]) -> dict[str, str]:
        """Return the column of each attribute, the bias attribute first.

        Args:
            reserved: The names of the other columns. An attribute of this name gets ``attribute.<name>``.
        """
        return {
            name: f"attribute.{name}" if name in reserved else name
            for name in list_values(self.manifest)
        }

    def list_attributes(self, split: Split) -> dict[str, Array]:
        """Return the codes of each attribute of a split, int64 ``(N,)``, the bias attribute first."""
        bias = self.manifest.bias
        first = {} if bias is None else {bias.name: split.bias}
        return {**first, **split.attributes}


def export_dataset(
    data: BiasedDataset,
    out: Path | str,
    to: str,
    *,
    replace: bool = False,
    on_progress: ProgressCallback = lambda finished, total: None,
) -> Path:
    """Write a dataset in the layout of another library; return the folder.

    Args:
        data: The dataset, with all splits to write.
        out: The new folder.
        to: ``hf``: Parquet files that ``datasets.load_dataset(out)`` reads without a network. ``wilds``: PNG
            files and ``metadata.csv`` with ``split`` (0, 1, 2), ``y`` and a column of codes for each
            attribute, as group_DRO and WILDS read Waterbirds. ``folder``: ``<split>/<class>/*.png`` as
            torchvision's ``ImageFolder`` reads them, and ``table.csv`` for ``biascon make-table``.
        replace: Whether to replace an existing export, if no file was added, changed or removed.
        on_progress: Called with the number of finished images and of all images.

    Raises:
        UsageError: ``to`` is unknown.
        BusyError: Another process writes the folder.
        BiasconError: The folder exists and is no export, or its files have changed since; it is not writable,
            or the disk is full.
        DataError: The images are neither gray nor RGB, or an image file of a dataset of files has changed.
    """
    if to not in WRITERS:
        raise unknown_name("layout", to, WRITERS)
    out = Path(out)
    data = data.base or data
    for split in data.splits.values():
        if split.images.shape[1] not in (1, 3):
            raise DataError(
                f"expected images with 1 or 3 channels, but got {split.images.shape[1]}"
            )
    total, finished = sum(len(split) for split in data.splits.values()), 0

    def on_image() -> None:
        nonlocal finished
        finished += 1
        on_progress(finished, total)

    with lock_target(out):
        _check_target(out, replace=replace)
        with new_folder(out, replace=replace) as work:
            try:
                details = load(WRITERS[to])(work, Source(data, on_image))
                text = pretty_json(_describe_export(data, to, details, _digest_files(work)))
                (work / MARKER).write_text(text, encoding="utf-8")
            except OSError as error:
                raise os_error(error, "write", out) from error
    return out


def _check_target(out: Path, *, replace: bool) -> None:
    """Raise a BiasconError if a folder exists and may not be replaced."""
    if not out.exists():  # a symbolic link to nothing leads to the new folder
        return
    if not replace:
        raise BiasconError(f"{out} exists already; choose another --out, or pass --force")
    names = {path.name for path in out.iterdir()} if out.is_dir() else {""}
    if names and (MARKER not in names or names - _NAMES):
        raise BiasconError(f"{out} exists and is not an export of biascon; choose another --out")
    if names and _read_files_digest(out / MARKER) != _digest_files(out):
        raise BiasconError(
            f"{out} is an export of biascon, but files were added, changed or removed since"
            f"{_name_newer(out)}; --force would delete them: move them away, or choose another --out"
        )


def _read_files_digest(marker: Path) -> str | None:
    """Return the digest of the files that the marker of an export holds, None without one."""
    content = read_json(marker)
    return content.get("files_sha256") if isinstance(content, dict) else None


def _digest_files(folder: Path) -> str:
    """Return the SHA-256 of the names and contents of all files of an export, without its marker."""
    state = hashlib.sha256()
    try:
        for name in _list_files(folder):
            path = folder / name
            digest = "link" if path.is_symlink() else sha256_file(path)
            state.update(f"{digest} {name}\n".encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise os_error(error, "read", folder) from error
    return state.hexdigest()


def _list_files(folder: Path) -> list[str]:
    """Return the relative paths of all files and links, sorted, without the marker. No link is followed."""
    names = []
    for parent, folders, files in os.walk(folder, onerror=_fail):
        links = [name for name in folders if Path(parent, name).is_symlink()]
        names += [Path(parent, name).relative_to(folder).as_posix() for name in [*files, *links]]
    return sorted(name for name in names if name != MARKER)


def _fail(error: OSError) -> None:
    """Raise the error of a folder that cannot be read: ``os.walk`` would pass over its files."""
    raise error


def _name_newer(folder: Path) -> str:
    """Return the first files that are newer than the marker, as a part of a message."""
    written = (folder / MARKER).stat().st_mtime_ns
    newer = [name for name in _list_files(folder) if (folder / name).lstat().st_mtime_ns > written]
    return f" ({quote_some(newer, 3)})" if newer else ""


def _describe_export(
    data: BiasedDataset, to: str, details: Mapping[str, Any], files_sha256: str
) -> dict[str, Any]:
    """Return the content of ``biascon-export.json``."""
    manifest = data.manifest.to_json()
    source = {key: value for key, value in manifest["source"].items() if key != "folder"}
    return {
        "format": 1,
        "to": to,
        "dataset": data.name,
        "digest": data.digest,
        "files_sha256": files_sha256,
        **details,
        "values": {"label": data.manifest.labels, **list_values(data.manifest)},
        "manifest": {**manifest, "source": source},
    }


def iter_images(split: Split) -> Iterator[Array]:
    """Yield the images of a split, uint8 ``(C, H, W)``; image files are decoded in threads."""
    for start in range(0, len(split), _CHUNK):
        yield from split.images[start : start + _CHUNK]


def encode_png(pixels: Array) -> bytes:
    """Encode an image, uint8 ``(C, H, W)`` with C = 1 or 3, as PNG."""
    from PIL import Image

    rows = pixels[0] if pixels.shape[0] == 1 else pixels.transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rows)).save(buffer, format="PNG")
    return buffer.getvalue()
