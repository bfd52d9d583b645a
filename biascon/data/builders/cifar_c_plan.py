"""Which images of Corrupted CIFAR-10 get which corruption.

The n images of a class are listed in random order, or in the order of the files. With a share s of
conflicting images, the corruption of the class has the weight 1 - s and each of the nine others s / 9.
Corruption j gets the images from round(n W_{j-1}) to round(n W_j), W being the cumulative sum of the weights.
In the test split every corruption has the weight 1 / 10. This is the rule of Nam et al., Learning from
Failure (NeurIPS 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from biascon.data.building.splitting import hold_out
from biascon.data.corruptions.registry import CORRUPTIONS, FROST, LISTS
from biascon.data.manifest import SplitCounts
from biascon.data.split import Split, summarize
from biascon.errors import UsageError, did_you_mean
from biascon.utils.seeds import permutation
from biascon.utils.types import Array

CLASSES = 10
EVEN = Fraction(9, 10)  # the share of conflicting images if all corruptions are equally frequent
SEVERITIES = (1, 2, 3, 4)
ORDERS = ("shuffled", "files")
VAL_PROTOCOLS = ("held-out", "biased", "none")


@dataclass(frozen=True)
class CorruptedCIFARSpec:
    """The settings of a Corrupted CIFAR-10. With the images, they determine every byte of the dataset.

    Attributes:
        conflicting: Share of the training images of a class with another corruption than that of the class.
        type: Which list of corruptions: 0 or 1.
        severity: 1..4, as in the paper. Severity s is level s + 1 of CIFAR-10-C.
        replace: (corruption of the list, corruption instead), both by name.
        val_protocol: ``held-out``: 10 % of the training images of each class are held out; in them every
            corruption is equally frequent. ``biased``: the same images, corrupted as the training images are.
            ``none``: no validation split.
        order: ``shuffled``: the images of a class are shuffled before the corruptions are assigned.
            ``files``: they are taken in the order of the files, as published.
        seed: Seed of the dataset.
    """

    conflicting: float
    type: int = 0
    severity: int = 4
    replace: tuple[tuple[str, str], ...] = ()
    val_protocol: str = "held-out"
    order: str = "shuffled"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.conflicting <= 1:
            raise UsageError(f"expected conflicting in [0, 1], but got {self.conflicting}")
        for name, choices in (
            ("type", range(len(LISTS))),
            ("severity", SEVERITIES),
            ("val_protocol", VAL_PROTOCOLS),
            ("order", ORDERS),
        ):
            value = getattr(self, name)
            if value not in choices:
                raise UsageError(
                    f"expected {name} to be one of {', '.join(map(str, choices))}, but got '{value}'"
                )
        if self.seed < 0:
            raise UsageError(f"expected seed to be 0 or more, but got {self.seed}")
        _check_replacements(LISTS[self.type], self.replace)

    @property
    def share(self) -> Fraction:
        """The share of conflicting images as an exact number."""
        return Fraction(self.conflicting).limit_denominator(10**6)

    @property
    def level(self) -> int:
        """The level of CIFAR-10-C, 2..5."""
        return self.severity + 1

    @property
    def corruptions(self) -> list[str]:
        """The corruption of each class."""
        replacements = dict(self.replace)
        return [replacements.get(name, name) for name in LISTS[self.type]]

    @property
    def needs_frost(self) -> bool:
        """Whether pictures of frost are needed."""
        return FROST in self.corruptions

    def name(self, *, is_complete: bool, has_published_frost: bool) -> str:
        """Return the dataset's name: the share, and the settings that differ from the defaults.

        Args:
            is_complete: Whether the images are all of CIFAR-10.
            has_published_frost: Whether the pictures of frost are those of the published code, or not needed.

        >>> CorruptedCIFARSpec(0.005).name(is_complete=True, has_published_frost=True)
        'corrupted-cifar10-0.5pct'
        >>> replace = (("frost", "zoom_blur"),)
        >>> spec = CorruptedCIFARSpec(0.02, severity=1, replace=replace, val_protocol="none")
        >>> spec.name(is_complete=True, has_published_frost=True)
        'corrupted-cifar10-2pct-severity1-zoom_blur-for-frost-none'
        """
        parts = ["corrupted-cifar10", *([] if is_complete else ["part"])]
        parts += [f"type{self.type}"] if self.type else []
        parts += [f"{float(self.share * 100):g}pct"]
        parts += [f"severity{self.severity}"] if self.severity != 4 else []
        parts += [f"{new}-for-{old}" for old, new in self.replace]
        parts += [] if has_published_frost else ["own-frost"]
        parts += [self.val_protocol] if self.val_protocol != "held-out" else []
        parts += ["file-order"] if self.order == "files" else []
        parts += [f"seed{self.seed}"] if self.seed else []
        return "-".join(parts)


def _check_replacements(names: Sequence[str], replace: Sequence[tuple[str, str]]) -> None:
    """Check that corruptions of a list are replaced by others, so that ten different ones remain."""
    for old, new in replace:
        if old not in names:
            raise UsageError(
                f"cannot replace '{old}'{did_you_mean(old, names)}: the list has {', '.join(names)}"
            )
        if new not in CORRUPTIONS:
            raise UsageError(
                f"unknown corruption '{new}'{did_you_mean(new, CORRUPTIONS)} "
                f"(known: {', '.join(CORRUPTIONS)})"
            )
    result = [dict(replace).get(name, name) for name in names]
    repeated = sorted(name for name in set(result) if result.count(name) > 1)
    if repeated or len({old for old, _ in replace}) != len(replace):
        got = repeated[0] if repeated else replace[-1][0]
        raise UsageError(f"the ten corruptions must be different, but '{got}' is there twice")


def compute_counts(n: int, label: int, share: Fraction) -> list[int]:
    """Return how many of the ``n`` images of a class get each corruption; halves are rounded to even.

    >>> compute_counts(5000, 0, Fraction(1, 200))
    [4975, 3, 3, 2, 3, 3, 3, 2, 3, 3]
    >>> compute_counts(1000, 3, EVEN)
    [100, 100, 100, 100, 100, 100, 100, 100, 100, 100]
    """
    weights = [1 - share if k == label else share / (CLASSES - 1) for k in range(CLASSES)]
    ends = [round(n * sum(weights[: k + 1], Fraction(0))) for k in range(CLASSES)]
    return [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def assign_corruptions(
    labels: Array, spec: CorruptedCIFARSpec, share: Fraction, purpose: str
) -> Array:
    """Assign a corruption to each image, as the docstring of this module defines.

    Args:
        labels: int64 ``(N,)`` in 0..9.
        spec: The settings.
        share: The share of conflicting images.
        purpose: Purpose of the random generator: the name of the split.

    Returns:
        int64 ``(N,)``: the place of the corruption in the list.
    """
    bias = np.empty(len(labels), dtype=np.int64)
    for label in range(CLASSES):
        rows = np.flatnonzero(labels == label)
        if spec.order == "shuffled":
            rows = rows[permutation(len(rows), spec.seed, f"{purpose}/corruptions/{label}")]
        bias[rows] = np.repeat(np.arange(CLASSES), compute_counts(len(rows), label, share))
    return bias


@dataclass(frozen=True)
class CorruptionPlan:
    """The images of a split and their corruptions.

    Attributes:
        pool: ``train`` or ``test``: which files have the images.
        rows: int64 ``(N,)``: the rows in the files.
        labels: int64 ``(N,)``.
        bias: int64 ``(N,)``: the place of the corruption in the list.
    """

    pool: str
    rows: Array
    labels: Array
    bias: Array

    def count(self) -> SplitCounts:
        """Count the images of each (label, corruption) cell."""
        return summarize(self.fill(np.empty((len(self.rows), 0, 0, 0), np.uint8)), CLASSES, CLASSES)

    def fill(self, images: Array) -> Split:
        """Return the split with these images, uint8 ``(N, 3, 32, 32)``."""
        attributes = {"corruption": self.bias}
        is_aligned = self.labels == self.bias
        return Split(images, self.labels, self.bias, is_aligned, self.rows, attributes)


def plan_corrupted_cifar(
    train_labels: Array, test_labels: Array, spec: CorruptedCIFARSpec
) -> dict[str, CorruptionPlan]:
    """Choose the images of each split and their corruptions, from the labels in the files.

    Raises:
        DataError: A class has only one image, so that none can be held out.
    """
    protocol = "none" if spec.val_protocol == "none" else "held-out"
    is_val = hold_out(train_labels, CLASSES, spec.seed, protocol)

    def plan(name: str, pool: str, labels: Array, rows: Array, share: Fraction) -> CorruptionPlan:
        return CorruptionPlan(
            pool, rows, labels[rows], assign_corruptions(labels[rows], spec, share, name)
        )

    plans = {"train": plan("train", "train", train_labels, np.flatnonzero(~is_val), spec.share)}
    if is_val.any():
        share = spec.share if spec.val_protocol == "biased" else EVEN
        plans["val"] = plan("val", "train", train_labels, np.flatnonzero(is_val), share)
    plans["test"] = plan("test", "test", test_labels, np.arange(len(test_labels)), EVEN)
    return plans
