"""Conclusions: what is bold, which losses are compared, and what a difference shows."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import pytest

from biascon.report.experiments import Experiment, find_runs
from biascon.report.verdicts import (
    LossDifference,
    compare_losses,
    describe_difference,
    difference_over_images,
    difference_over_seeds,
    significant_best,
)
from tests.report.fakes import CLEAR, made_up, one_experiment


def best_of(experiment: Experiment, metric: str) -> str | None:
    """The best of all losses of an experiment."""
    return significant_best(experiment, metric, list(experiment.losses))


def test_best_loss_needs_an_interval_that_excludes_zero_against_every_other() -> None:
    assert best_of(one_experiment(*CLEAR), "unbiased") == "contex"
    noisy = [made_up("supcon", s, 0.5 + 0.1 * s) for s in range(3)]
    level = [made_up("contex", s, 0.61 - 0.01 * s) for s in range(3)]
    assert best_of(one_experiment(*noisy, *level), "unbiased") is None
    third = [made_up("ce", s, 0.61 - 0.01 * s) for s in range(3)]
    assert best_of(one_experiment(*CLEAR, *third), "top1") is None


def test_lowest_value_is_best_where_lower_is_better() -> None:
    assert best_of(one_experiment(*CLEAR), "equalized_odds_difference") == "supcon"


def test_no_loss_is_best_with_one_seed_or_one_loss_or_an_undefined_value() -> None:
    one_seed = one_experiment(made_up("ce", 0, 0.1), made_up("contex", 0, 0.9))
    assert best_of(one_seed, "top1") is None
    assert best_of(one_experiment(*CLEAR[:3]), "top1") is None
    assert best_of(one_experiment(*CLEAR, made_up("ce", 0, None)), "top1") is None


def test_higher_mean_that_loses_on_every_common_seed_is_not_best() -> None:
    first = [made_up("ce", s, value) for s, value in enumerate((0.50, 0.51, 0.95))]
    second = [made_up("supcon", s, value) for s, value in enumerate((0.60, 0.611))]
    assert best_of(one_experiment(*first, *second), "top1") is None


def test_paired_difference_uses_the_common_seeds() -> None:
    experiment = one_experiment(*CLEAR, made_up("contex", 9, 0.0))
    difference = difference_over_seeds(experiment, "contex", "supcon", "unbiased")
    assert difference is not None
    assert difference.mean == pytest.approx(0.101)
    assert (difference.unit, difference.n) == ("seeds", 3)
    assert difference.interval_method == "paired t over 3 seeds"
    no_common_seed = one_experiment(CLEAR[0], CLEAR[4])
    assert difference_over_seeds(no_common_seed, "contex", "supcon", "unbiased") is None


def difference_of(
    low: float, high: float, unit: Literal["seeds", "images"] = "seeds", n: int = 3
) -> LossDifference:
    return LossDifference("contex", "supcon", "unbiased", (low + high) / 2, low, high, unit, n)


def described(low: float, high: float, *gap: float) -> str:
    difference = difference_of(low, high)
    return describe_difference(
        dataclasses.replace(difference, gap=difference_of(*gap) if gap else None)
    )


def test_conclusion_follows_the_interval() -> None:
    above = described(0.01, 0.03)
    assert above.startswith("The unbiased accuracy of contex is 2.0 points above")
    assert described(-0.01, 0.03, -0.05, -0.01).startswith("Undecided")
    one_seed = describe_difference(difference_of(0.01, 0.03, "images", 10_000))
    assert one_seed.startswith("One seed")
    assert "over the 10,000 test images" in one_seed
    assert "does not show a difference between the losses" in one_seed
    for text in (above, described(-0.03, -0.01), described(-0.01, 0.03), one_seed):
        assert "95 % interval" in text


def test_reliance_on_the_bias_is_concluded_from_the_gap_alone() -> None:
    assert "relies less" in described(0.01, 0.03, -0.05, -0.01)
    assert "relies more" in described(-0.03, -0.01, 0.01, 0.05)
    # A higher accuracy does not show that a loss relies less on the bias: every cell may be better.
    for gap in ((), (-0.05, 0.01), (0.01, 0.05)):
        assert "relies" not in described(0.01, 0.03, *gap)


def test_supcon_is_the_reference_and_contex_is_compared_first() -> None:
    third = [made_up("ce", s, 0.3 + 0.02 * s) for s in range(3)]
    differences = compare_losses(one_experiment(*CLEAR, *third))
    assert [(d.a, d.b) for d in differences] == [("contex", "supcon"), ("ce", "supcon")]


def test_difference_over_images_is_that_of_the_unbiased_accuracies(runs: Path) -> None:
    by_loss = {run.label: run for run in find_runs(runs) if run.seed == 0}
    difference = difference_over_images(by_loss["contex"], by_loss["ce"])
    assert difference is not None and difference.unit == "images"
    expected = [by_loss[label].value("unbiased") for label in ("contex", "ce")]
    assert difference.mean == pytest.approx(expected[0] - expected[1])  # type: ignore[operator]
    assert difference.low <= difference.mean <= difference.high
    same = difference_over_images(by_loss["ce"], by_loss["ce"])
    assert same is not None
    # No image tells the two apart. Other images might, so that the interval has a width.
    assert same.mean == 0 and -0.05 < same.low == -same.high < 0
