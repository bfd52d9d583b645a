"""One job in a process of its own, with its seconds and its peak resident memory as JSON on the last line."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from biascon.utils.memory import peak_memory_mib


def probe(n: int, d: int, k: int) -> dict[str, float]:
    """Fit the probe on made features: rectified mixtures of fewer latent numbers, so that they correlate."""
    import torch
    from threadpoolctl import threadpool_limits

    from biascon.config.run_config import ProbeConfig
    from biascon.probing.linear_probe import fit

    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % k
    centers = torch.randn(k, 64, generator=generator)
    mix = torch.randn(64, d, generator=generator) / 8
    features = torch.empty(n, d)
    for rows in torch.arange(n).split(10_000):
        latent = centers[labels[rows]] + 1.5 * torch.randn(len(rows), 64, generator=generator)
        features[rows] = (latent @ mix).relu()
    found, y = features.numpy(), labels.numpy()
    before = peak_memory_mib()
    started = time.perf_counter()
    with threadpool_limits(2):
        done = fit(found, y, k, ProbeConfig())
    seconds = time.perf_counter() - started
    return {
        "seconds": round(seconds, 1),
        "iterations": done.iterations,
        "features, MiB": found.nbytes >> 20,
        "peak, MiB": peak_memory_mib(),
        "peak before, MiB": before,
    }


def large(n: int, d: int, k: int) -> dict[str, float]:
    """Fit the probe and the nearest neighbors on a memory-mapped float16 file of features."""
    import torch

    from biascon.config.run_config import ProbeConfig
    from biascon.evaluation.knn import KNNClassifier
    from biascon.probing.linear_probe import fit

    torch.set_num_threads(2)
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % k
    centers = torch.randn(k, 64, generator=generator)
    mix = torch.randn(64, d, generator=generator) / 8
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features"
        with path.open("wb") as file:
            for rows in torch.arange(n).split(10_000):
                latent = centers[labels[rows]] + 1.5 * torch.randn(
                    len(rows), 64, generator=generator
                )
                file.write((latent @ mix).relu().half().numpy().tobytes())
        features, y = np.memmap(path, np.float16, "c", 0, (n, d)), labels.numpy()
        before = peak_memory_mib()
        started = time.perf_counter()
        done = fit(features, y, k, ProbeConfig())
        fitted = time.perf_counter()
        after_fit = peak_memory_mib()
        knn = KNNClassifier(features, y, k, 200, 0.07, torch.device("cpu"))
        knn.probabilities(np.asarray(features[:1024]))
        return {
            "file, MiB": path.stat().st_size >> 20,
            "probe, seconds": round(fitted - started, 1),
            "iterations": done.iterations,
            "kNN of 1,024 queries, seconds": round(time.perf_counter() - fitted, 1),
            "peak before, MiB": before,
            "peak, probe, MiB": after_fit,
            "peak, kNN, MiB": peak_memory_mib(),
        }


def build() -> dict[str, float]:
    """Build BiasedMNIST."""
    from biascon.data.builders.biased_mnist import BiasedMNISTSpec, make_biased_mnist

    with tempfile.TemporaryDirectory() as root:
        make_biased_mnist(BiasedMNISTSpec(0.997), root=Path(root))
    return {"peak, MiB": peak_memory_mib()}


def million(root: str) -> dict[str, float]:
    """Write a dataset folder of a million made images."""
    from biascon.data import dataset
    from biascon.data.builders.biased_mnist import BiasedMNISTSpec, describe_biased_mnist
    from biascon.data.builders.mnist_source import find_digits

    n, rng = 1_000_000, np.random.default_rng(0)
    labels = np.arange(n) % 10
    bias = np.where(rng.random(n) < 0.99, labels, rng.integers(0, 10, n))
    split = dataset.Split(
        images=rng.integers(0, 256, (n, 3, 28, 28), dtype=np.uint8),
        labels=labels,
        bias=bias,
        aligned=labels == bias,
        index=np.arange(n),
    )
    about = describe_biased_mnist(find_digits(), BiasedMNISTSpec(0.99, val_protocol="none"))
    few = dataset.Split(**{name: array[:1000] for name, array in split.arrays().items()})
    splits = {"train": split, "test": few}
    dataset.save(Path(root) / "million", splits, about, replace=False)
    return {}


def train(root: str) -> dict[str, float]:
    """Train on it for an epoch."""
    import torch

    from biascon.config.factory import make_config
    from biascon.data.dataset import load
    from biascon.runs.context import RunContext
    from biascon.training.loop import train as run

    torch.set_num_threads(2)
    data = load(Path(root) / "million", only=("train",))
    config = make_config("contex", preset="cpu", settings=["train.epochs=1", "train.min_steps=0"])
    with tempfile.TemporaryDirectory() as folder:
        context = RunContext(config, data, Path(folder), torch.device("cpu"))
        context.folder.mkdir(parents=True)
        run(context)
    return {"peak, MiB": peak_memory_mib()}


if __name__ == "__main__":
    name, *words = sys.argv[1:]
    if name in ("probe", "large"):
        n, d, k = map(int, words)
        print(json.dumps((probe if name == "probe" else large)(n, d, k)))
    else:
        print(json.dumps({"build": build, "million": million, "train": train}[name](*words)))
