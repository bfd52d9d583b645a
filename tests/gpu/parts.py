"""The parts of ``run.py check``. A part yields rows of plain data; ``ok`` is False beyond a limit."""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from biascon.config.augmentation import Augmentation
from biascon.config.factory import make_config
from biascon.config.run_config import RunConfig
from biascon.data import dataset
from biascon.data.builders import biased_mnist
from biascon.data.builders.biased_mnist import BiasedMNISTSpec
from biascon.data.builders.mnist_source import Digits, find_digits
from biascon.data.dataset import BiasedDataset
from biascon.losses import LOSSES, get_loss
from biascon.losses.loss import list_losses
from biascon.runs import checkpoint
from biascon.runs.folder import DONE
from biascon.runs.records import EpochRecord
from biascon.training.augment import augment
from biascon.utils.devices import pick_device
from biascon.utils.numerics import numerics
from biascon.utils.seeds import torch_generator
from tests.gpu.batches import make_batch
from tests.gpu.report import Row
from tests.run_helpers import train_in_folder

Rows = Iterator[Row]
LOSS_LIMIT = 1e-4  # relative error of the value, and of the norm of the gradient
WEIGHT_LIMIT = 1e-5  # relative norm of the difference of weights after three steps
SIGMAS = 5.0  # standard errors between two moments
FULL = Augmentation(crop_scale=(0.2, 1.0), flip_p=0.5)


@dataclass(frozen=True)
class Part:
    """A part of the check.

    Attributes:
        function: Yields the rows.
        seconds: The time limit.
        what: The explanation on the page.
        planned: The first columns of every row, known before the part starts. With it, a part that the time
            limit ends after at least one row is incomplete, and has not failed.
    """

    function: Callable[[argparse.Namespace, Path], Rows]
    seconds: float
    what: str
    planned: Callable[[argparse.Namespace], list[Row]] | None = None


def relative_error(value: Tensor, reference: Tensor) -> float:
    """Return the norm of the difference of two tensors over the norm of the reference, in float64."""
    value, reference = value.detach().cpu().double(), reference.detach().cpu().double()
    return float((value - reference).norm() / reference.norm().clamp(min=1e-30))


# Losses


def check_losses(options: argparse.Namespace, scratch: Path) -> Rows:
    """Compare every loss on the device with the CPU."""
    del scratch
    device = pick_device(options.device)
    sizes = (64, 256) if options.small else (512, 6000)
    with numerics(device, tf32="none", deterministic=False):
        for anchors, name in ((n, name) for n in sizes for name in LOSSES):
            # Float64 is the reference where it is quick.
            dtype = torch.float64 if anchors == sizes[0] else torch.float32
            row: Row = {
                "loss": name,
                "anchors": anchors,
                "reference": str(dtype).removeprefix("torch."),
            }
            try:
                expected, found = (
                    _value_and_gradients(name, anchors, place, kind)
                    for place, kind in ((torch.device("cpu"), dtype), (device, torch.float32))
                )
                errors = {key: relative_error(found[key], expected[key]) for key in expected}
                gradients = [error for key, error in errors.items() if key != "value"]
                # ``max`` may pass over a NaN.
                gradient = max(gradients) if all(map(math.isfinite, gradients)) else math.nan
                row |= {"value": errors["value"], "gradient": gradient}
                row["ok"] = all(math.isfinite(e) and e <= LOSS_LIMIT for e in errors.values())
            except Exception as error:  # one loss does not end the others
                row |= {"ok": False, "error": _last_line(error)}
            yield row


