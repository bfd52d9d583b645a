"""A report recomputes what it prints, and states each run that it leaves out."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from biascon.errors import BiasconWarning, RunError
from biascon.report.experiments import find_all_runs
from biascon.report.write import write_report
from biascon.runs.finished import FinishedRun
from biascon.runs.listing import find_run_folders
from tests.run_helpers import reseal

GOLDEN = Path(__file__).parents[1] / "golden" / "report" / "runs"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    runs = tmp_path / "runs"
    shutil.copytree(GOLDEN, runs, ignore=shutil.ignore_patterns(".cache"))
    return runs


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change an evaluation, and renew the hashes as somebody would who wants to be believed."""
    evaluation = json.loads(path.read_text())
    change(evaluation)
    path.write_text(json.dumps(evaluation, indent=2))
    reseal(path.parent)


def set_value(name: str, value: Any) -> Callable[[Path], None]:
    def change(evaluation: dict[str, Any]) -> None:
        evaluation[name]["value"] = value

    return lambda folder: edit(folder / "evaluation.json", change)


def set_n(folder: Path) -> None:
    edit(folder / "evaluation.json", lambda evaluation: evaluation["unbiased"].update(n=1))


def move_count(folder: Path) -> None:
    """Move one image from a wrong prediction to the right one."""

    def change(evaluation: dict[str, Any]) -> None:
        evaluation["counts"][0][0][0] += 1

    edit(folder / "evaluation.json", change)


def replace_evaluation(value: Any) -> Callable[[Path], None]:
    def change(evaluation: dict[str, Any]) -> None:
        evaluation["top1"] = value

    return lambda folder: edit(folder / "evaluation.json", change)


def break_log(folder: Path) -> None:
    with (folder / "metrics.jsonl").open("a") as log:
        log.write('{"epoch": \n')
    reseal(folder)


def swap_predictions(folder: Path) -> None:
    other = next(path for path in find_run_folders(folder.parents[2]) if path != folder)
    shutil.copyfile(other / "predictions.parquet", folder / "predictions.parquet")
    reseal(folder)


def delete_config(folder: Path) -> None:
    (folder / "config.toml").unlink()


def change_identity(**values: Any) -> Callable[[Path], None]:
    return lambda folder: edit(
        folder / "evaluation.json", lambda evaluation: evaluation.update(values)
    )


def replace_file(name: str, content: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_text(content)
        reseal(folder)

    return change


HARMS = {
    "loss": (change_identity(loss="supcon"), "its settings are of another run"),
    "seed": (change_identity(seed=7), "its settings are of another run"),
    "bias": (change_identity(bias=None), "delete the folder|version"),
    "no counts": (change_identity(counts=None), "does not fit its evaluation|version"),
    "settings": (replace_file("config.toml", "x = 1"), "has no settings of a run"),
    "short log": (replace_file("metrics.jsonl", ""), "does not have a record of every epoch"),
    "environment": (replace_file("environment.json", "[]"), "is no record of an environment"),
    "unbiased": (set_value("unbiased", 0.99), "states unbiased 0.99"),
    "a little": (set_value("unbiased", None), "states unbiased undefined"),
    "worst group": (set_value("worst_group", 0.9), "states worst_group 0.9"),
    "odds": (set_value("equalized_odds_difference", 0.0), "states equalized_odds_difference 0"),
    "n": (set_n, r"\(n = 1\)"),
    "counts": (move_count, "the counts: not possible"),
    "a number": (replace_evaluation(5), "another version"),
    "a word": (
        replace_evaluation({"value": "x", "n": 10, "ci": None}),
        "delete the folder|version",
    ),
    "log": (break_log, r"metrics\.jsonl does not have a record"),
    "predictions": (swap_predictions, "does not fit its evaluation|but its predictions give"),
    "config": (delete_config, r"config\.toml"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_bad_run_is_left_out_with_its_reason_and_the_others_stay(harm: str, root: Path) -> None:
    change, reason = HARMS[harm]
    folder = find_run_folders(root)[0]
    change(folder)
    with pytest.warns(BiasconWarning, match=reason) as caught:
        found = find_all_runs(root)
    assert len(found.runs) == len(find_run_folders(GOLDEN)) - 1
    (left_out,) = found.left_out
    assert left_out.startswith(f"{folder}, because ")
    assert [str(warning.message) for warning in caught] == [f"left out: {left_out}"]
    with pytest.raises(RunError):
        FinishedRun.read(folder)


def test_a_report_lists_the_runs_that_it_leaves_out(root: Path, tmp_path: Path) -> None:
    folder = find_run_folders(root)[0]
    set_value("unbiased", 0.99)(folder)
    with pytest.warns(BiasconWarning, match="left out"):
        write_report(root, tmp_path / "out", formats=["markdown", "html"])
    page = (tmp_path / "out" / "report.md").read_text()
    assert "## Runs that are left out" in page
    assert "states unbiased 0.99" in page
    assert "Runs that are left out" in (tmp_path / "out" / "report.html").read_text()


def test_a_report_without_a_bad_run_has_no_such_section(root: Path, tmp_path: Path) -> None:
    write_report(root, tmp_path / "out", formats=["markdown"])
    assert "left out" not in (tmp_path / "out" / "report.md").read_text()


def test_other_settings_are_found_after_the_run_has_passed(root: Path) -> None:
    assert not find_all_runs(root).left_out
    replace_file("config.toml", "x = 1")(find_run_folders(root)[0])
    with pytest.warns(BiasconWarning, match="has no settings of a run"):
        find_all_runs(root)


def test_a_run_is_not_computed_again_while_its_files_stay(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from biascon.runs import recompute

    find_all_runs(root)
    monkeypatch.setattr(recompute, "check_evaluation", lambda *_: pytest.fail("computed again"))
    find_all_runs(root)
    monkeypatch.undo()
    set_value("unbiased", 0.99)(find_run_folders(root)[0])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        find_all_runs(root)
    assert "states unbiased 0.99" in str(caught[0].message)
