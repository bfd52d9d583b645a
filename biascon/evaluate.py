"""A run from its configuration to its evaluation: train, probe, predict, measure. Plain data out.

The training split trains the encoder and the probe; the validation split is for choosing between
recipes (``validate`` measures on it and reads nothing of the test split); the test split is read
once, after everything is fixed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from biascon import runs
from biascon.config import RECIPE_VERSION, RunConfig
from biascon.data.dataset import BiasedDataset, Split
from biascon.errors import UsageError
from biascon.features import of_run
from biascon.files import digest_of, pretty_json, write_atomic
from biascon.losses import entry, parameters_of, sees_bias
from biascon.losses.distributed import ranks
from biascon.measures import measure, measure_accuracies, measure_top5
from biascon.parallel import leads, wait
from biascon.probe import LinearProbe, fit, fit_balanced
from biascon.represent import measure_representation
from biascon.stages import Network, Place, Say, first_config, obtain, trained_on
from biascon.train import check

Array = npt.NDArray[Any]
FORMAT = 1


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
    its last checkpoint. Of several processes (``biascon.parallel``) all train, the first evaluates, and the
    others get an empty evaluation.

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
    with _held(folder, resume=resume):
        if ranks() == 1:
            known = runs.finished(folder, digest)  # by another command, in between
            if known is not None:
                return folder, known, True
        network = obtain(config, data, Place(root, device, resume), say)
        if not leads():
            return folder, {}, False
        judges = _judges(config, network, data, folder, device)
        test = data.splits["test"]
        features = of_run(folder, "test", test, network.encoder, device=device)
        scores = judges[0].scores(features)
        also = [
            {
                "by": judge.name,
                **measure_accuracies(test, judge.scores(features).argmax(axis=1), data),
            }
            for judge in judges[1:]
        ]
        evaluation = {
            "format": FORMAT,
            **_identity(config, data, digest, judges[0]),
            "probe": judges[0].about,
            "validation": judges[0].validation,
            "also": also,
            "representation": _represent(config, network, data, folder, features, device),
            **measure(
                test,
                scores.argmax(axis=1),
                data.manifest["labels"],
                data.n_bias,
                seed=config.seed,
                has_bias=data.has_bias,
                knows_aligned=data.knows_aligned,
            ),
            "top5": measure_top5(test.labels, scores, seed=config.seed),
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

    ``data`` may lack its test split: it is not read. Of several processes (``biascon.parallel``) all train
    and the first measures.
    """
    config, _, folder = _prepare(config, data, root, device)
    with _held(folder, resume=resume):
        network = obtain(config, data, Place(root, device, resume), say)
        if not leads():
            return folder, None
        return folder, _judges(config, network, data, folder, device)[0].validation


@contextmanager
def _held(folder: Path, *, resume: bool) -> Iterator[None]:
    """Hold a run's folder, by the first process for all of them."""
    with runs.exclusive(folder) if leads() else nullcontext():
        if leads() and not resume:
            runs.forget(folder)
        wait()
        yield


def _prepare(
    config: RunConfig, data: BiasedDataset, root: Path, device: torch.device
) -> tuple[RunConfig, str, Path]:
    """Check a run before anything is written, and return it resolved, with its digest and folder."""
    check(config, data)
    config = config.for_device(device.type, ranks())
    if device.type == "cpu":
        torch.set_num_threads(config.train.threads)
    digest = config.digest(data.digest)
    return config, digest, runs.run_folder(root, data.name, config, digest)


@dataclass(frozen=True)
class Judge:
    """What turns features into scores, and so judges an encoder.

    Attributes:
        name: ``"linear probe"`` or ``"own classifier"``.
        text: What it is, for the protocol.
        scores: Features ``(N, D)`` to probabilities ``(N, K)``.
        about: How its solver ended, None if it was trained with the encoder.
        validation: Accuracies on the validation split, None where there is none or it was fitted there.
    """

    name: str
    text: str
    scores: Callable[[Array], Array]
    about: dict[str, Any] | None
    validation: dict[str, Any] | None


