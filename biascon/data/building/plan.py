"""The plan of an image dataset: the files of each split, with their labels and attributes.

A plan is made from file names and tables alone, before any image is opened.
``biascon.data.building.images`` executes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from biascon.data import dataset
from biascon.data.dataset import Split
from biascon.data.images.decoding import ImageSpec
from biascon.data.manifest import DatasetDescription, SplitCounts
from biascon.errors import DataError
from biascon.utils.files import digest_of
from biascon.utils.text import quote_some
from biascon.utils.types import Array

# The number of images by split, and by label and values of the first attributes; the key () counts all.
PublishedCounts = Mapping[str, Mapping[tuple[str, ...], int]]


@dataclass(frozen=True)
class SplitPlan:
    """The images of a split, in their order.

    Attributes:
        paths: Paths relative to the folder of images, with forward slashes.
        labels: int64 ``(N,)`` in 0..K-1.
        bias: int64 ``(N,)`` in 0..M-1, all 0 without a bias attribute.
        aligned: bool ``(N,)``: whether the image is bias-aligned.
        index: int64 ``(N,)``: the row in the source.
        attributes: int64 ``(N,)`` by attribute name.
    """

    paths: Sequence[str]
    labels: Array
    bias: Array
    aligned: Array
    index: Array
    attributes: Mapping[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.paths)

    def without_rejected(self, is_kept: Array) -> Split:
        """Return the split of the rows that are kept, bool ``(N,)``, without images."""
        no_images = np.empty((0, 3, 0, 0), dtype=np.uint8)
        attributes = {name: array[is_kept] for name, array in self.attributes.items()}
        labels, bias, aligned, index = (
            array[is_kept] for array in (self.labels, self.bias, self.aligned, self.index)
        )
        return Split(no_images, labels, bias, aligned, index, attributes)


@dataclass(frozen=True)
class BuildPlan:
    """The plan of a dataset.

    Attributes:
        description: The manifest without counts, digests and rejected images.
        splits: The splits by name, in the order of ``SPLITS``.
        left_out: (name, reason) of the names that are left out before a file is opened.
        not_images: (path, reason) of the files that are not named like images. They are listed with the
            images that are left out, but do not count against the limit of these.
        published: The published numbers of images; empty for a set without them.
    """

    description: DatasetDescription
    splits: Mapping[str, SplitPlan]
    left_out: Sequence[tuple[str, str]] = ()
    not_images: Sequence[tuple[str, str]] = ()
    published: PublishedCounts = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("train", "test"):
            if not len(self.splits.get(name, ())):
                raise DataError(f"the {name} split has no images")
        labels = self.description.labels
        if len(labels) < 2:
            raise DataError(f"expected images of two or more labels, but all are '{labels[0]}'")
        self.check_labels()

    def __len__(self) -> int:
        return sum(len(rows) for rows in self.splits.values())

    def check_labels(self, kept: Mapping[str, Array] | None = None) -> None:
        """Check that each split has an image of each label.

        Args:
            kept: bool ``(N,)`` for each split: which rows count; None for all rows.

        Raises:
            DataError: A split has no image of a label.
        """
        names = self.description.labels
        usable = "" if kept is None else " that can be used"
        for split, rows in self.splits.items():
            labels = rows.labels if kept is None else rows.labels[kept[split]]
            if not len(labels):
                raise DataError(f"the {split} split has no images{usable}")
            counts = np.bincount(labels, minlength=len(names))
            missing = [names[label] for label in np.flatnonzero(counts == 0)]
            if missing:
                raise DataError(
                    f"the {split} split has no image{usable} of {quote_some(missing, 3)}: a split must have "
                    f"images of each of the {len(names):,} labels; add images, or change the splits (a "
                    "seeded split: another --seed, or --val-protocol none)"
                )

    def summarize_splits(self, kept: Mapping[str, Array] | None = None) -> dict[str, SplitCounts]:
        """Return the counts of each split as the manifest holds them.

        Args:
            kept: bool ``(N,)`` for each split: which rows count; None for all rows.
        """
        sizes = (self.description.n_labels, self.description.n_bias)
        knows_aligned = self.description.knows_aligned
        counts = {}
        for name, rows in self.splits.items():
            mask = np.ones(len(rows), dtype=bool) if kept is None else kept[name]
            counts[name] = dataset.summarize(
                rows.without_rejected(mask), *sizes, knows_aligned=knows_aligned
            )
        return counts

    def as_file_index(self, image_spec: ImageSpec) -> BuildPlan:
        """Return the plan of the same dataset that holds an index of its files instead of pixels."""
        name = f"{self.description.name}-files"
        store = {"kind": "files", **asdict(image_spec)}
        return replace(self, description=replace(self.description, name=name, store=store))

    def compute_digest(self) -> str:
        """Return the SHA-256 of the whole plan."""
        return digest_of({"description": self.description.to_json(), "rows": self.digest_rows()})

    def digest_rows(self) -> str:
        """Return the SHA-256 of the rows of all splits: paths, labels and attributes."""
        parts: dict[str, str] = {}
        for name, rows in self.splits.items():
            state = hashlib.sha256("\n".join(rows.paths).encode("utf-8", "surrogateescape"))
            for array in (rows.labels, rows.bias, rows.aligned, rows.index):
                state.update(np.ascontiguousarray(array).tobytes())
            for key, array in rows.attributes.items():
                state.update(key.encode() + np.ascontiguousarray(array).tobytes())
            parts[name] = state.hexdigest()
        return digest_of(parts)
