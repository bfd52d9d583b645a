"""BiasedMNIST: digits whose background color goes with the class in a share rho of the images.

Per class of n images, shuffled, the first int(n * rho) get the color of their class; the rest, L
images, is cut into consecutive chunks of ceil(L / n_confusing) that go in order to the n_confusing
next colors, shuffled (so the last colors may get none). Source: the builder of Bahng et al.,
Learning De-biased Representations with Biased Representations, ICML 2020, as published.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from biascon.data.builders.mnist_source import Digits, find_digits
from biascon.data.builders.mnist_variants import SETS, find_shapes
from biascon.data.building.arrays import BuildResult, build_or_reuse
from biascon.data.building.splitting import NO_VALIDATION, VAL_PROTOCOLS
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
UNBIASED_RHO = 0.1  # ten colors, each as likely as the other
FEW = 50  # conflicting training images below which a small dataset is warned about
HELD_OUT = 0.1  # the share of the training digits that validates

VARIANTS = tuple(PALETTES)
PLACES = ("background", "digit")
LEFTOVERS = ("chunk", "even")


@dataclass(frozen=True)
class BiasedMNISTSpec:
    """Everything that decides the bytes of a BiasedMNIST, besides the digits themselves.

    Attributes:
        rho: Share of the images of a class that get its color, in [0, 1].
        seed: Decides the shuffles, each by its own purpose.
        variant: ``rebias`` or ``fairkl``: which color class 9 has.
        color: ``background`` (digit white) or ``digit`` (background black).
        n_confusing: How many other colors the rest of a class goes to, 1..9.
        val_protocol: ``held-out`` (10 % of the training digits leave it before coloring),
            ``hong`` (10 % of them are colored anew and stay in training: a leak) or ``none``.
        leftover: ``chunk`` as published, or ``even``: the rest is dealt out one color at a time.
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
            object.__setattr__(self, "rho", float(self.rho) + 0.0)  # 1 and -0.0 are 1.0 and 0.0
        except (TypeError, ValueError) as error:
            raise UsageError(f"expected rho in [0, 1], but got {self.rho!r}") from error
        if not 0 <= self.rho <= 1:
            raise UsageError(f"expected rho in [0, 1], but got {self.rho}")
        if not 1 <= self.n_confusing <= 9:
            raise UsageError(f"expected n_confusing in 1..9, but got {self.n_confusing}")
        if self.seed < 0:
            raise UsageError(f"expected seed to be 0 or more, but got {self.seed}")
        for name, known in (
            ("variant", VARIANTS),
            ("color", PLACES),
            ("val_protocol", VAL_PROTOCOLS),
            ("leftover", LEFTOVERS),
        ):
            value = getattr(self, name)
            if value not in known:
                raise UsageError(
                    f"expected {name} to be one of {', '.join(known)}, but got '{value}'"
                )

    def name(self, kind: str) -> str:
        """Return the dataset's name: source, rho, and whatever differs from the default.

        >>> Spec(0.997).name("mnist"), Spec(0.97, seed=2, val_protocol="none").name("mnist5k")
        ('bmnist-0.997', 'bmnist5k-0.97-none-seed2')
        """
        parts = [kind.replace("mnist", "bmnist"), repr(float(self.rho))]
        parts += [value for value in (self.variant,) if value != "rebias"]
        parts += [value for value in (self.color,) if value != "background"]
        parts += [f"confusing{self.n_confusing}"] if self.n_confusing != 9 else []
        parts += [value for value in (self.val_protocol,) if value != "held-out"]
        parts += [value for value in (self.leftover,) if value != "chunk"]
        parts += [f"seed{self.seed}"] if self.seed else []
        return "-".join(parts)


