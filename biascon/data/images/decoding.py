"""Decode one image file to uint8 (3, S, S), or report why it cannot be used.

The pixels equal those of ``Image.open(path).convert("RGB")``, torchvision's ``Resize(R)`` (antialiased
bilinear, the shorter side to R) and ``CenterCrop(S)``, bit for bit. JPEGs are decoded by libjpeg-turbo
directly (simplejpeg), which gives the same bits in less time; without simplejpeg, Pillow decodes them.
``resampling`` resizes. The content of a file decides its format, not its name.

The conversion follows ``convert("RGB")``: transparency is dropped, palettes are looked up, grayscale is
repeated, CMYK is converted without a color profile, and the first frame of an animation is taken. There are
two differences. 16-bit gray keeps the high byte of its values, as 16-bit color does; Pillow clips the values
at 255. And the EXIF orientation is applied.
"""

# ruff: noqa: PTH116, PTH120 -- pathlib takes a tenth of the time of a small image

from __future__ import annotations

import hashlib
import io
import os
import stat
import threading
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
from PIL import Image, ImageOps, UnidentifiedImageError

from biascon.data.images.file_names import HIDDEN, is_system_file
from biascon.data.images.orientation import read_orientation
from biascon.data.images.resampling import CropResizer, CropShape, load_kernel
from biascon.errors import UsageError
from biascon.utils.packages import missing_packages
from biascon.utils.types import Array

try:
    import simplejpeg
except ImportError:  # Pillow decodes JPEGs then: the same pixels, in more time
    simplejpeg = None

DECODE_MODES = ("full", "scaled", "native")
MAX_PIXELS = 1 << 26  # 8,192 x 8,192; a larger image is not decoded
MAX_BYTES = 1 << 27  # size of a file
# Images with more pixels are decoded one at a time, so that memory stays bounded.
ALONE_FROM_PIXELS = 1 << 22

# Reasons for leaving out an image. Dataset digests depend on their spelling.
MISSING, OUTSIDE, NO_FILE = "missing", "outside the folder", "not a file"
EMPTY, NOT_AN_IMAGE, TRUNCATED, DAMAGED = "empty", "not a picture", "truncated", "damaged"
TOO_MANY_PIXELS, TOO_LARGE, UNSUPPORTED = "too many pixels", "file too large", "unsupported pixels"
UNREADABLE, OTHER_SIZE = "unreadable", "another size"

# Formats that Pillow decodes by itself. Formats that start a program (EPS) or follow a link are excluded.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_LARGE_IMAGE_LOCK = threading.Lock()
_NO_LOCK = nullcontext()
_THREAD = threading.local()


class UnusableImageError(Exception):
    """An image that cannot be used; the message is the reason."""


