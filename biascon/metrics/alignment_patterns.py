"""Alignment patterns of several bias attributes: names, groups, and the metrics of tables of counts.

The *alignment pattern* of a row is the set of attributes whose value conflicts with its label. With the
attributes A and B there are four: none, A alone, B alone, and both. Pattern p has the bits of its conflicting
attributes: bit i belongs to attribute i. The groups are the pairs (label, pattern); A[y, p] is the accuracy
in one of them.

- *Pattern accuracy*: the unweighted mean of A[y, p] over the labels that have rows in pattern p.
- *In-distribution accuracy* (I.D. accuracy): the mean of A[y, p] with the shares of the groups in training.
- *Gap* of pattern p: pattern accuracy minus I.D. accuracy. The gap of an attribute is that of the pattern in
  which it alone conflicts, and ``all`` that of the pattern in which all attributes conflict.

These are the metrics of Li et al., "A Whac-A-Mole Dilemma: Shortcuts Come in Multiples Where Mitigating One
Amplifies Others", CVPR 2023, for UrbanCars (I.D. Acc, BG Gap, CoObj Gap, BG+CoObj Gap). There a label has one
aligned and one conflicting value of each attribute, so that the groups are the eight of the dataset.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from biascon.metrics.estimates import ACCURACIES
from biascon.metrics.weighted_averages import training_shares, weighted_sum
from biascon.utils.types import Array

ALL, NONE = "all", "none"
IN_DISTRIBUTION = "in_distribution"
GAP, JOINT = "gap", "joint"
# The accuracies by one attribute, whatever the others are.
BY_ATTRIBUTE = ACCURACIES[1:]
KINDS = (GAP, JOINT, *BY_ATTRIBUTE)  # of names such as "gap:background"


def pattern_of_rows(conflicting: Sequence[Array]) -> Array:
    """Return the alignment pattern of each row, int64 ``(N,)``.

    Args:
        conflicting: bool ``(N,)`` for each attribute: whether its value conflicts with the label.
    """
    bits = [column.astype(np.int64) << i for i, column in enumerate(conflicting)]
    return np.asarray(sum(bits[1:], start=bits[0]))


def list_patterns(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the conflicting attributes of each pattern, in the order of the patterns.

    >>> list_patterns(["a", "b"])
    [(), ('a',), ('b',), ('a', 'b')]
    """
    return [
        tuple(name for i, name in enumerate(names) if pattern >> i & 1)
        for pattern in range(1 << len(names))
    ]


def find_pattern(of: str, names: Sequence[str]) -> int | None:
    """Return the pattern of the second part of a metric name, None if there is no such pattern.

    Args:
        of: The name of an attribute, ``"all"`` or ``"none"``. An attribute with one of these names comes
            first.
        names: The names of the attributes.
    """
    if of in names:
        return 1 << list(names).index(of)
    return {ALL: (1 << len(names)) - 1, NONE: 0}.get(of)


def pattern_coefficients(rows: Array, pattern: int) -> Array:
    """Return float64 ``(K, P)``: the coefficients of the accuracy of a pattern.

    Args:
        rows: int ``(K, P)``, the rows of each label and pattern.
        pattern: The pattern.
    """
    coefficients = np.zeros(rows.shape)
    has_rows = rows[:, pattern] > 0
    if has_rows.any():
        coefficients[has_rows, pattern] = 1 / has_rows.sum()
    return coefficients


def coefficients_of(name: str, names: Sequence[str], rows: Array, training: Array) -> Array:
    """Return float64 ``(K, P)``: the coefficients of a metric of patterns; all 0 where it is undefined.

    Args:
        name: ``"in_distribution"``, or ``"gap:"`` or ``"joint:"`` with an attribute, ``"all"`` or ``"none"``.
        names: The names of the attributes.
        rows: int ``(K, P)``, the rows of each label and pattern.
        training: int ``(K, P)``, the training rows of each label and pattern.
    """
    shares = training_shares(training)
    if name == IN_DISTRIBUTION:
        return shares
    kind, _, of = name.partition(":")
    pattern = find_pattern(of, names)
    undefined = np.zeros(rows.shape)
    if pattern is None or not rows[:, pattern].any():
        return undefined
    coefficients = pattern_coefficients(rows, pattern)
    if kind == JOINT:
        return coefficients
    return coefficients - shares if shares.any() else undefined


def pattern_metrics(
    counts: Array, metrics: Sequence[str], names: Sequence[str], training: Array
) -> dict[str, Array]:
    """Return metrics of patterns of tables of counts.

    Args:
        counts: int ``(..., K, P, K)``: label x pattern x prediction, all with the same rows of each group.
        metrics: Names as in ``coefficients_of``.
        names: The names of the attributes.
        training: int ``(K, P)``, the training rows of each group.

    Returns:
        float64 ``(...)`` by metric; NaN where a group that counts has no rows.
    """
    rows = counts.reshape(-1, *counts.shape[-3:])[0].sum(axis=-1)
    return {
        name: weighted_sum(counts, coefficients_of(name, names, rows, training)) for name in metrics
    }
