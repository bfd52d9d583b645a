"""Waterbirds, UrbanCars, FairFace, the sets of DisEnt, and BAR: small drawn sets in the official layouts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biascon.data import dataset
from biascon.data.builders import urbancars, waterbirds
from tests.data.builders import biased_sets

Cli = Callable[..., tuple[int, str, str]]


def preview(cli: Cli, *words: object) -> dict[str, Any]:
    code, out, err = cli(*words, "--dry-run", "--json")
    assert code == 0, err
    return json.loads(out)  # type: ignore[no-any-return]


def test_waterbirds_is_read_with_its_names_and_official_splits(tmp_path: Path, cli: Cli) -> None:
    raw = biased_sets.make_waterbirds(tmp_path / "raw")
    code, out, err = cli("make-waterbirds", raw, "--size", "8", "--json")
    assert code == 0, err
    assert "6 of 3,498 (train, landbird x land)" in err
    manifest = json.loads(out)
    assert (manifest["labels"], manifest["bias"]["values"]) == (
        ["landbird", "waterbird"],
        ["land", "water"],
    )
    assert manifest["bias"]["aligned"].startswith("landbird = land, waterbird = water")
    assert [part["cells"] for part in manifest["counts"].values()] == [[[6, 6], [6, 6]]] * 3
    assert manifest["counts"]["test"]["aligned"] == 12
    assert manifest["protocol"]["val"] == "column split = 1"
    assert len(manifest["source"]["published_counts"]) == 12
    lines = (raw / waterbirds.FOLDERS[0] / "metadata.csv").read_text().splitlines()[1:]
    split = dataset.load(Path("data/waterbirds-8")).splits["train"]
    rows = [lines[k].split(",") for k in split.index]
    assert [int(row[2]) for row in rows] == split.labels.tolist()
    assert [int(row[4]) for row in rows] == split.bias.tolist()


def test_the_published_counts_of_waterbirds_and_urbancars() -> None:
    assert [sum(part.values()) for part in waterbirds.PUBLISHED.values()] == [4795, 1199, 5794]
    assert sorted(waterbirds.PUBLISHED["train"].values()) == [56, 184, 1057, 3498]
    assert [sum(part.values()) for part in urbancars.PUBLISHED.values()] == [8000, 1000, 1000]
    assert urbancars.PUBLISHED["train"]["country", "country", "urban"] == 190


def test_a_set_with_the_published_counts_says_so(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = biased_sets.make_waterbirds(tmp_path / "raw")
    counts = {split: dict.fromkeys(cells, 6) for split, cells in waterbirds.PUBLISHED.items()}
    monkeypatch.setattr(waterbirds, "PUBLISHED", counts)
    assert preview(cli, "make-waterbirds", raw)["source"]["published_counts"] == "equal"
    damaged = next((raw / waterbirds.FOLDERS[0]).rglob("Bird_0000.jpg"))
    damaged.write_bytes(damaged.read_bytes()[:100])  # found only when it is decoded
    words = ("make-waterbirds", raw, "--size", "8", "--json", "--max-rejected", "10%")
    code, out, err = cli(*words)
    assert code == 0, err
    differences = json.loads(out)["source"]["published_counts"]
    assert [text.split(",")[0] for text in differences] == ["5 of 6 (train"]
    assert differences[0] in err
    assert json.loads(cli(*words)[1])["source"]["published_counts"] == differences  # reused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("Bird_0000.jpg,0,0,0", "Bird_0000.jpg,2,0,0"),
            "expected 0 or 1 in column 'y', but got '2'",
        ),
        (("split", "part"), "has no column 'split'"),
        ((",0,2,", ",0,3,"), "expected 0, 1 or 2 in column 'split', but got '3'\n"),
    ],
)
def test_another_table_of_waterbirds_is_refused(
    change: tuple[str, str], message: str, tmp_path: Path, cli: Cli
) -> None:
    raw = biased_sets.make_waterbirds(tmp_path / "raw") / waterbirds.FOLDERS[0]
    table = raw / "metadata.csv"
    table.write_text(table.read_text().replace(*change))
    code, _, err = cli("make-waterbirds", raw, "--dry-run")
    assert code != 0
    assert message in err


def test_urbancars_has_two_bias_attributes_and_ignores_masks(tmp_path: Path, cli: Cli) -> None:
    raw = biased_sets.make_urbancars(tmp_path / "raw", {2: 4, 1: 2, 0: 1}, 1)
    code, out, err = cli("make-urbancars", raw, "--size", "8", "--json")
    assert code == 0, err
    assert "4 of 3,610 (train, country x country x country)" in err
    manifest = json.loads(out)
    assert manifest["counts"]["train"]["cells"] == [[6, 3], [3, 6]]  # country, urban x background
    assert manifest["bias"]["name"] == "bg"
    pairs = [["country", "country"], ["urban", "urban"]]
    assert [a["aligned"] for a in manifest["attributes"].values()] == [pairs, pairs]
    assert manifest["source"]["names"]["dropped"] == {"ignored, *_mask.png": 2 * 34}
    data = dataset.load(Path("data/urbancars-8"))
    by_object = dataset.view_by_attributes(data, ["co_occur_obj"])
    assert by_object.splits["train"].aligned.sum() == 12
    joint = dataset.view_by_attributes(data, ["bg", "co_occur_obj"])
    cells = joint.manifest.counts["train"].cells
    assert cells == [[4, 2, 2, 1], [1, 2, 2, 4]]  # obj country; urban


def test_fairface_holds_validation_images_out_of_the_training_table(
    tmp_path: Path, cli: Cli
) -> None:
    raw = biased_sets.make_fairface(tmp_path / "raw")
    first = preview(cli, "make-fairface", raw)
    assert first["name"] == "fairface-gender-race"
    assert {name: part["n"] for name, part in first["counts"].items()} == {
        "train": 36, "val": 4, "test": 8,
    }  # fmt: skip
    assert list(first["attributes"]) == ["race", "age"]
    assert first["protocol"]["test"] == "official validation pictures"
    assert first["source"]["published_counts"][0] == "40 of 86,744 (train)"
    words = ("--label", "age", "--bias", "gender", "--size", "8", "--json")
    code, out, err = cli("make-fairface", raw, *words)
    assert code == 0, err
    assert "40 of 86,744 (train), 8 of 10,954 (test)" in err
    assert json.loads(out)["labels"] == ["3-9", "more than 70"]
    code, _, err = cli("make-fairface", raw, "--label", "race", "--dry-run")
    assert code == 2
    assert "two of gender, race, age, but got 'race' and 'race'" in err
    table = raw / "fairface_label_train.csv"
    text = table.read_text()
    table.write_text(text.replace(",3-9,", ",20-29,").replace("20-29", "3-9", 3))
    ages = ["3-9", "20-29", "more than 70"]
    assert preview(cli, "make-fairface", raw)["attributes"]["age"]["values"] == ages
    table.write_text(text.replace(",Male,", ",male,", 1))
    code, _, err = cli("make-fairface", raw, "--label", "race", "--bias", "gender", "--dry-run")
    assert code == 1
    assert "expected Female, Male in column 'gender', but got 'male'" in err
    table.write_text(text)
    (raw / "train").mkdir()
    (raw / "val").mkdir()
    code, _, err = cli("make-fairface", raw, "--dry-run")
    assert code == 1
    assert "has the images twice" in err


@pytest.mark.parametrize(
    ("valid_in_percent", "nested"), [(True, False), (True, True), (False, False)]
)
def test_the_sets_of_disent_are_read(
    valid_in_percent: bool, nested: bool, tmp_path: Path, cli: Cli
) -> None:
    raw = biased_sets.make_disent(
        tmp_path / "set", valid_in_percent=valid_in_percent, nested=nested
    )
    plan = preview(cli, "make-debias", raw, "--percent", "0.5pct")
    assert (plan["name"], plan["builder"]) == ("set-0.5pct", "debias")
    assert plan["counts"]["train"]["cells"] == [[8, 2], [2, 8]]
    assert plan["counts"]["train"]["conflicting"] == 4
    assert plan["counts"]["val"]["cells"] == plan["counts"]["test"]["cells"] == [[3, 3], [3, 3]]
    assert preview(cli, "make-debias", raw / "0.5pct") == plan


@pytest.mark.parametrize(("labels", "has_note"), [((0, 1), True), ((0, 1, 2), False)])
def test_two_test_definitions_are_told_for_bffhq_alone(
    labels: tuple[int, ...], has_note: bool, tmp_path: Path, cli: Cli
) -> None:
    raw = biased_sets.make_disent(
        tmp_path / "set", valid_in_percent=False, nested=False, labels=labels
    )
    text = preview(cli, "make-debias", raw / "1pct")["protocol"]["test"]
    assert text.startswith("the pictures of test")
    assert ("bFFHQ: all of them (top1)" in text) == has_note
    assert ("bias_conflicting_samples" in text) == has_note


def test_a_percentage_of_disent_has_to_be_chosen(tmp_path: Path, cli: Cli) -> None:
    raw = biased_sets.make_disent(tmp_path / "set", valid_in_percent=False, nested=True)
    code, _, err = cli("make-debias", raw, "--dry-run")
    assert code == 2
    assert "expected --percent to be one of '0.5pct', '1pct', but got none" in err
    assert cli("make-debias", raw / "1pct", "--percent", "0.5pct", "--dry-run")[0] == 2
    assert cli("make-waterbirds", raw, "--seed", "1", "--dry-run")[0] == 2
    code, _, err = cli("make-debias", raw / "test", "--dry-run")
    assert code == 1
    assert "has no folder with align and conflict" in err


def test_a_folder_and_a_name_of_disent_that_disagree_are_told(tmp_path: Path, cli: Cli) -> None:
    raw = biased_sets.make_disent(tmp_path / "set", valid_in_percent=False, nested=False)
    folder = raw / "1pct"
    (folder / "align/0/0_a_0_0.png").rename(folder / "align/0/0_a_0_1.png")
    (folder / "align/0/1_a_0_0.png").rename(folder / "align/0/1_a_1_1.png")
    code, out, err = cli("make-debias", folder, "--max-rejected", "10%", "--dry-run", "--json")
    assert code == 0
    assert "warning: 1 file of align or conflict" in err
    assert "'1pct/align/0/0_a_0_1.png'" in err
    plan = json.loads(out)
    assert plan["reasons"] == {"two values of label": 1}
    assert plan["counts"]["train"]["cells"] == [[6, 3], [2, 8]]


def test_bar_has_no_bias_attribute_and_holds_validation_images_out(
    tmp_path: Path, cli: Cli
) -> None:
    raw = biased_sets.make_bar(tmp_path / "raw")
    code, out, err = cli("make-debias", raw, "--size", "8", "--json")
    assert code == 0, err
    assert "10 of 326 (train, climbing)" in err
    manifest = json.loads(out)
    assert (manifest["builder"], manifest["bias"]) == ("bar", None)
    assert manifest["labels"] == ["climbing", "pole vaulting"]
    assert {name: part["n"] for name, part in manifest["counts"].items()} == {
        "train": 18, "val": 2, "test": 8,
    }  # fmt: skip
    assert "withdrew" in manifest["protocol"]["test"]
    assert np.array_equal(dataset.load(Path("data/bar-8")).splits["val"].labels, [0, 1])


@pytest.mark.parametrize(
    ("folders", "command"),
    [
        (["img_align_celeba"], "make-celeba"),
        (["UTKFace/25_0_2_20170116174525125.jpg.chip.jpg"], "make-utkface"),
        (["metadata.csv"], "make-waterbirds"),
        (["urbancars/bg-0.95_co_occur_obj-0.95/train"], "make-urbancars"),
        (["fairface_label_val.csv"], "make-fairface"),
        (["0.5pct/align", "0.5pct/conflict"], "make-debias"),
        (["train/climbing_0.jpg", "test/climbing_9.jpg"], "make-debias"),
        (["labels.csv"], "make-table"),
        (["train/cat_1.png", "test/cat_2.png"], "make-table"),
    ],
)
def test_another_command_points_to_the_command_of_a_set(
    folders: list[str], command: str, tmp_path: Path, cli: Cli
) -> None:
    for name in folders:
        (tmp_path / "raw" / name).mkdir(parents=True)
    code, _, err = cli("make-standard", "folder", tmp_path / "raw", "--dry-run")
    assert code == 1
    assert f"biascon {command} {tmp_path / 'raw'}" in err
