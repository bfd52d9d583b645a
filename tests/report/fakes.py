"""Made-up runs for the tests of the report: no training, no files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from biascon.metrics.records import Metric, MetricSummary
from biascon.report import tables
from biascon.report.experiments import METRICS, Experiment, group_runs
from biascon.report.html import render_html
from biascon.runs.evaluation import (
    FEATURE_METRICS,
    Evaluation,
    FeatureMetrics,
    OtherClassifier,
    SimilarityHistogram,
)
from biascon.runs.finished import FinishedRun
from biascon.runs.identity import BiasRecord, ProtocolRecord, RunIdentity
from biascon.runs.records import Accuracies, Classifier

NO_FOLDER = Path("nowhere")
PROTOCOL = ProtocolRecord("rho 0.5", "none", "100 % made_up", "none", "linear probe")


def bmnist(rho: float, source_kind: str = "mnist", **parameters: Any) -> dict[str, Any]:
    """The identity of a BiasedMNIST with this rho, as changes of ``made_up``."""
    return {
        "dataset": f"{source_kind.replace('mnist', 'bmnist')}-{rho}",
        "dataset_digest": f"{rho}".replace(".", "").ljust(64, "d"),
        "builder": "bmnist",
        "source_kind": source_kind,
        "dataset_parameters": {"rho": rho, **parameters},
    }


def made_up(loss: str, seed: int, accuracy: float | None, **changes: Any) -> FinishedRun:
    """A run in which every metric has the same value.

    Args:
        loss: The loss.
        seed: The seed.
        accuracy: The value of every metric.
        changes: Fields of ``RunIdentity``, ``MetricSummary`` or ``Evaluation``.
            ``metrics`` are added to the others.
    """
    limits = (None, None) if accuracy is None else (0.1, 0.9)
    metrics = {name: Metric(accuracy, 1000, *limits) for name in METRICS}
    metrics["worst_group"] = Metric(accuracy, 17, *limits)
    metrics |= changes.pop("metrics", {})
    summary = MetricSummary(metrics, {}, None, [[[5, 1], [1, 1]], [[0, 2], [2, 4]]])
    evaluation = Evaluation(
        identity=_identity(loss, seed),
        protocol=PROTOCOL,
        fit_info=None,
        validation=None,
        other_classifiers=[],
        encoder_from=None,
        features=_features(accuracy),
        summary=summary,
    )
    parts = [evaluation.identity, summary, evaluation]
    names = [{field.name for field in dataclasses.fields(part)} for part in parts]
    unknown = set(changes) - set().union(*names)
    assert not unknown, f"no field {unknown}"
    identity, summary, evaluation = (
        dataclasses.replace(part, **{k: v for k, v in changes.items() if k in fields})
        for part, fields in zip(parts, names, strict=True)
    )
    return FinishedRun(
        NO_FOLDER, dataclasses.replace(evaluation, identity=identity, summary=summary)
    )


def _identity(loss: str, seed: int) -> RunIdentity:
    return RunIdentity(
        **bmnist(0.5),
        source="made up",
        loss=loss,
        label=loss,
        parameters={"temperature": 0.1},
        evaluated_by=Classifier.LINEAR_PROBE,
        uses_bias_labels=False,
        first_stage=None,
        trained_in_run=None,
        preset="smoke",
        seed=seed,
        digest=f"{loss}{seed}".ljust(64, "0"),
        overrides={},
        config={
            "augment": {"grayscale_p": 0.2},
            "optimizer": {"lr": 0.1},
            "train": {"epochs": 2},
        },
        recipe="r" * 64,
        encoder="fastconvnet",
        epochs=2,
        batch_size=64,
        labels=["0", "1"],
        bias=BiasRecord("colour", ["red", "green"]),
        training_n=101,
        training_cells=[[60, 0], [1, 40]],
    )


def _features(accuracy: float | None) -> FeatureMetrics:
    metrics = {name: Metric(0.25, 1000) for name in FEATURE_METRICS}
    metrics["label_readout"] = Metric(accuracy, 1000)
    histogram = SimilarityHistogram(10, 0.1, 0.2, [0, 4, 6, 0])
    kinds = ("same_bias", "other_bias", "negative")
    return FeatureMetrics(50, 0, metrics, dict.fromkeys(kinds, histogram))


def with_own_classifier(loss: str, seed: int, accuracy: float) -> FinishedRun:
    """A run of a method that uses bias labels and is evaluated by its own classifier."""
    probe = OtherClassifier(Classifier.LINEAR_PROBE, Accuracies(1000, {"unbiased": accuracy - 0.2}))
    return made_up(
        loss,
        seed,
        accuracy,
        uses_bias_labels=True,
        evaluated_by=Classifier.OWN,
        other_classifiers=[probe],
        protocol=dataclasses.replace(PROTOCOL, evaluation="the method's classifier"),
    )


def in_folder(run: FinishedRun, folder: Path, **changes: Any) -> FinishedRun:
    """The same run with another folder and another identity."""
    evaluation = run.evaluation
    identity = dataclasses.replace(evaluation.identity, **changes)
    return FinishedRun(folder, dataclasses.replace(evaluation, identity=identity))


def one_experiment(*runs: FinishedRun) -> Experiment:
    """The experiment of runs that belong to a single one."""
    (experiment,) = group_runs(runs)
    return experiment


def without_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up runs have no folder that states what machine they ran on."""
    monkeypatch.setattr(tables, "describe_machines", lambda experiment: "cpu, torch 2")


def page_of(*runs: FinishedRun, monkeypatch: pytest.MonkeyPatch) -> str:
    """The HTML report of made-up runs."""
    without_machines(monkeypatch)
    return render_html(group_runs(runs))


# ConTeX is clearly better than SupCon, on every seed.
CLEAR = [made_up("supcon", s, 0.50 + 0.01 * s) for s in range(3)] + [
    made_up("contex", s, 0.60 + 0.011 * s) for s in range(3)
]
