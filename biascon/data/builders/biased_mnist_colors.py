"""Coloring of digits: which image gets which color, and the pixels.

The n images of a class are shuffled. The first int(n * rho) images get the color of their class. The other L
images are cut into consecutive chunks of ceil(L / n_confusing) images. The chunks get the n_confusing next
colors, in shuffled order, so that the last colors may get no image. This is the published code of Bahng et
al., Learning De-biased Representations with Biased Representations, ICML 2020. FB-Biased-MNIST (Sarridis et
al., arXiv 2408.11439) applies the rule twice, with independent shuffles: to the background and to the digit.
"""

from __future__ import annotations

import math

import numpy as np

from biascon.data.builders.biased_mnist_spec import FOREGROUND_COLORS, PALETTES, BiasedMNISTSpec
from biascon.utils.seeds import permutation
from biascon.utils.types import Array


def compute_chunk_sizes(n: int, n_confusing: int, leftover: str = "chunk") -> list[int]:
    """Divide the ``n`` bias-conflicting images of a class among the other colors; return their numbers.

    >>> compute_chunk_sizes(19, 9)
    [3, 3, 3, 3, 3, 3, 1, 0, 0]
    >>> compute_chunk_sizes(19, 9, "even")
    [3, 2, 2, 2, 2, 2, 2, 2, 2]
    """
    if leftover == "even":
        return [n // n_confusing + (k < n % n_confusing) for k in range(n_confusing)]
    size = math.ceil(n / n_confusing)
    return [max(0, min(size, n - k * size)) for k in range(n_confusing)]


def assign_colors(labels: Array, spec: BiasedMNISTSpec, purpose: str) -> Array:
    """Assign a color to each digit, as the docstring of this module defines.

    A class that is not biased (``spec.biased_classes``) is colored by ``spec.unbiased()``.

    Args:
        labels: int64 ``(N,)`` in 0..9.
        spec: The settings.
        purpose: Purpose of the random generator: the name of the split.

    Returns:
        int64 ``(N,)``: the index of the color in the palette.
    """
    bias = np.empty(len(labels), dtype=np.int64)
    for label in range(10):
        rule = spec if spec.is_biased(label) else spec.unbiased()
        rows = np.flatnonzero(labels == label)
        rows = rows[permutation(len(rows), spec.seed, f"{purpose}/digits/{label}")]
        n_aligned = int(len(rows) * rule.rho)
        bias[rows[:n_aligned]] = label
        others = (label + 1 + np.arange(rule.n_confusing)) % 10
        others = others[permutation(rule.n_confusing, spec.seed, f"{purpose}/colours/{label}")]
        sizes = compute_chunk_sizes(len(rows) - n_aligned, rule.n_confusing, rule.leftover)
        bias[rows[n_aligned:]] = np.repeat(others, sizes)
    return bias


def assign_foreground(labels: Array, spec: BiasedMNISTSpec, purpose: str) -> Array:
    """Assign a foreground value to each digit of an FB-Biased-MNIST.

    The rule is that of ``assign_colors`` with ``spec.foreground_rho``. The shuffles have their own purposes,
    so that foreground and background are independent within a class.

    Args:
        labels: int64 ``(N,)`` in 0..9.
        spec: The settings.
        purpose: The name of the split.

    Returns:
        int64 ``(N,)``. Value l is the value of class l. Its color is ``FOREGROUND_COLORS[l]``, the color
        (l + 1) % 10 of palette 2.

    Raises:
        UsageError: ``spec.foreground_rho`` is None.
    """
    return assign_colors(labels, spec.foreground(), f"{purpose}/foreground")


def color_digits(images: Array, bias: Array, spec: BiasedMNISTSpec) -> Array:
    """Color the digits or their background. Every pixel above 0 belongs to the digit.

    Args:
        images: uint8 ``(N, H, W)``.
        bias: int64 ``(N,)``: the index of the color in the palette.
        spec: The settings.

    Returns:
        uint8 ``(N, 3, H, W)``.
    """
    palette = np.array(PALETTES[spec.variant], dtype=np.uint8)
    ink = np.where(images > 0, np.uint8(255), np.uint8(0))[:, None]  # (N, 1, H, W)
    color = palette[bias][:, :, None, None]  # (N, 3, 1, 1)
    # 255 | x = 255 and 255 & x = x, so one operation paints both the digit and the background.
    return ink | color if spec.color == "background" else ink & color


def color_both(images: Array, background: Array, foreground: Array, spec: BiasedMNISTSpec) -> Array:
    """Color the background and the digits. Every pixel above 0 belongs to the digit.

    Args:
        images: uint8 ``(N, H, W)``.
        background: int64 ``(N,)``: the index of the color in the palette of the variant.
        foreground: int64 ``(N,)``: the foreground value, see ``assign_foreground``.
        spec: The settings.

    Returns:
        uint8 ``(N, 3, H, W)``.
    """
    ground = np.array(PALETTES[spec.variant], dtype=np.uint8)[background][:, :, None, None]
    digit = np.array(FOREGROUND_COLORS, dtype=np.uint8)[foreground][:, :, None, None]
    return np.where((images > 0)[:, None], digit, ground)
