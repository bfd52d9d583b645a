"""The contact sheet: a seeded, stratified sample; each thumbnail is the right image at the right position."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from biascon.data import contact_sheet
from biascon.data.contact_sheet import draw_contact_sheet, draw_stratified, sample_images
from biascon.data.dataset import BiasedDataset, load
from biascon.errors import BiasconError, DataError, UsageError
from biascon.utils.types import Array


@pytest.fixture
def data(make_dataset: Callable[..., Path], tmp_path: Path) -> BiasedDataset:
    """900 training images; 85 bias-aligned and 5 bias-conflicting ones of each class."""
    return load(make_dataset(tmp_path / "x", rho=0.95, color="background"))


def find_parts(ranks: Array, n: int, k: int) -> list[int]:
    """Return which of k parts of n rows each rank is in."""
    starts = [part * n // k for part in range(k)]
    return [max(part for part in range(k) if starts[part] <= rank) for rank in ranks]


class TestSample:
    def test_each_class_has_aligned_and_conflicting_images(self, data: BiasedDataset) -> None:
        split = data.splits["train"]
        sample = sample_images(data, "train", 0)
        assert list(sample) == list(range(10))
        for label, (aligned, conflicting) in sample.items():
            assert (len(aligned), len(conflicting)) == (8, 5)
            rows = np.concatenate([aligned, conflicting])
            assert (split.labels[rows] == label).all()
            assert split.aligned[rows].tolist() == [True] * 8 + [False] * 5
            # one row of each eighth
            ranks = np.searchsorted(
                np.flatnonzero((split.labels == label) & split.aligned), aligned
            )
            assert find_parts(ranks, 85, 8) == list(range(8))

    def test_the_sample_depends_on_the_seed_alone(self, data: BiasedDataset) -> None:
        first, again, other = (sample_images(data, "train", seed) for seed in (0, 0, 1))
        for label in range(10):
            assert np.array_equal(first[label][0], again[label][0])
        assert any(not np.array_equal(first[label][0], other[label][0]) for label in range(10))

    def test_every_bias_value_is_drawn_about_equally_often(self) -> None:
        strata = np.repeat([4, 7, 9], [900, 90, 10])
        for seed in range(5):
            rows = draw_stratified(np.arange(1000) * 2, strata, 8, seed, "test")
            drawn = strata[rows // 2]
            assert sorted(np.unique(drawn, return_counts=True)[1]) == [2, 3, 3]
            for value in (4, 7, 9):
                ranks = rows[drawn == value] // 2 - np.flatnonzero(strata == value)[0]
                n, k = (strata == value).sum(), len(ranks)
                assert find_parts(ranks, n, k) == list(range(k))

    @pytest.mark.parametrize(
        ("counts", "n", "expected"),
        [([1, 1, 50], 8, [1, 1, 6]), ([3, 0, 2], 8, [3, 2]), ([], 8, []), ([5] * 20, 8, [1] * 8)],
    )
    def test_small_strata_are_drawn_completely(
        self, counts: list[int], n: int, expected: list[int]
    ) -> None:
        strata = np.repeat(np.arange(len(counts)), np.array(counts, dtype=np.int64))
        rows = draw_stratified(np.arange(len(strata)), strata, n, 0, "test")
        assert len(set(rows.tolist())) == len(rows) == sum(expected)
        assert np.unique(strata[rows], return_counts=True)[1].tolist() == expected

    def test_a_sample_of_many_classes_is_shown(
        self, data: BiasedDataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(contact_sheet, "MAX_CLASSES", 4)
        classes = [list(sample_images(data, "train", seed)) for seed in range(6)]
        assert all(len(set(labels)) == 4 and labels == sorted(labels) for labels in classes)
        assert len({tuple(labels) for labels in classes}) > 1


class TestSheet:
    SIDE, STEP, ROW = 112, 116, 112 + 15 + 4

    def cut(self, sheet: Image.Image, label: int, column: int) -> Array:
        """Return the thumbnail of a class in a column, without the gap in the middle."""
        left = sheet.width - 16 * self.STEP - 16 + (16 if column > 7 else 0)
        x, y = left + column * self.STEP, sheet.height + (label - 10) * self.ROW
        return np.asarray(sheet.crop((x, y, x + self.SIDE, y + self.SIDE)))

    def test_each_thumbnail_is_its_image_with_the_bias_value_below(
        self, data: BiasedDataset, tmp_path: Path
    ) -> None:
        draw_contact_sheet(data, "train", tmp_path / "sheet.png", seed=3)
        split, sample = data.splits["train"], sample_images(data, "train", 3)
        with Image.open(tmp_path / "sheet.png") as sheet:
            assert sheet.format == "PNG"
            sheet.load()
            for label, halves in sample.items():
                for half, rows in enumerate(halves):
                    for k, row in enumerate(rows):
                        image = split.images[row].transpose(1, 2, 0)
                        expected = image.repeat(4, axis=0).repeat(4, axis=1)
                        assert np.array_equal(self.cut(sheet, label, 8 * half + k), expected)
                assert (self.cut(sheet, label, 13) == 255).all()  # no sixth conflicting image
            text = np.asarray(sheet)[sheet.height - 19 : sheet.height - 4]
        assert (text < 128).any()

    def test_the_same_seed_gives_the_same_bytes(self, data: BiasedDataset, tmp_path: Path) -> None:
        for name, seed in (("a", 0), ("b", 0), ("c", 1)):
            draw_contact_sheet(data, "val", tmp_path / name, seed=seed)
        a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
        assert a == b != c

    @pytest.mark.parametrize(
        "size", [(28, 28), (64, 64), (128, 96), (130, 20), (224, 224), (9, 600)]
    )
    def test_thumbnails_are_neither_tiny_nor_huge(self, size: tuple[int, int]) -> None:
        width, height = contact_sheet._get_thumbnail_size(*size)
        assert 64 < max(width, height) <= 128
        assert width >= 1 and height >= 1

    def test_text_of_any_kind_fits(
        self, data: BiasedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = ["", "two\nlines", "\u732b", "long " * 40, *"456789"]
        data = replace(data, manifest=replace(data.manifest, labels=names))
        draw_contact_sheet(data, "test", tmp_path / "a.png")
        monkeypatch.setattr(contact_sheet.features, "check", lambda _: False)
        draw_contact_sheet(data, "test", tmp_path / "b.png")
        with Image.open(tmp_path / "b.png") as sheet:
            assert sheet.width == 180 + 12 + 16 * self.STEP + 16

    def test_wrong_arguments_are_refused(
        self, make_dataset: Callable[..., Path], tmp_path: Path
    ) -> None:
        data = load(make_dataset(tmp_path / "y", val_protocol="none"))
        with pytest.raises(DataError, match=r"has no val split .it has: train, test"):
            draw_contact_sheet(data, "val", tmp_path / "sheet.png")
        with pytest.raises(UsageError, match="expected seed to be 0 or more, but got -1"):
            draw_contact_sheet(data, "test", tmp_path / "sheet.png", seed=-1)

    def test_an_unwritable_contact_sheet_is_an_error(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(BiasconError, match=r"cannot write .*sheet\.png"):
            draw_contact_sheet(load(folder), "train", tmp_path / "file" / "sheet.png")
