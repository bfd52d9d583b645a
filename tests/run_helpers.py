"""Helpers of tests that train and evaluate: plain data out of ``evaluate``, and runs in a given folder."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO

import pytest
import torch

from biascon.cli import main
from biascon.config.run_config import RunConfig
from biascon.data.dataset import BiasedDataset
from biascon.evaluation import pipeline
from biascon.runs.context import RunContext, ignore_epoch
from biascon.runs.folder import _SEALED, DONE, OPTIONAL, read_seal
from biascon.runs.journal import record
from biascon.runs.records import EpochRecord
from biascon.sweep import local_pool, runner
from biascon.training import loop
from biascon.training.loss_inputs import LossInputs
from biascon.training.network import Model
from biascon.utils.files import pretty_json, sha256_file, write_atomic
from biascon.utils.parent import VARIABLE as PARENT_VARIABLE

CPU = torch.device("cpu")


def evaluate_to_json(
    config: RunConfig, data: BiasedDataset, **options: Any
) -> tuple[Path, dict[str, Any], bool]:
    """Evaluate a run; return its folder, what its ``evaluation.json`` holds, and whether it was reused."""
    result = pipeline.evaluate(config, data, **{"device": CPU, **options})
    assert result.evaluation is not None
    return result.folder, result.evaluation.to_json(), result.reused


def reseal(folder: Path) -> None:
    """Write ``done`` again with the hashes of the files as they are, as a user with bad intent would."""
    stated = read_seal(folder)
    assert stated is not None
    optional = [name for name in OPTIONAL if (folder / name).is_file()]
    files = {name: sha256_file(folder / name) for name in (*_SEALED, *optional)}
    write_atomic(folder / DONE, pretty_json({"digest": stated.digest, "files": files}))


def note_in_journal(path: Path) -> None:
    """Note the bytes of a file of an unfinished run in its journal, as if biascon had written them."""
    record(path.parent, {path.name: sha256_file(path)})


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


_PRELOADED = (
    "biascon.cli.evaluate", "biascon.evaluation.pipeline", "sklearn.linear_model", "scipy.stats",
)  # fmt: skip
_SERVER = multiprocessing.get_context("forkserver") if os.name != "nt" else None


def _run_main(words: list[str], environment: dict[str, str], stdout: Any, stderr: Any) -> None:
    """Run a command in this process, with its output to two connections."""
    os.environ.clear()
    os.environ.update(environment)
    for connection, descriptor in ((stdout, 1), (stderr, 2)):
        os.dup2(connection.fileno(), descriptor)
        connection.close()
    sys.stdout, sys.stderr = open(1, "w", 1, closefd=False), open(2, "w", 1, closefd=False)  # noqa: SIM115
    main(words)


def start_process(words: list[str], environment: Mapping[str, str]) -> tuple[Any, TextIO, TextIO]:
    """Start ``python -m biascon ...`` as a process of its own, and return it with its two outputs.

    The process is forked from a server that has imported PyTorch: the imports take most of the time of a
    short command. The server has imported only, so that the process is as a new one.
    """
    assert words[1:3] == ["-m", "biascon"], words
    assert _SERVER is not None
    _SERVER.set_forkserver_preload([*_PRELOADED])
    pipes = [_SERVER.Pipe(duplex=False) for _ in range(2)]
    process = _SERVER.Process(
        target=_run_main, args=(words[3:], dict(environment), *(send for _, send in pipes))
    )
    process.start()
    out, err = (os.fdopen(os.dup(receive.fileno())) for receive, _ in pipes)
    for pipe in pipes:
        for end in pipe:
            end.close()
    return process, out, err


def run_process(
    words: list[str], *, env: Mapping[str, str], **_: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command as ``start_process`` does, to its end. Its parent is the server, not this process."""
    if _SERVER is None:  # Windows cannot fork
        return subprocess.run(words, env=env, check=False, capture_output=True, text=True)
    environment = {name: value for name, value in env.items() if name != PARENT_VARIABLE}
    process, out, err = start_process(words, environment)
    with out, err, ThreadPoolExecutor(1) as reader:
        printed = reader.submit(out.read)
        errors = err.read()
        process.join()
        return subprocess.CompletedProcess(words, process.exitcode, printed.result(), errors)


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


def start_runs_by(
    monkeypatch: pytest.MonkeyPatch,
    run: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """Let a sweep start its runs by another function than one that starts a process of its own."""
    children = SimpleNamespace(
        run=lambda words, environment: run(words, env=environment),
        is_stopping=lambda seconds=0.0: False,
    )
    monkeypatch.setattr(runner, "CHILDREN", children)


def sweep_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a sweep run here, one run after the other: the start of Python and PyTorch takes seconds.

    All runs end before the first result is reported.
    """
    start_runs_by(monkeypatch, run_here)
    monkeypatch.setattr(local_pool, "ThreadPoolExecutor", SameThread)
