"""What the tables of an audit mean."""

from __future__ import annotations

from collections.abc import Sequence

from biascon.auditing.record import AuditRecord

_COMMON = (
    "Rates and differences in percent, ratios in 0..1. n: number of rows. -: undefined. Cell: the rows of "
    "one label in one group. Unbiased accuracy: mean over all cells. Worst group: the cell with the lowest "
    "accuracy. Worst class: the label with the lowest accuracy."
)
_ALIGNED = "Bias-aligned and bias-conflicting: mean over the aligned and the conflicting cells."
_COMPARISONS = (
    "Differences and ratios compare the largest and the smallest rate over the groups: the selection rate "
    "(demographic parity, DP); the true and the false positive rate (equalized odds, EO: the worse of the "
    "two; average odds, AO: the mean of the two differences); the true positive rate (equal opportunity, "
    "EOpp); the precision (predictive parity, PP)."
)
_POSITIVE = (
    "They are those of the positive class, as in fairlearn; the table of classes has those of each."
)
_MACRO = (
    "They are computed for each class against the rest; the first table has the mean over classes."
)
_ADJUSTED = (
    "Adjusted average accuracy: mean over the cells, weighted by their shares of the training rows."
)
_RATES = (
    "TPR, FPR, FNR: true positive, false positive and false negative rate (FNR = 1 - TPR). Intervals (95 %): "
    "Wilson for single rates, a beta interval for means over cells. The intervals of the worst group, of "
    "differences and of ratios are wide: they are made to cover the true value in 95 % of samples or more. "
    "Too few rows: the interval has every possible value."
)
_CHANCE = (
    "By chance: mean of the metric when the bias values are permuted, among all rows for demographic parity, "
    "among the rows of each label for the other metrics. p: permutation p-value. Holm p: adjusted for the "
    "tests of the table."
)
_CHANCE_OF_MANY = (
    "By chance is thus what is expected if predictions do not depend on the group given the label. With more "
    "than two classes the false positive rate of one class against the rest mixes the other labels. Groups "
    "with other shares of labels then differ in it. This difference of composition is a part of equalized "
    "odds, and of its value by chance. Multi-class equalized odds has no such part: it is the largest "
    "difference of P(prediction | label) over the groups, for any prediction and label."
)
_REFERENCE = (
    "Differences to the reference: rate of the group minus rate of the reference, with Newcombe's interval "
    "of one comparison. Average odds: mean of the differences of TPR and FPR, as in AIF360."
)
_POSITIVE_SCORES = (
    "AUC: probability that a row of the positive class has a higher score than another row. Score - rate: "
    "mean score of the positive class minus its share of the labels (calibration in the large). Cal. error, "
    "positive: of the score of the positive class."
)
_SCORES = (
    "Cal. error: of the predicted class. If calibrated: the mean calibration error of calibrated scores with "
    "these values; it is larger for fewer rows, so that calibration errors of groups of different sizes "
    "cannot be compared without it."
)
_BASELINE = (
    "Baseline: difference of two rates on the same rows with Newcombe's paired interval. Its p: McNemar's "
    "mid-p; its Holm p: adjusted over the groups and metrics of the table."
)


def audit_legend(records: Sequence[AuditRecord]) -> str:
    """Return the legend of the tables of some records of one audit; parts without a table are left out."""
    record = records[-1]
    is_binary = record.positive is not None
    has_tests = any(r.summary.disparity for r in records)
    parts = [
        (_COMMON, True),
        (_ALIGNED, any(r.aligned_is_known for r in records)),
        (_ADJUSTED, any(r["adjusted_average"].n for r in records)),
        (_COMPARISONS, True),
        (_POSITIVE if is_binary else _MACRO, True),
        (_RATES, True),
        (_CHANCE, has_tests),
        (_CHANCE_OF_MANY, has_tests and not is_binary),
        (_REFERENCE, record.reference is not None),
        (_POSITIVE_SCORES, record.has_scores and is_binary),
        (_SCORES, record.has_scores),
        (_BASELINE, record.baseline is not None),
    ]
    return " ".join(text for text, is_shown in parts if is_shown)
