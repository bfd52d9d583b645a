"""A run from its configuration to its evaluation: train, probe, predict, measure. Plain data out.

The training split trains the encoder and the probe; the validation split is for choosing between
recipes (``validate`` measures on it and reads nothing of the test split); the test split is read
once, after everything is fixed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits

from biascon import checkpoint, runs
from biascon.config import RECIPE_VERSION, RunConfig
from biascon.data.dataset import BiasedDataset, Split
from biascon.encoders import Encoder, build_encoder
from biascon.errors import UsageError
from biascon.files import digest_of, pretty_json, write_atomic
from biascon.losses import parameters_of
from biascon.metrics import accuracy, fairness
from biascon.metrics.counts import count
from biascon.metrics.intervals import bootstrap
from biascon.probe import LinearProbe, extract, fit
from biascon.seeds import numpy_generator, torch_generator
from biascon.train import check, place, train

Array = npt.NDArray[Any]
Say = Callable[[dict[str, Any]], None]
FORMAT = 1
ACCURACIES = (
    "top1",
    "unbiased",
    "bias_aligned",
    "bias_conflicting",
    "worst_group",
    "bias_aligned_samples",
    "bias_conflicting_samples",
)


def pick_device(name: str = "auto") -> torch.device:
    """Return the device of that name; ``auto`` takes CUDA, then MPS, then the CPU.

    Raises:
        UsageError: No such kind of device, or none of it here.
    """
    has = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if has[kind]))
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"unknown device '{name}' (known: auto, cpu, cuda, mps)") from error
    beyond = device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    if beyond or not has.get(device.type, False):
        raise UsageError(f"there is no {device} device here; pass --device auto")
    return device


def evaluate(
    config: RunConfig,
    data: BiasedDataset,
    *,
    root: Path = Path("runs"),
    device: torch.device,
    resume: bool = True,
    say: Say = lambda line: None,
) -> tuple[Path, dict[str, Any], bool]:
    """Return a run's folder, its evaluation, and whether it was there already.

    What is missing is computed: a finished run is only read; one that was interrupted goes on from
    its last checkpoint.

    Args:
        config: The run.
        data: With ``train`` and ``test``; ``val`` is measured too where it is there.
        root: The folder of runs.
        device: Where to compute.
        resume: Whether an interrupted run goes on from its last epoch, or starts anew.
        say: Called with each epoch's line of metrics.

    Raises:
        BiasconError: The folder is not writable, in use, or damaged; or training diverged.
    """
    config, digest, folder = _prepare(config, data, root, device)
    known = runs.finished(folder, digest)
    if known is not None:
        return folder, known, True
    with runs.exclusive(folder):
        known = runs.finished(folder, digest)  # by another process, in between
        if known is not None:
            return folder, known, True
        if not resume:
            runs.forget(folder)
        encoder = _trained(config, data, folder, device, say)
        probe, chosen = _probe(config, encoder, data, device)
        test = data.splits["test"]
        scores = probe.probabilities(extract(encoder, test.images, device=device))
        evaluation = {
            "format": FORMAT,
            **_identity(config, data, digest),
            "probe": {"iterations": probe.iterations, "converged": probe.converged},
            "validation": chosen,
            **measure(
                test, scores.argmax(axis=1), data.manifest["labels"], data.n_bias, seed=config.seed
            ),
        }
        write_atomic(folder / runs.PREDICTIONS, _parquet(test, scores))
        write_atomic(folder / runs.EVALUATION, pretty_json(evaluation))
        runs.seal(folder, digest)
        (folder / "checkpoint.pt").unlink(missing_ok=True)
    return folder, evaluation, False


def validate(
    config: RunConfig,
    data: BiasedDataset,
    *,
    root: Path = Path("runs"),
    device: torch.device,
    resume: bool = True,
    say: Say = lambda line: None,
) -> tuple[Path, dict[str, Any] | None]:
    """Train what is missing, and return the run's folder and its accuracies on validation, if any.

    ``data`` may lack its test split: it is not read.
    """
    config, _, folder = _prepare(config, data, root, device)
    with runs.exclusive(folder):
        if not resume:
            runs.forget(folder)
        encoder = _trained(config, data, folder, device, say)
        return folder, _probe(config, encoder, data, device)[1]


def _prepare(
    config: RunConfig, data: BiasedDataset, root: Path, device: torch.device
) -> tuple[RunConfig, str, Path]:
    """Check a run before anything is written, and return it resolved, with its digest and folder."""
    check(config, data)
    config = config.for_device(device.type)
    if device.type == "cpu":
        torch.set_num_threads(config.train.threads)
    digest = config.digest(data.digest)
    return config, digest, runs.run_folder(root, data.name, config, digest)


def _trained(
    config: RunConfig, data: BiasedDataset, folder: Path, device: torch.device, say: Say
) -> Encoder:
    """Read the trained encoder of a run, or train it."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from safetensors.torch import save as to_bytes

    path = folder / runs.ENCODER
    if path.is_file():
        unused = torch_generator(config.seed, "weights/encoder")
        encoder = build_encoder(config.model.encoder, unused)
        try:
            encoder.load_state_dict(load_file(path))
        except (SafetensorError, OSError, RuntimeError) as error:
            raise checkpoint.damaged(path) from error
        return place(encoder, device)
    runs.begin(folder, config, str(device))
    encoder = train(config, data, folder, device=device, say=say)
    state = {k: v.detach().cpu().contiguous() for k, v in encoder.state_dict().items()}
    write_atomic(path, to_bytes(state))
    return encoder


