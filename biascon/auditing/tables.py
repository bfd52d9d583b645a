"""The tables of an audit: n beside the numbers, ``-`` for what is undefined."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from biascon.auditing.calibration import NAMES as SCORES
from biascon.auditing.record import METRICS
from biascon.auditing.result import Audit

NAMES = {
    "top1": "top-1 accuracy",
    "unbiased": "unbiased accuracy",
    "bias_aligned": "bias-aligned",
    "bias_conflicting": "bias-conflicting",
    "worst_group": "worst group",
    "bias_aligned_samples": "aligned, over rows",
    "bias_conflicting_samples": "conflicting, over rows",
    "demographic_parity_difference": "demographic parity difference",
    "demographic_parity_ratio": "demographic parity ratio",
    "equalized_odds_difference": "equalized odds difference",
    "equalized_odds_ratio": "equalized odds ratio",
    "equal_opportunity_difference": "equal opportunity difference",
    "predictive_parity_difference": "predictive parity difference",
    "predictive_parity_ratio": "predictive parity ratio",
    "calibration_error": "expected calibration error",
    "brier": "Brier score",
}
SHORT = {
    "demographic_parity_difference": "DP diff.",
    "demographic_parity_ratio": "DP ratio",
    "equalized_odds_difference": "EO diff.",
    "equalized_odds_ratio": "EO ratio",
    "equal_opportunity_difference": "EOpp diff.",
    "predictive_parity_difference": "PP diff.",
}
LEGEND = (
    "In percent, ratios in 0..1; n: rows; -: undefined. Unbiased, aligned, conflicting: mean over cells "
    "label x bias; worst group: the cell of lowest accuracy. Differences and ratios are between groups: "
    "demographic parity (DP), equalized odds (EO), equal opportunity (EOpp), predictive parity (PP), mean "
    "over classes, one against the rest. Intervals: 95 %: Wilson for single rates, bootstrap over rows for "
    "means; those of the worst group, of differences and of ratios hold the truth at least that often and "
    "are wide. By chance: the mean of the metric when the bias is dealt out anew, among all rows for "
    "demographic parity and else among the rows of each label; p: how often it is then as extreme "
    "(permutation test)."
)
MOST = 20  # rows of a table; the rest is in the data


class TextTable(NamedTuple):
    """A table of text; its first ``left`` columns are flush left."""

    title: str
    header: list[str]
    rows: list[list[str]]
    left: int = 1


def iter_audits(audit: Audit) -> Iterator[Audit]:
    """Yield the audits by each bias column alone, then that by their combinations."""
    yield from audit.by_feature.values()
    if len(audit.columns) > 1:
        yield audit


def describe_source(audit: Audit) -> str:
    """Say what was audited, in a line."""
    data = audit.data
    source = f"{data['predictions']}: " if "predictions" in data else ""
    return (
        f"{source}{data['rows']:,} rows, label '{data['label']}', prediction '{data['prediction']}', "
        f"{len(data['labels']):,} classes"
    )


def audit_tables(audit: Audit) -> list[TextTable]:
    """Return the tables of one audit: the metrics, the groups, the classes, the lowest cells."""
    data = audit.data
    bias = data["bias"]
    shown = [*METRICS, *(name for name in SCORES if data[name]["n"])]
    return [
        TextTable(
            f"By {bias}: {len(data['groups']):,} groups; aligned: {data['aligned']}",
            ["metric", "value", "95 % interval", "n", "by chance", "p"],
            [
                [NAMES[name] + _where(data[name]), *_cells(name, data[name]), *_chance(data, name)]
                for name in shown
            ],
        ),
        _groups(data, bias),
        _classes(data, bias),
        _lowest(audit, bias),
    ]


def _groups(data: dict[str, Any], bias: str) -> TextTable:
    rows = sorted(data["by_group"], key=lambda row: row["accuracy"]["value"])
    keep = {id(row) for row in rows[:MOST]}
    shown = [row for row in data["by_group"] if id(row) in keep]
    scores = {"calibration_error": "cal. error", "brier": "Brier"} if data["brier"]["n"] else {}
    return TextTable(
        "Groups" + _some(len(rows), "the lowest accuracy"),
        [
            bias,
            "n",
            "accuracy",
            "95 % interval",
            "worst label",
            "its accuracy",
            "its n",
            *scores.values(),
        ],
        [
            [
                row["bias"],
                f"{row['n']:,}",
                *_cells("accuracy", row["accuracy"])[:2],
                row["worst_label"]["label"],
                _number("accuracy", row["worst_label"]["value"]),
                f"{row['worst_label']['n']:,}",
                *(_number(name, row[name]["value"]) for name in scores),
            ]
            for row in shown
        ],
    )


def _classes(data: dict[str, Any], bias: str) -> TextTable:
    def size(item: tuple[str, Any]) -> float:
        value = item[1]["equalized_odds_difference"]["value"]
        return -1.0 if value is None else float(value)

    counts = {label: sum(map(sum, cell)) for label, cell in
              zip(data["labels"], data["counts"], strict=True)}  # fmt: skip
    kept = dict(sorted(data["by_class"].items(), key=size, reverse=True)[:MOST])
    return TextTable(
        f"Fairness between the values of {bias}, each class against the rest"
        + _some(len(data["labels"]), "the largest equalized odds difference"),
        ["class", "n", *SHORT.values()],
        [
            [label, f"{counts[label]:,}", *(_number(name, kept[label][name]["value"]) for name in SHORT)]
            for label in data["labels"]
            if label in kept
        ],
    )  # fmt: skip


def _lowest(audit: Audit, bias: str, most: int = 10) -> TextTable:
    table = audit.counts
    labels, groups = audit.data["labels"], audit.data["groups"]
    found = [
        (int(table[k, m, k]) / n, k, m, n)
        for k, row in enumerate(table.sum(axis=-1).tolist())
        for m, n in enumerate(row)
        if n
    ]
    empty = len(labels) * len(groups) - len(found)
    return TextTable(
        f"Cells of lowest accuracy, {min(most, len(found))} of {len(found):,}; {empty:,} have no row",
        ["label", bias, "n", "accuracy"],
        [
            [labels[k], groups[m], f"{n:,}", _number("accuracy", value)]
            for value, k, m, n in sorted(found)[:most]
        ],
        2,
    )


def _some(n: int, which: str) -> str:
    return f" ({MOST} of {n:,}, with {which})" if n > MOST else ""


def _where(metric: dict[str, Any]) -> str:
    group = metric.get("group")
    return "" if group is None else f" (label {group['label']}, {group['bias']})"


def _number(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if name == "brier":
        return f"{value:.3f}"
    return f"{value:.2f}" if name.endswith("_ratio") else f"{100 * value:.1f}"


def _chance(data: dict[str, Any], name: str) -> list[str]:
    found = (data["disparity"] or {}).get(name)
    if found is None:
        return ["", ""]
    p = found["p"]
    return [_number(name, found["expected"]), "-" if p is None else f"{p:.4f}"]


def _cells(name: str, metric: dict[str, Any]) -> list[str]:
    low, high = (_number(name, side) for side in metric["ci"])
    interval = "-" if "-" in (low, high) else f"{low} to {high}"
    return [_number(name, metric["value"]), interval, f"{metric['n']:,}"]


def visible(text: str) -> str:
    """Return text without line breaks and control characters, written as escapes instead.

    >>> visible("a" + chr(10) + "b")
    'a\\\\nb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
