"""Predict a build without opening an image: its counts, the images it leaves out, and its failure.

Names, lists and the sizes of files are known before a build. What only the content of a file tells, such as a
truncated image, is not predicted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from biascon.data.building import left_out
from biascon.data.building.arrays import check_same_dataset
from biascon.data.building.images import add_source_digests, check_request
from biascon.data.building.plan import BuildPlan
from biascon.data.building.published import compare_kept_images
from biascon.data.images import decoding
from biascon.data.images.decoding import ImageFolder, UnusableImageError
from biascon.data.manifest import DatasetDescription, RejectedCounts, SplitCounts
from biascon.errors import BiasconError
from biascon.utils.types import Array


@dataclass(frozen=True)
class BuildPreview:
    """The prediction of a build.

    Attributes:
        description: The description of the dataset, with the number of images that are left out.
        counts: The counts of each split.
        failure: The error that the build would raise, or None.
    """

    description: DatasetDescription
    counts: Mapping[str, SplitCounts]
    failure: BiasconError | None


def preview_build(
    raw: Path | None,
    plan: BuildPlan,
    out: Path,
    *,
    max_rejected: float = 0.01,
    force: bool = False,
) -> BuildPreview:
    """Predict ``build_image_dataset`` with the same arguments.

    Args:
        raw: The folder of images. With None, every image counts as usable.
        plan: The plan of the dataset.
        out: The dataset folder. If it holds the same dataset already, the counts are those of the folder.
        max_rejected: As for ``build_image_dataset``.
        force: As for ``build_image_dataset``.
    """
    failure: BiasconError | None = None
    masks = {name: np.ones(len(rows), dtype=bool) for name, rows in plan.splits.items()}
    rejected: list[tuple[str, str]] = []
    try:
        if raw is not None:
            check_request(raw, out, max_rejected)
            folder = ImageFolder(raw)
            if out.exists() and any(out.iterdir()) and not force:
                manifest = check_same_dataset(out, add_source_digests(plan, folder))
                description = replace(plan.description, rejected=manifest.rejected)
                return BuildPreview(description, manifest.counts, None)
            rejected = _find_unusable(plan, folder, masks)
        left_out.check_limit(plan, rejected, max_rejected)
        plan.check_labels(masks)
    except BiasconError as error:
        failure = error
    counts = RejectedCounts(left_out.count_reasons(left_out.list_all(plan, rejected)))
    description = compare_kept_images(plan, replace(plan.description, rejected=counts), masks)
    return BuildPreview(description, plan.summarize_splits(masks), failure)


def _find_unusable(
    plan: BuildPlan, folder: ImageFolder, masks: Mapping[str, Array]
) -> list[tuple[str, str]]:
    """Return (path, reason) of the images that cannot be read, and clear their rows in ``masks``."""
    rejected = []
    for name, rows in plan.splits.items():
        for row, path in enumerate(rows.paths):
            try:
                size = folder.find(path).size
            except UnusableImageError as error:
                reason = str(error)
            else:
                if 0 < size <= decoding.MAX_BYTES:
                    continue
                reason = decoding.TOO_LARGE if size else decoding.EMPTY
            masks[name][row] = False
            rejected.append((path, reason))
    return rejected
