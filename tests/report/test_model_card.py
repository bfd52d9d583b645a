"""The model card of a run: its numbers, its texts, and the code in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from biascon.config.factory import make_config
from biascon.data.dataset import load
from biascon.evaluation.pipeline import evaluate
from biascon.report.model_card import render_card
from biascon.runs.finished import FinishedRun
from tests.report.fakes import in_folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("card")


@pytest.fixture
def run(root: Path, make_dataset: Callable[..., Path]) -> FinishedRun:
    folder = root / "data"
    data = load(folder if folder.exists() else make_dataset(folder))
    settings = ["train.epochs=1", "probe.tolerance=1e-2"]
    config = make_config("softcon", preset="smoke", settings=settings)
    result = evaluate(config, data, root=root / "runs", device=torch.device("cpu"))
    assert result.evaluation is not None
    return FinishedRun(result.folder, result.evaluation)


def test_card_has_every_metric_with_n_and_interval(run: FinishedRun) -> None:
    text = render_card(run)
    summary, identity = run.evaluation.summary, run.evaluation.identity
    for name, key in (("unbiased", "unbiased"), ("top-1", "top1")):
        metric = summary[key]
        assert metric.value is not None and metric.interval is not None
        low, high = (f"{100 * limit:.1f}" for limit in metric.interval)
        assert f"| {name} | {100 * metric.value:.1f} | {low} to {high} | {metric.n:,} |" in text
    worst = summary["worst_group"].cell
    assert worst is not None and identity.bias is not None
    color = identity.bias.values[int(worst.bias)]
    assert f"The worst group is label {worst.label} with colour {color}" in text
    assert run.digest[:8] in text
    assert "builds on" in text
    assert "train.epochs=1" in text


def test_code_of_the_card_loads_the_encoder(
    run: FinishedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = re.search(r"```python\n(.*?)```", render_card(run), re.DOTALL)
    assert code
    monkeypatch.chdir(run.folder)
    names = {"images": torch.zeros(2, 3, 28, 28)}
    exec(code[1], names)
    assert names["features"].shape == (2, 128)


def test_command_writes_one_card_for_each_run(
    run: FinishedRun, root: Path, tmp_path: Path, cli: Any
) -> None:
    code, out, err = cli("report", "--card", str(run.folder), "--out", str(tmp_path / "cards"))
    assert code == 0, err
    (path,) = (tmp_path / "cards").iterdir()
    assert str(path) in out
    assert path.read_text(encoding="utf-8") == render_card(run)
    assert path.name == f"card-softcon-{run.folder.name}.md"


def test_folder_without_a_run_is_an_error_of_one_line(tmp_path: Path, cli: Any) -> None:
    code, out, err = cli("report", "--card", str(tmp_path / "nothing"))
    assert (code, out) == (1, "")
    assert err == f"error: there is no finished run in {tmp_path / 'nothing'}\n"


def test_special_characters_in_texts_are_escaped(run: FinishedRun) -> None:
    renamed = in_folder(run, run.folder, source="a|b <script> *x*")
    assert r"a\|b \<script\> \*x\*" in render_card(renamed)
