"""BiasedMNIST: the published counts, the colours, the splits, the same bytes everywhere."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biascon.data import dataset
from biascon.data.builders import biased_mnist
from biascon.data.builders.biased_mnist import (
    LEFTOVERS,
    VAL_PROTOCOLS,
    BiasedMNISTSpec,
    BuildResult,
    assign_colors,
    build_splits,
    chunk_sizes,
    color_digits,
    describe_biased_mnist,
    make_biased_mnist,
)
from biascon.data.builders.mnist_source import Digits, find_digits
from biascon.errors import BiasconError, DataError, UsageError
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
    own = np.diag(table)
    assert own.tolist() == golden["aligned"]
    assert (table.sum(axis=1) - own).tolist() == golden["conflicting"]
    assert own.sum() == golden["total_aligned"]
    assert table.sum() - own.sum() == golden["total_conflicting"]
    off = [[int(n) for c, n in enumerate(row) if c != y] for y, row in enumerate(table)]
    assert [sorted(n for n in row if n) for row in off] == [sorted(c) for c in golden["chunks"]]
    assert sum(row.count(0) for row in off) == golden["empty_off_diagonal_cells"]


class TestCounts:
    @pytest.mark.parametrize("seed", [0, 3])
    @pytest.mark.parametrize(("part", "rho"), CASES)
    def test_published(self, part: str, rho: str, seed: int) -> None:
        labels = shuffled_labels(part)
        spec = BiasedMNISTSpec(float(rho), seed=seed)
        bias = assign_colors(labels, spec, part)
        check_counts(cells(labels, bias), GOLDEN[part][rho])

    @pytest.mark.parametrize(("part", "rho"), CASES)
    def test_chunks_are_consecutive_runs_in_the_published_order(self, part: str, rho: str) -> None:
        labels, spec = shuffled_labels(part), BiasedMNISTSpec(float(rho), seed=2)
        bias = assign_colors(labels, spec, part)
        for label, (own, sizes) in enumerate(
            zip(GOLDEN[part][rho]["aligned"], GOLDEN[part][rho]["chunks"], strict=True)
        ):
            assert [n for n in chunk_sizes(SIZES[part][label] - own, 9) if n] == sizes
            rows = np.flatnonzero(labels == label)
            rows = rows[permutation(len(rows), spec.seed, f"{part}/digits/{label}")]
            assert (bias[rows[:own]] == label).all()
            runs = [len(list(run)) for _, run in itertools.groupby(bias[rows[own:]])]
            assert runs == sizes

    def test_totals_of_the_published_table(self) -> None:
        table = {
            0.999: (59937, 63, 27), 0.997: (59816, 184, 6), 0.995: (59695, 305, 10),
            0.99: (59394, 606, 1), 0.95: (56994, 3006, 0), 0.9: (53994, 6006, 0),
        }  # fmt: skip
        labels = shuffled_labels("train")
        for rho, expected in table.items():
            counts = cells(labels, assign_colors(labels, BiasedMNISTSpec(rho), "train"))
            own = int(np.trace(counts))
            assert (own, 60000 - own, int((counts == 0).sum())) == expected

    @pytest.mark.parametrize("rho", [0.999, 0.997])
    def test_of_the_real_mnist(self, mnist_dir: Path, rho: float) -> None:
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
    def test_every_image_gets_one_allowed_colour(
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
            own = int(n * rho)
            allowed = {(label + 1 + k) % 10 for k in range(n_confusing)}
            others = {c: int(table[label, c]) for c in range(10) if c != label}
            assert table[label, label] == own
            assert sum(others.values()) == n - own
            assert not any(count for colour, count in others.items() if colour not in allowed)
            expected = sorted(chunk_sizes(n - own, n_confusing, leftover))
            assert sorted(others[c] for c in allowed) == expected

    @given(st.integers(0, 10000), st.integers(1, 9))
    def test_chunks_are_as_published(self, left: int, n_confusing: int) -> None:
        sizes = chunk_sizes(left, n_confusing)
        size = math.ceil(left / n_confusing)
        assert (len(sizes), sum(sizes)) == (n_confusing, left)
        filled = [n for n in sizes if n]
        assert sizes[: len(filled)] == filled  # only the last colours get none
        assert all(n == size for n in filled[:-1])
        assert all(0 < n <= size for n in filled[-1:])

    @given(st.integers(0, 10000), st.integers(1, 9))
    def test_even_leftovers_differ_by_one_at_most(self, left: int, n_confusing: int) -> None:
        sizes = chunk_sizes(left, n_confusing, "even")
        assert (len(sizes), sum(sizes)) == (n_confusing, left)
        assert max(sizes) - min(sizes) <= 1

    @pytest.mark.parametrize("n_confusing", range(1, 10))
    def test_only_the_next_colours_confuse(self, n_confusing: int) -> None:
        labels = np.repeat(np.arange(10), 90)
        table = cells(
            labels, assign_colors(labels, BiasedMNISTSpec(0.2, n_confusing=n_confusing), "train")
        )
        for label in range(10):
            used = set(np.flatnonzero(table[label]).tolist())
            assert used == {(label + k) % 10 for k in range(n_confusing + 1)}

    def test_rho_one_and_zero(self) -> None:
        labels = np.repeat(np.arange(10), 50)
        assert (assign_colors(labels, BiasedMNISTSpec(1.0), "train") == labels).all()
        assert not (assign_colors(labels, BiasedMNISTSpec(0.0), "train") == labels).any()

    def test_the_order_of_the_other_colours_is_shuffled_per_class_and_seed(self) -> None:
        def last_colours(seed: int) -> tuple[int, ...]:
            labels = np.repeat(np.arange(10), 19)  # 19 left: the last colours get 1, 0 and 0
            table = cells(labels, assign_colors(labels, BiasedMNISTSpec(0.0, seed=seed), "train"))
            return tuple((int(np.flatnonzero(table[y] == 1)[0]) - y) % 10 for y in range(10))

        assert len(set(last_colours(0))) > 1
        assert last_colours(0) != last_colours(1)

    def test_which_digits_are_aligned_depends_on_seed_and_purpose(self) -> None:
        labels = np.repeat(np.arange(10), 50)
        one, same, seed, purpose = (
            assign_colors(labels, BiasedMNISTSpec(0.5, seed=s), p) == labels
            for s, p in ((0, "train"), (0, "train"), (1, "train"), (0, "test"))
        )
        assert (one == same).all()
        assert (one != seed).any()
        assert (one != purpose).any()


class TestColours:
    def test_the_published_palette(self) -> None:
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
        ("place", "digit", "ground"),
        [("background", (255, 255, 255), (225, 225, 0)), ("digit", (225, 225, 0), (0, 0, 0))],
    )
    def test_every_pixel_above_zero_is_digit(
        self, place: str, digit: tuple[int, ...], ground: tuple[int, ...]
    ) -> None:
        image = np.array([[[0, 1, 2], [127, 128, 255]]], dtype=np.uint8)
        out = color_digits(image, np.array([3]), BiasedMNISTSpec(0.5, color=place))
        expected = [[ground, digit, digit], [digit, digit, digit]]
        assert out[0].transpose(1, 2, 0).tolist() == [[list(p) for p in row] for row in expected]


def describe_palette(variant: str) -> list[list[int]]:
    nothing = np.zeros(0)
    empty = Digits("mnist", "", {}, *[nothing] * 6)
    palette: list[list[int]] = describe_biased_mnist(empty, BiasedMNISTSpec(0.5, variant=variant))[
        "bias"
    ]["rgb"]
    return palette


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

    def test_none_has_no_validation(self, digits: Digits) -> None:
        splits = build_splits(digits, BiasedMNISTSpec(0.9, val_protocol="none"))
        assert list(splits) == ["train", "test"]
        assert splits["train"].index.tolist() == digits.train_index.tolist()

    def test_the_same_digits_validate_whatever_rho(self, digits: Digits) -> None:
        one, other = (build_splits(digits, BiasedMNISTSpec(rho))["val"] for rho in (0.5, 0.99))
        assert np.array_equal(one.index, other.index)
        assert np.array_equal(one.images, other.images)
        seed = build_splits(digits, BiasedMNISTSpec(0.5, seed=1))["val"]
        assert not np.array_equal(one.index, seed.index)

    @pytest.mark.parametrize("val_protocol", VAL_PROTOCOLS)
    @pytest.mark.parametrize("n_confusing", [1, 9])
    def test_validation_and_test_are_unbiased_whatever_the_training_is(
        self, digits: Digits, val_protocol: str, n_confusing: int
    ) -> None:
        spec = BiasedMNISTSpec(
            0.99, val_protocol=val_protocol, n_confusing=n_confusing, leftover="even"
        )
        splits = build_splits(digits, spec)
        assert (splits["test"].counts(10, 10) == 2).all()  # 20 a class over ten colours
        if "val" in splits:
            assert (splits["val"].counts(10, 10) == 1).all()  # 10 a class

    @pytest.mark.parametrize("val_protocol", VAL_PROTOCOLS)
    @pytest.mark.parametrize("place", ["background", "digit"])
    def test_rows_belong_together(self, digits: Digits, val_protocol: str, place: str) -> None:
        spec = BiasedMNISTSpec(
            0.8, seed=1, val_protocol=val_protocol, color=place, variant="fairkl"
        )
        for name, split in build_splits(digits, spec).items():
            test = name == "test"
            index = digits.test_index if test else digits.train_index
            grey = (digits.test_images if test else digits.train_images)[
                np.searchsorted(index, split.index)
            ]
            label = (digits.test_labels if test else digits.train_labels)[
                np.searchsorted(index, split.index)
            ]
            assert np.array_equal(split.labels, label)
            assert np.array_equal(split.images, color_digits(grey, split.bias, spec))
            assert np.array_equal(split.aligned, split.labels == split.bias)

    def test_training_has_the_share_asked_for(self, digits: Digits) -> None:
        train = build_splits(digits, BiasedMNISTSpec(0.9))["train"]
        assert np.diag(train.counts(10, 10)).tolist() == [81] * 10  # int(90 * 0.9)

    def test_too_few_digits(self, digits: Digits) -> None:
        few = replace(digits, **{
            name: getattr(digits, name)[:30]
            for name in ("train_images", "train_labels", "train_index")
        })  # fmt: skip
        with pytest.raises(DataError, match="val split would lack a class"):
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
    def test_a_number_is_the_same_rho_of_whatever_type(self, digits: Digits, rho: Any) -> None:
        given, plain = (
            json.dumps(describe_biased_mnist(digits, BiasedMNISTSpec(r))) for r in (rho, 1.0)
        )
        assert given == plain


def hashes(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


@pytest.fixture
def make(
    digits: Digits, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., BuildResult]:
    """``make_biased_mnist`` of the digits of the tests, under the test's folder."""
    monkeypatch.setattr(biased_mnist, "find_digits", lambda source, folder: digits)

    def run(
        rho: float = 0.9, *, force: bool = False, at: str | None = None, **spec: Any
    ) -> BuildResult:
        out = None if at is None else tmp_path / at
        return make_biased_mnist(
            BiasedMNISTSpec(rho, **spec), root=tmp_path / "data", out=out, force=force
        )

    return run


