"""The metrics of an audit's scores: calibration of the predicted class, and AUC of the positive class."""

from __future__ import annotations

import numpy as np

from biascon.auditing.rows.positive_scores import POSITIVE_IF_CALIBRATED, POSITIVE_METRICS
from biascon.auditing.rows.second_pass import RowSums
from biascon.metrics import calibration
from biascon.metrics.calibration_chance import expected_error
from biascon.metrics.counts import divide
from biascon.metrics.records import UNDEFINED, Metric
from biascon.metrics.summary import finite_or_none

CALIBRATION_METRICS = ("calibration_error", "brier")
SCORE_METRICS = (*CALIBRATION_METRICS, *POSITIVE_METRICS)
# The mean of a metric if the scores are calibrated, by the name of the metric.
IF_CALIBRATED = {
    "calibration_error": "calibration_error_if_calibrated",
    "positive_calibration_error": POSITIVE_IF_CALIBRATED,
}
SCORE_VALUES = (*SCORE_METRICS, *IF_CALIBRATED.values())
_DIGITS = 9  # the last digits of a sum of floats depend on how the rows are cut into parts


def score_metrics(
    sums: RowSums | None, n_groups: int
) -> tuple[dict[str, Metric], list[dict[str, Metric]]]:
    """Return the metrics of ``SCORE_VALUES`` over all rows, and the same for each group.

    Args:
        sums: The sums by group, None without scores: the metrics are then undefined, with n = 0. With
            weights, the calibration of the predicted class is undefined.
        n_groups: The number M of groups.
    """
    every = np.zeros(n_groups, np.int64)
    overall, groups = (
        dict.fromkeys(SCORE_VALUES, UNDEFINED),
        [dict.fromkeys(SCORE_VALUES, UNDEFINED) for _ in range(n_groups)],
    )
    if sums is None:
        return overall, groups
    parts: list[tuple[list[dict[str, Metric]], list[dict[str, Metric]]]] = []
    if sums.scores is not None and sums.weights is None:
        parts.append(
            (_metrics_by_row(sums.scores.sums.overall()), _metrics_by_row(sums.scores.sums))
        )
    if sums.positive is not None:
        parts.append((sums.positive.merge(every, 1).measure(), sums.positive.measure()))
    for one, rows in parts:
        overall |= one[0]
        groups = [group | row for group, row in zip(groups, rows, strict=True)]
    return overall, groups


def _metrics_by_row(sums: calibration.CalibrationSums) -> list[dict[str, Metric]]:
    chance = expected_error(sums.n, divide(sums.confidence, sums.n))
    values = zip(calibration.ece(sums), calibration.brier(sums), chance, sums.rows, strict=True)
    names = (*CALIBRATION_METRICS, IF_CALIBRATED["calibration_error"])
    return [
        {
            name: Metric(finite_or_none(round(float(value), _DIGITS)), int(n))
            for name, value in zip(names, numbers, strict=True)
        }
        for *numbers, n in values
    ]
