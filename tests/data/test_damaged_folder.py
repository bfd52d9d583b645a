"""Damaged dataset folders: every changed byte, file, manifest value and array is refused."""

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
    find_latest,
    load,
    read_manifest,
    verify,
    with_checksum,
)
from biascon.errors import BusyError, DataError
from tests.lock_helpers import held_lock

FILES = ("train.safetensors", "val.safetensors", "test.safetensors")


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    replaced = change(manifest)
    manifest = manifest if replaced is None else replaced
    # The checksum is updated, so that the changed value is found and not the checksum.
    path.write_text(json.dumps(with_checksum(manifest) if isinstance(manifest, dict) else manifest))


def put_arrays(folder: Path, arrays: dict[str, np.ndarray], name: str = "train") -> None:
    """Replace the arrays of a split, and update the digests in the manifest."""
    path = folder / f"{name}.safetensors"
    safetensors.numpy.save_file(arrays, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    edit_manifest(folder, lambda manifest: manifest["files"][path.name].update(sha256=digest))


def put_counts(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """State the counts of the training arrays in the manifest."""
    cells = np.zeros((10, 10), dtype=np.int64)
    np.add.at(cells, (arrays["labels"], arrays["bias"]), 1)
    n, aligned = len(arrays["labels"]), int(arrays["aligned"].sum())
    counts = {"n": n, "aligned": aligned, "conflicting": n - aligned}
    counts |= {"empty_cells": int((cells == 0).sum()), "cells": cells.tolist()}
    edit_manifest(folder, lambda manifest: manifest["counts"].update(train=counts))


class TestDamage:
    @pytest.mark.parametrize("name", FILES)
    @pytest.mark.parametrize("where", ["first", "middle", "last"])
    def test_a_changed_byte_is_refused(self, folder: Path, name: str, where: str) -> None:
        path = folder / name
        blob = bytearray(path.read_bytes())
        blob[{"first": 0, "middle": len(blob) // 2, "last": -1}[where]] ^= 1
        path.write_bytes(blob)
        with pytest.raises(DataError, match=f"{name} is not the file .*sha256.*--force"):
            load(folder)

    @pytest.mark.parametrize("name", FILES)
    def test_a_changed_digest_in_the_manifest_is_refused(self, folder: Path, name: str) -> None:
        edit_manifest(folder, lambda m: m["files"][name].update(sha256="0" * 64))
        with pytest.raises(DataError, match=f"{name} is not the file .*expected 000000000000"):
            load(folder)

    @pytest.mark.parametrize("name", FILES)
    def test_a_missing_file_is_refused(self, folder: Path, name: str) -> None:
        (folder / name).unlink()
        with pytest.raises(DataError, match=f"{name} is missing"):
            load(folder)

    def test_a_truncated_file_is_refused(self, folder: Path) -> None:
        path = folder / "train.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(DataError, match=r"train\.safetensors is not the file"):
            load(folder)

    def test_a_file_that_is_not_safetensors_is_refused(self, folder: Path) -> None:
        path = folder / "train.safetensors"
        path.write_bytes(b"nonsense")
        digest = hashlib.sha256(b"nonsense").hexdigest()
        edit_manifest(folder, lambda m: m["files"][path.name].update(sha256=digest))
        with pytest.raises(DataError, match=r"cannot read .*train\.safetensors"):
            load(folder)

    def test_a_missing_folder_or_manifest_is_an_error(self, folder: Path) -> None:
        with pytest.raises(DataError, match=r"nowhere is not a dataset folder.*make-bmnist"):
            load(folder.parent / "nowhere")
        (folder / "manifest.json").unlink()
        with pytest.raises(DataError, match=r"has no manifest.json.*make-bmnist"):
            load(folder)

    @pytest.mark.parametrize("text", ["", "{", "\x00\xff", '{"format": 1,'])
    def test_a_manifest_that_is_not_json_is_refused(self, folder: Path, text: str) -> None:
        (folder / "manifest.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(DataError, match=r"manifest\.json is not valid JSON"):
            load(folder)

    @pytest.mark.parametrize(
        "change",
        [
            lambda m: m.update(format=2),
            lambda m: m.pop("format") and None,
            lambda m: [m],
            lambda m: "text",
        ],
    )
    def test_a_manifest_of_another_format_is_refused(
        self, folder: Path, change: Callable[..., Any]
    ) -> None:
        edit_manifest(folder, change)
        with pytest.raises(DataError, match="is not a manifest of format 1; build"):
            load(folder)

    def test_all_missing_keys_are_in_one_message(self, folder: Path) -> None:
        edit_manifest(folder, lambda m: [m.pop(k) for k in ("labels", "files")] and None)
        with pytest.raises(DataError, match=r"manifest\.json .* lacks labels, files; build"):
            load(folder)

    @pytest.mark.parametrize("name", ["../x", "..", "a/b", "", ".hidden", "a b", "/etc", "a\n"])
    def test_a_name_that_would_change_the_path_is_refused(self, folder: Path, name: str) -> None:
        edit_manifest(folder, lambda m: m.update(name=name))
        with pytest.raises(DataError, match="which no dataset may have"):
            load(folder)

    @pytest.mark.parametrize("name", ["../train.safetensors", "/etc/passwd", "extra.safetensors"])
    def test_an_unknown_file_in_the_manifest_is_refused(self, folder: Path, name: str) -> None:
        edit_manifest(folder, lambda m: m["files"].update({name: {"sha256": "0" * 64}}))
        with pytest.raises(DataError, match="names a file that no dataset has"):
            load(folder)

    @pytest.mark.parametrize("name", ["train", "test"])
    def test_a_manifest_without_a_split_is_refused(self, folder: Path, name: str) -> None:
        edit_manifest(folder, lambda m: m["files"].pop(f"{name}.safetensors") and None)
        with pytest.raises(DataError, match=f"has no {name} split"):
            load(folder)

    @pytest.mark.parametrize(
        "change",
        [
            lambda m: m.update(files=["train.safetensors"]),
            lambda m: m.update(files={"train.safetensors": "sha"}),
            lambda m: m["files"]["train.safetensors"].pop("sha256") and None,
            lambda m: m.update(labels=10),
            lambda m: m.update(bias=["red"]),
        ],
        ids=["files-list", "file-text", "no-sha256", "labels-number", "bias-list"],
    )
    def test_a_manifest_with_malformed_values_is_refused(
        self, folder: Path, change: Callable[..., Any]
    ) -> None:
        edit_manifest(folder, change)
        with pytest.raises(DataError):
            load(folder)

    def test_verify_accepts_an_intact_folder(self, folder: Path) -> None:
        verify(folder, read_manifest(folder))


class TestForeignArrays:
    """Arrays that do not agree with the manifest are refused, even if all digests agree."""

    @pytest.fixture
    def arrays(self, folder: Path) -> dict[str, np.ndarray]:
        return safetensors.numpy.load_file(folder / "train.safetensors")

    def test_arrays_that_fit_are_read(self, folder: Path, arrays: dict[str, np.ndarray]) -> None:
        put_arrays(folder, {name: array[:7] for name, array in arrays.items()})
        put_counts(folder, {name: array[:7] for name, array in arrays.items()})
        assert len(load(folder).splits["train"]) == 7

    def test_an_empty_split_is_read(self, folder: Path, arrays: dict[str, np.ndarray]) -> None:
        put_arrays(folder, {name: array[:0] for name, array in arrays.items()})
        put_counts(folder, {name: array[:0] for name, array in arrays.items()})
        assert len(load(folder).splits["train"]) == 0

    def test_arrays_with_other_counts_than_the_manifest_are_refused(
        self, folder: Path, arrays: dict[str, np.ndarray]
    ) -> None:
        put_arrays(folder, {**arrays, "labels": arrays["labels"][::-1].copy()})
        with pytest.raises(DataError, match=r"train\.safetensors: its images have other counts"):
            load(folder)

    @pytest.mark.parametrize("name", ["images", "labels", "bias", "aligned", "index"])
    def test_a_missing_array_is_refused(
        self, folder: Path, arrays: dict[str, np.ndarray], name: str
    ) -> None:
        del arrays[name]
        put_arrays(folder, arrays)
        with pytest.raises(DataError, match=f"expected '{name}' as .*, but got nothing"):
            load(folder)

    @pytest.mark.parametrize(
        ("name", "dtype"),
        [
            ("images", "float32"),
            ("labels", "int32"),
            ("bias", "uint8"),
            ("aligned", "uint8"),
            ("index", "float64"),
        ],
    )
    def test_another_dtype_is_refused(
        self, folder: Path, arrays: dict[str, np.ndarray], name: str, dtype: str
    ) -> None:
        put_arrays(folder, {**arrays, name: arrays[name].astype(dtype)})
        with pytest.raises(DataError, match=f"expected '{name}' as .*, but got {dtype}"):
            load(folder)

    @pytest.mark.parametrize("name", ["images", "labels", "bias", "aligned", "index"])
    def test_another_length_is_refused(
        self, folder: Path, arrays: dict[str, np.ndarray], name: str
    ) -> None:
        put_arrays(folder, {**arrays, name: arrays[name][:-1]})
        with pytest.raises(DataError, match=r"train\.safetensors: '\w+' has shape .* for \d+ lab"):
            load(folder)

    @pytest.mark.parametrize("name", ["images", "labels", "bias", "aligned", "index"])
    def test_another_rank_is_refused(
        self, folder: Path, arrays: dict[str, np.ndarray], name: str
    ) -> None:
        put_arrays(folder, {**arrays, name: arrays[name][..., None]})
        with pytest.raises(DataError, match=f"'{name}' has shape"):
            load(folder)

    @pytest.mark.parametrize("name", ["labels", "bias"])
    @pytest.mark.parametrize("value", [-1, 10])
    def test_values_out_of_range_are_refused(
        self, folder: Path, arrays: dict[str, np.ndarray], name: str, value: int
    ) -> None:
        changed = arrays[name].copy()
        changed[3] = value
        put_arrays(folder, {**arrays, name: changed})
        with pytest.raises(DataError, match=f"'{name}' has values outside 0..9"):
            load(folder)


def test_a_folder_that_is_being_built_is_busy(tmp_path: Path) -> None:
    with held_lock(tmp_path / ".x.lock"), pytest.raises(BusyError, match="another process builds"):
        load(tmp_path / "x")
    with pytest.raises(DataError, match="x is not a dataset folder"):
        load(tmp_path / "x")


def test_a_replaced_folder_without_its_name_is_found(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_dataset(tmp_path / "x")
    digest = load(folder).digest
    old = folder.rename(tmp_path / ".x.biascon-old")
    assert find_latest(tmp_path) == folder
    folder.rename(old)
    assert load(folder).digest == digest
