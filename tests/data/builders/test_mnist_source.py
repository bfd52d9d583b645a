"""Sources of MNIST: their order, the refusals, and a download that must not hang."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biascon.data.builders import mnist_source
from biascon.data.builders.mnist_source import SHA256, Digits, find_digits
from biascon.errors import DataError, UsageError
from tests.data.builders.idx_files import encode_idx, has_same_digits

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = SHA256


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to a folder without ``data/MNIST/raw``."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


@pytest.fixture
def no_other_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test fail if another source is used."""
    for name in ("load_embedded", "download"):
        monkeypatch.setattr(mnist_source, name, lambda *_: pytest.fail("fell through"))


class TestFolder:
    @pytest.mark.parametrize("suffix", ["", ".gz"])
    @pytest.mark.parametrize("dotted", [False, True])
    def test_reads_plain_and_gzipped_files_under_both_spellings(
        self, put: Any, digits: Digits, tmp_path: Path, suffix: str, dotted: bool
    ) -> None:
        loaded = find_digits(mnist_dir=put(tmp_path / "here", suffix=suffix, dotted=dotted))
        assert has_same_digits(loaded, digits)
        assert (loaded.kind, loaded.sha256) == ("mnist", mnist_source.SHA256)
        assert loaded.train_labels.dtype == loaded.test_labels.dtype == np.int64
        assert loaded.train_images.dtype == np.uint8
        assert loaded.train_index.tolist() == list(range(1000))
        assert loaded.test_index.tolist() == list(range(200))

    def test_origin_names_no_path(self, put: Any, tmp_path: Path) -> None:
        assert str(tmp_path) not in find_digits(mnist_dir=put(tmp_path / "here")).origin

    @pytest.mark.parametrize("part", ["train_images", "train_labels", "t10k_images", "t10k_labels"])
    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda blob: blob[:-1], "is truncated"),
            (lambda blob: blob + b"\0", "is too long"),
            (lambda blob: b"\0\1" + blob[2:], "is not an IDX file"),
            (lambda blob: b"\0\0\x0d" + blob[3:], "of type 0x0d"),
            (lambda blob: b"", "is not an IDX file .it starts with nothing"),
            (lambda blob: blob[:6], "no whole header"),
            (lambda blob: blob[:-1] + bytes([blob[-1] ^ 1]), "is not MNIST's .*sha256"),
            (lambda blob: gzip.compress(blob)[:-9], "truncated or corrupt gzip"),
            (lambda blob: b"\x1f\x8b" + blob, "truncated or corrupt gzip"),
        ],
    )
    def test_a_damaged_file_is_refused_by_name(
        self,
        put: Any,
        blobs: dict[str, bytes],
        no_other_source: None,
        tmp_path: Path,
        part: str,
        damage: Callable[[bytes], bytes],
        message: str,
    ) -> None:
        name = next(name for name in blobs if name.startswith(part.replace("_", "-")))
        folder = put(tmp_path / "here", **{part: damage(blobs[name])})
        with pytest.raises(DataError, match=message) as caught:
            find_digits(mnist_dir=folder)
        assert name in str(caught.value)

    @pytest.mark.parametrize(
        "damage",
        [
            lambda blob: blob[: len(blob) // 2],
            lambda blob: blob[:40] + bytes([blob[40] ^ 255]) + blob[41:],
            lambda blob: blob[:-5] + bytes([blob[-5] ^ 255]) + blob[-4:],  # the checksum
            lambda blob: blob[:10] + b"\x07" + blob[11:],  # a block of no type
            lambda blob: blob[:2],
        ],
        ids=["truncated", "corrupt", "checksum", "block", "magic-only"],
    )
    def test_a_damaged_gzip_file_is_refused_by_name(
        self,
        put: Any,
        no_other_source: None,
        tmp_path: Path,
        damage: Callable[[bytes], bytes],
    ) -> None:
        folder = put(tmp_path / "here", suffix=".gz")
        path = folder / f"{TRAIN_LABELS}.gz"
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(DataError, match=f"{TRAIN_LABELS}.*truncated or corrupt gzip"):
            find_digits(mnist_dir=folder)

    @pytest.mark.parametrize("name", list(SHA256))
    def test_a_missing_file_is_refused_by_name(
        self, put: Any, no_other_source: None, tmp_path: Path, name: str
    ) -> None:
        folder = put(tmp_path / "here")
        (folder / name).unlink()
        with pytest.raises(DataError, match=f"has no {name}"):
            find_digits(mnist_dir=folder)

    def test_an_unreadable_file_is_refused_by_name(
        self, put: Any, no_other_source: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = put(tmp_path / "here")

        def refuse(path: Path, *_: Any) -> int:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr("biascon.utils.reading.os.open", refuse)
        with pytest.raises(DataError, match=f"cannot read .*{TRAIN_IMAGES}: Permission denied"):
            find_digits(mnist_dir=folder)

    def test_the_real_mnist_has_its_class_counts(self, mnist_dir: Path) -> None:
        mnist = find_digits(mnist_dir=mnist_dir)
        assert mnist.train_images.shape == (60000, 28, 28)
        assert mnist.test_images.shape == (10000, 28, 28)
        assert np.bincount(mnist.train_labels).tolist() == [
            5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
        ]  # fmt: skip
        assert np.bincount(mnist.test_labels).tolist() == [
            980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
        ]  # fmt: skip


class TestOrder:
    def test_the_first_source_that_exists_is_used(
        self, put: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        named = put(tmp_path / "named")
        monkeypatch.setenv(mnist_source.ENVIRONMENT_VARIABLE, str(put(tmp_path / "variable")))
        embedded = object()
        monkeypatch.setattr(mnist_source, "load_embedded", lambda: embedded)

        assert find_digits(mnist_dir=named).origin == "IDX files of --mnist-dir"
        assert find_digits().origin == "IDX files of $BIASCON_MNIST"
        monkeypatch.delenv(mnist_source.ENVIRONMENT_VARIABLE)
        assert find_digits() is embedded
        local = put(Path("data/MNIST/raw"))
        assert find_digits().origin == "torchvision's folder"
        (
            local / TRAIN_IMAGES
        ).unlink()  # an incomplete folder that the user does not name is no source
        assert find_digits() is embedded
        cached = put(mnist_source.get_cache_folder(), suffix=".gz")
        assert find_digits().origin == "torchvision's folder"
        (cached / f"{TRAIN_IMAGES}.gz").unlink()
        assert find_digits() is embedded

        def download(folder: Path) -> None:
            assert folder == cached
            (local / TRAIN_LABELS).replace(local / "away")  # only the cache is complete now
            for path in cached.iterdir():
                path.unlink()
            cached.rmdir()
            put(cached)

        monkeypatch.setattr(mnist_source, "download", download)
        assert find_digits().origin == "download"

    @pytest.mark.parametrize(
        ("source", "origin"),
        [
            ("dir", "IDX files of --mnist-dir"),
            ("env", "IDX files of $BIASCON_MNIST"),
            ("torchvision", "torchvision's folder"),
            ("download", "download"),
        ],
    )
    def test_the_given_source_is_used_before_others(
        self,
        put: Any,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        source: str,
        origin: str,
    ) -> None:
        monkeypatch.setenv(mnist_source.ENVIRONMENT_VARIABLE, str(put(tmp_path / "variable")))
        put(mnist_source.get_cache_folder())
        monkeypatch.setattr(mnist_source, "download", lambda folder: None)
        named = put(tmp_path / "named") if source == "dir" else None
        assert find_digits(source, named).origin == origin

    def test_the_embedded_digits_are_used_if_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        embedded = object()
        monkeypatch.setattr(mnist_source, "load_embedded", lambda: embedded)
        monkeypatch.setenv(mnist_source.ENVIRONMENT_VARIABLE, "/no/such/folder")
        assert find_digits("embedded") is embedded

    def test_a_named_folder_that_is_missing_is_an_error(
        self, no_other_source: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(DataError, match=r"there is no folder .*nowhere"):
            find_digits(mnist_dir=tmp_path / "nowhere")
        monkeypatch.setenv(mnist_source.ENVIRONMENT_VARIABLE, str(tmp_path / "missing"))
        with pytest.raises(DataError, match=r"there is no folder .*missing"):
            find_digits()

    def test_a_variable_that_names_other_files_is_an_error(
        self, put: Any, no_other_source: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = put(tmp_path / "here", train_labels=encode_idx(np.zeros(1000)))
        monkeypatch.setenv(mnist_source.ENVIRONMENT_VARIABLE, str(folder))
        with pytest.raises(DataError, match="is not MNIST's train-labels-idx1-ubyte"):
            find_digits()

    @pytest.mark.parametrize(
        ("source", "folder", "message"),
        [
            ("kaggle", None, "unknown source 'kaggle' .known: auto, dir"),
            ("dir", None, "needs --mnist-dir"),
            ("env", None, "needs the variable BIASCON_MNIST"),
            ("embedded", Path(), "exclude each other"),
            ("download", Path(), "exclude each other"),
        ],
    )
    def test_contradictory_options_are_wrong_usage(
        self, no_other_source: None, source: str, folder: Path | None, message: str
    ) -> None:
        with pytest.raises(UsageError, match=message):
            find_digits(source, folder)

    def test_a_given_source_without_mnist_is_an_error(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(mnist_source, "load_embedded", lambda: pytest.fail("fell through"))
        with pytest.raises(DataError, match="no MNIST in data/MNIST/raw"):
            find_digits("torchvision")
        with pytest.raises(DataError, match="tests use no network; pass --mnist-dir or --source"):
            find_digits("download")


@pytest.fixture(scope="module")
def embedded() -> Digits:
    return mnist_source.load_embedded()


class TestEmbedded:
    def test_the_embedded_split_is_four_to_one_in_every_class(self, embedded: Digits) -> None:
        assert embedded.kind == "mnist5k"
        assert embedded.train_images.shape == (4000, 28, 28)
        assert embedded.test_images.shape == (1000, 28, 28)
        assert embedded.train_images.dtype == embedded.test_images.dtype == np.uint8
        assert embedded.train_images.max() == 255
        assert np.bincount(embedded.train_labels).tolist() == [400] * 10
        assert np.bincount(embedded.test_labels).tolist() == [100] * 10

    def test_train_and_test_share_no_row_and_no_image(self, embedded: Digits) -> None:
        train, test = (set(x.tolist()) for x in (embedded.train_index, embedded.test_index))
        assert not train & test
        assert train | test == set(range(5000))
        images = [
            {image.tobytes() for image in x} for x in (embedded.train_images, embedded.test_images)
        ]
        assert not images[0] & images[1]

    def test_the_embedded_split_is_the_same_on_every_machine(self, embedded: Digits) -> None:
        again = mnist_source.load_embedded()
        assert has_same_digits(again, embedded)
        digest = hashlib.sha256(again.test_index.astype("<i8").tobytes()).hexdigest()
        assert digest == "fdf698c1785da4ac63ff5e11af05a3453aaf7f48f87751a7d00cb24cf3b4530f"
        assert (
            again.sha256
            == embedded.sha256
            == {
                "mnist_5k.csv.gz": "1b845fda528288bf79346626fdf2fff6549f0170890dc9174bc1ef609807bbfa"
            }
        )

    def test_every_embedded_digit_is_a_training_digit_of_mnist(
        self, embedded: Digits, mnist_dir: Path
    ) -> None:
        mnist = find_digits(mnist_dir=mnist_dir)
        mnist_digits = {
            (int(label), image.tobytes())
            for label, image in zip(mnist.train_labels, mnist.train_images, strict=True)
        }
        for images, labels in (
            (embedded.train_images, embedded.train_labels),
            (embedded.test_images, embedded.test_labels),
        ):
            assert {
                (int(y), x.tobytes()) for y, x in zip(labels, images, strict=True)
            } <= mnist_digits


def test_the_cache_folder_without_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert mnist_source.get_cache_folder() == tmp_path / "biascon" / "MNIST" / "raw"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert mnist_source.get_cache_folder() == tmp_path / "home/.cache/biascon/MNIST/raw"
