"""Feature metrics: alignment, uniformity, and cosine similarities of pairs of images.

Alignment and uniformity are from Wang and Isola, "Understanding contrastive representation learning
through alignment and uniformity on the hypersphere", ICML 2020.

All functions take unit features ``(N, D)`` and are exact over all pairs. Pairs are computed in blocks of
rows, so memory is linear in N. Sums are in float64. Products of features are in the dtype of the features.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biascon.errors import UsageError
from biascon.utils.types import Array

PAIRS = ("self", "same_bias", "other_bias", "negative")
BINS = 200
_BLOCK = 2**20  # maximum number of similarities per block
_ROWS = 128  # maximum number of rows per block
_UNIT = 1e-3  # tolerance of the norm of a unit feature


@dataclass(frozen=True)
class PairMean:
    """A metric over pairs of images.

    Attributes:
        value: The metric, NaN for n = 0.
        n: The number of pairs.
    """

    value: float
    n: int


def alignment(first: Array, second: Array, *, alpha: float = 2.0) -> PairMean:
    """Return the alignment of two views of the same images: the mean of |x - y|^alpha.

    The mean is over the N pairs (x, y) of two views of one image. The best value is 0.

    Args:
        first: float ``(N, D)``, unit features of the first view.
        second: float ``(N, D)``, unit features of the second view, in the same order of images.
        alpha: The exponent, above 0.

    Raises:
        UsageError: The features are not unit vectors, the shapes differ, or alpha is not above 0.
    """
    _check_positive("alpha", alpha)
    _check_unit(first)
    _check_unit(second)
    _check_same_shape(first, second)
    squares = ((first.astype(np.float64) - second.astype(np.float64)) ** 2).sum(axis=1)
    return _pair_mean(float((squares ** (alpha / 2)).sum()), len(first))


def class_alignment(features: Array, labels: Array, *, alpha: float = 2.0) -> PairMean:
    """Return the alignment of classes: the mean of |x - y|^alpha over all pairs of one class.

    Each unordered pair of two images with the same label counts once. With bias values as ``labels``, the
    result is the alignment of the groups.

    Args:
        features: float ``(N, D)``, unit features.
        labels: int ``(N,)``.
        alpha: The exponent, above 0.

    Raises:
        UsageError: The features are not unit vectors, ``labels`` does not have N values, or alpha is not
            above 0.
    """
    _check_positive("alpha", alpha)
    _check_unit(features)
    _check_rows(features, labels)
    total, n = 0.0, 0
    for label in np.unique(labels):
        for pair_similarities in _iter_pairs(features[labels == label]):
            squares = _squared_distance(pair_similarities)
            total += float((squares ** (alpha / 2)).sum())
            n += pair_similarities.size
    return _pair_mean(total, n)


def uniformity(features: Array, *, t: float = 2.0) -> PairMean:
    """Return the uniformity of features: log of the mean of exp(-t |x - y|^2).

    The mean is over all unordered pairs of two images. The value lies in -4t..0. A lower value means more
    uniform features; it is 0 where all features are equal.

    Args:
        features: float ``(N, D)``, unit features.
        t: The scale, above 0.

    Raises:
        UsageError: The features are not unit vectors, or t is not above 0.
    """
    _check_positive("t", t)
    _check_unit(features)
    # Log-sum-exp: the largest exponent is subtracted, so that a large t does not give log(0).
    largest, total, n = -math.inf, 0.0, 0
    for pair_similarities in _iter_pairs(features):
        exponents = -t * _squared_distance(pair_similarities)
        block_largest = float(exponents.max())
        if block_largest > largest:
            total *= math.exp(largest - block_largest)
            largest = block_largest
        total += float(np.exp(exponents - largest).sum())
        n += pair_similarities.size
    return PairMean(largest + math.log(total / n) if n else math.nan, n)


@dataclass(frozen=True, eq=False)
class Similarities:
    """Histogram, mean and standard deviation of the cosine similarities of one kind of pairs.

    Attributes:
        counts: int64 ``(bins,)``, the number of pairs in each bin. Bin i is
            ``[-1 + 2i / bins, -1 + 2(i + 1) / bins)``; the last bin also contains 1.
        n: The number of pairs.
        mean: The mean similarity (exact, not computed from the bins), NaN without pairs.
        sd: The sample standard deviation (divisor n - 1), NaN with fewer than two pairs.
    """

    counts: npt.NDArray[np.int64]
    n: int
    mean: float
    sd: float

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """The edges of the bins, float64 ``(bins + 1,)``."""
        return np.linspace(-1.0, 1.0, len(self.counts) + 1)


def similarities(
    features: Array,
    labels: Array,
    bias: Array,
    *,
    other_view: Array | None = None,
    bins: int = BINS,
) -> dict[str, Similarities]:
    """Return the cosine similarities of every kind of pair of images.

    Each unordered pair counts once. The kinds are:

    - ``"self"``: two views of one image; no pairs without ``other_view``
    - ``"same_bias"``: two images with the same label and the same bias value
    - ``"other_bias"``: two images with the same label and different bias values
    - ``"negative"``: two images with different labels

    If the encoder relies on the bias, the similarities of ``"other_bias"`` are lower than those of
    ``"same_bias"``.

    Args:
        features: float ``(N, D)``, unit features.
        labels: int ``(N,)``.
        bias: int ``(N,)``.
        other_view: float ``(N, D)``, unit features of another view of the same images.
        bins: The number of histogram bins of -1..1.

    Raises:
        UsageError: The features are not unit vectors, the shapes do not fit together, or ``bins`` is below 1.
    """
    if bins < 1:
        raise UsageError(f"expected at least one bin, but got {bins}")
    _check_unit(features)
    _check_rows(features, labels)
    _check_rows(features, bias)
    moments = {kind: _Moments(bins) for kind in PAIRS}
    if other_view is not None:
        moments["self"] = _two_view_moments(features, other_view, bins)
    # Sorted rows: a label is one range, and within it a cell (label, bias) is one range.
    order = np.lexsort((bias, labels))
    x, y, b = features[order], labels[order], bias[order]
    n = len(x)
    cell_starts = 1 + np.flatnonzero((y[1:] != y[:-1]) | (b[1:] != b[:-1]))
    for start, end in itertools.pairwise([0, *cell_starts.tolist(), n] if n else []):
        label_end = int(np.searchsorted(y, y[start], side="right"))
        for first, last in _iter_blocks(start, end, n):
            # The columns start at the first row of the block: the rest of its cell, then the rest of
            # its label, then all later labels.
            products = x[first:last] @ x[first:].T
            within_block = products[:, : last - first]
            moments["same_bias"].add(within_block[np.triu_indices(last - first, 1)])
            moments["same_bias"].add(products[:, last - first : end - first])
            moments["other_bias"].add(products[:, end - first : label_end - first])
            moments["negative"].add(products[:, label_end - first :])
    return {kind: kind_moments.result() for kind, kind_moments in moments.items()}


def two_view_similarities(first: Array, second: Array, *, bins: int = BINS) -> Similarities:
    """Return the cosine similarities of two views of each image: the kind ``"self"`` of ``similarities``.

    Args:
        first: float ``(N, D)``, unit features of the first view.
        second: float ``(N, D)``, unit features of the second view, in the same order of images.
        bins: The number of histogram bins of -1..1.

    Raises:
        UsageError: The features are not unit vectors, or the shapes differ.
    """
    _check_unit(first)
    return _two_view_moments(first, second, bins).result()


def _two_view_moments(first: Array, second: Array, bins: int) -> _Moments:
    _check_unit(second)
    _check_same_shape(first, second)
    moments = _Moments(bins)
    moments.add(np.einsum("nd,nd->n", first, second))
    return moments


class _Moments:
    """Histogram, mean and sum of squared deviations of similarities that are added in blocks.

    The update is that of Chan, Golub and LeVeque, The American Statistician 37, 1983. It does not lose
    precision where the deviations are much smaller than the mean.
    """

    def __init__(self, bins: int) -> None:
        self.counts = np.zeros(bins, np.int64)
        self.n = 0
        self.mean = 0.0
        self.squares = 0.0

    def add(self, values: Array) -> None:
        """Add similarities of any shape."""
        if not values.size:
            return
        bins = len(self.counts)
        # Rounding errors make similarities slightly larger than 1.
        clipped = np.clip(values.reshape(-1).astype(np.float64), -1.0, 1.0)
        index = np.minimum(((clipped + 1.0) * (bins / 2)).astype(np.intp), bins - 1)
        self.counts += np.bincount(index, minlength=bins)
        mean = float(clipped.mean())
        deviations = clipped - mean
        n, shift = self.n + clipped.size, mean - self.mean
        self.squares += float(deviations @ deviations) + shift * shift * self.n * clipped.size / n
        self.mean += shift * clipped.size / n
        self.n = n

    def result(self) -> Similarities:
        """Return the statistics of all similarities that were added."""
        mean = self.mean if self.n else math.nan
        sd = math.sqrt(self.squares / (self.n - 1)) if self.n > 1 else math.nan
        return Similarities(self.counts, self.n, mean, sd)


def _iter_pairs(features: Array) -> Iterator[Array]:
    """Yield the similarities of all unordered pairs of two rows, in one-dimensional blocks."""
    n = len(features)
    for first, last in _iter_blocks(0, n, n):
        products = features[first:last] @ features[first:].T
        rows = last - first
        within_block, beyond_block = products[:, :rows], products[:, rows:]
        for block in (within_block[np.triu_indices(rows, 1)], beyond_block.ravel()):
            if block.size:
                yield block


def _iter_blocks(start: int, end: int, n: int) -> Iterator[tuple[int, int]]:
    """Yield ranges (first, last) of rows that cover start..end; a row has up to n similarities."""
    rows = min(_ROWS, max(1, _BLOCK // max(n, 1)))
    for first in range(start, end, rows):
        yield first, min(first + rows, end)


def _squared_distance(similarity: Array) -> npt.NDArray[np.float64]:
    """Return |x - y|^2 = 2 - 2 x.y of unit vectors, at least 0."""
    squares: npt.NDArray[np.float64] = np.maximum(2.0 - 2.0 * similarity.astype(np.float64), 0.0)
    return squares


def _pair_mean(total: float, n: int) -> PairMean:
    return PairMean(total / n if n else math.nan, n)


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise UsageError(f"expected {name} above 0, but got {value}")


def _check_rows(features: Array, column: Array) -> None:
    """Check that a column has one value per row of the features."""
    if column.shape != features.shape[:1]:
        raise UsageError(
            f"expected {len(features)} values, one per row of the features, but got {column.shape}"
        )


def _check_same_shape(first: Array, second: Array) -> None:
    if first.shape != second.shape:
        raise UsageError(
            f"expected two views of the same shape, but got {first.shape} and {second.shape}"
        )


def _check_unit(features: Array) -> None:
    """Check that the features are a float array ``(N, D)`` of unit vectors."""
    if features.ndim != 2 or not np.issubdtype(features.dtype, np.floating):
        raise UsageError(
            f"expected float features (N, D), but got {features.dtype} {features.shape}"
        )
    norms = np.sqrt(np.einsum("nd,nd->n", features, features, dtype=np.float64))
    is_wrong = ~(np.abs(norms - 1) <= _UNIT)  # also True for NaN
    if is_wrong.any():
        raise UsageError(
            f"expected unit features, but got a norm of {norms[is_wrong][0]:.4g} "
            f"({is_wrong.sum()} of {len(features)} rows); divide each row by its norm"
        )
