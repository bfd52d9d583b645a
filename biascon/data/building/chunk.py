"""A chunk of consecutive images, decoded by one thread at a time."""

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
    folder: ImageFolder, image_spec: ImageSpec, split: str, start: int, paths: Sequence[str]
) -> tuple[Chunk, Array]:
    """Decode consecutive images of a split.

    Args:
        folder: The folder of images.
        image_spec: How an image becomes an array.
        split: Name of the split.
        start: Row of the first image in the split.
        paths: The images' paths, relative to the folder.

    Returns:
        The record of the chunk, and the pixels of the images that are kept, uint8 ``(n, 3, S, S)``.
    """
    pixels = np.empty((len(paths), *image_spec.array_shape), dtype=np.uint8)
    rejected, digests, stamps, n = [], [], [], 0
    for row, relative in enumerate(paths, start):
        digests.append("")
        try:
            file = folder.find(relative)
            stamps.append(file.stamp)
            data = folder.read(file)
            digests[-1] = decoding.sha256_bytes(data)
            pixels[n] = decoding.decode(data, image_spec)
        except UnusableImageError as error:
            if len(stamps) < len(digests):
                stamps.append(str(error))
            rejected.append((row, str(error)))
        else:
            n += 1
    crc = zlib.crc32(pixels[:n].data)
    stop = start + len(paths)
    return Chunk(split, start, stop, crc, digest_stamps(stamps), digests, rejected), pixels[:n]


@dataclass(frozen=True)
class Chunk:
    """The record of a decoded chunk, as it is written to the log of a build.

    Attributes:
        split: Name of the split.
        start: Row of the first image.
        stop: Row after the last image.
        crc: CRC-32 of the bytes that were written.
        stamps: Digest of the sizes and modification times of the files.
        digests: SHA-256 of each file, or "" if the file could not be read.
        rejected: (row, reason) of each image that is left out.
    """

    split: str
    start: int
    stop: int
    crc: int
    stamps: str
    digests: Sequence[str]
    rejected: Sequence[tuple[int, str]]

    @property
    def n_kept(self) -> int:
        """The number of images that are kept."""
        return self.stop - self.start - len(self.rejected)

    def to_line(self) -> str:
        """Return the line of the log for this chunk."""
        return json.dumps(asdict(self), separators=(",", ":")) + "\n"


def digest_stamps(stamps: Sequence[str]) -> str:
    """Return a digest of the sizes and modification times of files."""
    return hashlib.sha256("\n".join(stamps).encode()).hexdigest()[:32]
