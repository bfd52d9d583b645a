"""Display names of all metrics, and which of them are ratios or better when lower."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MetricName:
    """How one metric is displayed.

    Attributes:
        key: The metric's key in JSON files and data frames.
        name: The full name.
        short: The name for narrow columns.
        report_name: The name in the columns of a report, None where a report has no such column.
        lower_is_better: Whether a smaller value is better.
        is_ratio: Whether the metric is a ratio of two rates. A ratio is printed in 0..1, a rate in percent.
    """

    key: str
    name: str
    short: str
    report_name: str | None = None
    lower_is_better: bool = False
    is_ratio: bool = False


def _difference(key: str, name: str, abbreviation: str) -> MetricName:
    return MetricName(
        f"{key}_difference",
        f"{name} difference",
        f"{abbreviation} diff.",
        f"{abbreviation} difference",
        lower_is_better=True,
    )


def _ratio(key: str, name: str, abbreviation: str) -> MetricName:
    return MetricName(f"{key}_ratio", f"{name} ratio", f"{abbreviation} ratio", is_ratio=True)


_NAMES = (
    MetricName("accuracy", "accuracy", "accuracy"),  # of one group
    MetricName("top1", "top-1 accuracy", "top-1", "top-1"),
    MetricName("top5", "top-5 accuracy", "top-5", "top-5"),
    MetricName("unbiased", "unbiased accuracy", "unbiased", "unbiased"),
    MetricName("bias_aligned", "bias-aligned", "aligned", "bias-aligned"),
    MetricName("bias_conflicting", "bias-conflicting", "conflicting", "bias-conflicting"),
    MetricName("worst_group", "worst group", "worst group", "worst group"),
    MetricName("bias_aligned_samples", "aligned, over rows", "aligned rows"),
    MetricName("bias_conflicting_samples", "conflicting, over rows", "conflicting rows"),
    _difference("demographic_parity", "demographic parity", "DP"),
    _ratio("demographic_parity", "demographic parity", "DP"),
    _difference("equalized_odds", "equalized odds", "EO"),
    _ratio("equalized_odds", "equalized odds", "EO"),
    _difference("equal_opportunity", "equal opportunity", "EOpp"),
    _difference("predictive_parity", "predictive parity", "PP"),
    _ratio("predictive_parity", "predictive parity", "PP"),
    MetricName(
        "calibration_error",
        "expected calibration error",
        "cal. error",
        "calibration error",
        lower_is_better=True,
    ),
    MetricName("brier", "Brier score", "Brier", lower_is_better=True),
    MetricName("auc", "AUC of the positive class", "AUC"),
    MetricName(
        "calibration_in_the_large",
        "mean score minus observed rate of the positive class",
        "score - rate",
    ),
    MetricName(
        "positive_calibration_error",
        "calibration error of the positive class",
        "cal. error, positive",
        lower_is_better=True,
    ),
    MetricName(
        "calibration_error_if_calibrated",
        "expected calibration error, if calibrated",
        "if calibrated",
        "calibration error, if calibrated",
    ),
    MetricName(
        "positive_calibration_error_if_calibrated",
        "calibration error of the positive class, if calibrated",
        "positive, if calibrated",
        "cal. error, positive, if calibrated",
    ),
    MetricName("adjusted_average", "adjusted average accuracy", "adjusted average"),
    MetricName("in_distribution", "in-distribution accuracy", "in-distribution"),
    MetricName("worst_class", "worst class", "worst class"),
    _difference("multiclass_equalized_odds", "multi-class equalized odds", "multi-class EO"),
    _difference("average_odds", "average odds", "AO"),
    MetricName("selection_rate", "selection rate", "selection"),
    MetricName("true_positive_rate", "true positive rate", "TPR"),
    MetricName("false_positive_rate", "false positive rate", "FPR"),
    MetricName("false_negative_rate", "false negative rate", "FNR"),
    MetricName("precision", "precision", "precision"),
    MetricName(
        "bias_amplification",
        "bias amplification against the training counts",
        "amplification",
        "amplification, training",
    ),
    MetricName(
        "bias_amplification_attribute_to_task",
        "bias amplification from bias to label",
        "amplification A→T",
        "amplification, bias to label",
    ),
    MetricName(
        "label_readout", "label accuracy of a probe", "label, by a probe", "label, by a probe"
    ),
    MetricName("bias_readout", "bias accuracy of a probe", "bias, by a probe", "bias, by a probe"),
    MetricName(
        "class_alignment",
        "distance within a label",
        "distance within a label",
        "distance within a label",
    ),
    MetricName(
        "bias_alignment",
        "distance within a bias value",
        "distance within a bias value",
        "distance within a bias value",
    ),
    MetricName("uniformity", "uniformity", "uniformity", "uniformity"),
)
_PATTERNS = {"all": "all conflict", "none": "none conflicts"}
METRIC_NAMES = {metric.key: metric for metric in _NAMES}


def metric_name(key: str) -> MetricName:
    """Return the display name of a metric, also of one of several attributes, such as ``gap:background``.

    Raises:
        KeyError: There is no metric of this key.
    """
    if key in METRIC_NAMES:
        return METRIC_NAMES[key]
    kind, _, attribute = key.partition(":")
    if kind == "gap":
        return MetricName(key, f"gap: {attribute}", f"gap: {attribute}")
    if kind == "joint":
        short = _PATTERNS.get(attribute, f"only {attribute} conflicts")
        return MetricName(key, f"accuracy where {short}", short)
    of = METRIC_NAMES[kind]
    return MetricName(
        key,
        f"{of.name}: {attribute}",
        f"{of.short}: {attribute}",
        lower_is_better=of.lower_is_better,
    )
