"""The compiled resizing: the pixels equal those of Pillow for every shape, or Pillow resizes."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from biascon.data.building.chunk import decode_chunk
from biascon.data.images import compile_kernel, decoding, resampling
from biascon.data.images.decoding import ImageFolder, ImageSpec
from biascon.data.images.resampling import (
    CropResizer,
    CropShape,
    Kernel,
    compute_coefficients,
    equals_pillow,
    load_kernel,
    make_plan,
    resize_with_pillow,
)
from tests.data import image_files

# Width, height, R and S. The first four are UTKFace, CelebA at 64 and 224 pixels, and a photograph.
TYPICAL = ((200, 200, 72, 64), (178, 218, 72, 64), (178, 218, 256, 224), (500, 375, 144, 128))
EXTREME = (
    (1, 1, 8, 8), (1, 2, 4, 4), (2, 1, 9, 8), (3, 3, 72, 64), (400, 3, 36, 32), (3, 5, 300, 300),
    (72, 72, 72, 64), (73, 72, 72, 72), (72, 143, 72, 4), (641, 401, 4, 4), (97, 130, 97, 96),
)  # fmt: skip


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    installed = load_kernel()
    if installed is not None:
        return installed
    library = tmp_path_factory.mktemp("kernel") / "resample.so"
    reason = compile_kernel.compile_kernel(library)
    if reason:
        pytest.skip(reason)
    compiled = load_kernel(library)
    assert compiled is not None
    return compiled


def make_shape(width: int, height: int, resize: int, size: int) -> CropShape:
    return decoding._compute_crop_shape(width, height, ImageSpec(size, resize))


def draw_shapes(n: int) -> list[CropShape]:
    rng = np.random.default_rng(17)
    shapes = []
    while len(shapes) < n:
        width, height = (int(side) for side in 2 ** rng.uniform(0, 8.5, 2))
        resize = int(rng.integers(4, 150))
        if max(width, height) * resize / min(width, height) < 2000:
            shapes.append(
                make_shape(width, height, resize, 4 * int(rng.integers(1, resize // 4 + 1)))
            )
    return shapes


def draw_pixels(shape: CropShape) -> list[Any]:
    """Return noise, noise of black and white, and white."""
    rng, size = np.random.default_rng(shape), (shape.height, shape.width, 3)
    extremes = (rng.integers(0, 2, size) * 255).astype(np.uint8)
    return [rng.integers(0, 256, size, dtype=np.uint8), extremes, np.full(size, 255, np.uint8)]


def assert_equals_pillow(kernel: Kernel, shape: CropShape) -> bool:
    """Return whether the kernel is used for a shape; then all of its pixels equal those of Pillow."""
    plan = make_plan(shape)
    if plan is None or not equals_pillow(plan, kernel, shape):
        return False
    for pixels in draw_pixels(shape):
        expected = resize_with_pillow(Image.fromarray(pixels), shape)
        for use_simd in (True, False):
            assert np.array_equal(plan.run(kernel, pixels, use_simd=use_simd), expected)
    return True


@pytest.mark.parametrize("size", TYPICAL)
def test_the_kernel_is_used_for_the_usual_sets(kernel: Kernel, size: tuple[int, ...]) -> None:
    assert assert_equals_pillow(kernel, make_shape(*size))


def test_the_pixels_of_every_shape_are_those_of_pillow(kernel: Kernel) -> None:
    shapes = [*(make_shape(*size) for size in EXTREME), *draw_shapes(40)]
    used = [assert_equals_pillow(kernel, shape) for shape in shapes]
    # Pillow 13 resizes the columns of tall images first; other images are left to it by their size.
    usual = [
        is_used
        for shape, is_used in zip(shapes, used, strict=True)
        if 8 < shape.height <= 2 * shape.width and 8 < shape.width < 30 * shape.resized_width
    ]
    assert all(usual) and len(usual) > 15


@pytest.mark.parametrize(
    ("n_in", "n_out"), [(200, 72), (178, 256), (5, 3), (1, 7), (64, 64), (300, 4)]
)
def test_coefficients_are_nonnegative_and_sum_to_one(n_in: int, n_out: int) -> None:
    starts, coefs = compute_coefficients(n_in, n_out, 0, n_out)
    assert coefs.min() >= 0 and starts.min() >= 0
    assert np.abs(coefs.sum(axis=1) - (1 << 22)).max() <= coefs.shape[1] / 2
    assert coefs.shape[1] > n_in or (starts + coefs.shape[1]).max() <= n_in  # all pixels exist
    whole = make_dense(starts, coefs, n_in)
    for first, stop in ((0, 1), (n_out // 2, n_out)):  # a part has the coefficients of the whole
        part = make_dense(*compute_coefficients(n_in, n_out, first, stop), n_in)
        assert np.array_equal(part, whole[first:stop])


def make_dense(starts: Any, coefs: Any, n_in: int) -> Any:
    """Return the coefficients of all pixels, ``(n, n_in)``; those of pixels that do not exist are 0."""
    dense = np.zeros((len(starts), n_in + coefs.shape[1]), dtype=np.int64)
    for row, start, values in zip(dense, starts, coefs, strict=True):
        row[start : start + len(values)] = values
    assert not dense[:, n_in:].any()
    return dense[:, :n_in]


def test_a_kernel_that_differs_in_one_pixel_is_not_used(kernel: Kernel) -> None:
    def wrong(plan: Any, pixels: Any, out: int, use_simd: int) -> int:
        result = kernel(plan, pixels, out, use_simd)
        ctypes.cast(out, ctypes.POINTER(ctypes.c_uint8))[777] ^= 1
        return result

    shape = make_shape(200, 200, 72, 64)
    plan, pixels = make_plan(shape), draw_pixels(shape)[0]
    assert plan is not None
    assert equals_pillow(plan, kernel, shape) and not equals_pillow(plan, wrong, shape)
    resizer, expected = CropResizer(wrong), CropResizer(None).resize(pixels, shape)
    for _ in range(resampling.USE_FROM_OCCURRENCE + 2):
        assert np.array_equal(resizer.resize(pixels, shape), expected)


def test_the_kernel_is_used_for_frequent_shapes_only(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def count(plan: Any, pixels: Any, out: Any, use_simd: int) -> int:
        calls.append(1)
        return kernel(plan, pixels, out, use_simd)

    monkeypatch.setattr(resampling, "MAX_SHAPES", 2)
    resizer = CropResizer(count)
    for shape in (make_shape(40 + k, 40, 36, 32) for k in range(3)):
        calls.clear()
        for number in range(1, 20):
            resizer.resize(draw_pixels(shape)[0], shape)
            if number < resampling.USE_FROM_OCCURRENCE:
                assert not calls
        # Two shapes are counted; the third is left to Pillow.
        assert bool(calls) == (shape.width < 42)


def test_pillow_resizes_when_the_memory_of_the_coefficients_is_used_up(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = make_shape(40, 40, 36, 32)
    plan, pixels = make_plan(shape), draw_pixels(shape)[0]
    assert plan is not None
    expected = CropResizer(None).resize(pixels, shape)
    for limit, is_kept in ((plan.nbytes, True), (plan.nbytes - 1, False)):
        monkeypatch.setattr(resampling, "MAX_PLAN_BYTES", limit)
        resizer = CropResizer(kernel)
        for _ in range(resampling.USE_FROM_OCCURRENCE):
            assert np.array_equal(resizer.resize(pixels, shape), expected)
        assert (resizer._plans[shape] is not None) == is_kept


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with files of every kind."""
    folder = tmp_path_factory.mktemp("files") / "raw"
    folder.mkdir()
    for kind, data in image_files.make_readable_files().items():
        (folder / kind).write_bytes(data)
    image_files.write_unusable_files(folder)
    return folder


