"""The audit of features as text: readouts with their baselines, distances, similarities."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from biascon.auditing.features.record import FeatureRecord, Readout
from biascon.metrics.names import METRIC_NAMES
from biascon.metrics.records import Metric
from biascon.utils.text import format_table, visible

_WIDTH = 110  # letters in a line of a paragraph
READOUT_COLUMNS = ("readout", "value", "95 % interval", "n", "one value", "other column alone")
PAIR_COLUMNS = ("pairs of rows", "value", "pairs")
SIMILARITY_COLUMNS = ("cosine of pairs", "mean", "sd", "pairs")
KINDS = {
    "same_bias": "same label, same bias value",
    "other_bias": "same label, other bias value",
    "negative": "other label",
}
LEGEND = (
    "Rates in percent. Readout: accuracy of logistic regression on rows that it has not seen; the penalty "
    "is chosen on inner folds of the rows that it is fitted on. Unbiased: mean over the cells of label and "
    "bias value. One value: the best constant prediction, the majority class. Other column alone: the best "
    "prediction from the label (for the bias) or from the bias value (for the label), without features; the "
    "correlation of the two columns gives this much. Intervals: for the rows of this table and these probes; "
    "the spread between other training rows is not part of them. A bias readout above both baselines shows "
    "that the features hold the bias attribute. It does not show that a classifier uses it."
)


def render_features(records: Sequence[FeatureRecord]) -> str:
    """Return the records of an audit of features as tables of text."""
    first = records[0]
    source = first.source
    of_columns = "" if source.columns is None else f" of {source.columns}"
    parts = [
        visible(
            f"{source.features or 'features'}: {first.rows:,} rows x {first.dim:,} features, label "
            f"'{source.label}'{of_columns}, {len(first.labels):,} classes; {first.folds} folds"
        )
    ]
    for record in records:
        parts += _tables(record)
        if record.notes:
            parts.append("\n".join(f"note: {visible(note)}" for note in record.notes))
    return "\n\n".join([*parts, textwrap.fill(LEGEND, _WIDTH)]) + "\n"


def _tables(record: FeatureRecord) -> list[str]:
    name = visible(record.source.bias)
    rows = [
        row
        for of, readout in (
            (f"label {visible(record.source.label)}", record.label_readout),
            (f"bias {name}", record.bias_readout),
        )
        for row in _readout_rows(of, readout)
    ]
    pairs = [
        [METRIC_NAMES[key].name, _number(metric.value), f"{metric.n:,}"]
        for key, metric in _pair_metrics(record).items()
    ]
    similarities = [
        [KINDS[kind], _number(pairs.mean), _number(pairs.sd), f"{pairs.n:,}"]
        for kind, pairs in record.similarities.items()
    ]
    return [
        f"By {name}: {len(record.bias_values):,} values\n{format_table(READOUT_COLUMNS, rows)}",
        format_table(PAIR_COLUMNS, pairs),
        format_table(SIMILARITY_COLUMNS, similarities),
    ]


def _readout_rows(of: str, readout: Readout) -> list[list[str]]:
    return [
        _readout_row(of, readout.accuracy, readout.majority, readout.from_other),
        _readout_row(
            f"{of}, unbiased",
            readout.unbiased,
            readout.unbiased_majority,
            readout.unbiased_from_other,
        ),
    ]


def _readout_row(name: str, metric: Metric, majority: float, from_other: float) -> list[str]:
    limits = "-" if metric.interval is None else " to ".join(map(_percent, metric.interval))
    return [
        name,
        _percent(metric.value),
        limits,
        f"{metric.n:,}",
        _percent(majority),
        _percent(from_other),
    ]


def _pair_metrics(record: FeatureRecord) -> dict[str, Metric]:
    return {
        "class_alignment": record.class_alignment,
        "bias_alignment": record.bias_alignment,
        "uniformity": record.uniformity,
    }


def list_numbers(record: FeatureRecord) -> list[dict[str, Any]]:
    """Return every number of a record in long form, a row each."""
    rows: list[dict[str, Any]] = []

    def add(metric: str, found: Metric, majority: float | None, from_other: float | None) -> None:
        low, high = found.interval or (None, None)
        rows.append(
            {
                "bias": record.source.bias,
                "metric": metric,
                "value": found.value,
                "n": found.n,
                "ci_low": low,
                "ci_high": high,
                "majority": majority,
                "from_other": from_other,
            }
        )

    for key, readout in (
        ("label_readout", record.label_readout),
        ("bias_readout", record.bias_readout),
    ):
        add(key, readout.accuracy, readout.majority, readout.from_other)
        add(
            f"{key}_unbiased",
            readout.unbiased,
            readout.unbiased_majority,
            readout.unbiased_from_other,
        )
    for key, metric in _pair_metrics(record).items():
        add(key, metric, None, None)
    for kind, pairs in record.similarities.items():
        add(f"similarity_{kind}", Metric(pairs.mean, pairs.n), None, None)
    return rows


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
