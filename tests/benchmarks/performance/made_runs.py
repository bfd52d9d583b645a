"""Run folders made from a few trained runs: other losses, seeds and datasets, with consistent seals.

Predictions are perturbed, and every value that follows from them is computed again. Intervals and permutation
tests are those of the trained run: they cost a second a run, and a report only copies them. Features and
encoders are links to the files of the trained run, so that a thousand runs need little room.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from biascon.config.factory import make_config
from biascon.config.settings import to_toml
from biascon.data.builders.biased_mnist import BiasedMNISTSpec, make_biased_mnist
from biascon.data.dataset import load
from biascon.evaluation.pipeline import evaluate
from biascon.losses.loss import uses_bias_labels
from biascon.metrics.counts import count
from biascon.metrics.records import Metric
from biascon.metrics.summary import measure_counts
from biascon.runs.evaluation import Evaluation
from biascon.runs.finished import FinishedRun
from biascon.runs.folder import DONE, EVALUATION, PREDICTIONS, run_folder
from biascon.utils.files import pretty_json, read_json
from biascon.utils.types import Array

LOSSES = (
    "supcon", "contex", "contex-clip", "ce", "simclr", "softcon", "fairkl", "flac", "end", "groupdro",
)  # fmt: skip
CHANGED = 0.06  # share of the predictions that differ from those of the trained run


def train_templates(root: Path) -> list[FinishedRun]:
    """Train one run of each of two losses, and return the runs."""
    folder = make_biased_mnist(BiasedMNISTSpec(0.99), root=root / "data").folder
    data, runs = load(folder), []
    for loss in ("supcon", "contex"):
        config = make_config(loss, preset="smoke", settings=["train.threads=1"])
        done = evaluate(config, data, root=root / "trained", device=torch.device("cpu"))
        assert done.evaluation is not None
        runs.append(FinishedRun(done.folder, done.evaluation))
    return runs


def make_runs(
    root: Path,
    templates: Sequence[FinishedRun],
    *,
    losses: Sequence[str],
    seeds: int,
    datasets: int,
    features: bool = True,
) -> list[Path]:
    """Write finished runs of all losses x seeds x datasets, and return their folders.

    Args:
        root: The folder of runs.
        templates: Trained runs; the losses take turns in using them.
        losses: The names of the losses.
        seeds: The number of seeds.
        datasets: The number of datasets: BiasedMNISTs that differ in rho.
        features: Whether the runs have features.
    """
    frames = [pq.read_table(run.folder / PREDICTIONS) for run in templates]
    digests = [read_json(run.folder / DONE)["files"] for run in templates]
    folders = []
    for d in range(datasets):
        for k, loss in enumerate(losses):
            turn = k % len(templates)
            for seed in range(seeds):
                rng = np.random.default_rng((d, k, seed))
                folders.append(
                    _make_run(
                        root, templates[turn], frames[turn], digests[turn], loss, seed,
                        round(0.99 - 0.01 * d, 3), rng, features=features,
                    )
                )  # fmt: skip
    return folders


def _make_run(
    root: Path,
    template: FinishedRun,
    frame: pa.Table,
    digests: Mapping[str, str],
    loss: str,
    seed: int,
    rho: float,
    rng: np.random.Generator,
    *,
    features: bool,
) -> Path:
    """Write one run, and return its folder."""
    config = make_config(loss, seed=seed, preset="smoke")
    dataset = f"bmnist-{rho}"
    digest = hashlib.sha256(f"{dataset} {loss} {seed}".encode()).hexdigest()
    folder = run_folder(root, dataset, config, digest)
    folder.mkdir(parents=True)
    predictions = _perturb(frame, rng)
    evaluation = _evaluation(template.evaluation, predictions, loss, seed, rho, digest)
    buffer = io.BytesIO()
    pq.write_table(predictions, buffer, compression="zstd")
    own = {
        "config.toml": to_toml(config.as_dict()).encode(),
        EVALUATION: pretty_json(evaluation.to_json()).encode(),
        PREDICTIONS: buffer.getvalue(),
    }
    files: dict[str, str] = {}
    for name, sha256 in digests.items():
        if name in own:
            (folder / name).write_bytes(own[name])
            files[name] = hashlib.sha256(own[name]).hexdigest()
        elif features or not name.startswith("features-"):
            _link(template.folder / name, folder / name)
            files[name] = sha256
    (folder / DONE).write_text(pretty_json({"digest": digest, "files": files}), "utf-8")
    return folder


def _link(source: Path, target: Path) -> None:
    """Link large files; copy what is small, or what cannot be linked."""
    if source.stat().st_size > 1 << 16:
        try:
            os.link(source, target)
        except OSError:
            pass
        else:
            return
    shutil.copyfile(source, target)


def _perturb(frame: pa.Table, rng: np.random.Generator) -> pa.Table:
    """Return predictions of which some differ: the score of the old and of the new label are exchanged."""
    columns = {name: frame[name].to_numpy().copy() for name in frame.column_names}
    scores = np.stack([values for name, values in columns.items() if name.startswith("score_")], 1)
    n, n_labels = scores.shape
    rows = rng.choice(n, round(CHANGED * n), replace=False)
    old = columns["prediction"][rows]
    new = np.where(
        rng.random(len(rows)) < 0.5, columns["label"][rows], rng.integers(0, n_labels, len(rows))
    )
    scores[rows, old], scores[rows, new] = scores[rows, new], scores[rows, old]
    columns["prediction"][rows] = new
    columns |= {f"score_{k}": scores[:, k] for k in range(n_labels)}
    return pa.table(columns)


def _evaluation(
    trained: Evaluation, predictions: pa.Table, loss: str, seed: int, rho: float, digest: str
) -> Evaluation:
    """Return the evaluation of a made run; its values are those of its predictions."""
    identity, bias = trained.identity, trained.identity.bias
    assert bias is not None
    label, group, prediction, aligned = (
        predictions[name].to_numpy() for name in ("label", "bias", "prediction", "aligned")
    )
    shape = {"n_labels": len(identity.labels), "n_bias": len(bias.values)}
    table = count(label, group, prediction, **shape)
    cells: Array = np.zeros(table.shape[:2], dtype=bool)
    cells[label[aligned], group[aligned]] = True
    measured = measure_counts(
        table,
        identity.labels,
        cells,
        seed=seed,
        training=np.asarray(identity.training_cells),
        intervals=False,
    )
    old = trained.summary
    summary = dataclasses.replace(
        measured,
        metrics=_with_intervals(measured.metrics, old.metrics),
        by_class={
            name: _with_intervals(metrics, old.by_class[name])
            for name, metrics in measured.by_class.items()
        },
        disparity=old.disparity,
    )
    dataset = f"bmnist-{rho}"
    new = dataclasses.replace(
        identity,
        dataset=dataset,
        dataset_digest=hashlib.sha256(dataset.encode()).hexdigest(),
        dataset_parameters={**identity.dataset_parameters, "rho": rho},
        loss=loss,
        label=loss,
        parameters=make_config(loss).parameters,
        uses_bias_labels=uses_bias_labels(loss),
        seed=seed,
        digest=digest,
    )
    return dataclasses.replace(trained, identity=new, summary=summary)


def _with_intervals(
    measured: Mapping[str, Metric], trained: Mapping[str, Metric]
) -> dict[str, Metric]:
    """Return metrics with the intervals of the trained run."""
    return {
        name: dataclasses.replace(metric, low=trained[name].low, high=trained[name].high)
        for name, metric in measured.items()
    }
