"""Numbers of a finished run, computed again from its predictions and its log.

A report does not believe ``evaluation.json``: hashes can be renewed by hand. The confusion counts, the
accuracies, the worst group, the comparisons of groups, the amplifications, the adjusted average accuracy, and
their numbers of rows are computed again from ``predictions.parquet``, by the functions that made them, and
must be equal. Not computed again: the intervals and p-values, the metrics of single classes, joint bias,
calibration, top-5 accuracy, the feature metrics, and the accuracies of validation images and of other
classifiers, whose predictions are not kept.
"""

from __future__ import annotations

import io
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from biascon.errors import RunError
from biascon.metrics.counts import count
from biascon.metrics.records import Metric
from biascon.metrics.summary import (
    ACCURACIES,
    AMPLIFICATIONS,
    COMPARISONS,
    measure_counts,
    measure_rate,
)
from biascon.metrics.weighted_averages import ADJUSTED_AVERAGE, measure_adjusted_average
from biascon.runs.cache import read_cached_json, write_cached_json
from biascon.runs.evaluation import Evaluation
from biascon.runs.folder import (
    CONFIG,
    ENVIRONMENT,
    EVALUATION,
    FINETUNE_LOG,
    METRICS_LOG,
    PREDICTIONS,
    read_seal,
)
from biascon.runs.records import EpochRecord
from biascon.utils.kinds import check_kinds
from biascon.utils.types import Array

# The same sums in another order, by another version of NumPy, differ by less.
TOLERANCE = 1e-9
CACHE = "recomputed.json"
CHECKS = 1  # of the checks of this file; another number makes a passed run be checked again
COLUMNS = ("label", "bias", "aligned", "prediction")


