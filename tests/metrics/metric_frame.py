"""Group fairness from rows, by fairlearn's MetricFrame: what the metrics from counts are compared with."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from fairlearn.metrics import MetricFrame

from biascon.metrics.fairness import METRICS


def compute_with_metric_frame(
    labels: np.ndarray, predictions: np.ndarray, bias: np.ndarray, n_labels: int
) -> dict[str, np.ndarray]:
    """Return every metric of ``METRICS`` for each class, from one MetricFrame a class.

    Args:
        labels: int ``(N,)`` in 0..K-1.
        predictions: int ``(N,)`` in 0..K-1.
        bias: int ``(N,)``, the sensitive feature.
        n_labels: K.

    Returns:
        float64 ``(K,)`` by metric name; NaN where the metric is undefined. With N = 0 every metric is NaN.
    """
    if len(labels) == 0:
        return {name: np.full(n_labels, np.nan) for name in METRICS}
    per_class = [
        _compare_groups(
            MetricFrame(
                metrics={"selection": _selection, "tpr": _true_positive, "fpr": _false_positive},
                y_true=(labels == k).astype(np.int64),
                y_pred=(predictions == k).astype(np.int64),
                sensitive_features=pd.Series(bias),
            ).by_group
        )
        for k in range(n_labels)
    ]
    return {name: np.array([values[name] for values in per_class]) for name in METRICS}


def _compare_groups(rates: pd.DataFrame) -> dict[str, float]:
    difference, ratio = {}, {}
    for name in rates:
        groups = rates[name].tolist()
        defined = len(groups) >= 2 and not any(map(math.isnan, groups))
        low, high = min(groups), max(groups)
        difference[name] = high - low if defined else math.nan
        ratio[name] = low / high if defined and high > 0 else math.nan
    odds = [(difference[name], ratio[name]) for name in ("tpr", "fpr")]
    undefined = any(math.isnan(rate) for rate, _ in odds)
    ratios = [rate for _, rate in odds if not math.isnan(rate)]  # without those of rates of 0
    values = (
        difference["selection"],
        ratio["selection"],
        math.nan if undefined else max(rate for rate, _ in odds),
        math.nan if undefined else min(ratios, default=math.nan),
        difference["tpr"],
    )
    return dict(zip(METRICS, values, strict=True))


def _selection(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    return _mean_or_nan(np.asarray(y_pred))


def _true_positive(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    return _mean_or_nan(np.asarray(y_pred)[np.asarray(y_true) == 1])


def _false_positive(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    return _mean_or_nan(np.asarray(y_pred)[np.asarray(y_true) == 0])


def _mean_or_nan(is_predicted: np.ndarray) -> float:
    return float(is_predicted.mean()) if len(is_predicted) else math.nan