def _probe(
    config: RunConfig, encoder: Encoder, data: BiasedDataset, device: torch.device
) -> tuple[LinearProbe, dict[str, Any] | None]:
    """Fit the probe on the training split; measure it on validation, if there is one."""
    train_split = data.splits["train"]
    features = extract(encoder, train_split.images, device=device)
    with threadpool_limits(config.train.threads):  # sums over threads differ in their last bits
        probe = fit(features, train_split.labels, data.n_labels, config.probe)
    if "val" not in data.splits:
        return probe, None
    val = data.splits["val"]
    predictions = probe.probabilities(extract(encoder, val.images, device=device)).argmax(axis=1)
    table = count(val.labels, val.bias, predictions, n_labels=data.n_labels, n_bias=data.n_bias)
    values = _accuracies(table, aligned_cells(val, data.n_labels, data.n_bias))
    return probe, {"n": len(val), **{name: _number(values[name]) for name in ACCURACIES}}


def _identity(config: RunConfig, data: BiasedDataset, digest: str) -> dict[str, Any]:
    manifest = data.manifest
    plain = config.as_dict()
    recipe = {k: v for k, v in plain.items() if k not in ("loss", "seed", "parameters")}
    probe = f"C = {config.probe.c:g}, tolerance {config.probe.tolerance:g}"
    return {
        "dataset": data.name,
        "dataset_digest": data.digest,
        "source": manifest["source"]["origin"],
        "protocol": {
            **manifest["protocol"],
            "selection": "none: the last epoch",
            "evaluation": f"linear probe on frozen features ({probe})",
        },
        "loss": config.loss,
        "label": _label(config),
        "parameters": plain["parameters"],
        "preset": config.preset,
        "seed": config.seed,
        "digest": digest,
        "changes": config.changes(),
        "config": recipe,
        "recipe": digest_of({"config": recipe, "version": RECIPE_VERSION}),
        "encoder": config.model.encoder,
        "epochs": config.train.epochs_for(len(data.splits["train"])),
        "batch_size": config.train.batch_size,
    }


def _label(config: RunConfig) -> str:
    """Return the loss's name, with the parameters that are not its defaults."""
    defaults = parameters_of(config.loss)
    changed = [f"{k}={v}" for k, v in config.parameters.items() if defaults.get(k, v) != v]
    return f"{config.loss} ({', '.join(changed)})" if changed else config.loss


