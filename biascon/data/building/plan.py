"""What a builder of pictures wants: for each split its files with their label and attributes.

A plan is made from names and tables alone, before any picture is opened.
``biascon.data.building.images`` carries it out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from biascon.data import dataset, manifest
from biascon.data.dataset import Split
from biascon.data.images.decoding import ImageSpec
from biascon.errors import DataError
from biascon.utils.files import digest_of
from biascon.utils.types import Array


@dataclass(frozen=True)
class SplitPlan:
    """The pictures of a split, in their order.

    Attributes:
        paths: Relative to the folder of pictures, with forward slashes.
        labels: int64 ``(N,)`` in 0..K-1.
        bias: int64 ``(N,)`` in 0..M-1, all 0 without a bias attribute.
        aligned: bool ``(N,)``.
        index: int64 ``(N,)``: the row in the source.
        attributes: int64 ``(N,)`` each, by name.
    """

    paths: Sequence[str]
    labels: Array
    bias: Array
    aligned: Array
    index: Array
    attributes: Mapping[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.paths)

    def keep(self, kept: Array) -> Split:
        """Return the split of some of its rows, bool ``(N,)``, without images."""
        none = np.empty((0, 3, 0, 0), dtype=np.uint8)
        more = {name: array[kept] for name, array in self.attributes.items()}
        labels, bias, aligned, index = (
            array[kept] for array in (self.labels, self.bias, self.aligned, self.index)
        )
        return Split(none, labels, bias, aligned, index, more)


@dataclass(frozen=True)
class BuildPlan:
    """A dataset to build.

    Attributes:
        description: What the manifest says besides counts, digests and what is left out.
        splits: By name, in the order of ``SPLITS``.
        left_out: Names that are left out before a file is opened: (name, reason).
        reads: How many names there were, those left out included.
    """

    description: Mapping[str, Any]
    splits: Mapping[str, SplitPlan]
    left_out: Sequence[tuple[str, str]] = ()
    reads: int = 0

    def __post_init__(self) -> None:
        for name in ("train", "test"):
            if not len(self.splits.get(name, ())):
                raise DataError(f"the {name} split has no pictures")
        labels = self.description["labels"]
        if len(labels) < 2:
            raise DataError(f"expected pictures of two labels or more, but all are '{labels[0]}'")

    def __len__(self) -> int:
        return sum(len(rows) for rows in self.splits.values())

    def counts(self, kept: Mapping[str, Array] | None = None) -> dict[str, Any]:
        """Return what the manifest says of each split's counts, of all rows or of those ``kept``."""
        sizes = (len(self.description["labels"]), manifest.n_bias(self.description))
        known = manifest.knows_aligned(self.description)
        found = {}
        for name, rows in self.splits.items():
            mask = np.ones(len(rows), dtype=bool) if kept is None else kept[name]
            found[name] = dataset.summarize(rows.keep(mask), *sizes, knows_aligned=known)
        return found

    def as_file_index(self, shape: ImageSpec) -> BuildPlan:
        """Return the plan of a dataset that holds an index of its files, to be decoded on demand."""
        name = f"{self.description['name']}-files"
        store = {"kind": "files", **asdict(shape)}
        return replace(self, description={**self.description, "name": name, "store": store})

    def digest(self) -> str:
        """Return a SHA-256 that stands for the whole plan."""
        return digest_of({"description": dict(self.description), "rows": self.digest_of_rows()})

    def digest_of_rows(self) -> str:
        """Return a SHA-256 of the splits' rows: paths, labels and attributes."""
        parts: dict[str, str] = {}
        for name, rows in self.splits.items():
            state = hashlib.sha256("\n".join(rows.paths).encode("utf-8", "surrogateescape"))
            for array in (rows.labels, rows.bias, rows.aligned, rows.index):
                state.update(np.ascontiguousarray(array).tobytes())
            for key, array in rows.attributes.items():
                state.update(key.encode() + np.ascontiguousarray(array).tobytes())
            parts[name] = state.hexdigest()
        return digest_of(parts)
