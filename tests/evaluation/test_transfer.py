"""Encoders that are trained on one dataset and evaluated on another, by each protocol, and refused runs."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from biascon.config.factory import make_config
from biascon.data.dataset import BiasedDataset, Split, load, save, view_by_attributes
from biascon.errors import BiasconError, RunError, UsageError
from biascon.evaluation.transfer import EncoderSource, read_source, transfer_config
from biascon.models.features import extract_features
from biascon.probing.linear_probe import fit
from biascon.report.convergence import convergence_speeds, validation_curve
from biascon.report.experiments import find_runs, group_runs
from biascon.report.html import render_html
from biascon.report.repeat_commands import format_repeat_commands
from biascon.runs.evaluation import Evaluation
from biascon.runs.finished import FinishedRun
from biascon.runs.folder import DONE, ENCODER, EVALUATION, PREDICTIONS, read_finished
from biascon.training.network import load_weights
from tests.run_helpers import evaluate_to_json, reseal
from tests.small_datasets import describe_dataset, draw_images, write_faces, write_plain

CPU = torch.device("cpu")
FAST = ["train.epochs=2", "train.batch_size=20"]
TUNE = ["finetune.epochs=3", "finetune.batch_size=20"]


def write_other(folder: Path, *, classes: int = 6) -> Path:
    """Write a second dataset without a bias attribute: fewer classes, a tint, another order of classes."""
    splits = {}
    for seed, (name, size) in enumerate({"train": 120, "val": 60, "test": 90}.items()):
        labels = (np.arange(size) * 5 + 1) % classes
        zero = np.zeros(size, np.int64)
        images = draw_images(classes - 1 - labels, zero + 1, seed + 7)
        splits[name] = Split(images, labels, zero, zero > 0, np.arange(size))
    about = describe_dataset("other", [f"kind {k}" for k in range(classes)])
    save(folder, splits, about, replace=False)
    return folder


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datasets A and B, with a finished run of each."""
    root = tmp_path_factory.mktemp("transfer")
    for folder in (write_plain(root / "data" / "plain"), write_other(root / "data" / "other")):
        for loss in ("supcon", "contex"):
            config = make_config(loss, preset="smoke", settings=[*FAST, "train.probe_every=1"])
            evaluate_to_json(config, load(folder), root=root / "runs", device=CPU)
    return root


@pytest.fixture
def a(workspace: Path) -> BiasedDataset:
    return load(workspace / "data" / "plain")


@pytest.fixture
def b(workspace: Path) -> BiasedDataset:
    return load(workspace / "data" / "other")


def read_run(folder: Path) -> FinishedRun:
    run = FinishedRun.read(folder)
    assert run is not None
    return run


def find_trained_run(folder: Path) -> Path:
    """Return the folder of the run that trained its encoder, among the runs of one dataset and loss."""
    (run_folder,) = [
        path.parent
        for path in folder.glob("seed0-*/evaluation.json")
        if "encoder_from" not in json.loads(path.read_text())
    ]
    return run_folder


def read_trained_run(
    workspace: Path, dataset: str = "plain", loss: str = "supcon"
) -> EncoderSource:
    return read_source(find_trained_run(workspace / "runs" / dataset / loss))


def evaluate_transfer(
    workspace: Path,
    data: BiasedDataset,
    protocol: str,
    root: Path,
    *settings: str,
    **source_options: str,
) -> tuple[Path, dict[str, Any], bool]:
    encoder_source = read_trained_run(workspace, **source_options)
    config = transfer_config(encoder_source, data, protocol=protocol, settings=settings)
    return evaluate_to_json(config, data, root=root, device=CPU, source=encoder_source)


