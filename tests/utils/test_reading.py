"""Files of a user: a pipe, a device, a socket or a folder in their place, too large ones; pipes of audit."""

from __future__ import annotations

import gzip
import os
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from biascon.auditing.features.arrays import read_features
from biascon.auditing.reading.input_source import InputSource
from biascon.config.settings import load_preset, read_toml
from biascon.data.alignment import read_aligned_values
from biascon.data.builders.celeba_lists import _find_separator, _iter_rows
from biascon.data.builders.csv_table import read_csv_rows
from biascon.data.builders.mnist_source import read_idx_file
from biascon.data.builders.utkface_names import read_names
from biascon.data.images.decoding import ImageFile, ImageFolder, UnusableImageError
from biascon.errors import BiasconError, DataError
from biascon.models.weights import read_blob, read_stamp
from biascon.studies.table import read_table
from biascon.sweep.grid_file import read_grid
from biascon.tuning.study import read_study
from biascon.utils import reading
from biascon.utils.files import read_json
from biascon.utils.reading import FileKind

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs pipes and devices of POSIX")
READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "preset": ("x.toml", lambda path: load_preset(str(path))),
    "toml": ("x.toml", read_toml),
    "grid": ("x.toml", read_grid),
    "study": ("x.toml", read_study),
    "aligned": ("x.toml", read_aligned_values),
    "aligned csv": ("x.csv", read_aligned_values),
    "json": ("manifest.json", read_json),
    "weights stamp": ("x.pth", read_stamp),
    "weights": ("x.safetensors", read_blob),
    "names": ("names.txt", read_names),
    "table": ("x.csv", lambda path: read_csv_rows(path, "a", ["b"])),
    "list": ("list.txt", _find_separator),
    "rows": ("list.txt", lambda path: list(_iter_rows(path, ","))),
    "idx": ("train-images-idx3-ubyte", read_idx_file),
    "study table": ("study.parquet", read_table),
    "features": ("x.npy", read_features),
    "predictions": ("x.csv", InputSource),
}
KINDS = {"pipe": "a pipe", "device": "a device", "socket": "a socket", "folder": "a folder"}


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """End a test that waits: the alarm raises in the main thread, also inside a blocking call."""

    def fail(*_: object) -> None:
        raise TimeoutError("the reader waits")

    previous = signal.signal(signal.SIGALRM, fail)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


def put(kind: str, path: Path) -> None:
    """Put a pipe, a device, a socket or a folder at a path."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            here = Path.cwd()
            os.chdir(path.parent)  # the path of a socket is short
            try:
                server.bind(path.name)
            finally:
                os.chdir(here)
    else:
        path.mkdir()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_is_refused_at_once_in_one_line(
    name: str, kind: str, tmp_path: Path
) -> None:
    file, read = READERS[name]
    put(kind, tmp_path / file)
    with pytest.raises(BiasconError) as caught:
        read(tmp_path / file)
    message = str(caught.value)
    assert "\n" not in message
    expected = "no process writes" if (name, kind) == ("predictions", "pipe") else KINDS[kind]
    assert expected in message
    assert file in message


def test_a_pipe_that_takes_the_place_of_a_file_after_the_check_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("a")
    of_file = file.stat()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    monkeypatch.setattr(reading.os, "stat", lambda path: of_file)
    with pytest.raises(DataError, match="it is a pipe"):
        reading.open_file(pipe)


def test_a_pipe_in_place_of_a_picture_that_was_found_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    found = ImageFile(str(tmp_path / "a.jpg"), 100, "100 1")
    with pytest.raises(UnusableImageError, match="not a file"):
        ImageFolder(tmp_path).read(found)


SMALL = FileKind("a small file", 3 * reading.KIB)


def test_a_file_above_the_limit_of_its_kind_is_refused_with_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"a" * SMALL.max_bytes)
    assert len(reading.read_bytes(path, SMALL)) == SMALL.max_bytes
    path.write_bytes(b"a" * (SMALL.max_bytes + 1))
    message = "it is larger than 3 KiB, the limit for a small file"
    with pytest.raises(DataError, match=message):
        reading.read_bytes(path, SMALL)
    with path.open("wb") as file:  # a sparse file of a terabyte is refused as fast
        file.truncate(1 << 40)
    with pytest.raises(DataError, match=message):
        reading.read_bytes(path, SMALL)


def test_at_most_the_limit_is_read_of_a_file_that_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"a" * 100_000)
    size = path.stat()
    fake = os.stat_result([stat.S_IFREG, *[0] * 5, 10, 0, 0, 0])
    monkeypatch.setattr(reading.os, "fstat", lambda handle: fake)
    with pytest.raises(DataError, match="larger than 3 KiB"):
        reading.read_bytes(path, SMALL)
    large = FileKind("a file", 1 << 20)
    assert len(reading.read_bytes(path, large)) == size.st_size


def test_a_compressed_file_is_limited_without_its_compression(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"a" * 3000))
    assert reading.read_gzip(path, SMALL)[1] == b"a" * 3000
    path.write_bytes(gzip.compress(b"\0" * (1 << 20)))
    assert path.stat().st_size < SMALL.max_bytes
    with pytest.raises(DataError, match="larger than 3 KiB"):
        reading.read_gzip(path, SMALL)


def test_a_line_without_an_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    with path.open("wb") as file:
        file.write(b"a,b\n")
        file.truncate(1 << 30)
    with pytest.raises(DataError, match="line 2 has more than 1,048,576 characters"):
        read_csv_rows(path, "a", ["b"])


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("x.toml", "a = " + "[" * 3000 + "]" * 3000, "not valid TOML: it is nested too deeply"),
        ("x.json", "[" * 100_000, "not valid JSON: it is nested too deeply"),
        ("x.toml", "a = \xff", "not valid TOML"),
    ],
)
def test_text_that_is_nested_too_deeply_or_no_text_is_one_line(
    file: str, text: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / file).write_text(text, encoding="latin-1")
    read = read_json if file.endswith("json") else read_toml
    with pytest.raises(BiasconError, match=message):
        read(tmp_path / file)


ROWS = b"y,p,b\n0,0,a\n1,1,b\n"


def test_the_pipe_of_a_process_substitution_is_read_although_its_process_is_slow() -> None:
    reader, writer = os.pipe()
    thread = threading.Timer(0.3, lambda: (os.write(writer, ROWS), os.close(writer)))
    thread.start()
    try:
        source = InputSource(Path(f"/dev/fd/{reader}"))
        assert source.read_head() == ROWS
    finally:
        thread.join()
        os.close(reader)


def test_a_named_pipe_is_read_if_its_process_comes_soon(tmp_path: Path) -> None:
    pipe = tmp_path / "x.csv"
    os.mkfifo(pipe)
    thread = threading.Timer(0.1, lambda: pipe.write_bytes(ROWS * 20_000))
    thread.start()
    assert InputSource(pipe).read_head().startswith(ROWS)
    thread.join()


def test_a_device_as_standard_input_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/zero").open() as zero, Path(os.devnull).open() as null:
        monkeypatch.setattr("sys.stdin", zero)
        with pytest.raises(DataError, match="it is a device"):
            InputSource(Path("-"))
        monkeypatch.setattr("sys.stdin", null)
        with pytest.raises(DataError, match="it is empty"):
            InputSource(Path("-"))
