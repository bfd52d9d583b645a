"""One picture file -> uint8 (3, S, S), or a reason why not.

The pixels are those of ``Image.open(path).convert("RGB")``, torchvision's ``Resize(R)`` (antialiased
bilinear, the shorter side to R) and ``CenterCrop(S)``, bit for bit. JPEGs are decoded by libjpeg-turbo
without detours, which gives the same bits sooner; a file is decoded by what it holds, not by its name.

What ``convert("RGB")`` does is kept: transparency is dropped, palettes are looked up, grayscale is repeated,
CMYK is converted without a color profile, of an animation the first frame is taken. Two things are done that
it leaves undone: 16-bit gray keeps the high byte of its values, as 16-bit color does (they would be clipped
at 255), and the EXIF orientation is applied.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from biascon.errors import UsageError
from biascon.utils.types import Array

DECODE_MODES = ("full", "scaled")
MAX_PIXELS = 1 << 26  # of a picture: 8,192 x 8,192; a larger one is not decoded
MAX_BYTES = 1 << 27  # of a file
ALONE_FROM_PIXELS = (
    1 << 22
)  # pixels from which pictures are decoded one at a time, so that memory stays bounded

MISSING, OUTSIDE, NO_FILE = "missing", "outside the folder", "not a file"
EMPTY, NOT_AN_IMAGE, TRUNCATED, DAMAGED = "empty", "not a picture", "truncated", "damaged"
TOO_MANY_PIXELS, TOO_LARGE, UNSUPPORTED = "too many pixels", "file too large", "unsupported pixels"
UNREADABLE = "unreadable"

# Formats that are decoded by code inside Pillow alone: none that starts a program (EPS) or follows a link.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
_LARGE_IMAGE_LOCK = threading.Lock()


class UnusableImageError(Exception):
    """A picture that is left out; its text is the reason."""


@dataclass(frozen=True)
class ImageSpec:
    """How a picture becomes an array.

    Attributes:
        size: S, the side of the result: a multiple of 4.
        resize: R, what the shorter side is resized to before the center is cut out; 0 for the usual one.
        decode: ``full``, or ``scaled``: JPEGs are decoded at 1/2, 1/4 or 1/8 of their size where that is
            still R or more. Faster, but not the pixels that papers use.
    """

    size: int
    resize: int = 0
    decode: str = "full"

    def __post_init__(self) -> None:
        if self.size < 4 or self.size % 4 or self.size > 4096:
            raise UsageError(f"expected a size of 4..4096 that 4 divides, but got {self.size}")
        if self.resize == 0:
            object.__setattr__(self, "resize", get_default_resize(self.size))
        if not self.size <= self.resize <= 8192:
            raise UsageError(f"expected resize in {self.size}..8192, but got {self.resize}")
        if self.decode not in DECODE_MODES:
            raise UsageError(f"expected decode to be full or scaled, but got '{self.decode}'")

    @property
    def array_shape(self) -> tuple[int, int, int]:
        """The shape of a picture's array."""
        return (3, self.size, self.size)

    def name_suffixes(self) -> list[str]:
        """Return the parts of a dataset's name that say how it differs from the usual shape.

        >>> Shape(64).suffixes(), Shape(128, 128, "scaled").suffixes()
        ([], ['128', 'resize128', 'scaled'])
        """
        parts = [str(self.size)] if self.size != 64 else []
        parts += [f"resize{self.resize}"] if self.resize != get_default_resize(self.size) else []
        return [*parts, *([self.decode] if self.decode != "full" else [])]

    def describe(self) -> str:
        """Return how pictures are made, in words."""
        how = {"full": "", "scaled": ", JPEGs decoded at 1/2, 1/4 or 1/8"}[self.decode]
        return f"shorter side to {self.resize}, centre {self.size} x {self.size}{how}"


def get_default_resize(size: int) -> int:
    """Return what the shorter side is resized to before ``size`` is cut out: 9/8 of it, or 256 for 224.

    >>> usual_resize(64), usual_resize(128), usual_resize(224)
    (72, 144, 256)
    """
    return 256 if size == 224 else size * 9 // 8


def get_decoder_versions() -> dict[str, str]:
    """Return the names and versions of what decodes and resizes."""
    return {"simplejpeg": simplejpeg.__version__, "pillow": PIL.__version__}


class ImageFile(NamedTuple):
    """A file in the folder of pictures: its path, its size, and size and time of change as text."""

    path: str
    size: int
    stamp: str


