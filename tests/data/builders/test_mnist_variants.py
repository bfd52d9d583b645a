"""FashionMNIST and KMNIST instead of MNIST: sources, checks of the files, coloring."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biascon.data.builders import mnist_source, mnist_variants
from biascon.data.builders.mnist_variants import SETS, find_shapes
from biascon.data.dataset import load
from biascon.errors import DataError, UsageError
from tests.data.builders.idx_files import encode_idx

FETCH = mnist_source.fetch_all  # the original function: the tests replace it
N = {"train": 400, "t10k": 100}


def blobs(seed: int = 0) -> dict[str, bytes]:
    rng = np.random.default_rng(seed)
    files = {}
    for part, n in N.items():
        files[f"{part}-images-idx3-ubyte"] = encode_idx(rng.integers(0, 256, (n, 28, 28)))
        files[f"{part}-labels-idx1-ubyte"] = encode_idx(np.arange(n) % 10)
    return files


@pytest.fixture(params=["fashion", "kmnist"])
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A set with the digests and sizes of the files that these tests write."""
    md5 = {
        key: hashlib.md5(gzip.compress(blob, mtime=0)).hexdigest() for key, blob in blobs().items()
    }
    small = dataclasses.replace(SETS[request.param], md5=md5)
    monkeypatch.setitem(mnist_variants.SETS, request.param, small)
    monkeypatch.setattr(mnist_variants, "SHAPES", {part: (n, 28, 28) for part, n in N.items()})
    return str(request.param)


def put(folder: Path, *, seed: int = 0, packed: bool = True) -> Path:
    folder.mkdir(parents=True)
    for key, blob in blobs(seed).items():
        path = folder / (f"{key}.gz" if packed else key)
        path.write_bytes(gzip.compress(blob, mtime=0) if packed else blob)
    return folder


class TestWhere:
    def test_a_named_folder_is_read(self, name: str, tmp_path: Path) -> None:
        digits = find_shapes(name, put(tmp_path / "x"))
        assert (digits.kind, digits.labels) == (SETS[name].kind, SETS[name].labels)
        assert (len(digits.train_labels), len(digits.test_labels)) == (400, 100)
        assert "without a digest" not in digits.origin

    def test_files_that_are_not_gzipped_have_no_digest_to_check(
        self, name: str, tmp_path: Path
    ) -> None:
        plain = find_shapes(name, put(tmp_path / "plain", packed=False))
        assert "without a digest to check" in plain.origin
        assert plain.sha256 == find_shapes(name, put(tmp_path / "packed")).sha256

    def test_a_gzipped_file_counts_before_one_that_is_not(self, name: str, tmp_path: Path) -> None:
        folder = put(tmp_path / "x")
        for key in blobs():
            (folder / key).write_bytes(b"another file")
        assert "without a digest" not in find_shapes(name, folder).origin

    def test_the_environment_variable_names_the_folder(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(SETS[name].variable, str(put(tmp_path / "x")))
        assert SETS[name].variable in find_shapes(name).origin

    def test_the_folders_of_torchvision_are_read(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        put(tmp_path / "cache" / "biascon" / SETS[name].folder / "raw")
        assert "torchvision" in find_shapes(name).origin
        put(tmp_path / "data" / SETS[name].folder / "raw")
        assert "torchvision" in find_shapes(name).origin

    def test_a_download_is_checked_and_kept(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        asked = []

        class Response:
            def __init__(self, blob: bytes) -> None:
                self.blob = blob

            def __enter__(self) -> Response:
                return self

            def __exit__(self, *_: object) -> None: ...

            def read(self) -> bytes:
                return self.blob

        def urlopen(url: str, timeout: float) -> Response:
            asked.append(url)
            assert url.startswith(SETS[name].mirror)
            return Response(gzip.compress(blobs(seed)[url.rpartition("/")[2][:-3]], mtime=0))

        monkeypatch.setattr(mnist_source, "fetch_all", FETCH)
        monkeypatch.setattr(mnist_source.urllib.request, "urlopen", urlopen)
        seed = 1
        with pytest.raises(DataError, match="is not the expected file"):
            find_shapes(name)
        seed = 0
        assert find_shapes(name).origin.endswith("download")
        before = len(asked)
        assert "torchvision" in find_shapes(name).origin  # kept
        assert len(asked) == before

    def test_a_set_without_a_source_is_an_error(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(DataError, match=f"tests use no network; .* set {SETS[name].variable}"):
            find_shapes(name)

    def test_an_unknown_set_is_wrong_usage(self) -> None:
        with pytest.raises(UsageError, match="known: fashion, kmnist"):
            find_shapes("emnist")


class TestBadFiles:
    def test_files_with_another_md5_are_refused(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz \(md5 "):
            find_shapes(name, put(tmp_path / "x", seed=1))

    def test_a_missing_file_or_folder_is_refused(self, name: str, tmp_path: Path) -> None:
        folder = put(tmp_path / "x")
        (folder / "t10k-labels-idx1-ubyte.gz").unlink()
        with pytest.raises(DataError, match="needs its four IDX files"):
            find_shapes(name, folder)
        with pytest.raises(DataError, match="there is no folder"):
            find_shapes(name, tmp_path / "nothing")

    def test_a_truncated_file_is_refused(self, name: str, tmp_path: Path) -> None:
        folder = put(tmp_path / "x")
        path = folder / "train-labels-idx1-ubyte.gz"
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(DataError, match="truncated or corrupt gzip"):
            find_shapes(name, folder)

    def test_labels_that_are_not_balanced_are_refused(self, name: str, tmp_path: Path) -> None:
        folder = put(tmp_path / "x", packed=False)
        (folder / "train-labels-idx1-ubyte").write_bytes(encode_idx(np.zeros(400)))
        with pytest.raises(DataError, match="expected 40 of each class"):
            find_shapes(name, folder)
        (folder / "train-labels-idx1-ubyte").write_bytes(encode_idx(np.arange(400) % 11))
        with pytest.raises(DataError, match="expected 40 of each class"):
            find_shapes(name, folder)

    def test_another_number_of_labels_is_refused(self, name: str, tmp_path: Path) -> None:
        folder = put(tmp_path / "x", packed=False)
        (folder / "train-labels-idx1-ubyte").write_bytes(encode_idx(np.arange(30) % 10))
        with pytest.raises(DataError, match=r"but \w+ has \(400, 28, 28\)"):
            find_shapes(name, folder)


class TestColored:
    def test_the_command_line_colors_the_set(self, cli: Any, name: str, tmp_path: Path) -> None:
        outcome = cli("make-bmnist", "--source", name, "--mnist-dir", put(tmp_path / "x"),
                   "--rho", "0.9", "--json")  # fmt: skip
        assert outcome.code == 0, outcome.err
        manifest = json.loads(outcome.out)
        stem = {"fashion": "fashion-bmnist", "kmnist": "kbmnist"}[name]
        assert manifest["name"] == f"{stem}-0.9"
        assert manifest["labels"] == list(SETS[name].labels)
        assert manifest["protocol"]["test"] == f"{SETS[name].title} test set at rho 0.1"
        assert "digit" not in json.dumps(manifest["protocol"])
        data = load(tmp_path / "data" / f"{stem}-0.9")
        assert data.knows_aligned and data.splits["train"].aligned.mean() > 0.85
        digits = find_shapes(name, tmp_path / "x")
        test = data.splits["test"]
        white = (test.images == 255).all(axis=1)
        assert ((digits.test_images[test.index] > 0) <= white).all()
