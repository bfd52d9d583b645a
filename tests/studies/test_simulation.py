"""The verdicts of a study on made studies: how often they are wrong, and how often they find a difference."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from biascon.metrics.intervals import t_interval
from biascon.studies.confirmation import Verdict, compare_methods, confirmation_values
from biascon.studies.curves import _band_weights, tuning_curve
from biascon.studies.records import Stage
from biascon.studies.selection import RULES, choose
from tests.studies.made_studies import Surface, draw, make_study

STUDIES = 400
BASE = Surface()


def count_verdicts(a: Surface, b: Surface, first_seed: int) -> Counter[Verdict]:
    """Return how often a study of ``STUDIES`` says what of method a against method b."""
    return Counter(
        compare_methods(make_study(a, b, first_seed + k), "unbiased")[0].verdict
        for k in range(STUDIES)
    )


def test_of_two_equal_methods_a_study_calls_a_winner_in_5_percent_or_fewer() -> None:
    verdicts = count_verdicts(BASE, BASE, 10_000)
    assert verdicts[Verdict.BETTER] + verdicts[Verdict.WORSE] <= 0.05 * STUDIES
    # It does not do so by calling nothing: some of the studies show that the methods are level.
    assert verdicts[Verdict.LEVEL] > 0


def test_a_study_of_24_trials_finds_a_gap_of_3_points() -> None:
    verdicts = count_verdicts(replace(BASE, peak=BASE.peak + 0.03), BASE, 20_000)
    assert verdicts[Verdict.BETTER] >= 0.8 * STUDIES
    assert verdicts[Verdict.WORSE] == 0


def test_methods_at_the_margin_are_called_level_in_5_percent_or_fewer() -> None:
    verdicts = count_verdicts(replace(BASE, peak=BASE.peak + 0.01), BASE, 30_000)
    assert verdicts[Verdict.LEVEL] <= 0.05 * STUDIES


def test_the_confirmation_alone_would_call_far_too_many_winners() -> None:
    """Why the choice of the trials is part of the interval."""
    winners = 0
    for k in range(STUDIES):
        table = make_study(BASE, BASE, 10_000 + k)
        choices = [choose(table.trials(name), RULES["unbiased"]) for name in ("a", "b")]
        a, b = (
            confirmation_values(table, choice, "unbiased", None) for choice in choices if choice
        )
        mean = t_interval([a[pair] - b[pair] for pair in a])
        winners += mean.low > 0 or mean.high < 0
    assert winners > 0.15 * STUDIES


@pytest.mark.parametrize("n", [12, 24])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_band_of_the_distribution_function_is_exact_for_independent_draws(
    level: float, n: int
) -> None:
    """The band holds everywhere in a share ``level`` of all samples, for any continuous scores."""
    lower, upper = (np.cumsum(weights) for weights in _band_weights(n, level))
    samples = np.sort(
        np.random.default_rng(0).random((20_000, n)), axis=1
    )  # their values of the function
    holds = ((lower[1:-1] <= samples) & (samples <= upper[:-2])).all(axis=1)
    assert abs(holds.mean() - level) < 3 * np.sqrt(level * (1 - level) / len(samples)) + 0.003


def test_the_bands_of_tuning_curves_hold_at_least_as_often_as_they_say() -> None:
    """Budgets 1 to 24 are a part of the distribution function, and quasi-random draws vary less."""
    rng = np.random.default_rng(0)
    scores = BASE(rng.random((200_000, 6))) + rng.normal(0, 0.01, 200_000)
    budgets = np.arange(1, 25)
    truth = np.quantile(scores, 0.5 ** (1 / budgets))
    covered = Counter[str]()
    for k in range(STUDIES):
        for kind in ("independent", "quasi-random"):
            u = rng.random((24, 6)) if kind == "independent" else draw(40_000 + k)
            made = BASE(u) + rng.normal(0, 0.01, 24)
            trials = [
                replace(run, val={"unbiased": float(value)})
                for run, value in zip(TEMPLATE, made, strict=True)
            ]
            curve = tuning_curve(trials, RULES["unbiased"], 10, 0.8)
            assert curve is not None
            covered[kind] += bool(
                (np.array(curve.low) <= truth).all() and (truth <= np.array(curve.high)).all()
            )
    assert min(covered.values()) >= 0.8 * STUDIES


TEMPLATE = make_study(BASE, BASE, 0).select(Stage.TRIAL, "a")
