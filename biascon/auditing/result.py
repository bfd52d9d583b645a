"""An audit: every metric of any model's predictions by one bias attribute, as plain data and as tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from biascon.auditing.calibration import NAMES as SCORES
from biascon.auditing.record import METRICS
from biascon.metrics.accuracy import correct
from biascon.metrics.counts import divide
from biascon.metrics.summary import COMPARISONS

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Audit:
    """What predictions do in the groups of a bias attribute.

    Attributes:
        data: Everything as plain data, in the form that ``biascon audit --json`` prints: every metric as
            ``{"value", "n", "ci"}``, None where it is undefined, with ``labels``, ``groups``, ``by_class``,
            ``by_group``, ``counts`` (label x group x prediction) and ``notes``.
        columns: The bias columns whose combinations are the groups.
        groups: The M groups, each a value of every column.
        by_feature: The audits by each bias column alone; with one column this audit itself.
    """

    data: dict[str, Any]
    columns: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    by_feature: dict[str, Audit] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not self.by_feature:
            self.by_feature[self.columns[0]] = self

    def __repr__(self) -> str:
        return (
            f"<Audit of {self.data['rows']:,} rows by {self.data['bias']}: {len(self.groups):,} groups, "
            f"{len(self.data['labels']):,} classes>"
        )

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """The table int64 ``(K, M, K)``: label x group x prediction."""
        return np.asarray(self.data["counts"], dtype=np.int64)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know: why numbers are undefined, and which rows were left out."""
        return tuple(self.data["notes"])

    @property
    def overall(self) -> pd.Series[float]:
        """The metrics of all rows by name, NaN where undefined; fairness is the mean over classes.

        Calibration error and Brier score are undefined without scores.
        """
        import pandas as pd

        return pd.Series(
            {name: self.data[name]["value"] for name in (*METRICS, *SCORES)}, dtype=float
        )

    @property
    def by_group(self) -> pd.DataFrame:
        """A row a group: ``n``, ``accuracy`` with its Wilson interval, and its worst label with its n."""
        import pandas as pd

        rows = [
            {
                "n": row["n"],
                "accuracy": row["accuracy"]["value"],
                "ci_low": row["accuracy"]["ci"][0],
                "ci_high": row["accuracy"]["ci"][1],
                "worst_label": row["worst_label"]["label"],
                "worst_accuracy": row["worst_label"]["value"],
                "worst_n": row["worst_label"]["n"],
                **{name: row[name]["value"] for name in SCORES},
            }
            for row in self.data["by_group"]
        ]
        index = pd.MultiIndex.from_tuples(self.groups, names=self.columns)
        single = pd.Index([group[0] for group in self.groups], name=self.columns[0])
        frame = pd.DataFrame(rows, index=single if len(self.columns) == 1 else index)
        return frame.astype(dict.fromkeys(SCORES, "float64"))

    @property
    def cells(self) -> pd.DataFrame:
        """A row a class and group: the rates that fairness compares, NaN where undefined, each with its n.

        ``n_positive`` rows of the group have the label, of which ``true_positive_rate`` are predicted as it
        (the cell's accuracy); of the other ``n_negative`` rows ``false_positive_rate`` are; of all ``n`` rows
        ``selection_rate``.
        """
        import pandas as pd

        table = self.counts
        positive = table.sum(axis=-1)  # (K, M)
        group = np.broadcast_to(positive.sum(axis=0), positive.shape)
        selected = table.sum(axis=0).T
        hits = correct(table)
        at = [(k, *group) for k in self.data["labels"] for group in self.groups]
        columns = {
            "n": group,
            "selection_rate": divide(selected, group),
            "n_positive": positive,
            "true_positive_rate": divide(hits, positive),
            "n_negative": group - positive,
            "false_positive_rate": divide(selected - hits, group - positive),
        }
        index = pd.MultiIndex.from_tuples(at, names=["class", *self.columns])
        return pd.DataFrame({name: c.reshape(-1) for name, c in columns.items()}, index=index)

    def to_frame(self) -> pd.DataFrame:
        """Every metric in long form: a row a bias, metric and class, with value, n and interval.

        ``class`` is missing where the metric is over all classes.
        """
        import pandas as pd

        every = list(self.by_feature.values())
        rows = []
        for audit in every if len(self.columns) == 1 else [*every, self]:
            data = audit.data
            rows += [_row(data["bias"], name, None, data[name]) for name in (*METRICS, *SCORES)]
            for label, metrics in data["by_class"].items():
                rows += [_row(data["bias"], name, label, metrics[name]) for name in COMPARISONS]
        frame = pd.DataFrame(rows)
        numbers = ("value", "ci_low", "ci_high")
        return frame.astype(dict.fromkeys(numbers, "float64"))

    def to_latex(self) -> str:
        """Return booktabs tables, escaped, to ``\\input`` after ``\\usepackage{booktabs}``."""
        from biascon.auditing.markup import latex

        return latex(self)

    def to_html(self) -> str:
        """Return tables as a fragment of HTML, escaped."""
        from biascon.auditing.markup import html

        return html(self)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return self.to_html()


def _row(bias: str, metric: str, label: str | None, found: Mapping[str, Any]) -> dict[str, Any]:
    low, high = found["ci"]
    return {
        "bias": bias, "metric": metric, "class": label, "value": found["value"], "n": found["n"],
        "ci_low": low, "ci_high": high,
    }  # fmt: skip
