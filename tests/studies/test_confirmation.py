"""What a comparison may say: other color correlations, few usable trials, diverged runs, identical runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from scipy import stats

from biascon.metrics.intervals import t_interval
from biascon.studies.confirmation import (
    Verdict,
    chosen_trials,
    compare_methods,
    confirmation_values,
    why_not_compared,
)
from biascon.studies.records import CellCounts, Stage, StudyRun
from biascon.studies.selection import RULES
from biascon.studies.table import StudyTable
from tests.studies.made_studies import PAIRS, Surface, make_study

BASE = Surface()
UNBIASED = RULES["unbiased"]


@pytest.fixture
def table() -> StudyTable:
    """A study in which method a is 3 points better, on a dataset of ten classes."""
    made = make_study(replace(BASE, peak=BASE.peak + 0.03), BASE, 7)
    cells = CellCounts([[1]] * 10, [[1]] * 10)
    return StudyTable(made.description, [replace(run, test_cells=cells) for run in made.runs])


def change(table: StudyTable, select: Callable[[StudyRun], bool], **changes: Any) -> StudyTable:
    """Return the study with changed runs."""
    runs = [replace(run, **changes) if select(run) else run for run in table.runs]
    return StudyTable(table.description, runs)


def diverged(table: StudyTable, select: Callable[[StudyRun], bool]) -> StudyTable:
    return change(table, select, diverged=True, val={}, test={})


def with_rho(table: StudyTable, rho: float, confirmed: float) -> StudyTable:
    """Return the study with trials at one color correlation and the confirmation at another."""
    description = {**table.description, "dataset": {"rho": rho}}
    runs = [
        replace(run, rho=confirmed if run.stage is Stage.CONFIRMATION else rho)
        for run in table.runs
    ]
    return StudyTable(description, runs)


def test_at_the_rho_of_the_trials_there_is_a_verdict(table: StudyTable) -> None:
    (comparison,) = compare_methods(with_rho(table, 0.997, 0.997), "unbiased", rho=0.997)
    assert comparison.verdict is Verdict.BETTER
    assert comparison.low < comparison.settings_low  # the choice widens the interval
    assert comparison.choice_sd > 0


def test_at_another_rho_only_the_two_settings_are_compared(table: StudyTable) -> None:
    """The variance of the choice is known at the rho of the trials only."""
    (comparison,) = compare_methods(with_rho(table, 0.997, 0.99), "unbiased", rho=0.99)
    assert comparison.verdict is Verdict.NONE
    assert not comparison.holds_for_search
    for name in ("low", "high", "choice_sd", "p_equivalence", "p_equivalence_holm"):
        assert math.isnan(getattr(comparison, name))
    (choice_a,), (choice_b,) = (chosen_trials(table, name, UNBIASED) for name in ("a", "b"))
    a, b = (confirmation_values(table, choice, "unbiased", None) for choice in (choice_a, choice_b))
    expected = t_interval([a[pair] - b[pair] for pair in range(PAIRS)])
    assert comparison.settings_low == pytest.approx(expected.low)
    assert comparison.settings_high == pytest.approx(expected.high)


@pytest.mark.parametrize("name", ["a", "b"])
def test_with_three_usable_trials_there_is_no_comparison(table: StudyTable, name: str) -> None:
    few = diverged(
        table,
        lambda run: run.stage is Stage.TRIAL and run.method == name and run.trial not in (3, 5, 8),
    )
    assert compare_methods(few, "unbiased") == []
    assert why_not_compared(few, "a", "unbiased") == (
        f"{name} has fewer than 4 trials that did not diverge"
    )


def test_reasons_for_no_comparison(table: StudyTable) -> None:
    assert why_not_compared(table, "a", "unbiased") == ""
    one_run = StudyTable(
        table.description,
        [run for run in table.runs if run.stage is Stage.TRIAL or run.pair == 0],
    )
    assert why_not_compared(one_run, "a", "unbiased") == "a has fewer than two confirmation runs"
    assert "chooses no trial" in why_not_compared(table, "a", "worst-class")


def test_a_confirmation_run_that_diverged_counts_as_chance(table: StudyTable) -> None:
    failed = diverged(
        table, lambda run: (run.stage, run.method, run.pair) == (Stage.CONFIRMATION, "a", 4)
    )
    (before,), (after,) = compare_methods(table, "unbiased"), compare_methods(failed, "unbiased")
    assert (after.n, after.diverged, after.reference_diverged) == (PAIRS, 1, 0)
    (choice,) = chosen_trials(table, "a", UNBIASED)
    lost = confirmation_values(table, choice, "unbiased", None)[4] - 0.1
    assert after.mean == pytest.approx(before.mean - lost / PAIRS)
    assert after.verdict is not Verdict.BETTER


def test_a_metric_without_a_value_of_chance_is_not_compared_after_divergence(
    table: StudyTable,
) -> None:
    with_gap = change(table, lambda run: True, test={"unbiased": 0.8, "gap": 0.1})
    assert compare_methods(with_gap, "unbiased", "gap") != []
    failed = diverged(
        with_gap, lambda run: (run.stage, run.method, run.pair) == (Stage.CONFIRMATION, "a", 4)
    )
    assert compare_methods(failed, "unbiased", "gap") == []


def test_runs_beyond_the_stated_seeds_do_not_count(table: StudyTable) -> None:
    confirm = {**table.description["confirm"], "seeds": 6}
    fewer = StudyTable({**table.description, "confirm": confirm}, table.runs)
    (comparison,) = compare_methods(fewer, "unbiased")
    assert comparison.n == 6


def test_identical_methods_are_level(table: StudyTable) -> None:
    of_b = [run for run in table.runs if run.method == "b"]
    twins = [replace(run, method="a", run=f"a{run.run}") for run in of_b]
    (comparison,) = compare_methods(StudyTable(table.description, [*twins, *of_b]), "unbiased")
    assert (comparison.difference, comparison.low, comparison.high) == (0.0, 0.0, 0.0)
    assert comparison.verdict is Verdict.LEVEL


def test_two_searches_average_their_differences(table: StudyTable) -> None:
    other = make_study(BASE, BASE, 8)
    second = [replace(run, study=1, run=f"second {run.run}") for run in other.runs]
    description = {**table.description, "studies": 2}
    (both,) = compare_methods(StudyTable(description, [*table.runs, *second]), "unbiased")
    (first,) = compare_methods(table, "unbiased")
    (alone,) = compare_methods(other, "unbiased")
    assert both.n == 2 * PAIRS
    assert both.difference == pytest.approx((first.difference + alone.difference) / 2)
    assert both.high - both.low < max(first.high - first.low, alone.high - alone.low)


def on_splits(table: StudyTable, **counts: int | None) -> StudyTable:
    """Return the study with a confirmation on a dataset of its own for each pair."""
    data = [{"name": f"split{k}", "digest": f"digest{k}", **counts} for k in range(PAIRS)]
    confirm = {**table.description["confirm"], "data": data}
    runs = [
        replace(run, dataset=f"split{run.pair}", dataset_digest=f"digest{run.pair}")
        if run.stage is Stage.CONFIRMATION
        else run
        for run in table.runs
    ]
    return StudyTable({**table.description, "confirm": confirm}, runs)


def test_splits_of_the_same_images_have_the_variance_of_nadeau_and_bengio(
    table: StudyTable,
) -> None:
    (plain,) = compare_methods(table, "unbiased")
    (unknown,) = compare_methods(on_splits(table, train=None, test=None), "unbiased")
    assert unknown == plain
    (split,) = compare_methods(on_splits(table, train=80, test=20), "unbiased")
    widths = [c.settings_high - c.settings_low for c in (plain, split)]
    assert widths[1] == pytest.approx(widths[0] * math.sqrt(1 + PAIRS * 20 / 80))
    assert (split.difference, split.choice_sd) == (plain.difference, plain.choice_sd)
    assert split.low < plain.low and split.high > plain.high and split.p > plain.p
    # Two searches share the splits: what the splits add does not shrink with their number.
    splits = on_splits(table, train=80, test=20)
    second = [replace(run, study=1) for run in splits.runs]
    twice = StudyTable({**splits.description, "studies": 2}, [*splits.runs, *second])
    (both,) = compare_methods(twice, "unbiased")
    expected = widths[0] * math.sqrt(1 / 2 + PAIRS * 20 / 80)
    t = [float(stats.t.ppf(0.975, df)) for df in (PAIRS - 1, 2 * (PAIRS - 1))]
    assert both.settings_high - both.settings_low == pytest.approx(expected * t[1] / t[0])


def test_of_two_runs_of_a_pair_none_counts_whatever_their_order(table: StudyTable) -> None:
    twin = next(r for r in table.runs if r.stage is Stage.CONFIRMATION and r.pair == 3)
    twin = replace(twin, run="twin", test={"unbiased": 0.0})
    alone = [
        r for r in table.runs if (r.stage, r.method, r.pair) != (twin.stage, twin.method, twin.pair)
    ]
    (expected,) = compare_methods(StudyTable(table.description, alone), "unbiased")
    for runs in ([*table.runs, twin], [twin, *table.runs]):
        (comparison,) = compare_methods(StudyTable(table.description, runs), "unbiased")
        assert comparison == expected and comparison.n == PAIRS - 1
