"""Convergence: what is recorded while an encoder is trained, and the speed that is computed from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from biascon.config.factory import make_config
from biascon.data.dataset import load
from biascon.errors import UsageError
from biascon.evaluation.pipeline import evaluate
from biascon.report.convergence import (
    Point,
    convergence_speeds,
    epochs_to_reach,
    validation_curve,
    validation_curves,
)
from biascon.report.experiments import group_runs
from biascon.report.html import render_html
from biascon.runs.finished import FinishedRun
from biascon.runs.folder import ENCODER, METRICS_LOG
from biascon.runs.records import Accuracies, EpochRecord
from tests.report.fakes import in_folder, made_up, one_experiment

CPU = torch.device("cpu")
FAST = ["train.epochs=3", "probe.max_iterations=50"]


def read_log(folder: Path) -> list[EpochRecord]:
    lines = (folder / METRICS_LOG).read_text().splitlines()
    return [EpochRecord.from_json(json.loads(line)) for line in lines]


@pytest.mark.filterwarnings("ignore:the linear probe did not converge")
def test_recording_gives_a_curve_and_the_same_weights(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    data = load(make_dataset(tmp_path / "data"))
    plain_config = make_config("supcon", preset="smoke", settings=FAST)
    recorded_config = make_config("supcon", preset="smoke", settings=[*FAST, "train.probe_every=2"])
    plain = evaluate(plain_config, data, root=tmp_path, device=CPU).folder
    recorded = evaluate(recorded_config, data, root=tmp_path, device=CPU).folder
    assert (plain / ENCODER).read_bytes() == (recorded / ENCODER).read_bytes()
    assert all(epoch.probe is None for epoch in read_log(plain))
    epochs = read_log(recorded)
    assert [epoch.probe is not None for epoch in epochs] == [False, True, False]
    probe = epochs[1].probe
    assert probe is not None and probe.n == len(data.splits["val"])
    assert probe["unbiased"] is not None and 0 <= probe["unbiased"] <= 1
    run = FinishedRun.read(recorded)
    assert run is not None
    (point,) = validation_curve(run)
    assert point.epoch == 2
    assert point.accuracy == probe["unbiased"]
    assert point.seconds == pytest.approx(sum(epoch.seconds for epoch in epochs[:2]))
    page = render_html(group_runs([run]))
    assert "<h3>Convergence</h3>" in page
    assert "by epoch" in page


def test_first_stage_network_is_not_recorded(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    data = load(make_dataset(tmp_path / "data"))
    settings = [*FAST, "train.epochs=1", "train.probe_every=1"]
    config = make_config("lff", preset="smoke", settings=settings)
    evaluate(config, data, root=tmp_path / "runs", device=CPU)
    (first_stage,) = (tmp_path / "runs").glob("*/gce/*")
    (own,) = (tmp_path / "runs").glob("*/lff/*")
    assert read_log(first_stage)[0].probe is None
    assert read_log(own)[0].probe is not None


def test_recording_without_a_validation_split_is_refused(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    data = load(make_dataset(tmp_path / "data", val_protocol="none"))
    config = make_config("ce", preset="smoke", settings=["train.probe_every=1"])
    with pytest.raises(UsageError, match=r"train\.probe_every"):
        evaluate(config, data, root=tmp_path / "runs", device=CPU)


def write_log(folder: Path, unbiased: list[float | None]) -> Path:
    """Write a log of epochs of ten seconds each."""
    folder.mkdir()
    with (folder / METRICS_LOG).open("w") as log:
        for epoch, value in enumerate(unbiased, 1):
            probe = None if value is None else Accuracies(100, {"unbiased": value})
            record = EpochRecord(epoch, len(unbiased), 1.0, 0.1, 10.0, 100.0, probe=probe)
            log.write(json.dumps(record.to_json()) + "\n")
    return folder


def test_speed_is_that_to_the_accuracy_that_every_run_reaches(tmp_path: Path) -> None:
    runs = [
        in_folder(made_up(label, seed, 0.5), write_log(tmp_path / f"{label}{seed}", accuracies))
        for label, seed, accuracies in (
            ("supcon", 0, [0.2, 0.55, 0.70]),
            ("supcon", 1, [0.3, 0.61, 0.72]),
            ("contex", 0, [0.1, 0.30, 0.618]),
            ("ce", 0, [None, None, None]),
        )
    ]
    experiment = one_experiment(*runs)
    assert set(validation_curves(experiment)) == {"supcon", "contex"}
    assert dict(convergence_speeds(experiment)) == {
        "supcon": "61 % after 2.5 epochs, 25 s",
        "contex": "61 % after 3 epochs, 30 s",
    }


def test_accuracy_that_is_never_reached_has_no_point() -> None:
    assert epochs_to_reach([Point(1, 1.0, 0.2)], 0.3) is None
    assert epochs_to_reach([], 0.0) is None
