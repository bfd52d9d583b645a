"""Display names: every metric has one entry, and names in one column are unique."""

from __future__ import annotations

from biascon.metrics.names import METRIC_NAMES
from biascon.metrics.summary import ACCURACIES, AMPLIFICATIONS, COMPARISONS
from biascon.runs.evaluation import FEATURE_METRICS


def test_every_metric_has_a_display_name() -> None:
    keys = {*ACCURACIES, *COMPARISONS, *AMPLIFICATIONS, *FEATURE_METRICS, "calibration_error"}
    assert keys <= METRIC_NAMES.keys()


def test_no_two_metrics_share_a_name() -> None:
    metrics = METRIC_NAMES.values()
    report_names = [metric.report_name for metric in metrics if metric.report_name is not None]
    for names in ([metric.name for metric in metrics], [m.short for m in metrics], report_names):
        assert len(set(names)) == len(names)


def test_ratios_and_differences_have_a_direction() -> None:
    for key in COMPARISONS:
        metric = METRIC_NAMES[key]
        assert metric.is_ratio == key.endswith("_ratio")
        assert metric.lower_is_better == key.endswith("_difference")
