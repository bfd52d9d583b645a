"""Several bias attributes: gaps and accuracies against loops over rows, and what a user would conclude."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from biascon.metrics.alignment_patterns import list_patterns, pattern_metrics, pattern_of_rows
from biascon.metrics.counts import count
from biascon.metrics.joint_bias import AttributeTable, JointBias, measure_joint_bias
from biascon.metrics.records import UNDEFINED
from tests.two_biases import draw_rows, predict_mostly

NAMES = ("bg", "co_occur_obj")


def measure_rows(
    labels: np.ndarray,
    attributes: tuple[np.ndarray, ...],
    predictions: np.ndarray,
    training: np.ndarray | None,
    *,
    n_labels: int = 2,
    names: tuple[str, ...] = NAMES,
) -> JointBias:
    """Measure rows whose attributes are aligned where they equal the label."""
    sizes = [max(n_labels, int(column.max()) + 1) for column in attributes]
    tables = [
        AttributeTable(
            name,
            [f"{name} {value}" for value in range(size)],
            np.eye(n_labels, size, dtype=bool),
            count(labels, column, predictions, n_labels=n_labels, n_bias=size),
        )
        for name, column, size in zip(names, attributes, sizes, strict=True)
    ]
    patterns = pattern_of_rows([column != labels for column in attributes])
    counts = count(labels, patterns, predictions, n_labels=n_labels, n_bias=1 << len(names))
    return measure_joint_bias(tables, [str(k) for k in range(n_labels)], counts, training)


def training_table(
    labels: np.ndarray, attributes: tuple[np.ndarray, ...], n_labels: int = 2
) -> np.ndarray:
    table = np.zeros((n_labels, 1 << len(attributes)), np.int64)
    np.add.at(table, (labels, pattern_of_rows([column != labels for column in attributes])), 1)
    return table


def mean_by_loop(labels: np.ndarray, chosen: np.ndarray, hit: np.ndarray) -> float:
    """The mean over labels of the share of correct rows among chosen ones."""
    rates = [hit[chosen & (labels == y)].mean() for y in np.unique(labels[chosen])]
    return float(np.mean(rates))


@pytest.mark.parametrize("seed", range(3))
def test_every_metric_equals_a_loop_over_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, a, b, predictions = (rng.integers(0, size, 600) for size in (3, 3, 4, 3))
    train = tuple(rng.integers(0, size, 500) for size in (3, 3, 4))
    joint = measure_rows(
        labels, (a, b), predictions, training_table(train[0], train[1:], 3), n_labels=3
    )
    hit, value = predictions == labels, {}
    for of_a, of_b, name in ((0, 0, "none"), (1, 0, "bg"), (0, 1, "co_occur_obj"), (1, 1, "all")):
        chosen = ((a != labels) == of_a) & ((b != labels) == of_b)
        value[f"joint:{name}"] = mean_by_loop(labels, chosen, hit)
        assert joint.metric(f"joint:{name}").n == chosen.sum()  # type: ignore[union-attr]
    in_distribution = 0.0
    for y, of_a, of_b in itertools.product(range(3), (0, 1), (0, 1)):
        here, there = (
            (rows[0] == y) & ((rows[1] != rows[0]) == of_a) & ((rows[2] != rows[0]) == of_b)
            for rows in ((labels, a, b), train)
        )
        in_distribution += there.mean() * hit[here].mean()
    value["in_distribution"] = in_distribution
    for name in (*NAMES, "all"):
        value[f"gap:{name}"] = value[f"joint:{name}"] - in_distribution
    for name, column in zip(NAMES, (a, b), strict=True):
        cells = {
            (y, v): hit[(labels == y) & (column == v)].mean()
            for y in range(3)
            for v in set(column.tolist())
        }
        conflicting = column != labels
        value[f"unbiased:{name}"] = np.mean(list(cells.values()))
        value[f"bias_aligned:{name}"] = np.mean([x for (y, v), x in cells.items() if y == v])
        value[f"bias_conflicting:{name}"] = np.mean([x for (y, v), x in cells.items() if y != v])
        value[f"worst_group:{name}"] = min(cells.values())
        value[f"bias_aligned_samples:{name}"] = hit[~conflicting].mean()
        value[f"bias_conflicting_samples:{name}"] = hit[conflicting].mean()
    assert set(value) == set(joint.metric_names)
    for name, expected in value.items():
        metric = joint.metric(name)
        assert metric is not None and metric.value == pytest.approx(expected), name
        assert metric.low is not None and metric.high is not None
        assert metric.low <= metric.value <= metric.high
    names = [
        name for name in value if name.partition(":")[0] in ("in_distribution", "gap", "joint")
    ]
    found = pattern_metrics(np.asarray(joint.counts), names, NAMES, np.asarray(joint.training))
    assert {name: float(x) for name, x in found.items()} == pytest.approx(
        {n: value[n] for n in names}
    )
    assert JointBias.from_json(json.loads(json.dumps(joint.to_json()))) == joint


def test_the_gaps_of_urbancars_are_those_of_its_authors() -> None:
    """Their code weighs the four patterns by products of 0.95 and 0.05, with balanced groups."""
    accuracies = np.array([0.97, 0.70, 0.80, 0.40])  # none, bg, object, both
    labels = np.repeat([0, 1], 400)
    patterns = np.tile(np.repeat(range(4), 100), 2)
    hit = np.tile(np.arange(100), 8) < (100 * accuracies[patterns]).round()
    a, b = (np.where(patterns & bit, 1 - labels, labels) for bit in (1, 2))
    training = np.tile([3610, 190, 190, 10], (2, 1))
    joint = measure_rows(labels, (a, b), np.where(hit, labels, 1 - labels), training)
    weights = np.array([0.95 * 0.95, 0.05 * 0.95, 0.95 * 0.05, 0.05 * 0.05])
    in_distribution = float((weights * accuracies).sum())
    assert joint.in_distribution.value == pytest.approx(in_distribution)
    for name, accuracy in zip((*NAMES, "all"), accuracies[1:], strict=True):
        gap = joint.metric(f"gap:{name}")
        assert gap is not None and gap.value == pytest.approx(accuracy - in_distribution)


def test_a_model_that_reads_one_attribute_has_the_gap_of_that_attribute_alone() -> None:
    train, test = draw_rows(4000, 0.95, 1), draw_rows(2000, 0.5, 2)
    training = training_table(train[0], train[1:])
    for read in (0, 1):
        predictions = predict_mostly(test[1 + read], test[0], 0.8)
        joint = measure_rows(test[0], test[1:], predictions, training)
        own, other = (joint.metric(f"gap:{NAMES[k]}") for k in (read, 1 - read))
        assert own is not None and own.high is not None and own.high < -0.6
        # Where the other one alone conflicts all is right, and in distribution 4 % are wrong.
        assert other is not None and other.value is not None and 0 <= other.value < 0.08
        both = joint.metric("gap:all")
        assert (
            both is not None
            and own.value is not None
            and both.value == pytest.approx(own.value, abs=0.1)
        )
    perfect = measure_rows(test[0], test[1:], test[0], training)
    assert [pattern.gap.value for pattern in perfect.patterns[1:]] == pytest.approx([0, 0, 0])


def test_undefined_values_are_no_zeros() -> None:
    labels, a, b = draw_rows(400, 0.5, 3)
    training = training_table(*(lambda rows: (rows[0], rows[1:]))(draw_rows(400, 0.5, 4)))
    unknown = measure_rows(labels, (a, b), labels, None)
    assert unknown.in_distribution == UNDEFINED and unknown.training == []
    assert all(pattern.gap == UNDEFINED for pattern in unknown.patterns)
    assert all(pattern.accuracy.value == 1 for pattern in unknown.patterns)
    kept = ~((a != labels) & (b != labels))  # no test image on which both conflict
    joint = measure_rows(labels[kept], (a[kept], b[kept]), labels[kept], training)
    assert joint.metric("joint:all") == UNDEFINED and joint.metric("gap:all") == UNDEFINED
    assert joint.in_distribution == UNDEFINED and joint.metric("gap:bg") == UNDEFINED
    assert joint.metric("gap:nothing") is None and joint.metric("unbiased:nothing") is None
    biased = training.copy()
    biased[:, 3] = 0  # nor such a training image
    assert (
        measure_rows(labels[kept], (a[kept], b[kept]), labels[kept], biased).in_distribution.value
        == 1
    )


def test_patterns_of_three_attributes() -> None:
    assert list_patterns(["a", "b", "c"])[5] == ("a", "c")
    labels, a, b = draw_rows(900, 0.5, 5)
    c = np.random.default_rng(6).integers(0, 2, 900)
    joint = measure_rows(labels, (a, b, c), c, None, names=("a", "b", "all"))
    assert [len(pattern.conflicting) for pattern in joint.patterns] == [0, 1, 1, 2, 1, 2, 2, 3]
    found = joint.metric("joint:all")  # the attribute of that name comes first
    assert found is not None and found == joint.patterns[4].accuracy and found.value == 0