@pytest.mark.filterwarnings("ignore:the linear probe did not converge")
def test_fine_tuning_transfers_both_ways_with_curves(
    workspace: Path, a: BiasedDataset, b: BiasedDataset, tmp_path: Path
) -> None:
    """Two losses are trained on two datasets, and each encoder is fine-tuned on the other dataset."""
    runs: dict[tuple[str, str], list[FinishedRun]] = {}
    for source_name, target in (("plain", b), ("other", a)):
        for loss in ("supcon", "contex"):
            folder, evaluation, _ = evaluate_transfer(
                workspace, target, "finetune", tmp_path, *TUNE, dataset=source_name, loss=loss
            )
            assert folder.parts[-3:-1] == (target.name, loss)
            assert evaluation["dataset"] == target.name
            assert evaluation["encoder_from"]["dataset"] == source_name
            assert evaluation["evaluated_by"] == "fine_tuned"
            assert evaluation["protocol"]["evaluation"].endswith(
                f"; encoder trained on {source_name}"
            )
            run = read_run(folder)
            points = validation_curve(run)
            assert [p.epoch for p in points] == [1, 2, 3]
            assert points == validation_curve(run, "top1")
            top5 = [p.accuracy for p in validation_curve(run, "top5")]
            assert all(t5 >= p.accuracy for t5, p in zip(top5, points, strict=True))
            (training_folder,) = [find_trained_run(workspace / "runs" / source_name / loss)]
            training_run = read_run(training_folder)
            assert [p.epoch for p in validation_curve(training_run)] == [
                1,
                2,
            ]  # while the encoder was trained
            assert (
                validation_curve(training_run, "top5")[-1].accuracy
                >= validation_curve(training_run)[-1].accuracy
            )
            runs.setdefault((source_name, target.name), []).append(run)
    groups = group_runs(find_runs(tmp_path))
    assert len(groups) == 2  # one a direction, both losses in each
    assert all(set(group.losses) == {"supcon", "contex"} for group in groups)
    assert {group.preset.rsplit(" + ", 1)[1] for group in groups} == {
        "encoder from plain", "encoder from other",
    }  # fmt: skip
    assert all(len(convergence_speeds(group)) == 2 for group in groups)
    page = render_html(groups)
    assert "Top-1 validation accuracy of fine-tuning by epoch" in page
    assert "biascon evaluate --run runs/plain/contex/seed0-" in page


def test_the_probe_is_fitted_on_features_of_the_target_dataset(
    workspace: Path, b: BiasedDataset, tmp_path: Path
) -> None:
    from biascon.models.encoders import build_encoder

    folder, evaluation, _ = evaluate_transfer(workspace, b, "linear", tmp_path)
    encoder_source = read_trained_run(workspace)
    encoder = build_encoder("fastconvnet", torch.Generator())
    load_weights(encoder, encoder_source.run.folder / ENCODER)
    train, test = b.splits["train"], b.splits["test"]
    probe = fit(
        extract_features(encoder, train.images, device=CPU),
        train.labels,
        6,
        encoder_source.config.probe,
    )
    predictions = probe.probabilities(extract_features(encoder, test.images, device=CPU)).argmax(
        axis=1
    )
    assert evaluation["top1"]["value"] == pytest.approx((predictions == test.labels).mean())
    assert (folder / ENCODER).read_bytes() == (encoder_source.run.folder / ENCODER).read_bytes()


def test_the_evaluation_names_the_run_and_dataset_of_the_encoder(
    workspace: Path, a: BiasedDataset, b: BiasedDataset, tmp_path: Path
) -> None:
    folder, evaluation, reused = evaluate_transfer(workspace, b, "knn", tmp_path, "probe.k=5")
    encoder_source = read_trained_run(workspace)
    assert not reused
    assert evaluation["encoder_from"] == {
        "run": "/".join(encoder_source.run.folder.parts[-3:]),
        "dataset": "plain",
        "dataset_digest": a.digest,
        "digest": encoder_source.run.digest,
        "sha256": encoder_source.sha256,
    }
    assert (evaluation["epochs"], evaluation["seed"], evaluation["loss"]) == (2, 0, "supcon")
    assert evaluation["dataset_digest"] == b.digest
    assert evaluation["labels"] == b.manifest.labels
    assert read_finished(folder) == evaluation
    assert evaluate_transfer(workspace, b, "knn", tmp_path, "probe.k=5")[
        2
    ]  # the second time it is only read
    second_folder, second_evaluation, _ = evaluate_transfer(
        workspace, b, "knn", tmp_path / "again", "probe.k=5"
    )
    assert second_evaluation == evaluation
    for name in ("config.toml", ENCODER, PREDICTIONS, EVALUATION):
        assert (second_folder / name).read_bytes() == (folder / name).read_bytes(), name


