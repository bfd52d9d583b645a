"""Stage one: train an encoder, with the head and the classifier that its loss needs, on augmented views."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, cast

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from biascon.errors import DivergedError, RunError, UsageError
from biascon.losses.loss import Loss, get_loss
from biascon.losses.pairwise import can_read_without_sync
from biascon.losses.per_image import per_image_cross_entropy
from biascon.runs import checkpoint
from biascon.runs.context import RunContext
from biascon.runs.folder import METRICS_LOG, STEP_LOSSES, write_artifacts
from biascon.runs.history import History
from biascon.runs.records import EpochRecord
from biascon.training.batches import BatchLoader
from biascon.training.checks import check_run, warn_of_weak_batches
from biascon.training.gradient_cache import forward_backward
from biascon.training.loss_inputs import LossInputs, dataset_groups, make_count_inputs
from biascon.training.network import Model, build_model, to_channels_last
from biascon.training.optimizer import build_optimizer, learning_rate, set_learning_rate
from biascon.training.steps import NetworkInput, Step, StepPlan, network_input, to_device
from biascon.utils.distributed import (
    all_gather,
    barrier,
    convert_sync_batchnorm,
    from_main_process,
    is_main_process,
    rank,
    share_buffers,
    world_size,
    wrap_ddp,
)
from biascon.utils.memory import peak_memory_mib, retain_freed_memory
from biascon.utils.progress import report_progress
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
        DivergedError: The loss is not finite; the message has the epoch, the step and the batch.
        UsageError: The run cannot be trained on this dataset, or the loss lacks an input.
    """
    config, device = context.config, context.device
    split = context.data.splits["train"]
    epochs = config.train.epochs_for(len(split))
    check_run(config, context.data)
    _check_processes(config.train.processes)
    state = _build_state(context, loss_inputs, epochs)
    warn_of_weak_batches(config, state.loss, context.data)
    history = History(context.folder, METRICS_LOG, checkpoint.NAME)
    history.restore(state.load)
    _check_resumed(context, len(history.epochs))
    compiled = torch.compile(state.model) if config.train.compile else state.model
    network = wrap_ddp(cast(nn.Module, compiled), device)
    if is_main_process():
        history.rewrite_log()
    if device.type == "cpu":
        retain_freed_memory()
    step_data = _StepData.load(state.plan, device)
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
        write_artifacts(context.folder, {STEP_LOSSES: losses})
    share_buffers(state.model)
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
        plan: Makes the steps of every epoch.
        recorded_losses: ``(epochs, N)``: the cross-entropy of every image, None where it is not recorded.
    """

    model: Model
    optimizer: torch.optim.Optimizer
    loss: Loss
    inputs: LossInputs
    plan: StepPlan
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
    inferred = None if loss_inputs is None else loss_inputs.groups
    groups = inferred or dataset_groups(data)
    inputs = make_count_inputs(loss.tensor_inputs, groups, device).merged(loss_inputs)
    inputs.check(config.loss, loss.entry)
    plan = StepPlan.make(config, loss.entry, data.splits["train"], groups)
    model = cast(Model, convert_sync_batchnorm(build_model(config, context.entry, data), device))
    model = to_channels_last(model, device)
    recorded = None
    if config.train.record_losses:
        n = len(data.splits["train"])
        recorded = torch.full((epochs, n), torch.nan, device=device)
    optimizer = build_optimizer(model, config.optimizer)
    return _TrainingState(model, optimizer, loss, inputs, plan, recorded)


@dataclass
class _StepData:
    """The training split, prepared for the steps.

    Attributes:
        loader: Loads the images of a batch to the device.
        labels: int64 ``(N,)`` on the device.
        bias: int64 ``(N,)`` on the device: the bias values, or the inferred groups in their place.
    """

    loader: BatchLoader
    labels: Tensor
    bias: Tensor

    @classmethod
    def load(cls, plan: StepPlan, device: torch.device) -> _StepData:
        """Put labels and bias values on the device, and the images if they fit there."""
        labels, bias = (
            torch.from_numpy(values).to(device) for values in (plan.groups.labels, plan.groups.bias)
        )
        return cls(BatchLoader(plan.split, device), labels, bias)


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
    started = time.perf_counter()
    _reset_peak_memory(device)
    steps = state.plan.epoch(epoch)
    own_steps = [step.share() for step in steps]
    on_device = to_device(own_steps, device)
    all_steps = steps if state.recorded_losses is None else to_device(steps, device)
    generator = torch_generator(config.seed, f"views/{epoch}", device)
    total = torch.zeros((), device=device)
    failed = torch.full((), len(steps), device=device)  # the first step whose loss is not finite
    lr, n_views = 0.0, 0
    with closing(data.loader.batches([step.all_rows for step in own_steps])) as feed:
        for k, images in enumerate(feed):
            step = on_device[k]
            seen = network_input(images, step, config, context.entry, generator)
            n_views += len(seen.x) * world_size()
            state.optimizer.zero_grad(set_to_none=True)
            value, out = _forward_backward(context, state, network, data, seen, step, epoch)
            if state.recorded_losses is not None:
                labels = data.labels[step.rows]
                _record_losses(state.recorded_losses[epoch], out, labels, all_steps[k].rows)
            lr = learning_rate(config.optimizer, epoch * len(steps) + k, epochs * len(steps))
            set_learning_rate(state.optimizer, lr)
            state.optimizer.step()
            # Both stay on the device: reading them would make the host wait for it.
            total += value
            failed = torch.where(value.isfinite(), failed, failed.clamp(max=k))
            if can_read_without_sync(device) and int(failed) < len(steps):
                break
            report_progress(
                context.stage or "training", epoch * len(steps) + k + 1, epochs * len(steps), "steps",
                detail=f"epoch {epoch + 1}/{epochs}", images=config.train.batch_size, is_training=True,
            )  # fmt: skip
    if int(failed) < len(steps):
        raise _diverged(context, epoch, int(failed), steps[int(failed)].rows.tolist())
    seconds = time.perf_counter() - started
    return EpochRecord(
        epoch=epoch + 1,
        epochs=epochs,
        loss=float(total) / len(steps),
        lr=lr,
        seconds=round(seconds, 3),
        views_per_second=round(n_views / seconds, 1),
        peak_memory_mib=_peak_memory(device),
    )


def _forward_backward(
    context: RunContext,
    state: _TrainingState,
    network: nn.Module,
    data: _StepData,
    seen: NetworkInput,
    step: Step,
    epoch: int,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of a step and the outputs of the network; the gradients are in the parameters."""
    config, loss, device = context.config, state.loss, context.device
    use_bfloat16 = config.for_device(device.type).train.precision == "bfloat16"
    rows = step.rows  # (B,)
    n = len(rows) * seen.views  # rows of x that the loss compares
    added = None
    if state.inputs.added_features is not None:
        added = state.inputs.added_features[rows].repeat_interleave(seen.views, dim=0)

    def compute_loss(out: dict[str, Tensor]) -> Tensor:
        # (B, V, ...) each
        by_image = {name: v[:n].view(len(rows), seen.views, -1) for name, v in out.items()}
        more: dict[str, Tensor] = {}
        if step.second is not None:
            more = _second_inputs(step, step.second, seen, data, out["logits"][n:])
            by_image |= more
        z = by_image["z"] if loss.input_kind == "embeddings" else by_image["logits"]
        inputs: dict[str, Any] = state.inputs.batch(loss.tensor_inputs, epoch, rows, by_image)
        inputs |= {name: more[name] for name in loss.entry.optional_inputs if name in more}
        return loss(z, data.labels[rows], data.bias[rows], **inputs)

    return forward_backward(
        network,
        seen.x,
        config.train.micro_batch * seen.views,  # in rows of x
        compute_loss,
        added_features=added,
        use_bfloat16=use_bfloat16,
    )


