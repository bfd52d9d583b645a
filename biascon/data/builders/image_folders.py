"""The standard picture sets that come as folders: Caltech-101, Caltech-256, ImageNet, and anybody's own.

A plan is made from the sorted file names alone, so the order of a folder's listing does not change it.
``biascon.data.building.images`` decodes the pictures. None of these datasets has a bias attribute. CIFAR
has its own reader (``biascon.data.builders.cifar``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from biascon.data.builders.folder_layouts import FOLDERS, FolderListing, LabeledPaths
from biascon.data.building.plan import BuildPlan, SplitPlan
from biascon.data.building.splitting import (
    check_split_options,
    dataset_name,
    describe_splits,
    draw_per_class,
    hold_out,
)
from biascon.data.images.decoding import ImageSpec
from biascon.data.manifest import SPLITS, DatasetDescription
from biascon.errors import DataError, UsageError, unknown_name
from biascon.utils.types import Array


@dataclass(frozen=True)
class ImageFoldersSpec:
    """Everything that decides the bytes of such a set, besides the pictures.

    Attributes:
        name: A key of ``FOLDERS``.
        seed: Decides which pictures train (Caltech) and which validate.
        val_protocol: ``held-out`` (10 % of the training pictures of each class) or ``none``.
        per_class: How many pictures of a class train, of Caltech; 0 for the usual 30 or 60.
        title: What the dataset is called, of an own folder; "" for the folder's name.
        shape: How a picture becomes an array.
    """

    name: str
    seed: int = 0
    val_protocol: str = "held-out"
    per_class: int = 0
    title: str = ""
    shape: ImageSpec = field(default_factory=lambda: ImageSpec(64))

    def __post_init__(self) -> None:
        if self.name not in FOLDERS:
            raise unknown_name("dataset", self.name, FOLDERS)
        check_split_options(self.val_protocol, self.seed)
        if self.per_class < 0:
            raise UsageError(f"expected per_class to be at least 1, but got {self.per_class}")
        if self.per_class and not FOLDERS[self.name].per_class:
            raise UsageError(f"{self.name} has training pictures of its own: leave out --per-class")
        if self.title and self.name != "folder":
            raise UsageError(f"{self.name} has a name of its own: leave out --name")


def plan_image_folders(raw: Path, spec: ImageFoldersSpec) -> tuple[Path, BuildPlan]:
    """Return the folder that holds the pictures, RAW or one in it, and which are in which split.

    Raises:
        UsageError: Options that do not fit the set.
        DataError: RAW has not the set's layout, or a class has too few pictures.
    """
    kind = FOLDERS[spec.name]
    found = kind.find(raw, spec.title, spec.val_protocol != "none")
    n_labels = len(found.classes)
    whole = found.parts.get("all")
    told = dict(found.protocol)
    if whole is None:
        parts = dict(found.parts)
    else:
        per_class = spec.per_class or kind.per_class
        labels = _get_labels(whole)
        counts = np.bincount(labels, minlength=n_labels)
        if (counts <= per_class).any():
            few = int(counts.argmin())
            raise DataError(
                f"class '{found.classes[few]}' of {found.folder} has {counts[few]} pictures: with "
                f"{per_class} of each class to train none is left to test; pass a lower --per-class"
            )
        chosen = draw_per_class(labels, n_labels, per_class, spec.seed)
        parts = {
            "train": [row for row, here in zip(whole, chosen, strict=True) if here],
            "test": [row for row, here in zip(whole, chosen, strict=True) if not here],
        }
        told["train"] = f"{per_class} pictures of each class, drawn by seed"
        told["test"] = "all other pictures"
    if "val" not in parts:
        held = hold_out(_get_labels(parts["train"]), n_labels, spec.seed, spec.val_protocol)
        pool = parts["train"]
        parts["train"] = [row for row, here in zip(pool, held, strict=True) if not here]
        if held.any():
            parts["val"] = [row for row, here in zip(pool, held, strict=True) if here]
        told |= describe_splits(told["train"], spec.val_protocol)
    ranks = {
        path: k for k, path in enumerate(sorted(p for rows in parts.values() for p, _ in rows))
    }
    splits: dict[str, SplitPlan] = {}
    for name in SPLITS:
        if name in parts:
            splits[name] = _make_split_plan(parts[name], ranks)
    return found.folder, BuildPlan(_describe(found, spec, told, splits), splits, found.left_out)


def _get_labels(rows: LabeledPaths) -> Array:
    return np.array([label for _, label in rows], dtype=np.int64)


def _make_split_plan(rows: LabeledPaths, ranks: Mapping[str, int]) -> SplitPlan:
    zero = np.zeros(len(rows), dtype=np.int64)
    index = np.array([ranks[path] for path, _ in rows], dtype=np.int64)
    return SplitPlan([path for path, _ in rows], _get_labels(rows), zero, zero > 0, index)


def _describe(
    found: FolderListing,
    spec: ImageFoldersSpec,
    told: Mapping[str, str],
    splits: Mapping[str, SplitPlan],
) -> DatasetDescription:
    kind, shape = FOLDERS[spec.name], spec.shape
    per_class = spec.per_class or kind.per_class
    parts = [found.stem, *([f"{per_class}-a-class"] if per_class != kind.per_class else [])]
    return DatasetDescription(
        name=dataset_name("-".join([*parts, *shape.name_suffixes()]), spec.val_protocol, spec.seed),
        builder="standard",
        protocol={
            **{key: told[key] for key in ("train", "val", "test")},
            "pictures": shape.describe(),
        },
        parameters={
            **{key: value for key, value in asdict(spec).items() if key != "shape"},
            "per_class": per_class,
            **asdict(shape),
        },
        source={
            "kind": spec.name,
            "origin": kind.title,
            "names": {
                "read": sum(len(rows) for rows in splits.values()) + len(found.left_out),
                "left_out": len(found.left_out),
                "reasons": dict(sorted(Counter(reason for _, reason in found.left_out).items())),
            },
        },
        labels=list(found.classes),
        bias=None,
    )
