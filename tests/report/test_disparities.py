"""Disparities in the report: values, values by chance, p-values, and tests on the images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.stats

from biascon.metrics.records import Metric, PermutationResult
from biascon.report.disparities import (
    COLUMNS,
    TESTED_METRICS,
    count_permutations,
    image_test_cells,
    measure_disparities,
    paired_cells,
)
from biascon.report.latex import render_latex
from biascon.report.markdown import render_markdown
from biascon.report.plots.groups import draw_groups, group_accuracies
from biascon.runs.evaluation import CalibrationRecord, GroupCalibration
from biascon.runs.finished import FinishedRun
from biascon.runs.folder import PREDICTIONS
from tests.report.fakes import in_folder, made_up, one_experiment, without_machines


@pytest.fixture(autouse=True)
def _machines(monkeypatch: pytest.MonkeyPatch) -> None:
    without_machines(monkeypatch)


def with_tests(loss: str, seed: int, value: float, p: float | None, **changes: Any) -> FinishedRun:
    """A run with permutation tests."""
    result = PermutationResult(0.02 + 0.01 * seed, p, "labels", 2000)
    return made_up(
        loss,
        seed,
        value,
        disparity=dict.fromkeys(TESTED_METRICS, result),
        metrics={"bias_amplification": Metric(-0.5, 1000)},
        **changes,
    )


def test_values_are_means_over_seeds_and_p_is_the_largest() -> None:
    experiment = one_experiment(
        with_tests("supcon", 0, 0.1, 0.0005), with_tests("supcon", 1, 0.2, 0.04)
    )
    ((label, cells),) = measure_disparities(experiment)
    texts = dict(zip(COLUMNS[:3], (cell.text for cell in cells), strict=False))
    assert label == "supcon"
    assert texts == {"DP difference": "15.0", "by chance": "2.5", "largest p": "0.040"}
    # These runs have no predictive parity, no second amplification and no calibration.
    assert [cell.text for cell in cells[12:]] == ["-", "-50.0", "-", "-", "-"]
    assert len(cells) == len(COLUMNS)
    assert count_permutations(experiment) == 2000


def test_small_p_is_shortened_and_undefined_p_is_a_dash() -> None:
    ((_, cells),) = measure_disparities(one_experiment(with_tests("supcon", 0, 0.1, 0.0005)))
    assert cells[2].text == "< 0.001" and cells[2].value == "0.0005"
    ((_, cells),) = measure_disparities(
        one_experiment(with_tests("supcon", 0, 0.1, 0.2), with_tests("supcon", 1, 0.1, None))
    )
    assert cells[2].text == "-"


def test_runs_without_permutation_tests_have_no_table() -> None:
    experiment = one_experiment(made_up("supcon", 0, 0.5), made_up("supcon", 1, 0.6))
    assert measure_disparities(experiment) == [] and count_permutations(experiment) == 0
    for text in (render_markdown([experiment]), render_latex([experiment])):
        assert "By chance" not in text and "by chance" not in text


def test_number_of_runs_with_tests_is_stated_if_others_have_none() -> None:
    ((_, cells),) = measure_disparities(
        one_experiment(with_tests("supcon", 0, 0.1, 0.2), made_up("supcon", 1, 0.5))
    )
    assert [cell.text for cell in cells[:2]] == ["10.0 (n=1)", "2.0 (n=1)"]


def test_tables_are_in_markdown_and_latex() -> None:
    experiment = one_experiment(
        *(with_tests("supcon", s, 0.5 + 0.01 * s, 0.0005) for s in range(2)),
        *(with_tests("contex", s, 0.6 + 0.02 * s, 0.0005) for s in range(2)),
    )
    page, tex = render_markdown([experiment]), render_latex([experiment])
    assert "| contex | 2 | +10.5 [" in page and "| supcon | 50.5 | 2.5 | < 0.001 |" in page
    assert r"\textless{} 0.001" in tex and " & DP difference & by chance & largest p & EO" in tex
    assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") >= 6


def test_calibration_error_is_that_of_all_images_and_the_largest_of_a_group() -> None:
    groups = [
        GroupCalibration(90, 0.04, 0.1),
        GroupCalibration(0, None, None),
        GroupCalibration(10, 0.3, 0.9),
    ]
    calibration = CalibrationRecord(Metric(0.05, 100), Metric(0.2, 100), groups)
    run = with_tests("supcon", 0, 0.1, 0.2, calibration=calibration)
    ((_, cells),) = measure_disparities(one_experiment(run))
    assert [cell.text for cell in cells[-2:]] == ["5.0", "30.0"]


def test_one_seed_is_not_tested_over_seeds() -> None:
    experiment = one_experiment(made_up("supcon", 0, 0.5), made_up("contex", 0, 0.6))
    assert paired_cells(experiment) == []


@pytest.fixture
def pair(tmp_path: Path) -> tuple[FinishedRun, FinishedRun]:
    """Two runs that misclassify 3 and 9 of 200 images; one image is misclassified by both."""
    rng = np.random.default_rng(0)
    label, bias = rng.integers(0, 2, 200), rng.integers(0, 2, 200)
    runs = []
    for loss, wrong in (("supcon", range(3)), ("contex", range(2, 11))):
        prediction = label.copy()
        prediction[list(wrong)] ^= 1
        folder = tmp_path / loss
        folder.mkdir()
        columns = {"index": np.arange(200), "label": label, "bias": bias, "prediction": prediction}
        pq.write_table(pa.table(columns), folder / PREDICTIONS)
        counts = np.zeros((2, 2, 2), np.int64)
        np.add.at(counts, (label, bias, prediction), 1)
        runs.append(in_folder(made_up(loss, 0, 0.5, counts=counts.tolist()), folder))
    return runs[0], runs[1]


def test_images_of_a_seed_are_tested_with_mcnemar(pair: tuple[FinishedRun, FinishedRun]) -> None:
    ((test, rows),) = image_test_cells(one_experiment(*pair))
    seed, only_a, only_b, p, difference = (cell.text for cell in rows[0])
    assert (test.a, test.b, seed, only_a, only_b) == ("contex", "supcon", "0", "2", "8")
    exact = scipy.stats.binomtest(2, 10).pvalue
    mid = exact - scipy.stats.binom.pmf(2, 10, 0.5)
    assert p == f"{mid:.3f}"
    assert difference.startswith("-3.") and "[" in difference


def test_bars_show_the_accuracy_of_each_group(pair: tuple[FinishedRun, FinishedRun]) -> None:
    experiment = one_experiment(*pair)
    value, (low, high) = group_accuracies(experiment, "contex")
    table = np.array(pair[1].evaluation.summary.counts)
    for m in range(2):
        correct, rows = table[0, m, 0] + table[1, m, 1], table[:, m].sum()
        assert value[m] == correct / rows
        wilson = scipy.stats.binomtest(int(correct), int(rows)).proportion_ci(method="wilson")
        assert (low[m], high[m]) == pytest.approx((wilson.low, wilson.high))
    ax = draw_groups(experiment, ["supcon", "contex"])
    heights = [bar.get_height() for bar in ax.patches]
    expected = [*(100 * group_accuracies(experiment, "supcon")[0]), *(100 * value)]
    assert heights == pytest.approx(expected)
    assert [text.get_text() for text in ax.get_xticklabels()] == [
        f"{name}\n{table[:, m].sum():,}" for m, name in enumerate(("red", "green"))
    ]


def test_bars_of_several_seeds_have_t_intervals(pair: tuple[FinishedRun, FinishedRun]) -> None:
    first, other = pair
    second = in_folder(other, first.folder, loss="supcon", label="supcon", seed=1)
    value, (low, high) = group_accuracies(one_experiment(first, second), "supcon")
    each = [group_accuracies(one_experiment(run), "supcon")[0] for run in (first, second)]
    assert value == pytest.approx(np.mean(each, axis=0))
    assert (low <= value).all() and (value <= high).all() and (high <= 1).all()
