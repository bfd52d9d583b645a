"""A user's own images from a CSV file: several bias columns, splits, alignment, and error messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from biascon.data import dataset
from biascon.data.images import decoding
from biascon.data.images.decoding import ImageSpec
from tests.data import image_files

Cli = Callable[..., tuple[int, str, str]]
COLUMNS = (
    "--image-col",
    "file",
    "--label-col",
    "animal",
    "--bias-col",
    "place",
    "--bias-col",
    "camera",
)
N = 60


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Write 60 images and a CSV file that lists them in another order."""
    folder = tmp_path / "mine"
    (folder / "pics").mkdir(parents=True)
    rows = ["file,animal,place,camera,part,note"]
    for k in range(N):
        name = f"pics/{(k * 7) % N:03d}.jpg"
        (folder / name).write_bytes(image_files.encode(image_files.draw_image(k, 60, 50)))
        animal, place = ("cat", "dog")[k % 2], ("indoor", "street, wet", "beach")[k % 3]
        rows.append(
            f'{name},{animal},"{place}",{k % 4 + 7}.0,{("train", "Valid", "test")[k % 5 % 3]},'
        )
    (folder / "my table.csv").write_text("\n".join(rows) + "\n", encoding="utf-8-sig")
    return folder / "my table.csv"


def test_several_bias_columns_are_kept_and_one_is_the_default(table: Path, cli: Cli) -> None:
    code, out, err = cli("make-table", table, *COLUMNS, "--size", "32", "--aligned", "cat=indoor",
                         "--aligned", "dog=beach", "--aligned", "dog=street, wet", "--json")  # fmt: skip
    assert code == 0, err
    manifest = json.loads(out)
    assert manifest["name"] == "my-table-32"
    assert manifest["labels"] == ["cat", "dog"]
    assert manifest["bias"]["values"] == ["beach", "indoor", "street, wet"]
    assert manifest["attributes"]["camera"] == {"values": ["7", "8", "9", "10"], "aligned": None}
    data = dataset.load(Path("data/my-table-32"))
    lines = table.read_text(encoding="utf-8-sig").splitlines()[1:]
    files = []
    for split in data.splits.values():
        for k, index in enumerate(split.index):
            name, animal = lines[index].split(",")[:2]
            files.append(name)
            expected = decoding.decode((table.parent / name).read_bytes(), ImageSpec(32))
            assert np.array_equal(split.images[k], expected)
            assert data.manifest.labels[split.labels[k]] == animal
            place = data.manifest.bias.values[split.bias[k]]
            assert split.aligned[k] == ((animal == "cat") == (place == "indoor"))
    assert len(files) == len(set(files)) == N
    assert [len(split) for split in data.splits.values()] == [44, 4, 12]
    assert dataset.view_by_attributes(data, ["place", "camera"]).n_bias == 12


def test_the_order_of_the_rows_changes_only_the_index(table: Path, cli: Cli) -> None:
    cli("make-table", table, *COLUMNS, "--size", "32", "--out", "one")
    lines = table.read_text(encoding="utf-8-sig").splitlines()
    table.write_text("\n".join([lines[0], *lines[:0:-1]]))
    cli("make-table", table, *COLUMNS, "--size", "32", "--out", "other")
    for name in ("train", "val", "test"):
        first, second = (dataset.load(Path(folder)).splits[name] for folder in ("one", "other"))
        assert np.array_equal(first.images, second.images)
        assert np.array_equal(first.labels, second.labels)
        assert np.array_equal(first.index, N - 1 - second.index)


def test_a_split_column_determines_the_splits(table: Path, cli: Cli) -> None:
    code, out, _ = cli("make-table", table, *COLUMNS, "--split-col", "part", "--dry-run", "--json")
    preview = json.loads(out)
    assert code == 0
    assert {name: part["n"] for name, part in preview["counts"].items()} == {
        "train": 24, "val": 24, "test": 12,
    }  # fmt: skip
    assert preview["protocol"]["train"] == "column part"
    assert preview["bias"]["aligned"] is None
    assert preview["counts"]["train"]["aligned"] is None


def test_aligned_values_come_from_a_file_for_each_column(table: Path, cli: Cli) -> None:
    Path("pairs.csv").write_text(
        "column,label,value\ncamera,cat,7\ncamera,dog,8\nplace,cat,indoor\nplace,dog,beach\n"
    )
    code, out, err = cli(
        "make-table", table, *COLUMNS, "--aligned", "pairs.csv", "--dry-run", "--json"
    )
    assert code == 0, err
    attributes = json.loads(out)["attributes"]
    assert attributes["camera"]["aligned"] == [["cat", "7"], ["dog", "8"]]
    assert attributes["place"]["aligned"] == [["cat", "indoor"], ["dog", "beach"]]


