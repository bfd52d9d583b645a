"""Labels in the names of files: the fields of a pattern, files that do not match, and error messages."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from biascon.data.builders.file_patterns import parse_pattern
from tests.data.builders.folder_sets import write_image

Cli = Callable[..., tuple[int, str, str]]
PATTERN = "{split}/{label}/{id}_{label}_{bias}.png"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write 12 training and 4 test images of two labels."""
    for k in range(16):
        split, label, bias = (
            ("train", "test")[k >= 12],
            ("cat", "dog")[k % 2],
            ("in", "out")[k // 2 % 2],
        )
        write_image(tmp_path / "set" / split / label / f"no_{k}_{label}_{bias}.png", k)
    return tmp_path / "set"


def test_every_field_is_a_column(folder: Path, cli: Cli) -> None:
    code, out, err = cli("make-table", folder, "--pattern", PATTERN, "--size", "8", "--json")
    assert code == 0, err
    manifest = json.loads(out)
    assert (manifest["name"], manifest["labels"]) == ("set-8", ["cat", "dog"])
    assert manifest["bias"]["values"] == ["in", "out"]
    assert manifest["counts"]["train"]["cells"] == [[3, 3], [3, 3]]
    assert manifest["parameters"]["patterns"] == [PATTERN]
    assert "val" not in manifest["counts"]


def test_other_fields_can_be_label_and_bias_and_validation_images_held_out(
    folder: Path, cli: Cli
) -> None:
    words = (
        "--pattern",
        "{split}/{animal}/no_{n:#}_{*}_{place:in|out}.png",
        "--label-col",
        "animal",
    )
    code, out, err = cli(
        "make-table", folder, *words, "--bias-col", "place", "--val-protocol", "held-out",
        "--dry-run", "--json",
    )  # fmt: skip
    assert code == 0, err
    plan = json.loads(out)
    assert plan["bias"]["name"] == "place"
    assert {name: part["n"] for name, part in plan["counts"].items()} == {
        "train": 10, "val": 2, "test": 4,
    }  # fmt: skip


def test_hidden_other_and_ignored_files_are_passed_over(folder: Path, cli: Cli) -> None:
    for name in (
        "._no_0_cat_in.png",
        ".hidden/no_1_cat_in.png",
        "Thumbs.db",
        "no_1_cat_in_mask.png",
    ):
        write_image(folder / "train" / "cat" / name)
    write_image(folder / "__MACOSX" / "train" / "cat" / "no_0_cat_in.png")
    (folder / "train" / "link").symlink_to(folder / "train" / "cat")
    words = (
        "make-table",
        folder,
        "--pattern",
        PATTERN,
        "--ignore",
        "*_mask.png",
        "--max-rejected",
        "20%",
        "--dry-run",
        "--json",
    )
    plan = json.loads(cli(*words)[1])
    assert plan["dropped"] == {"ignored, *_mask.png": 1, "not named like a picture": 1}
    assert (plan["read"], plan["reasons"]) == (19, {"a link to a folder": 1})


def test_files_that_do_not_match_or_disagree_are_named(folder: Path, cli: Cli) -> None:
    write_image(folder / "train" / "cat" / "no_16_dog_in.png")
    write_image(folder / "train" / "no_17_dog_in.png")
    words = ("make-table", folder, "--pattern", PATTERN, "--size", "8")
    code, _, err = cli(*words)
    assert code == 1
    assert (
        "2 or more of 18 images cannot be used (1 the pattern does not match, 1 two values of label)"
        in err
    )
    (folder / "train" / "cat" / os.fsdecode(b"no_18\xe9_cat_in.png")).write_bytes(b"")
    assert cli(*words, "--max-rejected", "20%")[0] == 0
    assert Path("data/set-8/rejected.csv").read_text().splitlines()[1:] == [
        "train/cat/no_16_dog_in.png,two values of label",
        "train/cat/no_18\\udce9_cat_in.png,its name is not UTF-8",
        "train/no_17_dog_in.png,the pattern does not match",
    ]


@pytest.mark.parametrize(
    ("pattern", "code", "message"),
    [
        (
            "{split}/{label}/{bias}.jpg",
            1,
            "test/cat/no_12_cat_in.png: 'no_12_cat_in.png' is not '{bias}.jpg'",
        ),
        ("{label}/{id}_{bias}.png", 1, "it is in 2 folders, the pattern has 1"),
        ("{label}/{label}/{*}.png", 1, "it has two values of label"),
        ("{split}/{*}/{id}_{label}_{bias}.png", 2, "can be read in two ways"),
        ("{split}/{label}/{*}.png", 2, "has no field {bias}"),
        ("{split}/{class}/{*}.png", 2, "has no field {label}"),
        ("../{label}/{id}.png", 2, "expected a pattern of files below the folder"),
        ("/{label}/{id}.png", 2, "expected a pattern of files below the folder"),
        ("{label", 2, "expected fields such as {label}"),
        ("{split}/{label}/{a}{*}.png", 2, "expected text between two fields"),
        ("{la bel}/{id}.png", 2, "but got '{la bel}'"),
        ("{label:a||b}/{id}.png", 2, "but got '{label:a||b}'"),
        ("a/b.png", 2, "expected fields such as {label}"),
    ],
)
def test_a_wrong_pattern_gives_one_line(
    pattern: str, code: int, message: str, folder: Path, cli: Cli
) -> None:
    bias = ("--bias-col", "bias") if "bias" in message else ()
    got, out, err = cli("make-table", folder, "--pattern", pattern, *bias, "--dry-run")
    assert (got, out, err.count("\n")) == (code, "", 1), err
    assert message in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--pattern", PATTERN, "--root", "."], "leave them out with --pattern"),
        ([], "is a folder: expected a CSV file, or --pattern"),
    ],
)
def test_options_of_the_other_form_are_refused(
    words: list[str], message: str, folder: Path, cli: Cli
) -> None:
    code, _, err = cli("make-table", folder, *words, "--dry-run")
    assert code == 2
    assert message in err


def test_links_out_of_the_folder_are_not_read(folder: Path, tmp_path: Path, cli: Cli) -> None:
    write_image(tmp_path / "secret.png")
    (folder / "train" / "cat" / "no_20_cat_in.png").symlink_to(tmp_path / "secret.png")
    words = ("make-table", folder, "--pattern", PATTERN, "--size", "8")
    code, _, err = cli(*words)
    assert code == 1
    assert "outside the folder" in err


@pytest.mark.parametrize(
    ("pattern", "path", "values"),
    [
        ("{id}_{label:#}_{bias:#}.{ext}", "a_b_3_4.png", {"id": "a_b", "label": "3", "bias": "4"}),
        ("{label:pole|pole vaulting}_{*}.jpg", "pole vaulting_7.jpg", {"label": "pole vaulting"}),
        (
            "{label}/{x}_{label}_{bias}.png",
            "b/a_b_b_c.png",
            {"x": "a_b", "label": "b", "bias": "c"},
        ),
        ("{a}.{b}", "[x].(y)", {"a": "[x]", "b": "(y)"}),
    ],
)
def test_a_name_is_read_by_its_fields(pattern: str, path: str, values: dict[str, str]) -> None:
    match = parse_pattern(pattern).greedy.fullmatch(path)
    assert match is not None
    assert {name: match[name] for name in values} == values
