"""Every metric of an audit as a data frame in long form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from biascon.auditing.display.frames import ALL_METRICS
from biascon.auditing.group_rates import RATES
from biascon.auditing.record import AuditRecord
from biascon.auditing.score_metrics import SCORE_VALUES
from biascon.auditing.verdicts import Verdict
from biascon.metrics.paired_tests import holm
from biascon.metrics.records import Metric
from biascon.metrics.summary import COMPARISONS

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]
COLUMNS = (
    "bias",
    "metric",
    "class",
    "value",
    "n",
    "ci_low",
    "ci_high",
    "group",
    "by_chance",
    "p",
    "holm_p",
)
_NUMBERS = ("value", "ci_low", "ci_high", "by_chance", "p", "holm_p")


def long_frame(records: Sequence[AuditRecord], verdicts: Sequence[Verdict] = ()) -> pd.DataFrame:
    """Return every metric in long form; see ``Audit.to_frame``.

    Args:
        records: The records of one audit, by each bias column alone and by their combinations.
        verdicts: The verdicts against tolerances. If any, the columns ``tolerance`` and ``verdict`` follow.
    """
    import pandas as pd

    judged = {(v.bias, v.tolerance.metric): v for v in verdicts}
    added = ("tolerance", "verdict") if verdicts else ()
    frames = []
    for record in records:
        headline = list(_headline_rows(record))
        for row in headline:
            verdict = judged.get((record.bias, row["metric"]))
            if verdict is not None:
                row |= {
                    "tolerance": float(verdict.tolerance.limit),
                    "verdict": verdict.outcome.value,
                }
        others = [*_class_rows(record), *_group_rows(record)]
        compared = [*_reference_rows(record), *_baseline_rows(record)]
        rows = pd.DataFrame([*headline, *others, *compared], columns=[*COLUMNS[1:], *added])
        numbers = dict.fromkeys((*_NUMBERS, *added[:1]), "float64")
        for frame in (rows.astype(numbers), _rates_frame(record)):
            frame.insert(0, "bias", record.bias)
            frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _row(
    name: str, metric: Metric, *, label: str | None = None, group: str | None = None, **others: Any
) -> Row:
    return {
        "metric": name,
        "class": label,
        "value": metric.value,
        "n": metric.n,
        "ci_low": metric.low,
        "ci_high": metric.high,
        "group": group,
        **others,
    }


def _headline_rows(record: AuditRecord) -> Iterator[Row]:
    """Return the metrics over all groups, with their permutation tests adjusted by Holm's method."""
    tests = record.summary.disparity or {}
    raw = np.array([test.p for test in tests.values()], dtype=np.float64)  # NaN where undefined
    adjusted = dict(zip(tests, holm(raw).tolist(), strict=True))
    for name in ALL_METRICS:
        metric = record[name]
        cell = metric.cell
        row = _row(name, metric)
        if cell is not None:
            row |= {"class": str(cell.label), "group": str(cell.bias)}
        elif name == "worst_class":
            row["class"] = record.worst_class
        if name in tests:
            test = tests[name]
            row |= {"by_chance": test.expected, "p": test.p, "holm_p": adjusted[name]}
        yield row


def _class_rows(record: AuditRecord) -> Iterator[Row]:
    """Return the comparisons of the groups: their mean over classes, and those of each class."""
    summary = record.summary
    for label, metrics in [("mean over classes", summary.macro), *summary.by_class.items()]:
        yield from (_row(name, metrics[name], label=label) for name in COMPARISONS)


def _group_rows(record: AuditRecord) -> Iterator[Row]:
    for name, group in zip(record.groups, record.by_group, strict=True):
        yield _row("accuracy", group.accuracy, group=name)
        if record.has_scores:
            yield from (_row(key, group.calibration[key], group=name) for key in SCORE_VALUES)


def _rates_frame(record: AuditRecord) -> pd.DataFrame:
    """Return the rates of the positive class, or of every class without one, in every group."""
    import pandas as pd

    k, rates = record.positive, record.rates
    chosen = list(range(len(record.labels))) if k is None else [k]
    frames = []
    for name in RATES:
        rate = rates.by_class[name]
        low, high = rate.limits()
        columns = {"value": rate.value, "n": rate.n, "ci_low": low, "ci_high": high}
        frames.append(
            pd.DataFrame(
                {
                    "metric": name,
                    "class": np.repeat([record.labels[c] for c in chosen], len(record.groups)),
                    **{key: values[chosen].reshape(-1) for key, values in columns.items()},
                    "group": np.tile(record.groups, len(chosen)),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _reference_rows(record: AuditRecord) -> Iterator[Row]:
    classes = range(len(record.labels)) if record.positive is None else [record.positive]
    for k in classes:
        for c in record.compare_to_reference(k):
            where = {"label": record.labels[k], "group": record.groups[c.group]}
            differences = {**c.differences, "average_odds": c.average_odds_difference}
            for kind, metrics in (("difference", differences), ("ratio", c.ratios)):
                for name, metric in metrics.items():
                    yield _row(f"{name}_{kind}_to_reference", metric, **where)


def _baseline_rows(record: AuditRecord) -> Iterator[Row]:
    """Return the rates of the baseline, and the differences to them, of all rows and of each group."""
    k = record.positive
    for e in record.compare_with_baseline():
        group = None if e.group is None else record.groups[e.group]
        label = None if e.metric == "accuracy" or k is None else record.labels[k]
        baseline = Metric(e.baseline, e.difference.n)
        yield _row(f"{e.metric}_of_baseline", baseline, label=label, group=group)
        yield _row(
            f"{e.metric}_difference_to_baseline", e.difference, label=label, group=group, p=e.p,
            holm_p=e.holm,
        )  # fmt: skip
