"""Decoding one image: the pixels equal those of Pillow and torchvision; unusable files give a reason."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageOps

from biascon.data.images import decoding
from biascon.data.images.decoding import ImageFolder, ImageSpec, UnusableImageError, decode
from biascon.errors import UsageError
from biascon.models.torchvision import import_torchvision
from tests.data import image_files
from tests.data.image_files import draw_image, encode

SPEC = ImageSpec(64)


def decode_with_torchvision(image: Image.Image, spec: ImageSpec = SPEC) -> Any:
    """Resize and crop an image with torchvision."""
    import_torchvision()
    from torchvision.transforms import CenterCrop, Compose, Resize

    transform = Compose([Resize(spec.resize), CenterCrop(spec.size)])
    return np.asarray(transform(image.convert("RGB"))).transpose(2, 0, 1)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "4:4:0", "4:1:1"])
@pytest.mark.parametrize("size", [(200, 200), (178, 218), (333, 97), (40, 51)])
def test_jpegs_have_the_pixels_of_pillow_and_torchvision(
    size: tuple[int, int], subsampling: str
) -> None:
    for quality, progressive in ((75, False), (95, True)):
        data = encode(draw_image(2, *size), quality=quality, progressive=progressive)
        if not progressive:  # Pillow writes only three of the subsamplings
            data = simplejpeg.encode_jpeg(
                np.asarray(draw_image(2, *size)),
                quality=quality,
                colorsubsampling=subsampling.replace(":", ""),
            )
        for spec in (ImageSpec(64), ImageSpec(28, 28), ImageSpec(128, 131)):
            expected = decode_with_torchvision(Image.open(io.BytesIO(data)), spec)
            assert np.array_equal(decode(data, spec), expected)


@pytest.mark.parametrize("kind", image_files.make_readable_files())
def test_every_readable_kind_has_the_pixels_of_pillow(kind: str) -> None:
    data = image_files.make_readable_files()[kind]
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if kind == "grey16":  # Pillow clips 16-bit gray to white
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        assert (
            np.abs(
                decode(data, SPEC).astype(int)
                - decode(image_files.make_readable_files()["grey"], SPEC)
            ).max()
            < 9
        )
    assert np.array_equal(decode(data, SPEC), decode_with_torchvision(image))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    upright = draw_image(5, 150, 200)
    exif = Image.Exif()
    exif[0x0112] = orientation
    inverse = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the PIL.Image.Transpose that undoes it
    stored = upright.transpose(inverse[orientation]) if orientation > 1 else upright
    data = encode(stored, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))
    pixels = decode(data, SPEC).astype(int)
    assert np.abs(pixels - decode_with_torchvision(upright)).mean() < 3
    assert np.array_equal(
        pixels, decode_with_torchvision(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    )


def test_transparency_is_dropped_and_not_blended() -> None:
    transparent = Image.new("RGBA", (80, 80), (200, 100, 50, 0))
    assert decode(encode(transparent, "PNG"), SPEC)[:, 0, 0].tolist() == [200, 100, 50]


def test_every_unusable_kind_is_rejected_with_its_reason(tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    for name, reason in image_files.write_unusable_files(folder).items():
        try:
            data = ImageFolder(folder).read(ImageFolder(folder).find(name))
            decode(data, SPEC)
        except UnusableImageError as error:
            assert reason in (str(error), "any"), name
        else:
            pytest.fail(f"{name} was accepted ({reason})")


def test_a_jpeg_whose_header_claims_a_huge_size_is_not_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = encode(draw_image())
    offset = data.index(b"\xff\xc0") + 5
    huge = data[:offset] + b"\xff\xf0\xff\xf0" + data[offset + 4 :]
    monkeypatch.setattr(decoding.simplejpeg, "decode_jpeg", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(UnusableImageError, match="too many pixels"):
        decode(huge, SPEC)


@pytest.mark.parametrize("length", [1, 100, 1000, -2, -50, -1000])
def test_a_truncated_jpeg_is_rejected_and_not_half_gray(length: int) -> None:
    data = encode(draw_image(1), quality=95)
    with pytest.raises(UnusableImageError):
        decode(data[:length], SPEC)


def test_any_changed_byte_gives_an_image_or_a_reason() -> None:
    data = bytearray(encode(draw_image(4), quality=60))
    rng = np.random.default_rng(0)
    for _ in range(300):
        offset = int(rng.integers(len(data)))
        old, data[offset] = data[offset], int(rng.integers(256))
        try:
            assert decode(bytes(data), SPEC).shape == (3, 64, 64)
        except UnusableImageError as error:
            assert str(error)
        data[offset] = old


def test_nothing_outside_the_folder_is_read(tmp_path: Path) -> None:
    raw, outside = tmp_path / "raw", tmp_path / "raw-outside"
    (raw / "in").mkdir(parents=True)
    outside.mkdir()
    for folder in (raw / "in", outside):
        (folder / "a.jpg").write_bytes(encode(draw_image()))
    (raw / "link").symlink_to(outside)
    (raw / "fine").symlink_to(raw / "in")
    (raw / "b.jpg").symlink_to(outside / "a.jpg")
    (raw / "c.jpg").symlink_to(Path("in") / "a.jpg")
    folder = ImageFolder(raw)
    for name in ("../raw-outside/a.jpg", "link/a.jpg", "b.jpg", str(outside / "a.jpg"), "in/../in/a.jpg",
                 "", "a\0b"):  # fmt: skip
        with pytest.raises(UnusableImageError, match="outside the folder"):
            folder.find(name)
    for name in ("in/a.jpg", "fine/a.jpg", "c.jpg"):
        assert folder.read(folder.find(name))
    with pytest.raises(UnusableImageError, match="missing"):
        folder.find("in/a.jpg/x")
    with pytest.raises(UnusableImageError, match="not a file"):
        folder.find("in")


def test_scaled_decoding_is_close_but_not_equal() -> None:
    data = encode(draw_image(7), quality=90)
    difference = np.abs(
        decode(data, SPEC).astype(int) - decode(data, ImageSpec(64, decode="scaled"))
    )
    assert 0 < difference.mean() < 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((63,), "expected a size of 4..4096 that 4 divides, but got 63"),
        ((0,), "expected a size"),
        ((64, 60), "expected resize in 64..8192, but got 60"),
        ((64, 72, "half"), "expected decode to be full, scaled or native, but got 'half'"),
    ],
)
def test_invalid_specs_are_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ImageSpec(*arguments)
