"""Helpers of tests that train and evaluate: plain data out of ``evaluate``, and runs in a given folder."""

from __future__ import annotations

import contextlib
import io
import subprocess
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from biascon.cli import main
from biascon.config.run_config import RunConfig
from biascon.data.dataset import BiasedDataset
from biascon.evaluation import pipeline
from biascon.runs.context import RunContext, ignore_epoch
from biascon.runs.records import EpochRecord
from biascon.sweep import local_pool, runner
from biascon.training import loop
from biascon.training.loss_inputs import LossInputs
from biascon.training.network import Model

CPU = torch.device("cpu")


def evaluate_to_json(
    config: RunConfig, data: BiasedDataset, **options: Any
) -> tuple[Path, dict[str, Any], bool]:
    """Evaluate a run; return its folder, what its ``evaluation.json`` holds, and whether it was reused."""
    result = pipeline.evaluate(config, data, **{"device": CPU, **options})
    assert result.evaluation is not None
    return result.folder, result.evaluation.to_json(), result.reused


@dataclass(frozen=True)
class ContextInFolder(RunContext):
    """The context of a run whose folder is ``root`` itself."""

    @property
    def folder(self) -> Path:  # type: ignore[override]
        """The run folder."""
        return self.root


def train_in_folder(
    config: RunConfig,
    data: BiasedDataset,
    folder: Path,
    *,
    loss_inputs: LossInputs | None = None,
    on_epoch: Callable[[EpochRecord], None] = ignore_epoch,
    **options: Any,
) -> Model:
    """Train a run in a given folder, and return its network."""
    context = ContextInFolder(config, data, folder, on_epoch=on_epoch, **{"device": CPU, **options})
    return loop.train(context, loss_inputs=loss_inputs)


def run_here(words: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
    """Run a command ``python -m biascon ...`` in this process, which has imported PyTorch already.

    Only one such command may run at a time.
    """
    assert words[1:3] == ["-m", "biascon"], words
    code: Any = 0
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        try:
            main(words[3:])
        except SystemExit as stop:
            code = stop.code or 0
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


class SameThread:
    """An executor that runs a function when it is submitted, in the thread of the caller."""

    def __init__(self, workers: int) -> None:
        """The number of workers has no effect."""

    def __enter__(self) -> SameThread:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*arguments))
        return future


def sweep_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a sweep run here, one run after the other: the start of Python and PyTorch takes seconds.

    All runs end before the first result is reported.
    """
    monkeypatch.setattr(runner, "subprocess", SimpleNamespace(run=run_here))
    monkeypatch.setattr(local_pool, "ThreadPoolExecutor", SameThread)
