"""Studies that are not complete, adaptive, or damaged: what is compared, and what the report says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from biascon.cli.app import cli
from biascon.errors import DataError, UsageError
from biascon.report.document import Text
from biascon.report.study_data import Study, compared_trials, load_study, make_study
from biascon.report.study_sections import make_document
from biascon.report.study_scope import describe_missing_forms
from biascon.studies.records import Stage, StudyRun
from biascon.studies.table import StudyTable, write_table
from tests.report.made_study import make_study_table, without

GAINS = {"supcon": 0.0, "contex": 0.05}


def words(study: Study) -> str:
    return "\n".join(
        block.text
        for section in make_document(study).sections
        for block in section.blocks
        if isinstance(block, Text)
    )


def changed(table: StudyTable, **changes: Any) -> StudyTable:
    return replace(table, description={**table.description, **changes})


def cut_off(run: StudyRun) -> bool:
    """Whether a search that ends after six trials of supcon and five of contex lacks a run."""
    if run.stage is not Stage.TRIAL:
        return True
    return run.trial >= (6 if run.method == "supcon" else 5)


def test_only_trials_that_all_methods_have_are_compared() -> None:
    table = without(make_study_table(GAINS), cut_off)
    study = make_study(table)
    assert [len(study.trials(m)) for m in study.methods] == [5, 5]
    text = words(study)
    assert "5 of 8 trials are finished for every method" in text
    assert "1 more finished trials are left out" in text
    assert "No confirmation run is finished yet" in text
    assert not study.groups


def test_a_method_without_trials_does_not_empty_the_others() -> None:
    table = without(
        make_study_table({**GAINS, "ce": 0.0}), lambda run: run.method == "ce" or cut_off(run)
    )
    assert len(make_study(table).trials("contex")) == 5
    assert "Without a finished trial that can be compared: ce." in words(make_study(table))


def test_a_budget_in_seconds_keeps_every_trial() -> None:
    table = without(make_study_table(GAINS, budget_seconds=100.0), cut_off)
    assert compared_trials(table) is table
    assert "at most 100 seconds of training each" in words(
        make_study(make_study_table(GAINS, budget_seconds=100.0))
    )


def test_confirmation_of_other_settings_is_not_used_and_counted() -> None:
    """The best trials of one method are missing: the confirmation is of settings that no rule chooses."""
    table = make_study_table(GAINS)
    best = {run.trial for run in table.select(Stage.CONFIRMATION)}
    lost = without(
        table,
        lambda run: run.stage is Stage.TRIAL and run.method == "contex" and run.trial in best,
    )
    study = make_study(lost)
    assert all(len(study.trials(m)) == 8 - len(best) for m in study.methods)
    assert "8 confirmation runs are of settings that no rule chooses" in words(study)
    assert not study.groups[0].comparisons


def test_adaptive_search_has_no_verdict_and_no_bands() -> None:
    study = make_study(changed(make_study_table(GAINS), search="adaptive"))
    document = make_document(study)
    text = words(study)
    assert not study.groups
    assert "This study searches adaptively" in text
    assert "no tuning curve" in text
    assert "not paired" in text
    names = [figure.name for figure in document.figures]
    assert not [n for n in names if "curves" in n or "specification" in n or "confirmation" in n]
    assert "study-best-so-far-unbiased" in names


def test_study_without_confirmation_says_why_there_is_no_verdict() -> None:
    study = make_study(make_study_table(GAINS, confirm={"seeds": 0, "variance": 0}))
    assert "has no confirmation" in study.no_verdict
    assert study.no_verdict in words(study)


def test_one_trial_each_has_no_comparison() -> None:
    """The variance of the choice is unknown with one trial."""
    study = make_study(make_study_table(GAINS, trials=1))
    assert [group.missing for group in study.groups] == [["contex"]]
    assert "Not compared" in words(study)


def test_empty_study_has_a_report() -> None:
    table = without(make_study_table(GAINS), lambda run: True)
    assert "nothing to compare with" in words(make_study(table))


def test_diverged_confirmation_runs_are_named() -> None:
    table = make_study_table(GAINS)
    last = max(run.pair for run in table.select(Stage.CONFIRMATION))
    runs = [
        replace(run, diverged=True, message="loss is nan", val={}, test={})
        if run.stage is Stage.CONFIRMATION and run.method == "contex" and run.pair == last
        else run
        for run in table.runs
    ]
    study = make_study(replace(table, runs=runs))
    assert study.groups[0].comparisons[0].n == 3
    assert "Confirmation runs that diverged: contex: 1." in words(study)
    assert "diverged" not in words(make_study(table)).split("Undecided")[0].split("A trial that")[0]


def test_other_reference() -> None:
    table = make_study_table(GAINS)
    (a,), (b,) = (make_study(table, reference=r).groups[0].comparisons for r in (None, "contex"))
    assert (a.method, b.method) == ("contex", "supcon")
    assert a.difference == -b.difference
    with pytest.raises(UsageError, match="no method 'context'; did you mean 'contex'"):
        make_study(table, reference="context")


@pytest.mark.parametrize(
    ("methods", "missing"),
    [
        ({"contex": {}}, "contex-clip"),
        ({"contex": {"settings": ["loss.form=clip"]}}, "the unbounded form (contex)"),
        ({"contex": {}, "contex-clip": {}}, ""),
        ({"simclr": {}}, ""),
    ],
)
def test_missing_form_of_contex_is_stated(methods: dict[str, Any], missing: str) -> None:
    table = make_study_table(dict.fromkeys(["supcon", *methods], 0.0), trials=2, methods=methods)
    sentence = describe_missing_forms(make_study(table))
    assert missing in sentence
    assert bool(missing) == bool(sentence)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "study.parquet"
    write_table(path, make_study_table(GAINS))
    return path


def test_table_reads_back_with_its_methods_in_order(path: Path) -> None:
    assert load_study(path).methods == ["supcon", "contex"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[: len(data) // 2], "is damaged or is not a Parquet file"),
        (lambda data: b"", "is damaged or is not a Parquet file"),
    ],
)
def test_damaged_table_is_one_line(
    path: Path, damage: Callable[[bytes], bytes], message: str
) -> None:
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=message):
        load_study(path)


def test_incomplete_description_is_one_line(tmp_path: Path) -> None:
    table = make_study_table(GAINS, trials=2)
    confirm = {k: v for k, v in table.description["confirm"].items() if k != "margin"}
    write_table(tmp_path / "s.parquet", changed(table, confirm=confirm))
    with pytest.raises(DataError, match=r"its description has no confirm\.margin"):
        load_study(tmp_path / "s.parquet")


def test_compare_reads_the_table_alone(path: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke(cli, ["compare", str(path)])
    assert run.exit_code == 0, run.output
    assert "Rule unbiased, rho 0.997: unbiased accuracy against supcon" in run.output
    assert "better" in run.output
    out = tmp_path / "c.csv"
    run = CliRunner().invoke(
        cli, ["compare", str(path), "--json", "--against", "contex", "--out", str(out)]
    )
    records = [json.loads(line) for line in run.output.splitlines()]
    assert [(r["metric"], r["method"]) for r in records] == [
        ("unbiased", "supcon"), ("gap", "supcon"),
    ]  # fmt: skip
    assert out.read_text().startswith("study,search,margin,method,")
    for arguments in ([str(path), "runs"], [str(path), "--out", str(tmp_path / "c.txt")]):
        assert CliRunner().invoke(cli, ["compare", *arguments]).exit_code != 0


def test_report_of_a_table(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    run = CliRunner().invoke(
        cli, ["report", str(path), "--out", str(out), "--format", "csv", "--format", "json"]
    )
    assert run.exit_code == 0, run.output
    assert sorted(file.name for file in out.iterdir()) == ["comparison.csv", "comparison.json"]
    assert "tuned with the same budget" in run.output
    for options in (["--card", "x"], ["--format", "parquet"]):
        assert CliRunner().invoke(cli, ["report", str(path), *options]).exit_code != 0
    assert CliRunner().invoke(cli, ["report", "--oracle"]).exit_code != 0
