"""What is measured, a function a section: rows of plain data, rivals beside each other."""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rivals
import torch
from convolutions import convolutions
from machine import limits, seconds_of, wait
from methods import seconds_of_methods
from scale import scale
from versions import options, versions

from biascon.config.augmentation import Augmentation
from biascon.config.factory import make_config
from biascon.data.builders.biased_mnist import BiasedMNISTSpec, make_biased_mnist
from biascon.data.builders.mnist_source import find_digits
from biascon.data.dataset import BiasedDataset, Split, load
from biascon.losses import LOSSES, get_loss
from biascon.models.preprocess import normalize
from biascon.runs.context import RunContext
from biascon.runs.records import EpochRecord
from biascon.training.augment import augment
from biascon.training.gradient_cache import forward_backward
from biascon.training.loop import train
from biascon.training.network import build_model, to_channels_last
from biascon.training.optimizer import build_optimizer
from biascon.utils.seeds import torch_generator

Row = dict[str, Any]
FULL = Augmentation(crop_scale=(0.2, 1.0), flip_p=0.5)  # every part of the recipe on


def machine_limits(device: torch.device) -> list[Row]:
    """The matrix product and the copy that the machine reaches."""
    return [{"what": name, "value": value} for name, value in limits(device).items()]


def augmentation(device: torch.device) -> list[Row]:
    """Views a second, the full recipe, beside torchvision in two worker processes and kornia."""
    rows = []
    for side, batch in ((28, 256), (64, 256)):
        array = np.random.default_rng(0).integers(0, 256, (batch, 3, side, side), dtype=np.uint8)
        images = torch.from_numpy(array)
        resident, floats = images.to(device), images.to(device).float() / 255
        generator, batched = torch_generator(0, "bench", device), rivals.kornia(FULL, side)
        threads = (2, 1) if device.type == "cpu" else (2,)
        for n in threads:
            torch.set_num_threads(n)
            took = seconds_of(
                {
                    "biascon": lambda r=resident, g=generator: augment(r, FULL, g, 2),
                    "kornia": lambda f=floats, b=batched: (b(f), b(f)),
                },
                15,
                device,
            )
            rows += [
                {
                    "what": f"{name}, {n} thread(s)" if device.type == "cpu" else name,
                    "side": side,
                    "views/s": round(2 * batch / seconds),
                }
                for name, seconds in took.items()
            ]
        labels = torch.zeros(batch, dtype=torch.long)
        for name, pipeline, as_pil in (
            ("torchvision, PIL, 2 workers", rivals.pil(FULL, side), True),
            ("torchvision v2, tensors, 2 workers", rivals.tensors(FULL, side), False),
        ):
            data = rivals.TwoViews(
                images.repeat(16, 1, 1, 1), labels.repeat(16), pipeline, as_pil=as_pil
            )
            rows.append({"what": name, "side": side, "views/s": round(_drawn(data, side))})
        best = rows[-4 - 2 * (len(threads) - 1)]["views/s"]
        for row in rows:
            if row["side"] == side:
                row["of biascon's"] = round(row["views/s"] / best, 3)
    return rows


def _drawn(data: rivals.TwoViews, side: int) -> float:
    """Views a second out of a loader's workers, after its queue has been emptied once."""
    batch, warm, n = 64, 6, 24 if side < 40 else 12
    source = rivals.batches(data, batch)
    for _ in range(warm):
        next(source)
    started = time.perf_counter()
    for _ in range(n):
        next(source)
    return 2 * batch * n / (time.perf_counter() - started)


def building(device: torch.device) -> list[Row]:
    """Seconds to build BiasedMNIST, beside the textbook's loops, both from arrays in memory."""
    digits = find_digits()
    images = np.concatenate((digits.train_images, digits.test_images))
    labels = np.concatenate((digits.train_labels, digits.test_labels))

    def ours() -> None:
        with tempfile.TemporaryDirectory() as root:
            make_biased_mnist(BiasedMNISTSpec(0.997, val_protocol="none"), root=Path(root))

    took = seconds_of({"ours": ours, "textbook": lambda: rivals.textbook(images, labels, 0.997)}, 3)
    return [
        {
            "what": f"biascon: read, check, colour, write with digests, {len(images):,} images",
            "seconds": round(took["ours"], 2),
        },
        {
            "what": "a loop over classes, image by image, in memory, nothing written",
            "seconds": round(took["textbook"], 2),
            "of biascon's": round(took["textbook"] / took["ours"], 1),
        },
    ]


def _digits() -> BiasedDataset:
    """A BiasedMNIST of what digits there are, read whole into memory."""
    with tempfile.TemporaryDirectory() as root:
        folder = make_biased_mnist(BiasedMNISTSpec(0.997), root=Path(root)).folder
        data = load(folder, only=("train",))
        split = data.splits["train"]
        whole = dataclasses.replace(split, images=np.array(split.images))
        return dataclasses.replace(data, splits={"train": whole})


