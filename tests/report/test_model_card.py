"""The model card of a run: its numbers, its words, and that the code in it runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from biascon.config.run_config import make_config
from biascon.data.dataset import load
from biascon.evaluation.pipeline import evaluate
from biascon.report.experiments import FinishedRun
from biascon.report.model_card import render_card


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("card")


@pytest.fixture
def run(place: Path, make_dataset: Callable[..., Path]) -> FinishedRun:
    folder = place / "data"
    data = load(folder if folder.exists() else make_dataset(folder))
    settings = ["train.epochs=1", "probe.tolerance=1e-2"]
    config = make_config("softcon", preset="smoke", settings=settings)
    where, found, _ = evaluate(config, data, root=place / "runs", device=torch.device("cpu"))
    return FinishedRun(where, found)


def test_it_has_every_metric_with_n_and_interval(run: FinishedRun) -> None:
    text = render_card(run)
    for name, key in (("unbiased", "unbiased"), ("top-1", "top1")):
        metric = run.evaluation[key]
        low, high = (f"{100 * side:.1f}" for side in metric["ci"])
        row = f"| {name} | {100 * metric['value']:.1f} | {low} to {high} | {metric['n']:,} |"
        assert row in text
    worst = run.evaluation["worst_group"]["group"]
    colour = run.evaluation["bias"]["values"][worst["bias"]]
    assert f"The worst group is label {worst['label']} with colour {colour}" in text
    assert run.evaluation["digest"][:8] in text
    assert "builds on" in text
    assert "train.epochs=1" in text


def test_the_code_in_it_loads_the_encoder(
    run: FinishedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = re.search(r"```python\n(.*?)```", render_card(run), re.DOTALL)
    assert found
    monkeypatch.chdir(run.folder)
    names = {"images": torch.zeros(2, 3, 28, 28)}
    exec(found[1], names)
    assert names["features"].shape == (2, 128)


def test_command_writes_one_card_a_run(
    run: FinishedRun, place: Path, tmp_path: Path, cli: Any
) -> None:
    code, out, err = cli("report", "--card", str(run.folder), "--out", str(tmp_path / "cards"))
    assert code == 0, err
    (path,) = (tmp_path / "cards").iterdir()
    assert str(path) in out
    assert path.read_text(encoding="utf-8") == render_card(run)
    assert path.name == f"card-softcon-{run.folder.name}.md"


def test_no_run_is_told(tmp_path: Path, cli: Any) -> None:
    code, out, err = cli("report", "--card", str(tmp_path / "nothing"))
    assert (code, out) == (1, "")
    assert err == f"error: there is no finished run in {tmp_path / 'nothing'}\n"


def test_specials_are_escaped(run: FinishedRun) -> None:
    run.evaluation["source"] = "a|b <script> *x*"
    assert r"a\|b \<script\> \*x\*" in render_card(run)
