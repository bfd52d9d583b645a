"""The groups, cells and comparisons of an audit as data frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from biascon.auditing.group_rates import RATES
from biascon.auditing.record import EXTRA_METRICS, METRICS, AuditRecord
from biascon.auditing.reference import ReferenceComparison
from biascon.auditing.score_metrics import SCORE_VALUES
from biascon.metrics.records import Metric

if TYPE_CHECKING:
    import pandas as pd

ALL_METRICS = (*METRICS, *EXTRA_METRICS, *SCORE_VALUES)
_ROWS_OF = {
    "selection_rate": "n",
    "true_positive_rate": "n_positive",
    "false_positive_rate": "n_negative",
    "precision": "n_selected",
}


def group_frame(record: AuditRecord) -> pd.DataFrame:
    """Return one row for each group; see ``Audit.by_group``."""
    import pandas as pd

    rates, k, compared = record.rates, record.positive, record.compared
    rows = []
    for m, group in enumerate(record.by_group):
        row: dict[str, Any] = {
            "n": group.n,
            "accuracy": group.accuracy.value,
            "ci_low": group.accuracy.low,
            "ci_high": group.accuracy.high,
            "worst_label": group.worst_label.label,
            "worst_accuracy": group.worst_label.value,
            "worst_n": group.worst_label.n,
        }
        if k is not None:
            for name in RATES:
                metric = rates.by_class[name].metric(k, m)
                row |= {name: metric.value, f"{name}_low": metric.low, f"{name}_high": metric.high}
        for name in SCORE_VALUES:
            metric = group.calibration[name]
            row[name] = metric.value
            if name in ("auc", "calibration_in_the_large"):
                row |= {f"{name}_low": metric.low, f"{name}_high": metric.high}
        rows.append(
            {**row, "effective_n": float(rates.effective_n[m]), "compared": bool(compared[m])}
        )
    texts = ("n", "worst_label", "worst_n", "compared")
    frame = pd.DataFrame(rows, index=_group_index(record, rows[0]))
    return frame.astype({name: "float64" for name in frame.columns if name not in texts})


def _group_index(record: AuditRecord, taken: Iterable[str]) -> pd.Index[Any]:
    import pandas as pd

    names = level_names(record.columns, taken)
    if len(record.columns) == 1:
        return pd.Index([values[0] for values in record.group_values], name=names[0])
    return pd.MultiIndex.from_tuples(record.group_values, names=names)


def level_names(columns: Sequence[str], taken: Iterable[str]) -> list[str]:
    """Return the names of the levels of an index: of bias columns, with "bias " where a name is taken.

    Without it, ``reset_index`` and ``sort_values`` of pandas fail for a bias column of the name ``n``.

    >>> level_names(["sex", "n"], ["n", "accuracy"])
    ['sex', 'bias n']
    """
    names: list[str] = []
    occupied = set(taken)
    for column in columns:
        name = column
        while name in occupied:
            name = f"bias {name}"
        occupied.add(name)
        names.append(name)
    return names


def cell_frame(record: AuditRecord) -> pd.DataFrame:
    """Return one row for each class and group; see ``Audit.cells``."""
    import pandas as pd

    columns: dict[str, Any] = {}
    for name, rate in record.rates.by_class.items():
        if name in _ROWS_OF:
            columns[_ROWS_OF[name]] = rate.n.reshape(-1)
        low, high = rate.limits()
        for key, values in ((name, rate.value), (f"{name}_low", low), (f"{name}_high", high)):
            columns[key] = values.reshape(-1)
    keys = [(label, *values) for label in record.labels for values in record.group_values]
    names = level_names(record.columns, [*columns, "class"])
    index = pd.MultiIndex.from_tuples(keys, names=["class", *names])
    return pd.DataFrame(columns, index=index)


def reference_frame(record: AuditRecord) -> pd.DataFrame:
    """Return one row for each class, group and metric beside the reference; see ``Audit.reference``."""
    import pandas as pd

    classes = range(len(record.labels)) if record.positive is None else [record.positive]
    rows = [
        row
        for k in classes
        for c in record.compare_to_reference(k)
        for row in _reference_rows(record, k, c)
    ]
    others = ["metric", "difference", "difference_low", "difference_high", "ratio", "ratio_low",
              "ratio_high", "n"]  # fmt: skip
    names = ["class", *level_names(record.columns, ["class", *others]), *others]
    return pd.DataFrame(rows, columns=names).astype(dict.fromkeys(names[-7:-1], "float64"))


def _reference_rows(record: AuditRecord, k: int, c: ReferenceComparison) -> list[list[Any]]:
    start = [record.labels[k], *record.group_values[c.group]]
    rows = []
    for name, difference in [*c.differences.items(), ("average_odds", c.average_odds_difference)]:
        ratio = c.ratios.get(name, Metric(None, 0))
        rows.append(
            [
                *start, name, difference.value, difference.low, difference.high,
                ratio.value, ratio.low, ratio.high, difference.n,
            ]
        )  # fmt: skip
    return rows


def baseline_frame(record: AuditRecord) -> pd.DataFrame:
    """Return one row for each group and metric beside the baseline; see ``Audit.baseline``."""
    import pandas as pd

    names = ["group", "metric", "n", "prediction", "baseline", "difference", "ci_low", "ci_high", "p",
             "holm_p"]  # fmt: skip
    rows = [
        [
            None if e.group is None else record.groups[e.group], e.metric, e.difference.n, e.prediction,
            e.baseline, e.difference.value, e.difference.low, e.difference.high, e.p, e.holm,
        ]
        for e in record.compare_with_baseline()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=names).astype(dict.fromkeys(names[3:], "float64"))
