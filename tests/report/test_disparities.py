"""What the report says of disparities: values, what chance gives, and the tests on the images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.stats

from biascon.report import tables
from biascon.report.disparities import (
    COLUMNS,
    TESTED,
    count_permutations,
    image_test_cells,
    measure_disparities,
    paired_cells,
)
from biascon.report.experiments import FinishedRun
from biascon.report.latex import render_latex
from biascon.report.markdown import render_markdown
from biascon.report.plots.groups import draw_groups, group_rates
from biascon.runs.folder import PREDICTIONS
from tests.report.test_report import made_up, one_group


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up runs have no folder to say on what machine they ran."""
    monkeypatch.setattr(tables, "describe_machines", lambda group: "cpu, torch 2")


def null(p: float | None, expected: float = 0.02) -> dict[str, Any]:
    return {"p": p, "expected": expected, "within": "labels", "replicates": 2000}


def run(loss: str, seed: int, value: float, p: float | None, **changes: Any) -> FinishedRun:
    found = made_up(
        loss,
        seed,
        value,
        disparity={name: null(p, 0.02 + 0.01 * seed) for name in TESTED},
        bias_amplification={"value": -0.5, "n": 1000, "ci": [None, None]},
        **changes,
    )
    return found


def test_means_over_seeds_and_the_largest_p() -> None:
    one = one_group(run("supcon", 0, 0.1, 0.0005), run("supcon", 1, 0.2, 0.04))
    ((label, row),) = measure_disparities(one)
    texts = dict(zip(COLUMNS[:3], (cell.text for cell in row), strict=False))
    assert label == "supcon"
    assert texts == {"DP difference": "15.0", "by chance": "2.5", "largest p": "0.040"}
    # PP, the other amplification and calibration are not there
    assert [cell.text for cell in row[12:]] == ["-", "-50.0", "-", "-", "-"]
    assert count_permutations(one) == 2000


def test_a_small_p_and_an_undefined_one() -> None:
    ((_, row),) = measure_disparities(one_group(run("supcon", 0, 0.1, 0.0005)))
    assert row[2].text == "< 0.001" and row[2].value == "0.0005"
    ((_, row),) = measure_disparities(
        one_group(run("supcon", 0, 0.1, 0.2), run("supcon", 1, 0.1, None))
    )
    assert row[2].text == "-"


def test_runs_of_before_have_no_such_table() -> None:
    one = one_group(made_up("supcon", 0, 0.5), made_up("supcon", 1, 0.6))
    assert measure_disparities(one) == [] and count_permutations(one) == 0
    for text in (render_markdown([one]), render_latex([one])):
        assert "By chance" not in text and "by chance" not in text


def test_of_runs_of_before_and_now_it_is_said_how_many_count() -> None:
    ((_, row),) = measure_disparities(
        one_group(run("supcon", 0, 0.1, 0.2), made_up("supcon", 1, 0.5))
    )
    assert [cell.text for cell in row[:2]] == ["10.0 (n=1)", "2.0 (n=1)"]


def test_the_tables_are_in_every_form() -> None:
    one = one_group(
        *(run("supcon", s, 0.5 + 0.01 * s, 0.0005) for s in range(2)),
        *(run("contex", s, 0.6 + 0.02 * s, 0.0005) for s in range(2)),
    )
    page, tex = render_markdown([one]), render_latex([one])
    assert "| contex | 2 | +10.5 [" in page and "| supcon | 50.5 | 2.5 | < 0.001 |" in page
    assert r"\textless{} 0.001" in tex and " & DP difference & by chance & largest p & EO" in tex
    assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") >= 6


def test_calibration_is_that_of_all_and_of_the_worst_group() -> None:
    told = {
        "error": {"value": 0.05, "n": 100},
        "brier": {"value": 0.2, "n": 100},
        "by_group": [{"n": 90, "error": 0.04, "brier": 0.1}, {"n": 0, "error": None, "brier": None},
                     {"n": 10, "error": 0.3, "brier": 0.9}],
    }  # fmt: skip
    ((_, row),) = measure_disparities(one_group(run("supcon", 0, 0.1, 0.2, calibration=told)))
    assert [cell.text for cell in row[-2:]] == ["5.0", "30.0"]


def test_one_seed_is_not_tested_over_seeds() -> None:
    one = one_group(made_up("supcon", 0, 0.5), made_up("contex", 0, 0.6))
    assert paired_cells(one) == []


@pytest.fixture
def pair(tmp_path: Path) -> tuple[FinishedRun, FinishedRun]:
    """Two runs whose predictions are wrong on 3 and on 9 of 200 images, 1 of them the same."""
    rng = np.random.default_rng(0)
    label, bias = rng.integers(0, 2, 200), rng.integers(0, 2, 200)
    runs = []
    for loss, wrong in (("supcon", range(3)), ("contex", range(2, 11))):
        told = label.copy()
        told[list(wrong)] ^= 1
        folder = tmp_path / loss
        folder.mkdir()
        columns = {"index": np.arange(200), "label": label, "bias": bias, "prediction": told}
        pq.write_table(pa.table(columns), folder / PREDICTIONS)
        counts = np.zeros((2, 2, 2), np.int64)
        np.add.at(counts, (label, bias, told), 1)
        runs.append(FinishedRun(folder, made_up(loss, 0, 0.5, counts=counts.tolist()).evaluation))
    return runs[0], runs[1]


def test_mcnemar_on_the_images_of_a_seed(pair: tuple[FinishedRun, FinishedRun]) -> None:
    ((test, rows),) = image_test_cells(one_group(*pair))
    seed, first, second, p, difference = (cell.text for cell in rows[0])
    assert (test.a, test.b, seed, first, second) == ("contex", "supcon", "0", "2", "8")
    exact = scipy.stats.binomtest(2, 10).pvalue
    mid = exact - scipy.stats.binom.pmf(2, 10, 0.5)
    assert p == f"{mid:.3f}"
    assert difference.startswith("-3.") and "[" in difference


def test_bars_are_the_accuracy_of_each_group(pair: tuple[FinishedRun, FinishedRun]) -> None:
    one = one_group(*pair)
    value, (low, high) = group_rates(one, "contex")
    table = np.array(pair[1].evaluation["counts"])
    for m in range(2):
        hits, rows = table[0, m, 0] + table[1, m, 1], table[:, m].sum()
        assert value[m] == hits / rows
        wilson = scipy.stats.binomtest(int(hits), int(rows)).proportion_ci(method="wilson")
        assert (low[m], high[m]) == pytest.approx((wilson.low, wilson.high))
    ax = draw_groups(one, ["supcon", "contex"])
    heights = [bar.get_height() for bar in ax.patches]
    assert heights == pytest.approx([*(100 * group_rates(one, "supcon")[0]), *(100 * value)])
    assert [text.get_text() for text in ax.get_xticklabels()] == [
        f"{name}\n{table[:, m].sum():,}" for m, name in enumerate(("red", "green"))
    ]


def test_bars_over_seeds_have_t_intervals(pair: tuple[FinishedRun, FinishedRun]) -> None:
    again = FinishedRun(
        pair[0].folder, {**pair[1].evaluation, "loss": "supcon", "label": "supcon", "seed": 1}
    )
    value, (low, high) = group_rates(one_group(pair[0], again), "supcon")
    each = np.array([group_rates(one_group(one), one.label)[0] for one in (pair[0], again)])
    assert value == pytest.approx(each.mean(axis=0))
    assert (low <= value).all() and (value <= high).all() and (high <= 1).all()