@pytest.mark.parametrize(
    "spec", [ImageSpec(32), ImageSpec(64, 100), ImageSpec(128, decode="scaled")]
)
def test_files_of_every_kind_have_the_same_pixels_without_the_kernel(
    kernel: Kernel, spec: ImageSpec, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = sorted(path.name for path in folder.iterdir())
    monkeypatch.setattr(resampling, "USE_FROM_OCCURRENCE", 1)
    decoded = []
    for resizer in (CropResizer(kernel), CropResizer(None)):
        monkeypatch.setattr(decoding, "_get_resizer", lambda resizer=resizer: resizer)
        chunk, pixels = decode_chunk(ImageFolder(folder), spec, "train", 0, names)
        decoded.append((chunk.to_line(), pixels.tobytes()))
    assert decoded[0] == decoded[1]


def test_decoded_pixels_stay_when_the_next_image_is_decoded() -> None:
    spec = ImageSpec(64, 64)  # the first image is cut out without resizing
    images = [image_files.encode(image_files.draw_image(k, 64, 80), quality=90) for k in range(3)]
    first = decoding.decode(images[0], spec)
    copy = first.copy()
    for data in images[1:]:
        decoding.decode(data, spec)
    assert np.array_equal(first, copy)


def test_pixels_of_another_shape_are_refused(kernel: Kernel) -> None:
    plan = make_plan(make_shape(200, 200, 72, 64))
    assert plan is not None
    for pixels in (np.zeros((200, 199, 3), np.uint8), np.zeros((200, 200, 3), np.int64)):
        with pytest.raises(ValueError, match="expected pixels of"):
            plan.run(kernel, pixels)


def test_a_library_of_another_source_is_not_loaded(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "kernel.so"
    library.write_bytes(b"no library")
    assert load_kernel(library) is None
    assert load_kernel(tmp_path / "missing.so") is None
    load_kernel.cache_clear()
    monkeypatch.setattr(resampling, "source_crc", lambda: 1)
    assert load_kernel() is None
    load_kernel.cache_clear()


@pytest.mark.parametrize(
    ("compiler", "reason"), [("false", "false failed: 1"), ("no-such-cc", "cannot run no-such-cc")]
)
def test_a_failed_compilation_gives_a_reason_and_keeps_the_library(
    compiler: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", compiler)
    library = tmp_path / "kernel.so"
    library.write_bytes(b"old")
    assert compile_kernel.compile_kernel(library).startswith(reason)
    assert [path.name for path in tmp_path.iterdir()] == ["kernel.so"]
    assert library.read_bytes() == b"old"
