"""Compare the rows of a plan with the published numbers of images of a set."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from biascon.data.building.plan import BuildPlan
from biascon.errors import BiasconWarning
from biascon.utils.text import join_first

# The number of images by split, and by label and values of the first attributes; the key () counts all.
PublishedCounts = Mapping[str, Mapping[tuple[str, ...], int]]


def with_published_counts(plan: BuildPlan, published: PublishedCounts) -> BuildPlan:
    """Return a plan whose manifest states whether the set has its published numbers of images.

    The validation images count as training images if the set has no published validation split. A set with
    other numbers is built too, after a warning.
    """
    differences = []
    for split, counts in published.items():
        parts = ("train", "val") if split == "train" and "val" not in published else (split,)
        got = _count_cells(plan, parts, length=max(map(len, counts)))
        for key in sorted({*counts, *got}):
            if got[key] != counts.get(key, 0):
                cell = f"{split}, {' x '.join(key)}" if key else split
                differences.append(f"{got[key]:,} of {counts.get(key, 0):,} ({cell})")
    if differences:
        warnings.warn(
            f"{plan.description.name} does not have the published numbers of images: "
            f"{join_first(differences, 4)}",
            BiasconWarning,
            stacklevel=2,
        )
    source = {**plan.description.source, "published_counts": differences or "equal"}
    return replace(plan, description=replace(plan.description, source=source))


def _count_cells(plan: BuildPlan, splits: tuple[str, ...], length: int) -> Counter[tuple[str, ...]]:
    """Count the images of some splits by label and values of attributes, ``length`` of them in all."""
    description = plan.description
    columns = [description.labels, *(a.values for a in (description.attributes or {}).values())]
    counts: Counter[tuple[str, ...]] = Counter()
    for name in splits:
        if name not in plan.splits:
            continue
        rows = plan.splits[name]
        codes = [rows.labels, *rows.attributes.values()][:length]
        keys = zip(*(array.tolist() for array in codes), strict=True) if codes else [()] * len(rows)
        for key in keys:
            counts[tuple(values[k] for values, k in zip(columns, key, strict=False))] += 1
    return counts