def _judges(
    config: RunConfig, network: Network, data: BiasedDataset, folder: Path, device: torch.device
) -> list[Judge]:
    """Return the linear probe and, where the method trains one, its own classifier; first who counts."""
    known = entry(config.loss)
    parts = {name: data.splits[name] for name in ("train", "val") if name in data.splits}
    features = {
        name: of_run(folder, name, split, network.encoder, device=device)
        for name, split in parts.items()
    }
    solver = f"C = {config.probe.c:g}, tolerance {config.probe.tolerance:g}"
    own: tuple[str, Callable[[Array], Array], LinearProbe | None] | None = None
    with threadpool_limits(config.train.threads):  # sums over threads differ in their last bits
        probe = fit(features["train"], parts["train"].labels, data.n_labels, config.probe)
        if (
            "held-out groups" in known.needs
        ):  # a dataset without validation was refused before training
            val = parts["val"]
            last = fit_balanced(
                features["val"], val.labels, val.bias, data.n_labels, config.probe, seed=config.seed
            )
            text = f"last layer fitted on group-balanced draws of the validation split ({solver})"
            own = (text, last.probabilities, last)
    if own is None and network.classifier is not None and known.tells == "labels":
        own = ("the classifier that the method trains", _softmax(network.classifier), None)

    def judge(
        name: str, text: str, scores: Callable[[Array], Array], solved: LinearProbe | None
    ) -> Judge:
        about = None if solved is None else {
            "iterations": solved.iterations, "converged": solved.converged,
        }  # fmt: skip
        seen = "held-out groups" in known.needs and name == "own classifier"
        if "val" not in parts or seen:
            return Judge(name, text, scores, about, None)
        told = scores(features["val"]).argmax(axis=1)
        found = measure_accuracies(parts["val"], told, data)
        return Judge(name, text, scores, about, found)

    text = f"linear probe on frozen features ({solver})"
    judges = [judge("linear probe", text, probe.probabilities, probe)]
    if own is not None:
        judges.append(judge("own classifier", *own))
    return judges[::-1] if known.judged == "classifier" else judges


def _represent(
    config: RunConfig,
    network: Network,
    data: BiasedDataset,
    folder: Path,
    features: Array,
    device: torch.device,
) -> dict[str, Any]:
    """Measure what the test features hold, with probes fitted on the held-out split where there is one."""
    fitted = None
    if "val" in data.splits:
        val = data.splits["val"]
        fitted = (of_run(folder, "val", val, network.encoder, device=device), val)
    with threadpool_limits(config.train.threads):
        return measure_representation(
            features,
            data.splits["test"],
            fitted=fitted,
            n_labels=data.n_labels,
            n_bias=data.n_bias if data.has_bias else None,
            config=config.probe,
        )


def _softmax(classifier: nn.Module) -> Callable[[Array], Array]:
    """Return what maps features to the probabilities of a linear classifier, on the CPU."""
    classifier = classifier.cpu()

    def scores(features: Array) -> Array:
        with torch.inference_mode():
            told: Array = classifier(torch.from_numpy(features)).softmax(dim=1).numpy()
        return told

    return scores


def _identity(config: RunConfig, data: BiasedDataset, digest: str, judge: Judge) -> dict[str, Any]:
    manifest = data.manifest
    plain = config.as_dict()
    recipe = {k: v for k, v in plain.items() if k not in ("loss", "seed", "parameters")}
    before = first_config(config)
    return {
        "dataset": data.name,
        "dataset_digest": data.digest,
        "source": manifest["source"]["origin"],
        "protocol": {
            **manifest["protocol"],
            "selection": "none: the last epoch",
            "evaluation": judge.text,
        },
        "loss": config.loss,
        "label": _label(config),
        "parameters": plain["parameters"],
        "judged": judge.name,
        "sees_bias": sees_bias(config.loss),
        "first": None if before is None else _before(before, data),
        **_shared(config, data),
        "preset": config.preset,
        "seed": config.seed,
        "digest": digest,
        "changes": config.changes(),
        "config": recipe,
        "recipe": digest_of({"config": recipe, "version": RECIPE_VERSION}),
        "encoder": config.model.encoder,
        "epochs": config.train.epochs_for(len(data.splits["train"])),
        "batch_size": config.train.batch_size,
        "labels": manifest["labels"],
        "bias": _bias(manifest["bias"]),
        "training": {
            "n": manifest["counts"]["train"]["n"],
            "cells": manifest["counts"]["train"]["cells"],
        },
    }


def _shared(config: RunConfig, data: BiasedDataset) -> dict[str, str]:
    """Return the digest of the run that trained the network, where that is another."""
    base = trained_on(config, data)
    return {} if base is data else {"network_of": config.digest(base.digest)}


def _bias(bias: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the name and values of the bias attribute, and, where it says so, what is aligned."""
    kept = ("name", "values", "aligned", "chosen", "of")
    return None if bias is None else {key: bias[key] for key in kept if key in bias}


def _before(config: RunConfig, data: BiasedDataset) -> dict[str, Any]:
    """What a reader must know of the network that a run builds on."""
    return {
        "loss": config.loss,
        "encoder": config.model.encoder,
        "epochs": config.train.epochs_for(len(data.splits["train"])),
        "digest": config.digest(trained_on(config, data).digest),
    }


def _label(config: RunConfig) -> str:
    """Return the loss's name, with the parameters that are not its defaults."""
    defaults = parameters_of(config.loss)
    changed = [f"{k}={v}" for k, v in config.parameters.items() if defaults.get(k, v) != v]
    return f"{config.loss} ({', '.join(changed)})" if changed else config.loss


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
