"""``--dry-run`` predicts a build: its counts, the images that it leaves out, and its failure."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biascon.data.building.images import build_image_dataset
from biascon.data.building.plan import BuildPlan, SplitPlan
from biascon.data.images.decoding import ImageSpec
from biascon.data.manifest import DatasetDescription
from biascon.errors import DataError
from tests.data import faces

SIZE = ("--size", "16")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return faces.draw_utkface(tmp_path_factory.mktemp("faces") / "raw", faces.make_names(60))


def compare(cli: Any, *words: Any) -> tuple[int, str, dict[str, Any]]:
    """Run a command as a dry run and as a build; return the outcome, which must be the same."""
    preview, built = cli(*words, "--dry-run", "--json"), cli(*words, "--json")
    assert (preview.code, preview.err.splitlines()[-1:] * built.code) == (
        built.code,
        built.err.splitlines()[-1:] * built.code,
    )
    data = json.loads(preview.out)
    if built.code == 0:
        manifest = json.loads(built.out)
        keys = ("name", "protocol", "parameters", "labels", "bias", "counts", "rejected")
        assert {key: data[key] for key in keys} == {key: manifest[key] for key in keys}
        assert data.get("store") == manifest.get("store")
    return built.code, built.err, data


def test_hidden_twins_and_system_files_are_no_images(raw: Path, tmp_path: Path, cli: Any) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(raw, copy / "UTKFace")
    for path in list((copy / "UTKFace").iterdir()):
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7" + b"\0" * 60)
    for name in ("Thumbs.db", ".DS_Store", "readme.txt", "._UTKFace"):
        (copy / "UTKFace" / name).write_bytes(b"x")
    code, _, data = compare(cli, "make-utkface", copy, *SIZE)
    assert (code, data["read"], data["left_out"]) == (0, 60, 0)
    assert data["rejected"] == {"n": 0, "by_reason": {}}
    names = sorted(path.name for path in (copy / "UTKFace").iterdir())
    (tmp_path / "names.txt").write_text("\n".join(names))
    by_list = cli("make-utkface", "--names", "names.txt", *SIZE, "--dry-run", "--json")
    assert json.loads(by_list.out)["counts"] == data["counts"]


@pytest.mark.parametrize("store", ["pixels", "files"])
def test_empty_and_missing_images_are_predicted(
    store: str, raw: Path, tmp_path: Path, cli: Any
) -> None:
    copy = shutil.copytree(raw, tmp_path / "copy")
    names = sorted(path.name for path in copy.iterdir())
    (tmp_path / "names.txt").write_text("\n".join(names))
    words = ("make-utkface", copy, "--names", "names.txt", *SIZE, "--store", store)
    (copy / names[3]).write_bytes(b"")
    (copy / names[4]).unlink()
    code, _, data = compare(cli, *words, "--max-rejected", "10%", "--rate", "0")
    assert (code, data["rejected"]) == (0, {"n": 2, "by_reason": {"empty": 1, "missing": 1}})
    n_dropped = data["dropped"]["conflicting, beyond the rate"]
    assert sum(part["n"] for part in data["counts"].values()) == 60 - n_dropped - 2
    code, err, data = compare(cli, *words, "--out", "strict", "--rate", "0")
    assert code == 1
    total = 60 - n_dropped
    assert f"2 or more of {total} images cannot be used (1 empty, 1 missing), which is over" in err
    assert data["rejected"]["n"] == 2


def test_a_dataset_that_is_in_the_way_is_predicted(raw: Path, tmp_path: Path, cli: Any) -> None:
    assert compare(cli, "make-utkface", raw, *SIZE, "--out", "out")[0] == 0
    assert compare(cli, "make-utkface", raw, *SIZE, "--out", "out")[0] == 0  # the same dataset
    code, err, _ = compare(cli, "make-utkface", raw, *SIZE, "--seed", "1", "--out", "out")
    assert code == 1 and "out holds another dataset (it differs in name, parameters, source)" in err
    assert (
        compare(cli, "make-utkface", raw, *SIZE, "--seed", "1", "--out", "out", "--force")[0] == 0
    )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    assert compare(cli, "make-utkface", raw, *SIZE, "--out", "mine")[0] == 1


def test_files_not_named_like_images_do_not_count(tmp_path: Path, cli: Any) -> None:
    for part in ("train", "test"):
        for k, label in enumerate(("cat", "dog")):
            folder = tmp_path / "raw" / part / label
            faces.draw_utkface(folder, faces.make_names(6, k))
            (folder / "notes.txt").touch()
            (folder / "Thumbs.db").touch()
            (folder / "._1.jpg").touch()
    code, _, data = compare(cli, "make-standard", "folder", "raw", *SIZE, "--max-rejected", "0")
    assert (code, data["rejected"]) == (0, {"n": 8, "by_reason": {"not named like a picture": 8}})
    assert (tmp_path / "data" / "raw-16" / "rejected.csv").read_text().count("notes.txt") == 4


def test_system_files_in_a_table_do_not_count(raw: Path, tmp_path: Path, cli: Any) -> None:
    copy = shutil.copytree(raw, tmp_path / "copy")
    rows = []
    for path in sorted(copy.iterdir()):
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7" + b"\0" * 60)
        gender, race = path.name.split("_")[1:3]
        rows += [f"{name},{gender},{race}" for name in (f"._{path.name}", path.name)]
    (copy / "Thumbs.db").write_bytes(b"x")
    (copy / "all.csv").write_text("\n".join(["f,y,b", *rows, "Thumbs.db,0,0"]))
    words = (
        "--image-col",
        "f",
        "--label-col",
        "y",
        "--bias-col",
        "b",
        *SIZE,
        "--max-rejected",
        "0",
    )
    result = cli("make-table", copy / "all.csv", *words, "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["rejected"] == {"n": 61, "by_reason": {"hidden file": 61}}


def make_plan(labels: dict[str, list[int]]) -> BuildPlan:
    description = DatasetDescription(
        name="x", builder="x", protocol={}, parameters={}, source={"origin": "drawn"},
        labels=["cat", "dog", "hen"], bias=None,
    )  # fmt: skip
    splits = {}
    for name, values in labels.items():
        array, zero = np.array(values, dtype=np.int64), np.zeros(len(values), dtype=np.int64)
        paths = [f"{name}{k}.jpg" for k in range(len(values))]
        splits[name] = SplitPlan(paths, array, zero, zero > 0, zero)
    return BuildPlan(description, splits)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_without_a_label_is_refused(split: str) -> None:
    labels = {name: [0, 1, 2] for name in ("train", "val", "test")}
    make_plan(labels)
    message = f"the {split} split has no image of 'cat', 'hen': a split must have images of each of the 3 "
    with pytest.raises(DataError, match=message):
        make_plan({**labels, split: [1, 1]})


def test_a_label_whose_images_cannot_be_used_is_refused(tmp_path: Path) -> None:
    plan = make_plan({"train": [0, 1, 2, 2], "val": [0, 1, 2], "test": [0, 1, 2]})
    names = faces.make_names(10)
    faces.draw_utkface(tmp_path / "raw", names)
    paths = [path for rows in plan.splits.values() for path in rows.paths]
    for name, path in zip(names, paths, strict=True):
        (tmp_path / "raw" / name).rename(tmp_path / "raw" / path)
    (tmp_path / "raw" / "val1.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match="the val split has no image that can be used of 'dog'"):
        build_image_dataset(
            tmp_path / "raw", plan, tmp_path / "out", image_spec=ImageSpec(16), max_rejected=0.5
        )
    assert not (tmp_path / "out").exists()
