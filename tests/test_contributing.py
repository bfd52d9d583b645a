"""The examples of CONTRIBUTING.md run: each code block is executed where the page says it belongs."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from biascon.data.dataset import load
from biascon.losses import LOSSES, LossEntry
from biascon.metrics import accuracy
from biascon.models import encoders
from biascon.tuning.space import SHARED, make_method
from tests.losses import oracles_plain

PAGE = Path(__file__).parents[1] / "CONTRIBUTING.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


def find_block(start: str) -> str:
    (block,) = [block for block in BLOCKS if block.startswith(start)]
    return block


def run_block(start: str, names: dict[str, Any] | None = None) -> dict[str, Any]:
    namespace = {"__name__": "example", **(names or {})}
    exec(compile(find_block(start), str(PAGE), "exec"), namespace)
    return namespace


def test_the_loss_equals_its_oracle() -> None:
    nca = run_block('"""NCA')["nca"]
    oracle = run_block("def nca", vars(oracles_plain))["nca"]
    z = F.normalize(torch.randn(6, 2, 4, generator=torch.Generator().manual_seed(0)), dim=-1)
    labels = torch.tensor([0, 0, 1, 1, 1, 2])
    expected = oracle(z.tolist(), labels.tolist(), None, temperature=0.5)
    assert nca(z, labels, temperature=0.5).item() == pytest.approx(expected, rel=1e-5)


def test_the_line_of_the_registry_is_an_entry() -> None:
    entries = eval("{" + find_block('    "nca"') + "}", {"LossEntry": LossEntry})
    assert entries["nca"].target == "biascon.losses.nca:nca"


def test_the_search_space_of_a_plug_in_is_part_of_its_method(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = run_block("from biascon.losses import LossEntry")["weighted_nca"]
    module = ModuleType("my_package")
    exec(
        "def nca_with_weight(z, labels, bias=None, *, temperature=0.1, weight=0.1): ...",
        vars(module),
    )
    monkeypatch.setitem(sys.modules, "my_package", module)
    monkeypatch.setitem(LOSSES, "weighted_nca", entry)
    space = make_method("weighted_nca", "weighted_nca", "cpu").space
    assert list(space) == [*SHARED, "loss.weight"]
    assert space["loss.weight"].to_json() == {"log_uniform": [0.01, 1.0]}


def test_the_dataset_is_built_and_read(tmp_path: Path) -> None:
    run_block('"""Channel digits')["make_channel_digits"](tmp_path / "d", share=0.95, replace=False)
    data = load(tmp_path / "d")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 1400, "test": 397}
    assert data.splits["train"].aligned.sum() == 1322  # as the page prints


def test_the_subcommand_is_a_click_command() -> None:
    assert run_block('"""``biascon make')["command"].name == "make-channel-digits"


def test_the_metric_has_the_value_computed_by_hand() -> None:
    balanced = run_block("def balanced", vars(accuracy))["balanced"]
    # Labels of 3 / 4 and 2 / 2 correct rows.
    assert balanced(np.array([[[3, 1], [0, 0]], [[0, 1], [0, 1]]])) == pytest.approx(0.875)
    assert np.isnan(balanced(np.zeros((2, 2, 2), np.int64)))


def test_the_encoder_has_the_features_that_it_states() -> None:
    encoder = run_block("def tinyconvnet", vars(encoders))["tinyconvnet"]()
    assert encoder(torch.zeros(2, 3, encoder.min_side, encoder.min_side)).shape == (2, encoder.dim)
