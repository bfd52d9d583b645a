"""Stage one: train an encoder and a head on augmented views. One loop, readable from top to bottom."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from biascon.config.run_config import RunConfig, free_loss_parameters
from biascon.data.dataset import BiasedDataset
from biascon.errors import RunError, UsageError
from biascon.losses.loss import get_loss
from biascon.losses.pairwise import can_read_without_sync
from biascon.losses.per_image import per_image_cross_entropy
from biascon.models.encoders import Encoder
from biascon.runs import checkpoint
from biascon.runs.folder import STEP_LOSSES
from biascon.training.augment import augment
from biascon.training.batches import BatchLoader, epoch_order
from biascon.training.checks import _warn, check_run
from biascon.training.gradient_cache import forward_backward
from biascon.training.loss_inputs import LossInputs, count_inputs
from biascon.training.network import Model, build_model, to_channels_last
from biascon.training.optimizer import build_optimizer, learning_rate
from biascon.utils.distributed import (
    all_gather,
    barrier,
    convert_sync_batchnorm,
    is_main_process,
    rank,
    world_size,
    wrap_ddp,
)
from biascon.utils.files import append, write_atomic
from biascon.utils.memory import peak_memory_mib, retain_freed_memory
from biascon.utils.seeds import torch_generator

METRICS = "metrics.jsonl"
EpochCallback = Callable[[dict[str, Any]], None]
Monitor = Callable[[Encoder], dict[str, Any]]


def train(
    config: RunConfig,
    data: BiasedDataset,
    folder: Path,
    *,
    device: torch.device,
    given: LossInputs | None = None,
    on_epoch: EpochCallback = lambda line: None,
    monitor: Monitor | None = None,
) -> Model:
    """Train, or go on from the folder's checkpoint, and return the network.

    Args:
        config: The run.
        data: Its ``train`` split is all that is read.
        folder: The run folder; ``metrics.jsonl`` and ``checkpoint.pt`` are written there.
        device: Where to compute.
        given: What another network tells of the training images, for a loss that needs it.
        on_epoch: Called with each epoch's line of metrics.
        monitor: Called with the encoder after every ``train.probe_every`` epochs; what it returns is added to
            the line.

    Raises:
        RunError: The loss is no longer finite; the message has the epoch, the step and the batch.
        UsageError: The loss needs more than it is given.
    """
    split, batch, views = data.splits["train"], config.train.batch_size, config.augment.views
    steps, epochs = len(split) // batch, config.train.epochs_for(len(split))
    check_run(config, data)
    if config.train.processes not in (1, world_size()):
        n = config.train.processes
        raise UsageError(
            f"this run is one of {n} processes, but {world_size()} run; start it by torchrun"
        )
    loss = get_loss(config.loss, **free_loss_parameters(config))
    given = count_inputs(loss.inputs, data, device).merged(given)
    given.check(config.loss, loss.inputs)
    _warn(config, loss.needs, data.n_labels, embeds=loss.input_kind == "embeddings")
    world, me = world_size(), rank()
    share = batch // world  # of the rows of a batch, this process's
    model = to_channels_last(
        cast(Model, convert_sync_batchnorm(build_model(config, data), device)), device
    )
    steered = build_optimizer(model, config.optimizer)
    # The cross-entropy of every image at every epoch, for a network that builds on this one.
    keeps = config.loss == "gce"
    kept = torch.full((epochs if keeps else 0, len(split)), torch.nan, device=device)
    state = checkpoint.load(folder)
    history: list[dict[str, Any]] = []
    if state is not None:
        try:
            model.load_state_dict(state["model"])
            steered.load_state_dict(state["optimizer"])
            history = list(state["history"])
            given.load_state(state["given"])
            kept.copy_(state["kept"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise checkpoint.damaged_file_error(folder / checkpoint.NAME) from error
    compiled = cast(nn.Module, torch.compile(model)) if config.train.compile else model
    net = wrap_ddp(compiled, device)
    if is_main_process():  # what was logged after the last checkpoint is computed again
        write_atomic(folder / METRICS, "".join(json.dumps(line) + "\n" for line in history))

    if device.type == "cpu":
        retain_freed_memory()
    pictures = BatchLoader(split, device)
    labels = torch.from_numpy(split.labels).to(device)  # (N,)
    bias = torch.from_numpy(split.bias).to(device)  # (N,)
    half = config.for_device(device.type).train.precision == "bfloat16"

    model.train()
    for epoch in range(len(history), epochs):
        started = time.perf_counter()
        _reset_peak(device)
        order = epoch_order(split, config.seed, epoch, by_groups="groups" in loss.needs)
        whole_batches = list(torch.split(order[: steps * batch], batch))  # (B,) each
        mine = [rows[me * share : (me + 1) * share] for rows in whole_batches]
        generator = torch_generator(config.seed, f"views/{epoch}", device)
        total = torch.zeros((), device=device)
        bad = torch.full((), steps, device=device)  # the first step whose loss is not finite
        for step, images in enumerate(pictures.batches(mine)):
            rows = mine[step].to(device, non_blocking=True)  # (B,), or this process's part
            x = augment(images, config.augment, generator, views, (me, world))  # (B * V, 3, H, W)

            def value_of(out: dict[str, Tensor], rows: Tensor = rows, epoch: int = epoch) -> Tensor:
                out = {k: v.view(len(rows), views, -1) for k, v in out.items()}  # (B, V, ...)
                main = out["z"] if loss.input_kind == "embeddings" else out["logits"]
                inputs: dict[str, Any] = given.batch(loss.inputs, epoch, rows, out)
                return loss(main, labels[rows], bias[rows], **inputs)

            steered.zero_grad(set_to_none=True)
            part = config.train.micro_batch * views
            value, out = forward_backward(net, x, part, value_of, half=half)
            if keeps:
                logits = out["logits"].view(len(rows), views, -1)
                own = per_image_cross_entropy(logits, labels[rows]).to(kept.dtype)
                kept[epoch, whole_batches[step].to(device)] = all_gather(own)
            lr = learning_rate(config.optimizer, epoch * steps + step, epochs * steps)
            for group in steered.param_groups:
                group["lr"] = lr
            steered.step()
            # Both stay on the device: reading them would stall its queue.
            total += value
            bad = torch.where(value.isfinite(), bad, bad.clamp(max=step))
            if can_read_without_sync(device) and int(bad) < steps:
                break
        if int(bad) < steps:
            raise _diverged(config, data, epoch, int(bad), whole_batches[int(bad)].tolist())
        seconds = time.perf_counter() - started
        line = {
            "epoch": epoch + 1,
            "epochs": epochs,
            "loss": float(total) / steps,
            "lr": lr,
            "seconds": round(seconds, 3),
            "views_per_second": round(steps * batch * views / seconds, 1),
            "peak_memory_mib": _peak(device),
        }
        if (
            monitor is not None
            and is_main_process()
            and (epoch + 1) % config.train.probe_every == 0
        ):
            line |= monitor(model.encoder)
        history.append(line)
        if not is_main_process():
            continue
        append(folder / METRICS, json.dumps(line) + "\n")
        checkpoint.save(
            folder,
            {
                "epoch": epoch + 1,
                "model": model.state_dict(),
                "optimizer": steered.state_dict(),
                "history": history,
                "given": given.state(),
                "kept": kept,
            },
        )
        on_epoch(line)
    if keeps and is_main_process():
        write_atomic(folder / STEP_LOSSES, to_bytes({"losses": kept.cpu()}))
    barrier()
    return model


def _diverged(
    config: RunConfig, data: BiasedDataset, epoch: int, step: int, rows: list[int]
) -> RunError:
    index = data.splits["train"].index[rows[:5]].tolist()
    told = ", ".join(map(str, index)) + (", ..." if len(rows) > 5 else "")
    return RunError(
        f"{config.loss}: the loss is not finite at step {step + 1} of epoch {epoch + 1} "
        f"(its batch: source images {told}); lower the learning rate with --set optimizer.lr=..."
    )


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak(device: torch.device) -> int:
    """The largest memory so far in MiB: of the epoch on a CUDA device, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) >> 20
    return peak_memory_mib()
