"""BiasedMNIST: digits on a background whose color agrees with the class in a share rho of the images.

The n images of a class are shuffled. The first int(n * rho) images get the color of their class. The other L
images are cut into consecutive chunks of ceil(L / n_confusing) images. The chunks get the n_confusing next
colors, in shuffled order, so that the last colors may get no image. This is the published code of Bahng et
al., Learning De-biased Representations with Biased Representations, ICML 2020.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from biascon.data.builders.mnist_source import Digits, find_digits
from biascon.data.builders.mnist_variants import SETS, find_shapes
from biascon.data.building.arrays import BuildResult, build_or_reuse
from biascon.data.building.splitting import NO_VALIDATION
from biascon.data.building.splitting import VAL_PROTOCOLS as COMMON_VAL_PROTOCOLS
from biascon.data.dataset import Split
from biascon.data.manifest import BiasAttribute, DatasetDescription
from biascon.errors import DataError, UsageError
from biascon.utils.seeds import permutation
from biascon.utils.types import Array

_REBIAS = (
    (255, 0, 0), (0, 255, 0), (0, 0, 255), (225, 225, 0), (225, 0, 225),
    (0, 255, 255), (255, 128, 0), (255, 0, 128), (128, 0, 255), (128, 128, 128),
)  # fmt: skip
PALETTES = {"rebias": _REBIAS, "fairkl": (*_REBIAS[:9], (50, 255, 128))}
COLOR_NAMES = (
    "red", "green", "blue", "yellow", "magenta", "cyan", "orange", "rose", "violet", "grey",
)  # fmt: skip
FAIRKL_NINTH = "spring green"
UNBIASED_RHO = 0.1  # the ten colors are equally likely
MIN_CONFLICTING = 50  # a small dataset with fewer bias-conflicting training images gets a warning
VAL_SHARE = 0.1  # share of the training digits in the validation split

VARIANTS = tuple(PALETTES)
COLORED_PARTS = ("background", "digit")
LEFTOVERS = ("chunk", "even")
VAL_PROTOCOLS = (*COMMON_VAL_PROTOCOLS, "biased")


@dataclass(frozen=True)
class BiasedMNISTSpec:
    """The settings of a BiasedMNIST. With the digits, they determine every byte of the dataset.

    Attributes:
        rho: Share of the images of a class that get the color of the class, in [0, 1].
        seed: Seed of all shuffles.
        variant: Palette, ``rebias`` or ``fairkl``. They differ in the color of class 9.
        color: What is colored: ``background`` (white digit) or ``digit`` (black background).
        n_confusing: Number of other colors for the bias-conflicting images of a class, 1..9.
        val_protocol: ``held-out``: 10 % of the training digits are held out before coloring.
            ``hong``: 10 % of them are colored again, and also stay in training (a leak).
            ``biased``: as ``held-out``, but colored at ``rho`` like the training digits. The training and
            test splits are those of ``held-out``. ``none``: no validation split.
        leftover: How the bias-conflicting images of a class are divided among the other colors: ``chunk`` as
            published, or ``even``.
    """

    rho: float
    seed: int = 0
    variant: str = "rebias"
    color: str = "background"
    n_confusing: int = 9
    val_protocol: str = "held-out"
    leftover: str = "chunk"

    def __post_init__(self) -> None:
        try:
            object.__setattr__(
                self, "rho", float(self.rho) + 0.0
            )  # 1 becomes 1.0, and -0.0 becomes 0.0
        except (TypeError, ValueError) as error:
            raise UsageError(f"expected rho in [0, 1], but got {self.rho!r}") from error
        if not 0 <= self.rho <= 1:
            raise UsageError(f"expected rho in [0, 1], but got {self.rho}")
        if not 1 <= self.n_confusing <= 9:
            raise UsageError(f"expected n_confusing in 1..9, but got {self.n_confusing}")
        if self.seed < 0:
            raise UsageError(f"expected seed to be 0 or more, but got {self.seed}")
        for name, choices in (
            ("variant", VARIANTS),
            ("color", COLORED_PARTS),
            ("val_protocol", VAL_PROTOCOLS),
            ("leftover", LEFTOVERS),
        ):
            value = getattr(self, name)
            if value not in choices:
                raise UsageError(
                    f"expected {name} to be one of {', '.join(choices)}, but got '{value}'"
                )

    def name(self, kind: str) -> str:
        """Return the dataset's name: source, rho, and the settings that differ from the defaults.

        Args:
            kind: The kind of the digits, see ``Digits``.

        >>> BiasedMNISTSpec(0.997).name("mnist")
        'bmnist-0.997'
        >>> BiasedMNISTSpec(0.97, seed=2, val_protocol="none").name("mnist5k")
        'bmnist5k-0.97-none-seed2'
        """
        parts = [kind.replace("mnist", "bmnist"), repr(float(self.rho))]
        parts += [value for value in (self.variant,) if value != "rebias"]
        parts += [value for value in (self.color,) if value != "background"]
        parts += [f"confusing{self.n_confusing}"] if self.n_confusing != 9 else []
        parts += [value for value in (self.val_protocol,) if value != "held-out"]
        parts += [value for value in (self.leftover,) if value != "chunk"]
        parts += [f"seed{self.seed}"] if self.seed else []
        return "-".join(parts)


def compute_chunk_sizes(n: int, n_confusing: int, leftover: str = "chunk") -> list[int]:
    """Divide the ``n`` bias-conflicting images of a class among the other colors; return their numbers.

    >>> compute_chunk_sizes(19, 9)
    [3, 3, 3, 3, 3, 3, 1, 0, 0]
    >>> compute_chunk_sizes(19, 9, "even")
    [3, 2, 2, 2, 2, 2, 2, 2, 2]
    """
    if leftover == "even":
        return [n // n_confusing + (k < n % n_confusing) for k in range(n_confusing)]
    size = math.ceil(n / n_confusing)
    return [max(0, min(size, n - k * size)) for k in range(n_confusing)]


def assign_colors(labels: Array, spec: BiasedMNISTSpec, purpose: str) -> Array:
    """Assign a color to each digit, as the docstring of this module defines.

    Args:
        labels: int64 ``(N,)`` in 0..9.
        spec: The settings.
        purpose: Purpose of the random generator: the name of the split.

    Returns:
        int64 ``(N,)``: the index of the color in the palette.
    """
    bias = np.empty(len(labels), dtype=np.int64)
    for label in range(10):
        rows = np.flatnonzero(labels == label)
        rows = rows[permutation(len(rows), spec.seed, f"{purpose}/digits/{label}")]
        n_aligned = int(len(rows) * spec.rho)
        bias[rows[:n_aligned]] = label
        others = (label + 1 + np.arange(spec.n_confusing)) % 10
        others = others[permutation(spec.n_confusing, spec.seed, f"{purpose}/colours/{label}")]
        sizes = compute_chunk_sizes(len(rows) - n_aligned, spec.n_confusing, spec.leftover)
        bias[rows[n_aligned:]] = np.repeat(others, sizes)
    return bias


def color_digits(images: Array, bias: Array, spec: BiasedMNISTSpec) -> Array:
    """Color the digits or their background. Every pixel above 0 belongs to the digit.

    Args:
        images: uint8 ``(N, H, W)``.
        bias: int64 ``(N,)``: the index of the color in the palette.
        spec: The settings.

    Returns:
        uint8 ``(N, 3, H, W)``.
    """
    palette = np.array(PALETTES[spec.variant], dtype=np.uint8)
    ink = np.where(images > 0, np.uint8(255), np.uint8(0))[:, None]  # (N, 1, H, W)
    color = palette[bias][:, :, None, None]  # (N, 3, 1, 1)
    # 255 | x = 255 and 255 & x = x, so one operation paints both the digit and the background.
    return ink | color if spec.color == "background" else ink & color


def build_splits(digits: Digits, spec: BiasedMNISTSpec) -> dict[str, Split]:
    """Build the splits of a BiasedMNIST: ``train``, ``val`` (unless the protocol is ``none``) and ``test``.

    The test split is made of the test digits. The test split has rho 0.1, and so has the validation split
    unless the protocol is ``biased``.

    Raises:
        DataError: There are so few digits of a class that a split has none of it.
    """
    unbiased = BiasedMNISTSpec(UNBIASED_RHO, seed=spec.seed, variant=spec.variant, color=spec.color)
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
    return Split(color_digits(images, bias, spec), labels, bias, labels == bias, index)


def describe_biased_mnist(digits: Digits, spec: BiasedMNISTSpec) -> DatasetDescription:
    """Return the description of a BiasedMNIST.

    Dataset digests depend on every text in it, the British spelling of "colour" and "grey" included.
    """
    names = list(COLOR_NAMES)
    if spec.variant == "fairkl":
        names[9] = FAIRKL_NINTH
    validation = {
        "held-out": f"10 % of the training {digits.noun}, held out before colouring, at rho 0.1",
        "hong": f"10 % of the training {digits.noun}, coloured anew at rho 0.1 and kept in training (leaks)",
        "biased": (
            f"10 % of the training {digits.noun}, held out before coloring, "
            f"at rho {spec.rho!r} as in training"
        ),
        "none": NO_VALIDATION,
    }[spec.val_protocol]
    test_set = "1,000 held-out digits" if digits.kind == "mnist5k" else f"{digits.title} test set"
    return DatasetDescription(
        name=spec.name(digits.kind),
        builder="bmnist",
        protocol={
            "train": f"rho {spec.rho!r}, {spec.color} coloured, {digits.noun[:-1]} binarised at 0",
            "val": validation,
            "test": f"{test_set} at rho 0.1",
        },
        parameters={"colour" if k == "color" else k: v for k, v in asdict(spec).items()},
        source={"kind": digits.kind, "origin": digits.origin, "sha256": digits.sha256},
        labels=list(digits.labels),
        bias=BiasAttribute("colour", names, rgb=[list(c) for c in PALETTES[spec.variant]]),
    )


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