class ImageFolder:
    """The folder that pictures are read from; nothing outside it is.

    Args:
        raw: The folder.
    """

    def __init__(self, raw: Path) -> None:
        self.raw = os.path.realpath(raw)
        self._inside = lru_cache(maxsize=1 << 16)(self._resolves_inside)

    def _resolves_inside(self, path: str) -> bool:
        real = os.path.realpath(path)
        return real == self.raw or real.startswith(self.raw.rstrip(os.sep) + os.sep)

    def find(self, relative: str) -> ImageFile:
        """Return the file of a name.

        Raises:
            Unusable: It is missing, no regular file, or leads out of the folder.
        """
        plain = relative.replace("\\", "/") if os.name == "nt" else relative
        if not plain or plain[0] == "/" or ".." in plain.split("/") or "\0" in plain:
            raise UnusableImageError(OUTSIDE)
        path = f"{self.raw}{os.sep}{plain}"
        if not self._inside(os.path.dirname(path)):
            raise UnusableImageError(OUTSIDE)
        try:
            found = os.lstat(path)
            if stat.S_ISLNK(found.st_mode):
                if not self._resolves_inside(path):
                    raise UnusableImageError(OUTSIDE)
                found = os.stat(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UnusableImageError(MISSING) from error
        except (OSError, ValueError) as error:
            raise UnusableImageError(UNREADABLE) from error
        if not stat.S_ISREG(found.st_mode):
            raise UnusableImageError(NO_FILE)
        return ImageFile(path, found.st_size, f"{found.st_size} {found.st_mtime_ns}")

    def read(self, file: ImageFile) -> bytes:
        """Return the bytes of a file.

        Raises:
            Unusable: It is empty, too large or unreadable.
        """
        if file.size == 0:
            raise UnusableImageError(EMPTY)
        if file.size > MAX_BYTES:
            raise UnusableImageError(TOO_LARGE)
        try:
            with open(file.path, "rb", buffering=0) as handle:
                return handle.read()
        except OSError as error:
            raise UnusableImageError(UNREADABLE) from error

    def read_stamp(self, relative: str) -> str:
        """Return size and time of change of a file, or why there is none: what tells that it changed."""
        try:
            return self.find(relative).stamp
        except UnusableImageError as error:
            return str(error)


def decode(data: bytes, shape: ImageSpec) -> Array:
    """Return uint8 ``(3, S, S)``: a picture from the bytes of its file.

    Raises:
        Unusable: It is no picture, truncated, damaged, or has too many pixels.
    """
    try:
        if data[:3] == b"\xff\xd8\xff":
            try:
                return _decode_jpeg(data, shape)
            except ValueError:
                pass  # libjpeg warns, or cannot give RGB: what Pillow makes of it counts
        return _decode_with_pillow(data, shape)
    except UnidentifiedImageError as error:
        raise UnusableImageError(NOT_AN_IMAGE) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnusableImageError(TOO_MANY_PIXELS) from error
    except (UnusableImageError, MemoryError):
        raise
    except Exception as error:  # a decoder may fail on broken data in any way
        cut = "truncated" in str(error) or isinstance(error, EOFError)
        raise UnusableImageError(TRUNCATED if cut else DAMAGED) from error


def sha256_bytes(data: bytes) -> str:
    """Return the SHA-256 of a file's bytes."""
    return hashlib.sha256(data).hexdigest()


def _decode_jpeg(data: bytes, shape: ImageSpec) -> Array:
    height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    if space not in ("YCbCr", "GRAY", "Gray"):
        raise ValueError(f"JPEG with {space}")
    heavy = _needs_lock(width, height, shape)
    least = shape.resize if shape.decode == "scaled" else 0
    turn = _read_orientation(data)
    with _LARGE_IMAGE_LOCK if heavy else _NOTHING:
        pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=least, min_width=least)
        image = Image.frombuffer("RGB", pixels.shape[1::-1], pixels, "raw", "RGB", 0, 1)
        return _resize_and_crop(image.transpose(turn) if turn is not None else image, shape)


def _read_orientation(data: bytes) -> Image.Transpose | None:
    if b"Exif\0\0" not in data[: 1 << 16]:
        return None
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        return _TRANSPOSES.get(image.getexif().get(0x0112, 1))


_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _decode_with_pillow(data: bytes, shape: ImageSpec) -> Array:
    with Image.open(io.BytesIO(data), formats=_list_formats()) as image:
        heavy = _needs_lock(*image.size, shape)
        with _LARGE_IMAGE_LOCK if heavy else _NOTHING:
            return _resize_and_crop(_convert_to_rgb(ImageOps.exif_transpose(image)), shape)


@lru_cache(maxsize=1)
def _list_formats() -> tuple[str, ...]:
    """Return those of ``FORMATS`` that this Pillow reads; one that it does not know is an error to it."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _convert_to_rgb(image: Image.Image) -> Image.Image:
    """Return a picture of any mode as RGB."""
    if image.mode.startswith("I"):  # 16-bit gray, in 16 or 32 bits
        gray = np.asarray(image)
        if gray.size and (gray.min() < 0 or gray.max() > 0xFFFF):
            raise UnusableImageError(UNSUPPORTED)
        return Image.fromarray((gray >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise UnusableImageError(UNSUPPORTED)
    return image.convert("RGB")


def _needs_lock(width: int, height: int, shape: ImageSpec) -> bool:
    """Whether a picture is to be decoded alone; refuse one that is too large, before or after resizing."""
    short, long = min(width, height), max(width, height)
    largest = max(width * height, shape.resize * shape.resize * long // max(short, 1))
    if largest > MAX_PIXELS:
        raise UnusableImageError(TOO_MANY_PIXELS)
    return largest > ALONE_FROM_PIXELS


def _resize_and_crop(image: Image.Image, shape: ImageSpec) -> Array:
    """Resize the shorter side to R and cut out the centre, as torchvision rounds."""
    size, (width, height) = shape.resize, image.size
    short = min(width, height)
    box = (int(size * width / short), int(size * height / short))
    if box != image.size:
        image = image.resize(box, Image.Resampling.BILINEAR)
    left, top = (round((side - shape.size) / 2.0) for side in box)
    pixels = np.asarray(image)[top : top + shape.size, left : left + shape.size]
    return pixels.transpose(2, 0, 1)


class _Nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


_NOTHING = _Nothing()
