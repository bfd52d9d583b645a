"""Tables of disparities between groups: size, value by chance, p-value, amplification and calibration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from biascon.metrics.records import PermutationResult
from biascon.report.experiments import Experiment, report_names
from biascon.report.paired_tests import ImageTest, PairedTest, run_paired_tests
from biascon.report.tables import UNDEFINED_CELL, TableCell, mean_cell
from biascon.report.verdicts import reference_loss
from biascon.runs.finished import FinishedRun

TESTED_METRICS = report_names(
    (
        "demographic_parity_difference",
        "equalized_odds_difference",
        "equal_opportunity_difference",
        "worst_group",
    )
)
UNTESTED_METRICS = report_names(
    (
        "predictive_parity_difference",
        "bias_amplification",
        "bias_amplification_attribute_to_task",
    )
)
COLUMNS = [
    *(column for name in TESTED_METRICS.values() for column in (name, "by chance", "largest p")),
    *UNTESTED_METRICS.values(),
    *report_names(("calibration_error",)).values(),
    "largest of a group",
]
PAIRED_COLUMNS = ["loss", "seeds", "difference", "p (t)", "p (Holm)", "p (Wilcoxon)"]
IMAGE_COLUMNS = [
    "loss", "against", "seed", "only the first correct", "only the second correct", "p (McNemar)",
    "difference [95 %]",
]  # fmt: skip


def measure_disparities(experiment: Experiment) -> list[tuple[str, list[TableCell]]]:
    """Return the cells of ``COLUMNS`` for each loss, means over seeds.

    The value by chance is the mean of the metric when the bias values are permuted. The p-value is the
    largest of the seeds, so that it holds for every seed. A loss of which no run has permutation tests has
    no row.
    """
    rows = []
    for label, runs in experiment.losses.items():
        tested = [(run, tests) for run in runs if (tests := run.evaluation.summary.disparity)]
        if tested:
            without_tests = len(runs) - len(tested)  # runs of earlier versions
            rows.append((label, _disparity_cells(tested, without_tests)))
    return rows


def _disparity_cells(
    tested: Sequence[tuple[FinishedRun, Mapping[str, PermutationResult]]], without_tests: int
) -> list[TableCell]:
    """Return the cells of one loss.

    Args:
        tested: The runs that have permutation tests, with these tests.
        without_tests: The number of the other runs.
    """
    missing: list[float | None] = [None] * without_tests
    cells: list[TableCell] = []
    for metric in TESTED_METRICS:
        results = [tests[metric] for _, tests in tested]
        p_values = [result.p for result in results if result.p is not None]
        cells += [
            mean_cell([run.value(metric) for run, _ in tested] + missing),
            mean_cell([result.expected for result in results] + missing),
            format_p(max(p_values) if len(p_values) == len(results) else math.nan),
        ]
    for metric in UNTESTED_METRICS:
        cells.append(mean_cell([run.value(metric) for run, _ in tested] + missing))
    for calibration_error in (_overall_error, _largest_group_error):
        cells.append(mean_cell([calibration_error(run) for run, _ in tested] + missing))
    return cells


def count_permutations(experiment: Experiment) -> int:
    """Return the smallest number of permutations of the tests of the runs, 0 without tests."""
    replicates = [
        test.replicates
        for run in experiment.runs
        for test in (run.evaluation.summary.disparity or {}).values()
    ]
    return min(replicates, default=0)


def run_seed_tests(experiment: Experiment) -> list[PairedTest]:
    """Return the paired tests against the reference of the losses that share two or more seeds with it."""
    tests = run_paired_tests(experiment, reference_loss(experiment), images=False)
    return [test for test in tests if test.seeds > 1]


def paired_cells(experiment: Experiment) -> list[list[str]]:
    """Return the paired tests over seeds against the reference, as cells of ``PAIRED_COLUMNS``."""
    return [
        [
            test.a,
            str(test.seeds),
            format_points(test.difference, test.low, test.high),
            *(format_p(p).text for p in (test.p_t, test.p_t_holm, test.p_wilcoxon)),
        ]
        for test in run_seed_tests(experiment)
    ]


def image_test_cells(experiment: Experiment) -> list[tuple[PairedTest, list[list[TableCell]]]]:
    """Return the tests against the reference on the test images.

    Returns:
        For each loss its test, and for each seed the cells of ``IMAGE_COLUMNS`` from "seed" on.
    """
    return [
        (
            test,
            [
                [
                    TableCell(str(image_test.seed), str(image_test.seed)),
                    TableCell(f"{image_test.only_a:,}", str(image_test.only_a)),
                    TableCell(f"{image_test.only_b:,}", str(image_test.only_b)),
                    format_p(image_test.mcnemar),
                    _difference_cell(image_test),
                ]
                for image_test in test.images
            ],
        )
        for test in run_paired_tests(experiment, reference_loss(experiment))
        if test.images
    ]


def _difference_cell(test: ImageTest) -> TableCell:
    if math.isnan(test.difference):
        return UNDEFINED_CELL
    text = format_points(test.difference, test.low, test.high)
    return TableCell(text, f"{test.difference:.6f}")


def format_points(difference: float, low: float, high: float) -> str:
    """Return a difference of two accuracies in points, with its interval."""
    return f"{100 * difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def format_p(p: float) -> TableCell:
    """Return a p-value as a cell, ``-`` where it is undefined."""
    if math.isnan(p):
        return UNDEFINED_CELL
    return TableCell("< 0.001" if p < 0.001 else f"{p:.3f}", f"{p:.6g}")


def _overall_error(run: FinishedRun) -> float | None:
    """Return the calibration error of all images, None where it is not measured."""
    calibration = run.evaluation.calibration
    return None if calibration is None else calibration.error.value


def _largest_group_error(run: FinishedRun) -> float | None:
    """Return the calibration error of the group in which it is largest, None where it is not measured."""
    calibration = run.evaluation.calibration
    groups = [] if calibration is None else calibration.by_group
    return max((group.error for group in groups if group.error is not None), default=None)
