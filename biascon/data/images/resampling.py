"""Resize RGB pixels and cut out the center, with the pixels of Pillow's bilinear ``resize``, in C.

Pillow resizes the rows, then the columns, and rounds to 8 bits after each pass. A pixel of a pass is
``(sum_t c[t] p[t] + 2^21) >> 22``. The coefficients c are the triangle filter, as wide as the scale if the
image is reduced, normalized to a sum of 1 and rounded to multiples of 2^-22. ``compute_coefficients`` gives
the integers of Pillow, so the pixels are equal. The kernel (``resample.c``) computes only the pixels that
the crop keeps.

The kernel is optional: without it (``compile_kernel`` explains when), Pillow resizes. For each shape of
images, it is first compared with the installed Pillow on noise. If one pixel differs, Pillow resizes the
images of this shape: some versions of Pillow resize the columns of tall images first.

Source of the algorithm: Pillow, ``src/libImaging/Resample.c``.
"""

from __future__ import annotations

import ctypes
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from biascon.data.images.compile_kernel import LIBRARY, source_crc
from biascon.utils.types import Array

PRECISION_BITS = 22
MAX_TAPS = 64  # a pixel that depends on more pixels in a row or column is computed by Pillow
MAX_SIZE = 1024  # a larger result is computed by Pillow, for the coefficients take memory
MAX_PIXELS = 1 << 22  # of an image that the kernel resizes; the comparison with Pillow takes memory
# A shape gets coefficients when it occurs for this time. A folder may have as many shapes as images.
USE_FROM_OCCURRENCE = 8
COMPARED_VALUES = 20_000  # of the result, before the kernel is used for a shape
MAX_COMPARED_PIXELS = 1 << 23  # of noise; a comparison that takes more is not made
MAX_SHAPES = 4096  # shapes that are counted; Pillow resizes images of other shapes
MAX_PLAN_BYTES = 1 << 25  # coefficients that are kept; Pillow resizes images of later shapes

Kernel = Callable[[Any, Any, Any, int], int]


class CropShape(NamedTuple):
    """The shape of an image, and which part of the resized image is kept.

    Attributes:
        width: Width of the image in pixels.
        height: Height of the image.
        resized_width: Width after resizing.
        resized_height: Height after resizing.
        left: First column that is kept.
        top: First row that is kept.
        size: S, the number of rows and of columns that are kept; a multiple of 4.
    """

    width: int
    height: int
    resized_width: int
    resized_height: int
    left: int
    top: int
    size: int


