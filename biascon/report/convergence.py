"""Convergence: validation accuracy by epoch, of a linear probe or of fine-tuning.

With ``--set train.probe_every=1`` a linear probe is fitted on the training split after each epoch and
evaluated on the validation split; the accuracies are in ``metrics.jsonl``. Fine-tuning always writes its
validation accuracies to ``finetune.jsonl``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from biascon.report.experiments import Experiment
from biascon.runs.finished import FinishedRun
from biascon.runs.folder import FINETUNE_LOG, METRICS_LOG
from biascon.runs.records import Classifier, EpochRecord


@dataclass(frozen=True)
class Point:
    """The validation accuracy after an epoch.

    Attributes:
        epoch: The number of the epoch, from 1.
        seconds: The duration of the training so far.
        accuracy: The accuracy, a share.
    """

    epoch: int
    seconds: float
    accuracy: float


def is_fine_tuned(run: FinishedRun) -> bool:
    """Whether the run is evaluated by fine-tuning: its curve is then that of fine-tuning."""
    return run.evaluated_by is Classifier.FINE_TUNED


def validation_curve(run: FinishedRun, metric: str | None = None) -> list[Point]:
    """Return the validation accuracy of a run by epoch; empty if it was not recorded.

    Args:
        run: The run. With fine-tuning, the curve is over the epochs of fine-tuning; otherwise it is that of
            the linear probe over the epochs of the encoder.
        metric: The accuracy: ``top1``, ``top5``, ``unbiased``, ...; None is the headline accuracy of the run.
    """
    fine_tuned = is_fine_tuned(run)
    path = run.folder / (FINETUNE_LOG if fine_tuned else METRICS_LOG)
    if not path.is_file():
        return []
    points, seconds = [], 0.0
    for line in path.read_text(encoding="utf-8").splitlines():
        record = EpochRecord.from_json(json.loads(line))
        seconds += record.seconds
        accuracies = record.validation if fine_tuned else record.probe
        value = None if accuracies is None else accuracies.values.get(metric or run.headline)
        if value is not None:
            points.append(Point(record.epoch, seconds, value))
    return points


def epochs_to_reach(points: Sequence[Point], accuracy: float) -> Point | None:
    """Return the first point with at least this accuracy, None if the accuracy is never reached.

    >>> epochs_to_reach([Point(1, 9.0, 0.5), Point(2, 18.0, 0.8)], 0.7)
    Point(epoch=2, seconds=18.0, accuracy=0.8)
    """
    return next((point for point in points if point.accuracy >= accuracy), None)


def validation_curves(experiment: Experiment) -> dict[str, list[list[Point]]]:
    """Return the curves of each loss, without runs and losses that have no recorded curve."""
    curves = {
        label: [curve for curve in map(validation_curve, runs) if curve]
        for label, runs in experiment.losses.items()
    }
    return {label: curves_of_loss for label, curves_of_loss in curves.items() if curves_of_loss}


def convergence_speeds(experiment: Experiment) -> list[tuple[str, str]]:
    """For each loss, return its epochs and seconds to the accuracy that every run reaches, as text.

    That accuracy is the smallest of the best accuracies of the runs, in whole percent, rounded down. Epochs
    and seconds are means over seeds.
    """
    curves = validation_curves(experiment)
    if not curves:
        return []
    best = [max(point.accuracy for point in curve) for each in curves.values() for curve in each]
    goal = int(100 * min(best)) / 100
    rows = []
    for label, curves_of_loss in curves.items():
        reached = [epochs_to_reach(curve, goal) for curve in curves_of_loss]
        points = [point for point in reached if point is not None]
        epochs = sum(point.epoch for point in points) / len(points)
        seconds = sum(point.seconds for point in points) / len(points)
        rows.append((label, f"{100 * goal:.0f} % after {epochs:.3g} epochs, {seconds:.0f} s"))
    return rows
