"""Views of one dataset by several attributes: one network, one evaluation for each view."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from biascon.runs.folder import FEATURES
from tests.run_helpers import run_process, start_runs_by, sweep_in_process
from tests.small_datasets import write_faces


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faces(tmp_path_factory.mktemp("data") / "faces")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def evaluate(cli: Any, folder: Path, root: Path) -> Any:
    def run(*words: str) -> dict[str, Any]:
        outcome = cli(
            "evaluate", "--json", "--data", folder, "--preset", "smoke", "--runs", root, *words
        )
        assert outcome.code == 0, outcome.err
        evaluation: dict[str, Any] = json.loads(outcome.out)
        evaluation["log"] = outcome.err
        return evaluation

    return run


def encoders(root: Path, loss: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(root.glob(f"*/{loss}/*/encoder.safetensors"))]


def test_a_loss_without_bias_labels_is_trained_once(evaluate: Any, root: Path) -> None:
    race = evaluate("--loss", "supcon", "--bias", "race")
    assert "epoch 1/" in race["log"]
    assert race["bias"]["name"] == "race" and "trained_in_run" not in race
    assert race["bias_aligned"]["n"] > 0
    age = evaluate("--loss", "supcon", "--bias", "age")
    assert "epoch 1/" not in age["log"]
    assert age["trained_in_run"] == race["digest"] != age["digest"]
    assert age["bias"] == {"name": "age", "values": ["young", "middle", "old"], "aligned": None,
                           "chosen": ["age"], "of": "faces"}  # fmt: skip
    for name in ("bias_aligned", "bias_conflicting"):
        assert age[name] == {"value": None, "n": 0, "ci": [None, None]}
    assert age["unbiased"]["value"] is not None
    assert age["top1"]["value"] == race["top1"]["value"]
    for name in FEATURES:
        one, other = sorted(root.glob(f"*/supcon/*/{name}"))
        assert one.samefile(other)
    first, second = encoders(root, "supcon")
    assert first == second


def test_the_network_of_a_product_is_used_for_the_dataset_itself(evaluate: Any, root: Path) -> None:
    both = evaluate("--loss", "ce", "--bias", "race,age")
    assert both["dataset"] == "faces-by-race-age"
    assert both["bias"]["name"] == "race x age" and len(both["bias"]["values"]) == 6
    assert sum(map(sum, both["training"]["cells"])) == 120
    own = evaluate("--loss", "ce")
    assert "epoch 1/" not in own["log"]
    assert both["trained_in_run"] == own["digest"]


def test_a_loss_that_uses_bias_labels_is_trained_for_each_attribute(
    evaluate: Any, root: Path
) -> None:
    own, age = evaluate("--loss", "biascon"), evaluate("--loss", "biascon", "--bias", "age")
    assert "trained_in_run" not in age and "epoch 1/" in age["log"]
    first, second = encoders(root, "biascon")
    assert first != second
    assert own["digest"] != age["digest"]


def test_a_first_stage_network_is_shared_between_views(evaluate: Any, root: Path) -> None:
    evaluate("--loss", "ce")
    n_encoders = len(encoders(root, "ce"))
    age = evaluate("--loss", "jtt", "--bias", "age")
    assert age["trained_in_run"]
    assert len(encoders(root, "ce")) >= n_encoders


def test_the_table_states_that_no_alignment_is_defined(cli: Any, folder: Path, root: Path) -> None:
    outcome = cli("evaluate", "--data", folder, "--preset", "smoke", "--runs", root, "--loss", "supcon",
               "--bias", "age")  # fmt: skip
    assert "no alignment is defined for age: aligned, conflicting do not apply" in outcome.out


def test_the_report_has_a_section_for_each_view(
    evaluate: Any, cli: Any, folder: Path, root: Path, tmp_path: Path
) -> None:
    for bias in ("race", "age", "race,age"):
        evaluate("--loss", "supcon", "--bias", bias)
    outcome = cli("report", "--runs", root, "--out", tmp_path, "--data", folder.parent)
    assert outcome.code == 0, outcome.err
    text = (tmp_path / "report.md").read_text()
    for name in ("## faces,", "## faces-by-age,", "## faces-by-race-age,"):
        assert name in text
    assert "No alignment is defined" in text
    page = (tmp_path / "report.html").read_text()
    assert "--data data/faces --bias race,age" in page
    assert "gallery-supcon-faces-by-age" in (tmp_path / "report.html").read_text()


def test_inspect_shows_a_view_of_the_dataset(cli: Any, folder: Path, tmp_path: Path) -> None:
    outcome = cli("inspect", folder, "--bias", "age", "--png", tmp_path / "sheet.png")
    assert outcome.code == 0, outcome.err
    assert "bias: age; aligned: not defined" in outcome.out
    assert "young" in outcome.out
    wrong = cli("inspect", folder, "--bias", "agee")
    assert wrong.code == 2
    assert "faces has no attribute 'agee'; did you mean 'age'? (it has: race, age)" in wrong.err


def test_an_unknown_attribute_is_wrong_usage(cli: Any, folder: Path, root: Path) -> None:
    outcome = cli("train", "--data", folder, "--loss", "ce", "--runs", root, "--bias", "race,")
    assert outcome.code == 2
    assert "has no attribute ''" in outcome.err


def test_a_sweep_runs_every_attribute(
    cli: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = tmp_path / "grid.toml"
    grid.write_text(
        f'losses = ["ce"]\ndata = ["{folder}"]\nbias = ["race", "age"]\npreset = "smoke"\n'
    )
    with monkeypatch.context() as patch:
        sweep_in_process(patch)
        outcome = cli("sweep", grid, "--runs", tmp_path / "runs", "--workers", "1")
    assert outcome.code == 0, outcome.err
    assert "faces by age ce seed 0" in outcome.out
    start_runs_by(monkeypatch, run_process)
    workers = cli("sweep", grid, "--runs", tmp_path / "two", "--workers", "2")  # one waits
    assert workers.code == 0, workers.out
    assert workers.out.count(" done") == 2
    again = cli("sweep", grid, "--runs", tmp_path / "runs", "--workers", "1")
    assert again.out.count("skipped") == 2