def _value_and_gradients(
    name: str, anchors: int, device: torch.device, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Return the value of a loss and its gradients by the name of the input."""
    batch = {
        key: (tensor.to(dtype) if tensor.is_floating_point() else tensor).to(device)
        for key, tensor in make_batch(name, anchors).items()
    }
    leaves = {
        key: batch[key].requires_grad_() for key in ("z", "logits", "features") if key in batch
    }
    z, labels, bias = (batch.pop(key) for key in ("z", "labels", "bias"))
    value = get_loss(name)(z, labels, bias, **batch)
    gradients = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    named = {key: g for key, g in zip(leaves, gradients, strict=True) if g is not None}
    return {"value": value, **named}


# Augmentation


def check_augmentation(options: argparse.Namespace, scratch: Path) -> Rows:
    """Compare the moments of views on the device with those on the CPU."""
    del scratch
    device, n = pick_device(options.device), 1000 if options.small else 20_000
    rng = np.random.default_rng(0)
    for image in range(2 if options.small else 4):
        pixels = torch.from_numpy(rng.integers(0, 256, (1, 3, 28, 28), dtype=np.uint8))
        pixels[:, :, 8:20, 10:18] = torch.tensor([250, 40, 120], dtype=torch.uint8).view(1, 3, 1, 1)
        # The seeds differ, because the draws of a device with the same seed would be no evidence.
        here, there = (
            _view_statistics(pixels.to(place), n, torch_generator(seed, "check", place))
            for seed, place in ((0, torch.device("cpu")), (1, device))
        )
        for name, sample, other in zip(_STATISTICS, here, there, strict=True):
            for moment, sigmas, values in _compare_moments(sample, other):
                yield {
                    "image": image, "statistic": name, "moment": moment, "cpu": values[0],
                    "device": values[1], "standard errors": sigmas, "ok": abs(sigmas) <= SIGMAS,
                }  # fmt: skip


_STATISTICS = tuple(f"{kind} of channel {c}" for kind in ("mean", "deviation") for c in range(3))


def _view_statistics(pixels: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Return float64 ``(6, n)``: mean and standard deviation of each channel of n views of an image."""
    views = augment(pixels, FULL, generator, views=n).double().flatten(2)  # (n, 3, H * W)
    return torch.cat((views.mean(2), views.std(2)), dim=1).T.cpu()


def _compare_moments(a: Tensor, b: Tensor) -> Iterator[tuple[str, float, tuple[float, float]]]:
    """Yield mean and variance of two samples, and their difference in standard errors."""
    for moment, x, y in (
        ("mean", a, b),
        ("variance", (a - a.mean()).square(), (b - b.mean()).square()),
    ):
        error = (x.var() / len(x) + y.var() / len(y)).sqrt().clamp(min=1e-12)
        yield moment, float((y.mean() - x.mean()) / error), (float(x.mean()), float(y.mean()))


# Runs


def check_smoke(options: argparse.Namespace, scratch: Path) -> Rows:
    """Evaluate every loss with the preset ``smoke``."""
    from biascon.evaluation import pipeline

    device, data = (
        pick_device(options.device),
        small_dataset(scratch, 1000 if options.small else 2000),
    )
    settings = ["train.epochs=1"] if options.small else []
    for name in list_losses():
        started, row = time.perf_counter(), {"loss": name}
        try:
            config = make_config(name, preset="smoke", settings=settings)
            result = pipeline.evaluate(config, data, root=scratch / "runs", device=device)
            assert result.evaluation is not None
            metric = result.evaluation.metric("unbiased")
            row |= {"unbiased": None if metric is None else metric.value, "ok": True}
        except Exception as error:  # one method does not end the others
            row |= {"ok": False, "error": _last_line(error)}
        yield {**row, "seconds": time.perf_counter() - started}


def check_micro_batches(options: argparse.Namespace, scratch: Path) -> Rows:
    """Train three steps in micro-batches and in whole batches."""
    from biascon.models import encoders
    from tests.training.parallel_worker import plain

    encoders.ENCODERS["plain"] = plain
    device, data = pick_device(options.device), small_dataset(scratch, 900)
    batch = len(data.splits["train"]) // 3
    fixed = ["model.encoder=plain", "optimizer.name=sgd", "optimizer.lr=0.05", "train.epochs=1"]
    for loss in ("contex", "biascon+biasbal", "gce"):
        weights = []
        for micro_batch in (0, 24):
            settings = [*fixed, f"train.batch_size={batch}", f"train.micro_batch={micro_batch}"]
            config = _on_device(make_config(loss, preset="smoke", settings=settings), device)
            folder = scratch / f"{loss}-{micro_batch}"
            folder.mkdir()
            with numerics(device, tf32="none", deterministic=False):
                model = train_in_folder(config, data, folder, device=device)
            weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
        error = relative_error(weights[1], weights[0])
        yield {"loss": loss, "difference of weights": error, "ok": error <= WEIGHT_LIMIT}


def check_repeats(options: argparse.Namespace, scratch: Path) -> Rows:
    """Run a command twice, and kill it and start it again; compare the files."""
    small_dataset(scratch, 600 if options.small else 2000)
    with ThreadPoolExecutor(2) as pool:
        for rows in pool.map(lambda d: _repeat(options, scratch, deterministic=d), (False, True)):
            yield from rows


def _repeat(options: argparse.Namespace, scratch: Path, *, deterministic: bool) -> list[Row]:
    """Compare a run with its repetition and with a run that was killed and resumed."""
    word = str(deterministic).lower()
    # On CUDA without deterministic algorithms equal bytes are not promised, only measured.
    promised = deterministic or pick_device(options.device).type == "cpu"
    first: Path | None = None
    rows: list[Row] = []
    for kind in ("first", "again", "killed"):
        row: Row = {"deterministic": deterministic, "run": kind}
        runs = scratch / f"{kind}-{word}"
        words = [
            sys.executable, "-m", "biascon", "evaluate", "--loss", "contex", "--preset", "smoke",
            "--set", "train.epochs=4", "--set", "train.precision=auto", "--set",
            f"train.deterministic={word}", "--data", str(scratch / "data"), "--device",
            options.device, "--runs", str(runs),
        ]  # fmt: skip
        error = _kill_at("epoch 2/4", words, runs) if kind == "killed" else ""
        if not error:
            process = subprocess.run(words, capture_output=True, text=True, check=False)
            if process.returncode:
                error = (process.stderr.strip().splitlines() or ["no message"])[-1]
        if error:
            rows.append({**row, "ok": False, "error": error})
            if first is None:  # nothing to compare with
                break
            continue
        (folder,) = runs.glob("*/*/seed0-*")
        if first is None:
            first = folder
            continue
        equal, difference, of_accuracy = _compare_runs(first, folder)
        row |= {"same bytes": equal, "difference of weights": difference}
        row |= {"difference of unbiased accuracy": of_accuracy, "ok": equal if promised else None}
        rows.append(row)
    return rows


def _kill_at(line: str, words: list[str], runs: Path) -> str:
    """Start a command, and kill it as soon as it prints a line with these words.

    Returns:
        Why there is no interrupted run to resume from, or "": the command was killed, and its run folder
        has a checkpoint and no ``done``.
    """
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        for printed in process.stderr:
            if line in printed:
                process.send_signal(signal.SIGKILL)
                break
    if process.returncode != -signal.SIGKILL:
        return f"not killed at '{line}': the command ended with exit code {process.returncode}"
    folders = list(runs.glob("*/*/seed0-*"))
    if len(folders) != 1:
        return f"{len(folders)} run folders after the kill, expected 1"
    if (folders[0] / DONE).exists():
        return "the run was finished before it was killed"
    state = checkpoint.load(folders[0])
    if state is None or state["epoch"] < 1:
        return "the killed run has no checkpoint of an epoch"
    return ""


def _compare_runs(first: Path, other: Path) -> tuple[bool, float, float]:
    """Return whether two runs have the same bytes, and the differences of weights and of accuracy."""
    from safetensors.torch import load_file

    from biascon.runs.finished import FinishedRun

    names = ("encoder.safetensors", "predictions.parquet", "evaluation.json")
    equal = all((first / n).read_bytes() == (other / n).read_bytes() for n in names)
    flat = [
        torch.cat([t.double().flatten() for t in load_file(folder / names[0]).values()])
        for folder in (other, first)
    ]
    runs = [FinishedRun.read(folder) for folder in (first, other)]
    values = [0.0 if run is None else run.value("unbiased") or 0.0 for run in runs]
    return equal, relative_error(*flat), values[1] - values[0]


# Throughput


def plan_throughput(options: argparse.Namespace) -> list[Row]:
    """Return the first columns of each measurement: all eager runs first."""
    presets = {"smoke": "supcon", "cpu": "contex"}
    if not options.small:
        presets = {
            "gpu": "contex", "paper-hong": "biascon+biasbal", "paper-barbano": "supcon",
            "contex-paper": "contex",
        }  # fmt: skip
    precisions = ("float32",) if options.small else ("bfloat16", "float32")
    return [
        {"preset": preset, "loss": loss, "precision": precision, "compiled": compiled}
        for compiled in ((False,) if options.small else (False, True))
        for preset, loss in presets.items()
        for precision in precisions
    ]


def measure_throughput(options: argparse.Namespace, scratch: Path) -> Rows:
    """Measure views a second and peak memory of each preset."""
    device = pick_device(options.device)
    for row in plan_throughput(options):
        if row["compiled"]:
            torch._dynamo.reset()
        started = time.perf_counter()
        try:
            found = _throughput(row, device, scratch, steps=3 if options.small else 15)
        except Exception as error:  # out of memory, no compiler
            found = {"ok": False, "error": _last_line(error)}
        yield {**row, **found, "seconds": time.perf_counter() - started}


def _throughput(row: Row, device: torch.device, scratch: Path, steps: int) -> Row:
    """Train two epochs of some steps, and return the figures of the second."""
    name = "-".join(str(row[key]) for key in ("preset", "precision", "compiled"))
    folder = scratch / name
    folder.mkdir()
    settings = ["train.epochs=2", "train.min_steps=0", f"train.precision={row['precision']}"]
    settings += ["train.compile=true"] if row["compiled"] else []
    config = make_config(row["loss"], preset=row["preset"], settings=settings)
    config = _on_device(config, device)
    records: list[EpochRecord] = []
    data = _repeated_dataset(scratch, config.train.batch_size * steps)
    train = config.train
    with numerics(device, tf32=train.tf32, deterministic=train.deterministic):
        train_in_folder(config, data, folder, device=device, on_epoch=records.append)
    last = records[-1]
    return {
        "encoder": config.model.encoder, "batch": train.batch_size,
        "views/s": last.views_per_second, "peak MiB": last.peak_memory_mib, "ok": None,
    }  # fmt: skip


# Datasets and helpers


def _take(digits: Digits, n_train: int, n_test: int) -> Digits:
    return dataclasses.replace(
        digits,
        train_images=digits.train_images[:n_train],
        train_labels=digits.train_labels[:n_train],
        train_index=digits.train_index[:n_train],
        test_images=digits.test_images[:n_test],
        test_labels=digits.test_labels[:n_test],
        test_index=digits.test_index[:n_test],
    )


def _shuffled(digits: Digits) -> Digits:
    """Return the digits in random order: the embedded ones are sorted by class."""
    train, test = (
        np.random.default_rng(seed).permutation(len(labels))
        for seed, labels in enumerate((digits.train_labels, digits.test_labels))
    )
    return dataclasses.replace(
        digits,
        train_images=digits.train_images[train],
        train_labels=digits.train_labels[train],
        train_index=digits.train_index[train],
        test_images=digits.test_images[test],
        test_labels=digits.test_labels[test],
        test_index=digits.test_index[test],
    )


def small_dataset(scratch: Path, n: int) -> BiasedDataset:
    """Write a BiasedMNIST of rho 0.9 with n training digits to ``scratch/data``, and load it."""
    folder = scratch / "data"
    if not folder.exists():
        digits, spec = _take(_shuffled(find_digits(network=False)), n, n // 4), BiasedMNISTSpec(0.9)
        description = biased_mnist.describe_biased_mnist(digits, spec)
        dataset.save(folder, biased_mnist.build_splits(digits, spec), description, replace=False)
    return dataset.load(folder)


def _repeated_dataset(scratch: Path, n: int) -> BiasedDataset:
    """Return the small dataset, its training images repeated to n: only the time matters."""
    data = small_dataset(scratch, 900)
    split = data.splits["train"]
    rows = np.arange(n) % len(split)
    changes = {
        name: getattr(split, name)[rows]
        for name in ("images", "labels", "bias", "aligned", "index")
    }
    train = dataclasses.replace(split, **changes, attributes={})
    return dataclasses.replace(data, splits={**data.splits, "train": train})


def _on_device(config: RunConfig, device: torch.device) -> RunConfig:
    from biascon.config.method_settings import resolve_parameters

    return resolve_parameters(config, "bmnist", {"rho": 0.9}).for_device(device.type)


def _last_line(error: BaseException) -> str:
    lines: list[Any] = traceback.format_exception_only(error)
    return str(lines[-1]).strip().splitlines()[0][:300]


PARTS = {
    "losses": Part(
        check_losses, 90,
        "Every loss on the device in float32, TF32 off, against the CPU: relative error of the value, and "
        f"relative norm of the error of the gradient, each at most {LOSS_LIMIT:g}.",
    ),
    "augmentation": Part(
        check_augmentation, 30,
        f"Mean and variance of statistics of views, device against CPU; at most {SIGMAS:g} standard errors "
        "apart. The draws themselves differ.",
    ),
    "micro_batches": Part(
        check_micro_batches, 30,
        "Weights after three steps in micro-batches of 24 images, against whole batches, without batch norm "
        f"and TF32; relative norm of the difference at most {WEIGHT_LIMIT:g}.",
    ),
    "repeats": Part(
        check_repeats, 120,
        "The same command again, and killed (SIGKILL) in its second epoch and started again, against the "
        "first run. Equal bytes are required on the CPU, and elsewhere with train.deterministic=true; else "
        "they are measured.",
    ),
    "smoke": Part(
        check_smoke, 170,
        "`evaluate` of every loss with the preset `smoke`; the numbers have no meaning.",
    ),
    "throughput": Part(
        measure_throughput, 200,
        "Views a second and peak memory of the second epoch of some steps, images on the device. The time "
        "limit may end this part early; the rows that are missing then are listed.",
        plan_throughput,
    ),
}  # fmt: skip
