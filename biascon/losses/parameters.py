"""The ranges of the parameters of losses. A parameter name has one range, unless a loss states another."""

from __future__ import annotations

import numbers
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from biascon.errors import UsageError
from biascon.utils.text import show_value

MAX_COUNT = 1 << 20


@dataclass(frozen=True)
class Range:
    """The values that a parameter may have: numbers from ``low`` to ``high``.

    Attributes:
        low: The smallest value.
        high: The largest value; None for every finite number.
        excludes_low: Whether the value must be larger than ``low``.
        is_count: Whether the value must be an integer.
    """

    low: float = 0.0
    high: float | None = None
    excludes_low: bool = False
    is_count: bool = False

    def contains(self, value: Any) -> bool:
        """Return whether a value is in the range."""
        if not is_number(value) or not abs(value) <= sys.float_info.max:
            return False
        if self.is_count and not isinstance(value, int):
            return False
        above = value > self.low if self.excludes_low else value >= self.low
        return bool(above and (self.high is None or value <= self.high))

    def describe(self) -> str:
        """Return the range for a message.

        >>> Range().describe(), Range(excludes_low=True).describe(), Range(0, 1).describe()
        ('at least 0', 'larger than 0', 'in 0..1')
        >>> Range(0, 0.5, excludes_low=True).describe(), Range(1, 9, is_count=True).describe()
        ('in (0, 0.5]', 'an integer of at least 1 and at most 9')
        """
        if self.is_count:
            most = "" if self.high is None else f" and at most {self.high:,}"
            return f"an integer of at least {self.low:g}{most}"
        if self.high is not None:
            low, high = f"{self.low:g}", f"{self.high:g}"
            return f"in ({low}, {high}]" if self.excludes_low else f"in {low}..{high}"
        return f"{'larger than' if self.excludes_low else 'at least'} {self.low:g}"


POSITIVE = Range(excludes_low=True)
_AT_LEAST_0 = (
    "wa", "wb", "epsilon", "weight", "ce_weight", "alpha", "beta", "eta", "k", "gamma", "m", "decoupling",
)  # fmt: skip
RANGES: dict[str, Range] = {
    **dict.fromkeys(("temperature", "delta"), POSITIVE),
    **dict.fromkeys(_AT_LEAST_0, Range()),
    **dict.fromkeys(("p_label", "contrast_weight"), Range(0, 1)),
    **dict.fromkeys(("up", "oversample"), Range(1)),
    "q": Range(0, 1, excludes_low=True),
    "contrast_batch": Range(0, MAX_COUNT, is_count=True),
}
_COUNT = Range(1, MAX_COUNT, is_count=True)  # of another parameter that is an integer


def is_number(value: Any) -> bool:
    """Return whether a value is a real number, and no truth value."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_parameters(
    name: str,
    parameters: Mapping[str, Any],
    ranges: Mapping[str, Range],
    function: Callable[..., Any],
) -> None:
    """Refuse values that a loss cannot take.

    Args:
        name: The name of the loss.
        parameters: The values of all its parameters.
        ranges: The ranges that the loss states itself.
        function: The function of the loss, for the types of its parameters.

    Raises:
        UsageError: The message names every value that is not allowed.
    """
    hints = typing.get_type_hints(function)
    problems = []
    for key, value in parameters.items():
        expected = _expected_value(value, ranges.get(key, RANGES.get(key)), hints.get(key))
        if expected is not None:
            problems.append(f"{key} to be {expected}, but got {show_value(value)}")
    if problems:
        raise UsageError(f"loss '{name}': expected {'; '.join(problems)}")
    if parameters.get("wa") == 0 and parameters.get("wb") == 0:
        raise UsageError(f"loss '{name}': wa and wb cannot both be 0")


def _expected_value(value: Any, allowed: Range | None, hint: Any) -> str | None:
    """Return which values a parameter takes, None if the value is one of them."""
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        return None if value in choices else " or ".join(map(repr, choices))
    if allowed is None and hint is int:
        allowed = _COUNT
    if allowed is not None:
        return None if allowed.contains(value) else allowed.describe()
    if hint is float and not is_number(value):
        return "a number"
    return None
