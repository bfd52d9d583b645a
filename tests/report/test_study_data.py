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
from biascon.report.document import Table, Text, cell_text
from biascon.report.study_comparison import (
    COMPARISON_COLUMNS,
    comparison_records,
    comparison_rows,
)
from biascon.report.study_data import Study, load_study, make_study
from biascon.report.study_limits import compared_trials
from biascon.report.study_scope import describe_missing_forms
from biascon.report.study_sections import make_document
from biascon.report.study_write import render_study_latex
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


def in_two_searches(table: StudyTable) -> StudyTable:
    """Return a study whose second search has the same runs as the first one."""
    runs = [replace(run, study=study) for study in (0, 1) for run in table.runs]
    return replace(changed(table, studies=2), runs=runs)


def test_trials_are_those_of_each_search() -> None:
    table = in_two_searches(make_study_table(GAINS))
    text = words(make_study(table))
    assert "a budget of 8 trials of each method in each of 2 searches" in text
    assert "not complete" not in text
    cut = without(table, lambda run: run.study == 1 and cut_off(run))
    text = words(make_study(cut))
    assert "a budget of 8, 5 trials of each method in 2 searches" in text
    assert "8, 5 of 8 trials in the 2 searches are finished" in text


def test_runs_beyond_the_stated_study_enter_no_number() -> None:
    """A table that was made with a larger budget before reports the same as one that never had it."""
    table = make_study_table(GAINS, trials=12, confirm={"seeds": 8, "variance": 5})
    confirm = {**table.description["confirm"], "seeds": 5, "variance": 3}
    long = changed(table, trials=9, confirm=confirm)
    short = without(
        long,
        lambda run: (
            run.trial >= 9
            if run.stage is Stage.TRIAL
            else run.pair >= (5 if run.stage is Stage.CONFIRMATION else 3)
        ),
    )
    study = make_study(long)
    assert study.left_out == len(long.runs) - len(short.runs) == 24
    note = f"{study.left_out} runs are beyond the trials and confirmation pairs"
    document, expected = make_document(study), make_document(make_study(short))
    (blocks, *rest), (other, *other_rest) = (
        [list(section.blocks) for section in d.sections] for d in (document, expected)
    )
    notes = [b for b in blocks if isinstance(b, Text) and note in b.text]
    assert len(notes) == 1
    rows = [
        [block.rows for part in parts for block in part if isinstance(block, Table)]
        for parts in ((blocks, *rest), (other, *other_rest))
    ]
    assert rows[0] == rows[1]
    captions = [[figure.caption for figure in d.figures] for d in (document, expected)]
    assert captions[0] == captions[1]


def test_another_rho_has_no_verdict() -> None:
    table = make_study_table(GAINS, rhos=(0.997, 0.99))
    study = make_study(table)
    assert [group.has_verdict for group in study.groups] == [True, False]
    c = study.groups[1].comparisons[0]
    text = words(study)
    assert "Rule unbiased, trials at rho 0.997, confirmation at rho 0.99: unbiased acc" in text
    assert (
        "No verdict about tuned methods: the settings were chosen at rho 0.997, and the variance of the "
        "choice is known only there. The difference of the two chosen settings of contex and supcon in "
        f"unbiased accuracy is {100 * c.difference:+.1f} points (95 % interval "
        f"{100 * c.settings_low:+.1f} to {100 * c.settings_high:+.1f}; n = 4 pairs"
    ) in text
    row = comparison_rows(study, study.groups[1])[0]
    cells = dict(zip(COMPARISON_COLUMNS, map(cell_text, row), strict=True))
    assert cells["verdict"] == "no verdict"
    undefined = ("difference, 95 %", "p (level)", "p (level, Holm)")
    assert [cells[name] for name in undefined] == ["-", "-", "-"]
    assert "relies less" not in text.split("confirmation at rho 0.99:")[-1]
    latex = render_study_latex(study)
    assert "without a verdict about tuned methods" in latex
    assert "trials at rho 0.997, confirmation at rho 0.99" in latex


def test_a_rule_with_the_same_choices_and_numbers_is_printed_once() -> None:
    study = make_study(make_study_table(GAINS, confirm={"rules": ["unbiased", "accuracy"]}))
    text = words(study)
    assert "rule accuracy chooses the same trials as rule unbiased: see above." in text
    assert text.count("The interval of the two chosen settings alone is") == 1
    figures = [figure.name for figure in make_document(study).figures]
    assert [name for name in figures if "confirmation" in name] == ["study-confirmation-unbiased"]
    rules = [record["rule"] for record in comparison_records(study)]
    assert rules == ["unbiased", "unbiased", "accuracy", "accuracy"]  # the data have both


def test_a_rule_with_the_same_choices_but_other_numbers_is_printed() -> None:
    """The interval of a rule has the variance of its own choice."""
    table = make_study_table(GAINS, confirm={"rules": ["unbiased", "accuracy"]})
    best = {run.trial for run in table.select(Stage.CONFIRMATION)}
    runs = [
        replace(run, val={**run.val, "top1": (run.val["top1"] or 0) - 0.3 * (run.trial % 2)})
        if run.stage is Stage.TRIAL and run.trial not in best
        else run
        for run in table.runs
    ]
    text = words(make_study(replace(table, runs=runs)))
    assert "Only the variance of the choice differs" in text
    assert text.count("The interval of the two chosen settings alone is") == 2


def test_a_method_without_trials_does_not_empty_the_others() -> None:
    table = without(
        make_study_table({**GAINS, "ce": 0.0}), lambda run: run.method == "ce" or cut_off(run)
    )
    assert len(make_study(table).trials("contex")) == 5
    assert "Without a finished trial that can be compared: ce." in words(make_study(table))


def test_a_budget_in_seconds_keeps_every_trial() -> None:
    table = without(make_study_table(GAINS, budget_seconds=100.0), cut_off)
    assert compared_trials(table) is table
    assert "at most 100 seconds of training of each method" in words(
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
    assert [list(group.missing) for group in study.groups] == [["contex"]]
    text = words(study)
    assert "Not compared: contex (contex has fewer than 4 trials that did not diverge)." in text


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
    assert study.groups[0].comparisons[0].n == 4
    text = words(study)
    assert "Confirmation runs that diverged: 1 of contex. They are among the pairs" in text
    assert "the gaps are not compared" in text
    assert "Confirmation runs that diverged" not in words(make_study(table))


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
    assert (
        "Rule unbiased, trials and confirmation at rho 0.997: unbiased accuracy against supcon"
        in run.output
    )
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
    names = {"comparison.csv", "comparison.json", "SHA256SUMS"}
    assert {file.name for file in out.iterdir()} == names
    assert "tuned with the same budget" in run.output
    for options in (["--card", "x"], ["--format", "parquet"]):
        assert CliRunner().invoke(cli, ["report", str(path), *options]).exit_code != 0
    assert CliRunner().invoke(cli, ["report", "--oracle"]).exit_code != 0
