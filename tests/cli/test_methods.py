"""What the command line says about methods: error sets, dashes, and settings that a method refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from biascon.data.dataset import Split, load, save
from tests.cli.outcomes import usage_error
from tests.small_datasets import describe_dataset, write_faces

QUICK = ("--preset", "smoke", "--set", "train.epochs=1", "--set", "train.batch_size=32")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faces(tmp_path_factory.mktemp("data") / "faces")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def test_train_says_why_dfr_has_only_dashes_and_what_jtt_selects(
    cli: Any, faces: Path, root: Path
) -> None:
    losses = ("--loss", "dfr", "--loss", "jtt")
    outcome = cli("train", *losses, "--data", faces, "--runs", root, *QUICK)
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    dfr, jtt = (next(line for line in lines if line.startswith(f"{k} ")) for k in ("dfr", "jtt"))
    assert dfr.split().count("-") == 5
    assert jtt.split().count("-") == 0
    notes = [line for line in lines if " seed 0: " in line]
    assert len(notes) == 2
    assert notes[0].startswith("dfr seed 0: the last layer is fitted on the validation split")
    assert "biascon evaluate measures it on the test split" in notes[0]
    assert notes[1].startswith("jtt seed 0: images that the first-stage network misclassifies: ")
    for part in ("of 120 training images", "(recall)", "(precision)"):
        assert part in notes[1]


def test_train_says_why_there_are_dashes_without_a_validation_split(
    cli: Any, faces: Path, tmp_path: Path
) -> None:
    splits = load(faces).splits
    manifest = describe_dataset(
        "short", ["round", "square"], bias={"name": "race", "values": ["white", "other"]}
    )
    some: dict[str, Split] = {name: splits[name] for name in ("train", "test")}
    save(tmp_path / "short", some, manifest, replace=False)
    words = ("train", "--loss", "ce", "--data", tmp_path / "short", "--runs", tmp_path / "runs")
    outcome = cli(*words, *QUICK)
    assert outcome.code == 0, outcome.err
    assert "ce seed 0: the dataset has no validation split" in outcome.out


def test_evaluate_prints_and_records_what_a_first_stage_selects(
    cli: Any, faces: Path, root: Path
) -> None:
    words = ("evaluate", "--loss", "jtt", "--data", faces, "--runs", root, *QUICK)
    table, plain = cli(*words), cli(*words, "--json")
    assert (table.code, plain.code) == (0, 0), table.err
    record = json.loads(plain.out)["selected_images"]
    (line,) = [line for line in table.out.splitlines() if "misclassifies" in line]
    assert f"{record['selected']} of 120 training images" in line
    assert f"{100 * record['recall']:.0f} % of the {record['conflicting']} bias-conf" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("simclr", "model.head=[]"), "'simclr' needs a projection head"),
        (("contex", "model.head=[]"), "pass --set model.head=[128,128]"),
        (("contex", "augment.views=1"), "compares views of an image"),
        (("ce", "first_stage.epochs=1"), "'ce' has no first-stage network"),
        (("jtt", "first_stage.augment=jitter"), "one of auto, plain, same, but got jitter"),
        (("biascon", "loss.oversample=0.5"), "oversample to be at least 1, but got 0.5"),
        (("biascon", "loss.contrast_batch=1.5"), "contrast_batch to be an integer of at least 0"),
        (("lisa", "loss.p_label=2"), "p_label to be in 0..1, but got 2"),
        (("ce", "loss.oversample=2"), "no parameter 'oversample'"),
        (("afr", "train.batch_size=100"), "held out for the last layer"),
        (("ce", "train.held_out=0.5"), "unknown setting: 'train.held_out'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_setting_that_a_method_refuses_gives_one_line(
    cli: Any, faces: Path, tmp_path: Path, words: tuple[str, str], message: str
) -> None:
    loss, setting = words
    outcome = cli(
        "evaluate", "--loss", loss, "--data", faces, "--preset", "smoke", "--set", setting,
        "--runs", tmp_path / "runs",
    )  # fmt: skip
    assert message in usage_error(outcome)
    assert not (tmp_path / "runs").exists()


def test_a_method_that_needs_a_bias_attribute_is_refused_in_one_line(
    cli: Any, tmp_path: Path
) -> None:
    from tests.small_datasets import write_plain

    plain = write_plain(tmp_path / "plain")
    words = ("--data", plain, "--preset", "smoke", "--runs", tmp_path / "runs")
    for loss in ("badd", "subg", "lisa", "fscl+"):
        assert "has no bias attribute" in usage_error(cli("evaluate", "--loss", loss, *words))
    missing = cli("evaluate", "--loss", "badd", "--bias", "race", *words)
    assert "race" in usage_error(missing)


def test_the_old_preset_name_is_accepted_with_a_warning(
    cli: Any, faces: Path, tmp_path: Path
) -> None:
    words = ("evaluate", "--loss", "ce", "--preset", "paper", "--data", faces)
    outcome = cli(*words, "--set", "train.batch_size=500", "--runs", tmp_path / "runs")
    assert outcome.code == 2
    assert "warning: the preset 'paper' is now 'gpu'" in outcome.err
    assert outcome.err.splitlines()[-1].startswith("error: expected batch_size of at most 120")
