"""One dataset seen by several of its attributes: one network, several evaluations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from biascon.runs.folder import FEATURES
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
        told = cli(
            "evaluate", "--json", "--data", folder, "--preset", "smoke", "--runs", root, *words
        )
        assert told.code == 0, told.err
        found: dict[str, Any] = json.loads(told.out)
        found["told"] = told.err
        return found

    return run


def encoders(root: Path, loss: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(root.glob(f"*/{loss}/*/encoder.safetensors"))]


def test_a_network_that_does_not_see_the_bias_is_trained_once(evaluate: Any, root: Path) -> None:
    own = evaluate("--loss", "supcon", "--bias", "race")
    assert "epoch 1/" in own["told"]
    assert own["bias"]["name"] == "race" and "trained_in_run" not in own
    assert own["bias_aligned"]["n"] > 0
    age = evaluate("--loss", "supcon", "--bias", "age")
    assert "epoch 1/" not in age["told"]
    assert age["trained_in_run"] == own["digest"] != age["digest"]
    assert age["bias"] == {"name": "age", "values": ["young", "middle", "old"], "aligned": None,
                           "chosen": ["age"], "of": "faces"}  # fmt: skip
    for name in ("bias_aligned", "bias_conflicting"):
        assert age[name] == {"value": None, "n": 0, "ci": [None, None]}
    assert age["unbiased"]["value"] is not None
    assert age["top1"]["value"] == own["top1"]["value"]
    for name in FEATURES:
        one, other = sorted(root.glob(f"*/supcon/*/{name}"))
        assert one.samefile(other)
    first, second = encoders(root, "supcon")
    assert first == second


def test_a_product_first_and_the_base_afterwards(evaluate: Any, root: Path) -> None:
    both = evaluate("--loss", "ce", "--bias", "race,age")
    assert both["dataset"] == "faces-by-race-age"
    assert both["bias"]["name"] == "race x age" and len(both["bias"]["values"]) == 6
    assert sum(map(sum, both["training"]["cells"])) == 120
    own = evaluate("--loss", "ce")
    assert "epoch 1/" not in own["told"]
    assert both["trained_in_run"] == own["digest"]


def test_one_that_sees_the_bias_is_trained_for_each(evaluate: Any, root: Path) -> None:
    own, age = evaluate("--loss", "biascon"), evaluate("--loss", "biascon", "--bias", "age")
    assert "trained_in_run" not in age and "epoch 1/" in age["told"]
    first, second = encoders(root, "biascon")
    assert first != second
    assert own["digest"] != age["digest"]


def test_a_first_network_is_shared_too(evaluate: Any, root: Path) -> None:
    evaluate("--loss", "ce")
    there = len(encoders(root, "ce"))
    age = evaluate("--loss", "jtt", "--bias", "age")
    assert age["trained_in_run"]
    assert len(encoders(root, "ce")) >= there


def test_the_table_says_where_no_alignment_is_defined(cli: Any, folder: Path, root: Path) -> None:
    told = cli("evaluate", "--data", folder, "--preset", "smoke", "--runs", root, "--loss", "supcon",
               "--bias", "age")  # fmt: skip
    assert "no alignment is defined for age: aligned, conflicting do not apply" in told.out


def test_the_report_keeps_them_apart(
    evaluate: Any, cli: Any, folder: Path, root: Path, tmp_path: Path
) -> None:
    for bias in ("race", "age", "race,age"):
        evaluate("--loss", "supcon", "--bias", bias)
    told = cli("report", "--runs", root, "--out", tmp_path, "--data", folder.parent)
    assert told.code == 0, told.err
    text = (tmp_path / "report.md").read_text()
    for name in ("## faces,", "## faces-by-age,", "## faces-by-race-age,"):
        assert name in text
    assert "No alignment is defined" in text
    page = (tmp_path / "report.html").read_text()
    assert "--data data/faces --bias race,age" in page
    assert "gallery-supcon-faces-by-age" in (tmp_path / "report.html").read_text()


def test_inspect(cli: Any, folder: Path, tmp_path: Path) -> None:
    told = cli("inspect", folder, "--bias", "age", "--png", tmp_path / "sheet.png")
    assert told.code == 0, told.err
    assert "bias: age; aligned: not defined" in told.out
    assert "young" in told.out
    wrong = cli("inspect", folder, "--bias", "agee")
    assert wrong.code == 2
    assert "faces has no attribute 'agee'; did you mean 'age'? (it has: race, age)" in wrong.err


def test_an_unknown_attribute_is_wrong_usage(cli: Any, folder: Path, root: Path) -> None:
    told = cli("train", "--data", folder, "--loss", "ce", "--runs", root, "--bias", "race,")
    assert told.code == 2
    assert "has no attribute ''" in told.err


def test_a_sweep_over_attributes(cli: Any, folder: Path, tmp_path: Path) -> None:
    grid = tmp_path / "grid.toml"
    grid.write_text(
        f'losses = ["ce"]\ndata = ["{folder}"]\nbias = ["race", "age"]\npreset = "smoke"\n'
    )
    told = cli("sweep", grid, "--runs", tmp_path / "runs", "--workers", "1")
    assert told.code == 0, told.err
    assert "faces by age ce seed 0" in told.out
    workers = cli("sweep", grid, "--runs", tmp_path / "two", "--workers", "2")  # one waits
    assert workers.code == 0, workers.out
    assert workers.out.count(" done") == 2
    again = cli("sweep", grid, "--runs", tmp_path / "runs", "--workers", "1")
    assert again.out.count("skipped") == 2
