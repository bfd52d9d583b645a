"""The EXIF orientation of a JPEG."""

from __future__ import annotations

import io

from PIL import Image

_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_orientation(data: bytes) -> Image.Transpose | None:
    """Return the transposition that the EXIF orientation of a JPEG asks for, or None."""
    if data.find(b"Exif\0\0", 0, 1 << 16) < 0:
        return None
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        return _TRANSPOSES.get(image.getexif().get(0x0112, 1))