class _PlanStruct(ctypes.Structure):
    """``Plan`` of ``resample.c``."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in (
            "width", "row_start", "row_stop", "size", "x_pairs", "y_taps")),
        *((name, ctypes.c_void_p) for name in ("x_starts", "x_coefs", "y_starts", "y_coefs")),
    )  # fmt: skip


@lru_cache(maxsize=1)
def load_kernel(path: Path = LIBRARY) -> Kernel | None:
    """Load the compiled kernel; return None if there is none, or one of another source."""
    try:
        library = ctypes.CDLL(str(path))
        library.biascon_source_crc.restype = ctypes.c_uint32
        if library.biascon_source_crc() != source_crc():
            return None
        resize = library.biascon_resize
    except (OSError, AttributeError):
        return None
    resize.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
    resize.restype = ctypes.c_int
    kernel: Kernel = resize
    return kernel


def compute_coefficients(n_in: int, n_out: int, first: int, stop: int) -> tuple[Array, Array]:
    """Compute Pillow's bilinear coefficients of one axis, for the pixels first..stop-1 of the result.

    Args:
        n_in: Length of the axis before resizing.
        n_out: Length after resizing.
        first: First pixel of the result.
        stop: Last pixel of the result + 1.

    Returns:
        ``starts`` int32 ``(n,)``, the first pixel that a result depends on, and ``coefs`` int32 ``(n, T)``,
        the coefficients of the pixels from there on, in units of 2^-22. All pixels start..start+T-1 exist,
        unless T exceeds ``n_in``.
    """
    scale = n_in / n_out
    support = max(scale, 1.0)
    centers = (np.arange(first, stop) + 0.5) * scale
    starts = np.maximum((centers - support + 0.5).astype(np.int64), 0)
    counts = np.minimum((centers + support + 0.5).astype(np.int64), n_in) - starts
    taps = np.arange(counts.max())
    distances = np.abs((taps + starts[:, None] - centers[:, None] + 0.5) * (1.0 / support))
    weights = np.where(
        (taps < counts[:, None]) & (distances < 1), 1.0 - np.minimum(distances, 1), 0.0
    )
    # A running sum, because np.sum adds in another order.
    totals = np.cumsum(weights, axis=1)[:, -1:]
    coefs = (weights / totals * (1 << PRECISION_BITS) + 0.5).astype(np.int32)
    return _move_inside(starts, coefs, n_in)


def _move_inside(starts: Array, coefs: Array, n_in: int) -> tuple[Array, Array]:
    """Move windows that end beyond the axis to the left, with coefficients 0 in front; T stays the same."""
    n_taps = coefs.shape[1]
    shifts = np.clip(starts + n_taps - n_in, 0, starts)
    source = np.arange(n_taps) - shifts[:, None]
    moved = np.where(source >= 0, np.take_along_axis(coefs, np.maximum(source, 0), axis=1), 0)
    return (starts - shifts).astype(np.int32), moved.astype(np.int32)


@dataclass(frozen=True)
class CropPlan:
    """The coefficients of a shape in the layout of the kernel.

    Attributes:
        shape: The shape.
        struct: The plan for the kernel; it points into the arrays.
        arrays: The arrays of the coefficients.
    """

    shape: CropShape
    struct: _PlanStruct
    arrays: tuple[Array, ...] = field(repr=False)

    @property
    def nbytes(self) -> int:
        """The memory of the coefficients in bytes."""
        return sum(array.nbytes for array in self.arrays)

    def run(self, kernel: Kernel, pixels: Array, *, use_simd: bool = True) -> Array:
        """Resize pixels uint8 ``(height, width, 3)`` to uint8 ``(3, S, S)``.

        Raises:
            ValueError: The pixels have another shape or dtype.
            MemoryError: There is no memory for the rows between the passes.
        """
        shape = self.shape
        if pixels.shape != (shape.height, shape.width, 3) or pixels.dtype != np.uint8:
            raise ValueError(f"expected pixels of {shape}, but got {pixels.dtype} {pixels.shape}")
        pixels = np.ascontiguousarray(pixels)
        out = np.empty((3, shape.size, shape.size), dtype=np.uint8)
        if kernel(ctypes.byref(self.struct), pixels.ctypes.data, out.ctypes.data, use_simd):
            raise MemoryError
        return out


def make_plan(shape: CropShape) -> CropPlan | None:
    """Compute the coefficients of a shape; return None if Pillow has to resize it."""
    if shape.size > MAX_SIZE or shape.size % 4 or shape.width * shape.height > MAX_PIXELS:
        return None
    taps = max(
        2 * math.ceil(n_in / n_out) + 2
        for n_in, n_out in (
            (shape.width, shape.resized_width),
            (shape.height, shape.resized_height),
        )
    )
    if taps > MAX_TAPS:
        return None
    right, bottom = shape.left + shape.size, shape.top + shape.size
    x_starts, x_coefs = compute_coefficients(shape.width, shape.resized_width, shape.left, right)
    y_starts, y_coefs = compute_coefficients(shape.height, shape.resized_height, shape.top, bottom)
    if x_coefs.shape[1] % 2:  # the kernel takes pairs of pixels
        padded = np.pad(x_coefs, ((0, 0), (0, 1)))
        x_starts, x_coefs = _move_inside(x_starts, padded, shape.width)
    if x_coefs.shape[1] > shape.width or y_coefs.shape[1] > shape.height:
        return None
    row_start, row_stop = int(y_starts.min()), int(y_starts.max()) + y_coefs.shape[1]
    arrays = tuple(
        np.ascontiguousarray(array, dtype=np.int32)
        for array in (x_starts, np.repeat(x_coefs, 4, axis=1), y_starts - row_start, y_coefs)
    )
    sizes = (shape.width, row_start, row_stop, shape.size, x_coefs.shape[1] // 2, y_coefs.shape[1])
    return CropPlan(shape, _PlanStruct(*sizes, *(a.ctypes.data for a in arrays)), arrays)


def resize_with_pillow(image: Image.Image, shape: CropShape) -> Array:
    """Resize an RGB image with Pillow and cut out the center, uint8 ``(3, S, S)``."""
    box = (shape.resized_width, shape.resized_height)
    if box != image.size:
        image = image.resize(box, Image.Resampling.BILINEAR)
    return _crop(np.asarray(image), shape)


def _crop(pixels: Array, shape: CropShape) -> Array:
    """Cut out the center of resized pixels ``(H, W, 3)``, uint8 ``(3, S, S)``, without a copy."""
    rows = slice(shape.top, shape.top + shape.size)
    return pixels[rows, shape.left : shape.left + shape.size].transpose(2, 0, 1)


def equals_pillow(plan: CropPlan, kernel: Kernel, shape: CropShape) -> bool:
    """Compare the kernel with the installed Pillow on noise of a shape, on 20,000 or more values.

    Returns:
        Whether all values are equal; False if the comparison would take too much noise.
    """
    n_images = -(-COMPARED_VALUES // (3 * shape.size**2))
    if n_images * shape.width * shape.height > MAX_COMPARED_PIXELS:
        return False
    rng = np.random.default_rng(0)
    for _ in range(n_images):
        noise = rng.integers(0, 256, (shape.height, shape.width, 3), dtype=np.uint8)
        expected = resize_with_pillow(Image.fromarray(noise), shape)
        if not np.array_equal(plan.run(kernel, noise), expected):
            return False
    return True


class CropResizer:
    """Resizes pixels by the kernel where it equals Pillow, and by Pillow otherwise. Threads may share it.

    Args:
        kernel: The kernel, or None to use Pillow for every image.
    """

    def __init__(self, kernel: Kernel | None) -> None:
        self.kernel = kernel
        self._lock = threading.Lock()
        self._occurrences: dict[CropShape, int] = {}
        self._plans: dict[CropShape, CropPlan | None] = {}
        self._plan_bytes = 0

    def resize(self, pixels: Array, shape: CropShape) -> Array:
        """Resize pixels uint8 ``(height, width, 3)`` and cut out the center, uint8 ``(3, S, S)``, a copy."""
        if (shape.resized_height, shape.resized_width) == pixels.shape[:2]:
            return _crop(pixels, shape).copy()
        plan = self._find_plan(shape)
        if plan is not None and self.kernel is not None:
            return plan.run(self.kernel, pixels)
        image = Image.frombuffer("RGB", pixels.shape[1::-1], pixels, "raw", "RGB", 0, 1)
        return resize_with_pillow(image, shape)

    def resize_image(self, image: Image.Image, shape: CropShape) -> Array:
        """Resize an RGB image and cut out the center, uint8 ``(3, S, S)``."""
        plan = self._find_plan(shape) if image.size != shape[2:4] else None
        if plan is not None and self.kernel is not None:
            return plan.run(self.kernel, np.asarray(image))
        return resize_with_pillow(image, shape)

    def _find_plan(self, shape: CropShape) -> CropPlan | None:
        """Return the plan of a shape, or None if Pillow has to resize this image."""
        if self.kernel is None:
            return None
        try:
            return self._plans[shape]
        except KeyError:
            if not self._is_frequent(shape):
                return None
        plan = make_plan(shape)
        if plan is not None and not equals_pillow(plan, self.kernel, shape):
            plan = None
        with self._lock:
            self._plan_bytes += 0 if plan is None else plan.nbytes
            self._plans[shape] = plan if self._plan_bytes <= MAX_PLAN_BYTES else None
        return plan

    def _is_frequent(self, shape: CropShape) -> bool:
        """Count a shape; return whether it occurred often enough for a plan."""
        with self._lock:
            if shape not in self._occurrences and len(self._occurrences) >= MAX_SHAPES:
                return False
            self._occurrences[shape] = count = self._occurrences.get(shape, 0) + 1
        return count >= USE_FROM_OCCURRENCE
