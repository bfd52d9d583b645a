"""Files of every kind that a folder of pictures may hold: those that are converted, and those left out."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.data.faces import face


def picture(number: int = 0, width: int = 200, height: int = 200) -> Image.Image:
    return Image.fromarray(face(number % 2, number % 5, number, height, width))


def encoded(image: Image.Image, kind: str = "JPEG", **more: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **more)
    return buffer.getvalue()


def oriented(image: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, quality=95, exif=exif)


def bomb(side: int = 60_000) -> bytes:
    """Return a PNG of 10 kB that says that it has 3.6 thousand million pixels."""

    def part(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 10_000_000)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", data) + part(b"IEND", b"")


def good() -> dict[str, bytes]:
    """Return files that are converted, by what is special about them."""
    plain = picture(3)
    grey16 = Image.fromarray(np.asarray(plain.convert("L")).astype(np.uint16) * 257)
    return {
        "plain": encoded(plain, quality=90),
        "png": encoded(plain, "PNG"),  # under a name that ends in .jpg
        "progressive": encoded(plain, quality=90, progressive=True),
        "grey": encoded(plain.convert("L"), quality=90),
        "cmyk": encoded(plain.convert("CMYK"), quality=90),
        "palette": encoded(plain.convert("P"), "PNG"),
        "gif": encoded(plain.convert("P"), "GIF"),
        "rgba": encoded(Image.merge("RGBA", (*plain.split(), plain.convert("L"))), "PNG"),
        "grey16": encoded(grey16, "PNG"),
        "tiff": encoded(plain, "TIFF"),
        "bilevel": encoded(plain.convert("1"), "PNG"),
        "webp": encoded(plain, "WEBP", lossless=True),
        "turned": oriented(plain.transpose(Image.Transpose.ROTATE_90), 6),
        "trailing": encoded(plain, quality=90) + b"behind the end" * 9,
    }


def bad(folder: Path) -> dict[str, str]:
    """Write files that are left out under names of UTKFace's; return the reason of each by name."""
    outside = folder.parent / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "secret.jpg").write_bytes(encoded(picture(8)))
    whole, png = encoded(picture(9), quality=95), encoded(picture(9), "PNG")
    noise = np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8).tobytes()
    files = {
        "half": (whole[: len(whole) // 2], "truncated"),
        "halfpng": (png[: len(png) // 2], "truncated"),
        "start": (whole[:20], None),
        "zero": (b"", "empty"),
        "text": (b"<!DOCTYPE html><title>404</title>", "not a picture"),
        "noise": (noise, "not a picture"),
        "magic": (b"\xff\xd8\xff" + noise, None),
        "bomb": (bomb(), "too many pixels"),
        "float": (encoded(Image.new("F", (80, 80), 0.5), "TIFF"), "unsupported pixels"),
        "long": (encoded(Image.new("L", (1, 60_000)), "PNG"), "too many pixels"),
        "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
    }
    reasons: dict[str, str] = {}
    for k, (data, reason) in enumerate(files.values()):
        name = f"{30 + k}_{k % 2}_{k % 5}_2017011600000{k:04d}.jpg.chip.jpg"
        (folder / name).write_bytes(data)
        reasons[name] = reason or "any"
    link = "50_1_1_20170116000009999.jpg.chip.jpg"
    (folder / link).symlink_to(outside / "secret.jpg")
    directory = "51_1_1_20170116000009998.jpg.chip.jpg"
    (folder / directory).mkdir()
    dangling = "52_1_1_20170116000009997.jpg.chip.jpg"
    (folder / dangling).symlink_to(folder / "nowhere.jpg")
    return {**reasons, link: "outside the folder", directory: "not a file", dangling: "missing"}
