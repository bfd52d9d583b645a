"""Feature metrics: linear decodability of label and bias, alignment and uniformity."""

from __future__ import annotations

import warnings

import numpy as np
import torch

from biascon.config.sections import ProbeConfig
from biascon.data.dataset import Split
from biascon.errors import BiasconWarning, RunError
from biascon.metrics.geometry import BINS, measure_geometry
from biascon.metrics.records import UNDEFINED, Metric
from biascon.metrics.representation import PairMean, Similarities
from biascon.metrics.summary import finite_or_none
from biascon.probing.linear_probe import CPU, fit
from biascon.runs.evaluation import FeatureMetrics, SimilarityHistogram
from biascon.utils.types import Array

__all__ = ["BINS", "measure_representation"]


def measure_representation(
    features: Array,
    split: Split,
    *,
    fitted: tuple[Array, Split] | None,
    n_labels: int,
    n_bias: int | None,
    config: ProbeConfig,
    views: tuple[Array, Array] | None = None,
    device: torch.device = CPU,
) -> FeatureMetrics:
    """Return how well features of a split decode labels and bias values, and the geometry of the features.

    ``label_readout`` and ``bias_readout`` are the accuracies of two linear probes: one predicts the label and
    one predicts the bias attribute. Both are fitted on the same held-out images, where label and bias are
    nearly independent. On the training images a probe of the bias would be a probe of the label.
    ``class_alignment`` is the mean squared distance of unit features of one label, ``bias_alignment`` that of
    one bias value. ``uniformity`` is that of Wang and Isola (ICML 2020). ``similarities`` are histograms of
    the cosine of pairs of images.

    Args:
        features: float ``(N, D)``, the features of the images of the split.
        split: Labels and bias values.
        fitted: Features and split that the two probes are fitted on. Without them the readouts are None.
        n_labels: K.
        n_bias: M, None without a bias attribute: the metrics of the bias are then undefined, of 0 images.
        config: The settings of the two probes.
        views: Features of two augmented views of the same images, for the similarities of kind ``self``.
        device: The device of the two probes.
    """
    features = features.astype(np.float32) if features.dtype == np.float16 else features
    metrics = {}
    for name, key, size in (("label", "labels", n_labels), ("bias", "bias", n_bias)):
        accuracy = None
        if fitted is not None and size is not None:
            targets = getattr(split, key)
            accuracy = _probe_accuracy(
                fitted[0], getattr(fitted[1], key), features, targets, size, config, device
            )
        metrics[f"{name}_readout"] = Metric(accuracy, 0 if size is None else len(split))
    geometry = measure_geometry(
        features, split.labels, split.bias, has_bias=n_bias is not None, views=views
    )
    metrics["class_alignment"] = _to_metric(geometry.class_alignment)
    metrics["bias_alignment"] = _to_metric(geometry.bias_alignment)
    metrics["uniformity"] = _to_metric(geometry.uniformity)
    return FeatureMetrics(
        fitted_on=None if fitted is None else len(fitted[1]),
        without_direction=geometry.without_direction,
        metrics=metrics,
        similarities={
            kind: _to_histogram(pairs) for kind, pairs in geometry.similarities.items() if pairs.n
        },
    )


def _to_metric(mean: PairMean | None) -> Metric:
    return UNDEFINED if mean is None else Metric(finite_or_none(mean.value), mean.n)


def _to_histogram(pairs: Similarities) -> SimilarityHistogram:
    mean, sd = finite_or_none(pairs.mean), finite_or_none(pairs.sd)
    return SimilarityHistogram(pairs.n, mean, sd, pairs.counts.tolist())


def _probe_accuracy(
    features: Array,
    targets: Array,
    test_features: Array,
    test_targets: Array,
    n_classes: int,
    config: ProbeConfig,
    device: torch.device,
) -> float | None:
    """Return the accuracy of a linear probe on test images, None where a class is missing to fit it."""
    with warnings.catch_warnings():
        # Only the fit of the headline probe warns if it does not converge.
        warnings.simplefilter("ignore", BiasconWarning)
        try:
            probe = fit(features, targets, n_classes, config, device=device)
        except RunError:
            return None
    predictions = probe.probabilities(test_features).argmax(axis=1)
    return float((predictions == test_targets).mean())
