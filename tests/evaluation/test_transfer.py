"""An encoder trained on one dataset, judged on another: both ways, by each protocol, and what is refused."""

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
from biascon.evaluation.linear_probe import fit
from biascon.evaluation.transfer import EncoderSource, read_source, transfer_config
from biascon.models.features import extract_features
from biascon.report.convergence import convergence_speeds, validation_curve
from biascon.report.experiments import find_runs, group_runs
from biascon.report.html import render_html
from biascon.report.repeat_commands import format_repeat_commands
from biascon.runs.evaluation import Evaluation
from biascon.runs.finished import FinishedRun
from biascon.runs.folder import DONE, ENCODER, EVALUATION, PREDICTIONS, mark_finished, read_finished
from biascon.training.network import load_weights
from tests.run_helpers import evaluate_to_json
from tests.small_datasets import describe_dataset, draw_images, write_faces, write_plain

CPU = torch.device("cpu")
FAST = ["train.epochs=2", "train.batch_size=20"]
TUNE = ["finetune.epochs=3", "finetune.batch_size=20"]


def other(folder: Path, *, classes: int = 6) -> Path:
    """Write another dataset without a bias attribute: fewer classes, on a tint, in another order."""
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
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datasets A and B, with a finished run of each."""
    root = tmp_path_factory.mktemp("transfer")
    for folder in (write_plain(root / "data" / "plain"), other(root / "data" / "other")):
        for loss in ("supcon", "contex"):
            config = make_config(loss, preset="smoke", settings=[*FAST, "train.probe_every=1"])
            evaluate_to_json(config, load(folder), root=root / "runs", device=CPU)
    return root


@pytest.fixture
def a(place: Path) -> BiasedDataset:
    return load(place / "data" / "plain")


@pytest.fixture
def b(place: Path) -> BiasedDataset:
    return load(place / "data" / "other")


def read_run(folder: Path) -> FinishedRun:
    run = FinishedRun.read(folder)
    assert run is not None
    return run


def only(folder: Path) -> Path:
    """The run that trained, of one dataset and loss."""
    (found,) = [
        path.parent
        for path in folder.glob("seed0-*/evaluation.json")
        if "encoder_from" not in json.loads(path.read_text())
    ]
    return found


def source(place: Path, dataset: str = "plain", loss: str = "supcon") -> EncoderSource:
    return read_source(only(place / "runs" / dataset / loss))


def judged(
    place: Path, data: BiasedDataset, protocol: str, root: Path, *settings: str, **kind: str
) -> tuple[Path, dict[str, Any], bool]:
    taken = source(place, **kind)
    config = transfer_config(taken, data, protocol=protocol, settings=settings)
    return evaluate_to_json(config, data, root=root, device=CPU, source=taken)


@pytest.mark.filterwarnings("ignore:the linear probe did not converge")
def test_figure_five_both_ways_with_its_curves(
    place: Path, a: BiasedDataset, b: BiasedDataset, tmp_path: Path
) -> None:
    """CIFAR-10 <-> CIFAR-100 in small: two losses, two datasets, each fine-tuned on the other."""
    found: dict[tuple[str, str], list[FinishedRun]] = {}
    for frm, to in (("plain", b), ("other", a)):
        for loss in ("supcon", "contex"):
            folder, evaluation, _ = judged(
                place, to, "finetune", tmp_path, *TUNE, dataset=frm, loss=loss
            )
            assert folder.parts[-3:-1] == (to.name, loss)
            assert evaluation["dataset"] == to.name
            assert evaluation["encoder_from"]["dataset"] == frm
            assert evaluation["evaluated_by"] == "fine_tuned"
            assert evaluation["protocol"]["evaluation"].endswith(f"; encoder trained on {frm}")
            run = read_run(folder)
            points = validation_curve(run)
            assert [p.epoch for p in points] == [1, 2, 3]
            assert points == validation_curve(run, "top1")
            top5 = [p.accuracy for p in validation_curve(run, "top5")]
            assert all(t5 >= p.accuracy for t5, p in zip(top5, points, strict=True))
            (folder_from,) = [only(place / "runs" / frm / loss)]
            followed = read_run(folder_from)
            assert [p.epoch for p in validation_curve(followed)] == [
                1,
                2,
            ]  # while the encoder was trained
            assert (
                validation_curve(followed, "top5")[-1].accuracy
                >= validation_curve(followed)[-1].accuracy
            )
            found.setdefault((frm, to.name), []).append(run)
    groups = group_runs(find_runs(tmp_path))
    assert len(groups) == 2  # one a direction, both losses in each
    assert all(set(g.losses) == {"supcon", "contex"} for g in groups)
    assert {g.preset.rsplit(" + ", 1)[1] for g in groups} == {
        "encoder from plain", "encoder from other",
    }  # fmt: skip
    assert all(len(convergence_speeds(g)) == 2 for g in groups)
    page = render_html(groups)
    assert "Top-1 validation accuracy of fine-tuning by epoch" in page
    assert "biascon evaluate --run runs/plain/contex/seed0-" in page


def test_the_probe_is_that_of_the_other_datasets_features(
    place: Path, b: BiasedDataset, tmp_path: Path
) -> None:
    from biascon.models.encoders import build_encoder

    folder, evaluation, _ = judged(place, b, "linear", tmp_path)
    taken = source(place)
    encoder = build_encoder("fastconvnet", torch.Generator())
    load_weights(encoder, taken.run.folder / ENCODER)
    train, test = b.splits["train"], b.splits["test"]
    probe = fit(
        extract_features(encoder, train.images, device=CPU), train.labels, 6, taken.config.probe
    )
    told = probe.probabilities(extract_features(encoder, test.images, device=CPU)).argmax(axis=1)
    assert evaluation["top1"]["value"] == pytest.approx((told == test.labels).mean())
    assert (folder / ENCODER).read_bytes() == (taken.run.folder / ENCODER).read_bytes()


def test_the_evaluation_says_from_which_run_dataset_and_digest(
    place: Path, a: BiasedDataset, b: BiasedDataset, tmp_path: Path
) -> None:
    folder, evaluation, reused = judged(place, b, "knn", tmp_path, "probe.k=5")
    taken = source(place)
    assert not reused
    assert evaluation["encoder_from"] == {
        "run": "/".join(taken.run.folder.parts[-3:]),
        "dataset": "plain",
        "dataset_digest": a.digest,
        "digest": taken.run.digest,
        "sha256": taken.sha256,
    }
    assert (evaluation["epochs"], evaluation["seed"], evaluation["loss"]) == (2, 0, "supcon")
    assert evaluation["dataset_digest"] == b.digest
    assert evaluation["labels"] == b.manifest.labels
    assert read_finished(folder) == evaluation
    assert judged(place, b, "knn", tmp_path, "probe.k=5")[2]  # the second time it is only read
    again, other, _ = judged(place, b, "knn", tmp_path / "again", "probe.k=5")
    assert other == evaluation
    for name in ("config.toml", ENCODER, PREDICTIONS, EVALUATION):
        assert (again / name).read_bytes() == (folder / name).read_bytes(), name


def test_protocols_and_origins_are_never_in_one_group(
    place: Path, b: BiasedDataset, tmp_path: Path
) -> None:
    shutil.copytree(place / "runs" / "other", tmp_path / "other")
    for protocol in ("linear", "knn"):
        judged(place, b, protocol, tmp_path)
    groups = group_runs(find_runs(tmp_path, "other"))
    assert len(groups) == 3
    assert len({g.title for g in groups}) == 3


def test_on_its_own_dataset_it_is_the_ordinary_run(
    place: Path, a: BiasedDataset, tmp_path: Path
) -> None:
    folder, evaluation, _ = judged(place, a, "knn", tmp_path / "taken")
    config = make_config(
        "supcon", preset="smoke", settings=[*FAST, "train.probe_every=1", "probe.kind=knn"]
    )
    shutil.copytree(place / "runs", tmp_path / "runs")
    said: list[dict[str, Any]] = []
    other, usual, _ = evaluate_to_json(
        config, a, root=tmp_path / "runs", device=CPU, on_epoch=said.append
    )
    assert said == []  # the encoder is there
    assert usual == evaluation
    assert other.name == folder.name
    assert (other / PREDICTIONS).read_bytes() == (folder / PREDICTIONS).read_bytes()
    same, again, reused = judged(place, a, "linear", place / "runs")
    assert reused
    assert same == source(place).run.folder
    assert "encoder_from" not in again


def test_an_encoder_may_be_taken_from_a_run_that_took_it(
    place: Path, b: BiasedDataset, tmp_path: Path
) -> None:
    first, evaluation, _ = judged(place, b, "knn", tmp_path)
    taken = read_source(first)
    assert taken.origin.digest == evaluation["encoder_from"]["digest"]
    assert transfer_config(taken, b).origin == source(place).origin
    config = transfer_config(taken, b)
    assert config.digest(b.digest) == transfer_config(source(place), b).digest(b.digest)


def test_a_view_by_another_attribute_is_judged_with_the_same_encoder(tmp_path: Path) -> None:
    data = load(write_faces(tmp_path / "data"))
    config = make_config("supcon", preset="smoke", settings=["train.epochs=1"])
    folder, _, _ = evaluate_to_json(config, data, root=tmp_path / "runs", device=CPU)
    view = view_by_attributes(data, ["age"])
    taken = read_source(folder)
    found = evaluate_to_json(
        transfer_config(taken, view), view, root=tmp_path / "taken", device=CPU, source=taken
    )
    usual = evaluate_to_json(config, view, root=tmp_path / "runs", device=CPU)
    assert found[1] == usual[1]
    knn = make_config("supcon", preset="smoke", settings=["train.epochs=1", "probe.kind=knn"])
    said: list[dict[str, Any]] = []
    _, evaluation, _ = evaluate_to_json(
        knn, view, root=tmp_path / "runs", device=CPU, on_epoch=said.append
    )
    assert said == []
    assert evaluation["encoder_from"]["dataset"] == data.name
    assert evaluation["trained_in_run"] == evaluation["encoder_from"]["digest"]
    (one,) = group_runs([FinishedRun(tmp_path, Evaluation.from_json(evaluation))])
    (command,) = [c for c in format_repeat_commands(one).splitlines() if "evaluate" in c]
    assert "--loss supcon" in command  # it is no transfer
    assert "--bias age" in command
    assert "--set probe.kind=knn" in command


# What is refused


def copied(place: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    shutil.copytree(source(place).run.folder, folder)
    return folder


def sealed_again(folder: Path) -> None:
    """As if another version had written the files."""
    mark_finished(folder, json.loads((folder / DONE).read_text())["digest"])


def older(folder: Path) -> None:
    text = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(text.replace("[probe]", "[prober]"))
    sealed_again(folder)


def recipe(folder: Path) -> None:
    text = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(text.replace("seed = 0", "seed = 1"))
    sealed_again(folder)


def truncated(folder: Path) -> None:
    path = folder / ENCODER
    path.write_bytes(path.read_bytes()[:1000])


def no_toml(folder: Path) -> None:
    (folder / "config.toml").write_text("[[[")
    sealed_again(folder)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: (folder / DONE).unlink(), "is not finished"),
        (lambda folder: (folder / "config.toml").unlink(), "is not a run"),
        (truncated, "encoder.safetensors has changed since the run ended"),
        (older, "is a run of another version"),
        (recipe, "is a run of another version"),
        (no_toml, "is a run of another version"),
        (shutil.rmtree, "is not a run"),
    ],
)
def test_a_run_that_is_none_is_told_in_a_line(
    harm: Callable[[Path], Any], message: str, place: Path, tmp_path: Path
) -> None:
    folder = copied(place, tmp_path)
    harm(folder)
    with pytest.raises(RunError, match=message) as caught:
        read_source(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_images_that_the_encoder_does_not_take_are_refused_before_a_folder_is_made(
    place: Path, b: BiasedDataset, tmp_path: Path
) -> None:
    small = {
        name: dataclasses.replace(split, images=np.ascontiguousarray(split.images[:, :, :20, :20]))
        for name, split in b.splits.items()
    }
    data = dataclasses.replace(b, splits=small, digest="2" * 64)
    with pytest.raises(UsageError, match=r"\(fastconvnet needs 28\), but got 20"):
        judged(place, data, "linear", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_was_changed_in_the_new_run_is_told(
    place: Path, b: BiasedDataset, tmp_path: Path
) -> None:
    folder, _, _ = judged(place, b, "linear", tmp_path)
    (folder / DONE).unlink()
    (folder / ENCODER).write_bytes(b"nonsense")
    with pytest.raises(BiasconError, match="is damaged; delete it or pass --no-resume"):
        judged(place, b, "linear", tmp_path)


@pytest.mark.parametrize(
    ("words", "code", "message"),
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
def test_wrong_words_on_the_command_line(
    words: list[str], code: int, message: str, place: Path, cli: Callable[..., Any]
) -> None:
    known = {"B": place / "data" / "other", "RUN": source(place).run.folder}
    found = cli("evaluate", *(known.get(word, word) for word in words))
    assert found.code == code
    last = found.err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert re.search(message, last), last


def test_several_runs_in_one_command_and_a_table_that_says_where_they_are_from(
    place: Path, b: BiasedDataset, cli: Callable[..., Any]
) -> None:
    folders = [only(place / "runs" / frm / "supcon") for frm in ("plain", "other")]
    words = [word for folder in folders for word in ("--run", folder)]
    found = cli("evaluate", *words, "--data", place / "data" / "other", "--protocol", "knn")
    assert found.code == 0, found.err
    rows = [line.split() for line in found.out.splitlines() if line.startswith("supcon")]
    assert [row[2:4] for row in rows] == [["kNN", "plain"], ["kNN", "other"]]
    assert "encoder from plain" in found.out
    asked = cli("evaluate", *words, "--data", place / "data" / "other", "--json")
    told = [json.loads(line) for line in asked.out.splitlines()]
    assert [t.get("encoder_from", t)["dataset"] for t in told] == ["plain", "other"]
    assert {t["dataset_digest"] for t in told} == {b.digest}
