"""Compare the images of a set with the published numbers of images."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from biascon.data.building.plan import BuildPlan, PublishedCounts
from biascon.data.manifest import DatasetDescription
from biascon.errors import BiasconWarning
from biascon.utils.text import join_first
from biascon.utils.types import Array

_KEY = "published_counts"  # of the source in the manifest
_EQUAL = "equal"


def with_published_counts(plan: BuildPlan, published: PublishedCounts) -> BuildPlan:
    """Return a plan whose manifest states whether the set has its published numbers of images.

    The validation images count as training images if the set has no published validation split. A set with
    other numbers is built too, after a warning. The build compares again (``compare_kept_images``).
    """
    plan = replace(plan, published=published)
    differences = _list_differences(plan, None)
    if differences:
        _warn(plan.description, differences)
    source = {**plan.description.source, _KEY: differences or _EQUAL}
    return replace(plan, description=replace(plan.description, source=source))


def compare_kept_images(
    plan: BuildPlan, description: DatasetDescription, kept: Mapping[str, Array]
) -> DatasetDescription:
    """Return a description that states whether the images that a build keeps have the published numbers.

    If only the images that are left out make the difference, a warning says so.

    Args:
        plan: The plan of the dataset.
        description: The description of the dataset.
        kept: bool ``(N,)`` for each split: which rows are kept.
    """
    if not plan.published or all(rows.all() for rows in kept.values()):
        return description
    differences = _list_differences(plan, kept)
    if differences and description.source.get(_KEY) == _EQUAL:
        _warn(description, differences)
    return replace(description, source={**description.source, _KEY: differences or _EQUAL})


def _warn(description: DatasetDescription, differences: list[str]) -> None:
    warnings.warn(
        f"{description.name} does not have the published numbers of images: "
        f"{join_first(differences, 4)}",
        BiasconWarning,
        stacklevel=3,
    )


def _list_differences(plan: BuildPlan, kept: Mapping[str, Array] | None) -> list[str]:
    """Return each number of images that is not the published one, as text."""
    differences = []
    for split, counts in plan.published.items():
        has_val = "val" in plan.published
        parts = ("train", "val") if split == "train" and not has_val else (split,)
        got = _count_cells(plan, parts, max(map(len, counts)), kept)
        for key in sorted({*counts, *got}):
            if got[key] != counts.get(key, 0):
                cell = f"{split}, {' x '.join(key)}" if key else split
                differences.append(f"{got[key]:,} of {counts.get(key, 0):,} ({cell})")
    return differences


def _count_cells(
    plan: BuildPlan, splits: tuple[str, ...], length: int, kept: Mapping[str, Array] | None
) -> Counter[tuple[str, ...]]:
    """Count the images of some splits by label and values of attributes, ``length`` of them in all."""
    description = plan.description
    columns = [description.labels, *(a.values for a in (description.attributes or {}).values())]
    counts: Counter[tuple[str, ...]] = Counter()
    for name in splits:
        if name not in plan.splits:
            continue
        rows = plan.splits[name]
        mask = slice(None) if kept is None else kept[name]
        codes = [array[mask] for array in (rows.labels, *rows.attributes.values())[:length]]
        n = len(rows.labels[mask])
        keys = zip(*(array.tolist() for array in codes), strict=True) if codes else [()] * n
        for key in keys:
            counts[tuple(values[k] for values, k in zip(columns, key, strict=False))] += 1
    return counts