class TestFolder:
    def test_the_same_command_gives_the_same_bytes(self, make: Any) -> None:
        one, other = make(at="one"), make(at="other")
        assert not one.reused
        assert not other.reused
        assert set(hashes(one.folder)) == {
            "train.safetensors", "val.safetensors", "test.safetensors", "manifest.json",
        }  # fmt: skip
        assert hashes(one.folder) == hashes(other.folder)
        assert one.manifest == other.manifest

    def test_another_seed_gives_other_bytes(self, make: Any) -> None:
        one, other = hashes(make().folder), hashes(make(seed=1).folder)
        assert all(one[name] != other[name] for name in one)

    def test_the_bytes_are_the_same_on_every_machine(self, make: Any) -> None:
        """If only the first holds, safetensors lays its files out differently."""
        made = make()
        split = dataset.load(made.folder).splits["train"]
        arrays = hashlib.sha256()
        for array in (split.images, split.labels.astype("<i8"), split.bias.astype("<i8")):
            arrays.update(array.tobytes())
        assert (
            arrays.hexdigest() == "47892bff922065a772f955ea617f66ce7b1f26ace3caecec193510cf0693b78e"
        )
        assert (
            hashes(made.folder)["train.safetensors"]
            == "cc459c2e21eea98f447ea3b911684ae9b4e6e97df9fa3843ce5d04a6b96be9c9"
        )

    def test_it_gets_its_name_under_the_root(self, make: Any, tmp_path: Path) -> None:
        made = make(0.997, val_protocol="none")
        assert made.folder == tmp_path / "data" / "bmnist5k-0.997-none"
        assert made.manifest.name == "bmnist5k-0.997-none"

    def test_the_manifest_tells_what_was_built(self, make: Any, digits: Digits) -> None:
        made = make(0.997, seed=3, color="digit")
        on_disk = json.loads((made.folder / "manifest.json").read_text())
        assert on_disk == made.manifest.to_json()
        assert on_disk["parameters"] == {
            ("colour" if key == "color" else key): value
            for key, value in asdict(BiasedMNISTSpec(0.997, seed=3, color="digit")).items()
        }
        assert on_disk["source"]["sha256"] == digits.sha256
        assert on_disk["source"]["origin"] == digits.origin
        assert "rho 0.997" in on_disk["protocol"]["train"]
        assert "digit coloured" in on_disk["protocol"]["train"]
        for name, counts in on_disk["counts"].items():
            split = dataset.load(made.folder).splits[name]
            assert counts["cells"] == split.counts(10, 10).tolist()
            assert counts["n"] == len(split)
            assert counts["aligned"] == int((split.labels == split.bias).sum())
            assert counts["aligned"] + counts["conflicting"] == counts["n"]
            assert counts["empty_cells"] == sum(row.count(0) for row in counts["cells"])

    @pytest.mark.parametrize("val_protocol", VAL_PROTOCOLS)
    def test_the_validation_protocol_is_told(self, make: Any, val_protocol: str) -> None:
        told = make(val_protocol=val_protocol).manifest.protocol["val"]
        word = {"held-out": "before colouring", "hong": "leaks", "none": "no selection"}
        assert word[val_protocol] in told

    def test_an_intact_folder_is_reused(self, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        first = make()
        before = hashes(first.folder)
        monkeypatch.setattr(biased_mnist, "build_splits", lambda *_: pytest.fail("built again"))
        again = make()
        assert again.reused
        assert again.manifest == first.manifest
        assert hashes(again.folder) == before

    def test_what_was_asked_for_last_is_the_latest(self, make: Any, tmp_path: Path) -> None:
        import os

        one, other = make(0.9), make(0.8)
        for age, made in enumerate((other, one), start=1):
            os.utime(made.folder / "manifest.json", (age, age))
        assert dataset.find_latest(tmp_path / "data") == one.folder
        assert make(0.8).reused
        assert dataset.find_latest(tmp_path / "data") == other.folder

    @pytest.mark.parametrize(
        "other",
        [
            {"rho": 0.8},
            {"seed": 1},
            {"variant": "fairkl"},
            {"color": "digit"},
            {"n_confusing": 2},
            {"val_protocol": "none"},
            {"leftover": "even"},
        ],
    )
    def test_another_dataset_in_the_way_is_kept(self, make: Any, other: dict[str, Any]) -> None:
        made = make(at="place")
        before = hashes(made.folder)
        with pytest.raises(BiasconError, match=r"holds another dataset .*parameters.*--force"):
            make(at="place", **other)
        assert hashes(made.folder) == before
        replaced = make(at="place", force=True, **other)
        assert not replaced.reused
        assert hashes(replaced.folder) != before
        assert [p.name for p in replaced.folder.parent.glob(".place*")] == []

    def test_another_source_in_the_way_is_kept(
        self, make: Any, digits: Digits, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make(at="place")
        other = replace(digits, sha256={"made": "1" * 64})
        monkeypatch.setattr(biased_mnist, "find_digits", lambda source, folder: other)
        with pytest.raises(BiasconError, match="differs in source"):
            make(at="place")

    def test_the_same_digits_from_another_place_are_the_same_source(
        self, make: Any, digits: Digits, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make(at="place")
        other = replace(digits, origin="somewhere else")
        monkeypatch.setattr(biased_mnist, "find_digits", lambda source, folder: other)
        assert make(at="place").reused

    @pytest.mark.parametrize("name", ["train", "val", "test"])
    def test_a_damaged_folder_is_refused_and_force_repairs_it(self, make: Any, name: str) -> None:
        made = make()
        before = hashes(made.folder)
        path = made.folder / f"{name}.safetensors"
        blob = bytearray(path.read_bytes())
        blob[-1] ^= 1
        path.write_bytes(blob)
        with pytest.raises(DataError, match=f"{name}.safetensors is not the file .*--force"):
            make()
        repaired = make(force=True)
        assert not repaired.reused
        assert hashes(repaired.folder) == before

    def test_a_folder_that_is_no_dataset_is_kept(self, make: Any, tmp_path: Path) -> None:
        (tmp_path / "thesis").mkdir()
        (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
        with pytest.raises(BiasconError, match="is not a dataset; choose another --out"):
            make(at="thesis")
        assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years of work"

    def test_force_does_not_delete_what_is_no_dataset(self, make: Any, tmp_path: Path) -> None:
        (tmp_path / "thesis").mkdir()
        (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
        with pytest.raises(BiasconError):
            make(at="thesis", force=True)
        assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years of work"

    def test_source_and_folder_are_passed_on_and_told(
        self, digits: Digits, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        asked: list[Any] = []

        def find(source: str, folder: Path | None) -> Digits:
            asked.append((source, folder))
            return digits

        monkeypatch.setattr(biased_mnist, "find_digits", find)
        lines: list[str] = []
        make_biased_mnist(
            BiasedMNISTSpec(0.9),
            out=tmp_path / "x",
            source="dir",
            mnist_dir=tmp_path,
            say=lines.append,
        )
        assert asked == [("dir", tmp_path)]
        assert lines == ["source: made for the tests (1,000 + 200 digits)"]
