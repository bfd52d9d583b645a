"""A dataset that holds an index of files has the same images as the dataset that holds pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from biascon.data import dataset
from biascon.data.images.lazy import LazyImages
from biascon.errors import DataError
from biascon.training.batches import BatchLoader
from tests.data import faces, image_files

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folders(tmp_path: Path, cli: Cli) -> tuple[Path, Path]:
    """Build a UTKFace dataset twice: with its pixels, and with an index of its files."""
    raw = faces.draw_utkface(tmp_path / "raw", faces.make_names(150))
    (raw / get_broken_name()).write_bytes(b"no picture")
    for store in ("pixels", "files"):
        code, _, err = cli("make-utkface", raw, "--size", "32", "--rate", "0", "--store", store)
        assert code == 0, err
    name = Path("data/utkface-race-0.0-32")
    return name, name.with_name(f"{name.name}-files")


def get_broken_name() -> str:
    return "30_0_0_20170101000000000.jpg.chip.jpg"


def test_lazy_images_equal_the_stored_pixels(folders: tuple[Path, Path]) -> None:
    pixels, files = (dataset.load(folder) for folder in folders)
    assert pixels.digest != files.digest
    for name, split in pixels.splits.items():
        lazy = files.splits[name]
        images = lazy.images
        assert isinstance(images, LazyImages)
        assert (images.shape, images.dtype, images.ndim) == (split.images.shape, np.uint8, 4)
        assert (len(images), images.nbytes) == (len(split), split.images.nbytes)
        assert np.array_equal(images[:], split.images)
        assert np.array_equal(images[3:-1:2], split.images[3:-1:2])
        assert np.array_equal(images[4], split.images[4])
        rows = np.array([5, 0, 5, -1])
        assert np.array_equal(images[rows], split.images[rows])
        assert images[:0].shape == (0, 3, 32, 32)
        assert np.array_equal(lazy.index, split.index)
    assert sum(path.stat().st_size for path in folders[1].iterdir()) < 60_000


def test_batches_are_read_ahead_in_the_requested_order(folders: tuple[Path, Path]) -> None:
    pixels, files = (dataset.load(folder).splits["train"] for folder in folders)
    rows = list(torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0)).split(16))
    batches = list(BatchLoader(files, torch.device("cpu")).batches(rows))
    for part, batch in zip(rows, batches, strict=True):
        assert torch.equal(batch, torch.from_numpy(pixels.images[part]))


def test_a_run_on_lazy_images_is_bit_identical(folders: tuple[Path, Path], cli: Cli) -> None:
    for folder in folders:
        words = ["--loss", "supcon", "--preset", "smoke", "--set", "train.epochs=1"]
        words += ["--set", "train.batch_size=32"]
        code, _, err = cli("evaluate", *words, "--data", folder, "--runs", f"runs-{folder.name}")
        assert code == 0, err
    for name in ("encoder.safetensors", "predictions.parquet"):
        first, second = (
            next(Path(f"runs-{folder.name}").rglob(name)).read_bytes() for folder in folders
        )
        assert first == second, name


def test_a_changed_or_missing_image_file_is_refused(folders: tuple[Path, Path], cli: Cli) -> None:
    images = dataset.load(folders[1]).splits["train"].images
    assert isinstance(images, LazyImages)
    path = Path(images.folder.raw) / images.get_path(2)
    content = path.read_bytes()
    path.write_bytes(image_files.encode(image_files.draw_image(99)))
    with pytest.raises(DataError, match="changed since the dataset was built"):
        images[0:5]
    path.unlink()
    with pytest.raises(DataError, match="cannot be used: missing; build the dataset again"):
        images[[2]]
    path.write_bytes(content)
    assert images[0:5].shape == (5, 3, 32, 32)
    path.parent.rename(path.parent.with_name("elsewhere"))
    code, _, err = cli("inspect", folders[1])
    assert code == 0, err
    with pytest.raises(DataError, match="which does not exist; put the folder back"):
        dataset.load(folders[1])


def test_the_same_command_again_reuses_the_folder(folders: tuple[Path, Path], cli: Cli) -> None:
    raw = Path(dataset.load(folders[1]).manifest.source["folder"])
    before = {path.name: path.read_bytes() for path in folders[1].iterdir()}
    for force in ([], ["--force"]):
        words = ["--size", "32", "--rate", "0", "--store", "files", *force]
        code, _, err = cli("make-utkface", raw, *words)
        assert code == 0, err
        assert ("exists already and is intact" in err) == (not force)
        assert {path.name: path.read_bytes() for path in folders[1].iterdir()} == before


def test_inspect_verifies_the_image_files(folders: tuple[Path, Path], cli: Cli) -> None:
    code, out, err = cli("inspect", folders[1])
    assert code == 0, err
    assert "train" in out
    images = dataset.load(folders[1]).splits["test"].images
    assert isinstance(images, LazyImages)
    path = Path(images.folder.raw) / images.get_path(0)
    path.write_bytes(path.read_bytes() + b"0")
    code, _, err = cli("inspect", folders[1])
    assert code == 1
    assert f"{path} cannot be used: changed since the dataset was built" in err
