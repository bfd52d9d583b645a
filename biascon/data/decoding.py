"""A chunk of pictures, decoded: the work of one thread at a time."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from biascon.data import partial, pictures
from biascon.data.partial import Chunk
from biascon.data.pictures import Folder, Shape, Unusable

Array = npt.NDArray[Any]


def decode_chunk(
    folder: Folder, shape: Shape, split: str, start: int, paths: Sequence[str]
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
            digests[-1] = pictures.digest(data)
            pixels[n] = pictures.decode(data, shape)
        except Unusable as error:
            if len(stamps) < len(digests):
                stamps.append(str(error))
            rejected.append((row, str(error)))
        else:
            n += 1
    crc = zlib.crc32(pixels[:n].data)
    stop = start + len(paths)
    return Chunk(
        split, start, stop, crc, partial.digest_of_stamps(stamps), digests, rejected
    ), pixels[:n]
