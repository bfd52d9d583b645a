"""The report of a tuning study: its words, its formats, and its pictures."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from biascon.errors import BiasconError, UsageError
from biascon.report.document import Code, Document, Table, Text, cell_text
from biascon.report.study_comparison import comparison_csv, comparison_records
from biascon.report.study_data import Study, make_study
from biascon.report.study_file import format_study_file
from biascon.report.study_sections import make_document
from biascon.report.study_trials import _confirmed_points
from biascon.report.study_write import (
    STUDY_FORMATS,
    render_study_html,
    render_study_latex,
    render_study_markdown,
    write_study_report,
)
from biascon.studies.confirmation import Verdict
from biascon.studies.records import Stage
from biascon.tuning.plan import resolve_methods
from biascon.tuning.study import parse_study, read_study
from tests.report.made_study import (
    GOLDEN,
    diverge,
    golden_report,
    golden_table,
    make_study_table,
    settings_of,
    without,
)
from tests.report.test_html import Walk

BAD = "a|b_<i>$x$\\"


@pytest.fixture(scope="module")
def study() -> Study:
    return make_study(golden_table(), with_oracle=True)


@pytest.fixture(scope="module")
def document(study: Study) -> Document:
    return make_document(study, settings_of)


def table_of(document: Document, start: str) -> Table:
    tables = [
        block
        for section in document.sections
        for block in section.blocks
        if isinstance(block, Table) and block.title.startswith(start)
    ]
    return tables[0]


def texts_of(document: Document, section: str) -> str:
    (found,) = [part for part in document.sections if part.title == section]
    return "\n".join(block.text for block in found.blocks if isinstance(block, Text | Code))


def test_markdown_equals_the_golden_file() -> None:
    assert golden_report() == GOLDEN.read_text(encoding="utf-8")


def test_numbers_of_the_verdict_are_those_of_the_runs(study: Study, document: Document) -> None:
    """The golden file could be wrong: here the means are computed from the runs."""
    runs = [r for r in study.full.select(Stage.CONFIRMATION) if r.rho == 0.99]
    means = {}
    for method in ("supcon", "contex"):
        values = [run.test["unbiased"] or 0.0 for run in runs if run.method == method]
        assert len(values) == 4
        means[method] = sum(values) / 4
    row = [
        cell_text(c)
        for c in table_of(
            document, "Rule unbiased, trials at rho 0.997, confirmation at rho 0.99: against"
        ).rows[0]
    ]
    assert [row[0], *row[2:5]] == [
        "contex",
        f"{100 * means['contex']:.1f}",
        f"{100 * means['supcon']:.1f}",
        f"{100 * (means['contex'] - means['supcon']):+.1f}",
    ]


def test_relies_less_is_said_only_if_the_gap_is_smaller_too() -> None:
    table = make_study_table({"supcon": 0.0, "contex": 0.05}, trials=6)
    less = texts_of(make_document(make_study(table)), "Verdict")
    assert "contex relies less on the bias attribute than supcon" in less
    equal_gap = replace(
        table,
        runs=[replace(run, test={**run.test, "gap": 0.2 + run.pair / 100}) for run in table.runs],
    )
    other = texts_of(make_document(make_study(equal_gap)), "Verdict")
    assert "Better: the unbiased accuracy of tuned contex" in other
    assert "relies" not in other.split("Each statement")[-1].replace("which of the two relies", "")


def test_level_is_stated_with_its_margin() -> None:
    table = make_study_table({"supcon": 0.0, "ce": 0.0}, noise=0.001, confirm={"margin": 0.05})
    study = make_study(table)
    assert [c.verdict for c in study.groups[0].comparisons] == [Verdict.LEVEL]
    assert "smaller than 5.0 points" in texts_of(make_document(study), "Verdict")
    assert "less than the margin" not in texts_of(make_document(study), "Verdict")


def test_level_with_a_difference_that_is_not_0_says_so() -> None:
    table = make_study_table(
        {"supcon": 0.0, "ce": -0.02}, noise=0.0002, confirm={"margin": 0.3, "seeds": 8}
    )
    study = make_study(table)
    (comparison,) = study.groups[0].comparisons
    assert comparison.verdict is Verdict.LEVEL
    assert comparison.p_holm <= 0.05
    text = texts_of(make_document(study), "Verdict")
    assert "Level: worse by less than the margin: the unbiased accuracy" in text
    assert "and it is not 0" in text


def test_oracle_is_shown_only_on_demand_and_marked(document: Document) -> None:
    assert "oracle" in table_of(document, "Test unbiased accuracy").header
    assert "no selection rule" in texts_of(document, "Selection rules")
    without_oracle = render_study_markdown(make_document(make_study(golden_table())))
    assert "oracle" not in without_oracle


def test_a_rule_that_cannot_choose_says_why(document: Document) -> None:
    rows = table_of(document, "The chosen trials").rows
    reasons = {cell_text(row[2]) for row in rows if cell_text(row[1]) == "biased-worst-class"}
    assert all("is undefined in trial 0, 1, " in reason for reason in reasons)
    every = diverge(golden_table(), *(("groupdro", k) for k in range(8)))
    row = next(
        row
        for row in table_of(make_document(make_study(every)), "The chosen trials").rows
        if cell_text(row[0]).startswith("groupdro")
    )
    assert cell_text(row[2]) == "none: every trial diverged"


def test_diverged_trials_are_named(document: Document) -> None:
    rows = [[cell_text(cell) for cell in row] for row in table_of(document, "Runs that").rows]
    assert rows == [["supcon", "trial", "2", "2", "loss is nan"]]


def test_method_names_are_escaped_in_every_format() -> None:
    table = make_study_table({"supcon": 0.0, BAD: 0.05}, trials=6)
    study = make_study(table)
    document = make_document(study, settings_of)
    few = replace(document, sections=[without_pictures(s) for s in document.sections])
    page, latex = render_study_html(few), render_study_latex(study)
    text = "\n".join(
        line for line in render_study_markdown(document).splitlines() if not line.startswith("#")
    )
    assert "<i>" not in page
    assert "&lt;i&gt;" in page
    assert r"a\textbar{}b\_\textless{}i\textgreater{}\$x\$\textbackslash{}" in latex
    assert r"a\|b\_\<i\>$x$\\" in text.split("```")[0]
    rows = [line for line in text.split("```")[0].splitlines() if line.startswith("| a")]
    assert rows
    assert all(re.sub(r"\\.", "", row).count("|") > 3 for row in rows)
    for figure in document.figures:
        assert re.fullmatch(r"figure-[a-z0-9-]+", figure.file_stem)


def test_page_is_well_formed_and_every_number_has_its_origin(document: Document) -> None:
    few = replace(document, sections=[without_pictures(s) for s in document.sections])
    walk = Walk(render_study_html(few))
    assert not walk.around
    numbers = 0
    for text, around in walk.texts:
        tags = {tag for tag, _ in around}
        if re.search(r"\d", text) and not {"style", "script", "title"} & tags:
            numbers += 1
            assert any("data-source" in attributes for _, attributes in around), text
    assert numbers > 100
    loaded = [a for _, a in walk.tags if {"src", "xlink:href"} & set(a)]
    assert not loaded


def without_pictures(section: object) -> object:
    return replace(section, blocks=[b for b in section.blocks if b.kind != "picture"])  # type: ignore[type-var, attr-defined]


def test_pictures_are_the_same_bytes_every_time(study: Study, document: Document) -> None:
    again = make_document(make_study(golden_table(), with_oracle=True), settings_of)
    names = [figure.name for figure in document.figures]
    assert len(names) == len(set(names)) == 9
    for k, (a, b) in enumerate(zip(document.figures, again.figures, strict=True)):
        assert a.to_png().startswith(b"\x89PNG")
        if k == len(names) - 1:
            assert a.to_png() == b.to_png()
            assert a.to_svg_file() == b.to_svg_file()
            assert a.to_pdf() == b.to_pdf()
            assert a.to_svg().startswith('<svg role="img"')


def test_csv_and_json_have_every_comparison(study: Study) -> None:
    records = comparison_records(study)
    assert len(records) == 2 * 2 * 2  # methods, rhos, metrics
    rows = list(csv.DictReader(io.StringIO(comparison_csv(study))))
    assert [row["difference"] for row in rows] == [str(r["difference"]) for r in records]
    assert json.loads(json.dumps(records)) == records


def test_files_of_each_format(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("biascon.report.figures.Figure._save", lambda *_: b"<svg")
    written = write_study_report(study, tmp_path / "out", trial_settings=settings_of)
    assert all(path.is_file() for path in written)
    names = {path.relative_to(tmp_path / "out").as_posix() for path in written}
    pages = {"report.md", "report.html", "comparison.tex", "comparison.csv", "comparison.json"}
    pages |= {"SHA256SUMS"}
    assert {name for name in names if "/" not in name} == pages
    assert {Path(name).suffix for name in names if "/" in name} == {".png", ".svg", ".pdf"}
    markdown = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\((figures/[^)]+)\)", markdown)) <= names
    assert set(STUDY_FORMATS) == {"html", "markdown", "latex", "csv", "json"}
    with pytest.raises(UsageError, match="unknown format 'parquet'"):
        write_study_report(study, tmp_path, formats=["parquet"])


def test_commands_name_dataset_seed_and_threads(document: Document) -> None:
    text = texts_of(document, "Search spaces and chosen settings")
    assert "biascon make-bmnist --rho 0.997\n" in text
    (line,) = [
        text.splitlines()[k + 1]
        for k, line in enumerate(text.splitlines())
        if line.startswith("# contex, ") and "unbiased" in line
    ]
    assert "--loss contex --seeds " in line
    assert "--data data/bmnist-0.997" in line
    assert "--set train.threads=1" in line


def test_study_file_reads_back_as_the_same_search(tmp_path: Path) -> None:

    path = tmp_path / "made.toml"
    description = golden_table().description
    path.write_text(format_study_file(description), encoding="utf-8")
    spec = read_study(path)
    assert [method.name for method in spec.methods] == list(description["methods"])
    for method in spec.methods:
        space = description["methods"][method.name]["space"]
        assert {k: d.to_json() for k, d in method.space.items() if d is not None} == space
    assert (spec.trials, spec.rho, spec.confirm.reference) == (8, 0.997, "supcon")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"space": {"augment.strength": False}},
        {"space": {"loss.temperature": False, "optimizer.lr": {"log_uniform": [0.01, 0.02]}},
         "losses": ["supcon", "simclr"]},
        {"settings": ["train.micro_batch=64", "optimizer.lr=0.01"]},
        {"methods": {"form": {"loss": "contex", "settings": ["loss.form=log1p"]}}},
        {"methods": {"a \"q' <b>&_$\\ é\n\x7f": {"loss": "SupCon", "space": {"train.epochs": False}}}},
        {"methods": {"own": {"loss": "contex", "space": {"loss.wa": False, "loss.wb": False}}}},
    ],
    ids=["registry", "no-strength", "temperature", "settings", "form", "name", "own"],
)  # fmt: skip
def test_study_file_gives_the_same_methods(changes: dict[str, object]) -> None:
    """The printed file of a planned study resolves to the same methods with the same spaces."""
    spec = parse_study({"losses": ["ce", "supcon"], "rho": 0.9, "preset": "smoke", **changes})
    methods = {method.name: method.to_json() for method in resolve_methods(spec)}
    description = {
        **golden_table().description, "methods": methods, "settings": list(spec.settings),
        "confirm": {"seeds": 4, "rules": ["unbiased"], "reference": next(iter(methods)), "margin": 0.02,
                    "rho": [0.9], "variance": 2, "variance_of": list(methods)[:1]},
    }  # fmt: skip
    again = parse_study(tomllib.loads(format_study_file(description)))
    assert {m.name: m.to_json() for m in resolve_methods(again)} == methods
    assert again.settings == spec.settings
    assert list(again.confirm.variance_of) == list(methods)[:1]


def test_command_of_the_study_is_that_of_its_description() -> None:
    table = make_study_table({"supcon": 0.0, "ce": 0.0}, command="biascon tune a.toml --trials 8")
    other = make_study_table({"supcon": 0.0, "ce": 0.0})
    for made, command in (
        (table, "biascon tune a.toml --trials 8"),
        (other, "biascon tune made.toml"),
    ):
        rows = table_of(make_document(make_study(made)), "Protocol").rows
        assert {cell_text(a): cell_text(b) for a, b in rows}["command"] == command


def test_other_distribution_of_a_shared_parameter_is_named() -> None:
    space = {"optimizer.lr": {"log_uniform": [0.05, 0.1]}}
    table = make_study_table(
        {"supcon": 0.0, "ce": 0.0, "contex": 0.04}, methods={"contex": {"space": space}}
    )
    document = make_document(make_study(table))
    assert "(not shared: optimizer.lr of contex)" in texts_of(document, "Specification curves")
    protocol = {cell_text(a): cell_text(b) for a, b in table_of(document, "Protocol").rows}
    assert protocol["draws"].endswith("except optimizer.lr of contex")
    captions = {f.name: f.caption for f in document.figures if "specification" in f.name}
    ce, contex = (
        captions[f"study-specification-{k}-{name}"] for k, name in ((0, "ce"), (1, "contex"))
    )
    assert "Equal in each pair: optimizer.lr, train.batch_size, loss.temperature." in ce
    assert "Not shared" not in ce
    assert "Equal in each pair: train.batch_size, loss.temperature. Not shared, because" in contex
    assert "differ: optimizer.lr." in contex


def test_only_the_confirmation_at_the_rho_of_the_trials_is_beside_them() -> None:
    table = make_study_table({"supcon": 0.0, "contex": 0.05}, trials=6, rhos=(0.99, 0.997))
    runs = [r for r in table.select(Stage.CONFIRMATION, "contex") if r.rho == 0.997]
    mean = sum(run.test["unbiased"] or 0.0 for run in runs) / len(runs)
    assert _confirmed_points(make_study(table))["contex"][1] == pytest.approx(mean)
    captions = {f.name: f.caption for f in make_document(make_study(table)).figures}
    assert "mean of the confirmation runs at rho 0.997 of the setting" in captions["study-front"]
    assert "runs at rho 0.99;" in captions["study-variance"]
    other = without(table, lambda run: run.stage is Stage.CONFIRMATION and run.rho == 0.997)
    assert not _confirmed_points(make_study(other))
    captions = {f.name: f.caption for f in make_document(make_study(other)).figures}
    assert "No large markers" in captions["study-front"]


def test_variance_has_a_row_only_for_searches_with_such_runs() -> None:
    table = make_study_table({"supcon": 0.0, "contex": 0.05}, trials=6)
    two = replace(
        table,
        description={**table.description, "studies": 2},
        runs=[
            replace(run, study=search)
            for search in (0, 1)
            for run in table.runs
            if search == 0 or run.stage in (Stage.TRIAL, Stage.CONFIRMATION)
        ],
    )
    rows = table_of(make_document(make_study(two)), "Standard deviation").rows
    assert {cell_text(row[0]) for row in rows} == {"supcon, search 0", "contex, search 0"}
    assert all(re.fullmatch(r"\d+\.\d\d", cell_text(row[3])) for row in rows)


def test_few_trials_show_the_correlation_of_their_parameters() -> None:
    table = make_study_table({"supcon": 0.0, "contex": 0.05}, trials=8)
    row = [cell_text(c) for c in table_of(make_document(make_study(table)), "Correlation").rows[0]]
    trials = table.trials("supcon")
    values = np.array(
        [
            [math.log(r.settings["optimizer.lr"]), r.settings["train.batch_size"],
             math.log(r.settings["loss.temperature"])]
            for r in trials
        ]
    )  # fmt: skip
    matrix = np.abs(np.corrcoef(values.T))[np.triu_indices(3, 1)]
    assert row[1] == f"{matrix.max():.2f}"
    many = make_document(make_study(make_study_table({"supcon": 0.0, "contex": 0.05}, trials=24)))
    assert "correlated between parameters" not in texts_of(many, "Importance of the parameters")


def test_seconds_at_a_crossing_are_those_of_each_method(document: Document) -> None:
    """groupdro crosses supcon at n = 2, with 60 and 50 seconds a trial."""
    captions = {figure.name: figure.caption for figure in document.figures}
    text = "groupdro at n = 2, 120 seconds of groupdro and 100 of supcon"
    assert text in captions["study-curves-unbiased-seconds"]


def test_captions_are_not_repeated_as_labels(document: Document) -> None:
    drawn = {figure.name: b"<svg></svg>" for figure in document.figures}
    page, markdown = render_study_html(document, drawn), render_study_markdown(document)
    assert '<svg role="img" aria-label="Tuning curves">' in page
    for text in (page, markdown):
        assert text.count("Large markers: mean of the confirmation") == 1


def test_failed_write_leaves_no_empty_folder(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("biascon.report.figures.Figure._save", lambda *_: b"<svg")

    def fail(files: object) -> None:
        raise BiasconError("cannot write: the disk is full")

    monkeypatch.setattr("biascon.report.study_write.write_together", fail)
    (tmp_path / "kept").mkdir()
    for out in ("new", "kept"):
        with pytest.raises(BiasconError, match="disk is full"):
            write_study_report(study, tmp_path / out, formats=["markdown"])
    assert [path.name for path in tmp_path.rglob("*")] == ["kept"]


def test_missing_methods_and_runs_leave_no_empty_table() -> None:
    table = without(golden_table(), lambda run: run.method == "groupdro")
    study = make_study(table)
    text = render_study_markdown(make_document(study))
    assert "Without a finished trial that can be compared: groupdro." in text
    assert [c.method for c in study.groups[0].comparisons] == ["contex"]
