"""Runs that several tests of the report read: trained once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from biascon.config.factory import make_config
from biascon.data.dataset import load
from biascon.evaluation.pipeline import evaluate

SETTINGS = ["train.epochs=1", "probe.max_iterations=200", "probe.tolerance=1e-2"]


@pytest.fixture(scope="session")
def report_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the dataset and of the runs."""
    return tmp_path_factory.mktemp("report")


@pytest.fixture
def runs(report_root: Path, make_dataset: Callable[..., Path]) -> Path:
    """The folder of the finished runs of two losses and two seeds."""
    root = report_root / "runs"
    if not root.exists():
        data = load(make_dataset(report_root / "data"))
        for loss in ("ce", "contex"):
            for seed in (0, 1):
                config = make_config(loss, seed=seed, preset="smoke", settings=SETTINGS)
                evaluate(config, data, root=root, device=torch.device("cpu"))
    return root
