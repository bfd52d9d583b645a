"""Stage one: train an encoder, with the head and the classifier that its loss needs, on augmented views."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from biascon.data.dataset import Split
from biascon.errors import RunError, UsageError
from biascon.losses.loss import Loss, get_loss
from biascon.losses.pairwise import can_read_without_sync
from biascon.losses.per_image import per_image_cross_entropy
from biascon.losses.registry import Requirement
from biascon.runs import checkpoint
from biascon.runs.context import RunContext
from biascon.runs.folder import METRICS_LOG, STEP_LOSSES
from biascon.runs.history import History
from biascon.runs.records import EpochRecord
from biascon.training.augment import augment
from biascon.training.batches import BatchLoader, epoch_order
from biascon.training.checks import check_run, warn_of_weak_batches
from biascon.training.gradient_cache import forward_backward
from biascon.training.loss_inputs import LossInputs, make_count_inputs
from biascon.training.network import Model, build_model, to_channels_last
from biascon.training.optimizer import build_optimizer, learning_rate, set_learning_rate
from biascon.utils.distributed import (
    all_gather,
    barrier,
    convert_sync_batchnorm,
    is_main_process,
    rank,
    world_size,
    wrap_ddp,
)
from biascon.utils.files import write_atomic
from biascon.utils.memory import peak_memory_mib, retain_freed_memory
from biascon.utils.seeds import torch_generator


def train(context: RunContext, *, loss_inputs: LossInputs | None = None) -> Model:
    """Train the network of a run, or resume from the checkpoint in its folder, and return the network.

    Only the ``train`` split of the dataset is read, and ``val`` by the monitor. The run folder gets
    ``metrics.jsonl`` and ``checkpoint.pt``. With ``train.record_losses`` it also gets ``losses.safetensors``:
    the cross-entropy of every image in every epoch.

    Args:
        context: The run.
        loss_inputs: The outputs of the first-stage network, for a loss that needs them.

    Raises:
        RunError: The loss is not finite; the message has the epoch, the step and the batch.
        UsageError: The run cannot be trained on this dataset, or the loss lacks an input.
    """
    config, device = context.config, context.device
    split = context.data.splits["train"]
    epochs = config.train.epochs_for(len(split))
    check_run(config, context.data)
    _check_processes(config.train.processes)
    state = _build_state(context, loss_inputs, epochs)
    warn_of_weak_batches(config, state.loss, context.data.n_labels)
    history = History(context.folder, METRICS_LOG, checkpoint.NAME)
    history.restore(state.load)
    compiled = torch.compile(state.model) if config.train.compile else state.model
    network = wrap_ddp(cast(nn.Module, compiled), device)
    if is_main_process():
        history.rewrite_log()
    if device.type == "cpu":
        retain_freed_memory()
    step_data = _StepData.load(split, device)
    monitor = context.build_monitor(context)
    state.model.train()
    for epoch in range(len(history.epochs), epochs):
        record = _train_epoch(context, state, network, step_data, epoch, epochs)
        if (
            monitor is not None
            and is_main_process()
            and (epoch + 1) % config.train.probe_every == 0
        ):
            record = dataclasses.replace(record, probe=monitor(state.model.encoder))
        history.add(record)
        if is_main_process():
            history.save(state.to_dict())
            context.on_epoch(record)
    if state.recorded_losses is not None and is_main_process():
        losses = to_bytes({"losses": state.recorded_losses.cpu()})
        write_atomic(context.folder / STEP_LOSSES, losses)
    barrier()
    return state.model


@dataclass
class _TrainingState:
    """What changes while a network trains.

    Attributes:
        model: The network, on the device.
        optimizer: Its optimizer.
        loss: The loss.
        inputs: The inputs of the loss beyond the batch; ``group_weights`` among them changes.
        recorded_losses: ``(epochs, N)``: the cross-entropy of every image, None where it is not recorded.
    """

    model: Model
    optimizer: torch.optim.Optimizer
    loss: Loss
    inputs: LossInputs
    recorded_losses: Tensor | None

    def to_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        recorded = self.recorded_losses
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "loss_inputs": self.inputs.state(),
            **({} if recorded is None else {"recorded_losses": recorded}),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore the state that ``to_dict`` returned."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.inputs.load_state(state["loss_inputs"])
        if self.recorded_losses is not None:
            self.recorded_losses.copy_(state["recorded_losses"])


def _build_state(
    context: RunContext, loss_inputs: LossInputs | None, epochs: int
) -> _TrainingState:
    """Return the state before the first step."""
    config, data, device = context.config, context.data, context.device
    free_parameters = {k: v for k, v in config.parameters.items() if k not in context.entry.fixed}
    loss = get_loss(config.loss, **free_parameters)
    inputs = make_count_inputs(loss.tensor_inputs, data, device).merged(loss_inputs)
    inputs.check(config.loss, loss.tensor_inputs)
    model = cast(Model, convert_sync_batchnorm(build_model(config, context.entry, data), device))
    model = to_channels_last(model, device)
    recorded = None
    if config.train.record_losses:
        n = len(data.splits["train"])
        recorded = torch.full((epochs, n), torch.nan, device=device)
    return _TrainingState(model, build_optimizer(model, config.optimizer), loss, inputs, recorded)


@dataclass
class _StepData:
    """The training split, prepared for the steps.

    Attributes:
        loader: Loads the images of a batch to the device.
        labels: int64 ``(N,)`` on the device.
        bias: int64 ``(N,)`` on the device.
    """

    loader: BatchLoader
    labels: Tensor
    bias: Tensor

    @classmethod
    def load(cls, split: Split, device: torch.device) -> _StepData:
        """Put labels and bias values on the device, and the images if they fit there."""
        labels, bias = (
            torch.from_numpy(values).to(device) for values in (split.labels, split.bias)
        )
        return cls(BatchLoader(split, device), labels, bias)


def _train_epoch(
    context: RunContext,
    state: _TrainingState,
    network: nn.Module,
    data: _StepData,
    epoch: int,
    epochs: int,
) -> EpochRecord:
    """Train one epoch, counted from 0, and return its record."""
    config, device = context.config, context.device
    batch, views = config.train.batch_size, config.augment.views
    started = time.perf_counter()
    _reset_peak_memory(device)
    batches = _epoch_batches(context, state.loss, epoch)
    share = batch // world_size()  # the rows of a batch that this process computes
    own_rows = slice(rank() * share, (rank() + 1) * share)
    own_batches = [rows[own_rows] for rows in batches]
    generator = torch_generator(config.seed, f"views/{epoch}", device)
    total = torch.zeros((), device=device)
    failed = torch.full((), len(batches), device=device)  # the first step whose loss is not finite
    lr = 0.0
    for step, images in enumerate(data.loader.batches(own_batches)):
        x = augment(images, config.augment, generator, views, (rank(), world_size()))
        state.optimizer.zero_grad(set_to_none=True)  # x: (B * V, 3, H, W)
        rows = own_batches[step].to(device, non_blocking=True)  # (B,)
        value, out = _forward_backward(context, state, network, data, x, rows, epoch)
        if state.recorded_losses is not None:
            _record_losses(state.recorded_losses[epoch], out, data.labels[rows], batches[step])
        lr = learning_rate(config.optimizer, epoch * len(batches) + step, epochs * len(batches))
        set_learning_rate(state.optimizer, lr)
        state.optimizer.step()
        # Both stay on the device: reading them would make the host wait for it.
        total += value
        failed = torch.where(value.isfinite(), failed, failed.clamp(max=step))
        if can_read_without_sync(device) and int(failed) < len(batches):
            break
    if int(failed) < len(batches):
        raise _diverged(context, epoch, int(failed), batches[int(failed)].tolist())
    seconds = time.perf_counter() - started
    return EpochRecord(
        epoch=epoch + 1,
        epochs=epochs,
        loss=float(total) / len(batches),
        lr=lr,
        seconds=round(seconds, 3),
        views_per_second=round(len(batches) * batch * views / seconds, 1),
        peak_memory_mib=_peak_memory(device),
    )


def _epoch_batches(context: RunContext, loss: Loss, epoch: int) -> list[Tensor]:
    """Return the batches of an epoch, each int64 ``(B,)``; a last batch that is not full is left out."""
    split, batch = context.data.splits["train"], context.config.train.batch_size
    steps = len(split) // batch
    by_cells = Requirement.GROUP_SAMPLING in loss.entry.requires
    order = epoch_order(split, context.config.seed, epoch, by_cells=by_cells)
    return list(torch.split(order[: steps * batch], batch))


def _forward_backward(
    context: RunContext,
    state: _TrainingState,
    network: nn.Module,
    data: _StepData,
    x: Tensor,
    rows: Tensor,
    epoch: int,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of a batch and the outputs of the network; the gradients are in the parameters."""
    config, views, loss = context.config, context.config.augment.views, state.loss
    use_bfloat16 = config.for_device(context.device.type).train.precision == "bfloat16"

    def compute_loss(out: dict[str, Tensor]) -> Tensor:
        # (B, V, ...) each
        out = {name: values.view(len(rows), views, -1) for name, values in out.items()}
        z = out["z"] if loss.input_kind == "embeddings" else out["logits"]
        inputs: dict[str, Any] = state.inputs.batch(loss.tensor_inputs, epoch, rows, out)
        return loss(z, data.labels[rows], data.bias[rows], **inputs)

    micro_batch = config.train.micro_batch * views  # in rows of x
    return forward_backward(network, x, micro_batch, compute_loss, use_bfloat16=use_bfloat16)


