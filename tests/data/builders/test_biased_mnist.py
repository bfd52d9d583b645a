"""BiasedMNIST: published counts, colors, splits and settings."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biascon.data.builders.biased_mnist import (
    LEFTOVERS,
    VAL_PROTOCOLS,
    BiasedMNISTSpec,
    assign_colors,
    build_splits,
    color_digits,
    compute_chunk_sizes,
    describe_biased_mnist,
)
from biascon.data.builders.mnist_source import Digits, find_digits
from biascon.errors import DataError, UsageError
from biascon.utils.seeds import permutation

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "bmnist_counts.json").read_text())
CASES = [(part, rho) for part, table in GOLDEN.items() for rho in table]
SIZES = {
    "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
}


def shuffled_labels(part: str) -> np.ndarray:
    labels = np.repeat(np.arange(10), SIZES[part])
    return labels[permutation(len(labels), 1, part)]


def cells(labels: np.ndarray, bias: np.ndarray) -> np.ndarray:
    table = np.zeros((10, 10), dtype=int)
    np.add.at(table, (labels, bias), 1)
    return table


def check_counts(table: np.ndarray, golden: dict[str, Any]) -> None:
    aligned = np.diag(table)
    assert aligned.tolist() == golden["aligned"]
    assert (table.sum(axis=1) - aligned).tolist() == golden["conflicting"]
    assert aligned.sum() == golden["total_aligned"]
    assert table.sum() - aligned.sum() == golden["total_conflicting"]
    off = [[int(n) for c, n in enumerate(row) if c != y] for y, row in enumerate(table)]
    assert [sorted(n for n in row if n) for row in off] == [sorted(c) for c in golden["chunks"]]
    assert sum(row.count(0) for row in off) == golden["empty_off_diagonal_cells"]


class TestCounts:
    @pytest.mark.parametrize("seed", [0, 3])
    @pytest.mark.parametrize(("part", "rho"), CASES)
    def test_counts_equal_the_published_table(self, part: str, rho: str, seed: int) -> None:
        labels = shuffled_labels(part)
        spec = BiasedMNISTSpec(float(rho), seed=seed)
        bias = assign_colors(labels, spec, part)
        check_counts(cells(labels, bias), GOLDEN[part][rho])

    @pytest.mark.parametrize(("part", "rho"), CASES)
    def test_chunks_are_consecutive_runs_in_the_published_order(self, part: str, rho: str) -> None:
        labels, spec = shuffled_labels(part), BiasedMNISTSpec(float(rho), seed=2)
        bias = assign_colors(labels, spec, part)
        for label, (n_aligned, sizes) in enumerate(
            zip(GOLDEN[part][rho]["aligned"], GOLDEN[part][rho]["chunks"], strict=True)
        ):
            assert [n for n in compute_chunk_sizes(SIZES[part][label] - n_aligned, 9) if n] == sizes
            rows = np.flatnonzero(labels == label)
            rows = rows[permutation(len(rows), spec.seed, f"{part}/digits/{label}")]
            assert (bias[rows[:n_aligned]] == label).all()
            runs = [len(list(run)) for _, run in itertools.groupby(bias[rows[n_aligned:]])]
            assert runs == sizes

    def test_totals_of_the_published_table(self) -> None:
        table = {
            0.999: (59937, 63, 27), 0.997: (59816, 184, 6), 0.995: (59695, 305, 10),
            0.99: (59394, 606, 1), 0.95: (56994, 3006, 0), 0.9: (53994, 6006, 0),
        }  # fmt: skip
        labels = shuffled_labels("train")
        for rho, expected in table.items():
            counts = cells(labels, assign_colors(labels, BiasedMNISTSpec(rho), "train"))
            n_aligned = int(np.trace(counts))
            assert (n_aligned, 60000 - n_aligned, int((counts == 0).sum())) == expected

    @pytest.mark.parametrize("rho", [0.999, 0.997])
    def test_counts_of_the_real_mnist(self, mnist_dir: Path, rho: float) -> None:
        splits = build_splits(
            find_digits(mnist_dir=mnist_dir), BiasedMNISTSpec(rho, val_protocol="none")
        )
        check_counts(splits["train"].counts(10, 10), GOLDEN["train"][str(rho)])
        check_counts(splits["test"].counts(10, 10), GOLDEN["test"]["0.1"])
        per_cell = splits["test"].counts(10, 10)
        assert per_cell.min() == 83
        assert per_cell.max() == 114


class TestAssignment:
    @given(
        labels=st.lists(st.integers(0, 9), max_size=300),
        rho=st.floats(0, 1),
        n_confusing=st.integers(1, 9),
        leftover=st.sampled_from(LEFTOVERS),
        seed=st.integers(0, 5),
    )
    @settings(deadline=None)
    def test_every_image_gets_one_allowed_color(
        self, labels: list[int], rho: float, n_confusing: int, leftover: str, seed: int
    ) -> None:
        spec = BiasedMNISTSpec(rho, seed=seed, n_confusing=n_confusing, leftover=leftover)
        y = np.array(labels, dtype=np.int64)
        bias = assign_colors(y, spec, "train")
        assert bias.shape == y.shape
        table = np.zeros((10, 10), dtype=int)
        np.add.at(table, (y, bias), 1)  # an index out of range raises
        for label in range(10):
            n = labels.count(label)
            n_aligned = int(n * rho)
            allowed = {(label + 1 + k) % 10 for k in range(n_confusing)}
            others = {c: int(table[label, c]) for c in range(10) if c != label}
            assert table[label, label] == n_aligned
            assert sum(others.values()) == n - n_aligned
            assert not any(count for color, count in others.items() if color not in allowed)
            expected = sorted(compute_chunk_sizes(n - n_aligned, n_confusing, leftover))
            assert sorted(others[c] for c in allowed) == expected

    @given(st.integers(0, 10000), st.integers(1, 9))
    def test_chunks_are_as_published(self, left: int, n_confusing: int) -> None:
        sizes = compute_chunk_sizes(left, n_confusing)
        size = math.ceil(left / n_confusing)
        assert (len(sizes), sum(sizes)) == (n_confusing, left)
        filled = [n for n in sizes if n]
        assert sizes[: len(filled)] == filled  # only the last colors get none
        assert all(n == size for n in filled[:-1])
        assert all(0 < n <= size for n in filled[-1:])

    @given(st.integers(0, 10000), st.integers(1, 9))
    def test_even_leftovers_differ_by_one_at_most(self, left: int, n_confusing: int) -> None:
        sizes = compute_chunk_sizes(left, n_confusing, "even")
        assert (len(sizes), sum(sizes)) == (n_confusing, left)
        assert max(sizes) - min(sizes) <= 1

    @pytest.mark.parametrize("n_confusing", range(1, 10))
    def test_conflicting_images_get_the_next_colors_only(self, n_confusing: int) -> None:
        labels = np.repeat(np.arange(10), 90)
        table = cells(
            labels, assign_colors(labels, BiasedMNISTSpec(0.2, n_confusing=n_confusing), "train")
        )
        for label in range(10):
            used = set(np.flatnonzero(table[label]).tolist())
            assert used == {(label + k) % 10 for k in range(n_confusing + 1)}

    def test_rho_one_aligns_all_and_rho_zero_none(self) -> None:
        labels = np.repeat(np.arange(10), 50)
        assert (assign_colors(labels, BiasedMNISTSpec(1.0), "train") == labels).all()
        assert not (assign_colors(labels, BiasedMNISTSpec(0.0), "train") == labels).any()

    def test_the_order_of_the_other_colors_is_shuffled_per_class_and_seed(self) -> None:
        def last_colors(seed: int) -> tuple[int, ...]:
            labels = np.repeat(np.arange(10), 19)  # 19 left: the last colors get 1, 0 and 0
            table = cells(labels, assign_colors(labels, BiasedMNISTSpec(0.0, seed=seed), "train"))
            return tuple((int(np.flatnonzero(table[y] == 1)[0]) - y) % 10 for y in range(10))

        assert len(set(last_colors(0))) > 1
        assert last_colors(0) != last_colors(1)

    def test_which_digits_are_aligned_depends_on_seed_and_purpose(self) -> None:
        labels = np.repeat(np.arange(10), 50)
        aligned, same, other_seed, other_purpose = (
            assign_colors(labels, BiasedMNISTSpec(0.5, seed=s), p) == labels
            for s, p in ((0, "train"), (0, "train"), (1, "train"), (0, "test"))
        )
        assert (aligned == same).all()
        assert (aligned != other_seed).any()
        assert (aligned != other_purpose).any()


class TestColors:
    def test_color_digits_uses_the_published_palette(self) -> None:
        palette = {
            0: (255, 0, 0), 1: (0, 255, 0), 2: (0, 0, 255), 3: (225, 225, 0), 4: (225, 0, 225),
            5: (0, 255, 255), 6: (255, 128, 0), 7: (255, 0, 128), 8: (128, 0, 255),
        }  # fmt: skip
        black = np.zeros((10, 2, 2), dtype=np.uint8)
        for variant, ninth in (("rebias", (128, 128, 128)), ("fairkl", (50, 255, 128))):
            out = color_digits(black, np.arange(10), BiasedMNISTSpec(0.5, variant=variant))
            assert out.shape == (10, 3, 2, 2)
            assert out.dtype == np.uint8
            for index, rgb in {**palette, 9: ninth}.items():
                assert (out[index] == np.array(rgb)[:, None, None]).all()
            assert describe_palette(variant) == [list(c) for c in (*palette.values(), ninth)]

    @pytest.mark.parametrize(
        ("colored", "digit", "ground"),
        [("background", (255, 255, 255), (225, 225, 0)), ("digit", (225, 225, 0), (0, 0, 0))],
    )
    def test_every_pixel_above_zero_is_digit(
        self, colored: str, digit: tuple[int, ...], ground: tuple[int, ...]
    ) -> None:
        image = np.array([[[0, 1, 2], [127, 128, 255]]], dtype=np.uint8)
        out = color_digits(image, np.array([3]), BiasedMNISTSpec(0.5, color=colored))
        expected = [[ground, digit, digit], [digit, digit, digit]]
        assert out[0].transpose(1, 2, 0).tolist() == [[list(p) for p in row] for row in expected]


def describe_palette(variant: str) -> list[list[int]]:
    no_digits = Digits("mnist", "", {}, *[np.zeros(0)] * 6)
    bias = describe_biased_mnist(no_digits, BiasedMNISTSpec(0.5, variant=variant)).bias
    assert bias is not None
    assert bias.rgb is not None
    return bias.rgb


class TestSplits:
    def test_held_out_digits_are_not_in_training(self, digits: Digits) -> None:
        splits = build_splits(digits, BiasedMNISTSpec(0.9))
        train, val = (set(splits[part].index.tolist()) for part in ("train", "val"))
        assert not train & val
        assert train | val == set(digits.train_index.tolist())
        assert np.bincount(splits["val"].labels).tolist() == [10] * 10
        assert np.bincount(splits["train"].labels).tolist() == [90] * 10

    def test_under_hong_the_validation_digits_stay_in_training(self, digits: Digits) -> None:
        splits = build_splits(digits, BiasedMNISTSpec(0.9, val_protocol="hong"))
        assert splits["train"].index.tolist() == digits.train_index.tolist()
        assert set(splits["val"].index.tolist()) < set(splits["train"].index.tolist())
        assert len(splits["val"]) == 100

    def test_protocol_none_has_no_validation_split(self, digits: Digits) -> None:
        splits = build_splits(digits, BiasedMNISTSpec(0.9, val_protocol="none"))
        assert list(splits) == ["train", "test"]
        assert splits["train"].index.tolist() == digits.train_index.tolist()

    def test_the_validation_digits_do_not_depend_on_rho(self, digits: Digits) -> None:
        low, high = (build_splits(digits, BiasedMNISTSpec(rho))["val"] for rho in (0.5, 0.99))
        assert np.array_equal(low.index, high.index)
        assert np.array_equal(low.images, high.images)
        other_seed = build_splits(digits, BiasedMNISTSpec(0.5, seed=1))["val"]
        assert not np.array_equal(low.index, other_seed.index)

    @pytest.mark.parametrize("val_protocol", VAL_PROTOCOLS)
    @pytest.mark.parametrize("n_confusing", [1, 9])
    def test_validation_and_test_splits_are_unbiased(
        self, digits: Digits, val_protocol: str, n_confusing: int
    ) -> None:
        spec = BiasedMNISTSpec(
            0.99, val_protocol=val_protocol, n_confusing=n_confusing, leftover="even"
        )
        splits = build_splits(digits, spec)
        assert (splits["test"].counts(10, 10) == 2).all()  # 20 a class over ten colors
        if "val" in splits and val_protocol != "biased":
            assert (splits["val"].counts(10, 10) == 1).all()  # 10 a class

    def test_biased_validation_has_the_rho_of_training_and_changes_no_other_split(
        self, digits: Digits
    ) -> None:
        biased, unbiased = (
            build_splits(digits, BiasedMNISTSpec(0.8, val_protocol=protocol))
            for protocol in ("biased", "held-out")
        )
        for name in ("train", "test"):
            assert np.array_equal(biased[name].images, unbiased[name].images)
            assert np.array_equal(biased[name].bias, unbiased[name].bias)
        val = biased["val"]
        assert np.array_equal(val.index, unbiased["val"].index)
        assert [int(val.aligned[val.labels == k].sum()) for k in range(10)] == [8] * 10  # of 10

    @pytest.mark.parametrize("val_protocol", VAL_PROTOCOLS)
    @pytest.mark.parametrize("colored", ["background", "digit"])
    def test_images_labels_and_bias_of_a_row_agree(
        self, digits: Digits, val_protocol: str, colored: str
    ) -> None:
        spec = BiasedMNISTSpec(
            0.8, seed=1, val_protocol=val_protocol, color=colored, variant="fairkl"
        )
        for name, split in build_splits(digits, spec).items():
            is_test = name == "test"
            index = digits.test_index if is_test else digits.train_index
            gray = (digits.test_images if is_test else digits.train_images)[
                np.searchsorted(index, split.index)
            ]
            label = (digits.test_labels if is_test else digits.train_labels)[
                np.searchsorted(index, split.index)
            ]
            assert np.array_equal(split.labels, label)
            assert np.array_equal(split.images, color_digits(gray, split.bias, spec))
            assert np.array_equal(split.aligned, split.labels == split.bias)

    def test_the_training_split_has_the_share_rho(self, digits: Digits) -> None:
        train = build_splits(digits, BiasedMNISTSpec(0.9))["train"]
        assert np.diag(train.counts(10, 10)).tolist() == [81] * 10  # int(90 * 0.9)

    def test_too_few_digits_are_an_error(self, digits: Digits) -> None:
        few = replace(digits, **{
            name: getattr(digits, name)[:30]
            for name in ("train_images", "train_labels", "train_index")
        })  # fmt: skip
        with pytest.raises(DataError, match="the val split has no image of some class"):
            build_splits(few, BiasedMNISTSpec(0.9))


class TestSpec:
    @pytest.mark.parametrize(
        ("parameters", "name"),
        [
            ({"rho": 0.997}, "bmnist-0.997"),
            ({"rho": 1.0}, "bmnist-1.0"),
            ({"rho": 0.9, "variant": "fairkl"}, "bmnist-0.9-fairkl"),
            ({"rho": 0.9, "color": "digit"}, "bmnist-0.9-digit"),
            ({"rho": 0.9, "n_confusing": 3}, "bmnist-0.9-confusing3"),
            ({"rho": 0.9, "val_protocol": "hong"}, "bmnist-0.9-hong"),
            ({"rho": 0.9, "leftover": "even"}, "bmnist-0.9-even"),
            ({"rho": 0.9, "seed": 4}, "bmnist-0.9-seed4"),
            (
                {"rho": 0.9, "variant": "fairkl", "color": "digit", "n_confusing": 1, "seed": 2}
                | {"val_protocol": "none", "leftover": "even"},
                "bmnist-0.9-fairkl-digit-confusing1-none-even-seed2",
            ),
        ],
    )
    def test_the_name_holds_what_differs_from_the_default(
        self, parameters: dict[str, Any], name: str
    ) -> None:
        assert BiasedMNISTSpec(**parameters).name("mnist") == name
        assert BiasedMNISTSpec(**parameters).name("mnist5k") == name.replace("bmnist", "bmnist5k")

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"rho": 1.2}, r"expected rho in \[0, 1\], but got 1.2"),
            ({"rho": -0.1}, "but got -0.1"),
            ({"rho": float("nan")}, "but got nan"),
            ({"rho": 0.9, "seed": -1}, "expected seed to be 0 or more, but got -1"),
            ({"rho": 0.9, "n_confusing": 0}, "expected n_confusing in 1..9, but got 0"),
            ({"rho": 0.9, "n_confusing": 10}, "but got 10"),
            ({"rho": 0.9, "variant": "x"}, "variant to be one of rebias, fairkl, but got 'x'"),
            ({"rho": 0.9, "color": "x"}, "color to be one of background, digit"),
            ({"rho": 0.9, "val_protocol": "x"}, "val_protocol to be one of held-out, hong, none"),
            ({"rho": 0.9, "leftover": "x"}, "leftover to be one of chunk, even"),
        ],
    )
    def test_bad_parameters_are_wrong_usage(self, parameters: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            BiasedMNISTSpec(**parameters)

    @pytest.mark.parametrize("rho", [1, np.float64(1.0), np.float32(1.0), True])
    def test_the_type_of_rho_does_not_change_the_manifest(self, digits: Digits, rho: Any) -> None:
        texts = [
            json.dumps(describe_biased_mnist(digits, BiasedMNISTSpec(value)).to_json())
            for value in (rho, 1.0)
        ]
        assert texts[0] == texts[1]
