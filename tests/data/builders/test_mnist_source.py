"""Where MNIST comes from: the order, the refusals, the download that must not hang."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import struct
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biascon.data.builders import mnist_source
from biascon.data.builders.mnist_source import SHA256, Digits, find_digits, parse_idx
from biascon.errors import DataError, UsageError

DOWNLOAD = mnist_source.download  # the real one: at test time it is replaced
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = SHA256


def idx(array: np.ndarray) -> bytes:
    return (
        bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    ) + array.astype(np.uint8).tobytes()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work where there is no ``data/MNIST/raw``."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


@pytest.fixture
def blobs(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Four small IDX files that pass for MNIST."""
    files = {
        TRAIN_IMAGES: idx(digits.train_images),
        TRAIN_LABELS: idx(digits.train_labels),
        TEST_IMAGES: idx(digits.test_images),
        TEST_LABELS: idx(digits.test_labels),
    }
    known = {name: hashlib.sha256(blob).hexdigest() for name, blob in files.items()}
    monkeypatch.setattr(mnist_source, "SHA256", known)
    return files


@pytest.fixture
def put(blobs: dict[str, bytes]) -> Callable[..., Path]:
    """Write the four files into a folder: plain, gzipped, or with ``.idx`` for ``-idx``."""

    def write(folder: Path, *, suffix: str = "", dotted: bool = False, **instead: bytes) -> Path:
        folder.mkdir(parents=True)
        for name, blob in blobs.items():
            stem = name.replace("-idx", ".idx") if dotted else name
            data = instead.get(name.split("-idx")[0].replace("-", "_"), blob)
            data = gzip.compress(data) if suffix == ".gz" else data
            (folder / f"{stem}{suffix}").write_bytes(data)
        return folder

    return write


