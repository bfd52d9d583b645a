"""The filters against SciPy, colorsys and loops, and the random numbers of images."""

from __future__ import annotations

import colorsys
import math
from itertools import product

import numpy as np
import pytest
from scipy import ndimage, stats

from biascon.data.corruptions.draws import ImageDraws
from biascon.data.corruptions.drops import equalize, find_edges, measure_distance
from biascon.data.corruptions.filters import (
    blur,
    blur_along,
    correlate,
    hsv_to_rgb,
    rgb_to_hsv,
    zoom_center,
)
from biascon.data.corruptions.noise import shot_noise
from tests.data.corruptions.drawn import draw_images


@pytest.mark.parametrize("border", ["nearest", "reflect", "mirror"])
def test_blur_and_correlation_equal_those_of_scipy(border: str) -> None:
    plane = draw_images(1)[0, 0].astype(np.float64)
    for sigma, truncate in ((0.6, 4.0), (6.4, 3.0)):
        expected = ndimage.gaussian_filter(plane, sigma, mode=border, truncate=truncate)
        got = blur(plane, sigma, border=border, truncate=truncate)
        np.testing.assert_allclose(got, expected, rtol=1e-12)
    kernel = np.array([[-2.0, -1, 0], [-1, 1, 1], [0, 1, 2]])
    expected = ndimage.correlate(plane, kernel, mode=border)
    np.testing.assert_allclose(correlate(plane, kernel, border), expected, atol=1e-9)


@pytest.mark.parametrize("factor", [1.0, 1.04, 1.25, 1.75, 2.25])
def test_zoom_equals_that_of_scipy(factor: float) -> None:
    plane = draw_images(1)[0, 0].astype(np.float64)
    side = math.ceil(32 / factor)
    top = (32 - side) // 2
    zoomed = ndimage.zoom(
        plane[top : top + side, top : top + side], factor, order=1, mode="nearest"
    )
    trim = (len(zoomed) - 32) // 2
    expected = zoomed[trim : trim + 32, trim : trim + 32]
    np.testing.assert_allclose(zoom_center(plane, factor), expected, atol=1e-9)


def test_hsv_equals_that_of_colorsys() -> None:
    values = np.array(list(product((0.0, 0.2, 0.6, 1.0), repeat=3)))
    hsv = rgb_to_hsv(values.T[None, :, :, None])
    expected = np.array([colorsys.rgb_to_hsv(*row) for row in values])
    np.testing.assert_allclose(hsv[0, :, :, 0].T, expected, atol=1e-12)
    np.testing.assert_allclose(hsv_to_rgb(hsv)[0, :, :, 0].T, values, atol=1e-12)


def test_blur_along_a_line_equals_a_loop() -> None:
    image = draw_images(2)[:, :, :9, :9]
    angles = np.array([-100.0, 30.0])
    weights = [math.exp(-(i * i) / (2 * 2.5**2)) for i in range(2 * 3 + 1)]
    result = blur_along(image, 3, 2.5, angles)
    for n, c, y, x in product(range(2), range(3), range(9), range(9)):
        total = 0.0
        for i, weight in enumerate(weights):
            row = y + math.ceil(i * math.sin(math.radians(angles[n])) - 0.5)
            column = x + math.ceil(i * math.cos(math.radians(angles[n])) - 0.5)
            total += weight * int(image[n, c, min(max(row, 0), 8), min(max(column, 0), 8)])
        assert abs(result[n, c, y, x] - (total / sum(weights) - 0.5)) <= 0.51


def test_the_edges_of_a_square_are_its_border() -> None:
    plane = np.zeros((2, 32, 32), dtype=np.uint8)
    plane[0, 10:20, 8:24] = 200
    edges = find_edges(plane)
    assert not edges[1].any()
    rows, columns = np.nonzero(edges[0])
    assert {rows.min(), rows.max()} <= {9, 10, 19, 20}
    assert {columns.min(), columns.max()} <= {7, 8, 23, 24}
    assert not edges[0, 12:18, 10:22].any()


def test_the_distance_is_the_shortest_path_of_chamfer_steps() -> None:
    steps = dict.fromkeys(((0, 1), (1, 0)), 1.0)
    steps |= {(1, 1): 1.4, (1, 2): 2.1969, (2, 1): 2.1969}
    edges = np.zeros((1, 12, 12), dtype=bool)
    edges[0, 3, 4] = edges[0, 10, 9] = True
    expected = np.where(edges[0], 0.0, np.inf)
    for _ in range(12):
        for (a, b), length in steps.items():
            for down, right in product((a, -a), (b, -b)):
                source = np.full((16, 16), np.inf)
                source[2:14, 2:14] = expected
                moved = source[2 + down : 14 + down, 2 + right : 14 + right] + length
                expected = np.minimum(expected, moved)
    np.testing.assert_allclose(measure_distance(edges)[0], expected, atol=1e-4)


def test_equalization_spreads_the_values_and_keeps_a_constant_plane() -> None:
    planes = np.array([[[5, 5], [9, 20]], [[7, 7], [7, 7]]], dtype=np.uint8)
    assert equalize(planes).tolist() == [[[0, 0], [128, 255]], [[7, 7], [7, 7]]]


def test_photon_counts_are_the_quantiles_of_the_poisson_distribution() -> None:
    images = draw_images(1)
    u = ImageDraws(3, "x", [7]).uniform(3, 32, 32)
    expected = stats.poisson.ppf(u, images / 255 * 75) / 75
    result = shot_noise(images, 4, ImageDraws(3, "x", [7]))
    assert (result == (np.clip(expected, 0, 1) * 255).astype(np.uint8)).all()


def test_the_numbers_of_an_image_depend_on_its_key_only() -> None:
    both, second = ImageDraws(0, "a", [4, 9]), ImageDraws(0, "a", [9])
    for _ in range(2):
        assert (both.uniform(3, 5)[1] == second.uniform(3, 5)[0]).all()
    assert len(both) == 2
    first = ImageDraws(0, "a", [4]).uniform(8)
    assert (first != ImageDraws(1, "a", [4]).uniform(8)).all()
    assert (first != ImageDraws(0, "b", [4]).uniform(8)).all()


def test_the_numbers_have_their_distributions() -> None:
    draws = ImageDraws(0, "a", range(4))
    assert stats.kstest(draws.uniform(4000).ravel(), "uniform").pvalue > 0.001
    assert stats.kstest(draws.normal(2, 3, 4000).ravel(), "norm", (2, 3)).pvalue > 0.001
    assert set(draws.integers(3, 100).ravel().tolist()) == {0, 1, 2}
    between = draws.between(-2, 5, 1000)
    assert -2 < between.min() < -1.9 and 4.9 < between.max() < 5
