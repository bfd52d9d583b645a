"""``make-standard --native``: class folders of images of one size, of which no pixel is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from biascon.data.dataset import load
from tests.data.builders.cifar_files import write_cifar10
from tests.data.corruptions.drawn import draw_images
from tests.data.image_files import encode


def write_folders(raw: Path, *, side: int = 32, train: int = 10, test: int = 2) -> Path:
    images = draw_images(2 * (train + test))
    for number, image in enumerate(images):
        part = "train" if number < 2 * train else "test"
        folder = raw / part / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.ascontiguousarray(image.transpose(1, 2, 0)[:side, :side])
        Image.fromarray(pixels).save(folder / f"{number:04d}.png")
    return raw


@pytest.mark.parametrize("store", ["pixels", "files"])
def test_the_pixels_are_those_of_the_files(cli: Any, tmp_path: Path, store: str) -> None:
    raw = write_folders(tmp_path / "pets")
    out = tmp_path / "out"
    outcome = cli("make-standard", "folder", raw, "--native", "--store", store, "--out", out)
    assert outcome.code == 0, outcome.err
    data = load(out)
    assert data.name.startswith("pets-native")
    assert data.manifest.protocol["pictures"] == "32 x 32, not resized"
    files = sorted(path for path in raw.rglob("*.png"))
    indices = [int(row) for split in data.splits.values() for row in split.index]
    assert sorted(indices) == list(range(len(files)))
    for split in data.splits.values():
        images = np.asarray(split.images[np.arange(len(split))])
        for row, image in zip(split.index, images, strict=True):
            with Image.open(files[row]) as file:
                assert (image == np.asarray(file).transpose(2, 0, 1)).all()


def test_an_image_of_another_size_is_left_out_and_never_resized(cli: Any, tmp_path: Path) -> None:
    raw = write_folders(tmp_path / "pets")
    Image.new("RGB", (64, 64)).save(raw / "train" / "dog" / "large.png")
    (raw / "train" / "cat" / "large.jpg").write_bytes(encode(Image.new("RGB", (32, 36))))
    refused = cli("make-standard", "folder", raw, "--native")
    assert refused.code == 1 and "another size" in refused.err
    outcome = cli("make-standard", "folder", raw, "--native", "--max-rejected", "20%")
    assert outcome.code == 0, outcome.err
    rejected = load(tmp_path / "data" / "pets-native").manifest.rejected
    assert rejected is not None and rejected.by_reason == {"another size": 2}


def test_the_first_image_that_opens_has_the_size(cli: Any, tmp_path: Path) -> None:
    raw = write_folders(tmp_path / "pets", side=28)
    (raw / "train" / "cat" / "0000.png").write_bytes(b"broken")
    outcome = cli("make-standard", "folder", raw, "--native", "--max-rejected", "20%")
    assert outcome.code == 0, outcome.err
    assert load(tmp_path / "data" / "pets-native").splits["train"].images.shape[1:] == (3, 28, 28)


def test_images_that_are_no_squares_or_of_an_odd_size_are_refused(cli: Any, tmp_path: Path) -> None:
    raw = write_folders(tmp_path / "odd", side=30)
    outcome = cli("make-standard", "folder", raw, "--native")
    assert outcome.code == 2 and "that 4 divides, but got 30" in outcome.err
    raw = write_folders(tmp_path / "wide")
    Image.new("RGB", (64, 32)).save(raw / "train" / "cat" / "0000.png")
    outcome = cli("make-standard", "folder", raw, "--native")
    assert outcome.code == 1 and "has 64 x 32 pixels, but --native needs squares" in outcome.err
    for path in (raw / "train").rglob("*.png"):
        path.write_bytes(b"broken")
    outcome = cli("make-standard", "folder", raw, "--native")
    assert outcome.code == 1 and "no training image that can be opened" in outcome.err


def test_options_that_change_pixels_are_refused(cli: Any, tmp_path: Path) -> None:
    raw = write_folders(tmp_path / "pets")
    outcome = cli("make-standard", "folder", raw, "--native", "--size", "32", "--decode", "scaled")
    assert outcome.code == 2 and "leave out --size, --decode" in outcome.err
    cifar = write_cifar10(tmp_path / "raw", per_file=10)
    outcome = cli("make-standard", "cifar10", cifar, "--native")
    assert outcome.code == 2 and "leave out --native" in outcome.err


def test_cifar_names_the_command_for_class_folders(cli: Any, tmp_path: Path) -> None:
    raw = write_folders(tmp_path / "png")
    outcome = cli("make-standard", "cifar10", raw)
    assert outcome.code == 1
    assert f"biascon make-standard folder {raw} --native" in outcome.err
    pickled = tmp_path / "py" / "cifar-10-batches-py"
    pickled.mkdir(parents=True)
    (pickled / "data_batch_1").touch()
    outcome = cli("make-standard", "cifar10", pickled.parent)
    assert outcome.code == 1 and "pickled" in outcome.err
    assert "biascon make-standard folder RAW --native" in outcome.err
