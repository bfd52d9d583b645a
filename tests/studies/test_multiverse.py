"""All trials at once: responses, importance, specification curve, front, variance by source."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from biascon.studies.multiverse import (
    explained_share,
    importances,
    pareto_front,
    responses,
    specification_curve,
    variance_sources,
)
from biascon.studies.records import Stage, StudyRun
from biascon.studies.selection import RULES
from biascon.studies.table import StudyTable
from tests.studies.made_studies import describe

SPACE = {
    "optimizer.lr": {"log_uniform": [1e-3, 1e-1]},
    "loss.form": {"choice": ["a", "b"]},
    "loss.wa": {"uniform": [0.0, 1.0]},
    "loss.wb": {"complement": "wa"},
}


def make_run(method: str, k: int, settings: dict[str, Any], val: float, test: float) -> StudyRun:
    return StudyRun(
        Stage.TRIAL, method, 0, k, k, k, "made", None, None, "0", f"{method}{k}", settings,
        val={"unbiased": val}, test={"unbiased": test},
    )  # fmt: skip


@pytest.fixture
def table() -> StudyTable:
    """A study in which the logarithm of the learning rate decides the score."""
    rng = np.random.default_rng(0)
    runs = []
    for k in range(20):
        lr, wa = float(10 ** rng.uniform(-3, -1)), float(rng.uniform())
        settings = {"optimizer.lr": lr, "loss.form": "ab"[k % 2], "loss.wa": wa, "loss.wb": 1 - wa}
        score = 0.8 - 0.05 * (math.log10(lr) + 2) ** 2
        runs.append(make_run("a", k, settings, score, score))
        runs.append(make_run("b", k, {"optimizer.lr": lr}, score, score - 0.01 * (k - 9)))
    description = describe(["a", "b"], "b")
    description["methods"] = {
        "a": {"loss": "a", "settings": [], "space": SPACE},
        "b": {"loss": "b", "settings": [], "space": {"optimizer.lr": SPACE["optimizer.lr"]}},
    }
    return StudyTable(description, runs)


def test_the_parameter_that_decides_the_score_explains_all_of_it(table: StudyTable) -> None:
    shares = {item.parameter: item.share for item in importances(table, "a", RULES["unbiased"])}
    assert list(shares) == ["optimizer.lr", "loss.form", "loss.wa"]  # a complement is not drawn
    assert shares["optimizer.lr"] > 0.999999
    assert max(shares["loss.form"], shares["loss.wa"]) < 0.5
    best = importances(table, "a", RULES["unbiased"])[0].best
    assert best == min(
        (run.settings["optimizer.lr"] for run in table.select(Stage.TRIAL, "a")),
        key=lambda lr: abs(math.log10(lr) + 2),
    )


def test_the_fitted_line_of_a_response_is_the_quadratic_in_the_logarithm(table: StudyTable) -> None:
    response = responses(table, "a", RULES["unbiased"])[0]
    lr = np.array([1e-3, 1e-2, 5e-2])
    np.testing.assert_allclose(response.fitted(lr), 0.8 - 0.05 * (np.log10(lr) + 2) ** 2)


def test_explained_share_equals_leaving_out_each_row_in_turn() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.uniform(size=15), rng.normal(size=15)
    y += 2 * x
    errors, deviations = [], []
    for k in range(15):
        rest = np.arange(15) != k
        coefficients = np.polyfit(x[rest], y[rest], 2)
        errors.append((y[k] - np.polyval(coefficients, x[k])) ** 2)
        deviations.append((y[k] - y[rest].mean()) ** 2)
    assert explained_share(x, y) == pytest.approx(1 - sum(errors) / sum(deviations))


def test_explained_share_of_noise_is_not_above_0_on_average() -> None:
    rng = np.random.default_rng(2)
    shares = [explained_share(rng.uniform(size=24), rng.normal(size=24)) for _ in range(300)]
    assert np.mean(shares) < 0


def test_specification_curve_sorts_the_paired_differences(table: StudyTable) -> None:
    curve = specification_curve(table, "a", "b")
    assert curve is not None
    np.testing.assert_allclose(curve.differences, [0.01 * (k - 9) for k in range(20)], atol=1e-12)
    assert curve.trials == list(range(20))
    assert curve.higher == 10
    assert all(set(settings) == {"optimizer.lr"} for settings in curve.settings)


def test_a_trial_that_diverged_is_left_out_of_the_specification_curve(table: StudyTable) -> None:
    runs = [
        replace(run, diverged=True, test={}) if (run.method, run.trial) == ("a", 3) else run
        for run in table.runs
    ]
    curve = specification_curve(StudyTable(table.description, runs), "a", "b")
    assert curve is not None
    assert (curve.left_out, len(curve.differences)) == (1, 19)


def test_pareto_front_by_hand() -> None:
    accuracy, disparity = [0.7, 0.9, 0.8, 0.9, 0.6], [0.1, 0.5, 0.3, 0.4, 0.2]
    assert pareto_front(accuracy, disparity) == [0, 2, 3]


def test_variance_by_source_finds_the_true_standard_deviations() -> None:
    rng = np.random.default_rng(3)
    choice = make_run("a", 4, {}, 0.8, 0.8)
    sd = {Stage.CONFIRMATION: 0.02, Stage.SEEDS: 0.01, Stage.DATASETS: 0.015}
    runs = [choice]
    n = 200
    for stage, value in sd.items():
        runs += [
            replace(
                choice, stage=stage, pair=k, run=f"{stage.value}{k}", seed=1000 + k,
                dataset_digest=f"{k}", test={"unbiased": 0.8 + rng.normal(0, value)},
            )
            for k in range(n)
        ]  # fmt: skip
    confirmed = [run for run in runs if run.stage is Stage.CONFIRMATION]
    runs += [
        replace(
            run, stage=Stage.ROUNDING, run=f"r{run.pair}",
            test={"unbiased": float(run.test["unbiased"] or 0) + rng.normal(0, 0.004)},
        )
        for run in confirmed
    ]  # fmt: skip
    sources = {
        s.stage: s for s in variance_sources(StudyTable(describe(["a", "b"], "b"), runs), [choice])
    }
    # d of a rounding pair has twice the variance of one run: the made noise 0.004 is that of d.
    truth = {**sd, Stage.ROUNDING: 0.004 / math.sqrt(2)}
    for stage, value in truth.items():
        assert sources[stage].low < value < sources[stage].high
        assert sources[stage].sd == pytest.approx(value, rel=0.15)
    spread = np.std([run.test["unbiased"] for run in confirmed], ddof=1)
    source = sources[Stage.CONFIRMATION]
    assert source.sd == pytest.approx(spread)
    assert source.low == pytest.approx(spread * math.sqrt((n - 1) / stats.chi2.ppf(0.975, n - 1)))


def test_categories_that_decide_the_score_explain_it() -> None:
    """Their numbers have no order, so that a quadratic would explain little."""
    rng = np.random.default_rng(4)
    x = np.arange(30) % 5
    y = np.array([0.8, 0.6, 0.8, 0.6, 0.8])[x] + rng.normal(0, 0.01, 30)
    errors = [(y[k] - y[(x == x[k]) & (np.arange(30) != k)].mean()) ** 2 for k in range(30)]
    total = [(y[k] - np.delete(y, k).mean()) ** 2 for k in range(30)]
    share = explained_share(x.astype(float), y, is_category=True)
    assert share == pytest.approx(1 - sum(errors) / sum(total))
    assert share > 0.95 > explained_share(x.astype(float), y)
