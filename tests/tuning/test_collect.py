"""From finished runs to their records: metrics of both splits, biased validation, views, seconds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from biascon.data import dataset
from biascon.data.builders import biased_mnist
from biascon.data.builders.biased_mnist import BiasedMNISTSpec
from biascon.data.builders.mnist_source import Digits
from biascon.data.dataset import load, view_by_attributes
from biascon.errors import RunError
from biascon.evaluation.pipeline import evaluate
from biascon.runs.evaluation import Evaluation
from biascon.runs.folder import read_finished
from biascon.studies.records import StudyRun
from biascon.studies.table import read_table
from biascon.sweep.grid import Job
from biascon.sweep.runner import Result
from biascon.tuning import collect
from biascon.tuning.collect import biased_metrics, collect_run
from biascon.tuning.run import TABLE
from tests.small_datasets import write_faces
from tests.tuning.fake_studies import FakePool, make_session, make_spec


class InProcessPool(FakePool):
    """A pool that evaluates every run in this process."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root

    def run(self, jobs: Sequence[Job]) -> Iterator[Result]:
        for job in jobs:
            data = load(job.data)
            data = view_by_attributes(data, [job.bias]) if job.bias else data
            evaluate(
                job.config, data, root=self.root, device=torch.device("cpu"), keep_features=False
            )
            yield Result(job, "done", 1, 1.0, exit_code=0)


def naive_biased_metrics(table: np.ndarray, training: np.ndarray) -> tuple[float, float]:
    """The accuracies of a copy of each validation image for every training image of its cell."""
    hits, total = np.zeros(len(table)), np.zeros(len(table))
    for label in range(table.shape[0]):
        for bias in range(table.shape[1]):
            n, count = int(training[label, bias]), int(table[label, bias].sum())
            if n == 0:
                continue
            hits[label] += n * int(table[label, bias, label]) / count
            total[label] += n
    classes = [h / n for h, n in zip(hits, total, strict=True) if n]
    return float(hits.sum() / total.sum()), min(classes)


@pytest.mark.parametrize("seed", range(5))
def test_biased_metrics_equal_a_loop_over_cells(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = rng.integers(1, 9, (3, 4, 3))
    training = rng.integers(0, 50, (3, 4)) * rng.integers(0, 2, (3, 4))
    table[training == 0] *= rng.integers(0, 2)  # cells without training images may be empty
    accuracy, worst = naive_biased_metrics(table, training)
    metrics = biased_metrics(table, training)
    assert metrics["biased_accuracy"] == pytest.approx(accuracy, rel=1e-12)
    assert metrics["biased_worst_class"] == pytest.approx(worst, rel=1e-12)


def test_biased_metrics_without_images_of_a_training_cell_are_undefined() -> None:
    table, training = np.ones((2, 2, 2), int), np.array([[3, 1], [0, 4]])
    assert None not in biased_metrics(table, training).values()
    table[0, 1] = 0
    assert set(biased_metrics(table, training).values()) == {None}
    assert set(biased_metrics(table, np.zeros((2, 2), int)).values()) == {None}
    table = np.ones((2, 2, 2), int)
    table[1, 0] = 0  # without training images, no validation image is needed
    assert None not in biased_metrics(table, training).values()


def test_biased_metrics_are_those_of_a_split_that_is_as_biased_as_training(digits: Digits) -> None:
    """A classifier with a fixed accuracy in every cell has, on a biased split, the same expectation."""
    splits = {
        protocol: biased_mnist.build_splits(digits, BiasedMNISTSpec(0.9, val_protocol=protocol))
        for protocol in ("held-out", "biased")
    }
    for name in ("train", "test"):
        one, other = (split[name] for split in splits.values())
        for key, values in one.arrays().items():
            np.testing.assert_array_equal(values, other.arrays()[key])
    one, other = (split["val"] for split in splits.values())
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.index, other.index)
    assert not np.array_equal(one.bias, other.bias)
    is_right = np.where(np.eye(10, dtype=bool), 0.8, 0.3)  # by color, as a biased classifier

    def count_cells(split: dataset.Split) -> np.ndarray:
        cells = np.zeros((10, 10))
        np.add.at(cells, (split.labels, split.bias), 1)
        return cells

    biased = count_cells(other)
    expected = float((biased * is_right).sum() / biased.sum())
    table = np.zeros((10, 10, 10))
    for label in range(10):
        table[label, :, label] = 10 * is_right[label]
        table[label, :, (label + 1) % 10] = 10 - 10 * is_right[label]
    training = count_cells(splits["held-out"]["train"])
    metrics = biased_metrics(table.round().astype(int), training.astype(int))
    assert metrics["biased_accuracy"] == pytest.approx(expected, abs=1e-12)
    assert expected == pytest.approx(0.75)  # 90 % of the images of each class have its color
    assert metrics["biased_worst_class"] == pytest.approx(0.75)


