"""Feature metrics of synthetic features with known label and bias content."""

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


def encode(images_split: Split, *, label: float, bias: float) -> np.ndarray:
    """Return features that encode label and bias with the given strengths, and noise of deviation 1."""
    rng = np.random.default_rng(images_split.labels[:5].sum())
    of_label, of_bias = label * np.eye(3)[images_split.labels], bias * np.eye(2)[images_split.bias]
    noisy = np.concatenate((of_label, of_bias), axis=1) + rng.normal(size=(len(images_split), 5))
    return noisy.astype(np.float32)


def measure_features(label: float, bias: float, *, fitted: bool = True) -> FeatureMetrics:
    test, val = split(600, 0), split(500, 1)
    return measure_representation(
        encode(test, label=label, bias=bias),
        test,
        fitted=(encode(val, label=label, bias=bias), val) if fitted else None,
        n_labels=3,
        n_bias=2,
        config=ProbeConfig(),
    )


def test_readouts_measure_what_the_features_encode() -> None:
    feature_metrics = measure_features(6, 0)
    assert feature_metrics.metrics["label_readout"].value > 0.97
    assert abs(feature_metrics.metrics["bias_readout"].value - 0.5) < 0.07  # chance
    feature_metrics = measure_features(0, 6)
    assert abs(feature_metrics.metrics["label_readout"].value - 1 / 3) < 0.07
    assert feature_metrics.metrics["bias_readout"].value > 0.97
    assert feature_metrics.fitted_on == 500
    assert feature_metrics.metrics["bias_readout"].n == 600


def test_pairs_of_one_bias_value_are_closer_if_features_encode_the_bias() -> None:
    def similarity_gap(feature_metrics: FeatureMetrics) -> float:
        kinds = feature_metrics.similarities
        return kinds["same_bias"].mean - kinds["other_bias"].mean

    assert similarity_gap(measure_features(4, 4)) > 0.2
    assert abs(similarity_gap(measure_features(4, 0))) < 0.05


def test_histograms_count_every_pair_once() -> None:
    feature_metrics = measure_features(1, 1)
    kinds = feature_metrics.similarities
    assert set(kinds) == {"same_bias", "other_bias", "negative"}
    assert sum(kind.n for kind in kinds.values()) == 600 * 599 // 2
    for kind in kinds.values():
        assert len(kind.counts) == BINS
        assert sum(kind.counts) == kind.n
    assert feature_metrics.metrics["uniformity"].n == 600 * 599 // 2
    assert feature_metrics.metrics["class_alignment"].value == pytest.approx(
        2
        - 2
        * sum(kinds[k].mean * kinds[k].n for k in ("same_bias", "other_bias"))
        / sum(kinds[k].n for k in ("same_bias", "other_bias")),
        rel=1e-5,
    )


def test_without_held_out_images_the_readouts_are_undefined() -> None:
    feature_metrics = measure_features(6, 6, fitted=False)
    assert feature_metrics.metrics["label_readout"] == Metric(None, 600)
    assert feature_metrics.metrics["bias_readout"] == Metric(None, 600)
    assert feature_metrics.fitted_on is None


def test_a_missing_bias_value_leaves_its_readout_undefined() -> None:
    test, val = split(200, 0), split(200, 1)
    val.bias[:] = 0
    feature_metrics = measure_representation(
        encode(test, label=5, bias=0),
        test,
        fitted=(encode(val, label=5, bias=0), val),
        n_labels=3,
        n_bias=2,
        config=ProbeConfig(),
    )
    assert feature_metrics.metrics["bias_readout"].value is None
    assert feature_metrics.metrics["label_readout"].value > 0.9


def test_features_without_a_direction_are_left_out_and_counted() -> None:
    test = split(100, 0)
    features = encode(test, label=5, bias=5)
    features[:7] = 0
    feature_metrics = measure_representation(
        features, test, fitted=None, n_labels=3, n_bias=2, config=ProbeConfig()
    )
    assert feature_metrics.without_direction == 7
    assert feature_metrics.metrics["uniformity"].n == 93 * 92 // 2


def test_two_views_of_an_image_are_a_kind_of_pair() -> None:
    test = split(60, 0)
    a, b = encode(test, label=3, bias=0), encode(test, label=3, bias=0) + 0.1
    a[0] = 0  # no direction: no pair
    histogram = measure_representation(
        a, test, fitted=None, n_labels=3, n_bias=2, config=ProbeConfig(), views=(a, b)
    ).similarities["self"]
    assert histogram.n == sum(histogram.counts) == 59
    cosines = [
        x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(a, b, strict=True) if x.any()
    ]
    assert histogram.mean == pytest.approx(np.mean(cosines), abs=1e-6)
