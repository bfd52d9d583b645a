"""The download of MNIST: no failure of the network hangs or leaves a file."""

from __future__ import annotations

import gzip
import http.client
import io
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from biascon.data.builders import mnist_source
from biascon.data.builders.mnist_source import SHA256, Digits, find_digits
from tests.data.builders.idx_files import has_same_digits

DOWNLOAD = mnist_source.download  # the original function: the tests replace it


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to a folder without ``data/MNIST/raw``."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


class Response(io.BytesIO):
    """The response of a server, as ``urlopen`` returns it."""

    def __init__(self, blob: bytes, read: Callable[[], None] = lambda: None) -> None:
        super().__init__(blob)
        self.before = read

    def read(self, *size: Any) -> bytes:
        self.before()
        return super().read(*size)


@pytest.fixture
def finished_threads() -> Iterator[None]:
    """Wait at the end for the threads that a test started."""
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

    def test_a_server_that_never_answers_is_abandoned(
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

    def test_a_download_that_never_ends_is_abandoned(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        release = threading.Event()
        monkeypatch.setattr(
            urllib.request, "urlopen", lambda url, timeout: Response(b"", read=release.wait)
        )
        monkeypatch.setattr(mnist_source, "SECONDS_TO_DOWNLOAD", 0.01)
        try:
            assert DOWNLOAD(tmp_path / "raw") == "not finished within 0.01 s"
        finally:
            release.set()

    def test_downloaded_files_are_kept_and_used(
        self,
        blobs: dict[str, bytes],
        digits: Digits,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        asked = []

        def urlopen(url: str, timeout: float) -> Response:
            asked.append(url)
            return Response(gzip.compress(blobs[url.removeprefix(mnist_source.MIRROR)[:-3]]))

        monkeypatch.setattr(urllib.request, "urlopen", urlopen)
        monkeypatch.setattr(mnist_source, "download", DOWNLOAD)
        first = find_digits()
        assert first.origin == "download"
        assert has_same_digits(first, digits)
        again = find_digits()
        assert again.origin == "torchvision's folder"  # its layout, so torchvision can read it too
        assert has_same_digits(again, digits)
        assert len(asked) == 4
        kept = {path.name for path in mnist_source.get_cache_folder().iterdir()}
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
        monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: Response(body))
        assert reason in (DOWNLOAD(tmp_path / "raw") or "")
        assert not (tmp_path / "raw").exists()

    def test_an_unwritable_cache_is_a_reason(
        self, blobs: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        def urlopen(url: str, timeout: float) -> Response:
            return Response(gzip.compress(blobs[url.removeprefix(mnist_source.MIRROR)[:-3]]))

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
        monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: Response(b"", read=cut))
        reason = DOWNLOAD(tmp_path / "raw")
        assert not escaped
        assert "IncompleteRead" in (reason or "")
