"""The memory and the disk that a run takes, estimated before it starts.

The estimate is of the training: the weights with their gradients and the state of the optimizer, the views of
a batch, and the outputs of the layers that the backward pass needs. The similarities are not in it: they are
computed in blocks (``biascon.losses.blockwise``), whose size does not grow with the batch.
"""

from __future__ import annotations

import functools
import shutil
import warnings
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn

from biascon.config.run_config import RunConfig
from biascon.data.dataset import BiasedDataset
from biascon.errors import BiasconWarning, OutOfMemoryError, RunError
from biascon.models.encoders import build_on_meta
from biascon.runs.context import RunContext
from biascon.runs.folder import ENCODER
from biascon.utils.memory import available_memory, total_memory
from biascon.utils.text import format_bytes

# A run is refused if this share of the estimate is more than the whole machine has: the estimate of the
# layers may be too high where ``torch.compile`` computes an output again.
SURE = 0.5
MANY_STEPS = 5_000_000
HALF_ABOVE_BYTES = 1 << 30  # float32 features above this size are stored in float16


@dataclass(frozen=True)
class RunSize:
    """The estimated size of a run, in bytes.

    Attributes:
        weights: The weights, their gradients, and the state of the optimizer.
        views: The views of a batch.
        layers: The outputs of the layers for the images that are in memory at a time.
        disk: The weights, the checkpoint and the features in the run folder.
        steps: The number of steps of the training.
    """

    weights: int
    views: int
    layers: int
    disk: int
    steps: int

    @property
    def memory(self) -> int:
        """The memory of a step."""
        return self.weights + self.views + self.layers


def estimate_run(config: RunConfig, data: BiasedDataset) -> RunSize:
    """Return the estimated size of a run. With several processes, the memory is that of one of them.

    Args:
        config: The configuration of the run.
        data: Its dataset.
    """
    train = config.train
    split = data.splits["train"]
    height, width = split.images.shape[2:]
    encoder = build_on_meta(config.model.encoder)
    widths = (encoder.dim, *config.model.head)
    head = sum(i * o + o for i, o in pairwise(widths))
    n_weights = sum(weight.numel() for weight in encoder.parameters()) + head
    copies = 4 if config.optimizer.name == "adamw" else 3  # weights, gradients, moments
    images = train.batch_size // train.processes
    at_a_time = min(train.micro_batch or images, images) * config.augment.views
    item = 2 if train.precision == "bfloat16" else 4
    features = sum(_feature_bytes(len(each), encoder.dim) for each in data.splits.values())
    epochs = train.epochs_for(len(split))
    return RunSize(
        weights=4 * copies * n_weights,
        views=4 * images * config.augment.views * 3 * height * width,
        layers=item * at_a_time * count_outputs(config.model.encoder, height, width),
        disk=4 * copies * n_weights + features,
        steps=epochs * ((len(split) - train.count_held_out(len(split))) // train.batch_size),
    )


@functools.lru_cache(maxsize=64)
def count_outputs(encoder: str, height: int, width: int) -> int:
    """Return how many numbers the layers of an encoder put out for one image, without activations in place.

    The network is passed without storage, on the ``meta`` device.

    Args:
        encoder: The name of the encoder.
        height: The height of the image in pixels.
        width: Its width.
    """
    network = build_on_meta(encoder).eval()
    total = 0

    def count(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal total
        is_leaf = next(module.children(), None) is None
        if is_leaf and isinstance(output, torch.Tensor) and not getattr(module, "inplace", False):
            total += output.numel()

    for module in network.modules():
        module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.empty(1, 3, height, width, device="meta"))
    return total


def check_run_size(context: RunContext) -> None:
    """Refuse a run that this machine cannot compute; warn of one for which little is free.

    A run whose network is trained already is not checked.

    Raises:
        OutOfMemoryError: The training needs more memory than the machine or the device has.
        RunError: The run needs more disk than is free.
    """
    if context.config.origin is not None or (context.folder / ENCODER).is_file():
        return
    size = estimate_run(context.config, context.data)
    total, available = _device_memory(context.device)
    name = f"{context.config.loss}: the training"
    if total is not None and SURE * size.memory > total:
        raise OutOfMemoryError(
            f"{name} needs some {format_bytes(size.memory)} of memory ({_describe(size)}), but "
            f"{context.device} has {format_bytes(total)}; {_remedy(context.config)}"
        )
    if available is not None and size.memory > available:
        warnings.warn(
            f"{name} needs some {format_bytes(size.memory)} of memory ({_describe(size)}), and "
            f"{format_bytes(available)} of {context.device} are free; {_remedy(context.config)}",
            BiasconWarning,
            stacklevel=3,
        )
    if size.steps > MANY_STEPS:
        warnings.warn(f"{name} has {size.steps:,} steps", BiasconWarning, stacklevel=3)
    _check_disk(context.folder, size)


def _check_disk(folder: Path, size: RunSize) -> None:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        free = shutil.disk_usage(existing).free
        there = sum(path.stat().st_size for path in folder.iterdir()) if folder.is_dir() else 0
    except OSError:
        return  # the system does not tell; a full disk is one line later
    if size.disk - there > free:
        raise RunError(
            f"the run needs some {format_bytes(size.disk)} of disk for its weights, checkpoint and features, "
            f"but {existing} has {format_bytes(free)} free; pass another --runs folder"
        )


def _feature_bytes(n: int, dim: int) -> int:
    n_bytes = 4 * n * dim
    return n_bytes // 2 if n_bytes > HALF_ABOVE_BYTES else n_bytes


def _device_memory(device: torch.device) -> tuple[int | None, int | None]:
    """Return the memory of a device, and how much of it is free; None where it is not known."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return total, free
    return total_memory(), available_memory()


def _describe(size: RunSize) -> str:
    return (
        f"weights {format_bytes(size.weights)}, views of a batch {format_bytes(size.views)}, "
        f"layers {format_bytes(size.layers)}"
    )


def _remedy(config: RunConfig) -> str:
    images = config.train.micro_batch or config.train.batch_size
    smaller = "" if images < 2 else f"--set train.micro_batch={images // 2} or "
    return f"pass {smaller}a smaller train.batch_size, augment.views or model.encoder"
