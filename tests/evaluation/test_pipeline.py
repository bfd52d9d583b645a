"""A run from configuration to evaluation: its files, its metrics, and the isolation of the splits."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from biascon.config.factory import find_overrides, make_config
from biascon.data.dataset import BiasedDataset, Split, load, save
from biascon.errors import DataError, RunError, UsageError
from biascon.evaluation.measurements import aligned_cells, measure
from biascon.evaluation.pipeline import validate
from biascon.metrics.records import UNDEFINED
from biascon.runs.folder import read_finished, run_folder
from biascon.utils.devices import pick_device
from tests.lock_helpers import held_lock
from tests.run_helpers import evaluate_to_json, note_in_journal
from tests.small_datasets import describe_dataset

CPU = torch.device("cpu")
CONFIG = make_config("contex", preset="smoke")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluate")


@pytest.fixture
def data(make_dataset: Callable[..., Path], folder: Path) -> BiasedDataset:
    dataset_folder = folder / "data"
    return load(dataset_folder if dataset_folder.exists() else make_dataset(dataset_folder))


@pytest.fixture
def done(data: BiasedDataset, folder: Path) -> tuple[Path, dict[str, Any]]:
    where, evaluation, _ = evaluate_to_json(CONFIG, data, root=folder / "runs", device=CPU)
    return where, evaluation


def test_the_run_folder_holds_exactly_the_documented_files(
    done: tuple[Path, dict[str, Any]],
) -> None:
    where, evaluation = done
    names = {path.name for path in where.iterdir()} - {".lock"}
    assert names == {
        "config.toml", "environment.json", "metrics.jsonl", "encoder.safetensors",
        "predictions.parquet", "evaluation.json", "done",
        "features-train.safetensors", "features-val.safetensors", "features-test.safetensors",
    }  # fmt: skip
    assert where.parts[-3:] == ("bmnist5k-0.9", "contex", f"seed0-{evaluation['digest'][:8]}")
    assert json.loads((where / "evaluation.json").read_text()) == evaluation


def test_every_metric_has_value_n_and_interval(done: tuple[Path, dict[str, Any]]) -> None:
    _, evaluation = done
    for name in (
        "top1", "unbiased", "bias_aligned", "bias_conflicting", "worst_group",
        "demographic_parity_difference", "demographic_parity_ratio", "equalized_odds_difference",
        "equalized_odds_ratio", "equal_opportunity_difference",
    ):  # fmt: skip
        metric = evaluation[name]
        assert metric["n"] > 0
        if metric["value"] is not None:
            assert 0 <= metric["value"] <= 1
        low, high = metric["ci"]
        if low is None:  # with two images a cell, most replicates lack a cell that a rate needs
            assert name.startswith(("equal_opportunity", "equalized_odds"))
        else:
            assert 0 <= low <= high <= 1
    for key in ("dataset", "protocol", "loss", "preset", "seed", "digest", "source"):
        assert evaluation[key] is not None
    assert set(evaluation["by_class"]) == {str(k) for k in range(10)}


def test_the_metrics_follow_from_the_predictions_file(
    done: tuple[Path, dict[str, Any]], data: BiasedDataset
) -> None:
    where, evaluation = done
    rows = pq.read_table(where / "predictions.parquet").to_pandas()
    test = data.splits["test"]
    assert rows["index"].tolist() == test.index.tolist()
    assert rows["aligned"].tolist() == test.aligned.tolist()
    scores = rows[[f"score_{k}" for k in range(10)]].to_numpy()
    assert (scores.argmax(axis=1) == rows["prediction"]).all()
    rows["right"] = rows["label"] == rows["prediction"]
    cells = rows.groupby(["label", "bias"])["right"].mean()
    assert evaluation["top1"]["value"] == pytest.approx(rows["right"].mean())
    assert evaluation["unbiased"]["value"] == pytest.approx(cells.mean())
    assert evaluation["worst_group"]["value"] == pytest.approx(cells.min())
    aligned = cells[[y == b for y, b in cells.index]]
    conflicting = cells[[y != b for y, b in cells.index]]
    assert evaluation["bias_aligned"]["value"] == pytest.approx(aligned.mean())
    assert evaluation["bias_conflicting"]["value"] == pytest.approx(conflicting.mean())
    worst = evaluation["worst_group"]
    cell = (rows["label"] == worst["group"]["label"]) & (rows["bias"] == worst["group"]["bias"])
    assert worst["n"] == cell.sum()


def test_a_finished_run_is_read_and_not_computed_again(
    done: tuple[Path, dict[str, Any]],
    data: BiasedDataset,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("biascon.training.stages.train", None)
    _, evaluation, reused = evaluate_to_json(CONFIG, data, root=folder / "runs", device=CPU)
    assert reused
    assert evaluation == done[1]


def test_the_same_run_elsewhere_gives_the_same_bytes(
    done: tuple[Path, dict[str, Any]], data: BiasedDataset, tmp_path: Path
) -> None:
    other, _, reused = evaluate_to_json(CONFIG, data, root=tmp_path, device=CPU)
    assert not reused
    for name in ("config.toml", "encoder.safetensors", "predictions.parquet", "evaluation.json"):
        assert (other / name).read_bytes() == (done[0] / name).read_bytes()


@pytest.mark.parametrize("name", ["evaluation.json", "encoder.safetensors", "predictions.parquet"])
@pytest.mark.parametrize("harm", ["change", "delete"])
def test_a_finished_run_whose_files_changed_is_refused(
    name: str, harm: str, done: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(done[0], copy)
    if harm == "delete":
        (copy / name).unlink()
    else:
        blob = bytearray((copy / name).read_bytes())
        blob[len(blob) // 2] ^= 1
        (copy / name).write_bytes(blob)
    with pytest.raises((RunError, Exception), match=name) as caught:
        read_finished(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"digest": 1, "files": {}}'])
def test_an_invalid_done_marker_is_refused(
    text: str, done: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(done[0], copy)
    (copy / "done").write_text(text)
    with pytest.raises(RunError):
        read_finished(copy)


def test_two_processes_never_work_on_one_run(data: BiasedDataset, tmp_path: Path) -> None:
    config = make_config("ce", preset="smoke")
    where = run_folder(tmp_path, data.name, config, config.digest(data.digest))
    where.mkdir(parents=True)
    with held_lock(where / ".lock"), pytest.raises(RunError, match="another process"):
        evaluate_to_json(config, data, root=tmp_path, device=CPU)


def test_the_test_split_reaches_neither_encoder_nor_probe(
    done: tuple[Path, dict[str, Any]], data: BiasedDataset, tmp_path: Path
) -> None:
    test = data.splits["test"]
    noise = np.random.default_rng(0).integers(0, 256, test.images.shape, dtype=np.uint8)
    other = dataclasses.replace(
        test, images=noise, labels=np.roll(test.labels, 3), bias=test.labels
    )
    other = dataclasses.replace(other, aligned=other.labels == other.bias)
    swapped = dataclasses.replace(data, splits={**data.splits, "test": other}, digest="0" * 64)
    where, evaluation, _ = evaluate_to_json(CONFIG, swapped, root=tmp_path, device=CPU)
    name = "encoder.safetensors"
    assert (where / name).read_bytes() == (done[0] / name).read_bytes()
    assert evaluation["validation"] == done[1]["validation"]
    assert evaluation["top1"] != done[1]["top1"]


def test_the_validation_split_reaches_neither_encoder_nor_probe(
    done: tuple[Path, dict[str, Any]], data: BiasedDataset, tmp_path: Path
) -> None:
    splits = {name: split for name, split in data.splits.items() if name != "val"}
    without = dataclasses.replace(data, splits=splits)
    where, evaluation, _ = evaluate_to_json(CONFIG, without, root=tmp_path, device=CPU)
    assert (where / "predictions.parquet").read_bytes() == (
        done[0] / "predictions.parquet"
    ).read_bytes()
    assert evaluation["validation"] is None


def test_validate_needs_no_test_split_and_agrees_with_evaluate(
    done: tuple[Path, dict[str, Any]], folder: Path, data: BiasedDataset, tmp_path: Path
) -> None:
    without = load(folder / "data", only=("train", "val"))
    assert "test" not in without.splits
    where, chosen = validate(CONFIG, without, root=tmp_path, device=CPU)
    assert chosen is not None
    assert chosen.to_json() == done[1]["validation"]
    assert not (where / "done").exists()
    again, evaluation, _ = evaluate_to_json(
        CONFIG, data, root=tmp_path, device=CPU
    )  # goes on from there
    assert again == where
    assert evaluation == done[1]


def table(cells: dict[tuple[int, int], int], k: int, m: int) -> Split:
    """A split of blank images with the given number of rows in each (label, bias) cell."""
    rows = [cell for cell, n in cells.items() for _ in range(n)]
    labels, bias = (np.array([row[i] for row in rows], dtype=np.int64) for i in (0, 1))
    images = np.zeros((len(rows), 3, 1, 1), np.uint8)
    return Split(images, labels, bias, labels == bias, np.arange(len(rows)))


def dataset_of(split: Split, folder: Path, n_labels: int, n_bias: int) -> BiasedDataset:
    """Save and load a dataset whose training and test split are the same."""
    bias = {"name": "shade", "values": [f"shade {k}" for k in range(n_bias)]}
    about = describe_dataset("small", [f"class {k}" for k in range(n_labels)], bias=bias)
    save(folder, {"train": split, "test": split}, about, replace=False)
    return load(folder)


def test_a_predictor_that_follows_the_bias_is_right_on_aligned_cells_only(tmp_path: Path) -> None:
    split = table({(y, b): 1 + y + 2 * b for y in range(3) for b in range(3)}, 3, 3)
    summary = measure(dataset_of(split, tmp_path / "data", 3, 3), "test", split.bias)
    assert summary["bias_aligned"].value == 1.0
    assert summary["bias_conflicting"].value == 0.0
    assert summary["unbiased"].value == pytest.approx(3 / 9)
    assert summary["worst_group"].value == 0.0
    assert summary["demographic_parity_difference"].value == 1.0
    assert summary.by_class["class 1"]["equal_opportunity_difference"].value == 1.0


def test_an_undefined_metric_is_none_and_never_zero(tmp_path: Path) -> None:
    # Group 1 has no row of label 0: there its true positive rate for class 0 is undefined, and so
    # is the false positive rate for class 1; nothing is conflicting.
    split = table({(0, 0): 5, (1, 1): 5, (1, 0): 0}, 2, 2)
    summary = measure(dataset_of(split, tmp_path / "data", 2, 2), "test", split.labels)
    assert summary["bias_conflicting"] == UNDEFINED
    assert summary["bias_conflicting_samples"].value is None
    assert summary["equal_opportunity_difference"].value is None
    assert summary["equalized_odds_difference"].value is None
    assert summary["equalized_odds_ratio"].value is None
    assert summary["demographic_parity_difference"].value == 1.0
    assert json.dumps(summary.to_json(), allow_nan=False)


def test_one_group_only_has_no_group_fairness(tmp_path: Path) -> None:
    split = table({(0, 0): 5, (1, 0): 5}, 2, 2)
    summary = measure(dataset_of(split, tmp_path / "data", 2, 2), "test", split.labels)
    assert summary["demographic_parity_difference"].value is None
    assert summary["demographic_parity_ratio"].value is None


def test_predictions_of_another_length_are_refused(tmp_path: Path) -> None:
    split = table({(0, 0): 5, (1, 1): 5}, 2, 2)
    data = dataset_of(split, tmp_path / "data", 2, 2)
    with pytest.raises(UsageError, match="expected 10 predictions"):
        measure(data, "test", split.labels[:9])


def test_a_cell_that_is_aligned_and_conflicting_is_refused() -> None:
    split = table({(0, 0): 2}, 1, 1)
    mixed = dataclasses.replace(split, aligned=np.array([True, False]))
    with pytest.raises(UsageError, match="both"):
        aligned_cells(mixed, 1, 1)


def test_a_device_is_picked_or_refused() -> None:
    assert pick_device("cpu") == CPU
    with pytest.raises(UsageError, match="unknown device 'gpu'"):
        pick_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="no cuda:0 device here"):
            pick_device("cuda:0")


def test_no_resume_starts_an_unfinished_run_anew_and_leaves_a_finished_one(
    done: tuple[Path, dict[str, Any]], data: BiasedDataset, folder: Path, tmp_path: Path
) -> None:
    where, _ = validate(
        CONFIG, load(folder / "data", only=("train", "val")), root=tmp_path, device=CPU
    )
    lines: list[dict[str, Any]] = []
    evaluate_to_json(CONFIG, data, root=tmp_path, device=CPU, resume=False, on_epoch=lines.append)
    assert [record.epoch for record in lines] == [1, 2]
    assert (where / "done").exists()
    _, _, reused = evaluate_to_json(CONFIG, data, root=tmp_path, device=CPU, resume=False)
    assert reused


def test_a_run_that_cannot_be_trained_is_refused_before_a_folder_is_made(
    data: BiasedDataset, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="at most 900 images"):
        evaluate_to_json(
            make_config("ce", preset="smoke", settings=["train.batch_size=901"]),
            data, root=tmp_path, device=CPU,
        )  # fmt: skip
    split = data.splits["train"]
    lacking = dataclasses.replace(split, labels=np.where(split.labels == 3, 4, split.labels))
    without = dataclasses.replace(data, splits={**data.splits, "train": lacking})
    with pytest.raises(DataError, match="9 of 10 classes"):
        evaluate_to_json(CONFIG, without, root=tmp_path, device=CPU)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["encoder.safetensors", "checkpoint.pt"])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"x" * 1000])
def test_a_damaged_file_of_an_unfinished_run_is_refused_and_no_resume_replaces_it(
    name: str, content: bytes, data: BiasedDataset, folder: Path, tmp_path: Path
) -> None:
    where, _ = validate(CONFIG, data, root=tmp_path, device=CPU)
    if name == "checkpoint.pt":
        (where / "encoder.safetensors").unlink()
    (where / name).write_bytes(content)
    note_in_journal(where / name)
    with pytest.raises(
        RunError, match=f"{name} is damaged; delete it or pass --no-resume"
    ) as caught:
        evaluate_to_json(CONFIG, data, root=tmp_path, device=CPU)
    assert "weights_only" not in str(caught.value)
    assert not evaluate_to_json(CONFIG, data, root=tmp_path, device=CPU, resume=False)[2]


def test_the_configuration_holds_the_resolved_precision(data: BiasedDataset) -> None:
    auto = make_config("ce", preset="smoke", settings=["train.precision=auto"])
    assert auto.for_device("cuda").train.precision == "bfloat16"
    assert auto.for_device("cpu").train.precision == "float32"
    assert auto.for_device("cuda").digest(data.digest) != auto.for_device("cpu").digest(data.digest)
    assert find_overrides(auto.for_device("cpu")) == {}  # the preset has float32
    assert find_overrides(auto.for_device("cuda")) == {"train.precision": "bfloat16"}
    for preset, device, precision, shown in (
        ("gpu", "cpu", "auto", False),
        ("gpu", "cuda", "auto", False),
        ("gpu", "cpu", "float32", False),
        ("gpu", "cuda", "float32", True),
        ("gpu", "cpu", "bfloat16", True),
        ("gpu", "cuda", "bfloat16", False),
        ("cpu", "cpu", "bfloat16", True),
        ("cpu", "cuda", "float32", False),
    ):
        given = make_config("ce", preset=preset, settings=[f"train.precision={precision}"])
        expected = {"train.precision": precision} if shown else {}
        assert find_overrides(given.for_device(device)) == expected, (preset, device, precision)
    assert find_overrides(make_config("ce", preset="smoke", settings=["optimizer.lr=0.5"])) == {
        "optimizer.lr": 0.5
    }


def test_calibration_follows_from_the_predictions_file(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    data = load(make_dataset(tmp_path / "data"))
    config = make_config("ce", preset="smoke", settings=["train.epochs=1"])
    folder, evaluation, _ = evaluate_to_json(
        config, data, root=tmp_path / "runs", device=torch.device("cpu")
    )
    frame = pd.read_parquet(folder / "predictions.parquet")
    scores = frame[[f"score_{k}" for k in range(10)]].to_numpy(np.float64)
    top, right = scores.max(axis=1), frame["prediction"] == frame["label"]
    bins = np.minimum((top * 15).astype(int), 14)
    errors = [
        (bins == b).mean() * abs(right[bins == b].mean() - top[bins == b].mean())
        for b in np.unique(bins)
    ]
    assert evaluation["calibration"]["error"]["value"] == pytest.approx(sum(errors), abs=1e-6)
    groups = evaluation["calibration"]["by_group"]
    assert [group["n"] for group in groups] == np.bincount(frame["bias"], minlength=10).tolist()
    brier = ((scores - np.eye(10)[frame["label"]]) ** 2).sum(axis=1)
    assert evaluation["calibration"]["brier"]["value"] == pytest.approx(brier.mean(), abs=1e-6)
    assert groups[3]["brier"] == pytest.approx(brier[frame["bias"] == 3].mean(), abs=1e-6)
