"""Accuracy by gender, race and age of the confirmation runs of a study of UTKFace.

    python docs/results/utkface/groups.py studies/race runs data race-groups.csv

It prints a Markdown table of each method: accuracies, equalized odds difference, and the worst cell of label
and bias attribute by name, each as the mean over the confirmation runs with its 95 % t interval. In the file,
each row is a group of one gender, race and age: its test images in all runs of a method, how many are
classified correctly, and the mean accuracy over the runs with its 95 % t interval. The runs have random
splits of the same images, so that the variance of a mean is s^2 (1 / n + n_test / n_train) (Nadeau and
Bengio 2003).
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from scipy import stats

from biascon.data.dataset import load
from biascon.studies.resplits import confirmation_of_study, split_ratio
from biascon.studies.table import StudyTable, read_table

FIELDS = ("method", "gender", "race", "age", "runs", "images", "correct", "accuracy", "low", "high")


def count_groups(folder: Path, data: Path) -> dict[tuple[str, str, str], tuple[int, int]]:
    """Return (images, correct) of a run by (gender, race, age)."""
    dataset = load(data, only=("test",))
    split = dataset.splits["test"]
    predictions = pq.read_table(folder / "predictions.parquet")
    if not np.array_equal(predictions["index"].to_numpy(), split.index):
        raise SystemExit(f"{folder} has predictions of other images than {data}")
    is_correct = predictions["prediction"].to_numpy() == split.labels
    attributes = dataset.manifest.attributes or {}
    groups = {}
    for y, gender in enumerate(dataset.manifest.labels):
        for r, race in enumerate(attributes["race"].values):
            for a, age in enumerate(attributes["age_group"].values):
                rows = (split.labels == y) & (split.attributes["race"] == r)
                rows &= split.attributes["age_group"] == a
                groups[gender, race, age] = (int(rows.sum()), int(is_correct[rows].sum()))
    return groups


def interval(values: list[float], ratio: float) -> tuple[float, float]:
    """Return the 95 % t interval of a mean, NaN with fewer than two values; ratio is n_test / n_train."""
    if len(values) < 2:
        return float("nan"), float("nan")
    half = (
        stats.t.ppf(0.975, len(values) - 1)
        * np.std(values, ddof=1)
        * np.sqrt(1 / len(values) + ratio)
    )
    return float(np.mean(values) - half), float(np.mean(values) + half)


def print_metrics(table: StudyTable, labels: list[str], values: list[str], ratio: float) -> None:
    """Print the metrics of the confirmation of each method as a Markdown table, in percent."""
    metrics = ("unbiased", "bias_conflicting", "gap", "equalized_odds_difference")
    print(f"| method | runs | {' | '.join(metrics)} | worst cell |")
    print("|---" * (len(metrics) + 3) + "|")
    for method in table.methods:
        runs = [run for run in confirmation_of_study(table) if run.method == method]
        columns = [format_mean([run.test[name] for run in runs], ratio) for name in metrics]
        cells = np.array([np.divide(run.test_cells.correct, run.test_cells.total) for run in runs])
        y, b = np.unravel_index(cells.mean(axis=0).argmin(), cells.shape[1:])
        worst = f"{labels[y]}, {values[b]}: {format_mean(list(cells[:, y, b]), ratio)}"
        print(f"| `{method}` | {len(runs)} | {' | '.join(columns)} | {worst} |")


def format_mean(values: list[float], ratio: float) -> str:
    """Return a mean with its 95 % t interval, in percent."""
    low, high = interval(values, ratio)
    return f"{100 * np.mean(values):.1f} ({100 * low:.1f} to {100 * high:.1f})"


def main() -> None:
    """Write the groups of every method."""
    study, runs, data, out = map(Path, sys.argv[1:])
    table = read_table(study / "study.parquet")
    ratio = split_ratio(table.description) or 0.0
    rows = []
    for method in table.methods:
        loss = table.description["methods"][method]["loss"]
        counts: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
        for run in (r for r in confirmation_of_study(table) if r.method == method):
            folder = runs / run.dataset / loss / f"seed{run.seed}-{run.run[:8]}"
            for group, values in count_groups(folder, data / run.dataset).items():
                counts.setdefault(group, []).append(values)
        for group, values in counts.items():
            images, correct = (sum(part) for part in zip(*values, strict=True))
            accuracies = [c / n for n, c in values if n]
            mean = float(np.mean(accuracies)) if accuracies else float("nan")
            numbers = [f"{value:.4f}" for value in (mean, *interval(accuracies, ratio))]
            rows.append((method, *group, len(accuracies), images, correct, *numbers))
    some = confirmation_of_study(table)[0]
    manifest = load(data / some.dataset, only=()).manifest
    print_metrics(table, list(manifest.labels), list(manifest.bias.values), ratio)
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FIELDS)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
