"""The command line with faults, for ``test_process_failures.py``: ``fault_worker.py FAULT WORD...``.

``counted`` writes the collective operations of each step, and the buffers of the trained network, into the
folder that ``BIASCON_COUNTS`` names.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch import nn

from biascon.cli import main
from biascon.errors import RunBusyError, RunError
from biascon.evaluation import pipeline
from biascon.training import loop
from biascon.utils.distributed import rank, world_size


def at_step(n: int, function: Callable[[], None]) -> None:
    """Call a function at a step of the training, counted from 1, before its weights change."""
    set_learning_rate, steps = loop.set_learning_rate, [0]

    def changed(*arguments: Any) -> None:
        steps[0] += 1
        if steps[0] == n:
            function()
        set_learning_rate(*arguments)

    loop.set_learning_rate = changed


def fail_on(process: int, error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        if rank() == process:
            raise error

    return fail


def make_busy() -> None:
    """Let the main process find its run folder locked."""

    def lock_folder(*_: Any, **__: Any) -> None:
        raise RunBusyError("another process works on the run")

    pipeline.lock_folder = lock_folder


def kill_main() -> None:
    if rank() == 0:
        os.kill(os.getpid(), signal.SIGKILL)


def fail_in_evaluation() -> None:
    def measure(*_: Any) -> None:
        time.sleep(1)
        raise RunError("the evaluation failed")

    pipeline._measure = measure


def count_collectives() -> None:
    """Count the collective operations between two steps."""
    counts: list[list[str]] = [[]]
    for name in ("all_gather", "broadcast", "barrier", "all_reduce"):
        function = getattr(dist, name)

        def counted(
            *arguments: Any, _name: str = name, _function: Any = function, **options: Any
        ) -> Any:
            counts[-1].append(_name)
            return _function(*arguments, **options)

        setattr(dist, name, counted)
    set_learning_rate, share_buffers = loop.set_learning_rate, loop.share_buffers

    def shared(model: nn.Module) -> None:
        share_buffers(model)
        sums = {name: float(buffer.double().sum()) for name, buffer in model.named_buffers()}
        target = Path(os.environ["BIASCON_COUNTS"]) / f"buffers{rank()}.json"
        target.write_text(json.dumps(sums), encoding="utf-8")

    loop.share_buffers = shared

    def changed(*arguments: Any) -> None:
        counts.append([])
        if world_size() > 1:
            target = Path(os.environ["BIASCON_COUNTS"]) / f"{rank()}.json"
            target.write_text(json.dumps(counts), encoding="utf-8")
        set_learning_rate(*arguments)

    loop.set_learning_rate = changed


FAULTS: dict[str, Callable[[], None]] = {
    "none": lambda: None,
    "busy": make_busy,
    "main": lambda: at_step(2, fail_on(0, RunError("no space left"))),
    "other": lambda: at_step(2, fail_on(1, ValueError("broken"))),
    "interrupt": lambda: at_step(2, fail_on(1, KeyboardInterrupt())),
    "kill": lambda: at_step(2, kill_main),
    "evaluation": fail_in_evaluation,
    "counted": count_collectives,
}

if __name__ == "__main__":
    FAULTS[sys.argv[1]]()
    main(sys.argv[2:])