@dataclass(frozen=True)
class ImageSpec:
    """How an image becomes an array.

    Attributes:
        size: S, the side of the result in pixels, a multiple of 4.
        resize: R, the length of the shorter side before the center is cut out; 0 for the default.
        decode: ``full``, or ``scaled``: JPEGs are decoded at 1/2, 1/4 or 1/8 of their size, if the shorter
            side is still R or more. This is faster, but gives other pixels than those of the papers.
            ``native``: an image of another size than S x S cannot be used, so that no pixel is changed.
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
            raise UsageError(
                f"expected decode to be full, scaled or native, but got '{self.decode}'"
            )
        if self.decode == "native" and self.resize != self.size:
            raise UsageError("images of their native size are not resized: leave out resize")
        if self.decode == "scaled" and simplejpeg is None:
            raise missing_packages(["simplejpeg"], "--decode scaled")

    @property
    def array_shape(self) -> tuple[int, int, int]:
        """The shape of the array of an image, ``(3, S, S)``."""
        return (3, self.size, self.size)

    def name_suffixes(self) -> list[str]:
        """Return the parts of a dataset's name for the settings that differ from the defaults.

        >>> ImageSpec(64).name_suffixes(), ImageSpec(128, 128, "scaled").name_suffixes()
        ([], ['128', 'resize128', 'scaled'])
        >>> ImageSpec(32, 32, "native").name_suffixes()
        ['native']
        """
        if self.decode == "native":
            return ["native"]
        parts = [str(self.size)] if self.size != 64 else []
        parts += [f"resize{self.resize}"] if self.resize != get_default_resize(self.size) else []
        return [*parts, *([self.decode] if self.decode != "full" else [])]

    def describe(self) -> str:
        """Return the manifest text of these settings."""
        if self.decode == "native":
            return f"{self.size} x {self.size}, not resized"
        decode = {"full": "", "scaled": ", JPEGs decoded at 1/2, 1/4 or 1/8"}[self.decode]
        return f"shorter side to {self.resize}, centre {self.size} x {self.size}{decode}"


def get_default_resize(size: int) -> int:
    """Return the default length of the shorter side: 9/8 of the size, or 256 for a size of 224.

    >>> get_default_resize(64), get_default_resize(128), get_default_resize(224)
    (72, 144, 256)
    """
    return 256 if size == 224 else size * 9 // 8


def get_decoder_versions() -> dict[str, str]:
    """Return the names and versions of the libraries that decode and resize."""
    versions = {} if simplejpeg is None else {"simplejpeg": simplejpeg.__version__}
    return {**versions, "pillow": PIL.__version__}


class ImageFile(NamedTuple):
    """An image file: its path, its size in bytes, and its size and modification time as text."""

    path: str
    size: int
    stamp: str


class ImageFolder:
    """The folder of images. No file outside it is read.

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
        """Find a file by its path relative to the folder.

        Raises:
            UnusableImageError: The file is missing, not a regular file, outside the folder, or a file of the
                system (``file_names.is_system_file``).
        """
        plain = relative.replace("\\", "/") if os.name == "nt" else relative
        if not plain or plain[0] == "/" or ".." in plain.split("/") or "\0" in plain:
            raise UnusableImageError(OUTSIDE)
        path = f"{self.raw}{os.sep}{plain}"
        if not self._inside(os.path.dirname(path)):
            raise UnusableImageError(OUTSIDE)
        try:
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                if not self._resolves_inside(path):
                    raise UnusableImageError(OUTSIDE)
                status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UnusableImageError(MISSING) from error
        except (OSError, ValueError) as error:
            raise UnusableImageError(UNREADABLE) from error
        if not stat.S_ISREG(status.st_mode):
            raise UnusableImageError(NO_FILE)
        if is_system_file(relative):
            raise UnusableImageError(HIDDEN)
        return ImageFile(path, status.st_size, f"{status.st_size} {status.st_mtime_ns}")

    def read(self, file: ImageFile) -> bytes:
        """Return the bytes of a file.

        Raises:
            UnusableImageError: The file is empty, too large or unreadable.
        """
        if file.size == 0:
            raise UnusableImageError(EMPTY)
        if file.size > MAX_BYTES:
            raise UnusableImageError(TOO_LARGE)
        try:
            handle = os.open(file.path, _OPEN_FLAGS)  # does not wait, should a pipe be there by now
            try:
                status = os.fstat(handle)
                if not stat.S_ISREG(status.st_mode):
                    raise UnusableImageError(NO_FILE)
                if status.st_size > MAX_BYTES:
                    raise UnusableImageError(TOO_LARGE)
                with open(handle, "rb", buffering=0, closefd=False) as opened:
                    return opened.read()
            finally:
                os.close(handle)
        except OSError as error:
            raise UnusableImageError(UNREADABLE) from error

    def read_stamp(self, relative: str) -> str:
        """Return a file's size and modification time as text, or the reason why it cannot be used."""
        try:
            return self.find(relative).stamp
        except UnusableImageError as error:
            return str(error)


def decode(data: bytes, image_spec: ImageSpec) -> Array:
    """Decode the bytes of an image file to uint8 ``(3, S, S)``.

    Raises:
        UnusableImageError: The bytes are no image, truncated or damaged, or have too many pixels.
    """
    try:
        if data[:3] == b"\xff\xd8\xff" and simplejpeg is not None:
            try:
                return _decode_jpeg(data, image_spec)
            except ValueError:
                pass  # libjpeg warns or cannot give RGB; Pillow decides
        return _decode_with_pillow(data, image_spec)
    except UnidentifiedImageError as error:
        raise UnusableImageError(NOT_AN_IMAGE) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnusableImageError(TOO_MANY_PIXELS) from error
    except (UnusableImageError, MemoryError):
        raise
    except Exception as error:  # a decoder may fail on broken data in any way
        is_truncated = "truncated" in str(error) or isinstance(error, EOFError)
        raise UnusableImageError(TRUNCATED if is_truncated else DAMAGED) from error


