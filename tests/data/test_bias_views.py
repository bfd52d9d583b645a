"""Attributes of a dataset: kept, verified, chosen as the bias; and datasets without one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from biascon.data.dataset import (
    REJECTED,
    Split,
    file_entry,
    is_dataset_folder,
    load,
    make_manifest,
    read_manifest,
    save,
    verify,
    view_by_attributes,
    with_checksum,
)
from biascon.data.manifest import DatasetDescription
from biascon.errors import DataError, UsageError
from biascon.utils.files import pretty_json

RACE = {"values": ["white", "other"], "aligned": [["male", "white"], ["female", "other"]]}
AGE = {"values": ["young", "middle", "old"], "aligned": None}


def split(n: int, shift: int = 0) -> Split:
    rows = np.arange(n) + shift
    labels, race, age = rows % 2, (rows // 2) % 2, (rows // 3) % 3
    images = np.zeros((n, 3, 4, 4), np.uint8)
    attributes = {"race": race, "age": age}
    return Split(images, labels, race, labels == race, rows, attributes)


def description(**changes: Any) -> dict[str, Any]:
    return {
        "name": "faces",
        "builder": "made",
        "protocol": {"train": "made for a test"},
        "parameters": {},
        "source": {"origin": "nowhere", "sha256": {}},
        "labels": ["male", "female"],
        "bias": {"name": "race", "values": RACE["values"], "aligned": "male = white, ..."},
        "attributes": {"race": RACE, "age": AGE},
        **changes,
    }


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    splits = {"train": split(60), "val": split(24, 1), "test": split(30, 2)}
    save(tmp_path / "faces", splits, description(), replace=False)
    return tmp_path / "faces"


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    zero = np.zeros(12, np.int64)
    one = Split(np.zeros((12, 3, 4, 4), np.uint8), np.arange(12) % 2, zero, zero > 0, np.arange(12))
    about = description(bias=None, name="plain")
    del about["attributes"]
    save(tmp_path / "plain", {"train": one, "test": one}, about, replace=False)
    return tmp_path / "plain"


def put(folder: Path, change: Callable[[dict[str, Any]], Any], **arrays: np.ndarray) -> None:
    """Change the manifest, and arrays of the training split, so that all digests agree."""
    path = folder / "train.safetensors"
    there = safetensors.numpy.load_file(path)
    safetensors.numpy.save_file({**there, **arrays}, path)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][path.name]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(with_checksum(manifest)))


class TestRoundTrip:
    def test_attributes_are_read_as_they_were_saved(self, faces: Path) -> None:
        data = load(faces)
        assert data.has_bias and data.knows_aligned
        for name, shift, n in (("train", 0, 60), ("val", 1, 24), ("test", 2, 30)):
            want = split(n, shift)
            assert list(data.splits[name].attributes) == ["race", "age"]
            for key, array in want.arrays().items():
                assert np.array_equal(data.splits[name].arrays()[key], array), key

    def test_without_a_bias_attribute(self, plain: Path) -> None:
        data = load(plain)
        assert (data.has_bias, data.knows_aligned, data.n_bias) == (False, False, 1)
        counts = data.manifest.counts["train"]
        assert (counts.aligned, counts.conflicting) == (None, None)
        assert counts.cells == [[6], [6]]

    def test_an_old_folder_has_no_new_key(self, make_dataset: Any, tmp_path: Path) -> None:
        data = load(make_dataset(tmp_path / "old"))
        assert data.has_bias and data.knows_aligned
        assert not {"attributes", "rejected"} & set(data.manifest.to_json())
        assert data.splits["train"].attributes == {}


class TestChoice:
    def test_the_default_is_the_dataset_itself(self, faces: Path) -> None:
        data = load(faces)
        assert view_by_attributes(data, ["race"]) is data
        assert view_by_attributes(view_by_attributes(data, ["age"]), ["race"]) is data

    def test_of_a_dataset_without_attributes(self, make_dataset: Any, tmp_path: Path) -> None:
        data = load(make_dataset(tmp_path / "old"))
        assert view_by_attributes(data, ["colour"]) is data
        with pytest.raises(UsageError, match=r"has no attribute 'color'; did you mean 'colour'"):
            view_by_attributes(data, ["color"])

    def test_another_attribute_without_alignment(self, faces: Path) -> None:
        data = load(faces)
        seen = view_by_attributes(data, ["age"])
        assert (seen.n_bias, seen.knows_aligned, seen.has_bias) == (3, False, True)
        assert seen.manifest.bias.name == "age"
        assert not seen.splits["train"].aligned.any()
        assert np.array_equal(seen.splits["test"].bias, data.splits["test"].attributes["age"])
        assert seen.digest not in (data.digest, view_by_attributes(data, ["age", "race"]).digest)
        assert view_by_attributes(load(faces), ["age"]).digest == seen.digest
        assert seen.name == "faces-by-age"

    def test_back_to_one_with_alignment(self, faces: Path) -> None:
        put(faces, lambda m: m["bias"].update(name="age", values=AGE["values"], aligned=None),
            bias=split(60).attributes["age"], aligned=np.zeros(60, bool))  # fmt: skip
        data = load(faces, only=("train",))
        seen = view_by_attributes(data, ["race"])
        assert seen.knows_aligned
        assert seen.manifest.bias.aligned == "male = white, female = other"
        assert np.array_equal(seen.splits["train"].aligned, split(60).aligned)

    def test_a_product(self, faces: Path) -> None:
        data = load(faces)
        seen = view_by_attributes(data, ["race", "age"])
        assert seen.manifest.bias.name == "race x age"
        assert seen.manifest.bias.values[:4] == [
            "white x young", "white x middle", "white x old", "other x young",
        ]  # fmt: skip
        one = data.splits["train"].attributes
        assert np.array_equal(seen.splits["train"].bias, one["race"] * 3 + one["age"])
        assert not seen.knows_aligned
        cells = np.array(seen.manifest.counts["train"].cells)
        assert cells.shape == (2, 6) and cells.sum() == 60

    @pytest.mark.parametrize(
        ("names", "told"),
        [
            ([], "each once"),
            (["age", "age"], "each once"),
            (["rase"], r"no attribute 'rase'; did you mean 'race'\? \(it has: race, age\)"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, faces: Path, names: list[str], told: str) -> None:
        with pytest.raises(UsageError, match=told):
            view_by_attributes(load(faces), names)

    def test_of_a_dataset_without_any(self, plain: Path) -> None:
        with pytest.raises(UsageError, match=r"has no attribute 'age' \(it has none\)"):
            view_by_attributes(load(plain), ["age"])


class TestDamage:
    @pytest.mark.parametrize(
        "change",
        [
            lambda m: m["attributes"]["age"].update(values=[]),
            lambda m: m["attributes"]["age"].update(values=["a", "a", "b"]),
            lambda m: m["attributes"]["age"].update(aligned=[["male"]]),
            lambda m: m["attributes"]["age"].update(aligned=[["nobody", "young"]]),
            lambda m: m["attributes"]["age"].update(aligned=[["male", "ancient"]]),
            lambda m: m["attributes"].update({"a,b": AGE}),
            lambda m: m["attributes"].pop("race"),
            lambda m: m["attributes"]["race"].pop("aligned"),
            lambda m: m.update(attributes=[]),
        ],
    )
    def test_attributes_of_another_form(self, faces: Path, change: Any) -> None:
        put(faces, change)
        with pytest.raises(DataError, match="no valid entry 'attributes'"):
            load(faces)

    @pytest.mark.parametrize(
        "value", [{"n": 2, "by_reason": {"x": 1}}, {"n": 1}, 3, {"n": 1, "by_reason": {"x": "1"}}]
    )
    def test_rejected_of_another_form(self, faces: Path, value: Any) -> None:
        put(faces, lambda m: m.update(rejected=value))
        with pytest.raises(DataError, match="no valid entry 'rejected'"):
            load(faces)

    def test_arrays_that_do_not_fit(self, faces: Path) -> None:
        put(faces, lambda m: None, **{"attribute.age": np.full(60, 3)})
        with pytest.raises(DataError, match=r"'attribute\.age' has values outside 0\.\.2"):
            load(faces)

    def test_a_bias_that_is_not_its_attribute(self, faces: Path) -> None:
        put(faces, lambda m: None, bias=np.zeros(60, np.int64))
        with pytest.raises(DataError, match="differs from the attribute 'race'"):
            load(faces)

    def test_aligned_rows_where_no_alignment_is_defined(self, plain: Path) -> None:
        put(plain, lambda m: None, aligned=np.ones(12, bool))
        with pytest.raises(DataError, match="defines no alignment"):
            load(plain)

    def test_an_attribute_that_is_missing(self, faces: Path) -> None:
        put(faces, lambda m: m["attributes"].update(more=AGE))
        with pytest.raises(DataError, match=r"expected 'attribute\.more' as int64"):
            load(faces)


class TestRejected:
    def test_the_list_is_part_of_the_folder(self, faces: Path) -> None:
        (faces / REJECTED).write_text("path,reason\na.jpg,truncated\n")
        old = read_manifest(faces)
        files = {**old.files, REJECTED: file_entry(faces / REJECTED)}
        about = DatasetDescription.from_json(
            description(rejected={"n": 1, "by_reason": {"truncated": 1}})
        )
        manifest = make_manifest(about, old.counts, files)
        (faces / "manifest.json").write_text(pretty_json(manifest.to_json()))
        assert is_dataset_folder(faces)
        verify(faces, read_manifest(faces))
        (faces / REJECTED).write_text("path,reason\n")
        with pytest.raises(DataError, match=r"rejected\.csv is not the file"):
            verify(faces, read_manifest(faces))


class TestInspect:
    def test_attributes_are_shown(self, faces: Path, cli: Any) -> None:
        told = cli("inspect", faces)
        assert told.code == 0
        assert "attribute age: young, middle, old" in told.out
        assert "bias: race; aligned: male = white, ..." in told.out

    def test_no_bias_attribute_is_said(self, plain: Path, cli: Any) -> None:
        told = cli("inspect", plain)
        assert told.code == 0
        assert "no bias attribute" in told.out