def test_runs_of_different_protocols_or_origins_are_different_experiments(
    workspace: Path, b: BiasedDataset, tmp_path: Path
) -> None:
    shutil.copytree(workspace / "runs" / "other", tmp_path / "other")
    for protocol in ("linear", "knn"):
        evaluate_transfer(workspace, b, protocol, tmp_path)
    groups = group_runs(find_runs(tmp_path, "other"))
    assert len(groups) == 3
    assert len({g.title for g in groups}) == 3


def test_transfer_to_the_training_dataset_is_the_ordinary_run(
    workspace: Path, a: BiasedDataset, tmp_path: Path
) -> None:
    folder, evaluation, _ = evaluate_transfer(workspace, a, "knn", tmp_path / "taken")
    config = make_config(
        "supcon", preset="smoke", settings=[*FAST, "train.probe_every=1", "probe.kind=knn"]
    )
    shutil.copytree(workspace / "runs", tmp_path / "runs")
    records: list[dict[str, Any]] = []
    ordinary_folder, ordinary_evaluation, _ = evaluate_to_json(
        config, a, root=tmp_path / "runs", device=CPU, on_epoch=records.append
    )
    assert records == []  # the encoder is not trained again
    assert ordinary_evaluation == evaluation
    assert ordinary_folder.name == folder.name
    assert (ordinary_folder / PREDICTIONS).read_bytes() == (folder / PREDICTIONS).read_bytes()
    linear_folder, linear_evaluation, reused = evaluate_transfer(
        workspace, a, "linear", workspace / "runs"
    )
    assert reused
    assert linear_folder == read_trained_run(workspace).run.folder
    assert "encoder_from" not in linear_evaluation


def test_a_transferred_encoder_may_be_taken_again(
    workspace: Path, b: BiasedDataset, tmp_path: Path
) -> None:
    first, evaluation, _ = evaluate_transfer(workspace, b, "knn", tmp_path)
    encoder_source = read_source(first)
    assert encoder_source.origin.digest == evaluation["encoder_from"]["digest"]
    assert transfer_config(encoder_source, b).origin == read_trained_run(workspace).origin
    config = transfer_config(encoder_source, b)
    assert config.digest(b.digest) == transfer_config(read_trained_run(workspace), b).digest(
        b.digest
    )


def test_a_view_by_another_attribute_uses_the_same_encoder(tmp_path: Path) -> None:
    data = load(write_faces(tmp_path / "data"))
    config = make_config("supcon", preset="smoke", settings=["train.epochs=1"])
    folder, _, _ = evaluate_to_json(config, data, root=tmp_path / "runs", device=CPU)
    view = view_by_attributes(data, ["age"])
    encoder_source = read_source(folder)
    transferred = evaluate_to_json(
        transfer_config(encoder_source, view),
        view,
        root=tmp_path / "taken",
        device=CPU,
        source=encoder_source,
    )
    ordinary = evaluate_to_json(config, view, root=tmp_path / "runs", device=CPU)
    assert transferred[1] == ordinary[1]
    knn = make_config("supcon", preset="smoke", settings=["train.epochs=1", "probe.kind=knn"])
    records: list[dict[str, Any]] = []
    _, evaluation, _ = evaluate_to_json(
        knn, view, root=tmp_path / "runs", device=CPU, on_epoch=records.append
    )
    assert records == []
    assert evaluation["encoder_from"]["dataset"] == data.name
    assert evaluation["trained_in_run"] == evaluation["encoder_from"]["digest"]
    (group,) = group_runs([FinishedRun(tmp_path, Evaluation.from_json(evaluation))])
    (command,) = [c for c in format_repeat_commands(group).splitlines() if "evaluate" in c]
    assert "--loss supcon" in command  # the encoder is trained by the run itself
    assert "--bias age" in command
    assert "--set probe.kind=knn" in command


# Refused runs and options


