"""A run states its processor and its code path, and a run of another one does not stand for it silently."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from biascon.config.factory import make_config
from biascon.data.dataset import load
from biascon.evaluation.pipeline import evaluate, validate
from biascon.runs import environment
from biascon.runs.environment import Processor, describe_other_processor, find_processor
from tests.run_helpers import note_in_journal, reseal

CPU = torch.device("cpu")
OTHER = Processor("AuthenticAMD EPYC (family 25 model 1)", "PyTorch AVX2")


def test_the_processor_and_the_limits_of_the_code_path_are_stated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    found = find_processor()
    assert found.model
    assert found.code_path.startswith(f"PyTorch {torch.backends.cpu.get_cpu_capability()}")
    assert "ONEDNN_MAX_CPU_ISA=AVX2" in found.code_path
    stated = environment.describe_environment("cpu")
    assert (stated["processor"], stated["code_path"]) == (found.model, found.code_path)
    assert describe_other_processor(stated) is None


def test_a_run_of_an_earlier_version_is_compared_by_its_vector_instructions() -> None:
    own = torch.backends.cpu.get_cpu_capability()
    assert describe_other_processor({"device": "cpu", "vector": own}) is None
    assert "PyTorch OLD" in str(describe_other_processor({"device": "cpu", "vector": "OLD"}))
    assert describe_other_processor({"device": "cuda:0", "vector": "OLD"}) is None


def test_a_run_of_another_processor_is_reused_with_a_word(
    make_dataset: Callable[..., Path], tmp_path: Path, cli: Any
) -> None:
    data = make_dataset(tmp_path / "data")
    words = ["evaluate", "--loss", "ce", "--preset", "smoke", "--set", "train.epochs=1"]
    words += ["--data", str(data), "--runs", str(tmp_path / "runs")]
    assert cli(*words).code == 0
    assert "another processor" not in cli(*words).err
    (path,) = tmp_path.glob("runs/*/*/*/environment.json")
    stated = json.loads(path.read_text())
    path.write_text(json.dumps({**stated, "processor": OTHER.model, "code_path": OTHER.code_path}))
    reseal(path.parent)
    outcome = cli(*words)
    assert outcome.code == 0
    assert f"was computed on another processor ({OTHER.describe()})" in outcome.err


def test_a_run_that_another_processor_began_says_so(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    data, config = load(make_dataset(tmp_path / "data")), make_config("ce", preset="smoke")
    folder, _ = validate(config, data, root=tmp_path, device=CPU)
    (folder / "encoder.safetensors").unlink()
    path = folder / "environment.json"
    stated = json.loads(path.read_text())
    path.write_text(json.dumps({**stated, "processor": OTHER.model, "code_path": OTHER.code_path}))
    note_in_journal(path)
    evaluate(config, data, root=tmp_path, device=CPU)
    assert json.loads(path.read_text())["begun_on"] == [OTHER.describe()]
