"""How PyTorch computes: TF32 on CUDA, deterministic algorithms, the current CUDA device.

These are settings of the whole process. ``numerics`` sets them for a run and restores them afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
DETERMINISTIC_WORKSPACE = (
    ":4096:8"  # eight buffers of 4 MiB, one of the two values that cuBLAS documents
)
# Whether matrix products and convolutions of float32 are computed in TF32, by the value of train.tf32.
_IN_TF32 = {"convolutions": (False, True), "all": (True, True), "none": (False, False)}


@contextmanager
def numerics(device: torch.device, *, tf32: str, deterministic: bool) -> Iterator[None]:
    """Set how PyTorch computes on a device, and restore the previous settings at the end.

    On a CUDA device with an index, the device becomes the current one, so that no memory is used on another.

    Args:
        device: The device to compute on. TF32 is set on CUDA only.
        tf32: ``convolutions``, ``all`` or ``none``.
        deterministic: Whether PyTorch uses deterministic algorithms only. An operation without a
            deterministic algorithm then raises a ``RuntimeError``. cuBLAS reads its workspace setting once:
            a process that has used CUDA before keeps its earlier workspace.
    """
    is_cuda = device.type == "cuda"
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    flags = (matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark)
    algorithms = torch.are_deterministic_algorithms_enabled()
    warns_only = torch.is_deterministic_algorithms_warn_only_enabled()
    workspace = os.environ.get(CUBLAS_WORKSPACE)
    try:
        if is_cuda:
            matmul.allow_tf32, cudnn.allow_tf32 = _IN_TF32[tf32]
        if deterministic:
            os.environ.setdefault(CUBLAS_WORKSPACE, DETERMINISTIC_WORKSPACE)
            cudnn.deterministic, cudnn.benchmark = True, False
            torch.use_deterministic_algorithms(True)
        with torch.cuda.device(device) if is_cuda and device.index is not None else nullcontext():
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = flags
        torch.use_deterministic_algorithms(algorithms, warn_only=warns_only)
        if workspace is None:
            os.environ.pop(CUBLAS_WORKSPACE, None)
