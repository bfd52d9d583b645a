"""Alignment, uniformity and similarities: comparison with double loops over pairs of images."""

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

# (images, dimensions, seed)
SIZES = st.tuples(st.integers(0, 14), st.integers(2, 5), st.integers(0, 999))


def draw_features(n: int, d: int, seed: int, dtype: type = np.float64) -> np.ndarray:
    """Return unit features ``(n, d)``, uniform on the sphere."""
    x = np.random.default_rng(seed).normal(size=(n, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(dtype)


def draw_columns(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and bias values ``(n,)`` in 0..2."""
    rng = np.random.default_rng([seed, 1])
    return rng.integers(0, 3, n), rng.integers(0, 3, n)


@pytest.fixture(params=[1, 3, 128])
def block_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Set the rows per block, also to few rows: pairs at the borders of blocks must count once."""
    monkeypatch.setattr(representation, "_ROWS", request.param)
    return int(request.param)


class TestAlignment:
    @given(SIZES, st.sampled_from([1.0, 2.0, 3.5]))
    @settings(max_examples=30, deadline=None)
    def test_alignment_of_views_equals_a_loop(
        self, size: tuple[int, int, int], alpha: float
    ) -> None:
        n, d, seed = size
        first, second = draw_features(n, d, seed), draw_features(n, d, seed + 1)
        distances = [math.dist(x, y) ** alpha for x, y in zip(first, second, strict=True)]
        result = alignment(first, second, alpha=alpha)
        assert result.n == n
        expected = sum(distances) / n if n else math.nan
        assert result.value == pytest.approx(expected, nan_ok=True)

    @pytest.mark.parametrize("alpha", [1.0, 2.0, 3.5])
    @pytest.mark.parametrize("n", [0, 1, 2, 13])
    def test_alignment_of_classes_equals_a_double_loop(
        self, block_rows: int, n: int, alpha: float
    ) -> None:
        x, (labels, _) = draw_features(n, 4, n), draw_columns(n, n)
        distances = [
            math.dist(x[i], x[j]) ** alpha
            for i, j in itertools.combinations(range(n), 2)
            if labels[i] == labels[j]
        ]
        result = class_alignment(x, labels, alpha=alpha)
        assert result.n == len(distances)
        expected = sum(distances) / len(distances) if distances else math.nan
        assert result.value == pytest.approx(expected, nan_ok=True)

    def test_alignment_equals_a_hand_worked_example(self) -> None:
        x = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
        assert alignment(x, x) == representation.PairMean(0.0, 3)
        assert alignment(x[:2], x[1:]).value == pytest.approx(2.0)
        result = class_alignment(x, np.array([0, 1, 0]))
        assert (result.value, result.n) == (4.0, 1)

    def test_classes_of_one_image_have_no_pair(self) -> None:
        result = class_alignment(draw_features(4, 3, 0), np.arange(4))
        assert math.isnan(result.value)
        assert result.n == 0


class TestUniformity:
    @pytest.mark.parametrize("t", [0.5, 2.0, 30.0])
    @pytest.mark.parametrize("n", [2, 3, 13])
    def test_uniformity_equals_a_double_loop(self, block_rows: int, n: int, t: float) -> None:
        x = draw_features(n, 3, n)
        terms = [
            math.exp(-t * math.dist(x[i], x[j]) ** 2)
            for i, j in itertools.combinations(range(n), 2)
        ]
        result = uniformity(x, t=t)
        assert result.n == len(terms)
        assert result.value == pytest.approx(math.log(sum(terms) / len(terms)))

    def test_uniformity_of_equal_features_is_zero(self) -> None:
        assert uniformity(np.tile([[0.6, 0.8]], (9, 1))).value == pytest.approx(0.0, abs=1e-12)

    def test_uniformity_of_two_opposite_points_does_not_underflow(self) -> None:
        x = np.array([[1.0, 0.0], [-1.0, 0.0]])
        assert uniformity(x).value == pytest.approx(-8.0)
        assert uniformity(x, t=1000.0).value == pytest.approx(-4000.0)  # exp(-4000) is 0

    def test_uniformity_on_the_sphere_equals_its_integral(self) -> None:
        """In 3 dimensions x.y is uniform in -1..1. The integral is log((1 - exp(-4t)) / 4t)."""
        result = uniformity(draw_features(3000, 3, 0))
        assert result.value == pytest.approx(math.log((1 - math.exp(-8)) / 8), abs=0.005)

    @pytest.mark.parametrize("n", [0, 1])
    def test_uniformity_without_a_pair_is_nan(self, n: int) -> None:
        result = uniformity(draw_features(n, 3, 0))
        assert math.isnan(result.value)
        assert result.n == 0


def similarities_with_loops(
    x: np.ndarray, labels: np.ndarray, bias: np.ndarray, view: np.ndarray | None
) -> dict[str, list[float]]:
    """Return the similarities of each kind of pair, by a double loop over images."""
    values: dict[str, list[float]] = {kind: [] for kind in representation.PAIRS}
    for i in range(len(x)):
        if view is not None:
            values["self"].append(float(x[i] @ view[i]))
        for j in range(i):
            if labels[i] != labels[j]:
                kind = "negative"
            else:
                kind = "same_bias" if bias[i] == bias[j] else "other_bias"
            values[kind].append(float(x[i] @ x[j]))
    return values


class TestSimilarities:
    @pytest.mark.parametrize("with_view", [True, False])
    @pytest.mark.parametrize("n", [0, 1, 2, 7, 40])
    def test_similarities_equal_a_double_loop(
        self, block_rows: int, n: int, with_view: bool
    ) -> None:
        x, (labels, bias) = draw_features(n, 4, n), draw_columns(n, n)
        view = draw_features(n, 4, n + 1) if with_view else None
        by_kind = similarities(x, labels, bias, other_view=view, bins=20)
        expected = similarities_with_loops(x, labels, bias, view)
        assert set(by_kind) == set(expected)
        for kind, values in expected.items():
            result = by_kind[kind]
            assert result.n == result.counts.sum() == len(values), kind
            assert result.counts.tolist() == np.histogram(values, result.edges)[0].tolist(), kind
            mean = np.mean(values) if values else math.nan
            sd = np.std(values, ddof=1) if len(values) > 1 else math.nan
            assert (result.mean, result.sd) == pytest.approx((mean, sd), nan_ok=True), kind

    def test_similarities_equal_a_hand_worked_example(self) -> None:
        x = np.array([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
        by_kind = similarities(x, np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), bins=4)
        # A similarity of 1 is in the last bin.
        assert by_kind["same_bias"].counts.tolist() == [0, 0, 0, 1]
        assert by_kind["other_bias"].counts.tolist() == [2, 0, 0, 0]
        assert by_kind["negative"].counts.tolist() == [0, 0, 3, 0]  # 0 is in the third of four bins
        assert by_kind["self"].n == 0
        assert math.isnan(by_kind["self"].mean)
        assert math.isnan(by_kind["same_bias"].sd)  # one pair
        assert by_kind["other_bias"].sd == 0.0

    @given(SIZES)
    @settings(max_examples=30, deadline=None)
    def test_permuting_the_rows_changes_no_result(self, size: tuple[int, int, int]) -> None:
        n, d, seed = size
        x, (labels, bias) = draw_features(n, d, seed), draw_columns(n, seed)
        order = np.random.default_rng(seed).permutation(n)
        before = similarities(x, labels, bias)
        after = similarities(x[order], labels[order], bias[order])
        for kind, expected in before.items():
            assert after[kind].n == expected.n
            assert after[kind].mean == pytest.approx(expected.mean, nan_ok=True, abs=1e-12)
            assert after[kind].sd == pytest.approx(expected.sd, nan_ok=True, abs=1e-12)

    def test_a_similarity_above_one_is_in_the_last_bin(self) -> None:
        x = np.tile(draw_features(1, 128, 0, np.float32) * np.float32(1.0004), (3, 1))
        zero = np.zeros(3, int)
        by_kind = similarities(x, zero, zero, other_view=x, bins=10)
        assert by_kind["same_bias"].counts[-1] == by_kind["self"].counts[-1] == 3
        assert by_kind["self"].mean == 1.0

    def test_single_precision_features_give_the_same_results(self) -> None:
        x, (labels, bias) = draw_features(300, 128, 0), draw_columns(300, 0)
        double, single = (
            similarities(x.astype(dtype), labels, bias) for dtype in (np.float64, np.float32)
        )
        for kind in ("same_bias", "other_bias", "negative"):
            assert single[kind].n == double[kind].n
            assert single[kind].mean == pytest.approx(double[kind].mean, abs=1e-7)
            assert single[kind].sd == pytest.approx(double[kind].sd, abs=1e-7)

    def test_standard_deviation_of_a_tight_cluster_is_accurate(self) -> None:
        """A difference of large sums would lose the deviation by rounding."""
        rng = np.random.default_rng(0)
        x = np.array([1.0, 0, 0]) + 1e-4 * rng.normal(size=(200, 3))
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        zero = np.zeros(200, int)
        exact = np.std(similarities_with_loops(x, zero, zero, None)["same_bias"], ddof=1)
        assert similarities(x, zero, zero)["same_bias"].sd == pytest.approx(exact, rel=1e-4)


def test_ten_thousand_rows_take_seconds_and_little_memory() -> None:
    """A float32 array of all 10,000 x 10,000 similarities would need 400 MB."""
    x = draw_features(10_000, 128, 0, np.float32)
    rng = np.random.default_rng(0)
    labels, bias = rng.integers(0, 10, 10_000), rng.integers(0, 10, 10_000)
    tracemalloc.start()
    started = time.perf_counter()
    by_kind = similarities(x, labels, bias)
    uniformity_result = uniformity(x)
    seconds = time.perf_counter() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    n_pairs = sum(result.n for result in by_kind.values())
    assert n_pairs == uniformity_result.n == 10_000 * 9_999 // 2
    assert peak < 100e6
    assert seconds < 60  # measured: about one


class TestRefused:
    x = draw_features(3, 2, 0)

    @pytest.mark.parametrize(
        ("features", "message"),
        [
            (2 * draw_features(3, 2, 0), r"a norm of 2 \(3 of 3 rows\)"),
            (np.full((1, 2), np.nan), "a norm of nan"),
            (np.ones(3), r"float features \(N, D\), but got float64 \(3,\)"),
            (np.eye(2, dtype=int), "float features"),
        ],
    )
    def test_features_without_unit_norm_are_an_error(
        self, features: np.ndarray, message: str
    ) -> None:
        labels = np.zeros(len(features), int)
        for call in (
            lambda: alignment(features, features),
            lambda: class_alignment(features, labels),
            lambda: uniformity(features),
            lambda: similarities(features, labels, labels),
        ):
            with pytest.raises(UsageError, match=message):
                call()

    def test_columns_of_wrong_length_are_an_error(self) -> None:
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

    def test_views_of_different_shape_are_an_error(self) -> None:
        three = np.zeros(3, int)
        with pytest.raises(UsageError, match="two views of the same shape"):
            alignment(self.x, self.x[:2])
        with pytest.raises(UsageError, match="two views of the same shape"):
            similarities(self.x, three, three, other_view=self.x[:2])

    def test_parameters_out_of_range_are_an_error(self) -> None:
        three = np.zeros(3, int)
        with pytest.raises(UsageError, match="alpha above 0, but got 0"):
            alignment(self.x, self.x, alpha=0)
        with pytest.raises(UsageError, match="t above 0, but got -1"):
            uniformity(self.x, t=-1)
        with pytest.raises(UsageError, match="at least one bin, but got 0"):
            similarities(self.x, three, three, bins=0)
