"""Two processes: a failure of one ends both, and the second one ends before the evaluation."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from biascon.errors import BiasconError, RunBusyError
from biascon.utils.failures import Failure, ProcessFailedError

WORKER = Path(__file__).parent / "fault_worker.py"
PROMPT = 30  # seconds after a failure until every process has ended; a timeout would be hours
gloo = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()),
    reason="this PyTorch has no gloo",
)


@dataclass
class Ended:
    """A process that has ended: its exit code, what it printed, and when it ended."""

    code: int
    out: str
    err: str
    at: float


@pytest.fixture
def words(make_dataset: Callable[..., Path], tmp_path: Path) -> list[str]:
    """A training of three steps."""
    data, runs = make_dataset(tmp_path / "data"), tmp_path / "runs"
    sets = ("train.epochs=1", "train.batch_size=300")
    settings = [word for setting in sets for word in ("--set", setting)]
    return [
        "evaluate", "--loss", "contex", "--preset", "smoke", *settings,
        "--data", str(data), "--runs", str(runs),
    ]  # fmt: skip


def start_two(fault: str, words: list[str], **environment: str) -> list[Ended]:
    """Start two processes as srun does: no launcher watches them. Return how they ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, str(WORKER), fault, *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={
                **os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port), "SLURM_STEP_NUM_TASKS": "2",
                "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), **environment,
            },
        )
        for rank in range(2)
    ]  # fmt: skip
    ends: dict[int, float] = {}
    deadline = time.monotonic() + 280
    while len(ends) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
        for k, process in enumerate(processes):
            if k not in ends and process.poll() is not None:
                ends[k] = time.monotonic()
                deadline = min(deadline, ends[k] + PROMPT)
    for process in processes:
        process.kill()
    results = []
    for k, process in enumerate(processes):
        out, err = process.communicate()
        results.append(Ended(process.returncode, out, err, ends.get(k, float("inf"))))
    return results


@gloo
@pytest.mark.parametrize(
    ("fault", "codes", "messages"),
    [
        ("busy", (75, 75), ("another process works", "process 0 failed: another process works")),
        pytest.param(
            "main",
            (1, 1),
            ("no space left", "process 0 failed: no space left"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "other",
            (1, 1),
            ("process 1 failed: ValueError: broken", "ValueError: broken"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "interrupt",
            (130, 130),
            ("process 1 failed: interrupted", "interrupted"),
            marks=pytest.mark.slow,
        ),
        ("kill", (-signal.SIGKILL, 1), ("", "process 0 failed: the connection to it is lost")),
    ],
)
def test_a_failure_of_one_process_ends_both_with_its_exit_code(
    fault: str, codes: tuple[int, int], messages: tuple[str, str], words: list[str]
) -> None:
    processes = start_two(fault, words)
    assert tuple(process.code for process in processes) == codes, processes
    for process, message in zip(processes, messages, strict=True):
        assert message in process.err
        errors = [line for line in process.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == (process.code > 0)
    assert abs(processes[0].at - processes[1].at) < PROMPT


@pytest.mark.slow
@gloo
def test_the_other_process_ends_before_the_evaluation_and_its_failure(words: list[str]) -> None:
    main, other = start_two("evaluation", words)
    assert (main.code, other.code) == (1, 0), (main, other)
    assert "error: the evaluation failed" in main.err
    assert (other.out, other.err) == ("", "")
    # What was trained stays: one process evaluates it.
    words += ["--set", "train.processes=2"]
    again = subprocess.run(
        [sys.executable, str(WORKER), "none", *words], capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert "epoch" not in again.stderr


@gloo
def test_a_step_has_one_collective_operation_and_the_buffers_are_shared_at_the_end(
    words: list[str], tmp_path: Path
) -> None:
    main, other = start_two("counted", words, BIASCON_COUNTS=str(tmp_path))
    assert (main.code, other.code) == (0, 0), (main, other)
    for rank in range(2):
        before, *steps = json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8"))
        assert before.count("all_gather") == 2  # the first step compares the sizes too
        # What follows the last step is not of a step.
        assert steps[:-1] == [["all_gather"]] * 2
    first, second = (
        json.loads((tmp_path / f"buffers{rank}.json").read_text(encoding="utf-8"))
        for rank in range(2)
    )
    assert first == second  # batch norm on a CPU: each process has seen other images
    assert any(name.endswith("running_mean") and value for name, value in first.items())


@gloo
@pytest.mark.slow
def test_torchrun_ends_both_processes_if_the_run_is_busy(words: list[str]) -> None:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *torchrun, str(WORKER), "busy", *words],
        capture_output=True, text=True, check=False, timeout=280,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode != 0
    assert "error: another process works on the run" in done.stderr
    assert "exitcode  : 75" in done.stderr


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (RunBusyError("busy"), Failure(2, 75, "busy")),
        (BiasconError("a\n b"), Failure(2, 1, "a b")),
        (ValueError("x"), Failure(2, 1, "ValueError: x")),
        (KeyboardInterrupt(), Failure(2, 130, "interrupted")),
        (SystemExit(3), Failure(2, 3, "exit code 3")),
        (SystemExit(), Failure(2, 0, "exit code 0")),
        (SystemExit("text"), Failure(2, 1, "exit code 1")),
    ],
)
def test_a_failure_has_the_exit_code_of_its_error(error: BaseException, failure: Failure) -> None:
    assert Failure.of(2, error) == failure


def test_the_error_of_another_process_has_the_exit_code_of_that_process() -> None:
    error = ProcessFailedError(Failure(1, 75, "busy"))
    assert (str(error), error.exit_code) == ("process 1 failed: busy", 75)
    assert BiasconError.exit_code == 1
