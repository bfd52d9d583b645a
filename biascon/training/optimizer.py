"""The optimizer and its learning rate."""

from __future__ import annotations

import math

import torch
from torch import nn

from biascon.config.run_config import OptimizerConfig


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Return the optimizer of a network; weight decay applies to matrices and kernels only."""
    weights = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": config.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    fused = weights[0].device.type in ("cpu", "cuda")  # one kernel updates all weights
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=0.9, fused=fused)
    return torch.optim.AdamW(groups, lr=config.lr, fused=fused)


def learning_rate(config: OptimizerConfig, step: int, total: int) -> float:
    """Return the learning rate of a step.

    A linear warm-up over the first ``warmup`` share of all steps is followed by the schedule. ``cosine``
    falls to 0 as half a cosine. ``constant`` stays. ``thirds`` divides the rate by 10 after each third.

    >>> round(learning_rate(OptimizerConfig(lr=1.0, warmup=0.5), 2, 8), 3)
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


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = lr
