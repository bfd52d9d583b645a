"""Every number of an audit beside those of fairlearn, scikit-learn and vfairness; writes docs/agreement.md.

    pip install -e '.[agreement]'
    python tests/benchmarks/agreement.py

A package that is not installed has no column. Tables are those of ``tests/auditing/realistic_files.py``.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import biascon  # noqa: E402
from tests.auditing.realistic_files import FILES, RealisticFile  # noqa: E402

PAGE = ROOT / "docs" / "agreement.md"
PACKAGES = ("fairlearn", "scikit-learn", "vfairness")
MODULES = {"scikit-learn": "sklearn"}
DIFFERENCES = (
    "demographic_parity_difference",
    "demographic_parity_ratio",
    "equalized_odds_difference",
    "equalized_odds_ratio",
    "equal_opportunity_difference",
    "predictive_parity_difference",
)
HOW = """
Made by `python tests/benchmarks/agreement.py`; `pytest -m slow` checks it. The tables are made from seeds
(`tests/auditing/realistic_files.py`). Each class of more than two is compared with the rest.
"""
SOURCES = """
The numbers of fairlearn include the selection, true positive and false positive rate of every group, by its
`MetricFrame`. fairlearn has no predictive parity; this is its `MetricFrame` of scikit-learn's precision. The
unbiased accuracy and the worst group are from scikit-learn's recall of every label in every group. The Brier
score of biascon is the sum over both classes: twice scikit-learn's; its sums are rounded, so that they do not
depend on how a file is read. vfairness ran with `min_group_size=1`; by default it leaves out groups of fewer
than 30 rows.
"""
RATIOS = """
The ratio of two rates of 0 is undefined, as in fairlearn. Equalized odds have two ratios: if one of them is
that of rates of 0 in every group, such as a model without a false positive, the other one counts, as in
fairlearn. The lower limit of its interval is 0, because the rows cannot show that the true rates are 0.
"""
Numbers = dict[str, float]


@dataclass
class Comparison:
    """One table by one bias column.

    Attributes:
        name: The file, the bias columns, and the class that is compared with the rest.
        own: The numbers of biascon by name.
        others: Those of each package.
        n_rates: How many rates of groups were compared with each package.
        largest: The largest deviation from each package, over all numbers and rates.
    """

    name: str
    own: Numbers
    others: dict[str, Numbers]
    n_rates: dict[str, int] = field(default_factory=dict)
    largest: dict[str, float] = field(default_factory=dict)


def installed() -> list[str]:
    """Return the packages that can be compared."""
    return [p for p in PACKAGES if importlib.util.find_spec(MODULES.get(p, p)) is not None]


def fairlearn_numbers(y: Any, p: Any, group: Any) -> Numbers:
    """Return the comparisons of groups by fairlearn, for 0/1 labels."""
    from fairlearn import metrics
    from sklearn.metrics import precision_score

    precision = metrics.MetricFrame(
        metrics=lambda a, b: precision_score(a, b, zero_division=np.nan),
        y_true=y, y_pred=p, sensitive_features=group,
    )  # fmt: skip
    numbers = {"predictive_parity_difference": float(precision.difference())}
    for name in DIFFERENCES:
        function = getattr(metrics, name, None)
        if function is not None:
            numbers[name] = float(function(y, p, sensitive_features=group))
    return numbers


def vfairness_numbers(y: Any, p: Any, group: Any) -> Numbers:
    """Return the comparisons of groups by vfairness, for 0/1 labels; no group is too small for it."""
    from vfairness.evaluation.vfairness_metrics import classification

    numbers = {}
    for name in DIFFERENCES:
        function = getattr(classification, name, None)
        if function is not None:
            numbers[name] = float(function(y, p, group, min_group_size=1))
    return numbers


def sklearn_numbers(y: Any, p: Any, group: Any, scores: Any) -> Numbers:
    """Return the accuracies, the Brier score and the AUC by scikit-learn."""
    from sklearn.metrics import accuracy_score, brier_score_loss, recall_score, roc_auc_score

    recalls = np.concatenate(
        [
            recall_score(
                y[group == g], p[group == g], average=None, labels=np.unique(y[group == g])
            )
            for g in np.unique(group)
        ]
    )
    numbers = {
        "top1": float(accuracy_score(y, p)),
        "unbiased": float(recalls.mean()),
        "worst_group": float(recalls.min()),
    }
    if scores is not None:  # biascon sums over both classes
        positive = y == np.unique(y)[1]
        numbers["brier"] = 2 * float(brier_score_loss(positive, scores))
        numbers["auc"] = float(roc_auc_score(positive, scores))
    return numbers


def group_rates(y: Any, p: Any, group: Any) -> pd.DataFrame:
    """Return the rates of each group by fairlearn's MetricFrame, for 0/1 labels."""
    from fairlearn import metrics

    functions = {
        "selection_rate": metrics.selection_rate,
        "true_positive_rate": metrics.true_positive_rate,
        "false_positive_rate": metrics.false_positive_rate,
    }
    frame = metrics.MetricFrame(metrics=functions, y_true=y, y_pred=p, sensitive_features=group)
    return frame.by_group


def compare_file(file: RealisticFile, packages: Sequence[str]) -> Iterator[Comparison]:
    """Yield the comparisons of one file: by each bias column, and by their combinations."""
    rows = file.make()
    combinations = [(name,) for name in file.bias]
    if len(file.bias) > 1:
        combinations.append(file.bias)
    for columns in combinations:
        group = rows[list(columns)].astype(str).agg(" x ".join, axis=1).to_numpy()
        y, p = (rows[c].astype(str).to_numpy() for c in (file.label, file.prediction))
        scores = rows[file.scores[0]].to_numpy() if file.scores else None
        audit = biascon.audit(y, p, sensitive_features=group, scores=scores)
        labels = audit.record.labels
        for label in labels[1:] if len(labels) == 2 else labels:
            name = f"{file.name} by {' x '.join(columns)}, class {label}"
            yield _compare(name, audit, label, (y, p, group, scores), packages)


