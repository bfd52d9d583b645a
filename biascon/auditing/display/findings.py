"""The answer of an audit in a few sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from biascon.auditing.display.formats import format_percent, says_nothing
from biascon.auditing.record import AuditRecord
from biascon.metrics.records import Metric
from biascon.utils.text import count_of, shorten

FOUR_FIFTHS = 0.8
ALPHA = 0.05


def audit_findings(record: AuditRecord) -> list[str]:
    """Return sentences: the lowest and the highest group, the four-fifths rule, the baseline."""
    compared = np.flatnonzero(record.compared).tolist()
    if len(compared) < 2:
        return []
    accuracy = [record.by_group[m].accuracy for m in range(len(record.groups))]
    sentences = [_describe_extremes(record, "Accuracy", accuracy, compared)]
    k = record.positive
    if k is not None:
        rate = record.rates.by_class["selection_rate"]
        metrics = [rate.metric(k, m) for m in range(len(record.groups))]
        what = f"Predicted '{shorten(record.labels[k])}'"
        sentences.append(_describe_extremes(record, what, metrics, compared))
        sentences.append(_describe_four_fifths(record["demographic_parity_ratio"]))
    return [sentence for sentence in [*sentences, *_describe_baseline(record)] if sentence]


def _describe_extremes(
    record: AuditRecord, what: str, metrics: Sequence[Metric], compared: Sequence[int]
) -> str:
    defined = [(float(metrics[m].value or 0), m) for m in compared if metrics[m].value is not None]
    if len(defined) < 2:
        return ""
    (_, low), (_, high) = min(defined), max(defined)

    def describe(m: int) -> str:
        metric = metrics[m]
        interval = (
            ""
            if metric.interval is None
            else f", {format_percent(metric.low)} to {format_percent(metric.high)}"
        )
        rows = count_of(metric.n, "row")
        return f"{record.name_group(m)} ({format_percent(metric.value)} % of {rows}{interval})"

    return f"{what}: lowest in {describe(low)}, highest in {describe(high)}"


def _describe_four_fifths(ratio: Metric) -> str:
    """Return whether the smallest selection rate is below 0.8 of the largest, and whether that is certain."""
    if ratio.value is None:
        return ""
    text = f"Four-fifths rule: the ratio of these two rates is {ratio.value:.2f}, "
    text += f"{'below' if ratio.value < FOUR_FIFTHS else 'not below'} {FOUR_FIFTHS}"
    if ratio.interval is None:
        return text
    low, high = ratio.interval
    text += f" (interval {low:.2f} to {high:.2f}"
    if says_nothing(ratio):
        return text + ": too few rows)"
    if low < FOUR_FIFTHS <= high:
        return text + f", which spans {FOUR_FIFTHS}: the rows do not decide it)"
    return text + ")"


def _describe_baseline(record: AuditRecord) -> list[str]:
    """Return which groups are significantly worse than with the baseline."""
    if record.baseline is None:
        return []
    entries = [
        e for e in record.compare_with_baseline() if e.group is not None and e.holm is not None
    ]
    losing = [
        f"{record.name_group(int(e.group or 0))} ({e.metric.replace('_', ' ')} "
        f"{format_percent(e.difference.value)} points)"
        for e in entries
        if (e.difference.value or 0) < 0 and (e.holm or 0) < ALPHA
    ]
    lower = {e.group for e in entries if (e.difference.value or 0) < 0}
    name = f"Against the baseline '{record.baseline.column}'"
    if losing:
        return [f"{name}: significantly worse (Holm p < {ALPHA}) in {'; '.join(losing)}"]
    return [
        f"{name}: no group is significantly worse; {len(lower):,} of "
        f"{count_of(len({e.group for e in entries}), 'group')} {'is' if len(lower) == 1 else 'are'} "
        "lower in some metric"
    ]
