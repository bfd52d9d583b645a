"""Seeded splits of a labeled set into training, validation and test images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biascon.errors import DataError, UsageError
from biascon.utils.seeds import permutation
from biascon.utils.types import Array

NO_VALIDATION = (
    "none: no selection is possible"  # manifest text of a dataset without a validation split
)
VAL_PROTOCOLS = (
    "held-out",
    "hong",
    "none",
)  # hong: the validation images are also in training (a leak)
VAL_PROTOCOLS_WITHOUT_LEAK = ("held-out", "none")


def check_split_options(val_protocol: str, seed: int) -> None:
    """Check the validation protocol and the seed of a dataset that has no leaking protocol.

    Raises:
        UsageError: The validation protocol is unknown, or the seed is negative.
    """
    if val_protocol not in VAL_PROTOCOLS_WITHOUT_LEAK:
        raise UsageError(
            f"expected val_protocol to be one of {', '.join(VAL_PROTOCOLS_WITHOUT_LEAK)}, "
            f"but got '{val_protocol}'"
        )
    if seed < 0:
        raise UsageError(f"expected seed to be 0 or more, but got {seed}")


def hold_out(labels: Array, n_labels: int, seed: int, val_protocol: str) -> npt.NDArray[np.bool_]:
    """Choose the validation images: 10 % of the training images of each class, at least one.

    Args:
        labels: int ``(N,)`` in 0..K-1.
        n_labels: K.
        seed: Seed of the draw.
        val_protocol: ``held-out``, or ``none`` for no validation images.

    Returns:
        bool ``(N,)``: whether an image is in the validation split.

    Raises:
        DataError: A class has only one image.
    """
    is_held_out = np.zeros(len(labels), dtype=bool)
    if val_protocol == "none":
        return is_held_out
    for label in range(n_labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) == 1:
            raise DataError(
                f"class {label} has one training image, so that none can be held out; "
                "pass --val-protocol none"
            )
        count = max(1, len(rows) // 10)
        is_held_out[rows[permutation(len(rows), seed, f"val/{label}")[:count]]] = True
    return is_held_out


def draw_per_class(
    labels: Array, n_labels: int, per_class: int, seed: int
) -> npt.NDArray[np.bool_]:
    """Draw ``per_class`` images of every class by seed; return bool ``(N,)``: whether an image is drawn."""
    is_drawn = np.zeros(len(labels), dtype=bool)
    for label in range(n_labels):
        rows = np.flatnonzero(labels == label)
        is_drawn[rows[permutation(len(rows), seed, f"train/{label}")[:per_class]]] = True
    return is_drawn


def dataset_name(stem: str, val_protocol: str, seed: int) -> str:
    """Return a dataset's name: the stem, and the settings that differ from the defaults.

    >>> dataset_name("cifar10", "held-out", 0), dataset_name("cifar10", "none", 2)
    ('cifar10', 'cifar10-none-seed2')
    """
    parts = [stem, *([val_protocol] if val_protocol != "held-out" else [])]
    return "-".join([*parts, *([f"seed{seed}"] if seed else [])])


def describe_splits(train: str, val_protocol: str) -> dict[str, str]:
    """Return the manifest texts of the training and validation splits."""
    if val_protocol == "none":
        return {"train": train, "val": NO_VALIDATION}
    return {
        "train": f"{train}, without the validation images",
        "val": "10 % of the training images of each class, held out",
    }


def seeded_split(n: int, seed: int, val_protocol: str, purpose: str) -> dict[str, Array]:
    """Split the rows 0..n-1 by a seeded permutation.

    The first t = int(0.8 n) rows are the training rows, the others are the test rows. The last int(0.1 t)
    training rows are the validation rows, unless the protocol is ``none``. They leave the training split,
    except with the protocol ``hong`` (a leak).

    Args:
        n: Number of rows.
        seed: Seed of the permutation.
        val_protocol: One of ``VAL_PROTOCOLS``.
        purpose: Purpose of the random generator.

    Returns:
        The rows of ``train``, ``val`` and ``test``, int64 in ascending order.

    Raises:
        UsageError: The protocol is unknown, or the seed is negative.
    """
    if val_protocol not in VAL_PROTOCOLS:
        raise UsageError(
            f"expected val_protocol to be one of {', '.join(VAL_PROTOCOLS)}, but got '{val_protocol}'"
        )
    if seed < 0:
        raise UsageError(f"expected seed to be 0 or more, but got {seed}")
    order = permutation(n, seed, purpose)
    pool = n * 4 // 5  # training rows, with the validation rows
    n_val = 0 if val_protocol == "none" else pool // 10
    parts = {"train": order[:pool] if val_protocol == "hong" else order[: pool - n_val]}
    if n_val:
        parts["val"] = order[pool - n_val : pool]
    parts["test"] = order[pool:]
    return {name: np.sort(rows) for name, rows in parts.items()}
