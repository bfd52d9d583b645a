"""Fine-tuning as evaluation protocol: it learns, keeps the encoder file, and resumes to the same bytes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from biascon.config.factory import make_config
from biascon.config.run_config import RunConfig
from biascon.data.dataset import BiasedDataset, load
from biascon.errors import RunError, UsageError
from biascon.evaluation import fine_tuning as module
from biascon.evaluation.fine_tuning import finetune
from biascon.evaluation.measurements import top_k
from biascon.evaluation.pipeline import validate
from biascon.models.encoders import build_encoder, build_head
from biascon.models.preprocess import normalize
from biascon.runs.folder import (
    DONE,
    ENCODER,
    EVALUATION,
    FINETUNE_LOG,
    FINETUNED,
    PREDICTIONS,
    read_finished,
)
from biascon.runs.records import EpochRecord
from biascon.training.augment import augment
from biascon.training.network import load_weights
from biascon.training.optimizer import build_optimizer, learning_rate
from biascon.utils.seeds import permutation, torch_generator
from tests.run_helpers import ContextInFolder, evaluate_to_json, note_in_journal
from tests.small_datasets import write_plain

CPU = torch.device("cpu")
FAST = [
    "train.epochs=1", "probe.kind=finetune", "finetune.epochs=4", "finetune.batch_size=20",
    "finetune.lr=3e-3",
]  # fmt: skip


def smoke(*settings: str, loss: str = "supcon") -> RunConfig:
    return make_config(loss, preset="smoke", settings=[*FAST, *settings])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> BiasedDataset:
    return load(write_plain(tmp_path_factory.mktemp("finetune") / "data"))


@pytest.fixture(scope="module")
def done(
    data: BiasedDataset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], Path]:
    root = tmp_path_factory.mktemp("runs")
    folder, evaluation, _ = evaluate_to_json(smoke(), data, root=root, device=CPU)
    return folder, evaluation, root


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / FINETUNE_LOG).read_text().splitlines()]


def test_fine_tuning_learns_and_logs_validation_accuracies_of_each_epoch(
    done: tuple[Path, dict[str, Any], Path], data: BiasedDataset
) -> None:
    folder, evaluation, _ = done
    epochs = lines(folder)
    assert [line["epoch"] for line in epochs] == [1, 2, 3, 4]
    assert epochs[-1]["loss"] < 0.7 * epochs[0]["loss"]
    validation = [line["validation"] for line in epochs]
    assert all(
        accuracies["n"] == len(data.splits["val"]) and accuracies["top1"] <= accuracies["top5"] <= 1
        for accuracies in validation
    )
    assert validation[-1]["top1"] > 2 / 7
    assert validation[-1]["top1"] == evaluation["validation"]["top1"]
    assert validation[-1]["unbiased"] is None  # no bias attribute: group metrics do not apply


def test_the_evaluation_names_the_protocol_and_the_run_of_the_encoder(
    done: tuple[Path, dict[str, Any], Path], data: BiasedDataset
) -> None:
    folder, evaluation, root = done
    assert evaluation["evaluated_by"] == "fine_tuned"
    assert evaluation["protocol"]["evaluation"] == (
        "encoder and a linear layer fine-tuned on the training split (4 epochs, batch 20, adamw, "
        "learning rate 0.003)"
    )
    assert evaluation["overrides"]["probe.kind"] == "finetune"
    origin = evaluation["encoder_from"]
    trained = smoke().for_device("cpu").training_config()
    assert origin["digest"] == trained.digest(data.digest)
    base = root / origin["run"]
    assert (base / ENCODER).read_bytes() == (folder / ENCODER).read_bytes()
    assert not (base / DONE).exists()  # it is trained, and nobody asked to judge it
    assert read_finished(folder) == evaluation


def test_fine_tuning_changes_a_copy_of_the_encoder(
    done: tuple[Path, dict[str, Any], Path],
) -> None:
    from safetensors.torch import load_file

    folder, _, _ = done
    before, after = (load_file(folder / name) for name in (ENCODER, FINETUNED))
    assert {f"encoder.{k}" for k in before} < set(after)
    assert not torch.equal(before["body.0.weight"], after["encoder.body.0.weight"])


def test_the_scores_are_those_of_the_fine_tuned_network(
    done: tuple[Path, dict[str, Any], Path], data: BiasedDataset
) -> None:
    import pyarrow.parquet as pq

    folder, evaluation, _ = done
    encoder = build_encoder("fastconvnet", torch.Generator())
    layer = build_head(encoder.dim, (data.n_labels,), torch.Generator())
    model = load_weights(module.FineTunedModel(encoder, layer), folder / FINETUNED).eval()
    with torch.inference_mode():
        want = model(normalize(torch.from_numpy(data.splits["test"].images))).softmax(dim=1).numpy()
    rows = pq.read_table(folder / PREDICTIONS).to_pandas()
    got = rows[[f"score_{k}" for k in range(data.n_labels)]].to_numpy()
    np.testing.assert_allclose(got, want, atol=1e-5)
    test = data.splits["test"].labels
    assert evaluation["top5"]["value"] == pytest.approx(top_k(test, got, 5).mean())


def test_the_same_run_elsewhere_gives_the_same_bytes(
    done: tuple[Path, dict[str, Any], Path], data: BiasedDataset, tmp_path: Path
) -> None:
    other, _, reused = evaluate_to_json(smoke(), data, root=tmp_path, device=CPU)
    assert not reused
    names = ("config.toml", ENCODER, FINETUNED, PREDICTIONS, EVALUATION)
    for name in names:
        assert (other / name).read_bytes() == (done[0] / name).read_bytes(), name


class StoppedError(Exception):
    """Stops a run, as a kill would."""


@pytest.mark.parametrize("after", [1, 3, 4])
def test_interrupted_fine_tuning_resumes_to_the_same_bytes(
    after: int, done: tuple[Path, dict[str, Any], Path], data: BiasedDataset, tmp_path: Path
) -> None:
    def stop(record: EpochRecord) -> None:
        if record.stage == "fine-tuning" and record.epoch == after:
            raise StoppedError

    with pytest.raises(StoppedError):
        evaluate_to_json(smoke(), data, root=tmp_path, device=CPU, on_epoch=stop)
    records: list[EpochRecord] = []
    folder, _, _ = evaluate_to_json(
        smoke(), data, root=tmp_path, device=CPU, on_epoch=records.append
    )
    assert [record.epoch for record in records] == list(range(after + 1, 5))
    for name in (FINETUNED, PREDICTIONS, EVALUATION):
        assert (folder / name).read_bytes() == (done[0] / name).read_bytes(), name
    assert [line["epoch"] for line in lines(folder)] == [1, 2, 3, 4]
    assert not (folder / module.CHECKPOINT).exists()


def test_no_resume_starts_fine_tuning_again(data: BiasedDataset, tmp_path: Path) -> None:
    folder, accuracies = validate(smoke(), data, root=tmp_path, device=CPU)
    assert accuracies is not None
    assert (folder / FINETUNED).is_file()
    records: list[EpochRecord] = []
    evaluate_to_json(
        smoke(), data, root=tmp_path, device=CPU, resume=False, on_epoch=records.append
    )
    assert [record.epoch for record in records if record.stage == "fine-tuning"] == [1, 2, 3, 4]


@pytest.mark.parametrize("name", [FINETUNED, module.CHECKPOINT])
def test_a_damaged_fine_tuning_file_is_refused(
    name: str, data: BiasedDataset, tmp_path: Path
) -> None:
    folder, _ = validate(smoke(), data, root=tmp_path, device=CPU)
    (folder / FINETUNED).unlink()
    (folder / name).write_bytes(b"nonsense")
    note_in_journal(folder / name)
    with pytest.raises(RunError, match=f"{name} is damaged; delete it or pass --no-resume"):
        validate(smoke(), data, root=tmp_path, device=CPU)
    assert validate(smoke(), data, root=tmp_path, device=CPU, resume=False)[1] is not None


def test_a_step_is_cross_entropy_on_images_that_keep_their_colors(
    done: tuple[Path, dict[str, Any], Path], data: BiasedDataset, tmp_path: Path
) -> None:
    """One epoch of one step, by hand."""
    config = smoke(
        "finetune.epochs=1", "finetune.batch_size=140", "augment.flip_p=0.5", "finetune.name=sgd"
    )
    (tmp_path / ENCODER).write_bytes((done[0] / ENCODER).read_bytes())
    note_in_journal(tmp_path / ENCODER)
    finetuned = finetune(ContextInFolder(config, data, tmp_path, CPU))
    encoder = build_encoder("fastconvnet", torch.Generator())
    load_weights(encoder, tmp_path / ENCODER)
    layer = build_head(128, (7,), torch_generator(0, "weights/finetune/layer"))
    model = module.FineTunedModel(encoder, layer).train()
    optimizer = build_optimizer(model, config.finetune)
    split = data.splits["train"]
    order = permutation(len(split), 0, "finetune/order/0")
    augmentation = dataclasses.replace(config.augment, jitter_p=0.0, grayscale_p=0.0)
    x = augment(
        torch.from_numpy(split.images[order]),
        augmentation,
        torch_generator(0, "finetune/views/0"),
        views=1,
    )
    F.cross_entropy(model(x), torch.from_numpy(split.labels[order])).backward()
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(config.finetune, 0, 1)
    optimizer.step()
    for (key, actual), expected in zip(
        finetuned.state_dict().items(), model.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(actual, expected, msg=key, rtol=1e-4, atol=1e-5)


def test_a_loss_that_is_not_finite_is_an_error(data: BiasedDataset, tmp_path: Path) -> None:
    config = smoke("finetune.lr=1e30", "finetune.name=sgd", "finetune.warmup=0")
    with pytest.raises(RunError, match=r"loss of fine-tuning is not finite in epoch \d"):
        evaluate_to_json(config, data, root=tmp_path, device=CPU)


def test_a_batch_that_is_too_large_is_refused_before_a_folder_is_made(
    data: BiasedDataset, tmp_path: Path
) -> None:
    with pytest.raises(
        UsageError, match=r"finetune\.batch_size of at most 140 images, but got 141"
    ):
        evaluate_to_json(smoke("finetune.batch_size=141"), data, root=tmp_path, device=CPU)
    assert list(tmp_path.iterdir()) == []


def test_the_test_split_is_not_read_before_the_end(
    done: tuple[Path, dict[str, Any], Path], data: BiasedDataset, tmp_path: Path
) -> None:
    test = data.splits["test"]
    other = dataclasses.replace(test, images=test.images[::-1].copy())
    swapped = dataclasses.replace(data, splits={**data.splits, "test": other}, digest="0" * 64)
    folder, _, _ = evaluate_to_json(smoke(), swapped, root=tmp_path, device=CPU)
    assert (folder / FINETUNED).read_bytes() == (done[0] / FINETUNED).read_bytes()
    kept = ("epoch", "loss", "validation")
    assert [{k: line[k] for k in kept} for line in lines(folder)] == [
        {k: line[k] for k in kept} for line in lines(done[0])
    ]


def test_without_a_validation_split_only_the_loss_is_logged(
    data: BiasedDataset, tmp_path: Path
) -> None:
    splits = {name: split for name, split in data.splits.items() if name != "val"}
    without = dataclasses.replace(data, splits=splits, digest="1" * 64)
    folder, evaluation, _ = evaluate_to_json(smoke(), without, root=tmp_path, device=CPU)
    assert evaluation["validation"] is None
    assert not any("validation" in line for line in lines(folder))


def test_the_own_classifier_of_the_method_is_measured_too(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    biased = load(make_dataset(tmp_path / "data"))
    _, tuned, _ = evaluate_to_json(smoke(loss="biasbal"), biased, root=tmp_path, device=CPU)
    _, usual, _ = evaluate_to_json(
        make_config("biasbal", preset="smoke", settings=FAST[:1]), biased, root=tmp_path, device=CPU
    )
    assert tuned["evaluated_by"] == "fine_tuned"
    assert usual["evaluated_by"] == "own"
    assert tuned["other_classifiers"][0]["classifier"] == "own"
    assert tuned["other_classifiers"][0]["top1"] == usual["top1"]["value"]
