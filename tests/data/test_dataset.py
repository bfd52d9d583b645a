"""The dataset folder: written completely or not at all, and refused if one byte of it differs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from biascon.data import dataset
from biascon.data.dataset import (
    Split,
    dataset_digest,
    find_latest,
    load,
    read_manifest,
    save,
)
from biascon.data.manifest import DatasetDescription, FileEntry
from biascon.errors import DataError

FILES = ("train.safetensors", "val.safetensors", "test.safetensors")


class TestRoundTrip:
    def test_load_returns_the_saved_arrays(self, folder: Path, splits: dict[str, Split]) -> None:
        data = load(folder)
        assert list(data.splits) == ["train", "val", "test"]
        for name, split in splits.items():
            loaded = data.splits[name]
            assert len(loaded) == len(split)
            for key, array in split.arrays().items():
                assert loaded.arrays()[key].dtype == array.dtype
                assert np.array_equal(loaded.arrays()[key], array)
        assert (data.name, data.n_labels, data.n_bias) == ("bmnist5k-0.9", 10, 10)

    def test_a_path_may_be_a_string(self, folder: Path) -> None:
        assert load(str(folder)).digest == load(folder).digest

    def test_dtypes_are_those_of_the_contract(self, folder: Path) -> None:
        arrays = safetensors.numpy.load_file(folder / "train.safetensors")
        assert {name: str(array.dtype) for name, array in arrays.items()} == {
            "images": "uint8", "labels": "int64", "bias": "int64", "aligned": "bool",
            "index": "int64",
        }  # fmt: skip
        assert arrays["images"].shape == (900, 3, 28, 28)

    def test_other_integer_types_and_strides_are_brought_to_the_contract(
        self, splits: dict[str, Split], description: DatasetDescription, tmp_path: Path
    ) -> None:
        other_types = {
            name: Split(
                split.images[:, ::-1][:, ::-1],
                split.labels.astype(np.int8),
                split.bias.astype(np.uint8),
                split.aligned,
                split.index.astype(np.int32),
            )
            for name, split in splits.items()
        }
        save(tmp_path / "given", other_types, description, replace=False)
        save(tmp_path / "plain", splits, description, replace=False)
        for name in FILES:
            assert (tmp_path / "given" / name).read_bytes() == (
                tmp_path / "plain" / name
            ).read_bytes()

    def test_the_manifest_states_size_and_digest_of_every_file(self, folder: Path) -> None:
        files = read_manifest(folder).files
        assert sorted(files) == sorted(FILES)
        for name, stated in files.items():
            blob = (folder / name).read_bytes()
            assert stated == FileEntry(hashlib.sha256(blob).hexdigest(), len(blob))

    def test_load_reads_only_the_given_splits(self, folder: Path) -> None:
        assert list(load(folder, only=("train", "val")).splits) == ["train", "val"]

    def test_splits_that_are_not_read_are_verified_too(self, folder: Path) -> None:
        (folder / "test.safetensors").unlink()
        with pytest.raises(DataError, match=r"test.safetensors is missing"):
            load(folder, only=("train",))

    def test_load_without_a_validation_split(
        self, make_dataset: Callable[..., Path], tmp_path: Path
    ) -> None:
        data = load(make_dataset(tmp_path / "x", val_protocol="none"))
        assert list(data.splits) == ["train", "test"]

    def test_the_digest_stands_for_every_byte(
        self, make_dataset: Callable[..., Path], tmp_path: Path
    ) -> None:
        digest, same, other_seed = (
            load(make_dataset(tmp_path / name, seed=seed)).digest
            for name, seed in (("one", 0), ("same", 0), ("other", 1))
        )
        assert digest == same != other_seed

    def test_counts_of_each_cell(self) -> None:
        y, b = np.array([0, 1, 1, 1]), np.array([2, 0, 0, 1])
        split = Split(np.zeros((4, 3, 1, 1), np.uint8), y, b, y == b, np.arange(4))
        assert split.counts(2, 3).tolist() == [[0, 0, 1], [2, 1, 0]]
        assert dataset.summarize(split, 2, 3).to_json() == {
            "n": 4, "aligned": 1, "conflicting": 3, "empty_cells": 3,
            "cells": [[0, 0, 1], [2, 1, 0]],
        }  # fmt: skip


class TestIdentity:
    @pytest.mark.parametrize(
        "change",
        [
            lambda m: m["parameters"].update(extra=1),
            lambda m: m["protocol"].update(train="rho 0.5"),
            lambda m: m["source"].update(origin="elsewhere"),
            lambda m: m.pop("sha256") and None,
        ],
    )
    def test_a_changed_manifest_is_refused(self, folder: Path, change: Callable[..., Any]) -> None:
        path = folder / "manifest.json"
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest))
        with pytest.raises(DataError, match=r"manifest\.json has changed since it was written"):
            load(folder)

    def test_the_digest_does_not_depend_on_origin_and_version(self, folder: Path) -> None:
        before = load(folder).digest
        manifest = read_manifest(folder)
        elsewhere = replace(manifest, biascon="9", source={**manifest.source, "origin": "x"})
        assert dataset_digest(elsewhere) == before
        assert dataset_digest(replace(manifest, parameters={})) != before


class TestLatest:
    def test_the_latest_was_made_or_used_last(
        self, make_dataset: Callable[..., Path], tmp_path: Path
    ) -> None:
        root = tmp_path / "data"
        older, newer = (make_dataset(root / name) for name in ("older", "newer"))
        for age, path in enumerate((older, newer), start=1):
            os.utime(path / "manifest.json", (age, age))
        assert find_latest(root) == newer
        dataset.mark_used(older)
        assert find_latest(root) == older

    def test_the_latest_is_no_temporary_folder(
        self, make_dataset: Callable[..., Path], tmp_path: Path
    ) -> None:
        root = tmp_path / "data"
        folder = make_dataset(root / "one")
        os.utime(folder / "manifest.json", (1, 1))
        make_dataset(root / ".two.123.abc")
        (root / "MNIST").mkdir()
        assert find_latest(root) == folder

    @pytest.mark.parametrize("exists", [False, True])
    def test_no_dataset_is_an_error_with_a_command(self, tmp_path: Path, exists: bool) -> None:
        if exists:
            (tmp_path / "data").mkdir()
        with pytest.raises(DataError, match=r"there is no dataset in .*: biascon make-bmnist"):
            find_latest(tmp_path / "data")