def check_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Compare the metrics of a run with its predictions, and read its logs.

    Args:
        folder: The run folder.
        evaluation: What ``evaluation.json`` states.

    Raises:
        RunError: A number does not follow from the predictions, or a file has another content.
    """
    try:
        predictions = _read_predictions(folder / PREDICTIONS)
        expected = _measure(evaluation, predictions)
    except Exception as error:  # damaged columns make the readers raise nearly anything
        raise RunError(
            f"{folder / PREDICTIONS} does not fit its evaluation ({type(error).__name__}); delete the folder"
        ) from error
    for name, value in expected.items():
        stated = evaluation.metric(name)
        if stated is not None and not _is_equal(stated, value):
            raise RunError(
                f"{folder} states {name} {_show(stated)}, but its predictions give {_show(value)}; "
                "delete the folder"
            )
    _check_settings(folder, evaluation)
    _check_environment(folder / ENVIRONMENT)
    for name in (METRICS_LOG, FINETUNE_LOG):
        _check_log(folder / name)


def check_evaluation_once(folder: Path, evaluation: Evaluation) -> None:
    """Call ``check_evaluation``, unless the cache of the run says that files with these hashes passed.

    Raises:
        RunError: A number does not follow from the predictions, or a file has another content.
    """
    seal = read_seal(folder)
    names = (EVALUATION, PREDICTIONS, CONFIG, ENVIRONMENT, METRICS_LOG, FINETUNE_LOG)
    passed = {"checks": CHECKS, **({} if seal is None else {n: seal.files.get(n) for n in names})}
    if seal is None or read_cached_json(folder, CACHE) != passed:
        check_evaluation(folder, evaluation)
        write_cached_json(folder, CACHE, passed)


def _read_predictions(path: Path) -> Mapping[str, Array]:
    import pyarrow.parquet as pq

    # One thread: the tables are small, and the caller may use several.
    table = pq.read_table(io.BytesIO(path.read_bytes()), columns=[*COLUMNS], use_threads=False)
    return {name: table[name].to_numpy() for name in COLUMNS}


def _measure(evaluation: Evaluation, predictions: Mapping[str, Array]) -> dict[str, Metric]:
    """Return the metrics that follow from the predictions, by name."""
    identity, labels = evaluation.identity, predictions["label"]
    top1 = measure_rate(predictions["prediction"] == labels)
    if identity.bias is None:
        if predictions["bias"].any():
            raise ValueError("bias values without a bias attribute")
        return {"top1": top1}
    shape = (len(identity.labels), len(identity.bias.values))
    table = count(
        labels,
        predictions["bias"],
        predictions["prediction"],
        n_labels=shape[0],
        n_bias=shape[1],
    )
    stated = evaluation.summary.counts
    if not np.array_equal(np.asarray(stated), table):
        raise ValueError("other counts")
    aligned = None
    if identity.bias.knows_aligned:
        aligned = np.zeros(shape, dtype=bool)
        rows = predictions["aligned"].astype(bool)
        aligned[labels[rows], predictions["bias"][rows]] = True
    positive = evaluation.summary.positive
    training = np.asarray(identity.training_cells)
    summary = measure_counts(
        table,
        identity.labels,
        aligned,
        seed=identity.seed,
        positive=positive,
        training=training,
        intervals=False,
    )
    metrics = {name: summary.metrics[name] for name in (*ACCURACIES, *AMPLIFICATIONS)}
    metrics[ADJUSTED_AVERAGE] = measure_adjusted_average(table, training)
    # Evaluations of early versions state the mean over classes for two labels too.
    comparisons = summary.metrics if positive is not None else summary.macro
    return metrics | {name: comparisons[name] for name in COMPARISONS} | {"top1": top1}


def _is_equal(stated: Metric, value: Metric) -> bool:
    if stated.value is None or value.value is None:
        return stated.value is None and value.value is None
    is_near = abs(float(stated.value) - value.value) <= TOLERANCE
    cells = {(None if m.cell is None else (m.cell.label, m.cell.bias)) for m in (stated, value)}
    return is_near and stated.n == value.n and len(cells) == 1


def _show(metric: Metric) -> str:
    value = "undefined" if metric.value is None else f"{metric.value:.6g}"
    return f"{value} (n = {metric.n})"


def _check_settings(folder: Path, evaluation: Evaluation) -> None:
    """Compare the loss and the seed of an evaluation with the settings of its run.

    Raises:
        RunError: They differ, or the settings are not those of a run.
    """
    path, identity = folder / CONFIG, evaluation.identity
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
        is_same = (settings["loss"], settings["seed"]) == (identity.loss, identity.seed)
    except (OSError, KeyError, ValueError, RecursionError) as error:
        raise RunError(f"{path} has no settings of a run; delete the folder") from error
    if not is_same:
        raise RunError(
            f"{folder} states {identity.loss} with seed {identity.seed}, but its settings are of another "
            "run; delete the folder"
        )


def _check_environment(path: Path) -> None:
    """Check that a report can state where a run was computed.

    Raises:
        RunError: A key is missing, or has a value of another kind.
    """
    try:
        environment = json.loads(path.read_bytes())
        texts = [environment[key] for key in ("device", "system", "biascon")]
        if not all(isinstance(text, str) for text in [*texts, environment["packages"]["torch"]]):
            raise TypeError("no text")
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is no record of an environment; delete the folder") from error


def _check_log(path: Path) -> None:
    """Read every line of a log of epochs, if there is one.

    Raises:
        RunError: A line is not the record of an epoch, or an epoch is missing.
    """
    if not path.is_file():
        return
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        epochs = [EpochRecord.from_json(json.loads(line)) for line in lines]
        if not epochs:
            raise ValueError("no epoch")
        for number, epoch in enumerate(epochs, 1):
            check_kinds(epoch)
            if epoch.epoch != number or epoch.epochs != len(epochs):
                raise ValueError("another epoch")
    except (OSError, AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise RunError(
            f"{path} does not have a record of every epoch; delete the folder"
        ) from error
