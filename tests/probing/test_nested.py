"""Nested cross-validation: folds, no row in its own probe, the probe of scikit-learn, no gain from noise."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from biascon.errors import DataError
from biascon.probing import nested
from biascon.probing.nested import assign_folds, predict_held_out

RNG = np.random.default_rng(8)
N = 90
TARGETS, OTHER = np.arange(N) % 3, RNG.integers(0, 2, N)
FEATURES = (RNG.normal(size=(N, 4)) + 1.2 * np.eye(3, 4)[TARGETS]).astype(np.float32)


@pytest.fixture(autouse=True)
def few_penalties(monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose among three penalties, which takes half of the time."""
    monkeypatch.setattr(nested, "PENALTIES", (0.001, 0.03, 1.0))


def test_folds_have_an_equal_share_of_each_class_and_cell() -> None:
    fold = assign_folds(TARGETS, OTHER, 4, seed=3, purpose="x")
    for k in range(3):
        is_class = np.equal(TARGETS, k)
        for chosen in (is_class, is_class & (OTHER == 1)):
            sizes = np.bincount(fold[chosen], minlength=4)
            assert sizes.max() - sizes.min() <= 1
    assert np.array_equal(fold, assign_folds(TARGETS, OTHER, 4, seed=3, purpose="x"))
    assert not np.array_equal(fold, assign_folds(TARGETS, OTHER, 4, seed=4, purpose="x"))


def test_no_target_of_a_fold_reaches_the_probe_that_predicts_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With other targets in fold 0 its predictions and its penalty stay; those of other folds change."""
    assign = nested.assign_folds

    def fixed(targets: np.ndarray, other: np.ndarray, folds: int, **options: object) -> np.ndarray:
        if str(options["purpose"]).endswith("/folds"):
            return np.arange(N) // 3 % 3  # each fold has rows of each class
        return assign(targets, other, folds, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(nested, "assign_folds", fixed)
    fold = np.arange(N) // 3 % 3
    changed = np.where(fold == 0, (TARGETS + 1) % 3, TARGETS)
    before, after = (
        predict_held_out(FEATURES, targets, OTHER, 3, folds=3) for targets in (TARGETS, changed)
    )
    assert np.array_equal(before.predicted[fold == 0], after.predicted[fold == 0])
    assert before.penalties[0] == after.penalties[0]
    assert not np.array_equal(before.predicted[fold != 0], after.predicted[fold != 0])


def test_predictions_are_those_of_scikit_learn() -> None:
    found = predict_held_out(FEATURES, TARGETS, OTHER, 3, folds=3, seed=1, purpose="p")
    fold = assign_folds(TARGETS, OTHER, 3, seed=1, purpose="p/folds")
    assert found.converged and set(found.penalties) <= set(nested.PENALTIES)
    for k in range(3):
        scaler = StandardScaler().fit(FEATURES[fold != k])
        model = LogisticRegression(C=found.penalties[k], tol=1e-8, max_iter=1000)
        model.fit(scaler.transform(FEATURES[fold != k]), TARGETS[fold != k])
        expected = model.predict(scaler.transform(FEATURES[fold == k]))
        assert np.array_equal(found.predicted[fold == k], expected)


def test_noise_gives_no_more_than_chance() -> None:
    """More features than rows: a probe fits its own rows without an error, and others at chance."""
    hits = 0
    for seed in range(2):
        x = np.random.default_rng(seed).normal(size=(60, 80)).astype(np.float32)
        targets = np.arange(60) % 2
        found = predict_held_out(x, targets, np.zeros_like(targets), 2, folds=3, seed=seed)
        hits += int((found.predicted == targets).sum())
    assert abs(hits / 120 - 0.5) < 3 * np.sqrt(0.25 / 120)


def test_penalty_of_many_rows_is_chosen_on_a_part_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nested, "SELECTION_ROWS", 50)
    sizes = np.array([1000, 200, 8])
    targets = np.repeat(np.arange(3), sizes)
    rows = nested._rows_of_selection(targets, 3, 0, "x")
    assert np.bincount(targets[rows]).tolist() == [42, 9, 6]
    assert len(set(rows.tolist())) == len(rows)


def test_class_with_fewer_rows_than_folds_is_refused() -> None:
    targets = np.where(np.arange(N) < 2, 2, np.arange(N) % 2)
    with pytest.raises(DataError, match="the smallest has 2"):
        predict_held_out(FEATURES, targets, OTHER, 3, folds=3)