@pytest.fixture
def nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other source is a failure of the test."""
    for name in ("load_embedded", "download"):
        monkeypatch.setattr(mnist_source, name, lambda *_: pytest.fail("fell through"))


def same_digits(found: Digits, digits: Digits) -> bool:
    names = ("train_images", "train_labels", "test_images", "test_labels")
    return all(np.array_equal(getattr(found, n), getattr(digits, n)) for n in names)


class TestFolder:
    @pytest.mark.parametrize("suffix", ["", ".gz"])
    @pytest.mark.parametrize("dotted", [False, True])
    def test_reads_plain_and_gzipped_files_under_both_spellings(
        self, put: Any, digits: Digits, tmp_path: Path, suffix: str, dotted: bool
    ) -> None:
        found = find_digits(mnist_dir=put(tmp_path / "here", suffix=suffix, dotted=dotted))
        assert same_digits(found, digits)
        assert (found.kind, found.sha256) == ("mnist", mnist_source.SHA256)
        assert found.train_labels.dtype == found.test_labels.dtype == np.int64
        assert found.train_images.dtype == np.uint8
        assert found.train_index.tolist() == list(range(1000))
        assert found.test_index.tolist() == list(range(200))

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
    def test_a_bad_file_is_refused_by_name(
        self,
        put: Any,
        blobs: dict[str, bytes],
        nothing_else: None,
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
        nothing_else: None,
        tmp_path: Path,
        damage: Callable[[bytes], bytes],
    ) -> None:
        folder = put(tmp_path / "here", suffix=".gz")
        path = folder / f"{TRAIN_LABELS}.gz"
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(DataError, match=f"{TRAIN_LABELS}.*truncated or corrupt gzip"):
            find_digits(mnist_dir=folder)

    @pytest.mark.parametrize("name", list(SHA256))
    def test_one_of_the_four_files_missing(
        self, put: Any, nothing_else: None, tmp_path: Path, name: str
    ) -> None:
        folder = put(tmp_path / "here")
        (folder / name).unlink()
        with pytest.raises(DataError, match=f"has no {name}"):
            find_digits(mnist_dir=folder)

    def test_an_unreadable_file(
        self, put: Any, nothing_else: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = put(tmp_path / "here")

        def refuse(path: Path) -> bytes:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(DataError, match=f"cannot read .*{TRAIN_IMAGES}: Permission denied"):
            find_digits(mnist_dir=folder)

    def test_the_real_mnist(self, mnist_dir: Path) -> None:
        found = find_digits(mnist_dir=mnist_dir)
        assert found.train_images.shape == (60000, 28, 28)
        assert found.test_images.shape == (10000, 28, 28)
        assert np.bincount(found.train_labels).tolist() == [
            5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
        ]  # fmt: skip
        assert np.bincount(found.test_labels).tolist() == [
            980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
        ]  # fmt: skip


class TestOrder:
    def test_the_first_that_is_there_is_used(
        self, put: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        named = put(tmp_path / "named")
        monkeypatch.setenv(mnist_source.VARIABLE, str(put(tmp_path / "variable")))
        embedded = object()
        monkeypatch.setattr(mnist_source, "load_embedded", lambda: embedded)

        assert find_digits(mnist_dir=named).origin == "IDX files of --mnist-dir"
        assert find_digits().origin == "IDX files of $BIASCON_MNIST"
        monkeypatch.delenv(mnist_source.VARIABLE)
        assert find_digits() is embedded
        local = put(Path("data/MNIST/raw"))
        assert find_digits().origin == "torchvision's folder"
        (local / TRAIN_IMAGES).unlink()  # half a folder that nobody named is no source
        assert find_digits() is embedded
        cached = put(mnist_source.cache_folder(), suffix=".gz")
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
    def test_a_forced_source_is_used_whatever_else_is_there(
        self,
        put: Any,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        source: str,
        origin: str,
    ) -> None:
        monkeypatch.setenv(mnist_source.VARIABLE, str(put(tmp_path / "variable")))
        put(mnist_source.cache_folder())
        monkeypatch.setattr(mnist_source, "download", lambda folder: None)
        named = put(tmp_path / "named") if source == "dir" else None
        assert find_digits(source, named).origin == origin

    def test_embedded_is_used_when_forced(self, monkeypatch: pytest.MonkeyPatch) -> None:
        embedded = object()
        monkeypatch.setattr(mnist_source, "load_embedded", lambda: embedded)
        monkeypatch.setenv(mnist_source.VARIABLE, "/no/such/folder")
        assert find_digits("embedded") is embedded

    def test_a_named_folder_that_is_missing_is_an_error(
        self, nothing_else: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(DataError, match=r"there is no folder .*nowhere"):
            find_digits(mnist_dir=tmp_path / "nowhere")
        monkeypatch.setenv(mnist_source.VARIABLE, str(tmp_path / "nirgends"))
        with pytest.raises(DataError, match=r"there is no folder .*nirgends"):
            find_digits()

    def test_a_variable_that_names_other_files_is_an_error(
        self, put: Any, nothing_else: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = put(tmp_path / "here", train_labels=idx(np.zeros(1000)))
        monkeypatch.setenv(mnist_source.VARIABLE, str(folder))
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
    def test_combinations_without_sense_are_wrong_usage(
        self, nothing_else: None, source: str, folder: Path | None, message: str
    ) -> None:
        with pytest.raises(UsageError, match=message):
            find_digits(source, folder)

    def test_a_forced_source_that_has_nothing_is_an_error(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(mnist_source, "load_embedded", lambda: pytest.fail("fell through"))
        with pytest.raises(DataError, match="no MNIST in data/MNIST/raw"):
            find_digits("torchvision")
        with pytest.raises(DataError, match="tests use no network; pass --mnist-dir or --source"):
            find_digits("download")


class TestParseIdx:
    @pytest.mark.parametrize("shape", [(5,), (0,), (2, 3), (4, 3, 2)])
    def test_round_trip(self, shape: tuple[int, ...]) -> None:
        array = np.arange(np.prod(shape, dtype=int), dtype=np.uint8).reshape(shape)
        found = parse_idx(idx(array), "x")
        assert found.dtype == np.uint8
        assert found.shape == shape
        assert np.array_equal(found, array)

    @pytest.mark.parametrize(
        ("blob", "message"),
        [
            (b"", "starts with nothing"),
            (b"\0\0\x08", "is not an IDX file"),
            (b"PK\x03\x04", "starts with 504b0304"),
            (b"\0\0\x09\x01\0\0\0\0", "type 0x09, expected 0x08"),
            (b"\0\0\x08\x00", "no whole header"),
            (b"\0\0\x08\x02\0\0\0\x01", "no whole header"),
            (b"\0\0\x08\x01\0\0\0\x02a", "is truncated: 9 bytes, its header promises 10"),
            (b"\0\0\x08\x01\0\0\0\x02abc", "is too long: 11 bytes, its header promises 10"),
            (b"\0\0\x08\x03" + b"\xff" * 12, f"promises {16 + (2**32 - 1) ** 3}$"),
        ],
    )
    def test_bad_bytes(self, blob: bytes, message: str) -> None:
        with pytest.raises(DataError, match=message) as caught:
            parse_idx(blob, "the-name")
        assert str(caught.value).startswith("the-name ")

    @given(st.binary(max_size=6), st.binary(max_size=40))
    def test_any_bytes_are_decoded_or_refused(self, tail: bytes, body: bytes) -> None:
        for blob in (tail, b"\0\0\x08" + tail + body):
            try:
                found = parse_idx(blob, "x")
            except DataError:
                continue
            assert idx(found) == blob


class Answer(io.BytesIO):
    """An answer of a server, as ``urlopen`` gives it."""

    def __init__(self, blob: bytes, read: Callable[[], None] = lambda: None) -> None:
        super().__init__(blob)
        self.before = read

    def read(self, *size: Any) -> bytes:
        self.before()
        return super().read(*size)


@pytest.fixture
def finished_threads() -> Iterator[None]:
    """Wait at the end for the threads that a test began."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("finished_threads")
