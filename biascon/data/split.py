"""The arrays of a dataset in memory: ``Split``, and ``BiasedDataset`` with the splits and the manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from biascon.data.manifest import Attribute, Manifest, SplitCounts
from biascon.errors import DataError
from biascon.utils.types import Array

if TYPE_CHECKING:
    from biascon.data.bridges.torch_dataset import TorchDataset

ATTRIBUTE = "attribute."  # prefix of the array names of attributes in a file


@dataclass(frozen=True)
class Split:
    """One split: N images with their labels and bias values.

    Attributes:
        images: uint8 ``(N, C, H, W)``.
        labels: int64 ``(N,)`` in 0..K-1.
        bias: int64 ``(N,)`` in 0..M-1.
        aligned: bool ``(N,)``: whether the image is bias-aligned.
        index: int64 ``(N,)``: the row in the source.
        attributes: int64 ``(N,)`` by attribute name. The bias attribute is one of them.
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
        """Return the number of images in each (label, bias) cell, int64 ``(K, M)``."""
        table = np.zeros((n_labels, n_bias), dtype=np.int64)
        np.add.at(table, (self.labels, self.bias), 1)
        return table

    def arrays(self) -> dict[str, Array]:
        """Return the arrays by their names in the file of the split."""
        attributes = {f"{ATTRIBUTE}{name}": array for name, array in self.attributes.items()}
        return {**{name: getattr(self, name) for name in DTYPES}, **attributes}

    def torch(
        self,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        *,
        attributes: Sequence[str] = (),
        pil: bool = False,
    ) -> TorchDataset:
        """Return the split as a ``torch.utils.data.Dataset`` of ``(image, label, bias)``.

        Args:
            transform: Called with each image, a uint8 tensor ``(C, H, W)``, for example a transform of
                ``torchvision.transforms.v2``.
            target_transform: Called with each label, an int.
            attributes: Attributes whose values are returned too, as a fourth entry: a dictionary of int by
                name. Besides the attributes of the dataset, ``aligned`` and ``index`` are possible.
            pil: Whether the images are Pillow images instead of tensors.

        Raises:
            UsageError: The split has no such attribute.
        """
        from biascon.data.bridges.torch_dataset import TorchDataset

        available = {"aligned": self.aligned, "index": self.index, **self.attributes}
        return TorchDataset(
            self.images, self.labels, self.bias, available, transform=transform,
            target_transform=target_transform, attributes=attributes, pil=pil,
        )  # fmt: skip


DTYPES: dict[str, Any] = {
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
        name: The dataset's name, such as ``bmnist-0.997``.
        manifest: The content of ``manifest.json``.
        splits: The splits that were read, by name.
        digest: SHA-256 that identifies the dataset, see ``biascon.data.dataset.dataset_digest``.
        base: The dataset that this one is a view of (``view_by_attributes``), or None.
    """

    name: str
    manifest: Manifest
    splits: Mapping[str, Split]
    digest: str
    base: BiasedDataset | None = None

    @property
    def n_labels(self) -> int:
        """K, the number of classes."""
        return self.manifest.n_labels

    @property
    def n_bias(self) -> int:
        """M, the number of values of the bias attribute; 1 without a bias attribute."""
        return self.manifest.n_bias

    @property
    def has_bias(self) -> bool:
        """Whether the dataset has a bias attribute."""
        return self.manifest.bias is not None

    @property
    def knows_aligned(self) -> bool:
        """Whether it is defined which (label, bias) cells are bias-aligned."""
        return self.manifest.knows_aligned

    def split(self, name: str) -> Split:
        """Return a split by name: ``train``, ``val`` or ``test``.

        Raises:
            DataError: The dataset has no such split, or it was not read.
        """
        if name not in self.splits:
            raise DataError(f"{self.name} has no {name} split (it has: {', '.join(self.splits)})")
        return self.splits[name]


def summarize(
    split: Split, n_labels: int, n_bias: int, *, knows_aligned: bool = True
) -> SplitCounts:
    """Count the images of a split.

    Args:
        split: The split. Its images are not read.
        n_labels: K.
        n_bias: M; 1 without a bias attribute.
        knows_aligned: Whether an alignment is defined. If not, ``aligned`` and ``conflicting`` are None.
    """
    table = split.counts(n_labels, n_bias)
    return SplitCounts(
        n=len(split),
        aligned=int(split.aligned.sum()) if knows_aligned else None,
        conflicting=int((~split.aligned).sum()) if knows_aligned else None,
        empty_cells=int((table == 0).sum()),
        cells=table.tolist(),
    )


def find_aligned_rows(
    labels: Array, values: Array, label_names: Sequence[str], attribute: Attribute
) -> Array:
    """Return bool ``(N,)``: whether each (label, value) is one of the attribute's aligned pairs.

    Args:
        labels: int64 ``(N,)`` in 0..K-1.
        values: int64 ``(N,)``: the attribute's value of each image.
        label_names: The names of the K classes.
        attribute: The attribute.
    """
    cells = np.zeros((len(label_names), len(attribute.values)), dtype=bool)
    for label, value in attribute.aligned_pairs or ():
        cells[label_names.index(label), attribute.values.index(value)] = True
    return cells[labels, values]
