"""The images that a build leaves out: their list, their counts and their limit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from biascon.data.building.plan import BuildPlan
from biascon.data.images.file_names import is_system_file
from biascon.errors import DataError

Rejected = Sequence[tuple[str, str]]  # (path, reason) of images that cannot be used


def list_all(plan: BuildPlan, rejected: Rejected) -> list[tuple[str, str]]:
    """Return (path, reason) of all files that a dataset leaves out, sorted.

    Args:
        plan: The plan of the dataset.
        rejected: The planned images that cannot be used.
    """
    return sorted([*plan.left_out, *plan.not_images, *rejected])


def check_limit(plan: BuildPlan, rejected: Rejected, max_rejected: float) -> None:
    """Check the number of images that are left out.

    Files that are not named like images, and files of the system such as ``._x.jpg``, do not count.

    Args:
        plan: The plan of the dataset.
        rejected: The planned images that cannot be used.
        max_rejected: The largest share of images that may be left out, in [0, 1].

    Raises:
        DataError: The share is larger.
    """
    images = [*plan.left_out, *rejected]
    counted = sorted(image for image in images if not is_system_file(image[0]))
    total = len(plan) + len(plan.left_out) - (len(images) - len(counted))
    if len(counted) <= max_rejected * total:
        return
    reasons = ", ".join(f"{n:,} {reason}" for reason, n in count_reasons(counted).items())
    first = ", ".join(path for path, _ in counted[:3])
    raise DataError(
        f"{len(counted):,} or more of {total:,} images cannot be used ({reasons}), which is over "
        f"--max-rejected {max_rejected:.4g}; the first are {first}; repair them, or pass a larger "
        "--max-rejected"
    )


def count_reasons(images: Rejected) -> dict[str, int]:
    """Return the number of images that were left out for each reason, sorted by reason."""
    return dict(sorted(Counter(reason for _, reason in images).items()))
