"""A split as a torch Dataset: items, transforms, worker processes, images that are decoded when read."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import biascon
from biascon.data import memory_map
from biascon.data.bridges.torch_dataset import TorchDataset
from biascon.data.dataset import load
from biascon.data.split import BiasedDataset
from biascon.errors import DataError, UsageError
from tests.data import faces as drawn_faces
from tests.small_datasets import write_faces

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> BiasedDataset:
    """Return a dataset whose images are memory-mapped."""
    return load(write_faces(tmp_path_factory.mktemp("torch") / "faces", n=500))


@pytest.fixture
def lazy(tmp_path: Path, cli: Cli) -> tuple[BiasedDataset, BiasedDataset]:
    """Return a dataset of pixels, and the same dataset as an index of image files."""
    raw = drawn_faces.draw_utkface(tmp_path / "raw", drawn_faces.make_names(40))
    for store in ("pixels", "files"):
        words = (
            "make-utkface",
            raw,
            "--size",
            "32",
            "--rate",
            "0",
            "--store",
            store,
            "--val-protocol",
            "none",
        )
        assert cli(*words, "--out", tmp_path / store)[0] == 0
    return load(tmp_path / "pixels"), load(tmp_path / "files")


def test_a_loader_gives_the_arrays_of_the_split(faces: BiasedDataset, faces_folder: Path) -> None:
    data = biascon.load_dataset(faces_folder).split("train").torch()
    assert isinstance(data, torch.utils.data.Dataset)
    split = faces.splits["train"]
    parts = list(DataLoader(data, batch_size=16))
    images, labels, bias = (torch.cat(column) for column in zip(*parts, strict=True))
    assert (images.dtype, labels.dtype, bias.dtype) == (torch.uint8, torch.int64, torch.int64)
    assert np.array_equal(images, split.images)
    assert np.array_equal(labels, split.labels)
    assert np.array_equal(bias, split.bias)
    image, label, value = data[3]
    assert np.array_equal(image, split.images[3])
    assert (type(label), type(value)) == (int, int)
    assert torch.equal(data[-1][0], data[len(split) - 1][0])
    with pytest.raises(IndexError):
        data[len(split)]
    assert len(list(data)) == len(split)  # iteration ends


def test_transforms_and_attributes(faces: BiasedDataset) -> None:
    split = faces.splits["train"]
    data = split.torch(
        lambda image: image.float() / 255, lambda label: label == 1, attributes=["age", "aligned"]
    )
    image, label, bias, more = data[7]
    assert torch.equal(image, torch.from_numpy(split.images[7].copy()).float() / 255)
    assert label is bool(split.labels[7] == 1)
    assert bias == split.bias[7]
    assert more == {"age": split.attributes["age"][7], "aligned": int(split.aligned[7])}
    batch = next(iter(DataLoader(data, batch_size=8)))
    assert batch[3]["age"].tolist() == split.attributes["age"][:8].tolist()


def test_a_transform_may_change_its_image(mapped: BiasedDataset) -> None:
    data = mapped.split("train").torch(lambda image: image.fill_(0))
    before = mapped.splits["train"].images[:4].copy()
    assert not data[2][0].any()
    assert not data.__getitems__([0, 1])[1][0].any()
    assert np.array_equal(mapped.splits["train"].images[:4], before)


def test_images_for_transforms_of_pillow(faces: BiasedDataset, gray_folder: Path) -> None:
    split = faces.splits["test"]
    data = split.torch(np.asarray, pil=True)
    assert np.array_equal(data[5][0], split.images[5].transpose(1, 2, 0))
    gray = load(gray_folder).split("train")
    image = gray.torch(pil=True)[2][0]
    assert isinstance(image, Image.Image)
    assert np.array_equal(np.asarray(image), gray.images[2, 0])


def test_another_process_maps_the_file_instead_of_copying_it(mapped: BiasedDataset) -> None:
    split = mapped.splits["train"]
    assert isinstance(split.images, np.memmap)
    data = split.torch()
    stored = pickle.dumps(data)
    assert len(stored) < 50_000 < split.images.nbytes
    copy: TorchDataset = pickle.loads(stored)
    assert isinstance(copy.images, np.memmap)
    rows = [4, 0, 499, 4]
    for ours, theirs in zip(data.__getitems__(rows), copy.__getitems__(rows), strict=True):
        assert torch.equal(ours[0], theirs[0])
        assert ours[1:] == theirs[1:]
    assert memory_map.map_file(split.images[3:]) is None  # its own offset is not known


def test_a_file_that_was_replaced_is_an_error_in_another_process(tmp_path: Path) -> None:
    folder = write_faces(tmp_path / "faces", n=500)
    stored = pickle.dumps(load(folder).split("train").torch())
    path = folder / "train.safetensors"
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(DataError, match=r"cannot read .*train\.safetensors"):
        pickle.loads(stored)
    path.write_bytes(content[:-1] + b"\0")
    with pytest.raises(DataError, match=r"train\.safetensors has changed since it was read"):
        pickle.loads(stored)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_worker_processes_give_the_same_batches(lazy: tuple[BiasedDataset, BiasedDataset]) -> None:
    for data in lazy:
        split = lazy[0].splits["train"]
        loader = DataLoader(
            data.split("train").torch(), 8, num_workers=2, multiprocessing_context="fork"
        )
        images = torch.cat([batch[0] for batch in loader])
        assert np.array_equal(images, split.images)
    pixels, files = (data.split("train") for data in lazy)
    data = files.torch()
    first = data.__getitems__([2, 3])  # starts threads, which are not copied
    copy: Any = pickle.loads(pickle.dumps(data))
    for source in (data, copy):
        assert np.array_equal(source[2][0], pixels.images[2])
    assert torch.equal(copy.__getitems__([2, 3])[1][0], first[1][0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attributes": ["agee"]}, "'agee'; did you mean 'age'? (it has: aligned, index, race, age)"),
        ({"transform": 3}, "expected transform to be a function, but got 3"),
        ({"target_transform": "x"}, "expected target_transform to be a function, but got 'x'"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused(
    faces: BiasedDataset, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        faces.split("train").torch(**arguments)


def test_an_unknown_split_is_refused(faces: BiasedDataset) -> None:
    with pytest.raises(DataError, match=r"faces has no valid split \(it has: train, val, test\)"):
        faces.split("valid")


def test_reading_a_dataset_does_not_import_torch(faces_folder: Path) -> None:
    script = (
        "import sys; from biascon.data.dataset import load; load(sys.argv[1]).split('train'); "
        "print('torch' in sys.modules)"
    )
    words = [sys.executable, "-c", script, str(faces_folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