@pytest.fixture(scope="module")
def faces_study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[StudyRun]]:
    """A study of a view by another attribute, with a method of two stages; its folder and its runs."""
    folder = tmp_path_factory.mktemp("study")
    faces = write_faces(folder / "faces")
    spec = make_spec(
        faces, bias="age", trials=1, losses=["ce", "jtt"],
        settings=["train.batch_size=32", "train.epochs=1"],
        confirm={"seeds": 0, "rules": ["accuracy"]},
    )  # fmt: skip
    session = make_session(spec, folder, InProcessPool(folder / "runs"))
    return folder, list(session.run().runs)


def read_evaluation(folder: Path, run: StudyRun) -> tuple[Path, Evaluation]:
    (path,) = folder.glob(f"runs/faces-by-age/*/*-{run.run[:8]}")
    stored = read_finished(path)
    assert stored is not None
    return path, Evaluation.from_json(stored)


def test_a_record_has_the_metrics_of_its_run(faces_study: tuple[Path, list[StudyRun]]) -> None:
    folder, runs = faces_study
    assert [run.method for run in runs] == ["ce", "jtt"]
    for run in runs:
        _, evaluation = read_evaluation(folder, run)
        summary, validation = evaluation.summary, evaluation.validation
        assert validation is not None
        assert run.test["unbiased"] == summary["unbiased"].value
        assert run.val["worst_group"] == validation["worst_group"]
        assert run.val["bias_aligned"] is None and run.test["gap"] is None  # not defined for age
        table = np.array(validation.counts)
        worst = min(table[k, :, k].sum() / table[k].sum() for k in range(2))
        assert run.val["worst_class"] == pytest.approx(worst)
        assert run.val_cells is not None and np.sum(run.val_cells.total) == 60
        assert np.shape(run.val_cells.total) == (2, 3)
        assert run.test_cells is not None
        hits = np.sum(run.test_cells.correct) / np.sum(run.test_cells.total)
        assert run.test["top1"] == pytest.approx(hits)
        assert evaluation.calibration is not None
        assert run.test["ece"] == evaluation.calibration.error.value
        assert run.evaluated_by == evaluation.identity.evaluated_by.value
        assert not run.uses_bias_labels
        assert run.device.startswith("cpu ")
    assert read_table(folder / TABLE).runs == runs


def test_the_biased_metrics_of_a_view_use_the_training_counts_of_the_view(
    faces_study: tuple[Path, list[StudyRun]],
) -> None:
    folder, (run, _) = faces_study
    split = load(folder / "faces").splits["train"]
    training = np.zeros((2, 3), int)
    np.add.at(training, (split.labels, split.attributes["age"]), 1)
    _, evaluation = read_evaluation(folder, run)
    assert evaluation.validation is not None
    accuracy, worst = naive_biased_metrics(np.array(evaluation.validation.counts), training)
    assert run.val["biased_accuracy"] == pytest.approx(accuracy)
    assert run.val["biased_worst_class"] == pytest.approx(worst)


def test_seconds_are_those_of_the_training_log_with_the_first_stage(
    faces_study: tuple[Path, list[StudyRun]],
) -> None:
    folder, (ce, jtt) = faces_study
    path, evaluation = read_evaluation(folder, jtt)
    stage = evaluation.identity.first_stage
    assert stage is not None
    (first,) = folder.glob(f"runs/*/*/*-{stage.digest[:8]}")

    def read_seconds(folder: Path) -> float:
        log = (folder / "metrics.jsonl").read_text().splitlines()
        return math.fsum(json.loads(line)["seconds"] for line in log)

    assert jtt.seconds == pytest.approx(read_seconds(path), abs=2e-3)
    assert jtt.first_stage_seconds == pytest.approx(read_seconds(first), abs=2e-3)
    assert jtt.total_seconds == pytest.approx(jtt.seconds + jtt.first_stage_seconds)
    assert ce.first_stage_seconds == 0.0


def test_what_is_missing_is_unknown_or_refused(
    faces_study: tuple[Path, list[StudyRun]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, (ce, jtt) = faces_study
    path, _ = read_evaluation(folder, jtt)
    record = collect_run(jtt, path, tmp_path)  # the first stage is not below this folder
    assert record is not None
    assert record.first_stage_seconds is None and record.total_seconds is None
    assert collect_run(ce, tmp_path / "nothing", folder) is None
    with pytest.raises(RunError):  # another run than the planned one
        collect_run(ce, path, folder)
    monkeypatch.setattr(collect.FinishedRun, "read", lambda *_: without_counts(path))
    with pytest.raises(RunError, match="has no counts on the validation split"):
        collect_run(jtt, path, folder)


def without_counts(path: Path) -> object:
    from dataclasses import replace

    from biascon.runs.finished import FinishedRun

    stored = read_finished(path)
    assert stored is not None
    evaluation = Evaluation.from_json(stored)
    assert evaluation.validation is not None
    validation = replace(evaluation.validation, counts=None)
    return FinishedRun(path, replace(evaluation, validation=validation))
