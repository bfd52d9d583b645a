"""The dataset folder: whole or not there, and refused when a byte of it is another."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image
from safetensors import SafetensorError

from biascon.data import dataset
from biascon.data.builders import biased_mnist
from biascon.data.builders.biased_mnist import BiasedMNISTSpec
from biascon.data.builders.mnist_source import Digits
from biascon.data.contact_sheet import draw_contact_sheet
from biascon.data.dataset import (
    Split,
    dataset_digest,
    find_latest,
    load,
    read_manifest,
    save,
    verify,
    with_checksum,
)
from biascon.data.manifest import DatasetDescription, FileEntry
from biascon.errors import BiasconError, DataError

FILES = ("train.safetensors", "val.safetensors", "test.safetensors")


@pytest.fixture
def folder(make_dataset: Callable[..., Path], tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "data" / "small")


@pytest.fixture
def splits(digits: Digits) -> dict[str, Split]:
    return biased_mnist.build_splits(digits, BiasedMNISTSpec(0.9))


@pytest.fixture
def description(digits: Digits) -> DatasetDescription:
    return biased_mnist.describe_biased_mnist(digits, BiasedMNISTSpec(0.9))


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    replaced = change(manifest)
    manifest = manifest if replaced is None else replaced
    # The manifest agrees with itself, so that what is asked for is not hidden by its own digest.
    path.write_text(json.dumps(with_checksum(manifest) if isinstance(manifest, dict) else manifest))


def put_arrays(folder: Path, arrays: dict[str, np.ndarray], name: str = "train") -> None:
    """Replace a split by arrays that somebody else wrote, with a manifest that agrees."""
    path = folder / f"{name}.safetensors"
    safetensors.numpy.save_file(arrays, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    edit_manifest(folder, lambda manifest: manifest["files"][path.name].update(sha256=digest))


class TestRoundTrip:
    def test_what_is_saved_is_loaded(self, folder: Path, splits: dict[str, Split]) -> None:
        data = load(folder)
        assert list(data.splits) == ["train", "val", "test"]
        for name, split in splits.items():
            found = data.splits[name]
            assert len(found) == len(split)
            for key, array in split.arrays().items():
                assert found.arrays()[key].dtype == array.dtype
                assert np.array_equal(found.arrays()[key], array)
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
        given = {
            name: Split(
                split.images[:, ::-1][:, ::-1],
                split.labels.astype(np.int8),
                split.bias.astype(np.uint8),
                split.aligned,
                split.index.astype(np.int32),
            )
            for name, split in splits.items()
        }
        save(tmp_path / "given", given, description, replace=False)
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

    def test_only_some_splits(self, folder: Path) -> None:
        assert list(load(folder, only=("train", "val")).splits) == ["train", "val"]

    def test_the_splits_that_are_not_read_are_verified_too(self, folder: Path) -> None:
        (folder / "test.safetensors").unlink()
        with pytest.raises(DataError, match=r"test.safetensors is missing"):
            load(folder, only=("train",))

    def test_without_a_validation_split(
        self, make_dataset: Callable[..., Path], tmp_path: Path
    ) -> None:
        data = load(make_dataset(tmp_path / "x", val_protocol="none"))
        assert list(data.splits) == ["train", "test"]

    def test_the_digest_stands_for_every_byte(
        self, make_dataset: Callable[..., Path], tmp_path: Path
    ) -> None:
        one, same, other = (
            load(make_dataset(tmp_path / name, seed=seed)).digest
            for name, seed in (("one", 0), ("same", 0), ("other", 1))
        )
        assert one == same != other

    def test_counts(self) -> None:
        y, b = np.array([0, 1, 1, 1]), np.array([2, 0, 0, 1])
        split = Split(np.zeros((4, 3, 1, 1), np.uint8), y, b, y == b, np.arange(4))
        assert split.counts(2, 3).tolist() == [[0, 0, 1], [2, 1, 0]]
        assert dataset.summarize(split, 2, 3).to_json() == {
            "n": 4, "aligned": 1, "conflicting": 3, "empty_cells": 3,
            "cells": [[0, 0, 1], [2, 1, 0]],
        }  # fmt: skip


class TestDamage:
    @pytest.mark.parametrize("name", FILES)
    @pytest.mark.parametrize("where", ["first", "middle", "last"])
    def test_a_changed_byte(self, folder: Path, name: str, where: str) -> None:
        path = folder / name
        blob = bytearray(path.read_bytes())
        blob[{"first": 0, "middle": len(blob) // 2, "last": -1}[where]] ^= 1
        path.write_bytes(blob)
        with pytest.raises(DataError, match=f"{name} is not the file .*sha256.*--force"):
            load(folder)

    @pytest.mark.parametrize("name", FILES)
    def test_a_changed_hash_in_the_manifest(self, folder: Path, name: str) -> None:
        edit_manifest(folder, lambda m: m["files"][name].update(sha256="0" * 64))
        with pytest.raises(DataError, match=f"{name} is not the file .*expected 000000000000"):
            load(folder)

    @pytest.mark.parametrize("name", FILES)
    def test_a_missing_file(self, folder: Path, name: str) -> None:
        (folder / name).unlink()
        with pytest.raises(DataError, match=f"{name} is missing"):
            load(folder)

    def test_a_truncated_file(self, folder: Path) -> None:
        path = folder / "train.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(DataError, match=r"train\.safetensors is not the file"):
            load(folder)

    def test_a_file_that_is_not_safetensors(self, folder: Path) -> None:
        path = folder / "train.safetensors"
        path.write_bytes(b"nonsense")
        digest = hashlib.sha256(b"nonsense").hexdigest()
        edit_manifest(folder, lambda m: m["files"][path.name].update(sha256=digest))
        with pytest.raises(DataError, match=r"cannot read .*train\.safetensors"):
            load(folder)

    def test_no_folder_and_no_manifest(self, folder: Path) -> None:
        with pytest.raises(DataError, match=r"nowhere is not a dataset folder.*make-bmnist"):
            load(folder.parent / "nowhere")
        (folder / "manifest.json").unlink()
        with pytest.raises(DataError, match=r"has no manifest.json.*make-bmnist"):
            load(folder)

    @pytest.mark.parametrize("text", ["", "{", "\x00\xff", '{"format": 1,'])
    def test_a_manifest_that_is_not_json(self, folder: Path, text: str) -> None:
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
    def test_a_manifest_of_another_format(self, folder: Path, change: Callable[..., Any]) -> None:
        edit_manifest(folder, change)
        with pytest.raises(DataError, match="is not a manifest of format 1; build"):
            load(folder)

    def test_all_missing_keys_are_told_at_once(self, folder: Path) -> None:
        edit_manifest(folder, lambda m: [m.pop(k) for k in ("labels", "files")] and None)
        with pytest.raises(DataError, match=r"manifest\.json .* lacks labels, files; build"):
            load(folder)

    @pytest.mark.parametrize("name", ["../x", "..", "a/b", "", ".hidden", "a b", "/etc", "a\n"])
    def test_a_name_that_would_leave_its_place(self, folder: Path, name: str) -> None:
        edit_manifest(folder, lambda m: m.update(name=name))
        with pytest.raises(DataError, match="which no dataset may have"):
            load(folder)

    @pytest.mark.parametrize("name", ["../train.safetensors", "/etc/passwd", "extra.safetensors"])
    def test_a_file_that_no_dataset_has(self, folder: Path, name: str) -> None:
        edit_manifest(folder, lambda m: m["files"].update({name: {"sha256": "0" * 64}}))
        with pytest.raises(DataError, match="names a file that no dataset has"):
            load(folder)

    @pytest.mark.parametrize("name", ["train", "test"])
    def test_a_split_that_the_manifest_does_not_name(self, folder: Path, name: str) -> None:
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
    def test_a_manifest_with_values_of_another_kind(
        self, folder: Path, change: Callable[..., Any]
    ) -> None:
        edit_manifest(folder, change)
        with pytest.raises(DataError):
            load(folder)

    def test_verify_accepts_an_intact_folder(self, folder: Path) -> None:
        verify(folder, read_manifest(folder))


class TestIdentity:
    @pytest.mark.parametrize(
        "change",
        [
            lambda m: m["counts"]["train"].update(aligned=1),
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

    def test_it_is_the_same_wherever_the_digits_were_found_and_whoever_wrote_it(
        self, folder: Path
    ) -> None:
        before = load(folder).digest
        manifest = read_manifest(folder)
        elsewhere = replace(manifest, biascon="9", source={**manifest.source, "origin": "x"})
        assert dataset_digest(elsewhere) == before
        assert dataset_digest(replace(manifest, parameters={})) != before


class TestForeignArrays:
    """The digests agree, and still the arrays do not fit: whoever wrote them is told."""

    @pytest.fixture
    def arrays(self, folder: Path) -> dict[str, np.ndarray]:
        return safetensors.numpy.load_file(folder / "train.safetensors")

    def test_arrays_that_fit_are_read(self, folder: Path, arrays: dict[str, np.ndarray]) -> None:
        put_arrays(folder, {name: array[:7] for name, array in arrays.items()})
        assert len(load(folder).splits["train"]) == 7

    def test_an_empty_split_is_read(self, folder: Path, arrays: dict[str, np.ndarray]) -> None:
        put_arrays(folder, {name: array[:0] for name, array in arrays.items()})
        assert len(load(folder).splits["train"]) == 0

    @pytest.mark.parametrize("name", ["images", "labels", "bias", "aligned", "index"])
    def test_a_missing_array(self, folder: Path, arrays: dict[str, np.ndarray], name: str) -> None:
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
    def test_another_dtype(
        self, folder: Path, arrays: dict[str, np.ndarray], name: str, dtype: str
    ) -> None:
        put_arrays(folder, {**arrays, name: arrays[name].astype(dtype)})
        with pytest.raises(DataError, match=f"expected '{name}' as .*, but got {dtype}"):
            load(folder)

    @pytest.mark.parametrize("name", ["images", "labels", "bias", "aligned", "index"])
    def test_another_length(self, folder: Path, arrays: dict[str, np.ndarray], name: str) -> None:
        put_arrays(folder, {**arrays, name: arrays[name][:-1]})
        with pytest.raises(DataError, match=r"train\.safetensors: '\w+' has shape .* for \d+ lab"):
            load(folder)

    @pytest.mark.parametrize("name", ["images", "labels", "bias", "aligned", "index"])
    def test_another_rank(self, folder: Path, arrays: dict[str, np.ndarray], name: str) -> None:
        put_arrays(folder, {**arrays, name: arrays[name][..., None]})
        with pytest.raises(DataError, match=f"'{name}' has shape"):
            load(folder)

    @pytest.mark.parametrize("name", ["labels", "bias"])
    @pytest.mark.parametrize("value", [-1, 10])
    def test_values_out_of_range(
        self, folder: Path, arrays: dict[str, np.ndarray], name: str, value: int
    ) -> None:
        changed = arrays[name].copy()
        changed[3] = value
        put_arrays(folder, {**arrays, name: changed})
        with pytest.raises(DataError, match=f"'{name}' has values outside 0..9"):
            load(folder)


class TestLatest:
    def test_the_one_made_or_asked_for_last(
        self, make_dataset: Callable[..., Path], tmp_path: Path
    ) -> None:
        root = tmp_path / "data"
        one, other = (make_dataset(root / name) for name in ("one", "other"))
        for age, path in enumerate((one, other), start=1):
            os.utime(path / "manifest.json", (age, age))
        assert find_latest(root) == other
        dataset.mark_used(one)
        assert find_latest(root) == one

    def test_temporary_folders_and_others_do_not_count(
        self, make_dataset: Callable[..., Path], tmp_path: Path
    ) -> None:
        root = tmp_path / "data"
        one = make_dataset(root / "one")
        os.utime(one / "manifest.json", (1, 1))
        make_dataset(root / ".two.123.abc")
        (root / "MNIST").mkdir()
        assert find_latest(root) == one

    @pytest.mark.parametrize("there", [False, True])
    def test_none(self, tmp_path: Path, there: bool) -> None:
        if there:
            (tmp_path / "data").mkdir()
        with pytest.raises(DataError, match=r"there is no dataset in .*: biascon make-bmnist"):
            find_latest(tmp_path / "data")


KILLED_HALF_WAY = """
import sys, threading
from pathlib import Path
import numpy as np
import safetensors.numpy
from biascon.data.dataset import Split, save

