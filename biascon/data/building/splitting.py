"""Which images of a labeled set train, and which validate or test: seeded, class by class."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biascon.errors import DataError, UsageError
from biascon.utils.seeds import permutation
from biascon.utils.types import Array

NO_VAL = "none: no selection is possible"
VAL_PROTOCOLS = ("held-out", "hong", "none")
STANDARD_VAL_PROTOCOLS = ("held-out", "none")  # of datasets without a leaking protocol


def check_protocol(val_protocol: str, seed: int) -> None:
    """Refuse an unknown way to validate, or a negative seed.

    Raises:
        UsageError: One of these.
    """
    if val_protocol not in STANDARD_VAL_PROTOCOLS:
        raise UsageError(
            f"expected val_protocol to be one of {', '.join(STANDARD_VAL_PROTOCOLS)}, "
            f"but got '{val_protocol}'"
        )
    if seed < 0:
        raise UsageError(f"expected seed to be 0 or more, but got {seed}")


def hold_out(labels: Array, n_labels: int, seed: int, val_protocol: str) -> npt.NDArray[np.bool_]:
    """Return bool ``(N,)``: the training images that validate: 10 % of each class, at least one.

    Args:
        labels: int ``(N,)`` in 0..K-1.
        n_labels: K.
        seed: Of the draw.
        val_protocol: ``held-out``, or ``none``: no image validates.

    Raises:
        DataError: A class has one image only.
    """
    held = np.zeros(len(labels), dtype=bool)
    if val_protocol == "none":
        return held
    for label in range(n_labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) == 1:
            raise DataError(
                f"class {label} has one training image, so that none can be held out; "
                "pass --val-protocol none"
            )
        count = max(1, len(rows) // 10)
        held[rows[permutation(len(rows), seed, f"val/{label}")[:count]]] = True
    return held


def draw_per_class(
    labels: Array, n_labels: int, per_class: int, seed: int
) -> npt.NDArray[np.bool_]:
    """Return bool ``(N,)``: a seeded draw of as many images of every class."""
    chosen = np.zeros(len(labels), dtype=bool)
    for label in range(n_labels):
        rows = np.flatnonzero(labels == label)
        chosen[rows[permutation(len(rows), seed, f"train/{label}")[:per_class]]] = True
    return chosen


def dataset_name(stem: str, val_protocol: str, seed: int) -> str:
    """Return a dataset's name: what it is of, and whatever differs from the default.

    >>> named("cifar10", "held-out", 0), named("cifar10", "none", 2)
    ('cifar10', 'cifar10-none-seed2')
    """
    parts = [stem, *([val_protocol] if val_protocol != "held-out" else [])]
    return "-".join([*parts, *([f"seed{seed}"] if seed else [])])


def describe_splits(train: str, val_protocol: str) -> dict[str, str]:
    """Return what the protocol says of the training and validation splits."""
    if val_protocol == "none":
        return {"train": train, "val": NO_VAL}
    return {
        "train": f"{train}, without the validation images",
        "val": "10 % of the training images of each class, held out",
    }


def seeded_split(n: int, seed: int, val_protocol: str, purpose: str) -> dict[str, Array]:
    """Return the rows, int64 in ascending order, of ``train``, ``val`` and ``test``.

    A seeded permutation of 0..n-1: the first int(0.8 n) train, the rest tests; unless the protocol is
    ``none``, the last int(0.1 t) of the t training rows validate: instead, or, with ``hong``, too (a leak).

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
    pool = n * 4 // 5
    held = 0 if val_protocol == "none" else pool // 10
    parts = {"train": order[:pool] if val_protocol == "hong" else order[: pool - held]}
    if held:
        parts["val"] = order[pool - held : pool]
    parts["test"] = order[pool:]
    return {name: np.sort(rows) for name, rows in parts.items()}
