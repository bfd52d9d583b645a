"""Recognize sets with an own command in folders that another command cannot read."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

from biascon.data.builders import debias_folders, fairface, urbancars, waterbirds
from biascon.data.images.file_names import IMAGE_SUFFIXES

_LOOK_AT = 200  # names of a folder


def suggest_command(raw: Path) -> str:
    """Return the end of an error message: the command for a folder, or "" if no set is recognized."""
    try:
        command = next((name for name, matches in _SETS.items() if matches(raw)), None)
        if command is not None:
            return f"; this looks like the folder of biascon {command.format(raw=raw)}"
        tables = [path for path in _list(raw) if path.suffix.lower() in (".csv", ".tsv")]
        if tables:
            return f"; for labels in {tables[0].name} use biascon make-table {tables[0]}"
        flat = next((path for part in (raw / "train", raw) for path in _list_images(part)), None)
    except OSError:
        return ""
    if flat is None:
        return ""
    pattern = "{split}/{label}_{id}" if flat.parent != raw else "{label}_{id}"
    return (
        f"; if labels stand in names such as {flat.relative_to(raw)}, use biascon make-table {raw} --pattern "
        f"'{pattern}{flat.suffix}'"
    )


def _list(folder: Path) -> list[Path]:
    """Return the first paths of a folder, sorted; none if it does not exist."""
    return sorted(islice(folder.iterdir(), _LOOK_AT)) if folder.is_dir() else []


def _list_images(folder: Path) -> list[Path]:
    names = (path for path in _list(folder) if not path.name.startswith("."))
    return [path for path in names if path.name.lower().endswith(IMAGE_SUFFIXES)]


def _has(*names: str) -> Callable[[Path], bool]:
    return lambda raw: any((raw / name).exists() for name in names)


def _is_utkface(raw: Path) -> bool:
    folders = (raw, raw / "UTKFace")
    return any(
        path.name.endswith(".chip.jpg") for folder in folders for path in _list_images(folder)
    )


def _is_disent(raw: Path) -> bool:
    return (raw / "align").is_dir() or bool(debias_folders.list_percents(raw))


_SETS: dict[str, Callable[[Path], bool]] = {
    "make-celeba {raw}": _has("img_align_celeba", "list_attr_celeba.txt", "list_attr_celeba.csv"),
    "make-utkface {raw}": _is_utkface,
    "make-waterbirds {raw}": _has(waterbirds.TABLE, f"{waterbirds.FOLDERS[0]}/{waterbirds.TABLE}"),
    "make-urbancars {raw}": _has(
        urbancars.PARTS[0], f"{urbancars.FOLDERS[0]}/{urbancars.PARTS[0]}"
    ),
    "make-fairface {raw}": _has(*fairface.TABLES.values()),
    "make-debias {raw} (for other names of files: make-table --pattern)": _is_disent,
    "make-debias {raw} (for other names of files than those of BAR: make-table --pattern)": (
        debias_folders.is_bar
    ),
}
