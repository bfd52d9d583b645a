"""The result of an audit: one record for each bias column, as data frames, tables and plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from biascon.auditing.calibration import CALIBRATION_METRICS
from biascon.auditing.markup import render_html, render_latex
from biascon.auditing.record import METRICS, AuditRecord
from biascon.metrics.accuracy import correct
from biascon.metrics.counts import divide
from biascon.metrics.records import Metric
from biascon.metrics.summary import COMPARISONS

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Audit:
    """The metrics of predictions in the groups of one or more bias columns.

    Attributes:
        record: Every metric, with the source, the counts and the notes.
        columns: The bias columns whose combinations are the groups.
        groups: The M groups, each a value of every column.
        by_feature: The audit by each bias column alone. With one column this is the audit itself.
    """

    record: AuditRecord
    columns: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    by_feature: dict[str, Audit] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not self.by_feature:
            self.by_feature[self.columns[0]] = self

    def __repr__(self) -> str:
        return (
            f"<Audit of {self.record.rows:,} rows by {self.record.bias}: {len(self.groups):,} groups, "
            f"{len(self.record.labels):,} classes>"
        )

    @property
    def data(self) -> dict[str, Any]:
        """The record as plain data, in the form that ``biascon audit --json`` prints.

        A metric is ``{"value", "n", "ci"}``, with None where it is undefined. Other keys are ``labels``,
        ``groups``, ``by_class``, ``by_group``, ``counts`` (label x group x prediction) and ``notes``.
        """
        return self.record.to_json()

    @property
    def records(self) -> list[AuditRecord]:
        """The records by each bias column alone; for several columns, by their combinations too."""
        single = [audit.record for audit in self.by_feature.values()]
        return single if len(self.columns) == 1 else [*single, self.record]

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """The table of counts int64 ``(K, M, K)``: label x group x prediction."""
        return self.record.counts

    @property
    def notes(self) -> tuple[str, ...]:
        """Why metrics are undefined, and which rows were left out."""
        return self.record.notes

    @property
    def overall(self) -> pd.Series[float]:
        """The metrics over all rows by name, NaN where undefined.

        A comparison between groups is the mean over classes. Calibration error and Brier score are
        undefined without scores.
        """
        import pandas as pd

        names = (*METRICS, *CALIBRATION_METRICS)
        return pd.Series({name: self.record[name].value for name in names}, dtype=float)

    @property
    def by_group(self) -> pd.DataFrame:
        """One row for each group: ``n``, ``accuracy`` with its Wilson interval, and the worst label."""
        import pandas as pd

        rows = [
            {
                "n": group.n,
                "accuracy": group.accuracy.value,
                "ci_low": group.accuracy.low,
                "ci_high": group.accuracy.high,
                "worst_label": group.worst_label.label,
                "worst_accuracy": group.worst_label.value,
                "worst_n": group.worst_label.n,
                **{name: group.calibration[name].value for name in CALIBRATION_METRICS},
            }
            for group in self.record.by_group
        ]
        index: pd.Index[Any]
        if len(self.columns) == 1:
            index = pd.Index([group[0] for group in self.groups], name=self.columns[0])
        else:
            index = pd.MultiIndex.from_tuples(self.groups, names=self.columns)
        frame = pd.DataFrame(rows, index=index)
        return frame.astype(dict.fromkeys(CALIBRATION_METRICS, "float64"))

    @property
    def cells(self) -> pd.DataFrame:
        """One row for each class and group: the rates that the comparisons between groups use.

        A rate is NaN where it is undefined. Each rate stands after its n:

        - ``n``: the rows of the group; ``selection_rate``: the part of them predicted as the class.
        - ``n_positive``: the rows of the group with the label; ``true_positive_rate``: the part of them
          predicted as the class (the accuracy of the cell).
        - ``n_negative``: the other rows of the group; ``false_positive_rate``: the part of them predicted
          as the class.
        """
        import pandas as pd

        table = self.counts
        n_positive = table.sum(axis=-1)  # (K, M)
        n = np.broadcast_to(n_positive.sum(axis=0), n_positive.shape)
        n_selected = table.sum(axis=0).T
        n_correct = correct(table)
        columns = {
            "n": n,
            "selection_rate": divide(n_selected, n),
            "n_positive": n_positive,
            "true_positive_rate": divide(n_correct, n_positive),
            "n_negative": n - n_positive,
            "false_positive_rate": divide(n_selected - n_correct, n - n_positive),
        }
        keys = [(label, *group) for label in self.record.labels for group in self.groups]
        index = pd.MultiIndex.from_tuples(keys, names=["class", *self.columns])
        return pd.DataFrame({name: c.reshape(-1) for name, c in columns.items()}, index=index)

    def to_frame(self) -> pd.DataFrame:
        """Return every metric in long form: one row for each bias, metric and class.

        The columns are ``bias``, ``metric``, ``class``, ``value``, ``n``, ``ci_low`` and ``ci_high``.
        ``class`` is missing where the metric is over all classes.
        """
        import pandas as pd

        rows = []
        for record in self.records:
            rows += [
                _long_row(record.bias, name, None, record[name])
                for name in (*METRICS, *CALIBRATION_METRICS)
            ]
            for label, metrics in record.summary.by_class.items():
                rows += [_long_row(record.bias, name, label, metrics[name]) for name in COMPARISONS]
        return pd.DataFrame(rows).astype(dict.fromkeys(("value", "ci_low", "ci_high"), "float64"))

    def to_latex(self) -> str:
        """Return booktabs tables, to ``\\input`` after ``\\usepackage{booktabs}``; names are escaped."""
        return render_latex(self.records)

    def to_html(self) -> str:
        """Return tables as an HTML fragment; names are escaped."""
        return render_html(self.records)

    def _repr_html_(self) -> str:
        """Return the HTML that a notebook shows."""
        return self.to_html()


def _long_row(bias: str, name: str, label: str | None, metric: Metric) -> dict[str, Any]:
    return {
        "bias": bias,
        "metric": name,
        "class": label,
        "value": metric.value,
        "n": metric.n,
        "ci_low": metric.low,
        "ci_high": metric.high,
    }
