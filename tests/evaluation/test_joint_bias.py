"""Joint bias of a dataset folder with two attributes: measured, recorded, compared on images and reported."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biascon.cli.joint_output import format_image_averages, format_joint_bias
from biascon.cli.metric_output import compare_in_metrics
from biascon.config.factory import make_config
from biascon.data.bias_views import view_by_attributes
from biascon.data.dataset import BiasedDataset, load
from biascon.data.manifest import Attribute
from biascon.errors import UsageError
from biascon.evaluation.joint_bias import MAX_JOINT, measure_joint
from biascon.evaluation.measurements import measure
from biascon.evaluation.record import predictions_to_parquet
from biascon.metrics.paired_metrics import check_metrics
from biascon.report.experiments import group_runs
from biascon.report.export import long_rows
from biascon.report.extra_tables import extra_tables
from biascon.report.image_metric_tests import compare_metrics_on_images
from biascon.report.latex import render_latex
from biascon.report.markdown import render_markdown
from biascon.report.metric_tests import run_metric_tests
from biascon.runs.evaluation import Evaluation
from biascon.runs.finished import FinishedRun
from biascon.runs.folder import PREDICTIONS
from biascon.runs.identity import BiasRecord
from tests.report.fakes import made_up, without_machines
from tests.run_helpers import CPU, evaluate_to_json
from tests.small_datasets import write_faces
from tests.two_biases import LABELS, VALUES, predict_mostly, write_two_biases


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> BiasedDataset:
    return load(write_two_biases(tmp_path_factory.mktemp("cars") / "cars"))


def run_that_reads(data: BiasedDataset, name: str, seed: int, folder: Path) -> FinishedRun:
    """Return a run whose predictions follow an attribute in 70 % of the images, with its predictions."""
    test = data.splits["test"]
    predictions = predict_mostly(test.attributes[name], test.labels, 0.7, seed)
    joint = measure_joint(data, "test", predictions)
    assert joint is not None
    summary = measure(data, "test", predictions)
    changes = {field.name: getattr(summary, field.name) for field in dataclasses.fields(summary)}
    run = made_up(
        f"reads-{name}", seed, 0.5, joint_bias=joint, labels=LABELS, bias=BiasRecord("bg", VALUES["bg"]),
        training_cells=data.manifest.counts["train"].cells, **changes,
    )  # fmt: skip
    run_folder = folder / f"{name}-{seed}"
    run_folder.mkdir()
    table = predictions_to_parquet(test, np.eye(2)[predictions], joint.names)
    (run_folder / PREDICTIONS).write_bytes(table)
    return FinishedRun(run_folder, run.evaluation)


@pytest.fixture(scope="module")
def runs(data: BiasedDataset, tmp_path_factory: pytest.TempPathFactory) -> list[FinishedRun]:
    folder = tmp_path_factory.mktemp("runs")
    return [run_that_reads(data, name, seed, folder) for name in VALUES for seed in (0, 1)]


def test_a_dataset_folder_gives_the_metrics_of_its_rows(data: BiasedDataset) -> None:
    test, train = data.splits["test"], data.splits["train"]
    predictions = predict_mostly(test.attributes["bg"], test.labels, 0.7)
    joint = measure_joint(data, "test", predictions)
    assert joint is not None and joint.names == ["bg", "co_occur_obj"]
    conflicts = {name: test.attributes[name] != test.labels for name in VALUES}
    only_bg = conflicts["bg"] & ~conflicts["co_occur_obj"]
    hit = predictions == test.labels
    expected = np.mean([hit[only_bg & (test.labels == y)].mean() for y in (0, 1)])
    found = joint.metric("joint:bg")
    assert found is not None and (found.value, found.n) == (pytest.approx(expected), only_bg.sum())
    both = [(train.attributes[name] != train.labels) for name in VALUES]
    assert joint.patterns[3].training_n == (both[0] & both[1]).sum()
    summary = measure(data, "test", predictions)
    for kind in ("unbiased", "bias_conflicting", "worst_group", "bias_conflicting_samples"):
        assert joint.metric(f"{kind}:bg") == summary[kind]  # bg is the bias attribute
    view = view_by_attributes(data, ["co_occur_obj"])
    assert measure_joint(view, "test", predictions) == joint
    assert measure(view, "test", predictions)["unbiased"] == joint.metric("unbiased:co_occur_obj")


def test_the_block_needs_two_attributes_with_pairs(data: BiasedDataset, tmp_path: Path) -> None:
    faces = load(write_faces(tmp_path / "faces", n=20))  # the ages have no pairs
    assert measure_joint(faces, "test", faces.splits["test"].labels) is None
    one = load(write_two_biases(tmp_path / "one", n=20, paired=False))
    assert measure_joint(one, "test", one.splits["test"].labels) is None
    names = [f"a{k}" for k in range(MAX_JOINT + 1)]
    own = dict.fromkeys(names, data.splits["test"].bias)
    many = dataclasses.replace(
        data,
        manifest=dataclasses.replace(
            data.manifest,
            attributes=dict.fromkeys(
                names, Attribute(["x", "y"], [["urban", "x"], ["country", "y"]])
            ),
        ),
        splits={"test": dataclasses.replace(data.splits["test"], attributes=own)},
    )
    joint = measure_joint(many, "test", data.splits["test"].labels)
    assert joint is not None and joint.names == names and not joint.patterns
    assert joint.metric("gap:all") is None and joint.in_distribution.value is None
    assert joint.metric("unbiased:a4").value == 1  # type: ignore[union-attr]


def test_runs_are_compared_in_gaps_on_the_same_images(runs: list[FinishedRun]) -> None:
    names = check_metrics(
        ["gap:bg", "gap:co_occur_obj", "gap:all", "in_distribution", "joint:bg", "adjusted_average",
         "unbiased:co_occur_obj", "worst_group:bg", "top1"]
    )  # fmt: skip
    reads_bg, reads_thing = runs[0], runs[2]
    found = compare_metrics_on_images(reads_bg, reads_thing, names)
    assert list(found) == list(names)
    for name, test in found.items():
        assert test.difference == pytest.approx(reads_bg.value(name) - reads_thing.value(name))  # type: ignore[operator]
        assert (test.low < test.difference < test.high) == (name != "worst_group:bg"), name
    assert found["gap:bg"].high < 0 < found["gap:co_occur_obj"].low
    assert found["gap:bg"].p < 0.01 < 0.05 < found["gap:all"].p
    (experiment,) = group_runs(runs)
    (gap, accuracy) = run_metric_tests(experiment, ["gap:bg", "joint:bg"])
    assert (gap.basis, gap.better) == ("gap", None) and accuracy.basis == "difference"
    assert len(gap.images) == 2


def test_a_run_without_columns_of_attributes_has_no_test_on_images(
    runs: list[FinishedRun], data: BiasedDataset, tmp_path: Path
) -> None:
    test = data.splits["test"]
    predictions = predict_mostly(test.attributes["bg"], test.labels, 0.7, 0)
    (tmp_path / PREDICTIONS).write_bytes(predictions_to_parquet(test, np.eye(2)[predictions]))
    old = FinishedRun(tmp_path, runs[0].evaluation)
    assert list(compare_metrics_on_images(old, runs[2], ["gap:bg", "top1"])) == ["top1"]


def test_names_of_metrics_are_checked(runs: list[FinishedRun]) -> None:
    with pytest.raises(UsageError, match=r"unknown metric 'gap' .*gap:ATTRIBUTE"):
        check_metrics(["gap"])
    with pytest.raises(UsageError, match="unknown metric 'gaps:bg'"):
        check_metrics(["gaps:bg"])
    experiments = group_runs(runs)
    with pytest.raises(
        UsageError, match=r"no attribute 'bq'.* \(attributes .*: bg, co_occur_obj\)"
    ):
        compare_in_metrics(experiments, ["gap:bq"], None, as_json=False)
    old = group_runs([made_up("ce", 0, 0.5), made_up("supcon", 0, 0.5)])
    with pytest.raises(UsageError, match="none was measured with two or more attributes"):
        compare_in_metrics(old, ["gap:bg"], None, as_json=False)


def test_reports_show_the_metrics_of_both_attributes(
    runs: list[FinishedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_machines(monkeypatch)
    (experiment,) = group_runs(runs)
    images, joint = extra_tables(experiment)
    assert images.header[-1] == "adjusted average" and "(n = 400)" in images.header[0]
    mean = np.mean([run.value("gap:bg") for run in runs[:2]])  # type: ignore[type-var]
    cell = joint.rows[0][1][joint.header.index("gap: bg")]
    assert joint.rows[0][0] == "reads-bg" and cell.text.startswith(f"{100 * mean:.1f} ± ")
    assert cell.text in render_markdown([experiment])
    assert cell.text.replace("±", r"$\pm$") in render_latex([experiment])
    by_metric = {row["metric"]: row["value"] for row in long_rows(runs[:1])}
    assert by_metric["gap:bg"] == runs[0].value("gap:bg")
    evaluations = [run.evaluation for run in runs]
    text = "\n".join([*format_image_averages(evaluations), *format_joint_bias(evaluations)])
    for name in (
        "conflicting images (n=",
        "adjusted average",
        "gap co_occur_obj",
        "bg and co_occur_obj",
    ):
        assert name in text


def test_old_evaluations_get_the_adjusted_average_of_their_counts(runs: list[FinishedRun]) -> None:
    data: dict[str, Any] = json.loads(json.dumps(runs[0].evaluation.to_json()))
    again = Evaluation.from_json(data)
    assert again.to_json() == data
    assert data["adjusted_average"]["value"] == runs[0].value("adjusted_average")
    del data["adjusted_average"], data["joint_bias"]
    old = Evaluation.from_json(data)
    assert old.metric("adjusted_average") == runs[0].evaluation.metric("adjusted_average")
    assert old.joint_bias is None and old.metric("gap:bg") is None
    assert old.adjusted_differs
    cells = np.asarray(data["counts"]).sum(axis=-1).tolist()
    same = Evaluation.from_json({**data, "training": {"n": 400, "cells": cells}})
    assert same.metric("adjusted_average").value == pytest.approx(same.summary["top1"].value)  # type: ignore[union-attr]
    assert not same.adjusted_differs
    assert Evaluation.from_json({**data, "counts": None}).metric("adjusted_average") is None


def test_a_run_records_both_attributes(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    data = load(write_two_biases(tmp_path / "cars", n=80, images=True))
    settings = ["train.epochs=1", "probe.max_iterations=50", "probe.tolerance=1e-2"]
    config = make_config("ce", preset="smoke", settings=settings)
    folder, evaluation, _ = evaluate_to_json(config, data, root=tmp_path / "runs", device=CPU)
    rows = pq.read_table(folder / PREDICTIONS).to_pandas()
    assert (
        rows["attribute.co_occur_obj"].tolist()
        == data.splits["test"].attributes["co_occur_obj"].tolist()
    )
    joint = measure_joint(data, "test", rows["prediction"].to_numpy())
    assert joint is not None and evaluation["joint_bias"] == joint.to_json()
    assert evaluation["adjusted_average"]["n"] == 80
