"""What a report says of disparities between groups: their size, what chance gives, p, and amplification."""

from __future__ import annotations

import math
from dataclasses import dataclass

from biascon.report.experiments import Experiment, FinishedRun
from biascon.report.paired_tests import ImageTest, PairedTest, run_paired_tests
from biascon.report.verdicts import reference_loss

TESTED = {
    "demographic_parity_difference": "DP difference",
    "equalized_odds_difference": "EO difference",
    "equal_opportunity_difference": "EOpp difference",
    "worst_group": "worst group",
}
PLAIN = {
    "predictive_parity_difference": "PP difference",
    "bias_amplification": "amplification, training",
    "bias_amplification_attribute_to_task": "amplification, bias to label",
}
COLUMNS = [
    *(part for name in TESTED.values() for part in (name, "by chance", "largest p")),
    *PLAIN.values(),
    "calibration error",
    "of the worst group",
]
IMAGE_COLUMNS = [
    "loss", "against", "seed", "only the first right", "only the second right", "p (McNemar)",
    "difference [95 %]",
]  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """A number of a table as text, and as what a table is sorted by."""

    text: str
    value: str


def measure_disparities(one: Experiment) -> list[tuple[str, list[Cell]]]:
    """Return the cells of ``COLUMNS`` for each loss, means over seeds; nothing where no run has them.

    By chance: the mean of the metric when the bias attribute is dealt out anew. The p is the largest over the
    seeds: what holds for it holds for every seed.
    """
    rows = []
    for label, runs in one.losses.items():
        known = [run for run in runs if run.evaluation.get("disparity")]
        if not known:
            continue
        without: list[float | None] = [None] * (len(runs) - len(known))  # runs of before
        cells: list[Cell] = []
        for metric in TESTED:
            nulls = [run.evaluation["disparity"][metric] for run in known]
            ps = [null["p"] for null in nulls if null["p"] is not None]
            cells += [
                _percent([run.value(metric) for run in known] + without),
                _percent([null["expected"] for null in nulls] + without),
                format_p(max(ps) if len(ps) == len(nulls) else math.nan),
            ]
        cells += [_percent([_value(run, metric) for run in known] + without) for metric in PLAIN]
        cells += [_percent([one(run) for run in known] + without) for one in (_error, _worst_error)]
        rows.append((label, cells))
    return rows


def count_permutations(one: Experiment) -> int:
    """Return how many permutations the tests of the runs had at least, 0 without tests."""
    told = [
        null["replicates"]
        for runs in one.losses.values()
        for run in runs
        for null in (run.evaluation.get("disparity") or {}).values()
    ]
    return min(told, default=0)


PAIRED_COLUMNS = ["loss", "seeds", "difference", "p (t)", "p (Holm)", "p (Wilcoxon)"]


def paired_cells(one: Experiment) -> list[list[str]]:
    """Return the paired tests over seeds against the reference, cells of ``PAIRED_COLUMNS``.

    Only of losses that share two seeds or more with it.
    """
    return [
        [
            t.a,
            str(t.seeds),
            f"{100 * t.difference:+.1f} [{100 * t.low:+.1f}, {100 * t.high:+.1f}]",
            *(format_p(p).text for p in (t.p_t, t.p_t_holm, t.p_wilcoxon)),
        ]
        for t in run_paired_tests(one, reference_loss(one), images=False)
        if t.seeds > 1
    ]


def image_test_cells(one: Experiment) -> list[tuple[PairedTest, list[list[Cell]]]]:
    """Return per loss against the reference, and per seed that both have, the cells from "seed" on."""
    return [
        (
            test,
            [
                [
                    Cell(str(image.seed), str(image.seed)),
                    Cell(f"{image.only_a:,}", str(image.only_a)),
                    Cell(f"{image.only_b:,}", str(image.only_b)),
                    format_p(image.mcnemar),
                    _difference(image),
                ]
                for image in test.images
            ],
        )
        for test in run_paired_tests(one, reference_loss(one))
        if test.images
    ]


def _difference(image: ImageTest) -> Cell:
    if math.isnan(image.difference):
        return Cell("-", "")
    limits = f"[{100 * image.low:+.1f}, {100 * image.high:+.1f}]"
    return Cell(f"{100 * image.difference:+.1f} {limits}", f"{image.difference:.6f}")


def format_p(p: float) -> Cell:
    """Return a p-value as a cell, ``-`` where it is undefined."""
    if math.isnan(p):
        return Cell("-", "")
    return Cell("< 0.001" if p < 0.001 else f"{p:.3f}", f"{p:.6g}")


def _value(run: FinishedRun, metric: str) -> float | None:
    found = run.evaluation.get(metric)
    return None if found is None else found["value"]


def _error(run: FinishedRun) -> float | None:
    found = run.evaluation.get("calibration")
    return None if found is None else found["error"]["value"]


def _worst_error(run: FinishedRun) -> float | None:
    """Return the calibration error of the group where it is largest."""
    found = run.evaluation.get("calibration") or {"by_group": []}
    known = [group["error"] for group in found["by_group"] if group["error"] is not None]
    return max(known, default=None)


def _percent(values: list[float | None]) -> Cell:
    """Return a mean over the seeds that have a value, in percent, and how many if not all."""
    known = [value for value in values if value is not None]
    if not known:
        return Cell("-", "")
    mean = sum(known) / len(known)
    text = f"{100 * mean:.1f}"
    return Cell(text if len(known) == len(values) else f"{text} (n={len(known)})", f"{mean:.6f}")
