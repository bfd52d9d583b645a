"""The sections of the configuration of a run: frozen dataclasses, and the checks of their values."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from biascon.config.augmentation import Augmentation
from biascon.config.limits import (
    MAX_FLOAT,
    MAX_HEAD_LAYERS,
    MAX_HEAD_WIDTH,
    Check,
    check_counts,
    describe_failures,
)

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "constant", "thirds")
PRECISIONS = ("auto", "float32", "bfloat16")
TF32 = ("convolutions", "all", "none")
PROTOCOLS = ("linear", "knn", "finetune")
FIRST_STAGE_AUGMENT = ("auto", "plain", "same")
PRETRAINED, FILE = "pretrained", "file"
_WEIGHTS = re.compile(rf"none|{PRETRAINED}|({PRETRAINED}|{FILE}):[0-9a-f]{{64}}")


@dataclass(frozen=True, kw_only=True)
class AugmentConfig(Augmentation):
    """The augmentation, and the number of views of each image.

    Attributes:
        views: The number of augmented views of each image in a batch.
        plain_classifier: Whether a classifier is trained on one view of each image without augmentation.
            The views of a contrastive term are augmented all the same.
    """

    views: int = 2
    plain_classifier: bool = False

    @classmethod
    def plain(cls) -> AugmentConfig:
        """Return the augmentation that leaves every image as it is, in one view."""
        return cls(views=1, rotation=0.0, jitter_p=0.0, grayscale_p=0.0)


@dataclass(frozen=True)
class ModelConfig:
    """The encoder, the projection head, and the initial weights of the encoder.

    Attributes:
        encoder: A key of ``biascon.models.encoders.ENCODERS``.
        head: The widths of the layers of the projection head. Without a layer, the embeddings are the
            normalized features of the encoder.
        weights: The initial weights: ``none`` (random), ``pretrained`` (of torchvision), or, after
            ``biascon.config.resolve.resolve_weights``, ``pretrained:<sha256>`` or ``file:<sha256>``.
        file: The path of the file of weights. It is not part of the digest of a run.
    """

    encoder: str = "fastconvnet"
    head: tuple[int, ...] = (128, 128)
    weights: str = "none"
    file: Path | None = field(default=None, compare=False, metadata={"is_setting": False})


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer: AdamW, or SGD with momentum 0.9.

    Attributes:
        name: ``adamw`` or ``sgd``.
        lr: The highest learning rate.
        weight_decay: The weight decay of matrices and kernels.
        schedule: ``cosine``, ``constant`` or ``thirds`` (a tenth after each third of the steps).
        warmup: The length of the linear warm-up, as a share of all steps.
    """

    name: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 1e-4
    schedule: str = "cosine"
    warmup: float = 0.1