def first(data: BiasedDataset, n: int) -> BiasedDataset:
    """Return the dataset with the first n of its training images."""
    arrays = {name: array[:n] for name, array in data.splits["train"].arrays().items()}
    return dataclasses.replace(data, splits={"train": Split(**arrays)})


def _epochs(data: BiasedDataset, device: torch.device, *settings: str) -> list[EpochRecord]:
    """Train contex and return the records of the epochs without the first one."""
    config = make_config("contex", preset="cpu", settings=["train.min_steps=0", *settings])
    records: list[EpochRecord] = []
    with tempfile.TemporaryDirectory() as root:
        context = RunContext(config, data, Path(root), device, on_epoch=records.append)
        context.folder.mkdir(parents=True)
        train(context)
    return records[1:]


def training(device: torch.device) -> list[Row]:
    """Views a second of the whole training loop, beside the same network and loss fed by a loader."""
    data, rows = _digits(), []
    torch.set_num_threads(2)
    for name, n, steps in (("fastconvnet", 12_800, 40), ("simpleconvnet", 256, 2)):
        if device.type == "cuda":
            n, steps = 51_200, 60
        settings = (f"model.encoder={name}", "train.epochs=4")
        ours = statistics.median(
            record.views_per_second for record in _epochs(first(data, n), device, *settings)
        )
        theirs = _loader_fed(first(data, max(n, 5120)), device, name, steps)
        rows += [
            {"what": "biascon", "network": name, "views/s": round(ours)},
            {
                "what": "torchvision's loader, PIL, 2 workers",
                "network": name,
                "views/s": round(theirs),
                "of biascon's": round(theirs / ours, 3),
            },
        ]
    return rows


def _loader_fed(data: BiasedDataset, device: torch.device, name: str, steps: int) -> float:
    """The same network, loss and optimizer, with views from worker processes: views a second."""
    config = make_config("contex", preset="cpu", settings=[f"model.encoder={name}"])
    split, batch = data.splits["train"], config.train.batch_size
    model = to_channels_last(build_model(config, LOSSES["contex"], data), device)
    steered, loss = build_optimizer(model, config.optimizer), get_loss("contex")
    images, labels = torch.from_numpy(split.images), torch.from_numpy(split.labels)
    views = rivals.TwoViews(images, labels, rivals.pil(config.augment, 28), as_pil=True)
    source = rivals.batches(views, batch)
    started = 0.0
    for step in range(steps + 1):
        a, b, y = next(source)
        x = torch.stack((a, b), dim=1).flatten(0, 1).to(device)
        x = x.contiguous(memory_format=torch.channels_last)
        y = y.to(device)
        steered.zero_grad(set_to_none=True)

        def value(out: dict[str, torch.Tensor], y: torch.Tensor = y) -> torch.Tensor:
            return loss(out["z"].view(len(y), 2, -1), y)

        forward_backward(model, x, 0, value)
        steered.step()
        if step == 0:
            wait(device)
            started = time.perf_counter()
    wait(device)
    return 2 * batch * steps / (time.perf_counter() - started)


def methods(device: torch.device) -> list[Row]:
    """Seconds of an epoch of every method beside ce."""
    return seconds_of_methods(first(_digits(), 6_400), device)


