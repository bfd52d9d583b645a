"""Stage one: train an encoder and a head on augmented views. One loop, readable from top to bottom."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.nn import functional as F

from biascon import checkpoint, runs
from biascon.augment import augment
from biascon.config import OptimiserConfig, RunConfig
from biascon.data.dataset import BiasedDataset, Split
from biascon.data.mapped import release
from biascon.encoders import Encoder, build_encoder, build_head, design
from biascon.errors import BiasconWarning, DataError, RunError, UsageError
from biascon.files import append, write_atomic
from biascon.given import Given, from_counts
from biascon.losses import entry, get_loss
from biascon.losses.cross_entropy import per_image
from biascon.losses.distributed import ranks, whole
from biascon.parallel import leads, rank, shared, synchronised, wait
from biascon.seeds import derive, permutation, torch_generator

METRICS = "metrics.jsonl"
RELEASE = 500  # steps after which pages of a large dataset are given back
Say = Callable[[dict[str, Any]], None]
Placed = TypeVar("Placed", bound=nn.Module)


class Model(nn.Module):
    """An encoder with a projection head, a linear classifier, or both on top."""

    def __init__(
        self, encoder: Encoder, head: nn.Module | None, classifier: nn.Module | None
    ) -> None:
        super().__init__()
        self.encoder: Encoder = encoder
        self.head, self.classifier = head, classifier

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map ``(N, 3, H, W)`` to ``features`` (N, F), and ``z`` (N, D) unit vectors, ``logits`` (N, K)."""
        features = self.encoder(images)
        out = {"features": features}
        if self.head is not None:
            out["z"] = F.normalize(self.head(features).float(), dim=1)
        if self.classifier is not None:
            out["logits"] = self.classifier(features)
        return out


def build_model(config: RunConfig, data: BiasedDataset) -> Model:
    """Return the freshly initialised network of a run, on the CPU."""
    known = entry(config.loss)
    encoder = build_encoder(config.model.encoder, torch_generator(config.seed, "weights/encoder"))
    head = classifier = None
    if known.on == "embeddings":
        generator = torch_generator(config.seed, "weights/head")
        head = build_head(encoder.dim, config.model.head, generator)
    if classifies(config.loss):
        classifier = build_classifier(config, encoder, data)
    return Model(encoder, head, classifier)


def classifies(loss: str) -> bool:
    """Whether a run with this loss trains a linear classifier."""
    known = entry(loss)
    return known.on == "logits" or "logits" in known.inputs


def build_classifier(config: RunConfig, encoder: Encoder, data: BiasedDataset) -> nn.Module:
    """Return the freshly initialised linear classifier of a run, on the CPU."""
    n = data.n_labels if entry(config.loss).tells == "labels" else data.n_bias
    return build_head(encoder.dim, (n,), torch_generator(config.seed, "weights/classifier"))