def _compare(
    name: str, audit: Any, label: str, rows: tuple[Any, ...], packages: Sequence[str]
) -> Comparison:
    y, p, group, scores = rows
    record = audit.record
    accuracies = (
        "top1",
        "unbiased",
        "worst_group",
        *(["brier", "auc"] if scores is not None else []),
    )
    own = {n: record[n].value for n in accuracies}
    own |= {n: record.summary.by_class[label][n].value for n in DIFFERENCES}
    binary = (y == label).astype(int), (p == label).astype(int), group
    functions: dict[str, Callable[[], Numbers]] = {
        "fairlearn": lambda: fairlearn_numbers(*binary),
        "scikit-learn": lambda: sklearn_numbers(y, p, group, scores),
        "vfairness": lambda: vfairness_numbers(*binary),
    }
    others = {package: functions[package]() for package in packages}
    comparison = Comparison(name, own, others)
    for package, numbers in others.items():
        deviations = [abs(own[n] - value) for n, value in numbers.items()]
        if package == "fairlearn":
            cells = audit.cells.xs(label, level="class")
            rates = group_rates(*binary).loc[cells.index]
            differences = (cells[rates.columns] - rates).abs().to_numpy()
            deviations += differences.ravel().tolist()
            comparison.n_rates[package] = differences.size
        comparison.largest[package] = max(deviations)
    return comparison


def compare_all(packages: Sequence[str]) -> list[Comparison]:
    """Return the comparisons of all files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the other packages
        return [c for file in FILES for c in compare_file(file, packages)]


@dataclass(frozen=True)
class DesignCase:
    """A table on which packages differ by design.

    Attributes:
        what: What is undefined.
        metric: The metric.
        y: The labels.
        p: The predictions.
        group: The groups.
    """

    what: str
    metric: str
    y: Sequence[int]
    p: Sequence[int]
    group: str


CASES = (
    DesignCase("a group has no row with the label", "equal_opportunity_difference",
               [1, 1, 0, 0, 0, 0], [1, 1, 0, 1, 0, 0], "aaabbb"),
    DesignCase("a group has no row without the label", "equalized_odds_difference",
               [1, 0, 0, 1, 1, 1], [1, 0, 1, 1, 1, 1], "aaabbb"),
    DesignCase("the class is never predicted in a group", "predictive_parity_difference",
               [1, 1, 0, 1, 0, 0], [1, 1, 0, 0, 0, 0], "aaabbb"),
    DesignCase("no group is ever selected", "demographic_parity_ratio",
               [1, 1, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0], "aaabbb"),
    DesignCase("there is one group only", "demographic_parity_difference",
               [1, 1, 0, 1, 0, 0], [1, 0, 0, 1, 0, 0], "aaaaaa"),
)  # fmt: skip


def design_rows(packages: Sequence[str]) -> list[list[str]]:
    """Return what each package gives where a rate is undefined."""
    functions = {"fairlearn": fairlearn_numbers, "vfairness": vfairness_numbers}
    names = [name for name in functions if name in packages]
    rows = []
    for case in CASES:
        y, p, group = np.array(case.y), np.array(case.p), np.array(list(case.group))
        cells = [_text(biascon.audit(y, p, sensitive_features=group).overall[case.metric])]
        for name in names:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    cells.append(_text(functions[name](y, p, group).get(case.metric, math.nan)))
            except Exception as error:
                cells.append(f"error: {type(error).__name__}")
        rows.append([case.what, case.metric.replace("_", " "), *cells])
    return [["what", "metric", "biascon", *names], *rows]


def _text(value: float | None) -> str:
    return "undefined" if value is None or math.isnan(value) else f"{value:.6f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def make_page(comparisons: Sequence[Comparison], packages: Sequence[str]) -> str:
    """Return the page."""
    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in packages)
    largest = {p: max(c.largest[p] for c in comparisons) for p in packages}
    n = {p: sum(len(c.others[p]) + c.n_rates.get(p, 0) for c in comparisons) for p in packages}
    header, *rows = design_rows(packages)
    parts = [
        "# Agreement with other packages",
        f"{HOW} Versions: {versions}.",
        "A number stands here for a value, not for an interval: others have other intervals, or none.",
        _table(
            ["package", "numbers compared", "largest deviation"],
            [[p, f"{n[p]:,}", f"{largest[p]:.1e}"] for p in packages],
        ),
        SOURCES,
        "## Different by design",
        "A rate without rows has no value. biascon prints `-`, not a number that looks like parity or "
        "like the largest disparity.",
        _table(header, rows),
        RATIOS,
        "## Every number",
    ]
    for c in comparisons:
        rows = [
            [name.replace("_", " "), f"{value:.6f}",
             *(f"{c.others[p][name]:.6f}" if name in c.others[p] else "" for p in packages)]
            for name, value in c.own.items()
        ]  # fmt: skip
        parts.append(f"### {c.name}\n\n{_table(['metric', 'biascon', *packages], rows)}")
    return (
        "\n\n".join(
            p if p.startswith(("|", "#")) else textwrap.fill(" ".join(p.split()), 120)
            for p in parts
        )
        + "\n"
    )


def main() -> None:
    """Write the page."""
    packages = installed()
    comparisons = compare_all(packages)
    PAGE.write_text(make_page(comparisons, packages), encoding="utf-8")
    for package in packages:
        print(package, f"{max(c.largest[package] for c in comparisons):.2e}")


if __name__ == "__main__":
    main()