write = safetensors.numpy.save_file
def first_then_hang(arrays, path):
    write(arrays, path)
    if path.name.startswith("test"):
        print("ready", flush=True)
        threading.Event().wait()
safetensors.numpy.save_file = first_then_hang
y = np.zeros(5, np.int64)
split = Split(np.zeros((5, 3, 2, 2), np.uint8), y, y, y == y, np.arange(5))
description = {"name": "small", "builder": "made", "protocol": {}, "parameters": {},
               "source": {"origin": "made"}, "labels": ["0"], "bias": {"name": "b", "values": ["0"]}}
save(Path(sys.argv[1]), {"train": split, "test": split}, description, replace="replace" in sys.argv)
"""


class TestWriting:
    @pytest.mark.timeout(120)
    @pytest.mark.parametrize("there", [False, True])
    def test_a_build_killed_half_way_leaves_no_folder_and_is_swept(
        self, make_dataset: Callable[..., Path], tmp_path: Path, there: bool
    ) -> None:
        root = tmp_path / "data"
        if there:
            make_dataset(root / "small")
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED_HALF_WAY, root / "small", "replace" if there else ""],
            stdout=subprocess.PIPE,
            text=True,
        )
        with child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            child.kill()
        left = [p for p in root.iterdir() if p.name != "small"]
        assert len(left) == 1
        assert {p.name for p in left[0].iterdir()} == {"train.safetensors", "test.safetensors"}
        assert (root / "small").exists() == there
        if there:
            assert load(root / "small").name == "bmnist5k-0.9"  # the old one, intact
            assert find_latest(root) == root / "small"
        else:
            with pytest.raises(DataError, match="there is no dataset"):
                find_latest(root)
            make_dataset(root / "small")
            assert [p.name for p in root.iterdir()] == ["small"]
            load(root / "small")

    @pytest.mark.parametrize(
        "error",
        [
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
            SafetensorError("I/O error: No space left on device (os error 28)"),
        ],
    )
    @pytest.mark.parametrize("there", [False, True])
    def test_a_full_disk_while_a_split_is_written(
        self,
        splits: dict[str, Split],
        description: DatasetDescription,
        make_dataset: Callable[..., Path],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        error: Exception,
        there: bool,
    ) -> None:
        root = tmp_path / "data"
        if there:
            make_dataset(root / "small")
        write = safetensors.numpy.save_file

        def fill_up(arrays: dict[str, np.ndarray], path: Path) -> None:
            if path.name.startswith("val"):
                raise error
            write(arrays, path)

        monkeypatch.setattr(safetensors.numpy, "save_file", fill_up)
        with pytest.raises(BiasconError, match=r"cannot write .*small: .*No space left") as caught:
            save(root / "small", splits, description, replace=there)
        assert "\n" not in str(caught.value)
        assert [p.name for p in root.iterdir()] == ["small"] * there
        if there:
            load(root / "small")

    def test_a_full_disk_while_flushing(
        self,
        splits: dict[str, Split],
        description: DatasetDescription,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def refuse(handle: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(BiasconError, match=r"cannot write .*small: No space left on device"):
            save(tmp_path / "data" / "small", splits, description, replace=False)
        assert list((tmp_path / "data").iterdir()) == []

    def test_every_file_is_flushed_before_the_folder_appears(
        self,
        splits: dict[str, Split],
        description: DatasetDescription,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        flushed = set()

        def note(handle: int) -> None:
            assert not (tmp_path / "small").exists()
            flushed.add(os.fstat(handle).st_ino)

        monkeypatch.setattr(os, "fsync", note)
        save(tmp_path / "small", splits, description, replace=False)
        assert {p.stat().st_ino for p in (tmp_path / "small").iterdir()} <= flushed

    @pytest.mark.skipif(sys.platform == "win32", reason="RLIMIT_FSIZE is POSIX")
    @pytest.mark.timeout(120)
    def test_a_write_that_really_fails(self, tmp_path: Path) -> None:
        """A limit on the size of files; Python itself ignores the signal that comes with it."""
        program = (
            "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000));"
            "from biascon.cli.app import main; main(sys.argv[1:])"
        )
        words = ["make-bmnist", "--source", "embedded", "--out", str(tmp_path / "data" / "small")]
        done = subprocess.run(
            [sys.executable, "-c", program, *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1, done.stderr
        *progress, last = done.stderr.splitlines()
        assert last.startswith(f"error: cannot write {tmp_path / 'data' / 'small'}: ")
        assert "large" in last
        assert [line.split(":")[0] for line in progress] == ["source"]
        assert list((tmp_path / "data").iterdir()) == []

    def test_a_file_where_the_parent_should_be(
        self, splits: dict[str, Split], description: DatasetDescription, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(BiasconError, match=r"cannot create a folder in .*file"):
            save(tmp_path / "file" / "small", splits, description, replace=False)
        assert (tmp_path / "file").read_text() == "in the way"

    def test_an_existing_folder_is_kept_unless_replaced(
        self,
        splits: dict[str, Split],
        description: DatasetDescription,
        folder: Path,
    ) -> None:
        before = load(folder).digest
        with pytest.raises(BiasconError, match="small exists already; pass --force"):
            save(folder, splits, replace(description, name="other"), replace=False)
        assert load(folder).digest == before
        save(folder, splits, replace(description, name="other"), replace=True)
        assert load(folder).name == "other"
        assert [p.name for p in folder.parent.iterdir()] == ["small"]


class TestContactSheet:
    ZOOM, GAP, LEFT, TOP, COLUMNS = 2, 4, 64, 24, 8

    def pixel(self, sheet: Image.Image, label: int, column: int, *, aligned: bool) -> Any:
        """The pixel at the upper left of a thumbnail."""
        side = 28 * self.ZOOM + self.GAP
        x = self.LEFT + column * side + (0 if aligned else self.COLUMNS * side + 4 * self.GAP)
        return sheet.getpixel((x + 1, self.TOP + label * side + 1))

    def test_a_row_a_class_aligned_left_conflicting_right(
        self, make_dataset: Callable[..., Path], tmp_path: Path
    ) -> None:
        data = load(make_dataset(tmp_path / "x", rho=0.95, color="background"))
        path = tmp_path / "sheet.png"
        draw_contact_sheet(data, "train", path)
        palette = [tuple(c) for c in data.manifest.bias.rgb]
        with Image.open(path) as sheet:
            assert sheet.format == "PNG"
            sheet.load()
            for label in range(10):
                split = data.splits["train"]
                rows = np.flatnonzero((split.labels == label) & ~split.aligned)
                assert len(rows) == 5  # 90 - int(90 * 0.95): three of eight places stay empty
                for column in range(8):
                    own = self.pixel(sheet, label, column, aligned=True)
                    assert own in (palette[label], (255, 255, 255))
                    other = self.pixel(sheet, label, column, aligned=False)
                    if column < 5:
                        corner = tuple(split.images[rows[column], :, 0, 0].tolist())
                        assert other == corner != palette[label]
                    else:
                        assert other == (255, 255, 255)
            colours = {self.pixel(sheet, y, 0, aligned=True) for y in range(10)}
            assert len(colours & set(palette)) >= 2

    def test_each_thumbnail_is_its_image_enlarged(
        self, make_dataset: Callable[..., Path], tmp_path: Path
    ) -> None:
        data = load(make_dataset(tmp_path / "x", val_protocol="none"))
        draw_contact_sheet(data, "test", tmp_path / "sheet.png")
        test = data.splits["test"]
        row = np.flatnonzero((test.labels == 2) & test.aligned)[1]
        with Image.open(tmp_path / "sheet.png") as sheet:
            x, y = self.LEFT + 60, self.TOP + 2 * 60
            thumbnail = np.asarray(sheet.crop((x, y, x + 56, y + 56)))
        assert np.array_equal(thumbnail[::2, ::2], test.images[row].transpose(1, 2, 0))
        assert np.array_equal(thumbnail[1::2, 1::2], test.images[row].transpose(1, 2, 0))

    def test_a_split_that_is_not_there(
        self, make_dataset: Callable[..., Path], tmp_path: Path
    ) -> None:
        data = load(make_dataset(tmp_path / "x", val_protocol="none"))
        with pytest.raises(DataError, match=r"has no val split .it has: train, test"):
            draw_contact_sheet(data, "val", tmp_path / "sheet.png")

    def test_an_unwritable_place(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(BiasconError, match=r"cannot write .*sheet\.png"):
            draw_contact_sheet(load(folder), "train", tmp_path / "file" / "sheet.png")
