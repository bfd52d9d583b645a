"""Stage one: train an encoder and a head on augmented views. One loop, readable from top to bottom."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from biascon import checkpoint
from biascon.augment import augment
from biascon.config import OptimiserConfig, RunConfig
from biascon.data.dataset import BiasedDataset
from biascon.encoders import ENCODERS, Encoder, build_encoder, build_head
from biascon.errors import BiasconWarning, DataError, RunError, UsageError
from biascon.files import append, write_atomic
from biascon.losses import get_loss
from biascon.seeds import permutation, torch_generator

METRICS = "metrics.jsonl"
Say = Callable[[dict[str, Any]], None]
Placed = TypeVar("Placed", bound=nn.Module)


class Model(nn.Module):
    """An encoder with a projection head (embeddings) or a linear classifier (logits) on top."""

    def __init__(self, encoder: Encoder, head: nn.Module, *, embeds: bool) -> None:
        super().__init__()
        self.encoder: Encoder = encoder
        self.head, self.embeds = head, embeds

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(N, 3, H, W)`` to unit vectors ``(N, D)``, or to logits ``(N, K)``."""
        z: Tensor = self.head(self.encoder(images))
        return F.normalize(z.float(), dim=1) if self.embeds else z


def build_model(config: RunConfig, n_labels: int) -> Model:
    """Return the freshly initialised network of a run, on the CPU."""
    embeds = get_loss(config.loss, **_free(config)).on == "embeddings"
    encoder = build_encoder(config.model.encoder, torch_generator(config.seed, "weights/encoder"))
    widths = config.model.head if embeds else (n_labels,)
    head = build_head(encoder.dim, widths, torch_generator(config.seed, "weights/head"))
    return Model(encoder, head, embeds=embeds)


