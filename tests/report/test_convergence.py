"""How fast a loss learns: what is recorded while it trains, and what is said of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from biascon.config.run_config import make_config
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
from biascon.report.experiments import FinishedRun, group_runs
from biascon.report.html import render_html

CPU = torch.device("cpu")
FAST = ["train.epochs=3", "probe.max_iterations=50"]


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.filterwarnings("ignore:the linear probe did not converge")
def test_a_followed_run_has_its_curve_and_trains_the_same_weights(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    data = load(make_dataset(tmp_path / "data"))
    plain = make_config("supcon", preset="smoke", settings=FAST)
    followed = make_config("supcon", preset="smoke", settings=[*FAST, "train.probe_every=2"])
    one, _, _ = evaluate(plain, data, root=tmp_path, device=CPU)
    other, found, _ = evaluate(followed, data, root=tmp_path, device=CPU)
    assert (one / "encoder.safetensors").read_bytes() == (
        other / "encoder.safetensors"
    ).read_bytes()
    assert [("probe" in line) for line in lines(other)] == [False, True, False]
    assert not any("probe" in line for line in lines(one))
    probe = lines(other)[1]["probe"]
    assert probe["n"] == len(data.splits["val"])
    assert 0 <= probe["unbiased"] <= 1
    (point,) = validation_curve(FinishedRun(other, found))
    assert point.epoch == 2
    assert point.accuracy == probe["unbiased"]
    assert point.seconds == pytest.approx(sum(line["seconds"] for line in lines(other)[:2]))
    (groups,) = group_runs([FinishedRun(other, found)])
    page = render_html([groups])
    assert "How fast they learn" in page
    assert "by epoch" in page


def test_a_network_that_another_builds_on_is_not_followed(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    data = load(make_dataset(tmp_path / "data"))
    settings = [*FAST, "train.epochs=1", "train.probe_every=1"]
    config = make_config("lff", preset="smoke", settings=settings)
    evaluate(config, data, root=tmp_path / "runs", device=CPU)
    (biased,) = (tmp_path / "runs").glob("*/gce/*")
    (own,) = (tmp_path / "runs").glob("*/lff/*")
    assert "probe" not in lines(biased)[0]
    assert "probe" in lines(own)[0]


def test_it_needs_a_validation_split(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    data = load(make_dataset(tmp_path / "data", val_protocol="none"))
    config = make_config("ce", preset="smoke", settings=["train.probe_every=1"])
    with pytest.raises(
        UsageError, match="measures on validation, but the dataset has no such split"
    ):
        evaluate(config, data, root=tmp_path / "runs", device=CPU)


def written(folder: Path, unbiased: list[float | None]) -> Path:
    folder.mkdir()
    with (folder / "metrics.jsonl").open("w") as log:
        for epoch, value in enumerate(unbiased, 1):
            probe = {} if value is None else {"probe": {"unbiased": value}}
            log.write(json.dumps({"epoch": epoch, "seconds": 10.0, **probe}) + "\n")
    return folder


def test_the_accuracy_told_is_one_that_all_reach(tmp_path: Path) -> None:
    from tests.report.test_report import made_up

    runs = []
    for label, seed, values in (
        ("supcon", 0, [0.2, 0.55, 0.70]),
        ("supcon", 1, [0.3, 0.61, 0.72]),
        ("contex", 0, [0.1, 0.30, 0.618]),
        ("ce", 0, [None, None, None]),
    ):
        run = made_up(label, seed, 0.5)
        runs.append(FinishedRun(written(tmp_path / f"{label}{seed}", values), run.evaluation))
    (one,) = group_runs(runs)
    assert set(validation_curves(one)) == {"supcon", "contex"}
    assert dict(convergence_speeds(one)) == {
        "supcon": "61 % after 2.5 epochs, 25 s",
        "contex": "61 % after 3 epochs, 30 s",
    }


def test_an_accuracy_that_is_never_reached() -> None:
    assert epochs_to_reach([Point(1, 1.0, 0.2)], 0.3) is None
    assert epochs_to_reach([], 0.0) is None