def scaling(device: torch.device) -> list[Row]:
    """Seconds an epoch by the number of images; views a second of one and of two processes."""
    data, rows = _digits(), []
    torch.set_num_threads(2)
    n = len(data.splits["train"])
    for part in (n // 4, n // 2, n):
        seconds = [
            record.seconds for record in _epochs(first(data, part), device, "train.epochs=3")
        ]
        median = statistics.median(seconds)
        rows.append(
            {
                "what": f"{part:,} images",
                "seconds an epoch": round(median, 2),
                "views/s": round(2 * part / median),
            }
        )
    if device.type == "cpu":
        for what, processes, threads in (
            ("1 process of 1 thread", 1, 1),
            ("1 process of 2 threads", 1, 2),
            ("2 runs of 1 thread at a time", 2, 1),
        ):
            rows.append({"what": what, "views/s": round(_runs(processes, threads))})
    return rows


ONE_RUN = """
import sys, torch, statistics
sys.path.insert(0, sys.argv[1])
from sections import _digits, _epochs, first
torch.set_num_threads(int(sys.argv[2]))
data = first(_digits(), 25_600)
records = _epochs(data, torch.device("cpu"), "train.epochs=4", f"train.threads={sys.argv[2]}")
print(statistics.median(record.views_per_second for record in records))
"""


def _runs(processes: int, threads: int) -> float:
    """Views a second of several training processes at a time, together."""
    words = [sys.executable, "-c", ONE_RUN, str(Path(__file__).parent), str(threads)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    started = [
        subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(processes)
    ]
    return sum(float(one.communicate()[0].splitlines()[-1]) for one in started)


def probes(device: torch.device) -> list[Row]:
    """Seconds and peak memory of the linear probe, each in a process of its own."""
    rows = []
    for n, d, k in ((60_000, 128, 10), (200_000, 2048, 10)):
        found = _alone("probe", str(n), str(d), str(k))
        rows.append({"what": f"probe, {n:,} x {d}, {k} classes", **found})
    return rows


def large_features(device: torch.device) -> list[Row]:
    """Seconds and peak memory of the probe and of kNN on a file of features, in a process of its own."""
    n, d, k = 300_000, 2048, 10
    return [
        {"what": f"{n:,} x {d} float16, {k} classes", **_alone("large", str(n), str(d), str(k))}
    ]


def memory(device: torch.device) -> list[Row]:
    """Peak resident memory of whole jobs, each in a process of its own."""
    rows = [{"what": "make-bmnist, 70,000 images", **_alone("build")}]
    with tempfile.TemporaryDirectory() as root:
        subprocess.run(
            [sys.executable, str(Path(__file__).with_name("alone.py")), "million", root], check=True
        )
        rows.append(
            {
                "what": "train on 1,000,000 images of 28 x 28 x 3 (2.35 GB), 1 epoch",
                **_alone("train", root),
            }
        )
    return rows


def _alone(*words: str) -> dict[str, Any]:
    script = str(Path(__file__).with_name("alone.py"))
    done = subprocess.run(
        [sys.executable, script, *words], check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def startup(device: torch.device) -> list[Row]:
    """Seconds of whole commands."""
    rows = []
    for words in (["--help"], ["evaluate", "--help"], ["list", "losses"], ["list", "presets"]):
        command = [sys.executable, "-m", "biascon", *words]
        took = seconds_of({"it": lambda c=command: subprocess.check_output(c)}, 7)["it"]
        rows.append({"what": f"biascon {' '.join(words)}", "seconds": round(took, 3)})
    return rows


def network(device: torch.device) -> list[Row]:
    """Forward and backward of the encoders, and what share of a matrix product's speed that is."""
    from biascon.models.encoders import build_encoder

    rows = []
    peak = max(value for name, value in limits(device).items() if "GFLOP" in name)
    half = device.type == "cuda"
    torch.set_num_threads(2)
    many = 4096 if device.type == "cuda" else 256
    for name, batch, rounds in (
        ("fastconvnet", many, 15),
        ("simpleconvnet", many // 8, 3),
        ("resnet18", many // 8, 3),
    ):
        generator = torch_generator(0, "bench")
        encoder = to_channels_last(build_encoder(name, generator), device)
        array = np.random.default_rng(0).integers(0, 256, (batch, 3, 28, 28), dtype=np.uint8)
        x = normalize(torch.from_numpy(array).to(device))

        def step(encoder: Any = encoder, x: torch.Tensor = x) -> None:
            encoder.zero_grad(set_to_none=True)
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                out = encoder(x)
            out.float().square().mean().backward()

        took = seconds_of({"it": step}, rounds, device)["it"]
        flops = 6 * _macs(encoder, x[:1]) * batch
        rows.append(
            {
                "what": name,
                "images/s": round(batch / took),
                "GFLOP/s": round(flops / took / 1e9, 1),
                "of a matrix product's": round(flops / took / 1e9 / peak, 2),
            }
        )
    return rows


def _macs(encoder: torch.nn.Module, x: torch.Tensor) -> int:
    """Multiply-adds of the convolutions and linear layers for one image."""
    counted = [0]

    def count(layer: Any, _: Any, out: torch.Tensor) -> None:
        counted[0] += out[0].numel() * layer.weight[0].numel()

    kinds = (torch.nn.Conv2d, torch.nn.Linear)
    hooks = [m.register_forward_hook(count) for m in encoder.modules() if isinstance(m, kinds)]
    training_ = encoder.training
    encoder.eval()
    with torch.no_grad():
        encoder(x)
    encoder.train(training_)
    for hook in hooks:
        hook.remove()
    return counted[0]


SECTIONS: dict[str, Callable[[torch.device], list[Row]]] = {
    "limits": machine_limits,
    "augmentation": augmentation,
    "building": building,
    "network": network,
    "convolutions": convolutions,
    "training": training,
    "versions": versions,
    "options": options,
    "methods": methods,
    "scaling": scaling,
    "probes": probes,
    "large_features": large_features,
    "memory": memory,
    "startup": startup,
    "scale": scale,
}
ON_CPU = ("building", "convolutions", "probes", "large_features", "memory", "startup", "scale")
