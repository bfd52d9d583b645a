"""From a finished run to its record in a study: metrics on validation and test, and seconds of training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from biascon.errors import BiasconError, RunError
from biascon.metrics import accuracy
from biascon.metrics.summary import ACCURACIES, COMPARISONS, finite_or_none
from biascon.runs.evaluation import Evaluation
from biascon.runs.finished import FinishedRun
from biascon.runs.folder import METRICS_LOG, stated_sha256
from biascon.runs.seals import Check
from biascon.studies.records import CellCounts, StudyRun
from biascon.utils.files import read_json
from biascon.utils.types import Array


def collect_run(planned: StudyRun, folder: Path, root: Path) -> StudyRun | None:
    """Return the record of a run with its metrics; None if the run is not finished.

    Args:
        planned: The record without metrics.
        folder: The run folder.
        root: The folder of runs, in which first-stage runs are found.

    Raises:
        RunError: The run folder is damaged, or has no validation counts.
    """
    run = FinishedRun.read(folder, planned.run, Check.REPORT)
    if run is None:
        return None
    evaluation = run.evaluation
    validation = evaluation.validation
    if validation is None or validation.counts is None:
        raise RunError(
            f"{folder} has no counts on the validation split; a study needs them: evaluate it again"
        )
    val_table = np.array(validation.counts)
    test_counts = evaluation.summary.counts
    if test_counts is None:
        raise RunError(f"{folder} has no counts on the test split")
    test_table = np.array(test_counts)
    val = {name: validation.values.get(name) for name in ACCURACIES}
    val |= {"worst_class": _worst_class(val_table, val_table.sum(axis=2))}
    val |= biased_metrics(val_table, np.array(evaluation.identity.training_cells))
    environment = read_json(folder / "environment.json")
    return replace(
        planned,
        seconds=_seconds(folder),
        first_stage_seconds=_first_stage_seconds(evaluation, root),
        threads=int(environment["threads"]),
        device=f"{environment['device']} {environment.get('accelerator', environment['vector'])}",
        val=val,
        test=_test_metrics(evaluation, test_table),
        val_cells=_cells(val_table),
        test_cells=_cells(test_table),
        evaluated_by=evaluation.identity.evaluated_by.value,
        uses_bias_labels=evaluation.identity.uses_bias_labels,
    )


def biased_metrics(table: Array, training: Array) -> dict[str, float | None]:
    """Return accuracies on validation images that are as biased as the training images, without such images.

    The accuracy of every cell is measured on the validation split, and weighted by the share of the cell
    among the training images. The expected value is that of a validation split as biased as the training
    split. Both metrics are None if a cell with training images has no validation image.

    Args:
        table: int ``(K, M, K)``: label x bias x prediction on the validation split.
        training: int ``(K, M)``: the training images of each cell.
    """
    names = ("biased_accuracy", "biased_worst_class")
    if (table.sum(axis=2) == 0)[training > 0].any() or training.sum() == 0:
        return dict.fromkeys(names)
    cells = np.nan_to_num(accuracy.cell_accuracy(table))  # (K, M)
    total = float((cells * training).sum() / training.sum())
    return dict(zip(names, (total, _worst(cells * training, training)), strict=True))


def _worst_class(table: Array, rows: Array) -> float | None:
    return _worst(accuracy.correct(table), rows)


def _worst(hits: Array, rows: Array) -> float | None:
    """Return the lowest accuracy of a class with rows, from ``(K, M)``."""
    n = rows.sum(axis=1)
    return float((hits.sum(axis=1)[n > 0] / n[n > 0]).min()) if (n > 0).any() else None


def _test_metrics(evaluation: Evaluation, table: Array) -> dict[str, float | None]:
    summary = evaluation.summary
    metrics: dict[str, float | None] = {
        name: summary[name].value for name in (*ACCURACIES, *COMPARISONS) if name in summary.metrics
    }
    metrics["worst_class"] = _worst_class(table, table.sum(axis=2))
    aligned, conflicting = metrics.get("bias_aligned"), metrics.get("bias_conflicting")
    metrics["gap"] = None if aligned is None or conflicting is None else aligned - conflicting
    calibration = evaluation.calibration
    metrics["ece"] = None if calibration is None else calibration.error.value
    metrics["brier"] = None if calibration is None else calibration.brier.value
    return {
        name: None if value is None else finite_or_none(value) for name, value in metrics.items()
    }


def _cells(table: Array) -> CellCounts:
    return CellCounts(accuracy.correct(table).tolist(), table.sum(axis=2).tolist())


def _seconds(folder: Path) -> float | None:
    """Return the seconds of training that the log of a run states, None without a log or if it is damaged.

    A first-stage network of an early version has no SHA-256 of its log.
    """
    try:
        content = (folder / METRICS_LOG).read_bytes()
        if stated_sha256(folder, METRICS_LOG) not in (None, hashlib.sha256(content).hexdigest()):
            return None
        records: Sequence[Mapping[str, float]] = [json.loads(line) for line in content.splitlines()]
        return round(sum(record["seconds"] for record in records), 3)
    except (BiasconError, OSError, ValueError, KeyError, TypeError):
        return None


def _first_stage_seconds(evaluation: Evaluation, root: Path) -> float | None:
    """Return the seconds of training of all first-stage networks, None if one of their logs is missing."""
    first_stage = evaluation.identity.first_stage
    if first_stage is None:
        return 0.0
    total = 0.0
    for digest in (first_stage.digest, *first_stage.others):
        folders = sorted(root.glob(f"*/*/seed*-{digest[:8]}"))
        seconds = _seconds(folders[0]) if folders else None
        if seconds is None:
            return None
        total += seconds
    return round(total, 3)
