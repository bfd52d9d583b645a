"""docs/coverage.md and its figure from the results of the coverage study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.coverage.designs import DESIGNS, PAIRED, Design, PairedDesign

METRICS = {
    "top1": "top-1 accuracy",
    "unbiased": "unbiased accuracy",
    "bias_aligned": "bias-aligned accuracy",
    "bias_conflicting": "bias-conflicting accuracy",
    "worst_group": "worst group",
    "demographic_parity_difference": "demographic parity difference",
    "demographic_parity_ratio": "demographic parity ratio",
    "equalized_odds_difference": "equalized odds difference",
    "equalized_odds_ratio": "equalized odds ratio",
    "equal_opportunity_difference": "equal opportunity difference",
    "predictive_parity_difference": "predictive parity difference",
    "predictive_parity_ratio": "predictive parity ratio",
    "multiclass_equalized_odds": "multi-class equalized odds",
    "paired": "paired difference of unbiased accuracies",
}
METHODS = {"new": "this version", "first": "first version", "percentile": "percentile bootstrap"}
COLORS = {"new": "#1b6ca8", "first": "#d1495b", "percentile": "#8d99ae"}
NEEDED = 0.93
REASONS = {
    "predictive_parity_difference": "two precisions near 0 and 1, of some ten rows each: a difference that "
    "is nearly as large as possible has few possible estimates, and both limits of the pair are short where "
    "the rates end",
    "top1": "Wilson's interval of 30 rows; the coverage of a single rate goes up and down around 95 % with "
    "the rate, as the number of right rows is whole",
    "unbiased": "the small cells have 3 expected rows. Where such a cell has no row (5 % of the draws), the "
    "mean is over the other cells, which have another true mean. A cell of one or two rows takes its "
    "variance from the pooled rate, which large cells dominate; with the mean of the rates of the "
    "cells in its place, the coverage with ten biased classes was 95 % in 3,000 tables",
    "bias_conflicting": "as for the unbiased accuracy, a cell is without a row in 5 % of the tables",
}
FEWEST = 40  # tables in which the metric is defined, below which no coverage is given
INTRODUCTION = """# Coverage of the intervals

A 95 % interval should hold the true value in at least 95 % of the data sets. This page counts it. Written by
`python tests/benchmarks/coverage_study.py`; the numbers are in [coverage.json](coverage.json), the designs in
`tests/benchmarks/coverage/designs.py`. A small version runs in `tests/metrics/test_coverage.py`.

Each design has true cell accuracies. {tables} tables of counts are drawn from it, and each interval is
computed for each table, with {replicates} replicates where it resamples. *First version* is the method of the
first release ("-" where nothing changed or there was none); *percentile bootstrap* is the usual interval of
resampled rows. Two classes: the metric of the second one. More classes: the mean over classes. A table in
which the metric is undefined does not count. The standard error of a coverage of 95 % is {error:.1f} points,
so that one in six values of an exact method is below {one_error:.1f} %. Rates and means of this version are
counted over 10,000 tables (2,000 with ten classes; of ten classes, the others are counted over 100).

**Which designs were seen before.** The methods were chosen with the designs that have no star, and with some
smaller ones. The designs with a star were added after that, and drawn once; no method was changed after they
were seen. Two definitions were changed later, and the study was made anew: the true value of the multi-class
metric, and the equalized odds ratio where one of its rates is 0 in every group.
"""
OTHERS = """## Intervals in no design

The intervals of an audit that are in none of the designs: the average odds difference, the table beside a
reference group, weighted rates and comparisons, the AUC, the mean score minus the rate, and the difference
to a baseline. `python -m tests.benchmarks.coverage.other_intervals` counts them in a few simulated cases with
equal rates in all groups; the standard error is 0.7 points. The methods were chosen with such cases. Wilson's
limits of all pairs, used before, held an average odds difference of 0 in 90 % of tables of ten unequal
groups; DeLong's variance alone held an AUC of 0.96 with 30 positive rows in 89 %.

