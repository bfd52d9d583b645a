"""The computation of a run: the numerical settings of its configuration, and errors for a lack of memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from biascon.errors import OutOfMemoryError
from biascon.runs.context import RunContext
from biascon.utils.numerics import numerics

CUDA_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation


@contextmanager
def compute(context: RunContext) -> Iterator[None]:
    """Train and evaluate a run inside this context.

    Raises:
        OutOfMemoryError: The memory of the device or of the machine does not suffice.
    """
    train = context.config.train
    try:
        with numerics(context.device, tf32=train.tf32, deterministic=train.deterministic):
            yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise _out_of_memory(context) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory does not suffice, by its class or its CUDA error code.

    PyTorch reports a lack of memory on the CPU as a plain ``RuntimeError``, which is not recognized.
    """
    return (
        isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError))
        or getattr(error, "error_code", None) == CUDA_OUT_OF_MEMORY
    )


def _out_of_memory(context: RunContext) -> OutOfMemoryError:
    train = context.config.train
    images = train.micro_batch or train.batch_size
    return OutOfMemoryError(
        f"{context.config.loss}: the memory of {context.device} does not suffice for {images} images at a "
        f"time; pass --set train.micro_batch={max(1, images // 2)} (the loss is still that of the whole "
        "batch; batch norm uses each part)"
    )
