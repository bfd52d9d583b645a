"""The result of an audit: one record for each bias column, as data frames, tables and plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from biascon.auditing.display.frames import (
    ALL_METRICS,
    baseline_frame,
    cell_frame,
    group_frame,
    reference_frame,
)
from biascon.auditing.display.long_frame import long_frame
from biascon.auditing.display.markup import render_html, render_latex
from biascon.auditing.display.text import render_text
from biascon.auditing.record import AuditRecord
from biascon.auditing.tolerance import make_tolerances
from biascon.auditing.verdicts import Verdict, judge_records
from biascon.utils.text import count_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from biascon.auditing.display.plots import PlotKind


@dataclass(frozen=True, eq=False)
class Audit:
    """The metrics of predictions in the groups of one or more bias columns.

    Attributes:
        record: Every metric, with the source, the counts and the notes.
        columns: The bias columns whose combinations are the groups.
        groups: The M groups, each a value of every column.
        by_feature: The audit by each bias column alone. With one column this is the audit itself.
        by_pair: The audit by each pair of bias columns; empty unless pairs were asked for.
    """

    record: AuditRecord
    columns: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    by_feature: dict[str, Audit] = field(default_factory=dict, repr=False)
    by_pair: dict[tuple[str, str], Audit] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not self.by_feature:
            self.by_feature[self.columns[0]] = self

    def __repr__(self) -> str:
        return (
            f"<Audit of {count_of(self.record.rows, 'row')} by {self.record.bias}: "
            f"{count_of(len(self.groups), 'group')}, {count_of(len(self.record.labels), 'class', 'classes')}>"
        )

    def __str__(self) -> str:
        """Return the tables of ``biascon audit`` as text."""
        return render_text(self.records)

    def judge(self, tolerances: Mapping[str, float]) -> list[Verdict]:
        """Return the verdict of each metric by each bias column: within, exceeds, inconclusive, undefined.

        The verdict follows from the 95 % interval. A difference or an error is within its tolerance if the
        upper limit is at most the tolerance, and exceeds it if the lower limit is above. An accuracy or a
        ratio is within if the lower limit is at least the tolerance, and exceeds it if the upper limit is
        below. It is undefined where there is no value or no interval. Otherwise it is inconclusive.

        Args:
            tolerances: The tolerance by metric name: ``{"equalized_odds_difference": 0.05}``.

        Raises:
            UsageError: A metric is unknown, it has no interval, it needs scores or aligned values that are
                not known, or a tolerance is not among its possible values.
        """
        return judge_records(self.records, make_tolerances(tolerances))

    @property
    def data(self) -> dict[str, Any]:
        """The record as plain data, in the form that ``biascon audit --json`` prints.

        A metric is ``{"value", "n", "ci"}``, with None where it is undefined. Other keys are ``labels``,
        ``groups``, ``by_class``, ``by_group``, ``counts`` (label x group x prediction) and ``notes``.
        """
        return self.record.to_json()

    @property
    def records(self) -> list[AuditRecord]:
        """The records by each bias column alone, by pairs, and by the combinations of all columns."""
        parts = (*self.by_feature.values(), *self.by_pair.values())
        single = [audit.record for audit in parts]
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

        A comparison between groups is that of the positive class of two classes, and the mean over more
        classes. The metrics of scores are undefined without scores.
        """
        import pandas as pd

        return pd.Series({name: self.record[name].value for name in ALL_METRICS}, dtype=float)

    @property
    def by_group(self) -> pd.DataFrame:
        """One row for each group.

        The columns are ``n``, ``accuracy`` with its Wilson interval, the worst label, the rates of the
        positive class of two classes (with ``_low`` and ``_high``), the metrics of the scores,
        ``effective_n`` (n without weights) and ``compared`` (False for a group below ``min_group``).
        """
        return group_frame(self.record)

    @property
    def cells(self) -> pd.DataFrame:
        """One row for each class and group: the rates that the comparisons between groups use.

        A rate is NaN where it is undefined. Each rate has its Wilson interval (``_low``, ``_high``) and
        stands after its n:

        - ``n``: the rows of the group; ``selection_rate``: the part of them predicted as the class.
        - ``n_positive``: the rows of the group with the label; ``true_positive_rate``: the part of them
          predicted as the class (the accuracy of the cell). ``false_negative_rate``: the other part.
        - ``n_negative``: the other rows of the group; ``false_positive_rate``: the part of them predicted
          as the class.
        - ``n_selected``: the rows of the group predicted as the class; ``precision``: the part of them with
          the label.
        """
        return cell_frame(self.record)

    @property
    def reference(self) -> pd.DataFrame:
        """One row for each metric of each group beside the reference group; empty without a reference.

        ``difference`` is the rate of the group minus that of the reference, ``ratio`` their quotient. They
        are of the positive class of two classes, and of every class otherwise.
        """
        return reference_frame(self.record)

    @property
    def baseline(self) -> pd.DataFrame:
        """One row for each metric of all rows (group None) and of each group beside the baseline.

        ``p`` is McNemar's mid-p-value, ``holm_p`` the same adjusted over the groups and metrics. The frame
        is empty without a baseline.
        """
        return baseline_frame(self.record)

    def to_frame(self) -> pd.DataFrame:
        """Return every metric in long form: one row for each bias, metric, class and group.

        The columns are ``bias``, ``metric``, ``class``, ``value``, ``n``, ``ci_low``, ``ci_high``, ``group``,
        ``by_chance``, ``p`` and ``holm_p``. Where there is nothing to say they are missing.

        - ``class`` is missing for the headline: the positive class of two classes, the mean over more
          classes, or a metric over all classes. The mean over classes has rows of its own. The worst group
          and the worst class have their label.
        - ``group`` is missing for metrics over all groups. Each group has rows of its own: ``accuracy``, the
          metrics of scores, and the rates of ``cells`` (of the positive class, or of every class without
          one). The worst group has its name.
        - ``by_chance``, ``p`` and ``holm_p`` are those of the permutation tests.
        - With a reference, ``<rate>_difference_to_reference`` and ``<rate>_ratio_to_reference``.
        - With a baseline, ``<rate>_of_baseline`` and ``<rate>_difference_to_baseline``, the latter with p.
        """
        return long_frame(self.records)

    def plot(self, ax: Axes | None = None, *, kind: PlotKind = "rates") -> Axes:
        """Draw the audit with matplotlib, with 95 % intervals, and return the axes.

        Args:
            ax: The axes to draw on; None for those of a new figure (``axes.figure.savefig`` writes it).
            kind: ``"rates"``: accuracy, and with two classes the selection, true positive and false positive
                rate of the positive class, of every group. ``"accuracy"``: the accuracy of every group.
                ``"differences"``: the differences between groups, with their value by chance.

        Raises:
            UsageError: ``kind`` is another text, or ``ax`` is no axes.
        """
        from biascon.auditing.display.plots import draw_audit

        return draw_audit(self.record, kind, ax)

    def to_latex(self, *, label: str | None = None) -> str:
        """Return booktabs tables, to ``\\input`` after ``\\usepackage{booktabs}``; names are escaped.

        Args:
            label: The label of the first table, for ``\\ref``; the others have ``-2``, ``-3``, ... after it.

        Raises:
            UsageError: The label has other signs than letters, digits and ``:._-/``.
        """
        return render_latex(self.records, label=label)

    def to_html(self) -> str:
        """Return tables as an HTML fragment; names are escaped."""
        return render_html(self.records)

    def _repr_html_(self) -> str:
        """Return the HTML that a notebook shows."""
        return self.to_html()