@dataclass(frozen=True)
class TrainConfig:
    """Length, batch size, precision, device kind and CPU threads of the training.

    Attributes:
        epochs: The number of passes over the training split. It is raised to reach ``min_steps``.
        min_steps: The smallest number of steps, so that a small dataset is trained enough. It is 0 if the
            user sets ``epochs``.
        batch_size: The number of images of a step.
        precision: ``float32``, ``bfloat16``, or ``auto``: bfloat16 on CUDA, else float32.
        threads: The number of CPU threads. The last bits of a result depend on it.
        processes: The number of processes that train the network together (``biascon.utils.distributed``).
            The last bits of a result depend on it, and so does batch norm on the CPU. The launcher sets it.
        micro_batch: The number of images whose activations are in memory at a time, 0 for the whole batch.
            The loss is computed over the whole batch, but batch norm over each micro-batch.
        compile: Whether the network is compiled (``torch.compile``): faster steps after a slow first step.
        probe_every: The number of epochs between two measurements of a linear probe on the validation split;
            0 for none. It does not change the training.
        deterministic: Whether PyTorch is restricted to deterministic algorithms while the run is trained and
            evaluated. Without it, two runs of one configuration on CUDA may differ.
        tf32: What is computed in TF32 (10 bits of mantissa) on CUDA: ``convolutions``, as PyTorch does by
            default, ``all`` (also matrix products) or ``none``. It has no effect on other devices.
        device: The kind of device that trains the network: ``cpu``, ``cuda`` or ``mps``. Views are drawn by
            the generator of the device, so that another kind trains another network.
            ``RunConfig.for_device`` sets it, not the user.
        record_losses: Whether the cross-entropy of every image in every epoch is recorded, for a method that
            uses this network as its first stage. The method sets it, not the user.
        held_out: The share of the training images that are left out of the training, for a method that fits
            its last layer on them. The method sets it, not the user.
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
    deterministic: bool = False
    tf32: str = TF32[0]
    device: str = field(default="cpu", metadata={"is_setting": False})
    record_losses: bool = field(default=False, metadata={"is_setting": False})
    held_out: float = field(default=0.0, metadata={"is_setting": False})

    def epochs_for(self, n: int) -> int:
        """Return the number of epochs for ``n`` training images; 0 if they do not fill a batch."""
        steps = (n - self.count_held_out(n)) // self.batch_size
        return max(self.epochs, math.ceil(self.min_steps / steps)) if steps else 0

    def count_held_out(self, n: int) -> int:
        """Return how many of ``n`` training images are left out of the training."""
        return int(n * self.held_out)


@dataclass(frozen=True)
class FirstStageConfig:
    """The first-stage network of a method.

    Attributes:
        augment: The views that it is trained on. ``auto``: as the method says, mostly plain. ``plain``: one
            view of each image without augmentation. ``same``: the augmented views of the run.
        epochs: The number of its epochs; 0 for as many as the method says.
    """

    augment: str = "auto"
    epochs: int = 0


@dataclass(frozen=True)
class ProbeConfig:
    """The evaluation protocol, the linear probe and the nearest-neighbor classifier.

    The settings of the linear probe also apply to the probes that measure the decodability of label and bias.

    Attributes:
        c: The inverse strength of the L2 penalty of the linear probe, on standardized features.
        tolerance: The tolerance at which its solver stops.
        max_iterations: The largest number of iterations of its solver.
        kind: The evaluation protocol: ``linear`` (linear probe), ``knn`` (nearest neighbors), or ``finetune``
            (the encoder and a linear layer are trained further).
        k: The number of neighbors.
        temperature: The temperature of the weights of the neighbors.
        device: The kind of device that a trained encoder is evaluated on, if it differs from the kind that
            it was trained on; else empty. ``RunConfig.for_evaluation`` sets it, not the user.
    """

    c: float = 1.0
    tolerance: float = 1e-6
    max_iterations: int = 1000
    kind: str = "linear"
    k: int = 200
    temperature: float = 0.07
    device: str = field(default="", metadata={"is_setting": False})


@dataclass(frozen=True)
class FinetuneConfig(OptimizerConfig):
    """The settings of fine-tuning: those of the optimizer, and the length.

    Attributes:
        epochs: The number of passes over the training split.
        batch_size: The number of images of a step.
    """

    lr: float = 1e-3
    epochs: int = 10
    batch_size: int = 128


@dataclass(frozen=True)
class EncoderOrigin:
    """The run that trained an encoder on another dataset.

    Attributes:
        digest: The digest of that run.
        dataset: The name of its dataset.
        dataset_digest: The digest of its dataset.
    """

    digest: str
    dataset: str
    dataset_digest: str


SECTIONS: dict[str, type] = {
    "model": ModelConfig,
    "augment": AugmentConfig,
    "optimizer": OptimizerConfig,
    "train": TrainConfig,
    "first_stage": FirstStageConfig,
    "probe": ProbeConfig,
    "finetune": FinetuneConfig,
}


def validation_errors(
    model: ModelConfig,
    augment: AugmentConfig,
    optimizer: OptimizerConfig,
    train: TrainConfig,
    first_stage: FirstStageConfig,
    probe: ProbeConfig,
    finetune: FinetuneConfig,
) -> list[str]:
    """Return a message for each value of the sections that is not allowed."""
    weights, head = model.weights, list(model.head)
    sections = (model, augment, optimizer, train, first_stage, probe, finetune)
    checks = [
        (min(head, default=1) >= 1, "model.head", head, "widths of 1 or more, or empty"),
        (
            len(head) <= MAX_HEAD_LAYERS and max(head, default=1) <= MAX_HEAD_WIDTH,
            "model.head",
            head,
            f"at most {MAX_HEAD_LAYERS} widths of at most {MAX_HEAD_WIDTH:,}",
        ),
        *(
            check
            for name, section in zip(SECTIONS, sections, strict=True)
            for check in check_counts(name, section)
        ),
        (_is_weights(weights), "model.weights", weights, "none or pretrained (a file: --weights)"),
        *_check_optimizer("optimizer", optimizer),
        (
            train.precision in PRECISIONS,
            "train.precision",
            train.precision,
            f"one of {', '.join(PRECISIONS)}",
        ),
        (train.tf32 in TF32, "train.tf32", train.tf32, f"one of {', '.join(TF32)}"),
        (
            first_stage.augment in FIRST_STAGE_AUGMENT,
            "first_stage.augment",
            first_stage.augment,
            f"one of {', '.join(FIRST_STAGE_AUGMENT)}",
        ),
        (0 < probe.c <= MAX_FLOAT, "probe.c", probe.c, "above 0"),
        (0 < probe.tolerance <= MAX_FLOAT, "probe.tolerance", probe.tolerance, "above 0"),
        (probe.kind in PROTOCOLS, "probe.kind", probe.kind, f"one of {', '.join(PROTOCOLS)}"),
        (0 < probe.temperature <= MAX_FLOAT, "probe.temperature", probe.temperature, "above 0"),
        *_check_optimizer("finetune", finetune),
    ]
    return describe_failures(checks)


def _is_weights(value: str) -> bool:
    return _WEIGHTS.fullmatch(value) is not None


def _check_optimizer(section: str, optimizer: OptimizerConfig) -> list[Check]:
    return [
        (
            optimizer.name in OPTIMIZERS,
            f"{section}.name",
            optimizer.name,
            f"one of {', '.join(OPTIMIZERS)}",
        ),
        (0 < optimizer.lr <= MAX_FLOAT, f"{section}.lr", optimizer.lr, "above 0"),
        (
            0 <= optimizer.weight_decay <= MAX_FLOAT,
            f"{section}.weight_decay",
            optimizer.weight_decay,
            "0 or more",
        ),
        (
            optimizer.schedule in SCHEDULES,
            f"{section}.schedule",
            optimizer.schedule,
            f"one of {', '.join(SCHEDULES)}",
        ),
        (0 <= optimizer.warmup <= 1, f"{section}.warmup", optimizer.warmup, "in 0..1"),
    ]