class TestDownload:
    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (urllib.error.URLError("Name or service not known"), "Name or service not known"),
            (urllib.error.URLError(OSError(101, "Network is unreachable")), "unreachable"),
            (TimeoutError("timed out"), "timed out"),
            (ConnectionResetError(104, "Connection reset by peer"), "reset by peer"),
        ],
    )
    def test_no_network_gives_a_reason_and_no_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, reason: str
    ) -> None:
        def urlopen(url: str, timeout: float) -> None:
            assert timeout == mnist_source.SECONDS_TO_CONNECT
            raise error

        monkeypatch.setattr(urllib.request, "urlopen", urlopen)
        assert reason in (DOWNLOAD(tmp_path / "raw") or "")
        assert not (tmp_path / "raw").exists()

    def test_no_network_gives_the_embedded_digits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def urlopen(url: str, timeout: float) -> None:
            raise urllib.error.URLError("offline")

        embedded = object()
        monkeypatch.setattr(urllib.request, "urlopen", urlopen)
        monkeypatch.setattr(mnist_source, "download", DOWNLOAD)
        monkeypatch.setattr(mnist_source, "load_embedded", lambda: embedded)
        assert find_digits() is embedded

    def test_a_machine_that_never_answers_is_left(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        release = threading.Event()

        def urlopen(url: str, timeout: float) -> None:
            release.wait()
            raise urllib.error.URLError("too late")

        embedded = object()
        monkeypatch.setattr(urllib.request, "urlopen", urlopen)
        monkeypatch.setattr(mnist_source, "SECONDS_TO_CONNECT", 0.01)
        monkeypatch.setattr(mnist_source, "download", DOWNLOAD)
        monkeypatch.setattr(mnist_source, "load_embedded", lambda: embedded)
        try:
            assert DOWNLOAD(tmp_path / "raw") == "no answer within 0.01 s"
            assert find_digits() is embedded
        finally:
            release.set()
        assert not (tmp_path / "raw").exists()

    def test_a_body_that_never_ends_is_left(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        release = threading.Event()
        monkeypatch.setattr(
            urllib.request, "urlopen", lambda url, timeout: Answer(b"", read=release.wait)
        )
        monkeypatch.setattr(mnist_source, "SECONDS_TO_DOWNLOAD", 0.01)
        try:
            assert DOWNLOAD(tmp_path / "raw") == "not finished within 0.01 s"
        finally:
            release.set()

    def test_what_arrives_is_kept_and_used(
        self,
        blobs: dict[str, bytes],
        digits: Digits,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        asked = []

        def urlopen(url: str, timeout: float) -> Answer:
            asked.append(url)
            return Answer(gzip.compress(blobs[url.removeprefix(mnist_source.MIRROR)[:-3]]))

        monkeypatch.setattr(urllib.request, "urlopen", urlopen)
        monkeypatch.setattr(mnist_source, "download", DOWNLOAD)
        first = find_digits()
        assert first.origin == "download"
        assert same_digits(first, digits)
        again = find_digits()
        assert again.origin == "torchvision's folder"  # its layout, so torchvision can read it too
        assert same_digits(again, digits)
        assert len(asked) == 4
        kept = {path.name for path in mnist_source.cache_folder().iterdir()}
        assert kept == {f"{name}.gz" for name in SHA256}

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (gzip.compress(b"something else", mtime=0), "train-images-idx3-ubyte is not MNIST's"),
            (b"<html>please log in</html>", "Not a gzipped file"),
            (gzip.compress(b"x" * 1000, mtime=0)[:-10], "ended before"),
        ],
    )
    def test_a_mirror_with_other_bytes_leaves_nothing(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: bytes, reason: str
    ) -> None:
        monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: Answer(body))
        assert reason in (DOWNLOAD(tmp_path / "raw") or "")
        assert not (tmp_path / "raw").exists()

    def test_an_unwritable_cache_is_a_reason(
        self, blobs: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        def urlopen(url: str, timeout: float) -> Answer:
            return Answer(gzip.compress(blobs[url.removeprefix(mnist_source.MIRROR)[:-3]]))

        (tmp_path / "file").write_text("in the way")
        monkeypatch.setattr(urllib.request, "urlopen", urlopen)
        assert "file" in (DOWNLOAD(tmp_path / "file" / "raw") or "")

    def test_an_answer_cut_short_is_a_reason(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        def cut() -> None:
            raise http.client.IncompleteRead(b"half")

        escaped = []
        monkeypatch.setattr(threading, "excepthook", escaped.append)
        monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: Answer(b"", read=cut))
        reason = DOWNLOAD(tmp_path / "raw")
        assert not escaped
        assert "IncompleteRead" in (reason or "")


@pytest.fixture(scope="module")
def embedded() -> Digits:
    return mnist_source.load_embedded()


class TestEmbedded:
    def test_four_to_one_in_every_class(self, embedded: Digits) -> None:
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

    def test_the_same_each_time_and_on_every_machine(self, embedded: Digits) -> None:
        again = mnist_source.load_embedded()
        assert same_digits(again, embedded)
        found = hashlib.sha256(again.test_index.astype("<i8").tobytes()).hexdigest()
        assert found == "fdf698c1785da4ac63ff5e11af05a3453aaf7f48f87751a7d00cb24cf3b4530f"
        assert (
            again.sha256
            == embedded.sha256
            == {
                "mnist_5k.csv.gz": "1b845fda528288bf79346626fdf2fff6549f0170890dc9174bc1ef609807bbfa"
            }
        )

    def test_every_digit_is_one_of_mnist_s_training_digits(
        self, embedded: Digits, mnist_dir: Path
    ) -> None:
        mnist = find_digits(mnist_dir=mnist_dir)
        known = {
            (int(label), image.tobytes())
            for label, image in zip(mnist.train_labels, mnist.train_images, strict=True)
        }
        for images, labels in (
            (embedded.train_images, embedded.train_labels),
            (embedded.test_images, embedded.test_labels),
        ):
            assert {(int(y), x.tobytes()) for y, x in zip(labels, images, strict=True)} <= known


def test_the_cache_has_a_place_without_a_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert mnist_source.cache_folder() == tmp_path / "biascon" / "MNIST" / "raw"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert mnist_source.cache_folder() == tmp_path / "home/.cache/biascon/MNIST/raw"
