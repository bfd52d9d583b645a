"""Counts of a dataset with several bias attributes: aligned with all of them, with some, or with none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biascon.data import memory_map
from biascon.data.manifest import SPLITS, Manifest
from biascon.data.split import ATTRIBUTE, find_aligned_rows
from biascon.errors import DataError
from biascon.utils.text import shorten
from biascon.utils.types import Array

MAX_ATTRIBUTES = 3  # with more of them, no table of all combinations is made


@dataclass(frozen=True)
class AttributeCounts:
    """The number of images of a split by label and by each bias attribute.

    Attributes:
        by_alignment: int64 ``(2, ..., 2)``, one axis for each attribute: index 1 is bias-aligned with it.
        by_attribute: The number of images in each (label, value) cell of an attribute, int64 ``(K, M)``.
    """

    by_alignment: Array
    by_attribute: Mapping[str, Array]


def list_aligned_attributes(manifest: Manifest) -> list[str]:
    """Return the attributes that have bias-aligned pairs.

    An attribute without pairs has no conflicting images, so that it is in no joint count. One example is the
    age of UTKFace built by race, where ages of 11 to 19 are in neither group.
    """
    attributes = manifest.attributes or {}
    return [name for name, entry in attributes.items() if entry.aligned_pairs]


def read_joint_counts(folder: Path, manifest: Manifest) -> dict[str, AttributeCounts]:
    """Count the images of each split of a verified dataset folder by its attributes with aligned pairs.

    Args:
        folder: The dataset folder. Its images are not read.
        manifest: Its manifest.

    Returns:
        The counts by split. Empty unless two or three attributes have aligned pairs.
    """
    names = list_aligned_attributes(manifest)
    if not 2 <= len(names) <= MAX_ATTRIBUTES:
        return {}
    paths = {name: folder / f"{name}.safetensors" for name in SPLITS}
    return {
        split: count_jointly(memory_map.read_arrays(path), manifest, names)
        for split, path in paths.items()
        if path.name in manifest.files
    }


def check_positions(name: str, array: Array, n: int) -> None:
    """Check that an array holds the positions of ``n`` names.

    Raises:
        DataError: A position is below 0 or above n - 1.
    """
    if array.size and not 0 <= int(array.min()) <= int(array.max()) < n:
        raise DataError(
            f"an image has a value of '{shorten(name)}' that the manifest does not name"
        )


def count_jointly(
    arrays: Mapping[str, Array], manifest: Manifest, names: list[str]
) -> AttributeCounts:
    """Count the images of a split by some attributes that have aligned pairs.

    Args:
        arrays: The arrays of the split by their names in its file.
        manifest: The manifest of the dataset.
        names: The attributes.

    Raises:
        DataError: An attribute has no array, or a value that the manifest does not name.
    """
    attributes, labels = manifest.attributes or {}, np.asarray(arrays["labels"])
    check_positions("labels", labels, manifest.n_labels)
    values = {}
    for name in names:
        array = arrays.get(f"{ATTRIBUTE}{name}")
        if array is None:
            raise DataError(
                f"dataset '{manifest.name}' has no array of the attribute '{shorten(name)}'"
            )
        values[name] = np.asarray(array)
        check_positions(name, values[name], len(attributes[name].values))
    by_alignment = np.zeros((2,) * len(names), dtype=np.int64)
    aligned = [
        find_aligned_rows(labels, values[name], manifest.labels, attributes[name]).astype(np.int64)
        for name in names
    ]
    np.add.at(by_alignment, tuple(aligned), 1)
    by_attribute = {}
    for name in names:
        cells = np.zeros((manifest.n_labels, len(attributes[name].values)), dtype=np.int64)
        np.add.at(cells, (labels, values[name]), 1)
        by_attribute[name] = cells
    return AttributeCounts(by_alignment, by_attribute)
