"""A run from its configuration to its evaluation: train, probe, predict, measure. Plain data out.

The training split trains the encoder and the probe; the validation split is for choosing between
recipes (``validate`` measures on it and reads nothing of the test split); the test split is read
once, after everything is fixed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits

from biascon import runs, weights
from biascon.config import RECIPE_VERSION, Origin, RunConfig
from biascon.data.dataset import BiasedDataset, Split
from biascon.errors import UsageError
from biascon.features import of_two_views
from biascon.files import digest_of, pretty_json, sha256_file, write_atomic
from biascon.judges import Bench, Judge, judges
from biascon.losses import parameters_of, sees_bias
from biascon.losses.distributed import ranks
from biascon.measures import measure, measure_accuracies, measure_calibration, measure_top5
from biascon.parallel import leads, wait
from biascon.represent import measure_representation
from biascon.stages import Network, Place, Say, first_config, obtain, trained_on
from biascon.train import check, check_images
from biascon.transfer import Source, adopt

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
    source: Source | None = None,
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
        source: The run that the encoder is taken from, in place of training it (``biascon.transfer``).

    Raises:
        BiasconError: The folder is not writable, in use, or damaged; or training diverged.
    """
    config, digest, folder = _prepare(config, data, root, device, source)
    known = runs.finished(folder, digest)
    if known is not None:
        return folder, known, True
    with _held(folder, resume=resume):
        if ranks() == 1:
            known = runs.finished(folder, digest)  # by another command, in between
            if known is not None:
                return folder, known, True
        network = _network(config, data, Place(root, device, resume), say, source)
        if not leads():
            return folder, {}, False
        bench = Bench(config, network, data, folder, device)
        found = judges(bench, say)
        test = data.splits["test"]
        scores = found[0].scores("test")
        also = [
            {
                "by": judge.name,
                **measure_accuracies(test, judge.scores("test").argmax(axis=1), data),
            }
            for judge in found[1:]
        ]
        evaluation = {
            "format": FORMAT,
            **_identity(config, data, digest, found[0], source),
            "probe": found[0].about,
            "validation": found[0].validation,
            "also": also,
            **_encoder_from(config, data, folder),
            "representation": _represent(bench),
            **measure(
                test,
                scores.argmax(axis=1),
                data.manifest["labels"],
                data.n_bias,
                seed=config.seed,
                training=np.array(data.manifest["counts"]["train"]["cells"]),
                has_bias=data.has_bias,
                knows_aligned=data.knows_aligned,
            ),
            "top5": measure_top5(test.labels, scores),
            "calibration": measure_calibration(test, scores, data.n_bias),
        }
        write_atomic(folder / runs.PREDICTIONS, _parquet(test, scores))
        write_atomic(folder / runs.EVALUATION, pretty_json(evaluation))
        runs.seal(folder, digest)
        for name in runs.UNFINISHED:
            (folder / name).unlink(missing_ok=True)
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
        return folder, judges(Bench(config, network, data, folder, device), say)[0].validation


@contextmanager
def _held(folder: Path, *, resume: bool) -> Iterator[None]:
    """Hold a run's folder, by the first process for all of them."""
    with runs.exclusive(folder) if leads() else nullcontext():
        if leads() and not resume:
            runs.forget(folder)
        wait()
        yield


def _prepare(
    config: RunConfig,
    data: BiasedDataset,
    root: Path,
    device: torch.device,
    source: Source | None = None,
) -> tuple[RunConfig, str, Path]:
    """Check a run before anything is written, and return it resolved, with its digest and folder."""
    if source is None:
        check(config, data)
        config = weights.resolved(config).for_device(device.type, ranks())
    else:
        check_images(config, data)
    if device.type == "cpu":
        torch.set_num_threads(config.train.threads)
    digest = config.digest(data.digest)
    return config, digest, runs.run_folder(root, data.name, config, digest)


def _network(
    config: RunConfig, data: BiasedDataset, place: Place, say: Say, source: Source | None
) -> Network:
    if source is None:
        return obtain(config, data, place, say)
    folder = place.folder(config, data)
    if leads():
        network = adopt(source, config, data, folder, place.device)
    wait()
    return network if leads() else adopt(source, config, data, folder, place.device)


def _represent(bench: Bench) -> dict[str, Any]:
    """Measure what the test features hold, with probes fitted on the held-out split where there is one."""
    config, data = bench.config, bench.data
    fitted = (bench.features("val"), data.splits["val"]) if "val" in data.splits else None
    test = data.splits["test"]
    views = of_two_views(
        bench.network.encoder, test.images, config.augment, seed=config.seed, device=bench.device
    )
    with threadpool_limits(config.train.threads):
        return measure_representation(
            bench.features("test"),
            test,
            fitted=fitted,
            n_labels=data.n_labels,
            n_bias=data.n_bias if data.has_bias else None,
            config=config.probe,
            views=views,
        )


def _encoder_from(config: RunConfig, data: BiasedDataset, folder: Path) -> dict[str, Any]:
    """Say which run trained the encoder, where it is not this one."""
    if config.origin is None and config.probe.kind == "linear":
        return {}
    base = trained_on(config, data)
    own = Origin(config.trained().digest(base.digest), base.name, base.digest)
    origin = config.origin or own
    where = f"{origin.dataset}/{config.loss}/seed{config.seed}-{origin.digest[:8]}"
    return {
        "encoder_from": {
            "run": where,
            "dataset": origin.dataset,
            "dataset_digest": origin.dataset_digest,
            "digest": origin.digest,
            "sha256": sha256_file(folder / runs.ENCODER),
        }
    }


def _identity(
    config: RunConfig, data: BiasedDataset, digest: str, judge: Judge, source: Source | None
) -> dict[str, Any]:
    manifest = data.manifest
    plain = config.as_dict()
    recipe = {k: v for k, v in plain.items() if k not in ("loss", "seed", "parameters")}
    before = first_config(config)
    first = None if before is None else _before(before, data)
    epochs = config.train.epochs_for(len(data.splits["train"]))
    if config.origin is not None and source is not None:
        first, epochs = source.evaluation["first"], source.evaluation["epochs"]
        recipe["origin"] = {k: v for k, v in recipe["origin"].items() if k != "digest"}
    return {
        "dataset": data.name,
        "dataset_digest": data.digest,
        "source": manifest["source"]["origin"],
        "protocol": {
            **manifest["protocol"],
            "selection": "none: the last epoch",
            "evaluation": judge.text + _elsewhere(config),
        },
        "loss": config.loss,
        "label": _label(config),
        "parameters": plain["parameters"],
        "judged": judge.name,
        "sees_bias": sees_bias(config.loss),
        "first": first,
        **_shared(config, data),
        "preset": config.preset,
        "seed": config.seed,
        "digest": digest,
        "changes": config.changes(),
        "config": recipe,
        "recipe": digest_of({"config": recipe, "version": RECIPE_VERSION}),
        "encoder": config.model.encoder,
        "epochs": epochs,
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
    if base is data or config.origin is not None:
        return {}
    return {"network_of": config.trained().digest(base.digest)}


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


def _elsewhere(config: RunConfig) -> str:
    return "" if config.origin is None else f"; encoder trained on {config.origin.dataset}"


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