def train(
    config: RunConfig,
    data: BiasedDataset,
    folder: Path,
    *,
    device: torch.device,
    say: Say = lambda line: None,
) -> Encoder:
    """Train, or go on from the folder's checkpoint, and return the encoder.

    Args:
        config: The run.
        data: Its ``train`` split is all that is read.
        folder: The run folder; ``metrics.jsonl`` and ``checkpoint.pt`` are written there.
        device: Where to compute.
        say: Called with each epoch's line of metrics.

    Raises:
        RunError: The loss is no longer finite; the message has the epoch.
    """
    split, batch, views = data.splits["train"], config.train.batch_size, config.augment.views
    steps, epochs = len(split) // batch, config.train.epochs_for(len(split))
    check(config, data)
    loss = get_loss(config.loss, **_free(config))
    _warn(config, loss.needs, data.n_labels, embeds=loss.on == "embeddings")
    model = place(build_model(config, data.n_labels), device)
    optimiser = _optimiser(model, config.optimiser)
    state = checkpoint.load(folder)
    history: list[dict[str, Any]] = []
    if state is not None:
        try:
            model.load_state_dict(state["model"])
            optimiser.load_state_dict(state["optimiser"])
            history = list(state["history"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise checkpoint.damaged(folder / checkpoint.NAME) from error
    # What was logged after the last checkpoint is computed again.
    write_atomic(folder / METRICS, "".join(json.dumps(line) + "\n" for line in history))

    images = torch.from_numpy(split.images)  # uint8 (N, 3, H, W)
    if _fits(images, device):
        images = images.to(device)  # once; else a batch at a time
    labels = torch.from_numpy(split.labels).to(device)  # (N,)
    bias = torch.from_numpy(split.bias).to(device)  # (N,)
    half = config.for_device(device.type).train.precision == "bfloat16"

    model.train()
    for epoch in range(len(history), epochs):
        started = time.perf_counter()
        order = torch.from_numpy(permutation(len(split), config.seed, f"order/{epoch}")).to(device)
        generator = torch_generator(config.seed, f"views/{epoch}", device)
        total = torch.zeros((), device=device)
        for step in range(steps):
            rows = order[step * batch : (step + 1) * batch]  # (B,)
            pictures = images[rows.to(images.device)].to(device, non_blocking=True)
            x = augment(pictures, config.augment, generator, views)  # (B * V, 3, H, W)
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                out = model(x).view(batch, views, -1)  # (B, V, D) or (B, V, K)
            value = loss(out, labels[rows], bias[rows])
            rate = learning_rate(config.optimiser, epoch * steps + step, epochs * steps)
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += value.detach()  # stays on the device: reading it would stall the queue
        mean = float(total) / steps
        if not math.isfinite(mean):
            raise RunError(
                f"{config.loss}: the loss is {mean} in epoch {epoch + 1}; "
                "lower the learning rate with --set optimiser.lr=..."
            )
        seconds = time.perf_counter() - started
        line = {
            "epoch": epoch + 1,
            "epochs": epochs,
            "loss": mean,
            "lr": rate,
            "seconds": round(seconds, 3),
            "views_per_second": round(steps * batch * views / seconds, 1),
        }
        history.append(line)
        append(folder / METRICS, json.dumps(line) + "\n")
        checkpoint.save(
            folder,
            {
                "epoch": epoch + 1,
                "model": model.state_dict(),
                "optimiser": optimiser.state_dict(),
                "history": history,
            },
        )
        say(line)
    return model.encoder


def check(config: RunConfig, data: BiasedDataset) -> None:
    """Refuse a run that cannot be trained or probed, before anything of it is computed.

    Raises:
        UsageError: A batch larger than the training split, or images too small for the encoder.
        DataError: A training split without one of the classes.
    """
    split, batch = data.splits["train"], config.train.batch_size
    if batch > len(split):
        raise UsageError(f"expected batch_size of at most {len(split)} images, but got {batch}")
    with torch.device("meta"):
        smallest = ENCODERS[config.model.encoder]().smallest
    side = min(split.images.shape[2:])
    if side < smallest:
        need = f"{config.model.encoder} needs {smallest}"
        raise UsageError(f"expected images of enough pixels a side ({need}), but got {side}")
    present = len(np.unique(split.labels))
    if present != data.n_labels:
        raise DataError(f"{data.name}: the training split has {present} of {data.n_labels} classes")


def place(module: Placed, device: torch.device) -> Placed:
    """Move a network to a device, its kernels channels-last."""
    moved: Placed = module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


def learning_rate(config: OptimiserConfig, step: int, total: int) -> float:
    """Return the rate of a step: a linear warm-up over the first share of all steps, then

    ``cosine``: half a cosine down to 0; ``constant``; ``thirds``: a tenth after each third.

    >>> round(learning_rate(OptimiserConfig(lr=1.0, warmup=0.5), 2, 8), 3)
    0.75
    """
    warm = config.warmup * total
    if step < warm:
        return config.lr * (step + 1) / max(warm, 1.0)
    if config.schedule == "cosine":
        return config.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(total - warm, 1.0)))
    if config.schedule == "thirds":
        return config.lr * 0.1 ** int(3 * step / total)
    return config.lr


def _free(config: RunConfig) -> dict[str, Any]:
    """The loss's parameters without those that its name fixes."""
    from biascon.losses import entry

    return {k: v for k, v in config.parameters.items() if k not in entry(config.loss).fixed}


def _optimiser(model: nn.Module, config: OptimiserConfig) -> torch.optim.Optimizer:
    """Weight decay is for matrices and kernels, not for biases and normalisation."""
    weights = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": config.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=0.9)
    return torch.optim.AdamW(groups, lr=config.lr)


def _fits(images: Tensor, device: torch.device) -> bool:
    """Whether the whole split may live on the device: it takes at most half of what is free."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return images.nbytes <= free / 2


def _warn(config: RunConfig, needs: tuple[str, ...], n_labels: int, *, embeds: bool) -> None:
    if "views" in needs and config.augment.views < 2:
        warnings.warn(
            f"{config.loss} compares views of an image, but augment.views is 1: that term is 0",
            BiasconWarning,
            stacklevel=3,
        )
    if embeds and "labels" in needs and config.train.batch_size <= n_labels:
        warnings.warn(
            f"batch_size {config.train.batch_size} is not larger than the {n_labels} classes: by "
            "Lemma 1 of the ConTeX paper an anchor is then not sure of two positives in its batch",
            BiasconWarning,
            stacklevel=3,
        )
