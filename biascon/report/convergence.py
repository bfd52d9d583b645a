"""How fast a loss learns: validation accuracy by epoch, of a linear probe or of fine-tuning.

A run is followed with ``--set train.probe_every=1``: after each epoch a probe is fitted on the training split
and measured on validation, and the line of ``metrics.jsonl`` has it. Fine-tuning is always followed: each
line of ``finetune.jsonl`` has accuracies on validation. Both have top-1, and top-5 of more than five classes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from biascon.report.experiments import Experiment, FinishedRun
from biascon.runs.folder import FINETUNE_LOG


@dataclass(frozen=True)
class Point:
    """After an epoch: its number, the seconds so far, and the accuracy (``Run.headline``, if no other)."""

    epoch: int
    seconds: float
    accuracy: float


def is_tuned(run: FinishedRun) -> bool:
    """Whether a run is judged by fine-tuning, so that its curve is that of fine-tuning."""
    return run.judge == "fine-tuning"


def validation_curve(run: FinishedRun, metric: str | None = None) -> list[Point]:
    """Return the points of a run, none where it was not followed.

    Args:
        run: Its curve is that of fine-tuning where that judged, else of the probe while the encoder trained.
        metric: Of validation: ``top1``, ``top5``, ``unbiased``, ...; None is the run's headline.
    """
    name, key = (FINETUNE_LOG, "validation") if is_tuned(run) else ("metrics.jsonl", "probe")
    path = run.folder / name
    if not path.is_file():
        return []
    points, seconds = [], 0.0
    for line in path.read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        seconds += told["seconds"]
        value = told.get(key, {}).get(metric or run.headline)
        if value is not None:
            points.append(Point(told["epoch"], seconds, value))
    return points


def epochs_to_reach(points: Sequence[Point], accuracy: float) -> Point | None:
    """Return the first point with at least an accuracy, None where it is never reached.

    >>> reached([Point(1, 9.0, 0.5), Point(2, 18.0, 0.8)], 0.7)
    Point(epoch=2, seconds=18.0, accuracy=0.8)
    """
    return next((point for point in points if point.accuracy >= accuracy), None)


def validation_curves(group: Experiment) -> dict[str, list[list[Point]]]:
    """Return the curves of the followed runs of each loss."""
    found = {label: [validation_curve(run) for run in runs] for label, runs in group.losses.items()}
    return {label: [c for c in each if c] for label, each in found.items() if any(each)}


def convergence_speeds(group: Experiment) -> list[tuple[str, str]]:
    """Say of each followed loss after how many epochs and seconds it was where the last one to get there was.

    The accuracy is the highest that every followed run reaches at all, in whole percent, rounded down.
    """
    found = validation_curves(group)
    if not found:
        return []
    ends = [max(p.accuracy for p in one) for each in found.values() for one in each]
    goal = int(100 * min(ends)) / 100
    rows = []
    for label, each in found.items():
        there = [
            point for point in (epochs_to_reach(one, goal) for one in each) if point is not None
        ]
        epochs = sum(point.epoch for point in there) / len(there)
        seconds = sum(point.seconds for point in there) / len(there)
        rows.append((label, f"{100 * goal:.0f} % after {epochs:.3g} epochs, {seconds:.0f} s"))
    return rows
