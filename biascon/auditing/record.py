"""An audit as data: every metric of one table of counts, and the notes that explain it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from biascon.auditing.calibration import calibration_metrics
from biascon.data.alignment import Alignment
from biascon.metrics.accuracy import cell_accuracy, correct
from biascon.metrics.calibration import CalibrationSums as CalibrationSums
from biascon.metrics.counts import divide
from biascon.metrics.intervals import wilson
from biascon.metrics.summary import ACCURACIES, COMPARISONS, finite_or_none, measure_counts
from biascon.utils.text import join_first, quote_some
from biascon.utils.types import Array

METRICS = (*ACCURACIES, *COMPARISONS)
MAX_RESAMPLED = 200_000  # cells of a table beyond which the bootstrap would take minutes
PRODUCT = " x "


def compute_audit(
    table: Array,
    classes: Sequence[str],
    groups: Sequence[str],
    alignment: Alignment,
    *,
    about: Mapping[str, Any],
    notes: Sequence[str],
    seed: int,
    calibrated: CalibrationSums | None = None,
) -> dict[str, Any]:
    """Return an audit's data from its table ``(K, M, K)``.

    Args:
        table: int64 counts.
        classes: K names.
        groups: M names.
        alignment: Which cells are aligned.
        about: What comes before the metrics: the source, the columns.
        notes: What is already known to be worth telling.
        seed: Of the bootstrap.
        calibrated: The sums of scores by the same groups, if there are scores.
    """
    overall, by_group = calibration_metrics(calibrated, len(groups))
    told = [*notes, *alignment.notes, *_undefined_notes(table, classes, groups)]
    intervals = table.size <= MAX_RESAMPLED
    if not intervals:
        told.append(
            f"no intervals: the table has {table.size:,} cells label x group x prediction, and more than "
            f"{MAX_RESAMPLED:,} are not resampled"
        )
    found = measure_counts(
        table, classes, alignment.cells, seed=seed, intervals=intervals
    ).to_json()
    worst = found["worst_group"].get("group")
    if worst is not None:
        found["worst_group"]["group"] = {
            "label": classes[worst["label"]],
            "bias": groups[worst["bias"]],
        }
    return {
        **about,
        "rows": int(table.sum()),
        "seed": seed,
        "labels": list(classes),
        "groups": list(groups),
        "aligned": alignment.source,
        "notes": told,
        **{name: found[name] for name in METRICS},
        **overall,
        "disparity": found["disparity"],
        "by_class": found["by_class"],
        "by_group": [
            row | scored
            for row, scored in zip(_group_metrics(table, classes, groups), by_group, strict=True)
        ],
        "counts": found["counts"],
    }


def _undefined_notes(table: Array, classes: Sequence[str], groups: Sequence[str]) -> list[str]:
    """Say which numbers the rows that there are leave undefined, and why."""
    rows = table.sum(axis=-1)  # (K, M)
    notes = []
    unlabeled = [k for k in range(len(classes)) if rows[k].sum() == 0]
    if unlabeled:
        names = quote_some(classes[k] for k in unlabeled)
        notes.append(f"predicted, but the label of no row (n = 0): {names}")
    if len(groups) == 1:
        notes.append(f"one group only, '{groups[0]}': differences and ratios are undefined")
        return notes
    empty = [(k, m) for k, m in np.argwhere(rows == 0).tolist() if k not in unlabeled]
    if empty:
        where = join_first([f"'{classes[k]}' in '{groups[m]}'" for k, m in empty])
        which = quote_some(dict.fromkeys(classes[k] for k, _ in empty))
        notes.append(
            f"labels without a row (n = 0) in a group: {where}: equal opportunity and equalized odds of "
            f"class {which} are undefined"
        )
    told = {k for k, _ in empty}
    alone = [(k, m) for k, m in np.argwhere(rows == rows.sum(axis=0)).tolist() if k not in told]
    if alone:
        where = join_first([f"'{groups[m]}' has only '{classes[k]}'" for k, m in alone])
        which = quote_some(dict.fromkeys(classes[k] for k, _ in alone))
        notes.append(f"groups of one label: {where}: equalized odds of class {which} are undefined")
    return notes


def _group_metrics(
    table: Array, classes: Sequence[str], groups: Sequence[str]
) -> list[dict[str, Any]]:
    n = table.sum(axis=(0, 2))
    right = correct(table).sum(axis=0)
    value = divide(right, n)
    low, high = wilson(right, n)
    cells = cell_accuracy(table)  # (K, M), NaN where empty
    rows = table.sum(axis=-1)
    worst = np.nanargmin(cells, axis=0)  # every group has a row
    return [
        {
            "bias": group,
            "n": int(n[m]),
            "accuracy": {"value": finite_or_none(value[m]), "n": int(n[m]), "ci": [finite_or_none(low[m]), finite_or_none(high[m])]},
            "worst_label": {
                "label": classes[worst[m]],
                "value": finite_or_none(cells[worst[m], m]),
                "n": int(rows[worst[m], m]),
            },
        }
        for m, group in enumerate(groups)
    ]  # fmt: skip
