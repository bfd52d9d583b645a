"""Running a study: resuming, budgets, trials that diverge, failures. No process is started here."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from biascon.errors import DataError, RunError, UsageError
from biascon.runs.folder import run_folder
from biascon.studies.records import Stage, StudyRun
from biascon.studies.table import read_table
from biascon.sweep.runner import Result
from biascon.tuning import run as run_module
from biascon.tuning.run import TABLE
from tests.tuning.fake_studies import FakePool, collect_made_up, make_session, make_spec

pytestmark = pytest.mark.usefixtures("made_up")
CONFIRM = {"seeds": 2, "variance": 2, "rules": ["unbiased", "worst-class"]}


@pytest.mark.usefixtures("small_mnist")
def test_a_study_that_is_stopped_and_started_again_has_the_same_table(tmp_path: Path) -> None:
    spec = make_spec(None, rho=0.9, confirm=CONFIRM)
    whole = make_session(spec, tmp_path / "whole", FakePool()).run()
    stages = [run.stage for run in whole.runs]
    assert [stages.count(stage) for stage in Stage] == [4, 4, 4, 4, 4]
    started = 0
    for stop_after in (
        0,
        1,
        4,
        8,
    ):  # before the first trial, in the search, in the confirmation, after it
        pool = FakePool(stop_after=stop_after)
        with pytest.raises(KeyboardInterrupt):
            make_session(spec, tmp_path / "cut", pool).run()
        started += len(pool.jobs)
        # The finished runs are read from the table: their folders are gone.
        shutil.rmtree(tmp_path / "cut" / "runs", ignore_errors=True)
    last = FakePool()
    assert make_session(spec, tmp_path / "cut", last).run() == whole
    assert read_table(tmp_path / "cut" / TABLE) == read_table(tmp_path / "whole" / TABLE)
    assert started + len(last.jobs) == 20
    again = FakePool()
    assert make_session(spec, tmp_path / "cut", again).run() == whole
    assert again.jobs == []


def test_more_trials_are_added_to_a_study(data: Path, tmp_path: Path) -> None:
    make_session(make_spec(data, trials=2), tmp_path, FakePool()).run()
    pool = FakePool()
    table = make_session(make_spec(data, trials=3), tmp_path, pool).run()
    assert len(pool.jobs) == 2
    assert [run.trial for run in table.trials("ce")] == [0, 1, 2]
    # Fewer trials are selected from the same table.
    fewer = make_session(make_spec(data, trials=1), tmp_path, FakePool()).run()
    assert len(fewer.runs) == 6
    assert [run.trial for run in fewer.trials("ce")] == [0]


def test_a_study_stopped_at_any_moment_has_compared_equals(data: Path, tmp_path: Path) -> None:
    spec = make_spec(data, trials=3, losses=["ce", "supcon", "contex"])
    for stop_after in (3, 6):
        with pytest.raises(KeyboardInterrupt):
            make_session(spec, tmp_path / str(stop_after), FakePool(stop_after=stop_after)).run()
        table = read_table(tmp_path / str(stop_after) / TABLE)
        numbers = [len(table.trials(method)) for method in table.methods]
        assert numbers == [stop_after // 3] * 3


def test_a_trial_that_diverges_counts_is_named_and_is_not_tried_again(
    data: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    spec = make_spec(data, losses=["ce", "supcon", "contex"], confirm={"seeds": 2})
    make_session(spec, tmp_path, FakePool(diverged=["supcon"]), lines).run()
    assert "rule 'unbiased' chooses no trial of 'supcon': every trial diverged" in lines
    assert sum("supcon, trial 0" in x and "diverged" in x and "not finite" in x for x in lines) == 1
    table = read_table(tmp_path / TABLE)
    trials = table.trials("supcon")
    assert [(run.diverged, run.message) for run in trials] == [(True, "the loss is not finite")] * 2
    assert [(run.seconds, run.total_seconds, run.val) for run in trials] == [(10.0, 10.0, {})] * 2
    # The other methods are confirmed.
    confirmed = {run.method for run in table.select(Stage.CONFIRMATION)}
    assert confirmed == {"ce", "contex"}
    pool = FakePool()
    make_session(spec, tmp_path, pool).run()
    assert pool.jobs == []


def test_with_one_method_left_there_is_nothing_to_confirm(data: Path, tmp_path: Path) -> None:
    spec = make_spec(data, confirm={"seeds": 2})
    with pytest.raises(RunError, match="fewer than two methods have a chosen trial"):
        make_session(spec, tmp_path, FakePool(diverged=["supcon"])).run()
    assert len(read_table(tmp_path / TABLE).runs) == 4


def test_another_margin_or_reference_reaches_the_table_without_a_new_run(
    data: Path, tmp_path: Path
) -> None:
    make_session(make_spec(data, confirm={"seeds": 2}), tmp_path, FakePool()).run()
    pool = FakePool()
    confirm = {"seeds": 2, "margin": 0.05, "reference": "supcon"}
    make_session(make_spec(data, confirm=confirm), tmp_path, pool).run()
    assert pool.jobs == []
    stated = read_table(tmp_path / TABLE).description["confirm"]
    assert (stated["margin"], stated["reference"]) == (0.05, "supcon")


class FailingPool(FakePool):
    """A pool in which the runs of one loss fail."""

    def run(self, jobs: Any) -> Any:
        for result in super().run(jobs):
            fails = result.job.config.loss == "supcon"
            yield Result(result.job, "failed", 3, message="no disk") if fails else result


def test_a_run_that_fails_leaves_the_others_in_the_table_and_is_tried_again(
    data: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    with pytest.raises(RunError, match=r"2 runs failed; .* has the others, and the same command"):
        make_session(make_spec(data), tmp_path, FailingPool(), lines).run()
    assert (
        sum("supcon, trial" in line and "failed" in line and "no disk" in line for line in lines)
        == 2
    )
    assert [run.method for run in read_table(tmp_path / TABLE).runs] == ["ce", "ce"]
    pool = FakePool()
    make_session(make_spec(data), tmp_path, pool).run()
    assert [job.config.loss for job in pool.jobs] == ["supcon", "supcon"]


def test_a_folder_that_cannot_be_read_fails_its_run_and_not_the_study(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def collect(planned: StudyRun, folder: Path, root: Path) -> StudyRun | None:
        if planned.method == "ce" and planned.trial == 0:
            raise RunError(f"{folder} has no counts on the validation split")
        if planned.method == "ce":
            return None
        return collect_made_up(planned, folder, root)

    monkeypatch.setattr(run_module, "collect_run", collect)
    lines: list[str] = []
    with pytest.raises(RunError, match="2 runs failed"):
        make_session(make_spec(data), tmp_path, FakePool(), lines).run()
    assert any("ce, trial 0" in line and "failed" in line and "no counts" in line for line in lines)
    assert any("ce, trial 1" in line and "is not finished" in line for line in lines)
    assert [run.method for run in read_table(tmp_path / TABLE).runs] == ["supcon", "supcon"]


def test_a_budget_in_seconds_stops_a_method_and_counts_its_first_stage(
    data: Path, tmp_path: Path
) -> None:
    # A run takes 10 s, one of jtt 15 s with its first stage.
    spec = make_spec(data, losses=["ce", "jtt"], trials=8, budget_seconds=35)
    table = make_session(spec, tmp_path, FakePool()).run()
    assert [len(table.trials(method)) for method in ("ce", "jtt")] == [4, 3]
    pool = FakePool()
    assert make_session(spec, tmp_path, pool).run() == table
    assert pool.jobs == []
    more = make_session(replace(spec, budget_seconds=50.0), tmp_path, pool).run()
    assert [len(more.trials(method)) for method in ("ce", "jtt")] == [5, 4]
    assert len(pool.jobs) == 2


def test_the_time_of_trials_that_diverge_is_part_of_the_budget(data: Path, tmp_path: Path) -> None:
    spec = make_spec(data, losses=["ce", "supcon"], trials=8, budget_seconds=25)
    make_session(spec, tmp_path, FakePool(diverged=["ce"])).run()
    table = read_table(tmp_path / TABLE)
    assert [len(table.trials(method)) for method in ("ce", "supcon")] == [3, 3]


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1}, {"losses": ["ce", "contex"]}, {"settings": ["train.min_steps=0"]},
        {"space": {"optimizer.lr": {"uniform": [0.1, 0.2]}}},
    ],
)  # fmt: skip
def test_the_table_of_another_study_is_refused_and_kept(
    changes: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    make_session(make_spec(data), tmp_path, FakePool()).run()
    content, pool = (tmp_path / TABLE).read_bytes(), FakePool()
    with pytest.raises(UsageError, match=r"has another study: .*; choose another --out"):
        make_session(make_spec(data, **changes), tmp_path, pool).run()
    assert (tmp_path / TABLE).read_bytes() == content
    assert pool.jobs == []


def test_a_damaged_table_is_refused_and_kept(data: Path, tmp_path: Path) -> None:
    make_session(make_spec(data), tmp_path, FakePool()).run()
    content, pool = (tmp_path / TABLE).read_bytes()[:-20], FakePool()
    (tmp_path / TABLE).write_bytes(content)
    with pytest.raises(DataError, match="is damaged"):
        make_session(make_spec(data), tmp_path, pool).run()
    assert (tmp_path / TABLE).read_bytes() == content
    assert pool.jobs == []


def test_methods_that_share_a_run_both_have_its_record(data: Path, tmp_path: Path) -> None:
    temperature = "loss.temperature=0.2"
    methods = {
        "fixed": {"loss": "supcon", "settings": [temperature]},
        "chosen": {"loss": "supcon", "space": {"loss.temperature": {"choice": [0.2]}}},
    }
    pool = FakePool()
    table = make_session(make_spec(data, losses=[], methods=methods), tmp_path, pool).run()
    assert len(pool.jobs) == 2
    assert [len(table.trials(name)) for name in ("fixed", "chosen")] == [2, 2]
    assert [run.run for run in table.trials("fixed")] == [run.run for run in table.trials("chosen")]


def test_the_first_run_is_planned_below_the_folder_of_runs(data: Path, tmp_path: Path) -> None:
    pool = FakePool()
    make_session(make_spec(data), tmp_path, pool).run()
    job = pool.jobs[0]
    assert job.folder == run_folder(tmp_path / "runs", "bmnist5k-0.9", job.config, job.digest)