Below 93 % is a case that no method can mend: of 50 rows, one or two are heavy, and a sample without a heavy
row does not show that these are wrong. Rates that differ between groups, the AUC of weighted rows and means
of weighted cells are counted nowhere. Calibration errors and Brier scores have no interval.
"""


def write_page(data: Mapping[str, Any], folder: Path) -> None:
    """Write coverage.md and coverage.svg.

    Args:
        data: The results: ``{"settings", "designs": {name: {metric: {method: {...}}}}, "others": [...]}``.
        folder: The folder of both files.
    """
    settings, results = data["settings"], data["designs"]
    designs: list[Design | PairedDesign] = [d for d in (*DESIGNS, *PAIRED) if d.name in results]
    error = 100 * (0.95 * 0.05 / settings["tables"]) ** 0.5
    parts = [
        INTRODUCTION.format(error=error, one_error=95 - error, **settings),
        *_describe_summary(designs, results),
        "![Coverage of each metric in each design, by method](coverage.svg)\n",
        "A point is a design, a star one that was not seen before. Values below 49 % are at the left edge.\n",
        *_describe_failures(designs, results),
        *_describe_others(data.get("others", [])),
        "## Each design\n",
        "Coverage in percent / mean width in points (of ratios: hundredths).\n",
    ]
    for design in designs:
        parts += [f"### {_name(design)}\n", _format_design(results[design.name])]
    (folder / "coverage.md").write_text("\n".join(parts))
    _draw(designs, results, folder / "coverage.svg")


def _name(design: Design | PairedDesign) -> str:
    return design.name + (" *" if design.fresh else "")


def _find(
    results: Mapping[str, Any], name: str, metric: str, method: str
) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = results[name].get(metric, {}).get(method)
    return found if found is not None and found["tables"] >= FEWEST else None


def _describe_summary(
    designs: list[Design | PairedDesign], results: Mapping[str, Any]
) -> list[str]:
    """Return the table of the lowest coverage over designs of each metric and method."""
    lines = [
        "## Lowest coverage over all designs\n",
        "In brackets: the number of designs below 93 %, of those in which the metric is defined; then the "
        "mean width.\n",
        "| metric | " + " | ".join(METHODS.values()) + " |",
        "|---|" + "---|" * len(METHODS),
    ]
    for metric, title in METRICS.items():
        cells = []
        for method in METHODS:
            found = [f for d in designs if (f := _find(results, d.name, metric, method))]
            if not found:
                cells.append("-")
                continue
            below = sum(f["coverage"] < NEEDED for f in found)
            width = 100 * sum(f["width"] for f in found) / len(found)
            lowest = 100 * min(f["coverage"] for f in found)
            cells.append(f"{lowest:.1f} ({below} of {len(found)}; {width:.1f})")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return ["\n".join(lines) + "\n"]


def _describe_others(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the table of the intervals that are in no design; nothing if they were not counted."""
    if not rows:
        return []
    lines = ["| interval | design | draws | coverage |", "|---|---|---|---|"]
    lines += [
        f"| {row['interval']} | {row['design']} | {row['draws']} | {100 * row['coverage']:.1f} |"
        for row in rows
    ]
    return [OTHERS, "\n".join(lines) + "\n"]


def _describe_failures(
    designs: list[Design | PairedDesign], results: Mapping[str, Any]
) -> list[str]:
    """Return the list of the metrics of this version whose coverage is below 93 %."""
    failures = [
        f"- {METRICS[metric]}, {_name(d)}: {100 * found['coverage']:.1f} % of {found['tables']} tables. "
        f"Reason: {REASONS.get(metric, 'not found')}."
        for d in designs
        for metric in METRICS
        if (found := _find(results, d.name, metric, "new")) and found["coverage"] < NEEDED
    ]
    if not failures:
        return ["No interval of this version is below 93 % in any design.\n"]
    return ["## Below 93 %\n", "\n".join(failures) + "\n"]


def _format_design(found: Mapping[str, Any]) -> str:
    lines = ["| metric | tables | " + " | ".join(METHODS.values()) + " |"]
    lines.append("|---|---|" + "---|" * len(METHODS))
    for metric, title in METRICS.items():
        methods = found.get(metric)
        if not methods or max(m["tables"] for m in methods.values()) < FEWEST:
            continue
        cells = [
            f"{100 * methods[m]['coverage']:.1f} / {100 * methods[m]['width']:.1f}"
            if m in methods and methods[m]["tables"] >= FEWEST
            else "-"
            for m in METHODS
        ]
        tables = methods["new"]["tables"] if "new" in methods else 0
        lines.append(f"| {title} | {tables} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _draw(designs: list[Design | PairedDesign], results: Mapping[str, Any], path: Path) -> None:
    """Draw one row of points a metric: the coverage in each design, by method."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "coverage"
    from matplotlib import pyplot as plt

    names = [m for m in METRICS if any(_find(results, d.name, m, "new") for d in designs)]
    figure, axes = plt.subplots(figsize=(8, 6.2), layout="constrained")
    axes.axvline(95, color="black", linewidth=0.8)
    axes.axvline(93, color="black", linewidth=0.6, linestyle=":")
    for offset, (method, title) in zip((-0.22, 0.0, 0.22), METHODS.items(), strict=True):
        for fresh, marker in ((False, "o"), (True, "*")):
            points = [
                (max(100 * found["coverage"], 49), row + offset)
                for row, metric in enumerate(names)
                for d in designs
                if d.fresh is fresh and (found := _find(results, d.name, metric, method))
            ]
            axes.plot(
                [x for x, _ in points],
                [y for _, y in points],
                marker,
                color=COLORS[method],
                alpha=0.65,
                markersize=4 if marker == "o" else 7,
                markeredgewidth=0,
                label=title if not fresh else None,
            )
    axes.set_yticks(range(len(names)), [METRICS[name] for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(48, 100.6)
    axes.set_xlabel("tables whose interval holds the truth, in percent")
    axes.grid(axis="x", linewidth=0.3)
    axes.legend(loc="lower left", frameon=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
