"""What features hold: how well they tell the label and the bias attribute, and how they lie."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from biascon.config.run_config import ProbeConfig
from biascon.data.dataset import Split
from biascon.errors import BiasconWarning, RunError
from biascon.evaluation.linear_probe import fit
from biascon.metrics import representation
from biascon.metrics.summary import finite_or_none
from biascon.utils.types import Array

BINS = 100


def measure_representation(
    features: Array,
    split: Split,
    *,
    fitted: tuple[Array, Split] | None,
    n_labels: int,
    n_bias: int | None,
    config: ProbeConfig,
    views: tuple[Array, Array] | None = None,
) -> dict[str, Any]:
    """Return how features of a split tell labels and bias, and the geometry of their directions.

    ``label_readout`` and ``bias_readout`` are the accuracies of two linear probes, one of the label and one
    of the bias attribute, fitted on the same held-out images, on which the two are nearly independent:
    on the training images a probe of the bias would be one of the label. ``class_alignment`` is the mean
    squared distance of unit features of one label, ``bias_alignment`` of one bias value, ``uniformity`` as of
    Wang and Isola (ICML 2020); ``similarities`` are histograms of the cosine of pairs.

    Args:
        features: float ``(N, D)`` of the split's images.
        split: Labels and bias.
        fitted: Features and split that the two probes are fitted on; without, the readouts are None.
        n_labels: K.
        n_bias: M, None without a bias attribute; what is of the bias is then None, of 0 images.
        config: Of the two probes.
        views: Features of two augmented views of the same images, for the similarities of kind ``self``.

    Returns:
        Plain data; an undefined value is None.
    """
    norms = np.linalg.norm(features, axis=1)
    there = norms > 0  # an image whose features are all 0 has no direction
    unit = features[there] / norms[there, None]
    labels, bias = split.labels[there], split.bias[there]
    readouts: dict[str, Any] = {}
    for name, key, size in (("label", "labels", n_labels), ("bias", "bias", n_bias)):
        value = None
        if fitted is not None and size is not None:
            wanted = getattr(split, key)
            value = _readout(fitted[0], getattr(fitted[1], key), features, wanted, size, config)
        readouts[f"{name}_readout"] = {"value": value, "n": 0 if size is None else len(split)}
    by_bias = representation.class_alignment(unit, bias) if n_bias is not None else None
    geometry = {
        "class_alignment": representation.class_alignment(unit, labels),
        "bias_alignment": by_bias,
        "uniformity": representation.uniformity(unit),
    }
    found = representation.similarities(unit, labels, bias, bins=BINS)
    if views is not None:
        found["self"] = representation.two_view_similarities(*_directions(*views), bins=BINS)
    return {
        "fitted_on": None if fitted is None else len(fitted[1]),
        "without_direction": int((~there).sum()),
        **readouts,
        **{
            name: {
                "value": None if mean is None else finite_or_none(mean.value),
                "n": 0 if mean is None else mean.n,
            }
            for name, mean in geometry.items()
        },
        "similarities": {
            kind: {
                "n": one.n,
                "mean": finite_or_none(one.mean),
                "sd": finite_or_none(one.sd),
                "counts": one.counts.tolist(),
            }
            for kind, one in found.items()
            if one.n
        },
    }


def _directions(*views: Array) -> list[Array]:
    """Return unit features of the images whose features have a direction in every view."""
    norms = [np.linalg.norm(view, axis=1) for view in views]
    there = np.logical_and.reduce([norm > 0 for norm in norms])
    return [view[there] / norm[there, None] for view, norm in zip(views, norms, strict=True)]


def _readout(
    features: Array, told: Array, test: Array, wanted: Array, size: int, config: ProbeConfig
) -> float | None:
    """Return the accuracy of a linear probe, None where a class is missing to fit it."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", BiasconWarning
        )  # that it did not converge: told of the main one
        try:
            probe = fit(features, told, size, config)
        except RunError:
            return None
    return float((probe.probabilities(test).argmax(axis=1) == wanted).mean())
