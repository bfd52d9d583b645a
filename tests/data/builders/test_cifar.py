"""The binary version of CIFAR: its layout is read, and files that are damaged are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biascon.data.builders.cifar import LAYOUTS, read_cifar
from biascon.data.dataset import load
from biascon.errors import DataError

PIXELS = 3072
N = {"cifar10": 60, "cifar100": 300}  # of a training file


def rows(name: str, n: int, seed: int) -> bytes:
    """Return rows of random pixels; the labels cycle through the classes."""
    layout = LAYOUTS[name]
    table = np.random.default_rng(seed).integers(0, 256, (n, layout.label_bytes + PIXELS), np.uint8)
    table[:, layout.label_bytes - 1] = np.arange(n) % layout.classes
    if layout.label_bytes == 2:
        table[:, 0] = np.arange(n) % layout.classes // 5
    return table.tobytes()


def layout_of(folder: Path, name: str) -> Path:
    """Make the official layout, small, and return the folder above it."""
    layout = LAYOUTS[name]
    inner = folder / layout.folder
    inner.mkdir(parents=True)
    for k, file in enumerate(layout.train):
        (inner / file).write_bytes(rows(name, N[name], k))
    (inner / layout.test).write_bytes(rows(name, N[name], 99))
    names = "\n".join(f"thing {k}" for k in range(layout.classes))
    (inner / layout.names).write_text(names + "\n\n", "utf-8")  # the official file ends so
    return folder


@pytest.fixture(params=["cifar10", "cifar100"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def raw(tmp_path: Path, name: str) -> Path:
    return layout_of(tmp_path / "raw", name)


def failed(outcome: Any) -> str:
    assert outcome.code == 1, outcome
    line: str = outcome.err.splitlines()[-1]
    assert line.startswith("error: ")
    return line


class TestBuild:
    def test_splits_hold_the_images_and_labels_of_the_files(
        self, cli: Any, raw: Path, name: str, tmp_path: Path
    ) -> None:
        layout = LAYOUTS[name]
        outcome = cli("make-standard", name, raw)
        assert outcome.code == 0, outcome.err
        assert "no bias attribute" in outcome.out
        assert f"the dataset is called {name}-part" in outcome.err
        data = load(tmp_path / "data" / f"{name}-part")
        assert not data.has_bias and data.n_labels == layout.classes
        assert data.manifest.labels[1] == "thing 1"
        n = len(layout.train) * N[name]
        train, val, test = (data.splits[key] for key in ("train", "val", "test"))
        per_class = max(1, n // layout.classes // 10)
        assert (np.bincount(val.labels) == per_class).all()
        assert sorted([*train.index, *val.index]) == list(range(n))
        assert list(test.index) == list(range(N[name]))
        blobs = [(raw / layout.folder / file).read_bytes() for file in layout.train]
        size = layout.label_bytes + PIXELS
        for split in (train, val):
            for row in (0, -1):
                blob = b"".join(blobs)[split.index[row] * size :][:size]
                assert blob[layout.label_bytes - 1] == split.labels[row]
                assert split.images[row].tobytes() == blob[layout.label_bytes :]
        sums = data.manifest.source["sha256"]
        assert set(sums) == {*layout.train, layout.test, layout.names}

    def test_the_same_command_gives_the_same_bytes(
        self, cli: Any, raw: Path, name: str, tmp_path: Path
    ) -> None:
        inner = raw / LAYOUTS[name].folder
        for out, folder in (("one", raw), ("two", inner)):
            assert cli("make-standard", name, folder, "--out", tmp_path / out).code == 0
        for file in ("train", "val", "test"):
            one, two = ((tmp_path / out / f"{file}.safetensors") for out in ("one", "two"))
            assert one.read_bytes() == two.read_bytes()
        assert load(tmp_path / "one").digest == load(tmp_path / "two").digest
        again = cli("make-standard", name, raw, "--out", tmp_path / "one")
        assert "exists already and is intact" in again.err

    def test_options_reach_the_builder(
        self, cli: Any, raw: Path, name: str, tmp_path: Path
    ) -> None:
        outcome = cli("make-standard", name, raw, "--val-protocol", "none", "--seed", "3", "--json")
        assert json.loads(outcome.out)["name"] == f"{name}-part-none-seed3"
        data = load(tmp_path / "data" / f"{name}-part-none-seed3")
        assert "val" not in data.splits
        assert len(data.splits["train"]) == len(LAYOUTS[name].train) * N[name]
        wrong = cli("make-standard", name, raw, "--size", "64")
        assert wrong.code == 2 and "32" in wrong.err

    def test_another_seed_holds_out_other_images(
        self, cli: Any, raw: Path, name: str, tmp_path: Path
    ) -> None:
        for seed in ("0", "1"):
            cli("make-standard", name, raw, "--seed", seed, "--out", tmp_path / seed)
        one, two = (load(tmp_path / seed).splits["val"].index for seed in ("0", "1"))
        assert list(one) != list(two)


class TestBadFiles:
    def spoil(
        self, raw: Path, name: str, change: Callable[[bytearray], Any], file: str = ""
    ) -> None:
        layout = LAYOUTS[name]
        path = raw / layout.folder / (file or layout.train[-1])
        blob = bytearray(path.read_bytes())
        change(blob)
        path.write_bytes(blob)

    def test_a_truncated_file_is_refused(self, cli: Any, raw: Path, name: str) -> None:
        self.spoil(raw, name, lambda blob: blob.pop())
        assert "is truncated" in failed(cli("make-standard", name, raw))
        self.spoil(raw, name, lambda blob: blob.clear())
        assert "is truncated: 0 bytes" in failed(cli("make-standard", name, raw))

    def test_a_label_out_of_range_is_refused(self, cli: Any, raw: Path, name: str) -> None:
        layout = LAYOUTS[name]
        size = layout.label_bytes + PIXELS

        def change(blob: bytearray) -> None:
            blob[7 * size + layout.label_bytes - 1] = layout.classes

        self.spoil(raw, name, change)
        line = failed(cli("make-standard", name, raw))
        assert f"0..{layout.classes - 1}, but row 7 has {layout.classes}" in line

    def test_a_coarse_label_out_of_range_is_refused(self, cli: Any, tmp_path: Path) -> None:
        raw = layout_of(tmp_path / "raw", "cifar100")
        self.spoil(raw, "cifar100", lambda blob: blob.__setitem__(0, 20))
        line = failed(cli("make-standard", "cifar100", raw))
        assert "coarse label in 0..19, but row 0 has 20" in line

    def test_a_missing_file_is_refused_by_name(self, cli: Any, raw: Path, name: str) -> None:
        layout = LAYOUTS[name]
        for file in (layout.test, layout.names):
            (raw / layout.folder / file).unlink()
            assert f"has no {file}; unpack" in failed(cli("make-standard", name, raw))

    def test_a_folder_without_cifar_is_refused(self, cli: Any, name: str, tmp_path: Path) -> None:
        assert f"neither the folder {LAYOUTS[name].folder} nor its files" in failed(
            cli("make-standard", name, tmp_path)
        )
        assert not (tmp_path / "data").exists()

    def test_a_class_without_images_is_refused(self, name: str, raw: Path) -> None:
        layout = LAYOUTS[name]
        size = layout.label_bytes + PIXELS

        def change(blob: bytearray) -> None:
            for at in range(layout.label_bytes - 1, len(blob), size):
                blob[at] = 0 if blob[at] == 3 else blob[at]

        self.spoil(raw, name, change, layout.test)
        with pytest.raises(DataError, match="the test files have no image of class 'thing 3'"):
            read_cifar(layout, raw)

    @pytest.mark.parametrize("content", [b"\xff\xfe", b"one\ntwo\n", b"same\n" * 10])
    def test_malformed_class_names_are_refused(self, raw: Path, name: str, content: bytes) -> None:
        (raw / LAYOUTS[name].folder / LAYOUTS[name].names).write_bytes(content)
        with pytest.raises(DataError, match=r"list of names|different names"):
            read_cifar(LAYOUTS[name], raw)

    def test_the_pickled_version_is_refused_and_not_read(
        self, cli: Any, name: str, tmp_path: Path
    ) -> None:
        """A pickle that would leave a file behind if anything loaded it."""
        import pickle

        class Trap:
            def __reduce__(self) -> Any:
                return Path.touch, (tmp_path / "sprung",)

        layout = LAYOUTS[name]
        folder = tmp_path / "raw" / layout.pickled
        folder.mkdir(parents=True)
        for file in (*layout.train, layout.test):
            (folder / file.removesuffix(".bin")).write_bytes(pickle.dumps(Trap()))
        for raw in (folder, folder.parent):
            line = failed(cli("make-standard", name, raw))
            assert "pickled and is not read; get the binary version" in line
        assert not (tmp_path / "sprung").exists()
