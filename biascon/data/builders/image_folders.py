"""Image sets that come as folders: Caltech-101, Caltech-256, ImageNet, and a user's own folders.

A plan is made from the sorted file names alone, so the order of a folder's listing does not change it.
``biascon.data.building.images`` decodes the images. None of these datasets has a bias attribute. CIFAR has
its own reader (``biascon.data.builders.cifar``).
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from biascon.data.builders.folder_hints import suggest_command
from biascon.data.builders.folder_layouts import FOLDERS, FolderListing, LabeledPaths
from biascon.data.building.plan import BuildPlan, SplitPlan
from biascon.data.building.splitting import (
    check_split_options,
    dataset_name,
    describe_splits,
    draw_per_class,
    hold_out,
)
from biascon.data.images.decoding import ImageFolder, ImageSpec, UnusableImageError
from biascon.data.manifest import SPLITS, DatasetDescription
from biascon.errors import DataError, UsageError, unknown_name
from biascon.utils.types import Array


@dataclass(frozen=True)
class ImageFoldersSpec:
    """All settings that determine the bytes of such a dataset, besides the images.

    Attributes:
        name: A key of ``FOLDERS``.
        seed: Seed of the training images (Caltech) and of the validation images.
        val_protocol: ``held-out`` (10 % of the training images of each class) or ``none``.
        per_class: Training images of each class (Caltech); 0 for the default, 30 or 60.
        title: Name of the dataset, for a user's own folder; "" for the folder's name.
        image_spec: How an image becomes an array.
    """

    name: str
    seed: int = 0
    val_protocol: str = "held-out"
    per_class: int = 0
    title: str = ""
    image_spec: ImageSpec = field(default_factory=lambda: ImageSpec(64))

    def __post_init__(self) -> None:
        if self.name not in FOLDERS:
            raise unknown_name("dataset", self.name, FOLDERS)
        check_split_options(self.val_protocol, self.seed)
        if self.per_class < 0:
            raise UsageError(f"expected per_class to be at least 1, but got {self.per_class}")
        if self.per_class and not FOLDERS[self.name].per_class:
            raise UsageError(f"{self.name} has official training images: leave out --per-class")
        if self.title and self.name != "folder":
            raise UsageError(f"{self.name} has a fixed name: leave out --name")


def find_native_spec(raw: Path, name: str, title: str = "") -> ImageSpec:
    """Return the specification that keeps the images of a set as they are.

    The first image that can be opened has the size. An image of another size is then left out.

    Args:
        raw: The folder of the set.
        name: A key of ``FOLDERS``.
        title: Name of the dataset, for a user's own folder; "" for the folder's name.

    Raises:
        UsageError: Four does not divide the size.
        DataError: RAW does not have the layout of the set, no image can be opened, or the first is no square.
    """
    listing = FOLDERS[name].find(raw, title, False)
    folder = ImageFolder(listing.folder)
    for path, _ in listing.parts.get("train", listing.parts.get("all", [])):
        try:
            with Image.open(io.BytesIO(folder.read(folder.find(path)))) as image:
                width, height = image.size
        except (UnusableImageError, OSError, ValueError, Image.DecompressionBombError):
            continue
        if width != height:
            raise DataError(
                f"{listing.folder / path} has {width} x {height} pixels, but --native needs squares; "
                "pass --size instead"
            )
        return ImageSpec(width, width, "native")
    raise DataError(f"{listing.folder} has no training image that can be opened")


def plan_image_folders(raw: Path, spec: ImageFoldersSpec) -> tuple[Path, BuildPlan]:
    """Assign the images of a set to splits.

    Args:
        raw: The folder of the set.
        spec: The settings.

    Returns:
        The folder that the paths of the plan are relative to (RAW or a subfolder), and the plan.

    Raises:
        UsageError: An option does not apply to the set.
        DataError: RAW does not have the layout of the set, or a class has too few images.
    """
    layout = FOLDERS[spec.name]
    try:
        listing = layout.find(raw, spec.title, spec.val_protocol != "none")
    except DataError as error:
        hint = suggest_command(raw) if raw.is_dir() else ""
        raise DataError(f"{error}{hint}") from error
    parts = dict(listing.parts)
    protocol = dict(listing.protocol)
    if "all" in parts:
        per_class = spec.per_class or layout.per_class
        parts = _draw_train(listing, per_class, spec.seed)
        protocol["train"] = f"{per_class} pictures of each class, drawn by seed"
        protocol["test"] = "all other pictures"
    if "val" not in parts:
        train = parts["train"]
        labels = _get_labels(train)
        is_val = hold_out(labels, len(listing.classes), spec.seed, spec.val_protocol)
        parts["train"] = _select(train, ~is_val)
        if is_val.any():
            parts["val"] = _select(train, is_val)
        protocol |= describe_splits(protocol["train"], spec.val_protocol)
    paths = sorted(path for rows in parts.values() for path, _ in rows)
    ranks = {path: rank for rank, path in enumerate(paths)}
    splits = {name: _make_split_plan(parts[name], ranks) for name in SPLITS if name in parts}
    description = _describe(listing, spec, protocol, splits)
    return listing.folder, BuildPlan(description, splits, not_images=listing.left_out)


def _draw_train(listing: FolderListing, per_class: int, seed: int) -> dict[str, LabeledPaths]:
    """Split a set without official splits: ``per_class`` images of each class train, the others test."""
    rows = listing.parts["all"]
    labels, n_labels = _get_labels(rows), len(listing.classes)
    counts = np.bincount(labels, minlength=n_labels)
    if (counts <= per_class).any():
        smallest = int(counts.argmin())
        raise DataError(
            f"class '{listing.classes[smallest]}' of {listing.folder} has {counts[smallest]} images: with "
            f"{per_class} training images of each class none is left to test; pass a lower --per-class"
        )
    is_train = draw_per_class(labels, n_labels, per_class, seed)
    return {"train": _select(rows, is_train), "test": _select(rows, ~is_train)}


def _select(rows: LabeledPaths, is_selected: Array) -> LabeledPaths:
    return [row for row, selected in zip(rows, is_selected, strict=True) if selected]


def _get_labels(rows: LabeledPaths) -> Array:
    """Return the labels of some images, int64 ``(N,)``."""
    return np.array([label for _, label in rows], dtype=np.int64)


def _make_split_plan(rows: LabeledPaths, ranks: Mapping[str, int]) -> SplitPlan:
    """Return the plan of a split without a bias attribute; the index is the rank of the path."""
    zero = np.zeros(len(rows), dtype=np.int64)
    index = np.array([ranks[path] for path, _ in rows], dtype=np.int64)
    return SplitPlan([path for path, _ in rows], _get_labels(rows), zero, zero > 0, index)


def _describe(
    listing: FolderListing,
    spec: ImageFoldersSpec,
    protocol: Mapping[str, str],
    splits: Mapping[str, SplitPlan],
) -> DatasetDescription:
    """Describe the dataset."""
    layout, image_spec = FOLDERS[spec.name], spec.image_spec
    per_class = spec.per_class or layout.per_class
    parts = [listing.stem, *([f"{per_class}-a-class"] if per_class != layout.per_class else [])]
    return DatasetDescription(
        name=dataset_name(
            "-".join([*parts, *image_spec.name_suffixes()]), spec.val_protocol, spec.seed
        ),
        builder="standard",
        protocol={
            **{key: protocol[key] for key in ("train", "val", "test")},
            "pictures": image_spec.describe(),
        },
        parameters={
            **{key: value for key, value in asdict(spec).items() if key != "image_spec"},
            "per_class": per_class,
            **asdict(image_spec),
        },
        source={
            "kind": spec.name,
            "origin": layout.title,
            "names": {
                "read": sum(len(rows) for rows in splits.values()) + len(listing.left_out),
                "left_out": len(listing.left_out),
                "reasons": dict(sorted(Counter(reason for _, reason in listing.left_out).items())),
            },
        },
        labels=list(listing.classes),
        bias=None,
    )
