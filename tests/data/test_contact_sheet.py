"""The contact sheet: each thumbnail is the right image at the right position."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from biascon.data.contact_sheet import draw_contact_sheet
from biascon.data.dataset import (
    load,
)
from biascon.errors import BiasconError, DataError


class TestContactSheet:
    ZOOM, GAP, LEFT, TOP, COLUMNS = 2, 4, 64, 24, 8

    def pixel(self, sheet: Image.Image, label: int, column: int, *, aligned: bool) -> Any:
        """The pixel at the upper left of a thumbnail."""
        side = 28 * self.ZOOM + self.GAP
        x = self.LEFT + column * side + (0 if aligned else self.COLUMNS * side + 4 * self.GAP)
        return sheet.getpixel((x + 1, self.TOP + label * side + 1))

    def test_each_row_has_aligned_images_left_and_conflicting_right(
        self, make_dataset: Callable[..., Path], tmp_path: Path
    ) -> None:
        data = load(make_dataset(tmp_path / "x", rho=0.95, color="background"))
        path = tmp_path / "sheet.png"
        draw_contact_sheet(data, "train", path)
        palette = [tuple(c) for c in data.manifest.bias.rgb]
        with Image.open(path) as sheet:
            assert sheet.format == "PNG"
            sheet.load()
            for label in range(10):
                split = data.splits["train"]
                rows = np.flatnonzero((split.labels == label) & ~split.aligned)
                assert len(rows) == 5  # 90 - int(90 * 0.95): three of eight positions stay empty
                for column in range(8):
                    left = self.pixel(sheet, label, column, aligned=True)
                    assert left in (palette[label], (255, 255, 255))
                    right = self.pixel(sheet, label, column, aligned=False)
                    if column < 5:
                        corner = tuple(split.images[rows[column], :, 0, 0].tolist())
                        assert right == corner != palette[label]
                    else:
                        assert right == (255, 255, 255)
            colors = {self.pixel(sheet, y, 0, aligned=True) for y in range(10)}
            assert len(colors & set(palette)) >= 2

    def test_each_thumbnail_is_its_image_enlarged(
        self, make_dataset: Callable[..., Path], tmp_path: Path
    ) -> None:
        data = load(make_dataset(tmp_path / "x", val_protocol="none"))
        draw_contact_sheet(data, "test", tmp_path / "sheet.png")
        test = data.splits["test"]
        row = np.flatnonzero((test.labels == 2) & test.aligned)[1]
        with Image.open(tmp_path / "sheet.png") as sheet:
            x, y = self.LEFT + 60, self.TOP + 2 * 60
            thumbnail = np.asarray(sheet.crop((x, y, x + 56, y + 56)))
        assert np.array_equal(thumbnail[::2, ::2], test.images[row].transpose(1, 2, 0))
        assert np.array_equal(thumbnail[1::2, 1::2], test.images[row].transpose(1, 2, 0))

    def test_a_contact_sheet_of_a_missing_split_is_refused(
        self, make_dataset: Callable[..., Path], tmp_path: Path
    ) -> None:
        data = load(make_dataset(tmp_path / "x", val_protocol="none"))
        with pytest.raises(DataError, match=r"has no val split .it has: train, test"):
            draw_contact_sheet(data, "val", tmp_path / "sheet.png")

    def test_an_unwritable_contact_sheet_is_an_error(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(BiasconError, match=r"cannot write .*sheet\.png"):
            draw_contact_sheet(load(folder), "train", tmp_path / "file" / "sheet.png")
