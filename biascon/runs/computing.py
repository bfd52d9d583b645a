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
    """Train and evaluate a run inside this context; the evaluation also needs ``evaluate_trained``.

    Raises:
        OutOfMemoryError: The memory of the device or of the machine does not suffice for the training.
    """
    train = context.config.train
    try:
        with numerics(context.device, tf32=train.tf32, deterministic=train.deterministic):
            yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise _out_of_memory(context) from error


@contextmanager
def evaluate_trained(context: RunContext) -> Iterator[None]:
    """Evaluate the trained network of a run inside this context, which lies inside ``compute``.

    Raises:
        OutOfMemoryError: The memory does not suffice. No setting of the training would help.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        remedy = "close other programs that use it"
        if context.device.type == "cuda":
            remedy += ", or pass another GPU (--device cuda:N)"
        raise OutOfMemoryError(
            f"{context.config.loss}: the memory of {context.device} does not suffice for the evaluation; "
            f"{remedy}; the network is trained, and the same command resumes with its evaluation"
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory does not suffice, by its class or its CUDA error code.

    PyTorch reports a lack of memory on the CPU as a plain ``RuntimeError``, which is not recognized.
    """
    return (
        isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError))
        or getattr(error, "error_code", None) == CUDA_OUT_OF_MEMORY
    )


def _out_of_memory(context: RunContext) -> OutOfMemoryError:
    """Return the error of a training, with a setting that needs less memory."""
    train, loss = context.config.train, context.config.loss
    share = train.batch_size // train.processes
    images = min(train.micro_batch or share, share)
    lack = f"{loss}: the memory of {context.device} does not suffice for "
    if images > 1:
        return OutOfMemoryError(
            f"{lack}{images} images at a time; pass --set train.micro_batch={images // 2} (the loss is still "
            "that of the whole batch; batch norm uses each part)"
        )
    return OutOfMemoryError(
        f"{lack}one image at a time; pass a smaller --set train.batch_size=... or --set model.encoder=..., "
        "or another --device"
    )
