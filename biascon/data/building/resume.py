"""Resume an interrupted build: finished chunks survive a kill, and are reused only after a check.

The hidden folder ``.<name>.partial`` beside the target holds the unfinished files of the splits, and a log
with one line for each chunk of images. A line holds the CRC-32 of the chunk's bytes, a digest of the sizes
and modification times of its files, their SHA-256, and the images that were left out. A build that starts
again keeps the chunks up to the first one whose line is incomplete, whose bytes do not match the line, or
whose files have changed.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from biascon.data.building.chunk import Chunk, digest_stamps
from biascon.data.images.decoding import ImageFolder
from biascon.data.manifest import REJECTED
from biascon.data.memory_map import SafetensorsWriter
from biascon.utils import folders
from biascon.utils.files import os_error, write_atomic

PLAN, LOG = "plan", "log"


@contextmanager
def lock_target(target: Path) -> Iterator[Path]:
    """Lock a target against other processes; yield its partial folder.

    Raises:
        BusyError: Another process builds this dataset.
        BiasconError: The folder is not writable.
    """
    with folders.lock_target(target) as real:
        yield partial_folder(real)


def partial_folder(target: Path) -> Path:
    """Return the folder in which a target is built."""
    return target.parent / f".{target.name}.partial"


def start_or_resume(work: Path, digest: str) -> list[Chunk]:
    """Create the partial folder, or return the logged chunks if it belongs to the same plan.

    Args:
        work: The partial folder.
        digest: Digest of the plan.

    Raises:
        BiasconError: The folder is not writable.
    """
    try:
        if (work / PLAN).is_file() and (work / PLAN).read_bytes() == digest.encode():
            return list(_read_log(work / LOG))
        delete_partial(work)
        work.mkdir(parents=True)
        write_atomic(work / PLAN, digest)
    except OSError as error:
        raise os_error(error, "create", work) from error
    return []


def link_or_move(finished: Path, new: Path) -> None:
    """Give a finished file a second name in the new folder, so that a kill before its rename loses nothing.

    Where the file system has no hard links, the file is moved.

    Raises:
        OSError: The file cannot be moved.
    """
    try:
        new.hardlink_to(finished)
    except OSError:
        finished.rename(new)


def unlink_if_published(path: Path) -> None:
    """Remove a file of the partial folder that is also a file of the dataset folder.

    A build that was killed just after its dataset folder had appeared leaves such a file. It must not be
    written again: the dataset would change.

    Raises:
        OSError: The file cannot be removed.
    """
    if path.exists() and path.stat().st_nlink > 1:
        path.unlink()


def delete_partial(work: Path) -> None:
    """Remove a partial folder."""
    if work.exists():
        shutil.rmtree(work)


def _read_log(path: Path) -> Iterator[Chunk]:
    """Yield the chunks in a log, up to the first damaged line."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
    for line in lines:
        try:
            chunk = Chunk(**json.loads(line))
            is_valid = chunk.n_kept >= 0 and len(chunk.digests) == chunk.stop - chunk.start
        except (ValueError, TypeError, AttributeError):
            return
        if not is_valid:
            return
        yield chunk


def count_valid_chunks(
    chunks: Sequence[Chunk],
    stream: SafetensorsWriter,
    folder: ImageFolder,
    paths: Sequence[str],
    size: int,
) -> int:
    """Count the logged chunks of a split that are still valid: their bytes match, and no file has changed.

    Args:
        chunks: The logged chunks of the split, in order.
        stream: The file of the split.
        folder: The folder of images.
        paths: The split's paths, relative to the folder.
        size: Images in a chunk.
    """
    first = 0
    for number, chunk in enumerate(chunks):
        expected = (number * size, min((number + 1) * size, len(paths)))
        if (chunk.start, chunk.stop) != expected:
            return number
        pixels = stream.read(first, first + chunk.n_kept)
        if len(pixels) != chunk.n_kept * stream.bytes or zlib.crc32(pixels) != chunk.crc:
            return number
        stamps = [folder.read_stamp(path) for path in paths[chunk.start : chunk.stop]]
        if digest_stamps(stamps) != chunk.stamps:
            return number
        first += chunk.n_kept
    return len(chunks)


def write_rejected(work: Path, rejected: Sequence[tuple[str, str]]) -> None:
    """Write ``rejected.csv``, with the path and the reason of each image that is left out, sorted."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "reason"])
    writer.writerows(sorted(rejected))
    data = text.getvalue().encode("utf-8", "backslashreplace")
    try:
        (work / REJECTED).write_bytes(data)
    except OSError as error:
        raise os_error(error, "write", work) from error
