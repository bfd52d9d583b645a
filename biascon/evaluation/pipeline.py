"""A run from its configuration to its evaluation: train, probe, predict, measure. Plain data out.

The training split trains the encoder and the probe; the validation split is for choosing between
recipes (``validate`` measures on it and reads nothing of the test split); the test split is read
once, after everything is fixed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from biascon.config.resolve import resolve_weights
from biascon.config.run_config import RunConfig
from biascon.data.dataset import BiasedDataset
from biascon.evaluation.features import two_view_features
from biascon.evaluation.measurements import (
    measure,
    measure_accuracies,
    measure_calibration,
    measure_top5,
)
from biascon.evaluation.protocols import Bench, fit_classifiers
from biascon.evaluation.record import _encoder_from, _identity, _parquet
from biascon.evaluation.representation import measure_representation
from biascon.evaluation.transfer import Source, copy_encoder
from biascon.runs.context import Place
from biascon.runs.folder import (
    EVALUATION,
    PREDICTIONS,
    UNFINISHED,
    delete_partial,
    lock_folder,
    mark_finished,
    read_finished,
    run_folder,
)
from biascon.training.checks import check_images, check_run
from biascon.training.stages import EpochCallback, TrainedNetwork, get_or_train
from biascon.utils.distributed import barrier, is_main_process, world_size
from biascon.utils.files import pretty_json, write_atomic

FORMAT = 1


def evaluate(
    config: RunConfig,
    data: BiasedDataset,
    *,
    root: Path = Path("runs"),
    device: torch.device,
    resume: bool = True,
    on_epoch: EpochCallback = lambda line: None,
    source: Source | None = None,
) -> tuple[Path, dict[str, Any], bool]:
    """Return a run's folder, its evaluation, and whether it was there already.

    What is missing is computed: a finished run is only read; one that was interrupted goes on from
    its last checkpoint. With several processes (``biascon.utils.distributed``) all of them train, the first
    one evaluates, and the others get an empty evaluation.

    Args:
        config: The run.
        data: With ``train`` and ``test``; ``val`` is measured too where it is there.
        root: The folder of runs.
        device: Where to compute.
        resume: Whether an interrupted run goes on from its last epoch, or starts anew.
        on_epoch: Called with each epoch's line of metrics.
        source: The run whose encoder is used instead of training one (``biascon.evaluation.transfer``).

    Raises:
        BiasconError: The folder is not writable, in use, or damaged; or training diverged.
    """
    config, digest, folder = _prepare(config, data, root, device, source)
    known = read_finished(folder, digest)
    if known is not None:
        return folder, known, True
    with _held(folder, resume=resume):
        if world_size() == 1:
            known = read_finished(folder, digest)  # by another command, in between
            if known is not None:
                return folder, known, True
        network = _network(config, data, Place(root, device, resume), on_epoch, source)
        if not is_main_process():
            return folder, {}, False
        bench = Bench(config, network, data, folder, device)
        found = fit_classifiers(bench, on_epoch)
        test = data.splits["test"]
        scores = found[0].predict_proba("test")
        also = [
            {
                "by": judge.name,
                **measure_accuracies(test, judge.predict_proba("test").argmax(axis=1), data),
            }
            for judge in found[1:]
        ]
        evaluation = {
            "format": FORMAT,
            **_identity(config, data, digest, found[0], source),
            "probe": found[0].fit_info,
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
            ).to_json(),
            "top5": measure_top5(test.labels, scores).to_json(),
            "calibration": measure_calibration(test, scores, data.n_bias),
        }
        write_atomic(folder / PREDICTIONS, _parquet(test, scores))
        write_atomic(folder / EVALUATION, pretty_json(evaluation))
        mark_finished(folder, digest)
        for name in UNFINISHED:
            (folder / name).unlink(missing_ok=True)
    return folder, evaluation, False


def validate(
    config: RunConfig,
    data: BiasedDataset,
    *,
    root: Path = Path("runs"),
    device: torch.device,
    resume: bool = True,
    on_epoch: EpochCallback = lambda line: None,
) -> tuple[Path, dict[str, Any] | None]:
    """Train what is missing, and return the run's folder and its accuracies on validation, if any.

    ``data`` may lack its test split: it is not read. With several processes
    (``biascon.utils.distributed``) all of them train and the first one measures.
    """
    config, _, folder = _prepare(config, data, root, device)
    with _held(folder, resume=resume):
        network = get_or_train(config, data, Place(root, device, resume), on_epoch)
        if not is_main_process():
            return folder, None
        return folder, fit_classifiers(Bench(config, network, data, folder, device), on_epoch)[
            0
        ].validation


@contextmanager
def _held(folder: Path, *, resume: bool) -> Iterator[None]:
    """Hold a run's folder, by the first process for all of them."""
    with lock_folder(folder) if is_main_process() else nullcontext():
        if is_main_process() and not resume:
            delete_partial(folder)
        barrier()
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
        check_run(config, data)
        config = resolve_weights(config).for_device(device.type, world_size())
    else:
        check_images(config, data)
    if device.type == "cpu":
        torch.set_num_threads(config.train.threads)
    digest = config.digest(data.digest)
    return config, digest, run_folder(root, data.name, config, digest)


def _network(
    config: RunConfig,
    data: BiasedDataset,
    place: Place,
    on_epoch: EpochCallback,
    source: Source | None,
) -> TrainedNetwork:
    if source is None:
        return get_or_train(config, data, place, on_epoch)
    folder = place.folder(config, data)
    if is_main_process():
        network = copy_encoder(source, config, data, folder, place.device)
    barrier()
    return (
        network if is_main_process() else copy_encoder(source, config, data, folder, place.device)
    )


def _represent(bench: Bench) -> dict[str, Any]:
    """Measure what the test features hold, with probes fitted on the held-out split where there is one."""
    config, data = bench.config, bench.data
    fitted = (bench.features("val"), data.splits["val"]) if "val" in data.splits else None
    test = data.splits["test"]
    views = two_view_features(
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
