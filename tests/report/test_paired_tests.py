"""Paired tests over seeds and over images, against scipy and by hand; and the command that prints them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import stats

from biascon.metrics.paired_tests import holm
from biascon.report.experiments import find_runs, group_runs, read_runs
from biascon.report.paired_tests import run_paired_tests
from biascon.runs.folder import PREDICTIONS
from tests.report.fakes import CLEAR, in_folder, made_up, one_experiment


def test_tests_over_seeds_are_those_of_scipy() -> None:
    values = {"supcon": [0.5, 0.52, 0.47, 0.55], "contex": [0.53, 0.58, 0.49, 0.54]}
    runs = [made_up(loss, s, v) for loss, each in values.items() for s, v in enumerate(each)]
    (test,) = run_paired_tests(one_experiment(*runs))
    x, y = np.array(values["contex"]), np.array(values["supcon"])
    assert (test.a, test.b, test.seeds) == ("contex", "supcon", 4)
    assert test.difference == pytest.approx((x - y).mean())
    assert test.p_t == pytest.approx(stats.ttest_rel(x, y).pvalue)
    assert test.p_wilcoxon == pytest.approx(stats.wilcoxon(x, y).pvalue)
    low, high = stats.ttest_rel(x, y).confidence_interval()
    assert (test.low, test.high) == pytest.approx((low, high))


def test_holm_adjusts_over_the_tests_that_are_returned() -> None:
    third = [made_up("ce", s, 0.3 + 0.02 * s * s) for s in range(3)]
    experiment = one_experiment(*CLEAR, *third)
    every_pair, against = run_paired_tests(experiment), run_paired_tests(experiment, "supcon")
    assert len(every_pair) == 3
    assert [test.b for test in against] == ["supcon", "supcon"]
    for tests in (every_pair, against):
        adjusted = holm([test.p_t for test in tests])
        np.testing.assert_allclose([test.p_t_holm for test in tests], adjusted)


def test_one_seed_has_a_difference_and_no_p_value() -> None:
    experiment = one_experiment(made_up("supcon", 0, 0.5), made_up("contex", 0, 0.6))
    (test,) = run_paired_tests(experiment)
    assert test.difference == pytest.approx(0.1)
    data = test.to_json()
    assert data["p_t"] is data["p_wilcoxon"] is data["p_t_holm"] is data["low"] is None


def test_runs_of_different_recipes_are_not_paired() -> None:
    other = [made_up("ce", s, 0.3, recipe="z" * 64) for s in range(3)]
    tests = [run_paired_tests(experiment) for experiment in group_runs([*CLEAR, *other])]
    assert [len(each) for each in tests] == [1, 0]


def test_image_test_counts_the_images_that_one_run_alone_classifies_correctly(runs: Path) -> None:
    experiment = one_experiment(*find_runs(runs))
    (test,) = run_paired_tests(experiment)
    assert test.seeds == len(test.images) == 2
    for image_test in test.images:
        frames = [
            pq.read_table(run.folder / PREDICTIONS).to_pandas()
            for label in (test.a, test.b)
            for run in experiment.losses[label]
            if run.seed == image_test.seed
        ]
        correct = [(f["prediction"] == f["label"]).to_numpy() for f in frames]
        assert image_test.only_a == (correct[0] & ~correct[1]).sum()
        assert image_test.only_b == (correct[1] & ~correct[0]).sum()
        n = image_test.only_a + image_test.only_b
        exact = stats.binomtest(int(image_test.only_a), int(n)).pvalue
        assert 0 <= image_test.mcnemar <= exact
        cells = [
            f.assign(correct=c).groupby(["label", "bias"])["correct"].mean()
            for f, c in zip(frames, correct, strict=True)
        ]
        assert image_test.difference == pytest.approx(cells[0].mean() - cells[1].mean())
        assert image_test.low <= image_test.difference <= image_test.high


def test_runs_with_other_test_images_are_not_paired(runs: Path, tmp_path: Path) -> None:
    first, *others = find_runs(runs)
    frame = pq.read_table(first.folder / PREDICTIONS).to_pandas()
    frame["index"] += 1
    frame.to_parquet(tmp_path / PREDICTIONS)
    (test,) = run_paired_tests(one_experiment(in_folder(first, tmp_path), *others))
    assert len(test.images) == 1


def test_command_reads_runs_and_folders_of_runs_each_once(runs: Path, cli: Any) -> None:
    run_folders = sorted(runs.glob("*/ce/*"))
    code, out, err = cli("compare", str(runs), str(run_folders[0]))
    assert code == 0, err
    assert "over seeds: unbiased accuracy in points, paired" in out
    assert "Holm: adjusted over the 1 comparison above" in out
    assert len(read_runs([runs, *run_folders])) == 4
    code, out, _ = cli("compare", str(runs), "--json")
    data = json.loads(out)
    assert code == 0
    assert data["seeds"] == 2
    assert len(data["images"]) == 2
    code, out, _ = cli("compare", *map(str, run_folders))
    assert code == 0
    assert "only ce: nothing to compare with" in out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nowhere"], 1, "there is no finished run in nowhere"),
        ([], 2, "Missing argument"),
        (["RUNS", "--against", "context"], 2, "no run of 'context'; did you mean 'contex'?"),
        (["RUNS", "--out", "x.txt"], 2, "expected a file that ends in .csv, .parquet or .json"),
    ],
)
def test_wrong_input_is_an_error_of_one_line(
    runs: Path, cli: Any, words: list[str], code: int, message: str
) -> None:
    outcome = cli("compare", *[str(runs) if word == "RUNS" else word for word in words])
    assert outcome.code == code
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


def test_loss_without_a_run_is_refused_before_anything_is_written(
    runs: Path, tmp_path: Path, cli: Any
) -> None:
    out = tmp_path / "long.csv"
    outcome = cli("compare", str(runs), "--against", "supcom", "--out", str(out))
    assert outcome.code == 2 and not out.exists()
