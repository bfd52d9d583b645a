"""The sections of a run's configuration, each a frozen dataclass with the values that it allows."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from biascon.config.augmentation import Augmentation

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "constant", "thirds")
PRECISIONS = ("auto", "float32", "bfloat16")
PROTOCOLS = ("linear", "knn", "finetune")
PRETRAINED, FILE = "pretrained", "file"
_WEIGHTS = re.compile(rf"none|{PRETRAINED}|({PRETRAINED}|{FILE}):[0-9a-f]{{64}}")


@dataclass(frozen=True, kw_only=True)
class AugmentConfig(Augmentation):
    """The recipe of a view, and how many views an image has."""

    views: int = 2


@dataclass(frozen=True)
class ModelConfig:
    """The encoder's name, the widths of the projection head, and the weights that the encoder starts from.

    Attributes:
        encoder: A key of ``biascon.models.encoders.ENCODERS``.
        head: Widths.
        weights: ``none`` (drawn), ``pretrained`` (torchvision's), or, once the file is known
            (``biascon.models.weights``), ``pretrained:<sha256>`` or ``file:<sha256>``.
        file: Where that file lies; no part of what a run is.
    """

    encoder: str = "fastconvnet"
    head: tuple[int, ...] = (128, 128)
    weights: str = "none"
    file: Path | None = field(default=None, compare=False, metadata={"said": False})


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW or SGD with momentum 0.9; ``warmup`` is a share of all steps."""

    name: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 1e-4
    schedule: str = "cosine"
    warmup: float = 0.1


@dataclass(frozen=True)
class TrainConfig:
    """Length, batch, precision and CPU threads.

    Attributes:
        epochs: Passes over the training split; more where they would be fewer than ``min_steps``.
        min_steps: The least number of steps, so that a small dataset is trained enough; 0 where
            ``epochs`` is set by hand.
        batch_size: Images a step.
        precision: ``float32``, ``bfloat16``, or ``auto``: bfloat16 on CUDA, else float32.
        threads: CPU threads; the last bits of a result depend on it.
        processes: Number of processes that train the network together (``biascon.utils.distributed``). The
            last bits of a result depend on it, and so does batch norm on the CPU. The launcher sets it.
        micro_batch: Images whose activations are held at a time, 0 for the whole batch. The loss stays that
            of the whole batch; batch norm sees a part of it.
        compile: Whether the network is compiled (``torch.compile``): faster after a slow first step.
        probe_every: After how many epochs a linear probe is fitted and measured on validation, to show how
            fast a loss learns; 0 is never. It changes nothing in the training.
        record_losses: Whether the cross-entropy of every image in every epoch is recorded, for a method that
            builds on this network. The method sets it, not the user.
    """

    epochs: int = 4
    min_steps: int = 0
    batch_size: int = 256
    precision: str = "auto"
    threads: int = 2
    processes: int = 1
    micro_batch: int = 0
    compile: bool = False
    probe_every: int = 0
    record_losses: bool = field(default=False, metadata={"said": False})

    def epochs_for(self, n: int) -> int:
        """Return how many epochs a training split of ``n`` images gets; 0 if it is below one batch."""
        steps = n // self.batch_size
        return max(self.epochs, math.ceil(self.min_steps / steps)) if steps else 0


@dataclass(frozen=True)
class ProbeConfig:
    """How a trained encoder is judged; and the linear probe, which is also what reads its features out.

    Attributes:
        c: Inverse L2 strength of the linear probe on standardised features.
        tolerance: When its solver stops.
        max_iterations: When it stops at the latest.
        kind: ``linear``: the linear probe judges; ``knn``: nearest neighbors; ``finetune``: encoder and a
            linear layer, trained on.
        k: How many neighbors.
        temperature: Of the neighbors' weights.
    """

    c: float = 1.0
    tolerance: float = 1e-6
    max_iterations: int = 1000
    kind: str = "linear"
    k: int = 200
    temperature: float = 0.07


@dataclass(frozen=True)
class FinetuneConfig(OptimizerConfig):
    """Fine-tuning: the optimizer, the passes over the training split, the images a step."""

    lr: float = 1e-3
    epochs: int = 10
    batch_size: int = 128


@dataclass(frozen=True)
class EncoderOrigin:
    """The run that an encoder comes from, where it was trained on another dataset.

    Attributes:
        digest: Of that run.
        dataset: The name of its dataset.
        dataset_digest: Its digest.
    """

    digest: str
    dataset: str
    dataset_digest: str


SECTIONS: dict[str, type] = {
    "model": ModelConfig,
    "augment": AugmentConfig,
    "optimizer": OptimizerConfig,
    "train": TrainConfig,
    "probe": ProbeConfig,
    "finetune": FinetuneConfig,
}


def validation_errors(
    model: ModelConfig,
    a: AugmentConfig,
    optimizer: OptimizerConfig,
    t: TrainConfig,
    p: ProbeConfig,
    f: FinetuneConfig,
) -> list[str]:
    """Return what is wrong with the values of the sections, each in words."""
    weights, head = model.weights, list(model.head)
    checks = [
        (bool(head) and min(head, default=0) >= 1, "model.head", head, "widths of 1 or more"),
        (a.views >= 1, "augment.views", a.views, "1 or more"),
        (_is_weights(weights), "model.weights", weights, "none or pretrained (a file: --weights)"),
        *_check_optimizer("optimizer", optimizer),
        (t.epochs >= 1, "train.epochs", t.epochs, "1 or more"),
        (t.min_steps >= 0, "train.min_steps", t.min_steps, "0 or more"),
        (t.batch_size >= 2, "train.batch_size", t.batch_size, "2 or more"),
        (
            t.precision in PRECISIONS,
            "train.precision",
            t.precision,
            f"one of {', '.join(PRECISIONS)}",
        ),
        (t.threads >= 1, "train.threads", t.threads, "1 or more"),
        (t.processes >= 1, "train.processes", t.processes, "1 or more"),
        (t.micro_batch >= 0, "train.micro_batch", t.micro_batch, "0 or more"),
        (t.probe_every >= 0, "train.probe_every", t.probe_every, "0 or more"),
        (0 < p.c < math.inf, "probe.c", p.c, "above 0"),
        (0 < p.tolerance < math.inf, "probe.tolerance", p.tolerance, "above 0"),
        (p.max_iterations >= 1, "probe.max_iterations", p.max_iterations, "1 or more"),
        (p.kind in PROTOCOLS, "probe.kind", p.kind, f"one of {', '.join(PROTOCOLS)}"),
        (p.k >= 1, "probe.k", p.k, "1 or more"),
        (0 < p.temperature < math.inf, "probe.temperature", p.temperature, "above 0"),
        *_check_optimizer("finetune", f),
        (f.epochs >= 1, "finetune.epochs", f.epochs, "1 or more"),
        (f.batch_size >= 2, "finetune.batch_size", f.batch_size, "2 or more"),
    ]
    return [f"{key} to be {want}, but got {got}" for ok, key, got, want in checks if not ok]


def _is_weights(value: str) -> bool:
    return _WEIGHTS.fullmatch(value) is not None


def _check_optimizer(section: str, o: OptimizerConfig) -> list[tuple[bool, str, Any, str]]:
    return [
        (o.name in OPTIMIZERS, f"{section}.name", o.name, f"one of {', '.join(OPTIMIZERS)}"),
        (0 < o.lr < math.inf, f"{section}.lr", o.lr, "above 0"),
        (0 <= o.weight_decay < math.inf, f"{section}.weight_decay", o.weight_decay, "0 or more"),
        (
            o.schedule in SCHEDULES,
            f"{section}.schedule",
            o.schedule,
            f"one of {', '.join(SCHEDULES)}",
        ),
        (0 <= o.warmup <= 1, f"{section}.warmup", o.warmup, "in 0..1"),
    ]
