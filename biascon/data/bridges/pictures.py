"""A dataset as PNG files with a table: in the layout of group_DRO and WILDS, or as folders of classes."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from biascon.data.bridges.croissant import list_values
from biascon.data.bridges.export import Source, encode_png, iter_images
from biascon.data.split import Split

SPLIT_CODES = {"train": 0, "val": 1, "test": 2}
WILDS_RESERVED = {"img_id", "img_filename", "y", "split", "aligned", "index"}
TABLE_RESERVED = {"file", "label", "split", "aligned", "index"}


def write_wilds(work: Path, source: Source) -> dict[str, Any]:
    """Write ``images/<split>/<label>/*.png`` and ``metadata.csv``; return the names of the columns.

    The columns are ``img_id``, ``img_filename``, ``y``, ``split`` (0 train, 1 validation, 2 test), one column
    of codes for each attribute, ``aligned`` (0 or 1) if an alignment is defined, and ``index``.

    Raises:
        OSError: A file cannot be written.
    """
    columns = source.name_columns(WILDS_RESERVED)
    header = ["img_id", "img_filename", "y", "split", *columns.values()]
    rows: list[Sequence[Any]] = []

    def name_file(split: str, label: int, row: int) -> str:
        return f"images/{split}/{label}/{row:07d}.png"

    for name, split in source.data.splits.items():
        files = _write_images(work, name, split, source, name_file)
        attributes = source.list_attributes(split)
        for row, file in enumerate(files):
            codes = [int(attributes[key][row]) for key in columns]
            label, code = int(split.labels[row]), SPLIT_CODES[name]
            rows.append([len(rows), file, label, code, *codes, *_end_row(source, split, row)])
    _write_table(work / "metadata.csv", [*header, *_end_header(source)], rows)
    return {"columns": columns}


def write_class_folders(work: Path, source: Source) -> dict[str, Any]:
    """Write ``<split>/<label>_<name>/*.png`` and ``table.csv``; return the names of the columns.

    The folders of the classes are in the order of the labels, so torchvision's ``ImageFolder`` gives the same
    labels. ``table.csv`` has the columns ``file``, ``label``, ``split``, one for each attribute with the
    names of its values, ``aligned`` if an alignment is defined, and ``index``.

    Raises:
        OSError: A file cannot be written.
    """
    columns, labels = source.name_columns(TABLE_RESERVED), source.manifest.labels
    values = list_values(source.manifest)
    digits = len(str(len(labels) - 1))
    folders = [
        f"{k:0{digits}d}_{re.sub(r'[^A-Za-z0-9.-]+', '_', name)[:80]}"
        for k, name in enumerate(labels)
    ]
    rows: list[Sequence[Any]] = []

    def name_file(split: str, label: int, row: int) -> str:
        return f"{split}/{folders[label]}/{row:07d}.png"

    for name, split in source.data.splits.items():
        for folder in folders:  # also those without an image: ImageFolder counts the folders
            (work / name / folder).mkdir(parents=True)
        files = _write_images(work, name, split, source, name_file)
        attributes = source.list_attributes(split)
        for row, file in enumerate(files):
            texts = [values[key][attributes[key][row]] for key in columns]
            label = labels[split.labels[row]]
            rows.append([file, label, name, *texts, *_end_row(source, split, row)])
    header = ["file", "label", "split", *columns.values(), *_end_header(source)]
    _write_table(work / "table.csv", header, rows)
    return {"columns": columns}


def _write_images(
    work: Path, name: str, split: Split, source: Source, name_file: Callable[[str, int, int], str]
) -> list[str]:
    """Write the images of a split; return their files, relative to the folder."""
    files = []
    for row, pixels in enumerate(iter_images(split)):
        files.append(name_file(name, int(split.labels[row]), row))
        path = work / files[-1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(pixels))
        source.on_image()
    return files


def _end_header(source: Source) -> list[str]:
    return [*(["aligned"] if source.manifest.knows_aligned else []), "index"]


def _end_row(source: Source, split: Split, row: int) -> list[int]:
    """Return the last values of a row: whether it is aligned, if this is known, and its row in the source."""
    aligned = [int(split.aligned[row])] if source.manifest.knows_aligned else []
    return [*aligned, int(split.index[row])]


def _write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