def _record_losses(
    recorded: Tensor, out: Mapping[str, Tensor], labels: Tensor, batch: Tensor
) -> None:
    """Write the cross-entropy of every image of a batch, of all processes, to ``recorded`` ``(N,)``."""
    logits = out["logits"].view(len(labels), -1, out["logits"].shape[-1])  # (B, V, K)
    losses = per_image_cross_entropy(logits, labels).to(recorded.dtype)
    recorded[batch.to(recorded.device)] = all_gather(losses)


def _check_processes(processes: int) -> None:
    if processes not in (1, world_size()):
        raise UsageError(
            f"this run is configured for {processes} processes, but {world_size()} run; start it by torchrun"
        )


def _diverged(context: RunContext, epoch: int, step: int, rows: list[int]) -> RunError:
    index = context.data.splits["train"].index[rows[:5]].tolist()
    images = ", ".join(map(str, index)) + (", ..." if len(rows) > 5 else "")
    return RunError(
        f"{context.config.loss}: the loss is not finite at step {step + 1} of epoch {epoch + 1} "
        f"(its batch: source images {images}); lower the learning rate with --set optimizer.lr=..."
    )


def _reset_peak_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak_memory(device: torch.device) -> int:
    """Return the peak memory in MiB: of this epoch on a CUDA device, else of the process so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) >> 20
    return peak_memory_mib()
