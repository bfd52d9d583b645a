"""Adaptive search: the same trials at every start, spaces kept, divergence counted, no confirmation."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from biascon.errors import DivergedError, RunError, UsageError
from biascon.studies.records import Stage, StudyRun
from biascon.studies.table import StudyTable, read_table
from biascon.sweep.grid import Job
from biascon.sweep.runner import Result
from biascon.tuning.adaptive import ROUND, AdaptiveSession
from biascon.tuning.plan import PlannedRun, Planner, resolve_methods
from biascon.tuning.run import StudySession
from biascon.tuning.study import parse_study
from tests.cli.outcomes import only_error

EPOCHS = {"train.epochs": {"choice": [1, 2]}}


def score_of(record: StudyRun) -> float:
    """Return a score with its maximum at a learning rate of 0.01, as the result of a training."""
    return 1 / (1 + abs(record.settings["optimizer.lr"] / 0.01 - 1))


@dataclass
class MadeRuns:
    """A pool whose runs cost nothing; it can diverge, fail or stop at a run."""

    n: int = 0
    ends: dict[int, int] = field(default_factory=dict)  # exit codes by the number of the run
    rounds: list[int] = field(default_factory=list)

    def run(self, jobs: Sequence[Job]) -> Iterator[Result]:
        if jobs:
            self.rounds.append(len(jobs))
        for job in jobs:
            code = self.ends.get(self.n, 0)
            self.n += 1
            state: Any = "failed" if code else "done"
            yield Result(job, state, 1, 1.0, "made" if code else "", code)


@dataclass
class MadeSession(AdaptiveSession):
    """A search whose results are computed from the settings."""

    score: Callable[[StudyRun], float | None] = score_of

    def _collect(self, run: PlannedRun) -> StudyRun:
        score = self.score(run.record)
        return replace(
            run.record, seconds=10.0, first_stage_seconds=0.0, val={"unbiased": score}, test={}
        )


@pytest.fixture
def start(make_dataset: Callable[..., Path], tmp_path: Path) -> Callable[..., MadeSession]:
    pytest.importorskip("optuna", reason="needs optuna: pip install 'biascon[tune]'")
    data = make_dataset(tmp_path / "data")

    def make(pool: MadeRuns | None = None, name: str = "a", **tree: Any) -> MadeSession:
        tree = {"losses": ["contex", "supcon"], "data": str(data), "trials": 6, **tree}
        spec = parse_study({"preset": "smoke", "search": "adaptive", **tree})
        pool = pool or MadeRuns()
        planner = Planner(
            spec, resolve_methods(spec), tmp_path / "runs", tmp_path, "cpu", 1, lambda line: None
        )
        return MadeSession(
            planner, pool, pool, tmp_path / name / "study.parquet", lambda line: None
        )

    return make


def trials_of(table: StudyTable) -> list[tuple[Any, ...]]:
    return [
        (run.method, run.trial, run.run, dict(run.settings), dict(run.val)) for run in table.runs
    ]


def test_the_same_command_has_the_same_trials_for_every_pool(start: Any) -> None:
    table = start().run()
    assert len(table.runs) == 12
    assert {run.stage for run in table.runs} == {Stage.TRIAL}
    assert table.is_adaptive
    assert trials_of(start(name="b").run()) == trials_of(table)
    other = start(name="c", seed=1).run()
    assert not {run.run for run in other.runs} & {run.run for run in table.runs}


def test_a_longer_search_begins_with_the_shorter_one(start: Any) -> None:
    short = trials_of(start(trials=6).run())
    longer = trials_of(start(name="b", trials=9).run())
    assert [trial for trial in longer if trial[1] < 6] == short


def test_every_round_has_as_many_trials_of_each_method(start: Any) -> None:
    pool = MadeRuns()
    start(pool).run()
    assert pool.rounds == [2 * ROUND, 2 * (6 - ROUND)]


@pytest.mark.parametrize("last", [1, 9])
def test_a_search_that_failed_goes_on_with_the_same_trials(start: Any, last: int) -> None:
    expected = trials_of(start(name="b").run())
    with pytest.raises(RunError, match="1 runs failed"):
        start(MadeRuns(ends={last: 1})).run()
    pool = MadeRuns()
    session = start(pool)
    assert trials_of(session.run()) == expected
    assert pool.n == 12 - (7 if last == 1 else 11)  # a round is finished around its failed run
    assert trials_of(read_table(session.path)) == expected
    assert start(again := MadeRuns()).run().runs == session.table().runs
    assert again.n == 0


def test_every_value_is_in_its_space_and_complements_are_computed(start: Any) -> None:
    session = start(trials=14)
    for run in session.run().runs:
        method = next(m for m in session.planner.methods if m.name == run.method)
        assert set(run.settings) == set(method.space)
        for key, distribution in method.space.items():
            value, limits = run.settings[key], distribution.to_json()
            if "choice" in limits:
                assert value in limits["choice"]
            elif "complement" not in limits:
                ((low, high),) = limits.values()
                assert low <= value <= high
        if run.method == "contex":
            assert run.settings["loss.wb"] == pytest.approx(1 - run.settings["loss.wa"], abs=1e-6)


def test_the_search_learns_from_its_results(start: Any) -> None:
    """Scores that reward low rates draw the later trials down; scores that reward high ones draw them up."""

    def mean_of_late_trials(name: str, sign: float) -> float:
        session = start(name=name, losses=["ce"], trials=32)
        session.score = lambda record: 0.5 + sign * record.settings["optimizer.lr"]
        rates = [run.settings["optimizer.lr"] for run in session.run().runs]
        return sum(rates[16:]) / 16

    assert mean_of_late_trials("low", -1) < 0.7 * mean_of_late_trials("high", 1)


def test_a_trial_that_diverged_counts_and_is_avoided(start: Any) -> None:
    session = start(MadeRuns(ends={0: DivergedError.exit_code}), losses=["ce"])
    table = session.run()
    assert [run.diverged for run in table.runs] == [True] + [False] * 5
    assert len(session.pool.rounds) == 2
    (best,) = session.best_trials()
    assert best.record == max(table.runs[1:], key=score_of)
    every = MadeRuns(ends=dict.fromkeys(range(6), DivergedError.exit_code))
    session = start(every, name="b", losses=["ce"])
    session.run()
    assert session.best_trials()[0].record is None
    assert session.best_trials()[0].describe() == "ce, search 0: every trial diverged"


def test_the_printed_command_is_the_run_of_the_best_trial(start: Any) -> None:
    session = start()
    table = session.run()
    for best, method in zip(session.best_trials(), ("contex", "supcon"), strict=True):
        trials = table.trials(method)
        assert best.record == max(trials, key=score_of)
        words = best.command.split()
        assert words[:4] == ["biascon", "evaluate", "--loss", method]
        assert f"optimizer.lr={best.record.settings['optimizer.lr']}" in words
        assert words[words.index("--seeds") + 1] == str(best.record.seed)
        assert f"best is trial {best.record.trial}, {100 * score_of(best.record):.1f} % unbiased" in (
            best.describe()
        )


def test_the_budget_in_seconds_ends_the_search_of_a_method(start: Any) -> None:
    assert len(start(losses=["ce"], trials=12, budget_seconds=30).run().runs) == ROUND
    assert len(start(name="b", losses=["ce"], trials=12, budget_seconds=41).run().runs) == 2 * ROUND


def test_two_searches_of_a_method_differ(start: Any) -> None:
    runs = start(losses=["ce"], studies=2).run().runs
    first, second = (
        [dict(run.settings) for run in runs if run.study == study] for study in (0, 1)
    )
    assert len(first) == len(second) == 6
    assert all(a != b for a, b in zip(first, second, strict=True))


def test_a_table_of_another_search_is_refused(start: Any) -> None:
    session = start()
    session.run()
    paired = StudySession(
        replace(session.planner, spec=replace(session.planner.spec, search="paired")),
        session.pool, session.pool, session.path, lambda line: None,
    )  # fmt: skip
    with pytest.raises(UsageError, match="has another study"):
        paired.run()
    with pytest.raises(UsageError, match="has another study"):
        start(confirm={"rules": ["accuracy"]}).run()
    other = start()
    other.planner = replace(other.planner, threads=2)
    with pytest.raises(UsageError, match="another run for trial 0 of 'contex'"):
        other.run()
    assert len(read_table(session.path).runs) == 12


def test_a_space_with_an_impossible_end_is_refused_before_the_first_trial(start: Any) -> None:
    pool = MadeRuns()
    space = {"loss.temperature": {"uniform": [-0.1, 0.5]}}
    with pytest.raises(UsageError, match=r"method 'contex'.*temperature"):
        start(pool, space=space).run()
    assert pool.n == 0


def test_an_undefined_score_ends_the_search_in_one_line(start: Any) -> None:
    session = start()
    session.score = lambda record: None
    with pytest.raises(RunError, match="rule 'unbiased' is undefined on the validation split"):
        session.run()
    assert len(read_table(session.path).runs) == 2 * ROUND


def test_a_search_without_optuna_ends_in_one_line_and_writes_nothing(
    tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    (tmp_path / "study.toml").write_text('losses = ["ce"]\nrho = 0.9\n')
    outcome = cli("tune", "study.toml", "--search", "adaptive")
    assert outcome.code == 1
    assert "pip install 'biascon[tune]'" in only_error(outcome.err)
    assert [path.name for path in tmp_path.iterdir()] == ["study.toml"]


def test_options_of_a_comparison_are_refused(tmp_path: Path, cli: Callable[..., Any]) -> None:
    (tmp_path / "study.toml").write_text('losses = ["ce"]\nrho = 0.9\nsearch = "adaptive"\n')
    for option in ("--oracle", "--dry-run"):
        outcome = cli("tune", "study.toml", option)
        assert outcome.code == 2
        assert f"no {option}" in only_error(outcome.err)
