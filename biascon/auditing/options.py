"""What an audit computes beyond its metrics: positive class, smallest group, reference, bins, pairs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from biascon.data.values import check_keep_words, normalize_value
from biascon.errors import DataError, UsageError, did_you_mean
from biascon.utils.text import quote_some

Bins = Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class AuditOptions:
    """The settings of an audit.

    Attributes:
        positive: The positive class; None for the second of two labels.
        min_group: Groups with fewer rows are left out of the comparisons and of the worst group.
        reference: The value of the reference group in each bias column, None without a reference.
        bins: The edges of the bins of a numeric bias column, by column.
        pairs: Whether every pair of three or more bias columns has an audit too.
        seed: The seed of the bootstrap and of the permutations.
    """

    positive: str | None = None
    min_group: int = 0
    reference: tuple[str, ...] | None = None
    bins: Bins = field(default_factory=dict)
    pairs: bool = False
    seed: int = 0


def make_options(
    bias: Sequence[str],
    *,
    positive: Any = None,
    min_group: int = 0,
    reference: Any = None,
    bins: Mapping[str, Sequence[float]] | None = None,
    pairs: bool = False,
    seed: int = 0,
    keep_words: Collection[str] = (),
) -> AuditOptions:
    """Return the settings as given by a user, checked against the bias columns.

    Args:
        bias: The names of the bias columns.
        positive: A value of the label.
        min_group: A number of rows.
        reference: For one bias column a value; for several a sequence with a value for each column in order,
            or ``{column: value}``.
        bins: ``{column: edges}``.
        pairs: Whether to audit every pair of columns.
        seed: A random seed.
        keep_words: Words for missing values that are values here.

    Raises:
        UsageError: A setting does not fit the bias columns.
    """
    check_whole("min_group", min_group)
    check_whole("seed", seed)
    check_flag("pairs", pairs)
    if bins is not None and not isinstance(bins, Mapping):
        raise UsageError(f"expected bins as {{column: edges}}, but got a {type(bins).__name__}")
    keep_words = check_keep_words(keep_words)
    if pairs and len(bias) < 3:
        raise UsageError(
            f"expected at least three bias columns for pairs, but got {len(bias)}: "
            f"{quote_some(bias)}"
        )
    return AuditOptions(
        positive=None
        if positive is None
        else _normalize("the positive class", positive, keep_words),
        min_group=int(min_group),
        reference=None if reference is None else _read_reference(bias, reference, keep_words),
        bins=_read_bins(bias, bins or {}),
        pairs=bool(pairs),
        seed=int(seed),
    )


def _normalize(what: str, value: Any, keep_words: Collection[str]) -> str:
    """Return a value as text.

    Raises:
        UsageError: It is a missing value, or several values.
    """
    try:
        text = normalize_value(value, keep_words)
    except DataError as error:
        raise UsageError(f"expected {what} to be one value, but got {value!r}") from error
    if text is None:
        raise UsageError(f"expected {what} to be a value, but '{value}' stands for a missing value")
    return text


def check_whole(name: str, value: object, least: int = 0) -> None:
    """Check that a setting is a whole number of at least ``least``.

    Raises:
        UsageError: It is another number, a truth value or something else.
    """
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_whole or value < least:  # type: ignore[operator]
        raise UsageError(
            f"expected {name} to be a whole number of at least {least}, but got {value!r}"
        )


def check_flag(name: str, value: object) -> None:
    """Check that a setting is True or False.

    Raises:
        UsageError: It is something else.
    """
    if not isinstance(value, bool | np.bool_):
        raise UsageError(f"expected {name} to be True or False, but got {value!r}")


def _read_reference(
    bias: Sequence[str], reference: Any, keep_words: Collection[str]
) -> tuple[str, ...]:
    if isinstance(reference, Mapping):
        unknown = [str(name) for name in reference if str(name) not in bias]
        if unknown or len(reference) != len(bias):
            raise UsageError(
                f"expected a reference value for each bias column {quote_some(bias)}, but got "
                f"{quote_some(map(str, reference))}"
            )
        values = [{str(name): value for name, value in reference.items()}[name] for name in bias]
    elif isinstance(reference, list | tuple):
        values = list(reference)
    else:
        values = [reference]
    if len(values) != len(bias):
        raise UsageError(
            f"expected one reference value for each bias column {quote_some(bias)} in this order, but got "
            f"{len(values)}: {quote_some(map(str, values))}"
        )
    return tuple(_normalize("the reference", value, keep_words) for value in values)


def _read_bins(bias: Sequence[str], bins: Mapping[str, Sequence[float]]) -> Bins:
    result = {}
    for name, edges in bins.items():
        if name not in bias:
            raise UsageError(
                f"bins for '{name}', which is no bias column{did_you_mean(name, bias)}"
            )
        try:
            numbers = tuple(float(edge) for edge in edges)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"expected the edges of the bins of '{name}' to be numbers, but got {edges!r}"
            ) from error
        is_increasing = all(a < b for a, b in pairwise(numbers))
        if len(numbers) < 2 or not is_increasing:
            raise UsageError(
                f"expected at least two increasing edges for the bins of '{name}', but got "
                f"{', '.join(f'{edge:.15g}' for edge in numbers)}"
            )
        result[name] = numbers
    return result


def parse_bins(words: Sequence[str]) -> dict[str, list[float]]:
    """Return the edges by column of words such as ``age=0,18,40``.

    Raises:
        UsageError: A word has another form, or a column occurs twice.

    >>> parse_bins(["age=0,18,40"])
    {'age': [0.0, 18.0, 40.0]}
    """
    bins: dict[str, list[float]] = {}
    for word in words:
        name, separator, edges = word.rpartition("=")
        try:
            numbers = [float(edge) for edge in edges.split(",")]
        except ValueError:
            numbers = []
        if not separator or not name or not numbers:
            raise UsageError(f"expected --bins COLUMN=EDGE,EDGE,..., but got '{word}'")
        if name in bins:
            raise UsageError(f"expected --bins once for '{name}', but got it twice")
        bins[name] = numbers
    return bins
