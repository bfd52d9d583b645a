"""Alignment, uniformity and similarities, against double loops over pairs."""

from __future__ import annotations

import itertools
import math
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biascon.errors import UsageError
from biascon.metrics import representation
from biascon.metrics.representation import alignment, class_alignment, similarities, uniformity

SIZES = st.tuples(st.integers(0, 14), st.integers(2, 5), st.integers(0, 999))


def features(n: int, d: int, seed: int, dtype: type = np.float64) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(n, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(dtype)


def columns(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([seed, 1])
    return rng.integers(0, 3, n), rng.integers(0, 3, n)


@pytest.fixture(params=[1, 3, 128])
def rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Blocks of few rows too: what is counted at their borders."""
    monkeypatch.setattr(representation, "_ROWS", request.param)
    return int(request.param)


class TestAlignment:
    @given(SIZES, st.sampled_from([1.0, 2.0, 3.5]))
    @settings(max_examples=30, deadline=None)
    def test_of_two_views(self, size: tuple[int, int, int], alpha: float) -> None:
        n, d, seed = size
        one, other = features(n, d, seed), features(n, d, seed + 1)
        distances = [math.dist(x, y) ** alpha for x, y in zip(one, other, strict=True)]
        found = alignment(one, other, alpha=alpha)
        assert found.n == n
        expected = sum(distances) / n if n else math.nan
        assert found.value == pytest.approx(expected, nan_ok=True)

    @pytest.mark.parametrize("alpha", [1.0, 2.0, 3.5])
    @pytest.mark.parametrize("n", [0, 1, 2, 13])
    def test_of_classes(self, rows: int, n: int, alpha: float) -> None:
        x, (labels, _) = features(n, 4, n), columns(n, n)
        distances = [
            math.dist(x[i], x[j]) ** alpha
            for i, j in itertools.combinations(range(n), 2)
            if labels[i] == labels[j]
        ]
        found = class_alignment(x, labels, alpha=alpha)
        assert found.n == len(distances)
        expected = sum(distances) / len(distances) if distances else math.nan
        assert found.value == pytest.approx(expected, nan_ok=True)

    def test_by_hand(self) -> None:
        x = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
        assert alignment(x, x) == representation.PairMean(0.0, 3)
        assert alignment(x[:2], x[1:]).value == pytest.approx(2.0)
        found = class_alignment(x, np.array([0, 1, 0]))
        assert (found.value, found.n) == (4.0, 1)

    def test_classes_of_one_image_have_no_pair(self) -> None:
        found = class_alignment(features(4, 3, 0), np.arange(4))
        assert math.isnan(found.value)
        assert found.n == 0


class TestUniformity:
    @pytest.mark.parametrize("t", [0.5, 2.0, 30.0])
    @pytest.mark.parametrize("n", [2, 3, 13])
    def test_against_a_double_loop(self, rows: int, n: int, t: float) -> None:
        x = features(n, 3, n)
        terms = [
            math.exp(-t * math.dist(x[i], x[j]) ** 2)
            for i, j in itertools.combinations(range(n), 2)
        ]
        found = uniformity(x, t=t)
        assert found.n == len(terms)
        assert found.value == pytest.approx(math.log(sum(terms) / len(terms)))

    def test_of_one_point_it_is_zero(self) -> None:
        assert uniformity(np.tile([[0.6, 0.8]], (9, 1))).value == pytest.approx(0.0, abs=1e-12)

    def test_of_two_opposite_points(self) -> None:
        x = np.array([[1.0, 0.0], [-1.0, 0.0]])
        assert uniformity(x).value == pytest.approx(-8.0)
        assert uniformity(x, t=1000.0).value == pytest.approx(-4000.0)  # exp(-4000) is 0

    def test_on_the_sphere_it_is_the_integral(self) -> None:
        """In 3 dimensions x.y is uniform in -1..1: log of (1 - exp(-4t)) / 4t."""
        found = uniformity(features(3000, 3, 0))
        assert found.value == pytest.approx(math.log((1 - math.exp(-8)) / 8), abs=0.005)

    @pytest.mark.parametrize("n", [0, 1])
    def test_without_a_pair_it_is_undefined(self, n: int) -> None:
        found = uniformity(features(n, 3, 0))
        assert math.isnan(found.value)
        assert found.n == 0


def naive(
    x: np.ndarray, labels: np.ndarray, bias: np.ndarray, view: np.ndarray | None
) -> dict[str, list[float]]:
    held: dict[str, list[float]] = {kind: [] for kind in representation.PAIRS}
    for i in range(len(x)):
        if view is not None:
            held["self"].append(float(x[i] @ view[i]))
        for j in range(i):
            if labels[i] != labels[j]:
                kind = "negative"
            else:
                kind = "same_bias" if bias[i] == bias[j] else "other_bias"
            held[kind].append(float(x[i] @ x[j]))
    return held


class TestSimilarities:
    @pytest.mark.parametrize("with_view", [True, False])
    @pytest.mark.parametrize("n", [0, 1, 2, 7, 40])
    def test_against_a_double_loop(self, rows: int, n: int, with_view: bool) -> None:
        x, (labels, bias) = features(n, 4, n), columns(n, n)
        view = features(n, 4, n + 1) if with_view else None
        found = similarities(x, labels, bias, other_view=view, bins=20)
        expected = naive(x, labels, bias, view)
        assert set(found) == set(expected)
        for kind, values in expected.items():
            mine = found[kind]
            assert mine.n == mine.counts.sum() == len(values), kind
            assert mine.counts.tolist() == np.histogram(values, mine.edges)[0].tolist(), kind
            mean = np.mean(values) if values else math.nan
            sd = np.std(values, ddof=1) if len(values) > 1 else math.nan
            assert (mine.mean, mine.sd) == pytest.approx((mean, sd), nan_ok=True), kind

    def test_by_hand(self) -> None:
        x = np.array([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
        found = similarities(x, np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), bins=4)
        assert found["same_bias"].counts.tolist() == [0, 0, 0, 1]  # 1 is in the last bin
        assert found["other_bias"].counts.tolist() == [2, 0, 0, 0]
        assert found["negative"].counts.tolist() == [0, 0, 3, 0]  # 0 opens the upper half
        assert found["self"].n == 0
        assert math.isnan(found["self"].mean)
        assert math.isnan(found["same_bias"].sd)  # one pair
        assert found["other_bias"].sd == 0.0

    @given(SIZES)
    @settings(max_examples=30, deadline=None)
    def test_the_order_of_the_rows_is_of_no_matter(self, size: tuple[int, int, int]) -> None:
        n, d, seed = size
        x, (labels, bias) = features(n, d, seed), columns(n, seed)
        order = np.random.default_rng(seed).permutation(n)
        before = similarities(x, labels, bias)
        after = similarities(x[order], labels[order], bias[order])
        for kind, one in before.items():
            assert after[kind].n == one.n
            assert after[kind].mean == pytest.approx(one.mean, nan_ok=True, abs=1e-12)
            assert after[kind].sd == pytest.approx(one.sd, nan_ok=True, abs=1e-12)

    def test_rounding_beyond_one_stays_in_the_last_bin(self) -> None:
        x = np.tile(features(1, 128, 0, np.float32) * np.float32(1.0004), (3, 1))
        zero = np.zeros(3, int)
        found = similarities(x, zero, zero, other_view=x, bins=10)
        assert found["same_bias"].counts[-1] == found["self"].counts[-1] == 3
        assert found["self"].mean == 1.0

    def test_single_precision(self) -> None:
        x, (labels, bias) = features(300, 128, 0), columns(300, 0)
        double, single = (
            similarities(x.astype(dtype), labels, bias) for dtype in (np.float64, np.float32)
        )
        for kind in ("same_bias", "other_bias", "negative"):
            assert single[kind].n == double[kind].n
            assert single[kind].mean == pytest.approx(double[kind].mean, abs=1e-7)
            assert single[kind].sd == pytest.approx(double[kind].sd, abs=1e-7)

    def test_a_tight_cluster_keeps_its_deviation(self) -> None:
        """Not lost as a difference of large sums."""
        rng = np.random.default_rng(0)
        x = np.array([1.0, 0, 0]) + 1e-4 * rng.normal(size=(200, 3))
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        zero = np.zeros(200, int)
        exact = np.std(naive(x, zero, zero, None)["same_bias"], ddof=1)
        assert similarities(x, zero, zero)["same_bias"].sd == pytest.approx(exact, rel=1e-4)


def test_many_rows_in_seconds_and_in_little_memory() -> None:
    """10,000 x 10,000 similarities of float32 alone would be 400 MB."""
    x = features(10_000, 128, 0, np.float32)
    rng = np.random.default_rng(0)
    labels, bias = rng.integers(0, 10, 10_000), rng.integers(0, 10, 10_000)
    tracemalloc.start()
    started = time.perf_counter()
    found = similarities(x, labels, bias)
    uniform = uniformity(x)
    seconds = time.perf_counter() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(kind.n for kind in found.values()) == uniform.n == 10_000 * 9_999 // 2
    assert peak < 100e6
    assert seconds < 60  # measured: about one


class TestRefused:
    x = features(3, 2, 0)

    @pytest.mark.parametrize(
        ("features", "message"),
        [
            (2 * features(3, 2, 0), r"a norm of 2 \(3 of 3 rows\)"),
            (np.full((1, 2), np.nan), "a norm of nan"),
            (np.ones(3), r"float features \(N, D\), but got float64 \(3,\)"),
            (np.eye(2, dtype=int), "float features"),
        ],
    )
    def test_features(self, features: np.ndarray, message: str) -> None:
        labels = np.zeros(len(features), int)
        for call in (
            lambda: alignment(features, features),
            lambda: class_alignment(features, labels),
            lambda: uniformity(features),
            lambda: similarities(features, labels, labels),
        ):
            with pytest.raises(UsageError, match=message):
                call()

    def test_columns(self) -> None:
        two, three = np.zeros(2, int), np.zeros(3, int)
        for call in (
            lambda: class_alignment(self.x, two),
            lambda: similarities(self.x, two, three),
            lambda: similarities(self.x, three, two),
        ):
            with pytest.raises(
                UsageError, match=r"3 values, one per row of the features, but got \(2,\)"
            ):
                call()

    def test_views(self) -> None:
        three = np.zeros(3, int)
        with pytest.raises(UsageError, match="two views of the same shape"):
            alignment(self.x, self.x[:2])
        with pytest.raises(UsageError, match="two views of the same shape"):
            similarities(self.x, three, three, other_view=self.x[:2])

    def test_parameters(self) -> None:
        three = np.zeros(3, int)
        with pytest.raises(UsageError, match="alpha above 0, but got 0"):
            alignment(self.x, self.x, alpha=0)
        with pytest.raises(UsageError, match="t above 0, but got -1"):
            uniformity(self.x, t=-1)
        with pytest.raises(UsageError, match="at least one bin, but got 0"):
            similarities(self.x, three, three, bins=0)
