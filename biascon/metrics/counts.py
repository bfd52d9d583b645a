"""The counts that every metric is a function of: how often label y with bias b was predicted as p.

Counts of parts add up to the counts of the whole, so rows may come in batches of any size and order
and from several processes: ``Counts`` adds them up, over the crossed values of several attributes if
asked, and gives the table of any subset of these attributes without another pass.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biascon.errors import UsageError
from biascon.utils.types import Array


def count(
    labels: Array, bias: Array, predictions: Array, *, n_labels: int, n_bias: int
) -> npt.NDArray[np.int64]:
    """Return int64 ``(K, M, K)``: entry [y, b, p] is the number of rows (label y, bias b, prediction p).

    Counts of parts add up to the counts of the whole.

    Args:
        labels: ``(N,)`` integers in 0..K-1.
        bias: ``(N,)`` integers in 0..M-1.
        predictions: ``(N,)`` integers in 0..K-1.
        n_labels: K.
        n_bias: M.

    Raises:
        UsageError: Arrays of different length, or values out of range.

    >>> count(np.array([0, 1]), np.array([0, 0]), np.array([0, 0]), n_labels=2, n_bias=1).tolist()
    [[[1, 0]], [[1, 0]]]
    """
    shape = (n_labels, n_bias, n_labels)
    columns = (labels, bias, predictions)
    if len({len(column) for column in columns}) != 1:
        raise UsageError(f"expected equally long columns, but got {[len(c) for c in columns]}")
    for name, column, size in zip(("labels", "bias", "predictions"), columns, shape, strict=True):
        check_range(name, column, size)
    flat = np.ravel_multi_index([c.astype(np.int64) for c in columns], shape)
    return np.bincount(flat, minlength=n_labels * n_bias * n_labels).reshape(shape)


def divide(numerator: Array, denominator: Array) -> Array:
    """Return numerator / denominator as float64, NaN where the denominator is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        # laid out in memory as the operands are: replicates side by side stay so
        out = np.asarray(np.true_divide(numerator, denominator, dtype=np.float64))
    np.copyto(out, np.nan, where=np.equal(denominator, 0))
    return out


def cross(
    columns: Mapping[str, Array], values: Mapping[str, Sequence[str]]
) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Return the group of every row and the names of all groups, where a group is a combination.

    The last attribute varies fastest. The sizes come from ``values``, not from the rows at hand, so
    a batch that lacks a group numbers the others as every other batch does.

    Args:
        columns: For each attribute ``(N,)`` integers.
        values: For the same attributes the names of their values 0, 1, ...

    Raises:
        UsageError: No attribute, other attributes than those of ``values``, columns of different
            length, or values out of range.

    >>> index, names = cross(
    ...     {"sex": np.array([0, 1]), "age": np.array([1, 0])},
    ...     {"sex": ["female", "male"], "age": ["young", "old"]},
    ... )
    >>> [names[i] for i in index]
    ['sex=female, age=old', 'sex=male, age=young']
    """
    if not values or set(columns) != set(values):
        raise UsageError(f"expected the attributes {sorted(values)}, but got {sorted(columns)}")
    if len({len(column) for column in columns.values()}) != 1:
        lengths = {name: len(column) for name, column in columns.items()}
        raise UsageError(f"expected equally long columns, but got {lengths}")
    sizes = tuple(len(values[name]) for name in values)
    for name, size in zip(values, sizes, strict=True):
        check_range(name, columns[name], size)
    ordered = [np.asarray(columns[name]).astype(np.int64) for name in values]
    return np.ravel_multi_index(ordered, sizes), group_names(values)


def group_names(values: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return the names of all combinations, the last attribute varying fastest.

    Of one attribute they are its values alone.

    >>> group_names({"color": ["red", "green"]})
    ('red', 'green')
    """
    if len(values) == 1:
        return tuple(next(iter(values.values())))
    parts = [[f"{name}={value}" for value in names] for name, names in values.items()]
    return tuple(", ".join(combination) for combination in itertools.product(*parts))


@dataclass(frozen=True, eq=False)
class Counts:
    """Counts of rows by label, by one or more attributes, and by prediction; add them with ``+``.

    Attributes:
        labels: The names of the K classes.
        attributes: For each attribute, in order, the names of its values. M is the product of their
            numbers: a group is a combination.
        table: int64 ``(K, M, K)``: [y, group, p].
    """

    labels: tuple[str, ...]
    attributes: Mapping[str, tuple[str, ...]]
    table: npt.NDArray[np.int64]

    @classmethod
    def empty(cls, labels: Sequence[str], attributes: Mapping[str, Sequence[str]]) -> Counts:
        """Return counts of no rows.

        Raises:
            UsageError: No attribute, or one without values.
        """
        if not attributes or not all(attributes.values()):
            raise UsageError(f"expected attributes with values, but got {dict(attributes)}")
        values = {name: tuple(names) for name, names in attributes.items()}
        groups = math.prod(len(names) for names in values.values())
        shape = (len(labels), groups, len(labels))
        return cls(tuple(labels), values, np.zeros(shape, np.int64))

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the M groups."""
        return group_names(self.attributes)

    @property
    def rows(self) -> int:
        """How many rows were counted."""
        return int(self.table.sum())

    def add(self, labels: Array, columns: Mapping[str, Array], predictions: Array) -> Counts:
        """Return these counts and those of a batch.

        Args:
            labels: ``(N,)`` integers in 0..K-1.
            columns: For each attribute ``(N,)`` integers, the indices of its values.
            predictions: ``(N,)`` integers in 0..K-1.

        Raises:
            UsageError: Columns that do not fit, or values out of range.
        """
        index, names = cross(columns, self.attributes)
        k = len(self.labels)
        batch = count(labels, index, predictions, n_labels=k, n_bias=len(names))
        return Counts(self.labels, self.attributes, self.table + batch)

    def __add__(self, other: Counts) -> Counts:
        """Return the counts of both; their order and nesting make no difference.

        Raises:
            UsageError: The two are of different classes or attributes.
        """
        mine, theirs = ((c.labels, tuple(c.attributes.items())) for c in (self, other))
        if mine != theirs:
            raise UsageError(f"expected counts of {mine} to be added, but got counts of {theirs}")
        return Counts(self.labels, self.attributes, self.table + other.table)

    def by(self, *names: str) -> Counts:
        """Return the counts by these attributes only, in this order, summed over the others.

        Raises:
            UsageError: No name, a name twice, or one that is no attribute.
        """
        known = list(self.attributes)
        if not names or len(set(names)) != len(names) or not set(names) <= set(known):
            raise UsageError(f"expected some of the attributes {known}, but got {list(names)}")
        k = len(self.labels)
        sizes = [len(values) for values in self.attributes.values()]
        axes = [1 + known.index(name) for name in names]
        others = tuple(axis for axis in range(1, 1 + len(known)) if axis not in axes)
        full = self.table.reshape(k, *sizes, k).transpose(0, *axes, *others, -1)
        table = full.reshape(k, math.prod(sizes[axis - 1] for axis in axes), -1, k).sum(axis=2)
        return Counts(self.labels, {name: self.attributes[name] for name in names}, table)


def check_range(name: str, column: Array, size: int) -> None:
    """Refuse a column with values outside 0..size-1."""
    if len(column) and not (column.min() >= 0 and column.max() < size):
        got = f"{column.min()}..{column.max()}"
        raise UsageError(f"expected {name} in 0..{size - 1}, but got {got}")
