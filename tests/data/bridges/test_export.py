"""Exports: what is read back equals the dataset; a folder is complete or does not appear."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

import biascon
from biascon.data.bridges import parquet as parquet_writer
from biascon.data.bridges import pictures
from biascon.data.bridges.export import MARKER, WRITERS, export_dataset
from biascon.data.bridges.parquet import SPLIT_NAMES
from biascon.data.dataset import load, view_by_attributes
from biascon.data.split import BiasedDataset
from biascon.errors import BiasconError, UsageError
from tests.data import faces as drawn_faces

Cli = Callable[..., tuple[int, str, str]]
CODES = {"train": "0", "val": "1", "test": "2"}


def read_png(source: Path | bytes) -> np.ndarray:
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    with Image.open(file) as image:
        pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def digest_folder(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_parquet_holds_every_image_label_and_attribute(
    faces: BiasedDataset, tmp_path: Path
) -> None:
    biascon.export_dataset(faces, tmp_path / "out", "hf")
    for name, split in faces.splits.items():
        table = parquet.read_table(tmp_path / "out" / "data" / f"{SPLIT_NAMES[name]}.parquet")
        columns = table.to_pydict()
        assert list(columns) == ["image", "label", "race", "age", "aligned", "index"]
        pixels = np.stack([read_png(cell["bytes"]) for cell in columns["image"]])
        assert np.array_equal(pixels, split.images)
        assert columns["label"] == split.labels.tolist()
        assert columns["race"] == split.bias.tolist()
        assert columns["age"] == split.attributes["age"].tolist()
        assert columns["aligned"] == split.aligned.tolist()
        assert columns["index"] == split.index.tolist()


def test_the_layout_of_wilds_holds_every_image_label_and_attribute(
    faces: BiasedDataset, tmp_path: Path
) -> None:
    export_dataset(faces, tmp_path / "out", "wilds")
    rows = read_table(tmp_path / "out" / "metadata.csv")
    assert [row["img_id"] for row in rows] == [str(k) for k in range(len(rows))]
    for name, split in faces.splits.items():
        part = [row for row in rows if row["split"] == CODES[name]]
        pixels = np.stack([read_png(tmp_path / "out" / row["img_filename"]) for row in part])
        assert np.array_equal(pixels, split.images)
        for column, codes in (
            ("y", split.labels),
            ("race", split.bias),
            ("age", split.attributes["age"]),
            ("aligned", split.aligned.astype(int)),
            ("index", split.index),
        ):
            assert [row[column] for row in part] == [str(code) for code in codes]
    marker = json.loads((tmp_path / "out" / MARKER).read_text())
    assert marker["digest"] == faces.digest
    assert marker["values"] == {
        "label": ["round", "square"], "race": ["white", "other"], "age": ["young", "middle", "old"]
    }  # fmt: skip


def test_make_table_builds_the_same_dataset_from_class_folders(
    faces: BiasedDataset, tmp_path: Path, cli: Cli
) -> None:
    export_dataset(faces, tmp_path / "out", "folder")
    assert sorted(path.name for path in (tmp_path / "out" / "train").iterdir()) == [
        "0_round",
        "1_square",
    ]
    code, _, err = cli(
        "make-table", tmp_path / "out" / "table.csv", "--image-col", "file", "--label-col", "label",
        "--bias-col", "race", "--bias-col", "age", "--split-col", "split", "--size", "28", "--resize", "28",
        "--aligned", "round=white", "--aligned", "square=other", "--out", tmp_path / "again",
    )  # fmt: skip
    assert code == 0, err
    again = load(tmp_path / "again")
    names = faces.manifest.attributes or {}
    for name, split in faces.splits.items():
        other = again.split(name)  # its rows are in the order of the files
        rows = np.lexsort((np.arange(len(split)), split.labels))
        assert np.array_equal(other.images, split.images[rows])
        assert np.array_equal(other.labels, split.labels[rows])
        assert np.array_equal(other.aligned, split.aligned[rows])
        for key, attribute in names.items():
            ours = np.array(attribute.values)[split.attributes[key][rows]]
            theirs = np.array((again.manifest.attributes or {})[key].values)[other.attributes[key]]
            assert ours.tolist() == theirs.tolist()


def test_gray_images_without_a_bias_attribute(gray_folder: Path, tmp_path: Path) -> None:
    data = load(gray_folder)
    for to in WRITERS:
        export_dataset(data, tmp_path / to, to)
    rows = read_table(tmp_path / "wilds" / "metadata.csv")
    assert list(rows[0]) == ["img_id", "img_filename", "y", "split", "index"]
    assert {row["split"] for row in rows} == {"0", "2"}
    pixels = read_png(tmp_path / "wilds" / rows[3]["img_filename"])
    assert np.array_equal(pixels, data.splits["train"].images[3])
    folders = sorted(path.name for path in (tmp_path / "folder" / "test").iterdir())
    assert folders == ["0_T-shirt_top", "1_a_b"]
    assert read_table(tmp_path / "folder" / "table.csv")[0]["label"] == "T-shirt/top"


def test_an_index_of_files_is_exported_as_its_images(tmp_path: Path, cli: Cli) -> None:
    raw = drawn_faces.draw_utkface(tmp_path / "raw", drawn_faces.make_names(40))
    words = (
        "make-utkface",
        raw,
        "--size",
        "16",
        "--rate",
        "0",
        "--store",
        "files",
        "--val-protocol",
        "none",
    )
    assert cli(*words, "--out", "lazy")[0] == 0
    data = load(Path("lazy"))
    export_dataset(data, tmp_path / "out", "wilds")
    rows = read_table(tmp_path / "out" / "metadata.csv")
    assert np.array_equal(
        read_png(tmp_path / "out" / rows[5]["img_filename"]), data.splits["train"].images[5]
    )
    assert str(raw) not in (tmp_path / "out" / MARKER).read_text()


@pytest.mark.parametrize("to", WRITERS)
def test_the_same_dataset_gives_the_same_bytes(
    faces: BiasedDataset, tmp_path: Path, to: str
) -> None:
    calls: list[tuple[int, int]] = []
    export_dataset(faces, tmp_path / "one", to, on_progress=lambda *call: calls.append(call))
    export_dataset(
        view_by_attributes(faces, ["age"]), tmp_path / "two", to
    )  # a view: the same rows
    assert digest_folder(tmp_path / "one") == digest_folder(tmp_path / "two")
    assert calls == [(k, 100) for k in range(1, 101)]


def test_attributes_with_names_of_other_columns_keep_a_column(
    faces: BiasedDataset, tmp_path: Path
) -> None:
    text = json.dumps(faces.manifest.to_json()).replace('"age"', '"label"')
    manifest = type(faces.manifest).from_json(json.loads(text))
    splits = {
        name: type(split)(
            split.images, split.labels, split.bias, split.aligned, split.index,
            {"race": split.bias, "label": split.attributes["age"]},
        )
        for name, split in faces.splits.items()
    }  # fmt: skip
    data = BiasedDataset("faces", manifest, splits, faces.digest)
    export_dataset(data, tmp_path / "out", "hf")
    table = parquet.read_table(tmp_path / "out" / "data" / "test.parquet")
    assert table.column("label").to_pylist() == faces.splits["test"].labels.tolist()
    codes = faces.splits["test"].attributes["age"].tolist()
    assert table.column("attribute.label").to_pylist() == codes


class TestTarget:
    def test_a_folder_of_the_new_export_that_cannot_be_read_ends_it(
        self, faces: BiasedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scan = os.scandir

        def refuse(folder: Any = ".") -> Any:
            if isinstance(folder, str | Path) and Path(folder).name == "train":
                raise PermissionError(13, "Permission denied", str(folder))
            return scan(folder)

        monkeypatch.setattr(os, "scandir", refuse)
        with pytest.raises(BiasconError, match="Permission denied"):
            export_dataset(faces, tmp_path / "out", "wilds")
        monkeypatch.undo()
        assert not (tmp_path / "out").exists()

    def test_an_existing_folder_is_kept(self, faces_folder: Path, cli: Cli) -> None:
        words = ("export", faces_folder, "--to", "wilds", "--out", "out")
        code, _, err = cli(*words)
        assert code == 0, err
        assert err.splitlines()[-2] == "out: written"
        before = digest_folder(Path("out"))
        code, _, err = cli(*words)
        assert (code, err) == (
            1,
            "error: out exists already; choose another --out, or pass --force\n",
        )
        assert digest_folder(Path("out")) == before
        assert cli(*words, "--force")[0] == 0
        assert digest_folder(Path("out")) == before

    @pytest.mark.parametrize("change", ["added", "edited", "removed", "linked"])
    def test_an_export_with_files_of_the_user_is_never_replaced(
        self, faces: BiasedDataset, tmp_path: Path, change: str
    ) -> None:
        out = export_dataset(faces, tmp_path / "out", "wilds")
        notes = out / "images" / "train" / "notes.txt"
        if change == "added":
            notes.write_text("mine")
        elif change == "edited":
            (out / "metadata.csv").write_text("mine")
        elif change == "removed":
            next((out / "images").rglob("*.png")).unlink()
        else:
            notes.symlink_to(tmp_path)
        before = digest_folder(out)
        with pytest.raises(BiasconError, match="files were added, changed or removed") as caught:
            export_dataset(faces, out, "wilds", replace=True)
        assert digest_folder(out) == before
        if change == "added":
            assert "('images/train/notes.txt')" in str(caught.value)

    @pytest.mark.parametrize("names", [["notes.txt"], ["notes.txt", MARKER], ["data"]])
    def test_a_folder_with_other_files_is_never_replaced(
        self, faces: BiasedDataset, tmp_path: Path, names: list[str]
    ) -> None:
        (tmp_path / "out").mkdir()
        for name in names:
            (tmp_path / "out" / name).write_text("mine")
        with pytest.raises(BiasconError, match="is not an export of biascon"):
            export_dataset(faces, tmp_path / "out", "hf", replace=True)
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)

    def test_a_file_is_never_replaced(self, faces: BiasedDataset, tmp_path: Path) -> None:
        (tmp_path / "out").write_text("mine")
        with pytest.raises(BiasconError, match="is not an export of biascon"):
            export_dataset(faces, tmp_path / "out", "hf", replace=True)
        assert (tmp_path / "out").read_text() == "mine"

    @pytest.mark.parametrize("to", WRITERS)
    def test_a_full_disk_leaves_nothing_and_keeps_the_old_export(
        self, faces: BiasedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str
    ) -> None:
        export_dataset(faces, tmp_path / "out", to)
        before = digest_folder(tmp_path)

        def fail(pixels: np.ndarray) -> bytes:
            raise OSError(errno.ENOSPC, "No space left on device")

        for module in (parquet_writer, pictures):
            monkeypatch.setattr(module, "encode_png", fail)
        with pytest.raises(BiasconError, match=r"cannot write .*out: No space left on device"):
            export_dataset(faces, tmp_path / "out", to, replace=True)
        assert digest_folder(tmp_path) == before

    @pytest.mark.parametrize(
        ("words", "code", "message"),
        [
            (("--to", "hf"), 2, "--to hf needs --out"),
            (("--to", "hf", "--out", "{folder}/export"), 2, "is in the dataset folder"),
            (("--to", "croissant", "--out", "x"), 2, "leave out --out"),
            (("--to", "csv", "--out", "x"), 2, "'csv' is not one of"),
        ],
    )
    def test_wrong_options(
        self, faces_folder: Path, cli: Cli, words: tuple[str, ...], code: int, message: str
    ) -> None:
        filled = [word.format(folder=faces_folder) for word in words]
        outcome: Any = cli("export", faces_folder, *filled)
        assert outcome.code == code
        assert message in outcome.err

    def test_an_unknown_layout_is_an_error(self, faces: BiasedDataset, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="did you mean 'wilds'"):
            export_dataset(faces, tmp_path / "out", "wild")

    def test_a_damaged_dataset_is_not_exported(self, gray_folder: Path, cli: Cli) -> None:
        path = gray_folder / "test.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"\1")
        code, _, err = cli("export", gray_folder, "--to", "hf", "--out", "out")
        assert code == 1
        assert "is not the file that its manifest describes" in err
        assert not Path("out").exists()