def test_label_equal_to_bias_is_aligned_if_both_have_the_same_values(table: Path, cli: Cli) -> None:
    text = table.read_text(encoding="utf-8-sig")
    table.write_text(
        text.replace("street, wet", "cat").replace("indoor", "dog").replace("beach", "cat")
    )
    code, out, _ = cli("make-table", table, *COLUMNS, "--dry-run", "--json")
    assert code == 0
    assert json.loads(out)["attributes"]["place"]["aligned"] == [["cat", "cat"], ["dog", "dog"]]


def test_rows_without_a_value_and_missing_files_are_listed(table: Path, cli: Cli) -> None:
    lines = table.read_text(encoding="utf-8-sig").splitlines()
    lines[3] = lines[3].replace("cat", "").replace("dog", "")
    lines[5] = "," + lines[5].split(",", 1)[1]
    lines[6] = lines[6].replace("pics/", "gone/")
    table.write_text("\n".join(lines))
    code, _, err = cli("make-table", table, *COLUMNS, "--size", "32")
    assert code == 1
    assert "2 or more of 60 images cannot be used (1 no file name, 1 no label)" in err
    code, out, err = cli(
        "make-table", table, *COLUMNS, "--size", "32", "--max-rejected", "5%", "--json"
    )
    assert code == 0, err
    assert json.loads(out)["rejected"]["n"] == 3
    lines = Path("data/my-table-32/rejected.csv").read_text().splitlines()
    assert lines[0] == "path,reason"
    assert "row 4,no file name" in lines


@pytest.mark.parametrize(
    ("change", "words", "code", "message"),
    [
        (("", ""), ["--bias-col", "plaec"], 2, "no column 'plaec'; did you mean 'place'? (it has: file,"),
        (("", ""), ["--bias-col", "animal"], 2, "each column in one role, but got 'animal'"),
        (("", ""), ["--split-col", "note"], 1, "no row has a file"),
        (("Valid", "fold3"), ["--split-col", "part"], 1, "or 0, 1 and 2 for them, in column 'part'"),
        (("", ""), ["--aligned", "cat=indoor"], 2, "no entry for label 'dog'"),
        (("", ""), ["--aligned", "cat=indoor", "--aligned", "dog"], 2, "expected --aligned label=bias"),
        (("", ""), ["--aligned", "gone.csv"], 1, "cannot read gone.csv"),
        (("pics/007.jpg", "pics/000.jpg"), [], 1, "expected each image once, but got 'pics/000.jpg'"),
        (("part,note", "part,part"), ["--split-col", "part"], 2, "more than one column 'part'"),
        (("train,", "train"), [], 1, "expected 6 values, but got 5"),
    ],
)  # fmt: skip
def test_wrong_usage_gives_one_line(
    change: tuple[str, str], words: list[str], code: int, message: str, table: Path, cli: Cli
) -> None:
    table.write_text(table.read_text(encoding="utf-8-sig").replace(*change, 1))
    got, out, err = cli("make-table", table, *COLUMNS, *words, "--dry-run")
    assert (got, out, err.count("\n")) == (code, "", 1), err
    assert message in err


def test_images_may_be_in_another_folder_but_not_outside_it(
    table: Path, tmp_path: Path, cli: Cli
) -> None:
    moved = tmp_path / "moved.csv"
    moved.write_text(table.read_text(encoding="utf-8-sig"))
    assert cli("make-table", moved, *COLUMNS, "--size", "32")[0] == 1
    code, _, err = cli("make-table", moved, *COLUMNS, "--size", "32", "--root", table.parent)
    assert code == 0, err
    moved.write_text(moved.read_text().replace("pics/", "../mine/pics/"))
    code, _, err = cli(
        "make-table", moved, *COLUMNS, "--size", "32", "--root", table.parent / "pics", "--out", "x"
    )
    assert code == 1
    assert "outside the folder" in err


@pytest.mark.parametrize("spelling", ["./pics/000.jpg", "pics//000.jpg", "pics/../pics/000.jpg"])
def test_two_spellings_of_a_path_are_the_same_image(spelling: str, table: Path, cli: Cli) -> None:
    with table.open("a", encoding="utf-8") as file:
        file.write(f"{spelling},cat,indoor,7,test,\n")
    code, _, err = cli("make-table", table, *COLUMNS)
    assert code == 1
    assert "expected each image once, but got 'pics/000.jpg' more than once" in err


def test_a_repeated_column_is_reported_as_repeated(table: Path, cli: Cli) -> None:
    table.write_text(table.read_text(encoding="utf-8-sig").replace("camera", "place", 1))
    code, _, err = cli("make-table", table, *COLUMNS[:6])
    assert code == 2
    assert err.strip().endswith("has more than one column 'place'")


def test_images_of_a_single_label_are_refused(table: Path, cli: Cli) -> None:
    table.write_text(table.read_text(encoding="utf-8-sig").replace(",dog,", ",cat,"))
    code, _, err = cli("make-table", table, *COLUMNS)
    assert code == 1
    assert err.strip() == "error: expected images of two or more labels, but all are 'cat'"
