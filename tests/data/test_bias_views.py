"""Attributes of a dataset: stored, verified, chosen as the bias attribute; datasets without bias."""

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
    describe_file,
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
    rows = np.arange(12)
    split = Split(np.zeros((12, 3, 4, 4), np.uint8), rows % 2, zero, zero > 0, rows)
    plain_description = description(bias=None, name="plain")
    del plain_description["attributes"]
    save(tmp_path / "plain", {"train": split, "test": split}, plain_description, replace=False)
    return tmp_path / "plain"


def put(folder: Path, change: Callable[[dict[str, Any]], Any], **arrays: np.ndarray) -> None:
    """Change the manifest and arrays of the training split, and update the digests."""
    path = folder / "train.safetensors"
    old_arrays = safetensors.numpy.load_file(path)
    safetensors.numpy.save_file({**old_arrays, **arrays}, path)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][path.name]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(with_checksum(manifest)))


class TestRoundTrip:
    def test_attributes_are_read_as_they_were_saved(self, faces: Path) -> None:
        data = load(faces)
        assert data.has_bias and data.knows_aligned
        for name, shift, n in (("train", 0, 60), ("val", 1, 24), ("test", 2, 30)):
            expected = split(n, shift)
            assert list(data.splits[name].attributes) == ["race", "age"]
            for key, array in expected.arrays().items():
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
    def test_a_view_by_the_own_bias_is_the_dataset_itself(self, faces: Path) -> None:
        data = load(faces)
        assert view_by_attributes(data, ["race"]) is data
        assert view_by_attributes(view_by_attributes(data, ["age"]), ["race"]) is data

    def test_a_dataset_without_attributes_has_one_choice(
        self, make_dataset: Any, tmp_path: Path
    ) -> None:
        data = load(make_dataset(tmp_path / "old"))
        assert view_by_attributes(data, ["colour"]) is data
        with pytest.raises(UsageError, match=r"has no attribute 'color'; did you mean 'colour'"):
            view_by_attributes(data, ["color"])

    def test_a_view_by_an_attribute_without_alignment(self, faces: Path) -> None:
        data = load(faces)
        view = view_by_attributes(data, ["age"])
        assert (view.n_bias, view.knows_aligned, view.has_bias) == (3, False, True)
        assert view.manifest.bias.name == "age"
        assert not view.splits["train"].aligned.any()
        assert np.array_equal(view.splits["test"].bias, data.splits["test"].attributes["age"])
        assert view.digest not in (data.digest, view_by_attributes(data, ["age", "race"]).digest)
        assert view_by_attributes(load(faces), ["age"]).digest == view.digest
        assert view.name == "faces-by-age"

    def test_a_view_by_an_attribute_with_alignment(self, faces: Path) -> None:
        def choose_age(manifest: dict[str, Any]) -> None:
            manifest["bias"].update(name="age", values=AGE["values"], aligned=None)
            for name, shift, n in (("train", 0, 60), ("val", 1, 24), ("test", 2, 30)):
                arrays = split(n, shift)
                cells = np.zeros((2, 3), dtype=np.int64)
                np.add.at(cells, (arrays.labels, arrays.attributes["age"]), 1)
                manifest["counts"][name] = {
                    "n": n, "aligned": None, "conflicting": None,
                    "empty_cells": int((cells == 0).sum()), "cells": cells.tolist(),
                }  # fmt: skip

        put(faces, choose_age, bias=split(60).attributes["age"], aligned=np.zeros(60, bool))
        data = load(faces, only=("train",))
        view = view_by_attributes(data, ["race"])
        assert view.knows_aligned
        assert view.manifest.bias.aligned == "male = white, female = other"
        assert np.array_equal(view.splits["train"].aligned, split(60).aligned)

    def test_a_product_has_every_combination_of_values(self, faces: Path) -> None:
        data = load(faces)
        view = view_by_attributes(data, ["race", "age"])
        assert view.manifest.bias.name == "race x age"
        assert view.manifest.bias.values[:4] == [
            "white x young", "white x middle", "white x old", "other x young",
        ]  # fmt: skip
        attributes = data.splits["train"].attributes
        assert np.array_equal(view.splits["train"].bias, attributes["race"] * 3 + attributes["age"])
        assert not view.knows_aligned
        cells = np.array(view.manifest.counts["train"].cells)
        assert cells.shape == (2, 6) and cells.sum() == 60

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            ([], "each once"),
            (["age", "age"], "each once"),
            (["rase"], r"no attribute 'rase'; did you mean 'race'\? \(it has: race, age\)"),
        ],
    )
    def test_wrong_names_are_refused(self, faces: Path, names: list[str], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            view_by_attributes(load(faces), names)

    def test_a_dataset_without_a_bias_attribute_has_no_choice(self, plain: Path) -> None:
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
    def test_malformed_attributes_are_refused(self, faces: Path, change: Any) -> None:
        put(faces, change)
        with pytest.raises(DataError, match="no valid entry 'attributes'"):
            load(faces)

    @pytest.mark.parametrize(
        "value", [{"n": 2, "by_reason": {"x": 1}}, {"n": 1}, 3, {"n": 1, "by_reason": {"x": "1"}}]
    )
    def test_malformed_rejected_counts_are_refused(self, faces: Path, value: Any) -> None:
        put(faces, lambda m: m.update(rejected=value))
        with pytest.raises(DataError, match="no valid entry 'rejected'"):
            load(faces)

    def test_an_attribute_value_out_of_range_is_refused(self, faces: Path) -> None:
        put(faces, lambda m: None, **{"attribute.age": np.full(60, 3)})
        with pytest.raises(DataError, match=r"'attribute\.age' has values outside 0\.\.2"):
            load(faces)

    def test_a_bias_that_differs_from_its_attribute_is_refused(self, faces: Path) -> None:
        put(faces, lambda m: None, bias=np.zeros(60, np.int64))
        with pytest.raises(DataError, match="differs from the attribute 'race'"):
            load(faces)

    def test_aligned_rows_without_an_alignment_are_refused(self, plain: Path) -> None:
        put(plain, lambda m: None, aligned=np.ones(12, bool))
        with pytest.raises(DataError, match="defines no alignment"):
            load(plain)

    def test_a_missing_attribute_array_is_refused(self, faces: Path) -> None:
        put(faces, lambda m: m["attributes"].update(more=AGE))
        with pytest.raises(DataError, match=r"expected 'attribute\.more' as int64"):
            load(faces)


class TestRejected:
    def test_the_list_of_rejected_files_is_verified(self, faces: Path) -> None:
        (faces / REJECTED).write_text("path,reason\na.jpg,truncated\n")
        old = read_manifest(faces)
        files = {**old.files, REJECTED: describe_file(faces / REJECTED)}
        new_description = DatasetDescription.from_json(
            description(rejected={"n": 1, "by_reason": {"truncated": 1}})
        )
        manifest = make_manifest(new_description, old.counts, files)
        (faces / "manifest.json").write_text(pretty_json(manifest.to_json()))
        assert is_dataset_folder(faces)
        verify(faces, read_manifest(faces))
        (faces / REJECTED).write_text("path,reason\n")
        with pytest.raises(DataError, match=r"rejected\.csv is not the file"):
            verify(faces, read_manifest(faces))


class TestInspect:
    def test_inspect_shows_the_attributes(self, faces: Path, cli: Any) -> None:
        outcome = cli("inspect", faces)
        assert outcome.code == 0
        assert "attribute age: young, middle, old" in outcome.out
        assert "bias: race; aligned: male = white, ..." in outcome.out

    def test_inspect_states_that_there_is_no_bias_attribute(self, plain: Path, cli: Any) -> None:
        outcome = cli("inspect", plain)
        assert outcome.code == 0
        assert "no bias attribute" in outcome.out