def copy_run(workspace: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    shutil.copytree(read_trained_run(workspace).run.folder, folder)
    return folder


def rename_section(folder: Path) -> None:
    text = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(text.replace("[probe]", "[prober]"))
    reseal(folder)


def change_seed(folder: Path) -> None:
    text = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(text.replace("seed = 0", "seed = 1"))
    reseal(folder)


def truncate_encoder(folder: Path) -> None:
    path = folder / ENCODER
    path.write_bytes(path.read_bytes()[:1000])


def break_toml(folder: Path) -> None:
    (folder / "config.toml").write_text("[[[")
    reseal(folder)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: (folder / DONE).unlink(), "is not finished"),
        (lambda folder: (folder / "config.toml").unlink(), "is not a run"),
        (truncate_encoder, "encoder.safetensors has changed since the run ended"),
        (rename_section, "is a run of another version"),
        (change_seed, "its settings are of another run"),
        (break_toml, "has no settings of a run"),
        (shutil.rmtree, "is not a run"),
    ],
)
def test_an_invalid_source_run_is_refused_in_one_line(
    harm: Callable[[Path], Any], message: str, workspace: Path, tmp_path: Path
) -> None:
    folder = copy_run(workspace, tmp_path)
    harm(folder)
    with pytest.raises(RunError, match=message) as caught:
        read_source(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_images_too_small_for_the_encoder_are_refused_before_a_folder_is_made(
    workspace: Path, b: BiasedDataset, tmp_path: Path
) -> None:
    small = {
        name: dataclasses.replace(split, images=np.ascontiguousarray(split.images[:, :, :20, :20]))
        for name, split in b.splits.items()
    }
    data = dataclasses.replace(b, splits=small, digest="2" * 64)
    with pytest.raises(UsageError, match=r"28 pixels .*fastconvnet.* but got 20"):
        evaluate_transfer(workspace, data, "linear", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_changed_copy_of_the_encoder_is_refused(
    workspace: Path, b: BiasedDataset, tmp_path: Path
) -> None:
    folder, _, _ = evaluate_transfer(workspace, b, "linear", tmp_path)
    (folder / DONE).unlink()
    (folder / ENCODER).write_bytes(b"nonsense")
    with pytest.raises(BiasconError, match="is not in the journal of its run"):
        evaluate_transfer(workspace, b, "linear", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--data", "B"], 2, "expected --loss NAME to train, or --run RUN .* got neither"),
        (["--run", "RUN", "--loss", "ce"], 2, "got both"),
        (["--run", "RUN", "--seeds", "0"], 2, "--seeds would change nothing"),
        (["--run", "RUN", "--data", "B", "--set", "optimizer.lr=1"], 2, "trained already"),
        (["--run", "RUN", "--data", "B", "--protocol", "nn"], 2, "Invalid value for '--protocol'"),
        (["--run", "B", "--data", "B"], 1, "is not a run"),
        (["--loss", "ce", "--weights", "nowhere"], 1, "cannot read weights nowhere"),
    ],
)
def test_wrong_options_on_the_command_line_are_refused(
    arguments: list[str], code: int, message: str, workspace: Path, cli: Callable[..., Any]
) -> None:
    paths = {"B": workspace / "data" / "other", "RUN": read_trained_run(workspace).run.folder}
    result = cli("evaluate", *(paths.get(argument, argument) for argument in arguments))
    assert result.code == code
    message_line = result.err.strip().splitlines()[-1]
    assert message_line.startswith("error: ")
    assert re.search(message, message_line), message_line


def test_one_command_evaluates_several_runs_and_names_their_datasets(
    workspace: Path, b: BiasedDataset, cli: Callable[..., Any]
) -> None:
    folders = [
        find_trained_run(workspace / "runs" / name / "supcon") for name in ("plain", "other")
    ]
    options = [option for folder in folders for option in ("--run", folder)]
    result = cli("evaluate", *options, "--data", workspace / "data" / "other", "--protocol", "knn")
    assert result.code == 0, result.err
    rows = [line.split() for line in result.out.splitlines() if line.startswith("supcon")]
    assert [row[2:4] for row in rows] == [["kNN", "plain"], ["kNN", "other"]]
    assert "encoder from plain" in result.out
    json_result = cli("evaluate", *options, "--data", workspace / "data" / "other", "--json")
    evaluations = [json.loads(line) for line in json_result.out.splitlines()]
    assert [
        evaluation.get("encoder_from", evaluation)["dataset"] for evaluation in evaluations
    ] == ["plain", "other"]
    assert {evaluation["dataset_digest"] for evaluation in evaluations} == {b.digest}