def chunk_sizes(left: int, n_confusing: int, leftover: str = "chunk") -> list[int]:
    """Return how many of a class's ``left`` images go to each of the other colors, in order.

    >>> chunks(19, 9), chunks(19, 9, "even")
    ([3, 3, 3, 3, 3, 3, 1, 0, 0], [3, 2, 2, 2, 2, 2, 2, 2, 2])
    """
    if leftover == "even":
        return [left // n_confusing + (k < left % n_confusing) for k in range(n_confusing)]
    size = math.ceil(left / n_confusing)
    return [max(0, min(size, left - k * size)) for k in range(n_confusing)]


def assign_colors(labels: Array, spec: BiasedMNISTSpec, purpose: str) -> Array:
    """Return the int64 ``(N,)`` color index of each digit, by the rule of this module's docstring."""
    bias = np.empty(len(labels), dtype=np.int64)
    for label in range(10):
        rows = np.flatnonzero(labels == label)
        rows = rows[permutation(len(rows), spec.seed, f"{purpose}/digits/{label}")]
        own = int(len(rows) * spec.rho)
        bias[rows[:own]] = label
        others = (label + 1 + np.arange(spec.n_confusing)) % 10
        others = others[permutation(spec.n_confusing, spec.seed, f"{purpose}/colours/{label}")]
        sizes = chunk_sizes(len(rows) - own, spec.n_confusing, spec.leftover)
        bias[rows[own:]] = np.repeat(others, sizes)
    return bias


def color_digits(images: Array, bias: Array, spec: BiasedMNISTSpec) -> Array:
    """Return uint8 ``(N, 3, H, W)``: every pixel above 0 is digit, and one of the two is colored."""
    palette = np.array(PALETTES[spec.variant], dtype=np.uint8)
    ink = np.where(images > 0, np.uint8(255), np.uint8(0))[:, None]  # (N, 1, H, W)
    color = palette[bias][:, :, None, None]  # (N, 3, 1, 1)
    # 255 | x = 255 and 255 & x = x, so that one pass over the output paints both parts.
    return ink | color if spec.color == "background" else ink & color


def build_splits(digits: Digits, spec: BiasedMNISTSpec) -> dict[str, Split]:
    """Return the splits of a BiasedMNIST: ``train``, ``val`` (unless the protocol has none), ``test``.

    The test set is the digits' own test set at rho 0.1, as is the validation set.

    Raises:
        DataError: So few digits of a class that a split would lack it.
    """
    unbiased = BiasedMNISTSpec(UNBIASED_RHO, seed=spec.seed, variant=spec.variant, color=spec.color)
    labels = digits.train_labels
    held = np.zeros(len(labels), dtype=bool)
    if spec.val_protocol != "none":
        for label in range(10):
            rows = np.flatnonzero(labels == label)
            count = int(len(rows) * HELD_OUT)
            held[rows[permutation(len(rows), spec.seed, f"val/{label}")[:count]]] = True
    train = ~held if spec.val_protocol == "held-out" else np.ones(len(labels), dtype=bool)

    def split(rows: Array, part: BiasedMNISTSpec, purpose: str, *, test: bool = False) -> Split:
        images = (digits.test_images if test else digits.train_images)[rows]
        label = (digits.test_labels if test else digits.train_labels)[rows]
        if len(np.unique(label)) != 10:
            raise DataError(f"the {purpose} split would lack a class: too few digits")
        bias = assign_colors(label, part, purpose)
        index = (digits.test_index if test else digits.train_index)[rows]
        return Split(color_digits(images, bias, part), label, bias, label == bias, index)

    splits = {"train": split(np.flatnonzero(train), spec, "train")}
    if spec.val_protocol != "none":
        splits["val"] = split(np.flatnonzero(held), unbiased, "val")
    every = np.arange(len(digits.test_labels))
    splits["test"] = split(every, unbiased, "test", test=True)
    return splits


def describe_biased_mnist(digits: Digits, spec: BiasedMNISTSpec) -> DatasetDescription:
    """Return what the manifest says of a BiasedMNIST besides counts and digests."""
    names = list(COLOR_NAMES)
    if spec.variant == "fairkl":
        names[9] = FAIRKL_NINTH
    validation = {
        "held-out": f"10 % of the training {digits.what}, held out before colouring, at rho 0.1",
        "hong": f"10 % of the training {digits.what}, coloured anew at rho 0.1 and kept in training (leaks)",
        "none": NO_VALIDATION,
    }[spec.val_protocol]
    tested = "1,000 held-out digits" if digits.kind == "mnist5k" else f"{digits.title} test set"
    return DatasetDescription(
        name=spec.name(digits.kind),
        builder="bmnist",
        protocol={
            "train": f"rho {spec.rho!r}, {spec.color} coloured, {digits.what[:-1]} binarised at 0",
            "val": validation,
            "test": f"{tested} at rho 0.1",
        },
        # Dataset digests hang on the spelling of this key.
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
    """Build a BiasedMNIST on disk, or find that the same one is there, intact.

    Args:
        spec: What to build.
        root: The folder of datasets, where it gets its name.
        out: Its folder, instead of one under ``root``.
        source: One of ``sources.SOURCES``, or a set of ``shapes.SETS`` in MNIST's place.
        mnist_dir: A folder with MNIST's, or the set's, IDX files.
        force: Replace an existing folder that is another dataset, or damaged.
        say: Called with a line of progress.

    Raises:
        BiasconError: No digits, an unwritable place, or another dataset in the way.
    """
    digits = find_shapes(source, mnist_dir) if source in SETS else find_digits(source, mnist_dir)
    say(
        f"source: {digits.origin} ({len(digits.train_labels):,} + {len(digits.test_labels):,} {digits.what})"
    )
    description = describe_biased_mnist(digits, spec)
    folder = out if out is not None else root / description.name
    made = build_or_reuse(folder, description, lambda: build_splits(digits, spec), force=force)
    few = made.manifest.counts["train"].conflicting
    if not made.reused and digits.kind == "mnist5k" and few is not None and few < FEW:
        say(
            f"these are not MNIST's 60,000 digits: only {few} conflicting images are left to train on; "
            "a result depends on which ones (a lower --rho leaves more)"
        )
    return made
