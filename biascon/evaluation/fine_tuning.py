"""Fine-tuning: train a copy of the encoder and a new linear layer with labels.

The run's ``encoder.safetensors`` stays as it is. Images are cropped, flipped and rotated as in the views of
the run, and keep their colors. The loss and the validation accuracies of each epoch are a line of
``finetune.jsonl``. The last epoch is evaluated; no epoch is selected. The weights are kept in
``finetuned.safetensors``.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.nn import functional as F

from biascon.errors import DivergedError
from biascon.evaluation.monitor import validation_accuracies
from biascon.models.encoders import Encoder, build_encoder, build_head
from biascon.models.features import iter_outputs
from biascon.runs.context import RunContext
from biascon.runs.folder import ENCODER, FINETUNE_LOG, FINETUNED, write_artifacts
from biascon.runs.history import History
from biascon.runs.records import EpochRecord
from biascon.training.augment import augment
from biascon.training.batches import BatchLoader
from biascon.training.network import load_weights, to_channels_last
from biascon.training.optimizer import build_optimizer, learning_rate, set_learning_rate
from biascon.utils.progress import report_progress
from biascon.utils.seeds import permutation, torch_generator
from biascon.utils.types import Array

CHECKPOINT = "finetune.pt"
STAGE = "fine-tuning"


class FineTunedModel(nn.Module):
    """An encoder with a linear classifier on its features."""

    def __init__(self, encoder: Encoder, layer: nn.Module) -> None:
        super().__init__()
        self.encoder, self.layer = encoder, layer

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(N, 3, H, W)`` to logits ``(N, K)``."""
        logits: Tensor = self.layer(self.encoder(images))
        return logits


def finetune(context: RunContext) -> FineTunedModel:
    """Return the fine-tuned network of a run: read it, train it, or resume from its last epoch.

    Args:
        context: The run; its folder is locked and holds ``encoder.safetensors``. ``[finetune]`` and the
            geometry of ``[augment]`` are the settings. ``train`` is trained on; ``val`` is measured where
            the dataset has it.

    Raises:
        RunError: A file is damaged, or the loss is not finite.
    """
    config, folder, device = context.config.finetune, context.folder, context.device
    model = to_channels_last(_initial_model(context), device)
    if (folder / FINETUNED).is_file():
        load_weights(model, folder / FINETUNED)
        return model
    optimizer = build_optimizer(model, config)
    history = History(folder, FINETUNE_LOG, CHECKPOINT)

    def load_state(state: Mapping[str, Any]) -> None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])

    history.restore(load_state)
    history.rewrite_log()
    loader = BatchLoader(context.data.splits["train"], device)
    for epoch in range(len(history.epochs), config.epochs):
        record = _finetune_epoch(context, model, optimizer, loader, epoch)
        if "val" in context.data.splits:
            scores = predict_proba(model, context.data.splits["val"].images, device=device)
            accuracies = validation_accuracies(context.data, scores)
            record = dataclasses.replace(record, validation=accuracies)
        history.add(record)
        history.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
        context.on_epoch(dataclasses.replace(record, stage=STAGE))
    weights = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    write_artifacts(folder, {FINETUNED: to_bytes(weights)})
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return model


def _finetune_epoch(
    context: RunContext,
    model: FineTunedModel,
    optimizer: torch.optim.Optimizer,
    loader: BatchLoader,
    epoch: int,
) -> EpochRecord:
    """Train one epoch, counted from 0, and return its record."""
    run_config, config, device = context.config, context.config.finetune, context.device
    augmentation = dataclasses.replace(run_config.augment, jitter_p=0.0, grayscale_p=0.0)
    use_bfloat16 = run_config.for_device(device.type).train.precision == "bfloat16"
    split, seed = context.data.splits["train"], run_config.seed
    labels = torch.from_numpy(split.labels).to(device)
    batch = config.batch_size
    steps = len(split) // batch
    started = time.perf_counter()
    model.train()
    order = torch.from_numpy(permutation(len(split), seed, f"finetune/order/{epoch}"))
    order = order[: steps * batch]
    batches, rows = (torch.split(x, batch) for x in (order, order.to(device)))  # (B,) each
    generator = torch_generator(seed, f"finetune/views/{epoch}", device)
    total, lr = torch.zeros((), device=device), 0.0
    with closing(loader.batches(batches)) as feed:
        for step, images in enumerate(feed):
            x = augment(images, augmentation, generator, views=1)  # (B, 3, H, W)
            with torch.autocast(device.type, torch.bfloat16, enabled=use_bfloat16):
                logits = model(x)
            loss = F.cross_entropy(logits.float(), labels[rows[step]])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            lr = learning_rate(config, epoch * steps + step, config.epochs * steps)
            set_learning_rate(optimizer, lr)
            optimizer.step()
            total += loss.detach()
            report_progress(
                STAGE, epoch * steps + step + 1, config.epochs * steps, "steps",
                detail=f"epoch {epoch + 1}/{config.epochs}", images=batch, is_training=True,
            )  # fmt: skip
    if not bool(total.isfinite()):
        raise DivergedError(
            f"{run_config.loss}: the loss of fine-tuning is not finite in epoch {epoch + 1}; "
            "lower the learning rate with --set finetune.lr=..."
        )
    seconds = time.perf_counter() - started
    return EpochRecord(
        epoch=epoch + 1,
        epochs=config.epochs,
        loss=float(total) / steps,
        lr=lr,
        seconds=round(seconds, 3),
        views_per_second=round(steps * batch / seconds, 1),
    )


def predict_proba(model: FineTunedModel, images: Array, *, device: torch.device) -> Array:
    """Return float32 ``(N, K)``: the probabilities of un-augmented images, in evaluation mode."""
    model.eval()
    blocks = iter_outputs(model, images, device=device)
    return np.concatenate([logits.softmax(dim=1).numpy() for _, logits in blocks])


def _initial_model(context: RunContext) -> FineTunedModel:
    config = context.config
    # The drawn weights of the encoder are replaced at once.
    encoder = build_encoder(config.model.encoder, torch_generator(config.seed, "weights/finetune"))
    load_weights(encoder, context.folder / ENCODER)
    generator = torch_generator(config.seed, "weights/finetune/layer")
    layer = build_head(encoder.dim, (context.data.n_labels,), generator)
    return FineTunedModel(encoder, layer)
