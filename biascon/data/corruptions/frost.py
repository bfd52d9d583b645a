"""The pictures of frost: five files of CIFAR-10-C, which the user has to supply."""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from biascon.errors import DataError
from biascon.utils.reading import PICTURE, read_bytes
from biascon.utils.types import Array

# The published code chooses among the first five of its six files.
FILES = {
    "frost1.png": "ff9f907860bd7a835d459e32f9d588062b7f61ee267343cc7222b56753a14755",
    "frost2.png": "fe211a89b336999c207a852ce05818d4545d0b57c5beadd824b4cc9d9a9b6137",
    "frost3.png": "2d0d50b4a9bb213f38b024ef7768731bb83cc08d2f26b5766bbc167cdfa0e504",
    "frost4.jpg": "3f8b91ca1a9fa7167b09e773da53f5ae60d0a1fd88f02a783f6e328a72887f6e",
    "frost5.jpg": "5fc6a19df4a429ba68abdcc8f8a4278d4c9f81c9ccafd2c92ab0c8cf8992ebd2",
}
STEP, FIRST = 5, 2  # of every five rows and columns, the third is kept
MIN_SIDE = 33  # of the reduced picture


@dataclass(frozen=True)
class FrostPictures:
    """The pictures of frost.

    Attributes:
        pictures: uint8 ``(3, H, W)`` each, reduced to a fifth of their size.
        sha256: SHA-256 of each file, by file name.
    """

    pictures: list[Array]
    sha256: dict[str, str]

    @property
    def are_published(self) -> bool:
        """Whether the files are those of the published code, byte for byte."""
        return self.sha256 == FILES


def read_frost(folder: Path) -> FrostPictures:
    """Read the five pictures of frost.

    OpenCV's linear reduction to a fifth, which the published code calls, keeps every fifth pixel from the
    third on. This does the same.

    Raises:
        DataError: A file is missing, is no picture, is damaged, or is too small.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder of pictures of frost ({', '.join(FILES)})")
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{folder} has no {', '.join(missing)}: frost needs {', '.join(FILES)}")
    pictures, sha256 = [], {}
    for name in FILES:
        blob = read_bytes(folder / name, PICTURE)
        sha256[name] = hashlib.sha256(blob).hexdigest()
        reduced = _decode(folder / name, blob)[:, FIRST::STEP, FIRST::STEP]
        if min(reduced.shape[1:]) < MIN_SIDE:
            raise DataError(
                f"{folder / name} is too small: expected {MIN_SIDE * STEP} pixels or more a side"
            )
        pictures.append(reduced)
    return FrostPictures(pictures, sha256)


def _decode(path: Path, blob: bytes) -> Array:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(blob), formats=("PNG", "JPEG")) as image:
                return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    except MemoryError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{path} has too many pixels for a picture of frost") from error
    except Exception as error:  # a decoder may fail on broken data in any way
        raise DataError(f"{path} is no picture, or it is damaged or truncated") from error
