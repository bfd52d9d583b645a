"""Reading runs, and grouping them into experiments."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from biascon.errors import BiasconWarning
from biascon.report.experiments import find_runs, group_runs
from tests.report.fakes import CLEAR, made_up


def test_runs_of_other_recipes_or_datasets_are_other_experiments() -> None:
    other_recipe = made_up("contex", 0, 0.9, recipe="s" * 64)
    other_dataset = made_up("contex", 0, 0.9, dataset_digest="e" * 64)
    assert len(group_runs([*CLEAR, other_recipe, other_dataset])) == 3


def test_unfinished_damaged_and_unknown_runs_are_left_out_with_a_warning(
    runs: Path, tmp_path: Path
) -> None:
    root = tmp_path / "runs"
    shutil.copytree(runs, root)
    unfinished, damaged, unknown, intact = sorted(root.glob("*/*/*"))
    (unfinished / "done").unlink()
    (damaged / "evaluation.json").write_text("{}")
    evaluation = json.loads((unknown / "evaluation.json").read_text()) | {"format": 99}
    (unknown / "evaluation.json").write_text(json.dumps(evaluation))
    marker = json.loads((unknown / "done").read_text())
    digest = hashlib.sha256((unknown / "evaluation.json").read_bytes()).hexdigest()
    marker["files"]["evaluation.json"] = digest
    (unknown / "done").write_text(json.dumps(marker))
    with pytest.warns(BiasconWarning) as caught:
        finished = find_runs(root)
    assert [run.folder for run in finished] == [intact]
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == 3 and not any("\n" in message for message in messages)
    for text in ("1 unfinished", f"{damaged / 'evaluation.json'} has changed", str(unknown)):
        assert any(text in message for message in messages), text
    assert "another version" in " ".join(messages)
