"""What features hold: made features whose answers are known, and a run's."""

from __future__ import annotations

import numpy as np
import pytest

from biascon.config.run_config import ProbeConfig
from biascon.data.dataset import Split
from biascon.evaluation.representation import BINS, measure_representation
from biascon.metrics.records import Metric
from biascon.runs.evaluation import FeatureMetrics


def split(n: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    labels, bias = rng.integers(0, 3, n), rng.integers(0, 2, n)
    images = np.zeros((n, 3, 1, 1), np.uint8)
    return Split(images, labels, bias, labels == bias, np.arange(n))


def told(part: Split, *, label: float, bias: float) -> np.ndarray:
    """Features that tell label and bias as loudly as is said, over noise of 1."""
    rng = np.random.default_rng(part.labels[:5].sum())
    of_label, of_bias = label * np.eye(3)[part.labels], bias * np.eye(2)[part.bias]
    made = np.concatenate((of_label, of_bias), axis=1) + rng.normal(size=(len(part), 5))
    return made.astype(np.float32)


def measured(label: float, bias: float, *, fitted: bool = True) -> FeatureMetrics:
    test, val = split(600, 0), split(500, 1)
    return measure_representation(
        told(test, label=label, bias=bias),
        test,
        fitted=(told(val, label=label, bias=bias), val) if fitted else None,
        n_labels=3,
        n_bias=2,
        config=ProbeConfig(),
    )


def test_readouts_tell_what_is_in_the_features() -> None:
    found = measured(6, 0)
    assert found.metrics["label_readout"].value > 0.97
    assert abs(found.metrics["bias_readout"].value - 0.5) < 0.07  # chance
    found = measured(0, 6)
    assert abs(found.metrics["label_readout"].value - 1 / 3) < 0.07
    assert found.metrics["bias_readout"].value > 0.97
    assert found.fitted_on == 500
    assert found.metrics["bias_readout"].n == 600


def test_pairs_of_one_bias_are_closer_where_features_tell_the_bias() -> None:
    def lean(found: FeatureMetrics) -> float:
        kinds = found.similarities
        return kinds["same_bias"].mean - kinds["other_bias"].mean

    assert lean(measured(4, 4)) > 0.2
    assert abs(lean(measured(4, 0))) < 0.05


def test_histograms_have_every_pair_once() -> None:
    found = measured(1, 1)
    kinds = found.similarities
    assert set(kinds) == {"same_bias", "other_bias", "negative"}
    assert sum(kind.n for kind in kinds.values()) == 600 * 599 // 2
    for kind in kinds.values():
        assert len(kind.counts) == BINS
        assert sum(kind.counts) == kind.n
    assert found.metrics["uniformity"].n == 600 * 599 // 2
    assert found.metrics["class_alignment"].value == pytest.approx(
        2
        - 2
        * sum(kinds[k].mean * kinds[k].n for k in ("same_bias", "other_bias"))
        / sum(kinds[k].n for k in ("same_bias", "other_bias")),
        rel=1e-5,
    )


def test_without_held_out_images_the_readouts_are_undefined() -> None:
    found = measured(6, 6, fitted=False)
    assert found.metrics["label_readout"] == Metric(None, 600)
    assert found.metrics["bias_readout"] == Metric(None, 600)
    assert found.fitted_on is None


def test_a_missing_bias_value_leaves_its_readout_undefined() -> None:
    test, val = split(200, 0), split(200, 1)
    val.bias[:] = 0
    found = measure_representation(
        told(test, label=5, bias=0),
        test,
        fitted=(told(val, label=5, bias=0), val),
        n_labels=3,
        n_bias=2,
        config=ProbeConfig(),
    )
    assert found.metrics["bias_readout"].value is None
    assert found.metrics["label_readout"].value > 0.9


def test_features_without_a_direction_are_left_out_and_counted() -> None:
    test = split(100, 0)
    features = told(test, label=5, bias=5)
    features[:7] = 0
    found = measure_representation(
        features, test, fitted=None, n_labels=3, n_bias=2, config=ProbeConfig()
    )
    assert found.without_direction == 7
    assert found.metrics["uniformity"].n == 93 * 92 // 2


def test_views_of_one_image_are_pairs_of_their_own() -> None:
    test = split(60, 0)
    a, b = told(test, label=3, bias=0), told(test, label=3, bias=0) + 0.1
    a[0] = 0  # no direction: no pair
    found = measure_representation(
        a, test, fitted=None, n_labels=3, n_bias=2, config=ProbeConfig(), views=(a, b)
    ).similarities["self"]
    assert found.n == sum(found.counts) == 59
    cosines = [
        x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(a, b, strict=True) if x.any()
    ]
    assert found.mean == pytest.approx(np.mean(cosines), abs=1e-6)