def aligned_cells(split: Split, n_labels: int, n_bias: int) -> npt.NDArray[np.bool_]:
    """Return bool ``(K, M)``: the cells whose rows the dataset calls bias-aligned.

    Raises:
        UsageError: A cell has rows of both kinds.
    """
    table = np.zeros((2, n_labels, n_bias), dtype=np.int64)
    np.add.at(table, (split.aligned.astype(np.int64), split.labels, split.bias), 1)
    if ((table[0] > 0) & (table[1] > 0)).any():
        raise UsageError("expected a cell to be aligned or conflicting, but got one that is both")
    aligned: npt.NDArray[np.bool_] = table[1] > 0
    return aligned


def _accuracies(table: Array, aligned: Array) -> dict[str, Array]:
    """The accuracy family of tables ``(..., K, M, K)``."""
    return {
        "top1": accuracy.top1(table),
        "unbiased": accuracy.unbiased(table),
        "bias_aligned": accuracy.bias_aligned(table, aligned),
        "bias_conflicting": accuracy.bias_conflicting(table, aligned),
        "worst_group": accuracy.worst_group(table),
        "bias_aligned_samples": accuracy.aligned_samples(table, aligned),
        "bias_conflicting_samples": accuracy.conflicting_samples(table, aligned),
    }


def measure(
    split: Split, predictions: Array, labels: Sequence[str], n_bias: int, *, seed: int
) -> dict[str, Any]:
    """Return every metric of predictions on a split, each with its value, n and 95 % interval.

    Args:
        split: The rows that were predicted.
        predictions: int ``(N,)`` in 0..K-1.
        labels: The names of the K classes.
        n_bias: M.
        seed: Of the bootstrap.

    Returns:
        Plain data: ``{metric: {"value", "n", "ci"}, ..., "by_class": {label: {...}}, "counts": [[[...]]]}``;
        an undefined value is None.
    """
    n_labels = len(labels)
    table = count(split.labels, split.bias, predictions, n_labels=n_labels, n_bias=n_bias)
    aligned = aligned_cells(split, n_labels, n_bias)

    def everything(tables: Array) -> dict[str, Array]:
        per_class = fairness.from_counts(tables)
        macro = {name: fairness.macro(value) for name, value in per_class.items()}
        classes = {f"class/{name}": value for name, value in per_class.items()}
        return {**_accuracies(tables, aligned), **macro, **classes}

    limits = bootstrap(table, everything, numpy_generator(seed, "bootstrap"))
    points: dict[str, Array] = dict(_accuracies(table, aligned))
    per_class = fairness.through_metric_frame(split.labels, predictions, split.bias, n_labels)
    points |= {name: fairness.macro(value) for name, value in per_class.items()}
    rows = int(table.sum())
    on_aligned = int(table[aligned].sum())
    n = {
        "bias_aligned": on_aligned,
        "bias_aligned_samples": on_aligned,
        "bias_conflicting": rows - on_aligned,
        "bias_conflicting_samples": rows - on_aligned,
    }
    result: dict[str, Any] = {
        name: _metric(value, n.get(name, rows), limits[name]) for name, value in points.items()
    }
    worst = accuracy.worst_cell(table)
    if worst is not None:
        result["worst_group"]["n"] = int(table[worst].sum())
        result["worst_group"]["group"] = {"label": worst[0], "bias": worst[1]}
    result["by_class"] = {
        label: {
            name: _metric(value[k], rows, tuple(side[k] for side in limits[f"class/{name}"]))
            for name, value in per_class.items()
        }
        for k, label in enumerate(labels)
    }
    result["counts"] = table.tolist()
    return result


def _metric(value: Array, n: int, limits: tuple[Array, ...]) -> dict[str, Any]:
    low, high = (_number(side) for side in limits)
    return {"value": _number(value), "n": n, "ci": [low, high]}


def _number(value: Array | float) -> float | None:
    number = float(value)
    return number if np.isfinite(number) else None


def _parquet(split: Split, scores: Array) -> bytes:
    """Return the predictions as a Parquet file: one row an image, one score a class."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: Mapping[str, Array] = {
        "index": split.index,
        "label": split.labels,
        "bias": split.bias,
        "aligned": split.aligned,
        "prediction": scores.argmax(axis=1),
        **{f"score_{k}": scores[:, k] for k in range(scores.shape[1])},
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), buffer, compression="zstd")
    return buffer.getvalue()