def _second_inputs(
    step: Step, second: Tensor, seen: NetworkInput, data: _StepData, logits: Tensor
) -> dict[str, Tensor]:
    """Return the inputs of the loss that belong to the second set of images of a step.

    Args:
        step: The step.
        second: ``(C,)``, its second rows.
        seen: The input of the network.
        data: Labels and bias values.
        logits: The logits of these images, ``(C * V, K)``; empty for partners.
    """
    labels, bias = data.labels[second], data.bias[second]
    if step.mix is not None:
        return {"partner_labels": labels, "partner_bias": bias, "mix": step.mix}
    by_image = logits.view(len(second), seen.classifier_views, -1)
    return {"logits": by_image, "logit_labels": labels, "logit_bias": bias}


def _record_losses(
    recorded: Tensor, out: Mapping[str, Tensor], labels: Tensor, batch: Tensor
) -> None:
    """Write the cross-entropy of every image of a batch, of all processes, to ``recorded`` ``(N,)``."""
    logits = out["logits"].view(len(labels), -1, out["logits"].shape[-1])  # (B, V, K)
    losses = per_image_cross_entropy(logits, labels).to(recorded.dtype)
    recorded[batch] = all_gather(losses)


def _check_processes(processes: int) -> None:
    if processes not in (1, world_size()):
        raise UsageError(
            f"this run is configured for {processes} processes, but {world_size()} run; start it by torchrun"
        )


def _check_resumed(context: RunContext, epochs: int) -> None:
    """Refuse to train if this process resumes from another epoch than the main process."""
    of_main = int(from_main_process(torch.tensor(epochs)))
    if epochs != of_main:
        raise RunError(
            f"process {rank()} resumes {context.folder} after epoch {epochs}, and the main process after "
            f"epoch {of_main}; all processes must read the same folder of runs"
        )


def _diverged(context: RunContext, epoch: int, step: int, rows: list[int]) -> DivergedError:
    index = context.data.splits["train"].index[rows[:5]].tolist()
    images = ", ".join(map(str, index)) + (", ..." if len(rows) > 5 else "")
    return DivergedError(
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
