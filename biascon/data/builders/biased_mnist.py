"""BiasedMNIST: digits on a background whose color agrees with the class in a share rho of the images.

``biased_mnist_spec`` has the settings, ``biased_mnist_colors`` the rule that colors the images, and
``biased_mnist_description`` the texts of the manifest. This module builds the splits and the folder.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from biascon.data.builders.biased_mnist_colors import (
    assign_colors,
    assign_foreground,
    color_both,
    color_digits,
    compute_chunk_sizes,
)
from biascon.data.builders.biased_mnist_description import (
    BACKGROUND,
    FOREGROUND,
    describe_biased_mnist,
)
from biascon.data.builders.biased_mnist_spec import (
    LEFTOVERS,
    PALETTES,
    VAL_PROTOCOLS,
    BiasedMNISTSpec,
)
from biascon.data.builders.mnist_source import Digits, find_digits
from biascon.data.builders.mnist_variants import SETS, find_shapes
from biascon.data.building.arrays import BuildResult, build_or_reuse
from biascon.data.dataset import Split
from biascon.errors import DataError
from biascon.utils.seeds import permutation
from biascon.utils.types import Array

__all__ = [
    "LEFTOVERS",
    "PALETTES",
    "VAL_PROTOCOLS",
    "BiasedMNISTSpec",
    "BuildResult",
    "assign_colors",
    "build_splits",
    "color_digits",
    "compute_chunk_sizes",
    "describe_biased_mnist",
    "make_biased_mnist",
]

MIN_CONFLICTING = 50  # a small dataset with fewer bias-conflicting training images gets a warning
VAL_SHARE = 0.1  # share of the training digits in the validation split


def build_splits(digits: Digits, spec: BiasedMNISTSpec) -> dict[str, Split]:
    """Build the splits of a BiasedMNIST: ``train``, ``val`` (unless the protocol is ``none``) and ``test``.

    The test split is made of the test digits. The test split has rho 0.1, and so has the validation split
    unless the protocol is ``biased``. With ``foreground_rho``, both attributes have rho 0.1 there.

    Raises:
        DataError: There are so few digits of a class that a split has none of it.
    """
    unbiased = spec.unbiased()
    train_digits = (digits.train_images, digits.train_labels, digits.train_index)
    test_digits = (digits.test_images, digits.test_labels, digits.test_index)
    is_val = _choose_validation(digits.train_labels, spec)
    is_train = np.ones(len(is_val), dtype=bool) if spec.val_protocol == "hong" else ~is_val
    splits = {"train": _build_split(train_digits, np.flatnonzero(is_train), spec, "train")}
    if spec.val_protocol != "none":
        val_spec = spec if spec.val_protocol == "biased" else unbiased
        splits["val"] = _build_split(train_digits, np.flatnonzero(is_val), val_spec, "val")
    rows = np.arange(len(digits.test_labels))
    splits["test"] = _build_split(test_digits, rows, unbiased, "test")
    return splits


def _choose_validation(labels: Array, spec: BiasedMNISTSpec) -> npt.NDArray[np.bool_]:
    """Return bool ``(N,)``: whether a training digit is in the validation split."""
    is_val = np.zeros(len(labels), dtype=bool)
    if spec.val_protocol != "none":
        for label in range(10):
            rows = np.flatnonzero(labels == label)
            n_val = int(len(rows) * VAL_SHARE)
            is_val[rows[permutation(len(rows), spec.seed, f"val/{label}")[:n_val]]] = True
    return is_val


def _build_split(
    digits: tuple[Array, Array, Array], rows: Array, spec: BiasedMNISTSpec, name: str
) -> Split:
    """Color the chosen rows of (images, labels, index)."""
    images, labels, index = (array[rows] for array in digits)
    if len(np.unique(labels)) != 10:
        raise DataError(f"the {name} split has no image of some class: there are too few digits")
    bias = assign_colors(labels, spec, name)
    if spec.foreground_rho is None:
        return Split(color_digits(images, bias, spec), labels, bias, labels == bias, index)
    foreground = assign_foreground(labels, spec, name)
    colored = color_both(images, bias, foreground, spec)
    attributes = {BACKGROUND: bias, FOREGROUND: foreground}
    return Split(colored, labels, bias, labels == bias, index, attributes)


def make_biased_mnist(
    spec: BiasedMNISTSpec,
    *,
    root: Path = Path("data"),
    out: Path | None = None,
    source: str = "auto",
    mnist_dir: Path | None = None,
    force: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> BuildResult:
    """Build a BiasedMNIST on disk, or reuse the folder if it already holds the same dataset, intact.

    Args:
        spec: The settings.
        root: The folder of datasets. The dataset folder in it has the dataset's name.
        out: The dataset folder, instead of one in ``root``.
        source: One of ``mnist_source.SOURCES``, or of ``mnist_variants.SETS`` for another set than MNIST.
        mnist_dir: A folder with the IDX files of the set.
        force: Replace an existing folder that holds another dataset, or is damaged.
        say: Called with lines of text for the user.

    Raises:
        BiasconError: There are no digits, the folder is not writable, or it holds another dataset.
    """
    digits = find_shapes(source, mnist_dir) if source in SETS else find_digits(source, mnist_dir)
    say(
        f"source: {digits.origin} ({len(digits.train_labels):,} + {len(digits.test_labels):,} {digits.noun})"
    )
    description = describe_biased_mnist(digits, spec)
    folder = out if out is not None else root / description.name
    result = build_or_reuse(folder, description, lambda: build_splits(digits, spec), force=force)
    n_conflicting = result.manifest.counts["train"].conflicting or 0
    if not result.reused and digits.kind == "mnist5k" and n_conflicting < MIN_CONFLICTING:
        say(
            f"these are not the 60,000 digits of MNIST: only {n_conflicting} training images are "
            "bias-conflicting, so results depend on which ones; a lower --rho gives more of them"
        )
    return result
