"""Coverage of every interval in many designs: docs/coverage.md, its data and its figure.

    python tests/benchmarks/coverage_study.py [--tables 400] [--replicates 200] [--page]

Each design is drawn ``--tables`` times. The share of tables whose interval holds the true value is compared
with 95 %, for the intervals of this version, of the first version, and for the percentile bootstrap. Results
are kept in docs/coverage.json, and a design that is in it with the same settings is not drawn again.
``--page`` writes the page from the file alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from biascon.metrics import accuracy, fairness
from biascon.metrics.intervals import percentile_limits, resample, wilson
from biascon.metrics.multiclass import multiclass_equalized_odds, multiclass_limits
from biascon.metrics.paired_difference import mean_paired_difference
from biascon.metrics.rate_intervals import mean_of_rates
from biascon.metrics.simultaneous_intervals import comparison_limits, worst_group_limits
from biascon.metrics.summary_intervals import limit_rates
from biascon.utils.seeds import numpy_generator
from biascon.utils.types import Array
from tests.benchmarks.coverage import first_version
from tests.benchmarks.coverage.designs import DESIGNS, PAIRED, Design, PairedDesign
from tests.benchmarks.coverage.page import write_page

DOCS = Path(__file__).resolve().parents[2] / "docs"
DATA = DOCS / "coverage.json"
SEED = 20
MANY = 10_000  # tables for intervals that need no resampling
Limits = Mapping[str, tuple[Any, Any]]


def compare_groups(tables: Array) -> dict[str, Array]:
    """Return every comparison of groups for each class."""
    return {**fairness.from_counts(tables), **fairness.parity_from_counts(tables)}


def compute_all(tables: Array, aligned: Array) -> dict[str, Array]:
    """Return every metric of tables ``(..., K, M, K)``: of the second of two classes, or the mean of more."""
    values = {
        "top1": accuracy.top1(tables),
        "unbiased": accuracy.unbiased(tables),
        "bias_aligned": accuracy.bias_aligned(tables, aligned),
        "bias_conflicting": accuracy.bias_conflicting(tables, aligned),
        "worst_group": accuracy.worst_group(tables),
        "multiclass_equalized_odds": multiclass_equalized_odds(tables),
    }
    for name, value in compare_groups(tables).items():
        values[name] = value.mean(axis=-1) if tables.shape[-1] > 2 else value[..., 1]
    return values


def pick_headline(limits: Limits, labels: int) -> dict[str, tuple[Any, Any]]:
    """Return the limits of the comparisons that ``compute_all`` computes."""
    names = [name for name in limits if not name.startswith("class/")]
    if labels > 2:
        return {name: limits[name] for name in names}
    return {name: (limits[f"class/{name}"][0][1], limits[f"class/{name}"][1][1]) for name in names}


def compute_intervals(
    table: Array, aligned: Array, rng: np.random.Generator, replicates: int
) -> dict[str, Limits]:
    """Return the intervals of every metric by method."""
    labels, points = len(table), compare_groups(table)
    if labels == 2:  # only the second class is studied: without the first one, the mean is left out
        points = {name: np.array([np.nan, value[1]]) for name, value in points.items()}
    new = {
        **limit_rates(table, aligned),
        "worst_group": worst_group_limits(table),
        "multiclass_equalized_odds": multiclass_limits(table),
        **pick_headline(comparison_limits(table, points, rng, replicates=replicates), labels),
    }
    draws = np.concatenate(list(resample(table, rng, replicates)))
    values = compute_all(draws, aligned)
    low, high = percentile_limits(np.stack(list(values.values()), axis=-1), 0.95)
    percentile = {name: (low[i], high[i]) for i, name in enumerate(values)}
    del percentile["multiclass_equalized_odds"]
    first = {
        **first_version.mean_limits(table, aligned, percentile),
        **pick_headline(
            first_version.comparison_limits(table, points, rng, replicates=replicates), labels
        ),
    }
    return {"new": new, "first": first, "percentile": percentile}


class Tally:
    """Counts of tables, of intervals that hold the truth, and sums of widths, by metric and method."""

    def __init__(self) -> None:
        self.sums: dict[str, dict[str, list[float]]] = {}

    def add(self, metric: str, method: str, truth: float, low: float, high: float) -> None:
        """Count one interval; an undefined one does not count."""
        if np.isnan(low) or np.isnan(high) or np.isnan(truth):
            return
        sums = self.sums.setdefault(metric, {}).setdefault(method, [0, 0, 0.0])
        sums[0] += 1
        sums[1] += low - 1e-12 <= truth <= high + 1e-12
        sums[2] += high - low

    def summarize(self) -> dict[str, Any]:
        """Return the tables, the coverage and the mean width by metric and method."""
        return {
            metric: {
                method: {"tables": n, "coverage": held / n, "width": width / n}
                for method, (n, held, width) in methods.items()
            }
            for metric, methods in self.sums.items()
        }


def study(design: Design, tables: int, replicates: int) -> dict[str, Any]:
    """Return the coverage and the mean width of every metric and method."""
    rng = numpy_generator(SEED, f"coverage/{design.name}")
    aligned = np.eye(*design.shape, dtype=bool)
    truth = compute_all(design.probabilities, aligned)
    tally = Tally()
    for table in design.draw(rng, min(tables, design.most_tables)):
        for method, limits in compute_intervals(table, aligned, rng, replicates).items():
            for metric, value in truth.items():
                if metric in limits:
                    low, high = limits[metric]
                    tally.add(metric, method, float(value), float(low), float(high))
    found = tally.summarize()
    for metric, methods in study_means(design).items():
        found[metric] |= methods
    return found


def study_means(design: Design) -> dict[str, Any]:
    """Return the coverage of the intervals of rates and means of this version, over many tables."""
    rng = numpy_generator(SEED, f"coverage/means/{design.name}")
    aligned = np.eye(*design.shape, dtype=bool)
    truth = compute_all(design.probabilities, aligned)
    tables = design.draw(rng, MANY if design.shape[0] < 10 else MANY // 5)
    hits = accuracy.correct(tables).reshape(len(tables), -1)
    rows = tables.sum(axis=-1).reshape(len(tables), -1)
    cells = {
        "unbiased": np.ones(aligned.size, dtype=bool),
        "bias_aligned": aligned.reshape(-1),
        "bias_conflicting": ~aligned.reshape(-1),
    }
    limits = {
        name: mean_of_rates(hits[:, chosen], rows[:, chosen]) for name, chosen in cells.items()
    }
    limits["top1"] = wilson(hits.sum(axis=-1), rows.sum(axis=-1))
    tally = Tally()
    for metric, (lower, upper) in limits.items():
        for low, high in zip(lower, upper, strict=True):
            tally.add(metric, "new", float(truth[metric]), float(low), float(high))
    return tally.summarize()


def study_pairs(design: PairedDesign, tables: int, replicates: int) -> dict[str, Any]:
    """Return the coverage and the mean width of the difference of two unbiased accuracies."""
    rng = numpy_generator(SEED, f"coverage/{design.name}")
    rows = np.asarray(design.rows)
    a, b = (np.broadcast_to(p, rows.shape) for p in (design.only_a, design.only_b))
    truth = float((a - b).mean())
    tally = Tally()
    p = np.stack([a, b, 1 - a - b], axis=-1)
    for x, y, _ in np.moveaxis(rng.multinomial(rows, p, (tables, len(rows))), -1, 1):
        found = mean_paired_difference(x, y, rows)
        tally.add("paired", "new", truth, float(found.low), float(found.high))
        # The bootstrap of the first version resamples all rows together.
        entries = np.stack([x, y, rows - x - y])
        draws = rng.multinomial(rows.sum(), entries.reshape(-1) / rows.sum(), replicates)
        draws = draws.reshape(-1, *entries.shape)
        with np.errstate(invalid="ignore"):
            cells = (draws[:, 0] - draws[:, 1]) / draws.sum(axis=1)
        low, high = percentile_limits(np.nanmean(cells, axis=-1), 0.95)
        tally.add("paired", "first", truth, float(low), float(high))
    return tally.summarize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tables", type=int, default=400)
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument(
        "--page", action="store_true", help="write the page from docs/coverage.json"
    )
    options = parser.parse_args()
    settings = {"tables": options.tables, "replicates": options.replicates, "seed": SEED}
    data = json.loads(DATA.read_text()) if DATA.exists() else {}
    if not options.page:
        if data.get("settings") != settings:
            data = {"settings": settings, "designs": {}, "others": data.get("others", [])}
        jobs: list[tuple[Any, Callable[..., dict[str, Any]]]] = [
            *((design, study_pairs) for design in PAIRED),
            *((design, study) for design in sorted(DESIGNS, key=lambda d: d.shape)),
        ]
        for design, run in jobs:
            if design.name in data["designs"]:
                continue
            started = time.process_time()
            data["designs"][design.name] = run(design, options.tables, options.replicates)
            print(f"{design.name}: {time.process_time() - started:.0f} s of processor", flush=True)
            DATA.write_text(json.dumps(data, indent=1) + "\n")
    write_page(data, DOCS)


if __name__ == "__main__":
    main()
