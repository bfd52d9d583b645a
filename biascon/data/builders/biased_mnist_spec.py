"""The settings of a BiasedMNIST: rho, the palettes, which parts and which classes are colored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from biascon.data.building.splitting import VAL_PROTOCOLS as COMMON_VAL_PROTOCOLS
from biascon.errors import UsageError

_REBIAS = (
    (255, 0, 0), (0, 255, 0), (0, 0, 255), (225, 225, 0), (225, 0, 225),
    (0, 255, 255), (255, 128, 0), (255, 0, 128), (128, 0, 255), (128, 128, 128),
)  # fmt: skip
PALETTES = {"rebias": _REBIAS, "fairkl": (*_REBIAS[:9], (50, 255, 128))}
COLOR_NAMES = (
    "red", "green", "blue", "yellow", "magenta", "cyan", "orange", "rose", "violet", "grey",
)  # fmt: skip
FAIRKL_NINTH = "spring green"
# Palette 2, of the digits of FB-Biased-MNIST. Foreground value l has the color (l + 1) % 10 of this palette.
_PALETTE_2 = (
    (255, 50, 50), (50, 255, 50), (50, 50, 255), (225, 225, 50), (225, 50, 225),
    (50, 255, 255), (255, 128, 50), (255, 50, 128), (128, 50, 255), (50, 50, 50),
)  # fmt: skip
FOREGROUND_SHIFT = 1
_SHIFTED = [(value + FOREGROUND_SHIFT) % 10 for value in range(10)]
FOREGROUND_COLORS = tuple(_PALETTE_2[color] for color in _SHIFTED)
FOREGROUND_NAMES = tuple((*COLOR_NAMES[:9], "dark gray")[color] for color in _SHIFTED)
UNBIASED_RHO = 0.1  # the ten colors are equally likely

VARIANTS = tuple(PALETTES)
COLORED_PARTS = ("background", "digit")
LEFTOVERS = ("chunk", "even")
VAL_PROTOCOLS = (*COMMON_VAL_PROTOCOLS, "biased")
_NEW_FIELDS = ("foreground_rho", "biased_classes")  # in a manifest only if they are set


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
        foreground_rho: FB-Biased-MNIST: the share of the images of a class whose digit has the digit color of
            the class, in [0, 1]. The background keeps ``rho``. None: only ``color`` is colored.
        biased_classes: Sparse bias: the classes that are colored at ``rho`` (and ``foreground_rho``) in
            training. The other classes are colored as in the test split. None, or all ten: every class.
    """

    rho: float
    seed: int = 0
    variant: str = "rebias"
    color: str = "background"
    n_confusing: int = 9
    val_protocol: str = "held-out"
    leftover: str = "chunk"
    foreground_rho: float | None = None
    biased_classes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "rho", _check_share("rho", self.rho))
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
        if self.foreground_rho is not None:
            share = _check_share("foreground_rho", self.foreground_rho)
            object.__setattr__(self, "foreground_rho", share)
            if self.color != "background":
                raise UsageError(
                    "expected color 'background' with foreground_rho, which colors the digit as well, "
                    f"but got '{self.color}'"
                )
        if self.biased_classes is not None:
            object.__setattr__(self, "biased_classes", _check_classes(self.biased_classes))

    def is_biased(self, label: int) -> bool:
        """Return whether the images of a class are colored at ``rho`` in training."""
        return self.biased_classes is None or label in self.biased_classes

    def unbiased(self) -> Self:
        """Return the settings of an unbiased split: every color is equally likely in every class."""
        return replace(
            self,
            rho=UNBIASED_RHO,
            n_confusing=9,
            val_protocol="held-out",
            leftover="chunk",
            foreground_rho=None if self.foreground_rho is None else UNBIASED_RHO,
            biased_classes=None,
        )

    def foreground(self) -> Self:
        """Return the settings by which the foreground is assigned: ``foreground_rho`` in place of ``rho``.

        Raises:
            UsageError: The digits have no color of their own (``foreground_rho`` is None).
        """
        if self.foreground_rho is None:
            raise UsageError("expected a number as foreground_rho, but got None")
        return replace(self, rho=self.foreground_rho, foreground_rho=None)

    def parameters(self) -> dict[str, Any]:
        """Return the settings as the manifest states them, with the British spelling of ``colour``."""
        values = {"colour" if key == "color" else key: value for key, value in asdict(self).items()}
        new = {key: values.pop(key) for key in _NEW_FIELDS}
        if self.biased_classes is not None:
            new["biased_classes"] = list(self.biased_classes)
        return {**values, **{key: value for key, value in new.items() if value is not None}}

    def name(self, kind: str) -> str:
        """Return the dataset's name: source, rho, and the settings that differ from the defaults.

        Args:
            kind: The kind of the digits, see ``Digits``.

        >>> BiasedMNISTSpec(0.997).name("mnist")
        'bmnist-0.997'
        >>> BiasedMNISTSpec(0.97, seed=2, val_protocol="none").name("mnist5k")
        'bmnist5k-0.97-none-seed2'
        >>> BiasedMNISTSpec(0.9, foreground_rho=0.95).name("mnist")
        'bmnist-0.9-fg0.95'
        >>> BiasedMNISTSpec(0.9, biased_classes=(2, 0, 1), seed=1).name("mnist")
        'bmnist-0.9-biased0.1.2-seed1'
        """
        parts = [kind.replace("mnist", "bmnist"), repr(float(self.rho))]
        parts += [] if self.foreground_rho is None else [f"fg{self.foreground_rho!r}"]
        if self.biased_classes is not None:
            parts.append(f"biased{'.'.join(map(str, self.biased_classes))}")
        parts += [value for value in (self.variant,) if value != "rebias"]
        parts += [value for value in (self.color,) if value != "background"]
        parts += [f"confusing{self.n_confusing}"] if self.n_confusing != 9 else []
        parts += [value for value in (self.val_protocol,) if value != "held-out"]
        parts += [value for value in (self.leftover,) if value != "chunk"]
        parts += [f"seed{self.seed}"] if self.seed else []
        return "-".join(parts)


def _check_share(name: str, value: Any) -> float:
    """Return a share as a float: 1 becomes 1.0, and -0.0 becomes 0.0.

    Raises:
        UsageError: It is no number in [0, 1].
    """
    try:
        share = float(value) + 0.0
    except (TypeError, ValueError) as error:
        raise UsageError(f"expected {name} in [0, 1], but got {value!r}") from error
    if not 0 <= share <= 1:
        raise UsageError(f"expected {name} in [0, 1], but got {share}")
    return share


def _check_classes(classes: Iterable[Any]) -> tuple[int, ...] | None:
    """Return biased classes in order, None for all ten.

    Raises:
        UsageError: There is no class, one is repeated, or one is no number in 0..9.
    """
    given = [classes] if isinstance(classes, int | str) else list(classes)
    if not given:
        raise UsageError("expected biased_classes to name one class or more, but got none")
    for value in given:
        if isinstance(value, bool) or not (str(value).isdecimal() and int(value) <= 9):
            raise UsageError(f"expected biased_classes to be numbers in 0..9, but got {value!r}")
    numbers = [int(value) for value in given]
    repeated = [n for n in numbers if numbers.count(n) > 1]
    if repeated:
        raise UsageError(f"expected each class once in biased_classes, but got {repeated[0]} twice")
    return None if len(numbers) == 10 else tuple(sorted(numbers))
