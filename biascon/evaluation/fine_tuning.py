"""Fine-tuning: a trained encoder and a new linear layer, trained on with labels; a judge of the encoder.

It starts from a copy: the run's ``encoder.safetensors`` stays what training left. Images are cropped, flipped
and turned as in the run's views, and keep their colors. Each epoch's loss and accuracies on validation are a
line of ``finetune.jsonl``; the last epoch judges, none is chosen. The weights are kept in
``finetuned.safetensors``.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.nn import functional as F

from biascon.config.run_config import RunConfig
from biascon.data.dataset import BiasedDataset
from biascon.data.memory_map import release_pages
from biascon.errors import RunError
from biascon.evaluation.monitor import validation_accuracies
from biascon.models.encoders import Encoder, build_encoder, build_head
from biascon.models.preprocess import normalize
from biascon.runs import checkpoint
from biascon.runs.folder import ENCODER, FINETUNE_LOG, FINETUNED
from biascon.training.augment import augment
from biascon.training.batches import BatchLoader
from biascon.training.network import load_weights, to_channels_last
from biascon.training.optimizer import build_optimizer, learning_rate
from biascon.utils.files import append, write_atomic
from biascon.utils.seeds import permutation, torch_generator
from biascon.utils.types import Array

CHECKPOINT = "finetune.pt"
EpochCallback = Callable[[dict[str, Any]], None]


class FineTunedModel(nn.Module):
    """An encoder with a linear classifier on its features."""

    def __init__(self, encoder: Encoder, layer: nn.Module) -> None:
        super().__init__()
        self.encoder, self.layer = encoder, layer

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(N, 3, H, W)`` to logits ``(N, K)``."""
        logits: Tensor = self.layer(self.encoder(images))
        return logits


def finetune(
    config: RunConfig,
    data: BiasedDataset,
    folder: Path,
    *,
    device: torch.device,
    on_epoch: EpochCallback = lambda line: None,
) -> FineTunedModel:
    """Return the fine-tuned network of a run: read it, or train it, or go on from its last epoch.

    Args:
        config: The run; ``[finetune]`` is what is read of it, and the geometry of ``[augment]``.
        data: ``train`` trains, ``val`` is measured where it is there.
        folder: The run's, locked, with its ``encoder.safetensors``.
        device: Where to compute.
        on_epoch: Called with each epoch's line.

    Raises:
        RunError: A file is damaged, or the loss is not finite.
    """
    model = to_channels_last(_start(config, data, folder), device)
    if (folder / FINETUNED).is_file():
        load_weights(model, folder / FINETUNED)
        return model
    tuning, split = config.finetune, data.splits["train"]
    steps, batch = len(split) // tuning.batch_size, tuning.batch_size
    steered = build_optimizer(model, tuning)
    history: list[dict[str, Any]] = []
    state = checkpoint.load(folder, CHECKPOINT)
    if state is not None:
        try:
            model.load_state_dict(state["model"])
            steered.load_state_dict(state["optimizer"])
            history = list(state["history"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise checkpoint.damaged_file_error(folder / CHECKPOINT) from error
    write_atomic(folder / FINETUNE_LOG, "".join(json.dumps(line) + "\n" for line in history))
    recipe = dataclasses.replace(config.augment, jitter_p=0.0, grayscale_p=0.0)
    pictures, labels = BatchLoader(split, device), torch.from_numpy(split.labels).to(device)
    half = config.for_device(device.type).train.precision == "bfloat16"
    for epoch in range(len(history), tuning.epochs):
        started = time.perf_counter()
        model.train()
        order = torch.from_numpy(permutation(len(split), config.seed, f"finetune/order/{epoch}"))
        parts = list(torch.split(order[: steps * batch], batch))  # (B,) each
        generator = torch_generator(config.seed, f"finetune/views/{epoch}", device)
        total = torch.zeros((), device=device)
        for step, images in enumerate(pictures.batches(parts)):
            x = augment(images, recipe, generator, views=1)  # (B, 3, H, W)
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                logits = model(x)
            value = F.cross_entropy(logits.float(), labels[parts[step].to(device)])
            steered.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            lr = learning_rate(tuning, epoch * steps + step, tuning.epochs * steps)
            for group in steered.param_groups:
                group["lr"] = lr
            steered.step()
            total += value.detach()
        if not bool(total.isfinite()):
            raise RunError(
                f"{config.loss}: fine-tuning has a loss that is not finite in epoch {epoch + 1}; "
                "lower the learning rate with --set finetune.lr=..."
            )
        seconds = time.perf_counter() - started
        line: dict[str, Any] = {
            "epoch": epoch + 1,
            "epochs": tuning.epochs,
            "loss": float(total) / steps,
            "lr": lr,
            "seconds": round(seconds, 3),
            "views_per_second": round(steps * batch / seconds, 1),
        }
        if "val" in data.splits:
            scores = probabilities(model, data.splits["val"].images, device=device)
            line["validation"] = validation_accuracies(data, scores)
        history.append(line)
        append(folder / FINETUNE_LOG, json.dumps(line) + "\n")
        kept = {"model": model.state_dict(), "optimizer": steered.state_dict(), "history": history}
        checkpoint.save(folder, {"epoch": epoch + 1, **kept}, CHECKPOINT)
        on_epoch(line)
    found = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    write_atomic(folder / FINETUNED, to_bytes(found))
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return model


def probabilities(
    model: FineTunedModel, images: Array, *, device: torch.device, batch_size: int = 1000
) -> Array:
    """Return float32 ``(N, K)``: what the network tells of un-augmented images, in evaluation mode."""
    model.eval()
    found = []
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            block = torch.from_numpy(images[start : start + batch_size]).to(device)
            found.append(model(normalize(block)).float().softmax(dim=1).cpu().numpy())
            release_pages(images)
    return np.concatenate(found)


def _start(config: RunConfig, data: BiasedDataset, folder: Path) -> FineTunedModel:
    generator = torch_generator(config.seed, "weights/finetune")
    encoder = build_encoder(config.model.encoder, generator)  # its weights are read right away
    load_weights(encoder, folder / ENCODER)
    generator = torch_generator(config.seed, "weights/finetune/layer")
    return FineTunedModel(encoder, build_head(encoder.dim, (data.n_labels,), generator))
