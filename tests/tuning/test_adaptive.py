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

Start = Callable[..., "MadeSession"]
# A configuration is planned for each end of each parameter; few parameters keep the tests quick.
SPACE: dict[str, Any] = {"optimizer.weight_decay": False, "augment.strength": False}


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

    def _add(self, run: PlannedRun, result: Result) -> Result:
        if result.state == "failed":
            return super()._add(run, result)
        val = {"unbiased": self.score(run.record)}
        record = replace(run.record, seconds=10.0, first_stage_seconds=0.0, val=val, test={})
        self.records[record.key] = record
        return result


def make_session(
    data: Path, folder: Path, pool: MadeRuns | None = None, **tree: Any
) -> MadeSession:
    """Return a search with 6 trials of two methods, unless the arguments state another study."""
    pytest.importorskip("optuna", reason="needs optuna: pip install 'biascon[tune]'")
    tree = {"losses": ["contex", "supcon"], "trials": 6, "space": SPACE, **tree}
    spec = parse_study({"data": str(data), "preset": "smoke", "search": "adaptive", **tree})
    methods, pool = resolve_methods(spec), pool or MadeRuns()
    planner = Planner(spec, methods, folder / "runs", folder, "cpu", 1, lambda line: None)
    return MadeSession(planner, pool, pool, folder / "study.parquet", lambda line: None)


@pytest.fixture
def start(data: Path, tmp_path: Path) -> Start:
    return lambda pool=None, name="a", **tree: make_session(data, tmp_path / name, pool, **tree)


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> MadeSession:
    """Return a finished search, which no test changes."""
    session = make_session(data, tmp_path_factory.mktemp("finished"), trials=9)
    session.run()
    return session


def trials_of(table: StudyTable, limit: int = 6) -> list[tuple[Any, ...]]:
    return [
        (run.method, run.trial, run.run, dict(run.settings), run.val["unbiased"])
        for run in table.runs
        if run.trial < limit
    ]


def test_the_table_states_the_search_and_has_no_confirmation(finished: MadeSession) -> None:
    table = read_table(finished.path)
    assert table.is_adaptive
    assert [run.stage for run in table.runs] == [Stage.TRIAL] * 18
    assert trials_of(table, 9) == trials_of(finished.table(), 9)
    assert table.description["sampler"]["rule"] == "unbiased"


def test_every_round_has_as_many_trials_of_each_method(finished: MadeSession) -> None:
    assert finished.pool.rounds == [2 * ROUND, 2 * ROUND, 2]  # type: ignore[attr-defined]


@pytest.mark.parametrize("last", [1, 9])
def test_a_search_that_failed_goes_on_with_the_trials_of_one_that_did_not(
    start: Start, finished: MadeSession, last: int
) -> None:
    """The search is shorter than the finished one too: a longer search begins with the shorter one."""
    expected = trials_of(finished.table())
    with pytest.raises(RunError, match="1 runs failed"):
        start(MadeRuns(ends={last: 1})).run()
    pool = MadeRuns()
    session = start(pool)
    assert trials_of(session.run()) == expected
    # The other runs of the round of the failed one are in the table.
    assert pool.n == (5 if last == 1 else 1)
    assert trials_of(read_table(session.path)) == expected


def test_a_finished_search_runs_nothing(finished: MadeSession) -> None:
    before, pool = finished.path.read_bytes(), MadeRuns()
    again = MadeSession(finished.planner, pool, pool, finished.path, finished.log)
    assert trials_of(again.run()) == trials_of(finished.table())
    assert pool.n == 0
    assert finished.path.read_bytes() == before


def test_another_seed_has_other_trials(start: Start, finished: MadeSession) -> None:
    runs = start(seed=1, losses=["contex"], trials=3).run().runs
    others = [run for run in finished.table().trials("contex") if run.trial < 3]
    assert all(a.settings != b.settings for a, b in zip(runs, others, strict=True))


def test_every_value_is_in_its_space_and_complements_are_computed(finished: MadeSession) -> None:
    session = finished
    for run in session.table().runs:
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


