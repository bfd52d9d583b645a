"""A dataset folder that is being built: what is done survives a kill, and is trusted only if it fits.

The hidden folder ``.<name>.partial`` beside the target holds the splits' files as far as they are written,
and a log with one line for each chunk of pictures: how many bytes it gave, their CRC-32, size and time of
change of its files, their SHA-256, and what was left out. A build that starts again goes on behind the last
chunk whose line is whole, whose bytes are those that the line says and whose files have not changed.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from biascon.data.building.chunk import Chunk, digest_of_stamps
from biascon.data.images.decoding import ImageFolder
from biascon.data.manifest import REJECTED
from biascon.data.memory_map import SafetensorsWriter
from biascon.errors import BiasconError
from biascon.utils.files import os_error, write_atomic

PLAN, LOG = "plan", "log"


@contextmanager
def lock_target(target: Path) -> Iterator[Path]:
    """Give the partial folder for a target, which no other process uses meanwhile.

    Raises:
        BiasconError: Another process builds this dataset, or the place is not writable.
    """
    work, path = partial_folder(target), target.parent / f".{target.name}.lock"
    try:
        while True:
            target.parent.mkdir(parents=True, exist_ok=True)
            path.touch()  # where nothing can be written, a lock only times out
            lock = FileLock(path, timeout=0)
            lock.acquire()
            if path.exists():  # else the process before removed it after it was opened here
                break
            lock.release()
    except Timeout as error:
        raise BiasconError(f"another process builds {target}; wait for it, or stop it") from error
    except OSError as error:
        raise os_error(error, "create a folder in", target.parent) from error
    try:
        yield work
    finally:
        with suppress(OSError):
            path.unlink()
        lock.release()


def partial_folder(target: Path) -> Path:
    """Return the folder in which a target is built."""
    return target.parent / f".{target.name}.partial"


def start_or_resume(work: Path, digest: str) -> list[Chunk]:
    """Create the partial folder, or return the chunks in the log of one that the same plan left.

    Raises:
        BiasconError: The place is not writable.
    """
    try:
        if (work / PLAN).is_file() and (work / PLAN).read_bytes() == digest.encode():
            return list(_logged(work / LOG))
        delete_partial(work)
        work.mkdir(parents=True)
        write_atomic(work / PLAN, digest)
    except OSError as error:
        raise os_error(error, "create", work) from error
    return []


def delete_partial(work: Path) -> None:
    """Remove a partial folder."""
    if work.exists():
        shutil.rmtree(work)


def _logged(path: Path) -> Iterator[Chunk]:
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
    for line in lines:
        try:
            chunk = Chunk(**json.loads(line))
            sound = chunk.kept >= 0 and len(chunk.digests) == chunk.stop - chunk.start
        except (ValueError, TypeError, AttributeError):
            return
        if not sound:
            return
        yield chunk


def log_chunk(
    chunks: Sequence[Chunk],
    stream: SafetensorsWriter,
    folder: ImageFolder,
    paths: Sequence[str],
    size: int,
) -> int:
    """Return how many logged chunks of a split still hold: the bytes are there, no file changed."""
    first = 0
    for number, chunk in enumerate(chunks):
        expected = (number * size, min((number + 1) * size, len(paths)))
        if (chunk.start, chunk.stop) != expected:
            return number
        pixels = stream.read(first, first + chunk.kept)
        if len(pixels) != chunk.kept * stream.bytes or zlib.crc32(pixels) != chunk.crc:
            return number
        stamps = [folder.stamp(path) for path in paths[chunk.start : chunk.stop]]
        if digest_of_stamps(stamps) != chunk.stamps:
            return number
        first += chunk.kept
    return len(chunks)


def write_rejected(work: Path, rejected: Sequence[tuple[str, str]]) -> None:
    """Write ``rejected.csv``: path and reason, sorted."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "reason"])
    writer.writerows(sorted(rejected))
    data = text.getvalue().encode("utf-8", "backslashreplace")
    try:
        (work / REJECTED).write_bytes(data)
    except OSError as error:
        raise os_error(error, "write", work) from error
