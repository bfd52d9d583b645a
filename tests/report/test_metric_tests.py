"""Paired tests of losses in chosen metrics: one family, which loss is better, the command and its errors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biascon.cli.metric_output import format_metric_tests
from biascon.metrics import accuracy, fairness
from biascon.metrics.paired_metrics import PAIRED_METRICS
from biascon.metrics.paired_tests import holm
from biascon.metrics.permutation import permutation_test
from biascon.metrics.records import Metric, PermutationResult
from biascon.report.experiments import Experiment, find_runs
from biascon.report.metric_tests import compare_metrics_on_images, run_metric_tests
from biascon.report.paired_tests import run_paired_tests
from biascon.runs.evaluation import Evaluation
from biascon.runs.finished import FinishedRun
from biascon.studies.table import write_table
from tests.report.fakes import made_up, one_experiment
from tests.report.made_study import make_study_table

GAP, WORST = "equalized_odds_difference", "worst_group"


def by_chance(expected: float | None, *metrics: str) -> dict[str, PermutationResult]:
    return {metric: PermutationResult(expected, 0.5, "labels", 2000) for metric in metrics}


def experiment_of(
    values: dict[str, list[float]], metric: str, chance: dict[str, float | None] | None = None
) -> Experiment:
    """Return an experiment whose losses have these values of a metric by seed, and 0.5 in the others.

    ``chance`` has the value by chance of each loss; it is 0.05 where the loss is not in it.
    """
    runs = [
        made_up(
            loss, seed, 0.5,
            metrics={metric: Metric(value, 1000)},
            disparity=by_chance((chance or {}).get(loss, 0.05), metric),
        )
        for loss, each in values.items()
        for seed, value in enumerate(each)
    ]  # fmt: skip
    return one_experiment(*runs)


def with_value(run: FinishedRun, name: str, value: float | None) -> FinishedRun:
    """Return a run whose evaluation records another value of a metric."""
    data = run.evaluation.to_json()
    data[name] = {**data[name], "value": value}
    return FinishedRun(run.folder, Evaluation.from_json(data))


@pytest.mark.parametrize(("metric", "better"), [(GAP, "contex"), (WORST, "supcon")])
def test_the_loss_that_is_better_is_named_in_either_direction(metric: str, better: str) -> None:
    """ConTeX has the lower value in each metric: better for a disparity, worse for an accuracy."""
    low, high = [0.10, 0.12, 0.11, 0.13], [0.31, 0.34, 0.30, 0.33]
    experiment = experiment_of({"supcon": high, "contex": low}, metric)
    for against in (None, "supcon", "contex"):
        (test,) = run_metric_tests(experiment, [metric], against)
        assert (test.a == "contex") == (test.difference < 0)
        assert test.better == better
        text = format_metric_tests(experiment, [test])
        assert next(line for line in text.splitlines() if " 4 " in line).split()[-1] == better
        assert f"{'lower' if metric == GAP else 'higher'} is better: " in text


def test_holm_adjusts_over_all_metrics_and_pairs() -> None:
    rng = np.random.default_rng(2)
    values = {loss: list(0.5 + 0.02 * rng.random(4)) for loss in ("ce", "supcon", "contex")}
    experiment = experiment_of(values, GAP)
    tests = run_metric_tests(experiment, [GAP, "top1"])
    assert [(test.metric, test.a, test.b) for test in tests[:3]] == [
        (GAP, "supcon", "ce"), (GAP, "contex", "ce"), (GAP, "contex", "supcon"),
    ]  # fmt: skip
    adjusted = holm([test.p_t for test in tests])  # NaN for top1, which does not vary
    np.testing.assert_allclose([test.p_t_holm for test in tests], adjusted)
    assert "2 metrics x 3 pairs of losses" in format_metric_tests(experiment, tests)


def test_equal_losses_are_rarely_called_different_and_a_gap_is_found() -> None:
    """Three metrics of two losses with five seeds: the whole family errs in 5 % of experiments or less."""
    rng, names = np.random.default_rng(0), (WORST, GAP, "demographic_parity_difference")

    def finds(shift: float) -> bool:
        runs = [
            made_up(
                loss, seed, 0.5,
                metrics={n: Metric(float(rng.normal(0.3 + k * shift, 0.02)), 1000) for n in names},
                disparity=by_chance(0.05, *names),
            )
            for k, loss in enumerate(("supcon", "contex"))
            for seed in range(5)
        ]  # fmt: skip
        return any(test.better for test in run_metric_tests(one_experiment(*runs), names))

    # 5 % and three standard deviations of 150 experiments
    assert np.mean([finds(0.0) for _ in range(150)]) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 150)
    assert np.mean([finds(0.2) for _ in range(20)]) > 0.9


def run_of_groups(
    loss: str, seed: int, rates: tuple[float, float], rng: np.random.Generator
) -> FinishedRun:
    """A run with two labels and groups of 500 and 50 rows of each label, with these accuracies."""
    counts = np.zeros((2, 2, 2), np.int64)
    for label in range(2):
        for group, (n, rate) in enumerate(zip((500, 50), rates, strict=True)):
            hits = rng.binomial(n, rate)
            counts[label, group, label], counts[label, group, 1 - label] = hits, n - hits
    tests = permutation_test(
        counts,
        lambda tables: {
            GAP: fairness.from_counts(tables)[GAP][..., 1], WORST: accuracy.worst_group(tables),
        },
        rng, within="labels", replicates=50, lower=(WORST,),
    )  # fmt: skip
    return made_up(
        loss, seed, 0.5,
        metrics={name: Metric(float(test.observed), 1100) for name, test in tests.items()},
        disparity={
            name: PermutationResult(float(test.expected), float(test.p), "labels", 50)
            for name, test in tests.items()
        },
    )  # fmt: skip


def test_a_loss_that_only_makes_fewer_errors_is_not_named_and_a_true_gap_is_found() -> None:
    """The groups have equal rates in both losses, .95 and .80; the difference alone names 15 to 25 %."""
    rng = np.random.default_rng(5)

    def named(supcon: tuple[float, float], contex: tuple[float, float], times: int) -> list[Any]:
        return [
            run_metric_tests(
                one_experiment(
                    *(
                        run_of_groups(loss, seed, rates, rng)
                        for loss, rates in (("supcon", supcon), ("contex", contex))
                        for seed in range(5)
                    )
                ),
                [GAP],
            )[0]
            for _ in range(times)
        ]

    tests = named((0.80, 0.80), (0.95, 0.95), 100)
    assert np.mean([test.p_t_holm <= 0.05 for test in tests]) > 0.1
    assert np.mean([test.better is not None for test in tests]) <= 0.07
    found = named((0.95, 0.65), (0.95, 0.95), 15)
    assert np.mean([test.better == "contex" for test in found]) > 0.9


@pytest.mark.parametrize(
    ("metric", "chance", "better"),
    [
        (GAP, {"supcon": 0.25, "contex": 0.05}, None),  # as far above chance as the other
        (GAP, {"supcon": 0.31, "contex": 0.05}, None),  # less above chance, although larger
        (GAP, {"supcon": 0.05, "contex": 0.05}, "contex"),
        (GAP, {"supcon": None, "contex": 0.05}, None),
        (WORST, {"supcon": 0.40, "contex": 0.20}, "supcon"),
        (WORST, {"supcon": None, "contex": 0.20}, "supcon"),
    ],
)
def test_the_difference_and_the_excess_have_to_agree(
    metric: str, chance: dict[str, float | None], better: str | None
) -> None:
    values = {"supcon": [0.30, 0.33, 0.29, 0.32], "contex": [0.10, 0.12, 0.11, 0.13]}
    experiment = experiment_of(values, metric, chance)
    (test,) = run_metric_tests(experiment, [metric])
    assert test.p_t_holm < 0.05
    assert test.better == better
    text, data = format_metric_tests(experiment, [test]), test.to_json()
    if metric == WORST:  # an accuracy: the difference alone decides
        assert (test.basis, test.excess) == ("difference", None)
        return
    if chance["supcon"] is None:
        assert (test.basis, test.excess, data["excess"]) == ("none", None, None)
        assert "a larger disparity may come from lower accuracy alone" in text
        return
    assert test.excess is not None
    expected = test.difference - (chance["contex"] - chance["supcon"])
    assert test.excess.difference == pytest.approx(expected)
    assert data["excess"]["p_t_holm"] == test.excess.p_t
    assert "more errors has a larger disparity by chance alone" in text


def test_a_comparison_without_a_value_by_chance_names_no_loss(runs: Path, cli: Any) -> None:
    low, high = [0.10, 0.12, 0.11, 0.13], [0.31, 0.34, 0.30, 0.33]
    for metric in ("equalized_odds_ratio", "predictive_parity_difference"):
        experiment = experiment_of({"supcon": high, "contex": low}, metric)
        experiment = one_experiment(
            *(
                FinishedRun(
                    run.folder,
                    replace(run.evaluation, summary=replace(run.evaluation.summary, disparity={})),
                )
                for run in experiment.runs
            )
        )
        (test,) = run_metric_tests(experiment, [metric])
        assert test.p_t_holm < 0.05
        assert (test.better, test.basis) == (None, "none")
        text = format_metric_tests(experiment, [test])
        assert next(line for line in text.splitlines() if " 4 " in line).endswith("not judged")
    _, out, _ = cli("compare", str(runs), "--metric", "equalized_odds_ratio", "--json")
    record = json.loads(out.splitlines()[0])
    assert record["better"] is record["excess"] is None
    assert "lower accuracy alone" in record["note"]


def test_holm_is_said_to_adjust_over_the_tests_that_have_a_p_value() -> None:
    rng = np.random.default_rng(2)
    values = {loss: list(0.5 + 0.02 * rng.random(4)) for loss in ("ce", "supcon", "contex")}
    experiment = experiment_of(values, GAP)
    tests = run_metric_tests(experiment, [GAP, "top1"])  # top1 does not vary: no p-value
    text = format_metric_tests(experiment, tests)
    assert "(2 metrics x 3 pairs of losses): the 3 of the first table; the 3 of the excess" in text


def test_tests_on_images_are_those_of_the_predictions(runs: Path) -> None:
    experiment = one_experiment(*find_runs(runs))
    tests = run_metric_tests(experiment, PAIRED_METRICS)
    by_metric = {test.metric: test for test in tests}
    assert list(by_metric) == list(PAIRED_METRICS)
    (default,) = run_paired_tests(experiment)
    unbiased = by_metric["unbiased"]
    for field in ("difference", "low", "high", "p_t", "p_wilcoxon"):
        np.testing.assert_equal(getattr(unbiased, field), getattr(default, field))
    for mine, other in zip(unbiased.images, default.images, strict=True):
        assert (mine.seed, mine.n) == (other.seed, other.n)
        assert mine.difference == pytest.approx(other.difference)
        assert mine.low < mine.difference < mine.high
    for test in tests:
        for image_test in test.images:
            a, b = (
                next(run for run in experiment.losses[label] if run.seed == image_test.seed)
                for label in (test.a, test.b)
            )
            x, y = a.value(test.metric), b.value(test.metric)
            assert x is not None and y is not None
            assert image_test.difference == pytest.approx(x - y)
            assert 0 < image_test.p <= image_test.p_holm <= 1
    assert all(np.isnan(each.low) for each in by_metric[WORST].images)
    every = [each for test in tests for each in test.images]
    np.testing.assert_allclose([e.p_holm for e in every], holm([e.p for e in every]))


def test_a_value_of_another_rule_is_not_tested_on_images(runs: Path) -> None:
    a, b = find_runs(runs)[:2]
    found = compare_metrics_on_images(a, b, [WORST, GAP])
    assert WORST in found
    other = with_value(a, WORST, 0.987)
    assert WORST not in compare_metrics_on_images(other, b, [WORST, GAP])
    assert WORST not in compare_metrics_on_images(with_value(a, WORST, None), b, [WORST])


def test_command_prints_tables_or_json_with_the_metric(runs: Path, cli: Any) -> None:
    words = ("compare", str(runs), "--metric", WORST, "--metric", GAP, "--metric", WORST)
    code, out, err = cli(*words)
    assert code == 0, err
    assert "higher is better: worst group" in out
    assert "lower is better: equalized odds difference" in out
    assert "2 metrics x 1 pair of losses" in out
    assert "comparisons of groups: the mean over classes" in out
    code, out, _ = cli(*words, "--json", "--against", "ce")
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [(r["metric"], r["lower_is_better"], r["a"], r["b"]) for r in records] == [
        (WORST, False, "contex", "ce"), (GAP, True, "contex", "ce"),
    ]  # fmt: skip
    assert {"p_t_holm", "better", "positive", "images", "dataset", "recipe"} <= set(records[0])
    again = cli(*words, "--json", "--against", "ce")
    assert again.out == out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["RUNS", "--metric", "worst_grp"], "unknown metric 'worst_grp'; did you mean 'worst_group'?"),
        (["RUNS", "--metric", "uniformity"], "unknown metric 'uniformity'"),
        (["STUDY", "--metric", "worst_grp"], "unknown metric 'worst_grp'; did you mean 'worst_group'?"),
        (["STUDY", "--metric", "brier"], "the table of the study has no value of 'brier' in any run"),
    ],
)  # fmt: skip
def test_wrong_metric_is_an_error_of_one_line(
    runs: Path, tmp_path: Path, cli: Any, words: list[str], message: str
) -> None:
    table = tmp_path / "s.parquet"
    write_table(table, make_study_table({"supcon": 0.0, "contex": 0.02}))
    paths = {"RUNS": str(runs), "STUDY": str(table)}
    outcome = cli("compare", *[paths.get(word, word) for word in words])
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


def test_metric_that_no_run_has_is_an_error_of_one_line(
    runs: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FinishedRun, "value", lambda run, metric: None)
    outcome = cli("compare", str(runs), "--metric", WORST)
    assert (outcome.code, outcome.err) == (
        2, f"error: no run has a value of '{WORST}': it is undefined in each of them\n",
    )  # fmt: skip


def test_study_is_compared_in_its_metrics_as_one_family(tmp_path: Path, cli: Any) -> None:
    path, out = tmp_path / "s.parquet", tmp_path / "c.csv"
    write_table(path, make_study_table({"supcon": 0.0, "contex": 0.05, "ce": 0.002}))
    words = ("compare", str(path), "--metric", GAP, "--metric", WORST)
    code, text, err = cli(*words)
    assert code == 0, err
    assert "equalized odds difference (lower is better)" in text
    assert "worst group (higher is better)" in text
    assert "Holm: adjusted over the metrics and methods of a table" in text
    assert "a smaller disparity may come from higher accuracy alone" in text
    code, text, _ = cli(*words, "--json", "--out", str(out))
    records = [json.loads(line) for line in text.splitlines()]
    assert code == 0
    assert [(r["metric"], r["method"]) for r in records] == [
        (GAP, "contex"), (GAP, "ce"), (WORST, "contex"), (WORST, "ce"),
    ]  # fmt: skip
    np.testing.assert_allclose([r["p_holm"] for r in records], holm([r["p"] for r in records]))
    better = records[0]  # a higher accuracy is a smaller disparity in these made studies
    assert better["difference"] < 0 and better["verdict"] == "better"
    assert len(out.read_text().splitlines()) == 5
