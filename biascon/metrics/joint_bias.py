"""Several bias attributes at once: accuracy by alignment pattern, gaps, and the accuracies by each attribute.

``alignment_patterns`` has the definitions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from biascon.metrics.accuracy import correct
from biascon.metrics.alignment_patterns import (
    ALL,
    BY_ATTRIBUTE,
    GAP,
    IN_DISTRIBUTION,
    JOINT,
    NONE,
    find_pattern,
    list_patterns,
    pattern_coefficients,
)
from biascon.metrics.records import UNDEFINED, Metric
from biascon.metrics.summary import measure_counts
from biascon.metrics.weighted_averages import measure_weighted_sum, training_shares
from biascon.utils.types import Array


@dataclass(frozen=True)
class AttributeTable:
    """What ``measure_joint_bias`` needs of one attribute.

    Attributes:
        name: Its name.
        values: The names of its M values.
        aligned: bool ``(K, M)``, the bias-aligned cells.
        counts: int64 ``(K, M, K)``: label x value x prediction.
    """

    name: str
    values: Sequence[str]
    aligned: Array
    counts: Array


@dataclass(frozen=True)
class AttributeBias:
    """The accuracies by one attribute, whatever the values of the others are.

    Attributes:
        name: The name of the attribute.
        values: The names of its values.
        aligned: The bias-aligned pairs of the positions of a label and a value.
        metrics: The accuracies of ``BY_ATTRIBUTE``.
    """

    name: str
    values: Sequence[str]
    aligned: Sequence[Sequence[int]]
    metrics: Mapping[str, Metric]

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain data."""
        return {
            "name": self.name,
            "values": list(self.values),
            "aligned": [list(pair) for pair in self.aligned],
            **{name: metric.to_json() for name, metric in self.metrics.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> AttributeBias:
        """Return the record that ``to_json`` wrote."""
        metrics = {name: Metric.from_json(data[name]) for name in BY_ATTRIBUTE if name in data}
        return cls(data["name"], data["values"], data["aligned"], metrics)


@dataclass(frozen=True)
class AlignmentPattern:
    """One alignment pattern.

    Attributes:
        conflicting: The attributes whose values conflict with the label.
        training_n: The number of training rows, None if it is unknown.
        accuracy: The pattern accuracy; its n is the number of rows.
        gap: The gap; its n is the number of rows of all groups with training rows. Undefined for the pattern
            without a conflicting attribute.
    """

    conflicting: tuple[str, ...]
    training_n: int | None
    accuracy: Metric
    gap: Metric

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain data."""
        return {
            "conflicting": list(self.conflicting),
            "training_n": self.training_n,
            "accuracy": self.accuracy.to_json(),
            "gap": self.gap.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> AlignmentPattern:
        """Return the record that ``to_json`` wrote."""
        accuracy, gap = Metric.from_json(data["accuracy"]), Metric.from_json(data["gap"])
        return cls(tuple(data["conflicting"]), data["training_n"], accuracy, gap)


@dataclass(frozen=True)
class JointBias:
    """The metrics of several bias attributes.

    Attributes:
        attributes: The accuracies by each attribute.
        patterns: The alignment patterns in their order; empty with too many attributes.
        in_distribution: The in-distribution accuracy.
        worst_group: The smallest A[y, p], with its interval. Its cell has the positions of label and pattern.
        counts: Nested lists ``(K, P, K)`` of rows: label x pattern x prediction.
        training: Nested lists ``(K, P)`` of training rows; empty if they are unknown.
    """

    attributes: Sequence[AttributeBias]
    patterns: Sequence[AlignmentPattern]
    in_distribution: Metric
    worst_group: Metric
    counts: Sequence[Sequence[Sequence[int]]]
    training: Sequence[Sequence[int]]

    @property
    def names(self) -> list[str]:
        """The names of the attributes."""
        return [attribute.name for attribute in self.attributes]

    @property
    def metric_names(self) -> list[str]:
        """The names of all metrics: those that ``metric`` takes."""
        of = [*self.names, *([ALL] if ALL not in self.names else [])]
        return [
            IN_DISTRIBUTION,
            *(f"{GAP}:{name}" for name in of),
            *([f"{JOINT}:{NONE}"] if NONE not in self.names else []),
            *(f"{JOINT}:{name}" for name in of),
            *(f"{kind}:{name}" for name in self.names for kind in BY_ATTRIBUTE),
        ]

    def metric(self, name: str) -> Metric | None:
        """Return a metric by its name, None where there is none of that name.

        Args:
            name: ``"in_distribution"``; ``"gap:"`` or ``"joint:"`` with an attribute, ``"all"`` or
                ``"none"``; or a name of ``BY_ATTRIBUTE`` with a colon and an attribute.
        """
        if name == IN_DISTRIBUTION:
            return self.in_distribution
        kind, _, of = name.partition(":")
        if kind not in (GAP, JOINT):
            found = [attribute for attribute in self.attributes if attribute.name == of]
            return found[0].metrics.get(kind) if found else None
        index = find_pattern(of, self.names)
        if index is None or index >= len(self.patterns):
            return None
        return self.patterns[index].gap if kind == GAP else self.patterns[index].accuracy

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain data."""
        return {
            "attributes": [attribute.to_json() for attribute in self.attributes],
            "in_distribution": self.in_distribution.to_json(),
            "worst_group": self.worst_group.to_json(),
            "patterns": [pattern.to_json() for pattern in self.patterns],
            "counts": self.counts,
            "training": self.training,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> JointBias:
        """Return the record that ``to_json`` wrote."""
        return cls(
            [AttributeBias.from_json(attribute) for attribute in data["attributes"]],
            [AlignmentPattern.from_json(pattern) for pattern in data["patterns"]],
            Metric.from_json(data["in_distribution"]),
            Metric.from_json(data["worst_group"]),
            data["counts"],
            data["training"],
        )


def measure_joint_bias(
    attributes: Sequence[AttributeTable],
    labels: Sequence[str],
    counts: Array | None,
    training: Array | None,
) -> JointBias:
    """Return the metrics of several bias attributes, each with its n and 95 % interval.

    Args:
        attributes: The attributes, two or more.
        labels: The names of the K classes.
        counts: int64 ``(K, P, K)``: label x pattern x prediction. None leaves the patterns out.
        training: int64 ``(K, P)``, the training rows of each group. None if they are unknown: the
            in-distribution accuracy and the gaps are then undefined.
    """
    by_attribute = [_measure_attribute(attribute, labels) for attribute in attributes]
    if counts is None:
        return JointBias(by_attribute, [], UNDEFINED, UNDEFINED, [], [])
    names = [attribute.name for attribute in attributes]
    hits, rows = correct(counts), counts.sum(axis=-1)
    known = np.zeros(rows.shape, np.int64) if training is None else training
    shares = training_shares(known)
    patterns = []
    for index, conflicting in enumerate(list_patterns(names)):
        coefficients = pattern_coefficients(rows, index)
        is_gap = bool(conflicting) and shares.any() and rows[:, index].any()
        patterns.append(
            AlignmentPattern(
                conflicting,
                None if training is None else int(known[:, index].sum()),
                measure_weighted_sum(hits, rows, coefficients),
                measure_weighted_sum(hits, rows, coefficients - shares) if is_gap else UNDEFINED,
            )
        )
    summary = measure_counts(counts, labels, None, seed=0, intervals=False)
    return JointBias(
        by_attribute,
        patterns,
        measure_weighted_sum(hits, rows, shares),
        summary["worst_group"],
        counts.tolist(),
        [] if training is None else known.tolist(),
    )


def _measure_attribute(attribute: AttributeTable, labels: Sequence[str]) -> AttributeBias:
    summary = measure_counts(attribute.counts, labels, attribute.aligned, seed=0, intervals=False)
    return AttributeBias(
        attribute.name,
        list(attribute.values),
        np.argwhere(attribute.aligned).tolist(),
        {name: summary[name] for name in BY_ATTRIBUTE},
    )
