"""Each corruption gives the pixels of CIFAR-10-C's code, whatever the batch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from biascon.data.corruptions.registry import CORRUPTIONS, FROST, LISTS
from tests.data.corruptions.drawn import corrupt, draw_images

# For each corruption at the levels 2 to 5: the mean of the pixels, and the mean of the pixels times a
# pattern, which changes if pixels move. They were computed on these images, with these random numbers, by the
# published code of LfF, which is that of CIFAR-10-C (OpenCV 4.6, scikit-image 0.22, ImageMagick 6.9.11).
PUBLISHED = json.loads((Path(__file__).parents[2] / "golden" / "corruptions.json").read_text())
RANDOM = ("snow", "fog", "frost", "spatter", "elastic_transform", "gaussian_noise", "shot_noise",
          "impulse_noise", "speckle_noise", "glass_blur", "motion_blur")  # fmt: skip


def test_the_two_lists_have_the_ten_corruptions_of_the_paper() -> None:
    assert [len(set(names)) for names in LISTS] == [10, 10]
    assert not set(LISTS[0]) & set(LISTS[1])
    assert {*LISTS[0], *LISTS[1]} == {*CORRUPTIONS, FROST} == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_gives_the_pixels_of_the_published_code(name: str) -> None:
    images = draw_images(4)
    y, x = np.mgrid[:32, :32]
    pattern = (3 * x + 5 * y) % 7 - 3.0
    tolerance = 0.3 if name == "jpeg_compression" else 0.01  # versions of libjpeg may differ
    for level, expected in zip((2, 3, 4, 5), PUBLISHED[name], strict=True):
        result = corrupt(name, images, level)
        assert result.dtype == np.uint8 and result.shape == images.shape
        means = [result.mean(), (result * pattern).mean()]
        assert means == pytest.approx(expected, abs=tolerance), level


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_result_for_an_image_does_not_depend_on_the_batch(name: str) -> None:
    images = draw_images(5)
    together = corrupt(name, images, 3)
    backwards = corrupt(name, images[::-1], 3, [4, 3, 2, 1, 0])[::-1]
    assert (together == backwards).all()
    assert (together[3:4] == corrupt(name, images[3:4], 3, [3])).all()


@pytest.mark.parametrize("name", PUBLISHED)
def test_only_random_corruptions_depend_on_the_stream(name: str) -> None:
    images = draw_images(2)
    is_equal = (corrupt(name, images, 4) == corrupt(name, images, 4, [10, 11])).all()
    assert is_equal == (name not in RANDOM)


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_image_of_one_value_has_a_result_without_a_warning(name: str) -> None:
    images = np.zeros((2, 3, 32, 32), dtype=np.uint8)
    images[1] = 255
    for level in (1, 2, 5):
        assert corrupt(name, images, level).shape == images.shape


def test_an_image_without_a_drop_of_water_is_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    from biascon.data.corruptions import drops

    monkeypatch.setattr(drops, "_SPATTER", ((0.0, 0.01, 0.8, 0.7, 0.5),) * 5)
    images = draw_images(2)
    assert (corrupt("spatter", images, 2) == images).all()
