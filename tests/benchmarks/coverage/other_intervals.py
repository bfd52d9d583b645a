"""Coverage of the intervals of audits that are in no design of the study, in simulated rows.

``python -m tests.benchmarks.coverage.other_intervals`` writes them to docs/coverage.json and the page anew.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from biascon.auditing.group_rates import WeightTables, measure_rates
from biascon.auditing.reference import average_odds_difference, compare_to_reference
from biascon.auditing.rows.positive_scores import PositiveSums
from biascon.auditing.weighted import measure_weighted
from biascon.metrics.auc import roc_area
from biascon.metrics.records import Metric
from biascon.metrics.two_rates import paired_difference_limits
from biascon.utils.types import Array
from tests.benchmarks.coverage.page import write_page

DOCS = Path(__file__).parents[3] / "docs"
TEN = (3000, 1000, 300, 100, 60, 40, 40, 40, 40, 40)  # rows of ten groups
DRAWS = 1000
Draw = tuple[str, str, float, float | None, float | None]  # interval, design, truth, low, high


def main() -> None:
    """Count how often each interval holds the truth in each design; an undefined one does not count."""
    held: dict[str, dict[str, list[bool]]] = {}
    for source in (_draw_groups, _draw_weights, _draw_scores, _draw_pairs):
        for name, design, truth, low, high in source(np.random.default_rng(0)):
            if low is None or math.isnan(low):
                continue
            is_below = high is None or truth <= high + 1e-9
            found = held.setdefault(name, {}).setdefault(design, [])
            found.append(low - 1e-9 <= truth and is_below)
    data = json.loads((DOCS / "coverage.json").read_text())
    data["others"] = [
        {
            "interval": name,
            "design": design,
            "draws": len(found),
            "coverage": sum(found) / len(found),
        }
        for name, designs in held.items()
        for design, found in designs.items()
    ]
    (DOCS / "coverage.json").write_text(json.dumps(data, indent=1) + "\n")
    write_page(data, DOCS)


def _draw(name: str, design: str, truth: float, metric: Metric) -> Draw:
    return name, design, truth, metric.low, metric.high


def _draw_table(rng: np.random.Generator, n: Array, right: float) -> Array:
    """Return counts (2, M, 2): labels with equal chances, rows that are right at one rate."""
    of_label = rng.binomial(n, 0.5)
    rows = np.stack([n - of_label, of_label])
    hits = rng.binomial(rows, right)
    wrong = rows - hits
    return np.stack([np.stack([hits[0], wrong[0]], -1), np.stack([wrong[1], hits[1]], -1)])


def _draw_groups(rng: np.random.Generator) -> Iterator[Draw]:
    for n, right in (((5000, 40), 0.98), (TEN, 0.98), ((100, 100), 0.8), ((20,) * 10, 0.9)):
        rows = f"{n[0]} rows" if n[0] == n[-1] else f"{n[0]} to {n[-1]} rows"
        design = f"{'ten' if len(n) == 10 else 'two'} groups, {rows}, {100 * right:.0f} % right"
        for _ in range(DRAWS):
            rates = measure_rates(_draw_table(rng, np.array(n), right))
            metric = average_odds_difference(rates, 1, np.ones(len(n), dtype=bool))
            yield _draw("average odds difference", design, 0.0, metric)
            other = compare_to_reference(rates, 0, 1)[-1]
            rate = "true_positive_rate"
            yield _draw("difference to a reference", design, 0.0, other.differences[rate])
            yield _draw("ratio to a reference", design, 1.0, other.ratios[rate])
            signed = other.average_odds_difference
            yield _draw("average odds difference to a reference", design, 0.0, signed)


def _draw_weights(rng: np.random.Generator) -> Iterator[Draw]:
    """Ten groups with weights of 0.5, 1 and 2; one rate with a few heavy rows that are mostly wrong."""
    for _ in range(DRAWS // 2):
        tables = [_draw_table(rng, np.array(TEN) // 3, 0.98) for _ in range(3)]
        summary = _summarize(tables, (0.5, 1.0, 2.0), len(TEN))
        for name, truth in (("equalized_odds_difference", 0.0), ("equal_opportunity_difference", 0.0),
                            ("demographic_parity_ratio", 1.0)):  # fmt: skip
            yield _draw(
                "weighted " + name.replace("_", " "),
                "ten groups, 3000 to 39 rows, 98 % right, weights 0.5 to 2",
                truth,
                summary[name],
            )
    weights, right = np.array([1.0, 30.0]), np.array([0.95, 0.3])
    for n in (50, 200, 1000):
        design = f"{n} rows, 3 % of them 30 times as heavy and mostly wrong"
        share = np.array([0.97, 0.03])
        truth = float((share * weights * right).sum() / (share * weights).sum())
        for rows in rng.multinomial(n, share, DRAWS):
            hits = rng.binomial(rows, right)
            tables = [np.array([[[0, 0]], [[m - k, k]]]) for m, k in zip(rows, hits, strict=True)]
            metric = _summarize(tables, tuple(weights), 1)["top1"]
            yield _draw("weighted accuracy", design, truth, metric)


def _summarize(tables: list[Array], weights: tuple[float, ...], groups: int) -> dict[str, Metric]:
    sums, squares = (
        np.sum([w**power * t for t, w in zip(tables, weights, strict=True)], axis=0)
        for power in (1, 2)
    )
    columns = WeightTables.from_arrays("w", sums, squares)
    compared = np.ones(groups, dtype=bool)
    counts = np.sum(tables, axis=0)
    return dict(
        measure_weighted(counts, columns, ["0", "1"], None, positive=1, compared=compared).metrics
    )


def _draw_scores(rng: np.random.Generator) -> Iterator[Draw]:
    """Normal scores; then calibrated scores between 0 and 1."""
    for positives, negatives, shift, width in ((30, 2000, 2.5, 1.0), (40, 4000, 2.5, 1.0),
                                               (60, 4000, 2.5, 1.0), (10, 200, 1.0, 3.0),
                                               (100, 100, 1.0, 1.0)):  # fmt: skip
        truth = 0.5 * (1 + math.erf(shift / math.sqrt(2 * (1 + width**2))))
        design = f"{positives} positive and {negatives} negative rows, AUC {truth:.2f}"
        is_positive = np.repeat([True, False], [positives, negatives])
        for _ in range(DRAWS):
            scores = np.r_[rng.normal(shift, width, positives), rng.normal(0, 1, negatives)]
            in_order = is_positive[scores.argsort()]
            area = roc_area(in_order, ~in_order)
            yield "AUC", design, truth, area.low, area.high
    for n, a, b in ((20, 1.0, 9.0), (100, 0.1, 10.0), (200, 0.05, 5.0), (1000, 1.0, 1.0)):
        for _ in range(DRAWS):
            scores = rng.beta(a, b, n)
            sums = PositiveSums(1)
            sums.add(np.zeros(n, dtype=int), scores, rng.random(n) < scores, None)
            design = f"{n} rows, mean score {a / (a + b):.2f}"
            metric = sums.measure()[0]["calibration_in_the_large"]
            yield _draw("mean score minus rate", design, 0.0, metric)


def _draw_pairs(rng: np.random.Generator) -> Iterator[Draw]:
    for n, p in (
        (20, (0.8, 0.1, 0.05, 0.05)),
        (200, (0.95, 0.02, 0.01, 0.02)),
        (1000, (0.7, 0.1, 0.1, 0.1)),
    ):
        for table in rng.multinomial(n, p, DRAWS):
            low, high = paired_difference_limits(*table)
            design = f"{n} rows, {100 * (p[1] + p[2]):.0f} % discordant"
            yield "difference to a baseline", design, p[1] - p[2], float(low), float(high)


if __name__ == "__main__":
    main()
