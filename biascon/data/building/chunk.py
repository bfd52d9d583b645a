"""A chunk of pictures, decoded: the work of one thread at a time."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from biascon.data.images import decoding
from biascon.data.images.decoding import ImageFolder, ImageSpec, UnusableImageError
from biascon.utils.types import Array


def decode_chunk(
    folder: ImageFolder, shape: ImageSpec, split: str, start: int, paths: Sequence[str]
) -> tuple[Chunk, Array]:
    """Decode consecutive pictures.

    Returns:
        What they gave, and uint8 ``(n, 3, S, S)``, those that are kept.
    """
    pixels = np.empty((len(paths), *shape.row), dtype=np.uint8)
    rejected, digests, stamps, n = [], [], [], 0
    for row, relative in enumerate(paths, start):
        digests.append("")
        try:
            found = folder.find(relative)
            stamps.append(found.stamp)
            data = folder.read(found)
            digests[-1] = decoding.sha256_bytes(data)
            pixels[n] = decoding.decode(data, shape)
        except UnusableImageError as error:
            if len(stamps) < len(digests):
                stamps.append(str(error))
            rejected.append((row, str(error)))
        else:
            n += 1
    crc = zlib.crc32(pixels[:n].data)
    stop = start + len(paths)
    return Chunk(split, start, stop, crc, digest_of_stamps(stamps), digests, rejected), pixels[:n]


@dataclass(frozen=True)
class Chunk:
    """What some consecutive pictures of a split gave.

    Attributes:
        split: Name of the split.
        start: Row of the first picture.
        stop: Row behind the last.
        crc: CRC-32 of the pixels.
        stamps: Digest of size and time of change of the files.
        digests: SHA-256 of each file, or "" where it could not be read.
        rejected: (row, reason) of each picture that is left out.
    """

    split: str
    start: int
    stop: int
    crc: int
    stamps: str
    digests: Sequence[str]
    rejected: Sequence[tuple[int, str]]

    @property
    def kept(self) -> int:
        """How many pictures it gave."""
        return self.stop - self.start - len(self.rejected)

    def line(self) -> str:
        """Return its line of the log."""
        return json.dumps(asdict(self), separators=(",", ":")) + "\n"


def digest_of_stamps(stamps: Sequence[str]) -> str:
    """Return a digest of size and time of change of files."""
    return hashlib.sha256("\n".join(stamps).encode()).hexdigest()[:32]
