"""Files of every kind that a folder of images may hold: readable images and unusable files."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.data.faces import draw_face


def draw_image(number: int = 0, width: int = 200, height: int = 200) -> Image.Image:
    return Image.fromarray(draw_face(number % 2, number % 5, number, height, width))


def encode(image: Image.Image, kind: str = "JPEG", **more: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **more)
    return buffer.getvalue()


def encode_oriented(image: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(image, quality=95, exif=exif)


def make_decompression_bomb(side: int = 60_000) -> bytes:
    """Return a PNG of 10 kB whose header claims 3.6 billion pixels."""

    def make_part(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 10_000_000)
    parts = [make_part(b"IHDR", header), make_part(b"IDAT", data), make_part(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def make_readable_files() -> dict[str, bytes]:
    """Return the contents of readable image files by kind."""
    plain = draw_image(3)
    grey16 = Image.fromarray(np.asarray(plain.convert("L")).astype(np.uint16) * 257)
    return {
        "plain": encode(plain, quality=90),
        "png": encode(plain, "PNG"),  # under a name with the suffix .jpg
        "progressive": encode(plain, quality=90, progressive=True),
        "grey": encode(plain.convert("L"), quality=90),
        "cmyk": encode(plain.convert("CMYK"), quality=90),
        "palette": encode(plain.convert("P"), "PNG"),
        "gif": encode(plain.convert("P"), "GIF"),
        "rgba": encode(Image.merge("RGBA", (*plain.split(), plain.convert("L"))), "PNG"),
        "grey16": encode(grey16, "PNG"),
        "tiff": encode(plain, "TIFF"),
        "bilevel": encode(plain.convert("1"), "PNG"),
        "webp": encode(plain, "WEBP", lossless=True),
        "turned": encode_oriented(plain.transpose(Image.Transpose.ROTATE_90), 6),
        "trailing": encode(plain, quality=90) + b"behind the end" * 9,
    }


def write_unusable_files(folder: Path) -> dict[str, str]:
    """Write unusable files with names as in UTKFace; return their reasons by name."""
    outside = folder.parent / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "secret.jpg").write_bytes(encode(draw_image(8)))
    whole, png = encode(draw_image(9), quality=95), encode(draw_image(9), "PNG")
    noise = np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8).tobytes()
    files = {
        "half": (whole[: len(whole) // 2], "truncated"),
        "halfpng": (png[: len(png) // 2], "truncated"),
        "start": (whole[:20], None),
        "zero": (b"", "empty"),
        "text": (b"<!DOCTYPE html><title>404</title>", "not a picture"),
        "noise": (noise, "not a picture"),
        "magic": (b"\xff\xd8\xff" + noise, None),
        "bomb": (make_decompression_bomb(), "too many pixels"),
        "float": (encode(Image.new("F", (80, 80), 0.5), "TIFF"), "unsupported pixels"),
        "long": (encode(Image.new("L", (1, 60_000)), "PNG"), "too many pixels"),
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