def train(
    config: RunConfig,
    data: BiasedDataset,
    folder: Path,
    *,
    device: torch.device,
    given: Given | None = None,
    say: Say = lambda line: None,
) -> Model:
    """Train, or go on from the folder's checkpoint, and return the network.

    Args:
        config: The run.
        data: Its ``train`` split is all that is read.
        folder: The run folder; ``metrics.jsonl`` and ``checkpoint.pt`` are written there.
        device: Where to compute.
        given: What another network tells of the training images, for a loss that needs it.
        say: Called with each epoch's line of metrics.

    Raises:
        RunError: The loss is no longer finite; the message has the epoch, the step and the batch.
        UsageError: The loss needs more than it is given.
    """
    split, batch, views = data.splits["train"], config.train.batch_size, config.augment.views
    steps, epochs = len(split) // batch, config.train.epochs_for(len(split))
    check(config, data)
    if config.train.processes not in (1, ranks()):
        n = config.train.processes
        raise UsageError(
            f"this run is one of {n} processes, but {ranks()} run; start it by torchrun"
        )
    loss = get_loss(config.loss, **_free(config))
    given = from_counts(loss.inputs, data, device).also(given)
    given.check(config.loss, loss.inputs)
    _warn(config, loss.needs, data.n_labels, embeds=loss.on == "embeddings")
    world, me = ranks(), rank()
    mine = slice(me * (batch // world), (me + 1) * (batch // world))  # of the rows of a batch
    model = place(cast(Model, synchronised(build_model(config, data), device)), device)
    optimiser = _optimiser(model, config.optimiser)
    # The cross-entropy of every image at every epoch, for a network that builds on this one.
    keeps = config.loss == "gce"
    kept = torch.full((epochs if keeps else 0, len(split)), torch.nan, device=device)
    state = checkpoint.load(folder)
    history: list[dict[str, Any]] = []
    if state is not None:
        try:
            model.load_state_dict(state["model"])
            optimiser.load_state_dict(state["optimiser"])
            history = list(state["history"])
            given.load_state(state["given"])
            kept.copy_(state["kept"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise checkpoint.damaged(folder / checkpoint.NAME) from error
    net = shared(model, device)
    if leads():  # what was logged after the last checkpoint is computed again
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
        order = draw(split, config.seed, epoch, by_groups="groups" in loss.needs).to(device)
        generator = torch_generator(config.seed, f"views/{epoch}", device)
        total = torch.zeros((), device=device)
        bad = torch.full((), steps, device=device)  # the first step whose loss is not finite
        for step in range(steps):
            everyone = order[step * batch : (step + 1) * batch]  # (B,)
            rows = everyone[mine]  # all of them in a single process
            pictures = images[rows.to(images.device)].to(device, non_blocking=True)
            x = augment(pictures, config.augment, generator, views, (me, world))  # (B * V, 3, H, W)
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                out = {k: v.view(len(rows), views, -1) for k, v in net(x).items()}  # (B, V, ...)
            main = out["z"] if loss.on == "embeddings" else out["logits"]
            inputs: dict[str, Any] = given.batch(loss.inputs, epoch, rows, out)
            value = loss(main, labels[rows], bias[rows], **inputs)
            if keeps:
                own = per_image(main.detach(), labels[rows]).to(kept.dtype)
                kept[epoch, everyone] = whole(own)
            lr = learning_rate(config.optimiser, epoch * steps + step, epochs * steps)
            for group in optimiser.param_groups:
                group["lr"] = lr
            optimiser.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            # Both stay on the device: reading them would stall its queue. On the CPU there is none.
            total += value.detach()
            bad = torch.where(value.detach().isfinite(), bad, bad.clamp(max=step))
            if device.type == "cpu" and int(bad) < steps:
                break
            if step % RELEASE == 0:
                release(split.images)
        if int(bad) < steps:
            at = int(bad)
            raise _diverged(config, data, epoch, at, order[at * batch : (at + 1) * batch].tolist())
        seconds = time.perf_counter() - started
        line = {
            "epoch": epoch + 1,
            "epochs": epochs,
            "loss": float(total) / steps,
            "lr": lr,
            "seconds": round(seconds, 3),
            "views_per_second": round(steps * batch * views / seconds, 1),
        }
        history.append(line)
        if not leads():
            continue
        append(folder / METRICS, json.dumps(line) + "\n")
        checkpoint.save(
            folder,
            {
                "epoch": epoch + 1,
                "model": model.state_dict(),
                "optimiser": optimiser.state_dict(),
                "history": history,
                "given": given.state(),
                "kept": kept,
            },
        )
        say(line)
    if keeps and leads():
        write_atomic(folder / runs.STEP_LOSSES, to_bytes({"losses": kept.cpu()}))
    wait()
    return model


def draw(split: Split, seed: int, epoch: int, *, by_groups: bool = False) -> Tensor:
    """Return int64 ``(N,)``: the training images of an epoch in their order.

    A permutation; or, by groups, N draws with replacement, first a (label, bias) group that has images,
    each as likely, then one of its images, each as likely.
    """
    if not by_groups:
        return torch.from_numpy(permutation(len(split), seed, f"order/{epoch}"))
    pairs = np.stack((split.labels, split.bias), axis=1)
    _, group, sizes = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    members, starts = np.argsort(group.reshape(-1), kind="stable"), np.cumsum(sizes) - sizes
    words = np.random.PCG64(derive(seed, f"order/{epoch}")).random_raw((2, len(split)))
    share = (words >> np.uint64(11)) * 2.0**-53  # uniform in [0, 1)
    which = (share[0] * len(sizes)).astype(np.int64)
    return torch.from_numpy(members[starts[which] + (share[1] * sizes[which]).astype(np.int64)])


def _diverged(
    config: RunConfig, data: BiasedDataset, epoch: int, step: int, rows: list[int]
) -> RunError:
    index = data.splits["train"].index[rows[:5]].tolist()
    told = ", ".join(map(str, index)) + (", ..." if len(rows) > 5 else "")
    return RunError(
        f"{config.loss}: the loss is not finite at step {step + 1} of epoch {epoch + 1} "
        f"(its batch: source images {told}); lower the learning rate with --set optimiser.lr=..."
    )


def check(config: RunConfig, data: BiasedDataset) -> None:
    """Refuse a run that cannot be trained or probed, before anything of it is computed.

    Raises:
        UsageError: A batch larger than the training split, or images too small for the encoder.
        DataError: A training split without one of the classes.
    """
    split, batch = data.splits["train"], config.train.batch_size
    if batch % ranks():
        raise UsageError(
            f"expected batch_size to be a multiple of {ranks()} processes, but got {batch}"
        )
    if batch > len(split):
        raise UsageError(f"expected batch_size of at most {len(split)} images, but got {batch}")
    smallest = design(config.model.encoder).smallest
    side = min(split.images.shape[2:])
    if side < smallest:
        need = f"{config.model.encoder} needs {smallest}"
        raise UsageError(f"expected images of enough pixels a side ({need}), but got {side}")
    present = len(np.unique(split.labels))
    if present != data.n_labels:
        raise DataError(f"{data.name}: the training split has {present} of {data.n_labels} classes")
    if "held-out groups" in entry(config.loss).needs and "val" not in data.splits:
        raise UsageError(
            f"{config.loss} needs a validation split for its last layer, but {data.name} has none; "
            "make the dataset with --val-protocol held-out"
        )


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
