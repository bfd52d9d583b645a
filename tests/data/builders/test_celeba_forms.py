"""CelebA in each form of its lists: the same counts, or a message with the cause."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biascon.data import dataset
from biascon.data.builders.celeba import CelebASpec, plan_celeba
from biascon.data.builders.celeba_tables import check_images, read_celeba_tables
from biascon.errors import DataError
from tests.data import image_files
from tests.data.builders.celeba_forms import (
    CSV,
    FORMS,
    CelebAForm,
    DrawnLists,
    draw_lists,
    write_files,
    write_lists,
)

SPLITS = ("train", "val", "test")
N = 60


@pytest.fixture(scope="module")
def lists() -> DrawnLists:
    return draw_lists(N)


@pytest.fixture(scope="module")
def contents() -> list[bytes]:
    return [image_files.encode(image_files.draw_image(k, 36, 44), quality=90) for k in range(5)]


def make(
    folder: Path, form: CelebAForm, lists: DrawnLists, data: list[bytes] | None = None
) -> Path:
    write_lists(folder, form, lists)
    write_files(folder, form, len(lists.partition), data or [b""])
    return folder


@pytest.mark.parametrize("name", FORMS)
def test_each_form_of_the_lists_has_the_same_counts(
    name: str, tmp_path: Path, lists: DrawnLists
) -> None:
    form = FORMS[name]
    source = read_celeba_tables(make(tmp_path, form, lists))
    check_images(source, 0.0)
    plan = plan_celeba(source, CelebASpec())
    for part, split in enumerate(SPLITS):
        rows = plan.splits[split]
        assert plan.summarize_splits()[split].cells == lists.cells(part)
        numbers = np.array([int(Path(path).stem) for path in rows.paths]) - 1
        assert np.array_equal(rows.labels, lists.values[numbers, 1] > 0)
        assert all((tmp_path / path).is_file() for path in rows.paths)


@pytest.fixture(scope="module")
def find_images(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes]
) -> Callable[[str], Path]:
    """Return a function of a suffix; it returns a folder of 20,000 images, written once."""
    folder = tmp_path_factory.mktemp("images")

    def find(suffix: str) -> Path:
        form = CelebAForm(suffix=suffix, folders=("", "", suffix))
        if not (folder / suffix).exists():
            write_files(folder, form, 20_000, contents)
        return folder / suffix

    return find


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_20000_images_in_each_form_are_built_with_the_right_counts(
    name: str, tmp_path: Path, find_images: Callable[[str], Path], cli: Any
) -> None:
    form, lists, raw = FORMS[name], draw_lists(20_000), tmp_path / "raw"
    write_lists(raw, form, lists)
    images, place = find_images(form.suffix), raw / form.folders[2]
    place.parent.mkdir(parents=True, exist_ok=True)
    images.rename(place)
    try:
        result = cli("make-celeba", raw, "--size", "16", "--out", tmp_path / "out", "--json")
    finally:
        place.rename(images)
    assert result.code == 0, result.err
    manifest = json.loads(result.out)
    cells = [manifest["counts"][split]["cells"] for split in SPLITS]
    assert cells == [lists.cells(part) for part in range(3)]
    assert manifest["rejected"]["n"] == 0


def edit(path: Path, line: int, text: str | None) -> None:
    """Replace a line, counted from 1, or remove it."""
    lines = path.read_text().split("\n")
    lines[line - 1 : line] = [] if text is None else [text]
    path.write_text("\n".join(lines))


ROW = "000004.jpg,1,-1,1"
ATTR, PART = "list_attr_celeba.csv", "list_eval_partition.csv"
DAMAGES = [
    (ATTR, 5, ROW, "line 5: expected a file name and 4 values of -1 or 1, but got 3 values"),
    (ATTR, 61, ROW, "line 61: .* got 3 values: the file is cut off"),
    (ATTR, 5, f"{ROW},2", "line 5: .* but got '2' for Young"),
    (ATTR, 5, f"{ROW},0", "of 0 and 1, but got all three: two lists are mixed"),
    (ATTR, 1, None, "line 1: .* got '000001.jpg .*': the header is missing"),
    (ATTR, 1, "image_id,Male,Young", "line 1: expected the names of 4 attributes, .* got 3"),
    (ATTR, 1, "image_id,Male,Male,A,B", "line 1: .* names of the attributes, but got 'Male'"),
    (ATTR, 7, None, "first '000006.jpg' in list_eval_partition.csv; one list is cut off"),
    (ATTR, 1, '"image', "it is not valid CSV"),
    (PART, 2, None, "first '000001.jpg' in list_attr_celeba.csv; one list is cut off"),
    (PART, 9, "000008.jpg,4", "line 9: expected a file name and 0, 1 or 2, but got '000008"),
    (PART, 2, "000001.jpg,x", "line 2: expected a file name and 0, 1 or 2, but got '000001"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "line", "text", "message"), DAMAGES)
def test_a_damaged_list_is_refused_with_its_cause(
    file: str, line: int, text: str | None, message: str, tmp_path: Path, lists: DrawnLists
) -> None:
    make(tmp_path, CelebAForm(**CSV), lists)
    edit(tmp_path / file, line, text)
    with pytest.raises(DataError, match=message):
        read_celeba_tables(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<!DOCTYPE html><html>quota exceeded</html>", "is a web page, not a list"),
        ("60\n5_o_Clock_Shadow".encode("utf-16"), "is not UTF-8 text: it is packed, or in UTF-16"),
        (b"PK\x03\x04\x14\x00", "is not UTF-8 text: it is packed"),
        (b"\n \n", "is empty"),
        (b"60\nMale Young\n000001.jpg 1 \xe9\n", "it is not UTF-8 text; save it as UTF-8"),
        (b"60\nMale Young\n", "a line for each image"),
    ],
)
def test_a_file_that_is_no_list_is_named(
    data: bytes, message: str, tmp_path: Path, lists: DrawnLists
) -> None:
    make(tmp_path, CelebAForm(), lists)
    (tmp_path / "list_attr_celeba.txt").write_bytes(data)
    with pytest.raises(DataError, match=message):
        read_celeba_tables(tmp_path)


def test_folders_that_are_not_unpacked_or_not_cropped_are_named(
    tmp_path: Path, lists: DrawnLists
) -> None:
    write_lists(tmp_path, CelebAForm(), lists)
    (tmp_path / "img_align_celeba.zip").touch()
    with pytest.raises(DataError, match=r"no img_align_celeba; unpack img_align_celeba\.zip"):
        read_celeba_tables(tmp_path)
    (tmp_path / "img_celeba").mkdir()
    for images in (None, "img_celeba", "img_celeba/"):
        with pytest.raises(DataError, match="images of CelebA in the wild"):
            read_celeba_tables(tmp_path, images)
    with pytest.raises(DataError, match="has no folder mine"):
        read_celeba_tables(tmp_path, "mine")
    for outside in ("../x", str(tmp_path)):
        with pytest.raises(DataError, match="expected --images to be a folder in"):
            read_celeba_tables(tmp_path, outside)
    write_files(tmp_path, CelebAForm(), N, [b""])
    (tmp_path / "list_attr_celeba.txt").rename(tmp_path / "list_attr_celeba.csv.zip")
    with pytest.raises(DataError, match=r"\(or \.csv\); unpack list_attr_celeba\.csv\.zip"):
        read_celeba_tables(tmp_path)


@pytest.mark.parametrize(
    ("listed", "in_folder", "message"),
    [
        (60, range(40, 100), "name 60 images, .* has 60: 40 of the lists are missing, 40 are not in"),
        (60, range(30), "name 60 images, .* has 30: 30 .* missing, 0 are not in the lists; .* pass --subset"),
        (60, range(202), "name 60 images, .* has 202: 0 of the lists are missing, 142 are not"),
        (60, range(500, 530), r"none of these is in the lists \(the first of the lists is '000001.jpg'\)"),
    ],
)  # fmt: skip
def test_lists_of_another_set_are_named(
    listed: int, in_folder: range, message: str, tmp_path: Path, cli: Any
) -> None:
    write_lists(tmp_path / "raw", CelebAForm(), draw_lists(listed))
    images = tmp_path / "raw" / "img_align_celeba"
    images.mkdir()
    for k in in_folder:
        (images / f"{k + 1:06d}.jpg").touch()
        (images / f"._{k + 1:06d}.jpg").touch()
    for words in (("--dry-run",), ()):
        code, out, err = cli("make-celeba", "raw", *words)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert re.search(message, err)


def test_a_subset_on_purpose_keeps_its_splits(
    tmp_path: Path, lists: DrawnLists, contents: list[bytes], cli: Any
) -> None:
    raw = make(tmp_path / "raw", CelebAForm(), lists, contents)
    whole = plan_celeba(read_celeba_tables(raw), CelebASpec())
    for k in range(0, N, 3):
        (raw / "img_align_celeba" / f"{k + 1:06d}.jpg").unlink()
    (raw / "img_align_celeba" / "mine.jpg").write_bytes(contents[0])
    words = ("make-celeba", raw, "--subset", "--size", "16", "--max-rejected", "0", "--json")
    preview, result = cli(*words, "--dry-run"), cli(*words)
    assert result.code == 0, result.err
    manifest = json.loads(result.out)
    assert manifest["name"] == "celeba-Blond_Hair-Male-official-16-subset"
    assert manifest["parameters"]["subset"] is True
    assert manifest["source"]["names"] == {
        "read": 60, "left_out": 20, "reasons": {"not in the folder of images": 20}
    }  # fmt: skip
    assert manifest["source"]["subset"] == {
        "listed": {"train": 36, "val": 12, "test": 12},
        "used": {"train": 24, "val": 8, "test": 8},
        "not_in_lists": 1,
    }
    assert manifest["protocol"]["val"] == "official validation partition; subset: 8 of 12 images"
    assert json.loads(preview.out)["counts"] == manifest["counts"]
    data = dataset.load(Path("data/celeba-Blond_Hair-Male-official-16-subset"))
    for name, split in data.splits.items():
        is_kept = whole.splits[name].index % 3 != 0
        assert np.array_equal(split.index, whole.splits[name].index[is_kept])
        assert np.array_equal(split.labels, whole.splits[name].labels[is_kept])
    for k in range(48, N):
        (raw / "img_align_celeba" / f"{k + 1:06d}.jpg").unlink(missing_ok=True)
    code, _, err = cli(*words)
    assert code == 1 and "has none of the 12 images of the test split" in err


def test_images_choose_the_edition(
    tmp_path: Path, lists: DrawnLists, contents: list[bytes], cli: Any
) -> None:
    make(tmp_path / "celeba", FORMS["official text"], lists, contents)
    make(tmp_path / "celeba", FORMS["PNG edition"], lists, contents[:1])
    sources = [read_celeba_tables(tmp_path, name) for name in (None, "img_align_celeba_png")]
    assert [source.files[0] for source in sources] == ["000001.jpg", "000001.png"]
    assert sources[0].raw == tmp_path / "celeba"
    result = cli("make-celeba", ".", "--images", "img_align_celeba_png", "--size", "16", "--json")
    assert result.code == 0, result.err
    manifest = json.loads(result.out)
    assert manifest["counts"]["train"]["cells"] == lists.cells(0)
    assert manifest["name"] == "celeba-Blond_Hair-Male-official-16-png"
    assert manifest["source"]["origin"] == (
        "CelebA, aligned and cropped, the images of img_align_celeba_png"
    )
    assert (sources[0].edition, sources[0].origin) == ("", "CelebA, aligned and cropped")
