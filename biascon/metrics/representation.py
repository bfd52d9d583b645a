"""The geometry of features: alignment, uniformity, and how similar which pairs of images are.

All are of unit features, exact over all pairs: rows are taken in blocks, so that memory grows with the
number of rows and not with its square. Sums are in float64; products of features are in the features'
own precision.

Alignment and uniformity: Wang and Isola, "Understanding contrastive representation learning through
alignment and uniformity on the hypersphere", ICML 2020.
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
_BLOCK = 2**20  # similarities at a time
_ROWS = 128
_UNIT = 1e-3


@dataclass(frozen=True)
class PairMean:
    """A mean over n pairs; NaN where there are none."""

    value: float
    n: int


def alignment(one: Array, other: Array, *, alpha: float = 2.0) -> PairMean:
    """Return the mean of |x - y|^alpha over the pairs of two views of one image; 0 is best.

    Args:
        one: ``(N, D)`` unit features of one view.
        other: ``(N, D)`` of the other, row by row.
        alpha: The exponent, above 0.

    Raises:
        UsageError: Features that are not unit vectors or do not fit, or another alpha.
    """
    _check_power("alpha", alpha)
    _check_unit(one)
    _check_unit(other)
    if one.shape != other.shape:
        raise UsageError(
            f"expected two views of the same shape, but got {one.shape}, {other.shape}"
        )
    squares = ((one.astype(np.float64) - other.astype(np.float64)) ** 2).sum(axis=1)
    return _mean(float((squares ** (alpha / 2)).sum()), len(one))


def class_alignment(features: Array, labels: Array, *, alpha: float = 2.0) -> PairMean:
    """Return the mean of |x - y|^alpha over all pairs of two images of one class.

    With the bias attribute in place of the labels: how close the images of one bias value are.

    Args:
        features: ``(N, D)`` unit features.
        labels: ``(N,)`` integers.
        alpha: The exponent, above 0.

    Raises:
        UsageError: Features that are not unit vectors or do not fit, or another alpha.
    """
    _check_power("alpha", alpha)
    _check_unit(features)
    _check_rows(features, labels)
    total, n = 0.0, 0
    for label in np.unique(labels):
        for similarities in _pairs(features[labels == label]):
            distances = _squared(similarities)
            total += float((distances ** (alpha / 2)).sum())
            n += similarities.size
    return _mean(total, n)


def uniformity(features: Array, *, t: float = 2.0) -> PairMean:
    """Return log mean exp(-t |x - y|^2) over all pairs of two images; lower is more uniform.

    It lies in -4t..0: 0 where all features are one point. The largest exponent is taken out of the
    mean, so that no t makes it the log of 0.

    Args:
        features: ``(N, D)`` unit features.
        t: The scale, above 0.

    Raises:
        UsageError: Features that are not unit vectors, or another t.
    """
    _check_power("t", t)
    _check_unit(features)
    largest, total, n = -math.inf, 0.0, 0
    for similarities in _pairs(features):
        exponents = -t * _squared(similarities)
        here = float(exponents.max())
        if here > largest:
            total *= math.exp(largest - here)
            largest = here
        total += float(np.exp(exponents - largest).sum())
        n += similarities.size
    return PairMean(largest + math.log(total / n) if n else math.nan, n)


@dataclass(frozen=True, eq=False)
class Similarities:
    """The cosine similarities of one kind of pairs.

    Attributes:
        counts: int64 ``(bins,)``: bin i is [-1 + 2i / bins, -1 + 2(i + 1) / bins), the last one closed.
        n: How many pairs.
        mean: Of the similarities themselves, not of the bins; NaN without pairs.
        sd: Their standard deviation, with n - 1 below; NaN with fewer than two pairs.
    """

    counts: npt.NDArray[np.int64]
    n: int
    mean: float
    sd: float

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """The edges of the bins, ``(bins + 1,)``."""
        return np.linspace(-1.0, 1.0, len(self.counts) + 1)


def similarities(
    features: Array,
    labels: Array,
    bias: Array,
    *,
    other_view: Array | None = None,
    bins: int = BINS,
) -> dict[str, Similarities]:
    """Return the similarities of every kind of pair of images, each unordered pair once.

    ``self``: two views of one image (no pairs without ``other_view``). Context positives, two images
    of one label: ``same_bias`` and ``other_bias``. ``negative``: two images of different labels. An
    encoder that leans on the bias has the first of the two context positives far to the right of
    the second.

    Args:
        features: ``(N, D)`` unit features.
        labels: ``(N,)`` integers.
        bias: ``(N,)`` integers.
        other_view: ``(N, D)`` unit features of another view of the same images.
        bins: How many bins of -1..1.

    Raises:
        UsageError: Features that are not unit vectors, or columns that do not fit.
    """
    if bins < 1:
        raise UsageError(f"expected at least one bin, but got {bins}")
    _check_unit(features)
    _check_rows(features, labels)
    _check_rows(features, bias)
    held = {kind: _Moments(bins) for kind in PAIRS}
    if other_view is not None:
        held["self"] = _of_views(features, other_view, bins)
    order = np.lexsort((bias, labels))  # a label's rows lie together, and in it a bias value's
    x, y, b = features[order], labels[order], bias[order]
    n = len(x)
    inner = 1 + np.flatnonzero((y[1:] != y[:-1]) | (b[1:] != b[:-1]))  # where a group ends
    for start, end in itertools.pairwise([0, *inner.tolist(), n] if n else []):
        of_label = int(np.searchsorted(y, y[start], side="right"))
        for first, last in _blocks(start, end, n):
            # The columns from the block's own rows on: its group, then its label, then the others.
            products = x[first:last] @ x[first:].T
            own = products[:, : last - first]
            held["same_bias"].add(own[np.triu_indices(last - first, 1)])
            held["same_bias"].add(products[:, last - first : end - first])
            held["other_bias"].add(products[:, end - first : of_label - first])
            held["negative"].add(products[:, of_label - first :])
    return {kind: moments.result() for kind, moments in held.items()}


def two_view_similarities(first: Array, second: Array, *, bins: int = BINS) -> Similarities:
    """Return the similarities of two views of each image: the ``self`` of ``similarities`` alone.

    Args:
        first: ``(N, D)`` unit features.
        second: ``(N, D)`` unit features of another view of the same images.
        bins: How many bins of -1..1.

    Raises:
        UsageError: Features that are not unit vectors, or two that do not fit.
    """
    _check_unit(first)
    return _of_views(first, second, bins).result()


def _of_views(first: Array, second: Array, bins: int) -> _Moments:
    _check_unit(second)
    if second.shape != first.shape:
        got = f"{first.shape}, {second.shape}"
        raise UsageError(f"expected two views of the same shape, but got {got}")
    held = _Moments(bins)
    held.add(np.einsum("nd,nd->n", first, second))
    return held


class _Moments:
    """Histogram, mean and squared deviations, merged as Chan, Golub and LeVeque do."""

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
        s = np.clip(values.reshape(-1).astype(np.float64), -1.0, 1.0)  # 1 + 1e-7 is rounding
        index = np.minimum(((s + 1.0) * (bins / 2)).astype(np.intp), bins - 1)
        self.counts += np.bincount(index, minlength=bins)
        mean = float(s.mean())
        s -= mean
        n, shift = self.n + s.size, mean - self.mean
        self.squares += float(s @ s) + shift * shift * self.n * s.size / n
        self.mean += shift * s.size / n
        self.n = n

    def result(self) -> Similarities:
        """What was added so far."""
        mean = self.mean if self.n else math.nan
        sd = math.sqrt(self.squares / (self.n - 1)) if self.n > 1 else math.nan
        return Similarities(self.counts, self.n, mean, sd)


def _pairs(features: Array) -> Iterator[Array]:
    """Yield the similarities of all pairs of two rows, each once, in flat pieces."""
    n = len(features)
    for first, last in _blocks(0, n, n):
        products = features[first:last] @ features[first:].T
        rows = last - first
        yield from (
            piece
            for piece in (products[:, :rows][np.triu_indices(rows, 1)], products[:, rows:].ravel())
            if piece.size
        )


def _blocks(start: int, end: int, n: int) -> Iterator[tuple[int, int]]:
    rows = min(_ROWS, max(1, _BLOCK // max(n, 1)))
    for first in range(start, end, rows):
        yield first, min(first + rows, end)


def _squared(similarity: Array) -> npt.NDArray[np.float64]:
    """|x - y|^2 = 2 - 2 x.y of unit vectors, not below 0."""
    distances: npt.NDArray[np.float64] = np.maximum(2.0 - 2.0 * similarity.astype(np.float64), 0.0)
    return distances


def _mean(total: float, n: int) -> PairMean:
    return PairMean(total / n if n else math.nan, n)


def _check_power(name: str, value: float) -> None:
    if not value > 0:
        raise UsageError(f"expected {name} above 0, but got {value}")


def _check_rows(features: Array, column: Array) -> None:
    if column.shape != features.shape[:1]:
        raise UsageError(f"expected {len(features)} values, one a row, but got {column.shape}")


def _check_unit(features: Array) -> None:
    if features.ndim != 2 or not np.issubdtype(features.dtype, np.floating):
        got = f"{features.dtype} {features.shape}"
        raise UsageError(f"expected float features (N, D), but got {got}")
    norms = np.sqrt(np.einsum("nd,nd->n", features, features, dtype=np.float64))
    wrong = ~(np.abs(norms - 1) <= _UNIT)  # NaN too
    if wrong.any():
        raise UsageError(
            f"expected unit features, but got a norm of {norms[wrong][0]:.4g} "
            f"({wrong.sum()} of {len(features)} rows); divide each row by its norm"
        )