def sha256_bytes(data: bytes) -> str:
    """Return the SHA-256 of a file's bytes."""
    return hashlib.sha256(data).hexdigest()


def _decode_jpeg(data: bytes, image_spec: ImageSpec) -> Array:
    """Decode a JPEG with libjpeg-turbo; raise a ValueError if Pillow has to decode it."""
    height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    if space not in ("YCbCr", "GRAY", "Gray"):
        raise ValueError(f"JPEG with {space}")
    needs_lock = _check_pixels(width, height, image_spec)
    min_side = image_spec.resize if image_spec.decode == "scaled" else 0
    transpose = read_orientation(data)
    with _LARGE_IMAGE_LOCK if needs_lock else _NO_LOCK:
        pixels = simplejpeg.decode_jpeg(
            data, "RGB", min_height=min_side, min_width=min_side, buffer=_get_buffer(width * height)
        )
        if transpose is not None:
            image = Image.frombuffer("RGB", pixels.shape[1::-1], pixels, "raw", "RGB", 0, 1)
            return _resize_and_crop(image.transpose(transpose), image_spec)
        shape = _compute_crop_shape(pixels.shape[1], pixels.shape[0], image_spec)
        return _get_resizer().resize(pixels, shape)


def _get_buffer(n_pixels: int) -> Array | None:
    """Return this thread's memory for RGB pixels, or None for a large image.

    The address is odd. libjpeg-turbo writes rows at multiples of 32 bytes around the caches of the
    processor, which takes longer (a fifth of the time of an image of 200 x 200).
    """
    if n_pixels > ALONE_FROM_PIXELS // 4:
        return None
    buffer: Array | None = getattr(_THREAD, "buffer", None)
    if buffer is None or len(buffer) < 3 * n_pixels:
        memory = np.empty(3 * n_pixels + 32, dtype=np.uint8)
        buffer = _THREAD.buffer = memory[(1 - memory.ctypes.data) % 32 :]
    return buffer


@lru_cache(maxsize=1)
def _get_resizer() -> CropResizer:
    """Return the resizer of this process."""
    return CropResizer(load_kernel())


def _decode_with_pillow(data: bytes, image_spec: ImageSpec) -> Array:
    with Image.open(io.BytesIO(data), formats=_list_formats()) as image:
        needs_lock = _check_pixels(*image.size, image_spec)
        with _LARGE_IMAGE_LOCK if needs_lock else _NO_LOCK:
            return _resize_and_crop(_convert_to_rgb(ImageOps.exif_transpose(image)), image_spec)


@lru_cache(maxsize=1)
def _list_formats() -> tuple[str, ...]:
    """Return the ``FORMATS`` that the installed Pillow supports; it raises an error for any other name."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _convert_to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to RGB."""
    if image.mode.startswith("I"):  # 16-bit gray, in 16 or 32 bits
        gray = np.asarray(image)
        if gray.size and (gray.min() < 0 or gray.max() > 0xFFFF):
            raise UnusableImageError(UNSUPPORTED)
        return Image.fromarray((gray >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise UnusableImageError(UNSUPPORTED)
    return image.convert("RGB")


def _check_pixels(width: int, height: int, image_spec: ImageSpec) -> bool:
    """Check the number of pixels before and after resizing; return whether the image is decoded alone."""
    if image_spec.decode == "native" and (width, height) != image_spec.array_shape[:0:-1]:
        raise UnusableImageError(OTHER_SIZE)
    short, long = min(width, height), max(width, height)
    n_pixels = max(width * height, image_spec.resize * image_spec.resize * long // max(short, 1))
    if n_pixels > MAX_PIXELS:
        raise UnusableImageError(TOO_MANY_PIXELS)
    return n_pixels > ALONE_FROM_PIXELS


def _resize_and_crop(image: Image.Image, image_spec: ImageSpec) -> Array:
    """Resize the shorter side of an RGB image to R and cut out the center."""
    return _get_resizer().resize_image(image, _compute_crop_shape(*image.size, image_spec))


@lru_cache(maxsize=256)
def _compute_crop_shape(width: int, height: int, image_spec: ImageSpec) -> CropShape:
    """Compute the size after resizing and the place of the center, with the rounding of torchvision."""
    size, short = image_spec.resize, min(width, height)
    box = (int(size * width / short), int(size * height / short))
    left, top = (round((side - image_spec.size) / 2.0) for side in box)
    return CropShape(width, height, *box, left, top, image_spec.size)
