"""The AUC: scikit-learn's values, and intervals that cover the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sklearn.metrics

from biascon.metrics.auc import RocArea, roc_area


def area_of_rows(
    scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> RocArea:
    """The area of rows, from their counts at each score."""
    _, index = np.unique(scores, return_inverse=True)
    w = np.ones(len(scores)) if weights is None else weights
    positives, negatives = (np.bincount(index, w * (labels == k)) for k in (1, 0))
    return roc_area(positives, negatives)


@pytest.mark.parametrize("decimals", [1, 8])
def test_area_equals_scikit_learn(decimals: int) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 500)
    scores = np.round(rng.random(500) + 0.3 * labels, decimals)
    weights = rng.random(500)
    expected = sklearn.metrics.roc_auc_score(labels, scores)
    assert area_of_rows(scores, labels).value == pytest.approx(expected)
    expected = sklearn.metrics.roc_auc_score(labels, scores, sample_weight=weights)
    assert area_of_rows(scores, labels, weights).value == pytest.approx(expected)


def test_the_variance_is_delongs() -> None:
    """A plain loop over the placements of every row."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(1, 1, 60), rng.normal(0, 1, 80)
    wins = x[:, None] > y
    variance = wins.mean(axis=1).var(ddof=1) / 60 + wins.mean(axis=0).var(ddof=1) / 80
    area = area_of_rows(np.r_[x, y], np.r_[np.ones(60), np.zeros(80)])
    a = wins.mean()
    width = 1.959964 * math.sqrt(variance) / (a * (1 - a))
    logit = math.log(a / (1 - a))
    expected = [1 / (1 + math.exp(-(logit + sign * width))) for sign in (-1, 1)]
    assert [area.low, area.high] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("n", "shift", "width"),
    [
        ((10, 15), 1.0, 1.0),
        ((60, 40), 1.0, 1.0),
        ((20, 20), 2.0, 1.0),
        ((30, 1000), 2.5, 1.0),  # 89 % with DeLong's variance alone
        ((20, 500), 1.0, 3.0),  # 83 % with the score interval alone
    ],
)
def test_intervals_cover_the_truth(n: tuple[int, int], shift: float, width: float) -> None:
    """Normal scores; those of the positive class have another mean and another standard deviation."""
    rng = np.random.default_rng(2)
    truth = 0.5 * (1 + math.erf(shift / math.sqrt(2 * (1 + width**2))))
    labels = np.r_[np.ones(n[0]), np.zeros(n[1])]
    found = 0
    for _ in range(300):
        area = area_of_rows(np.r_[rng.normal(shift, width, n[0]), rng.normal(0, 1, n[1])], labels)
        found += area.low <= truth <= area.high
    assert found > 0.92 * 300


def test_a_perfect_area_has_an_interval_and_one_class_has_none() -> None:
    area = roc_area([0, 50], [50, 0])
    assert area.value == area.high == 1 and 0.9 < area.low < 0.99
    area = roc_area([3, 0], [0, 4])
    assert area.value == area.low == 0 and 0.4 < area.high < 0.9
    assert math.isnan(roc_area([0, 0], [1, 2]).value)
