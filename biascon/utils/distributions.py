"""Distributions of a parameter in a search: each maps a number in [0, 1) to a value of the parameter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from biascon.errors import UsageError, unknown_name


@dataclass(frozen=True)
class Uniform:
    """The uniform distribution on [low, high]."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise UsageError(f"expected uniform = [low, high], but got [{self.low}, {self.high}]")

    def quantile(self, u: float) -> float:
        """Return low + u (high - low), to six significant digits."""
        return _round(self.low + u * (self.high - self.low))

    def to_json(self) -> dict[str, Any]:
        """Return ``{"uniform": [low, high]}``."""
        return {"uniform": [self.low, self.high]}

    def describe(self) -> str:
        """Return the distribution in words."""
        return f"uniform in {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class LogUniform:
    """The distribution on [low, high] whose logarithm is uniform; low > 0."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (0 < self.low < self.high and math.isfinite(self.high)):
            raise UsageError(
                f"expected log_uniform = [low, high] with low above 0, but got [{self.low}, {self.high}]"
            )

    def quantile(self, u: float) -> float:
        """Return low (high / low)^u, to six significant digits."""
        return _round(self.low * (self.high / self.low) ** u)

    def to_json(self) -> dict[str, Any]:
        """Return ``{"log_uniform": [low, high]}``."""
        return {"log_uniform": [self.low, self.high]}

    def describe(self) -> str:
        """Return the distribution in words."""
        return f"log-uniform in {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Choice:
    """The distribution that gives each of its values the same probability.

    Attributes:
        values: Numbers, texts or truth values; at least one.
    """

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise UsageError("expected choice to have a value, but got none")
        wrong = [value for value in self.values if not _is_setting(value)]
        if wrong:
            raise UsageError(
                f"expected choice to have numbers, texts, truth values or lists of them, but got {wrong[0]!r}"
            )

    def quantile(self, u: float) -> Any:
        """Return the value number floor(u n) of n values."""
        return self.values[min(int(u * len(self.values)), len(self.values) - 1)]

    def to_json(self) -> dict[str, Any]:
        """Return ``{"choice": [...]}``."""
        return {"choice": list(self.values)}

    def describe(self) -> str:
        """Return the distribution in words."""
        return f"one of {', '.join(map(str, self.values))}"


@dataclass(frozen=True)
class Complement:
    """1 minus the value of another parameter of the same table. It is not drawn.

    Attributes:
        of: The name of the other parameter, without its section.
    """

    of: str

    def to_json(self) -> dict[str, Any]:
        """Return ``{"complement": of}``."""
        return {"complement": self.of}

    def describe(self) -> str:
        """Return the rule in words."""
        return f"1 - {self.of}"


Drawn = Uniform | LogUniform | Choice
Distribution = Drawn | Complement
KINDS = ("uniform", "log_uniform", "choice", "complement")


def read_distribution(name: str, data: Any) -> Distribution:
    """Return the distribution that ``to_json`` or a TOML file gives.

    Args:
        name: The name of the parameter, for error messages.
        data: A table with one key of ``KINDS``.

    Raises:
        UsageError: It is no distribution.
    """
    if not isinstance(data, Mapping) or len(data) != 1:
        raise UsageError(
            f"{name}: expected one of {', '.join(KINDS)}, such as {{ uniform = [0.1, 0.9] }}, "
            f"but got {data!r}"
        )
    ((kind, value),) = data.items()
    if kind not in KINDS:
        raise UsageError(f"{name}: {unknown_name('distribution', kind, KINDS)}")
    if kind == "complement":
        if not isinstance(value, str):
            raise UsageError(f"{name}: expected complement to be a name, but got {value!r}")
        return Complement(value)
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise UsageError(f"{name}: expected {kind} to be a list, but got {value!r}")
    try:
        if kind == "choice":
            return Choice(tuple(value))
        if len(value) != 2 or not all(_is_number(limit) for limit in value):
            raise UsageError(f"expected {kind} = [low, high], but got {list(value)}")
        low, high = map(float, value)
        return Uniform(low, high) if kind == "uniform" else LogUniform(low, high)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error


def _is_setting(value: Any) -> bool:
    """Whether a value can be that of a setting: a finite number, a text, a truth value, or a list of them."""
    if isinstance(value, list):
        return all(map(_is_setting, value))
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _round(value: float) -> float:
    """Round to six significant digits, so that a setting is short and the same on every machine."""
    return float(f"{value:.6g}")