def test_the_search_learns_from_its_results(start: Start) -> None:
    """Scores that reward low rates draw the later trials down; scores that reward high ones draw them up."""

    def mean_of_late_trials(name: str, sign: float) -> float:
        space = SPACE | {"train.epochs": False, "train.batch_size": False}
        session = start(name=name, losses=["ce"], trials=24, space=space)
        session.score = lambda record: 0.5 + sign * record.settings["optimizer.lr"]
        rates = [run.settings["optimizer.lr"] for run in session.run().runs]
        return sum(rates[12:]) / 12

    assert mean_of_late_trials("low", -1) < 0.7 * mean_of_late_trials("high", 1)


def test_a_trial_that_diverged_counts_and_is_avoided(start: Start) -> None:
    session = start(MadeRuns(ends={0: DivergedError.exit_code}), losses=["ce"])
    table = session.run()
    assert [run.diverged for run in table.runs] == [True] + [False] * 5
    (best,) = session.best_trials()
    assert best.record == max(table.runs[1:], key=score_of)
    every = MadeRuns(ends=dict.fromkeys(range(2), DivergedError.exit_code))
    session = start(every, name="b", losses=["ce"], trials=2)
    session.run()
    assert session.best_trials()[0].record is None
    assert session.best_trials()[0].describe() == "ce, search 0: every trial diverged"


def test_the_printed_command_is_the_run_of_the_best_trial(finished: MadeSession) -> None:
    for best, method in zip(finished.best_trials(), ("contex", "supcon"), strict=True):
        trials = finished.table().trials(method)
        assert best.record is not None
        assert best.record == max(trials, key=score_of)
        words = best.command.split()
        assert words[:4] == ["biascon", "evaluate", "--loss", method]
        assert not {"--json", "--no-features"} & set(words)
        assert f"optimizer.lr={best.record.settings['optimizer.lr']}" in words
        assert words[words.index("--seeds") + 1] == str(best.record.seed)
        assert (
            f"best is trial {best.record.trial}, {100 * score_of(best.record):.1f} % unbiased"
            in (best.describe())
        )


def test_the_budget_in_seconds_ends_the_search_of_a_method(start: Start) -> None:
    assert len(start(losses=["ce"], trials=12, budget_seconds=30).run().runs) == ROUND
    assert len(start(name="b", losses=["ce"], trials=12, budget_seconds=41).run().runs) == 2 * ROUND


def test_two_searches_of_a_method_differ(start: Start) -> None:
    runs = start(losses=["ce"], studies=2, trials=3).run().runs
    first, second = ([dict(run.settings) for run in runs if run.study == study] for study in (0, 1))
    assert len(first) == len(second) == 3
    assert all(a != b for a, b in zip(first, second, strict=True))


def test_a_table_of_another_search_is_refused(start: Start) -> None:
    session = start(losses=["contex", "supcon"], trials=1)
    session.run()
    paired = StudySession(
        replace(session.planner, spec=replace(session.planner.spec, search="paired")),
        session.pool, session.pool, session.path, lambda line: None,
    )  # fmt: skip
    with pytest.raises(UsageError, match="has another study"):
        paired.run()
    with pytest.raises(UsageError, match="has another study"):
        start(confirm={"rules": ["accuracy"]}).run()
    other = start(trials=1)
    other.planner = replace(other.planner, threads=2)
    with pytest.raises(UsageError, match="another run for trial 0 of 'contex'"):
        other.run()
    assert len(read_table(session.path).runs) == 2


def test_a_space_with_an_impossible_end_is_refused_before_the_first_trial(start: Start) -> None:
    pool = MadeRuns()
    space = {"loss.temperature": {"uniform": [-0.1, 0.5]}}
    with pytest.raises(UsageError, match=r"method 'contex'.*temperature"):
        start(pool, space=space).run()
    assert pool.n == 0


def test_an_undefined_score_ends_the_search_in_one_line(start: Start) -> None:
    session = start(losses=["ce"])
    session.score = lambda record: None
    with pytest.raises(RunError, match="rule 'unbiased' is undefined on the validation split"):
        session.run()
    assert len(read_table(session.path).runs) == ROUND  # nothing is lost


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
