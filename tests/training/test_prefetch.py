"""Batches that are prepared ahead: order and content, errors, the end of the thread, the copy stream."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from biascon.config.factory import make_config
from biascon.data.dataset import load
from biascon.data.split import Split
from biascon.errors import DataError
from biascon.training.batches import DEPTH, BatchLoader
from biascon.training.prefetch import CopyStream, prepare_ahead
from tests.run_helpers import train_in_folder

CPU = torch.device("cpu")
NAME = "biascon-prefetch"


def prefetch_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == NAME]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    assert not prefetch_threads()
    yield
    assert not prefetch_threads()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


class TestPrepareAhead:
    @pytest.mark.parametrize("depth", [1, 2, 7, 100])
    def test_results_come_in_the_order_of_the_items(self, depth: int) -> None:
        assert list(prepare_ahead(lambda x: x * x, range(40), depth)) == [x * x for x in range(40)]

    def test_no_item_gives_no_result(self) -> None:
        assert list(prepare_ahead(lambda x: x, [], 3)) == []

    @pytest.mark.parametrize("depth", [1, 3])
    def test_the_thread_prepares_depth_results_ahead_and_no_more(self, depth: int) -> None:
        prepared: list[int] = []
        with closing(prepare_ahead(prepared.append, range(20), depth)) as results:
            for taken in range(1, 5):
                next(results)
                wait_until(lambda n=taken: len(prepared) == n + depth)
                time.sleep(0.02)
                assert len(prepared) == taken + depth

    def test_an_error_comes_at_the_next_request_with_its_type_and_place(self) -> None:
        taken = threading.Event()

        def prepare(item: int) -> int:
            if item == 3:
                taken.wait(20)
                raise DataError("no such image")
            return item

        results = prepare_ahead(prepare, range(10), 4)
        assert next(results) == 0
        taken.set()
        wait_until(lambda: not prefetch_threads())  # the thread has met the error
        with pytest.raises(DataError, match="no such image") as caught:
            next(results)  # items 1 and 2 are ready
        assert "prepare" in [entry.name for entry in caught.traceback]

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
    def test_the_thread_ends_if_the_consumer_fails(self, error: type[BaseException]) -> None:
        def consume() -> None:
            with closing(prepare_ahead(lambda x: x, range(1000), 2)) as results:
                for result in results:
                    if result == 3:
                        raise error

        with pytest.raises(error):
            consume()
        assert not prefetch_threads()

    def test_the_thread_ends_after_the_item_it_works_on(self) -> None:
        working, go_on = threading.Event(), threading.Event()
        prepared: list[int] = []

        def prepare(item: int) -> int:
            if item == 1:
                working.set()
                go_on.wait(20)
            prepared.append(item)
            return item

        results = prepare_ahead(prepare, range(1000), 5)
        next(results)
        assert working.wait(20)
        threading.Timer(0.05, go_on.set).start()
        results.close()
        assert prepared == [0, 1]
        assert not prefetch_threads()


class Pixels:
    """Images that are decoded when they are read, as ``LazyImages``; some rows may fail."""

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, images: np.ndarray, broken: int = -1) -> None:
        self.images, self.broken, self.shape = images, broken, images.shape
        self.threads: set[str] = set()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: Any) -> np.ndarray:
        self.threads.add(threading.current_thread().name)
        if not isinstance(rows, slice) and self.broken in np.asarray(rows):
            raise DataError("a.jpg cannot be used: truncated")
        return self.images[rows]


def make_split(n: int = 90, broken: int | None = None) -> Split:
    """Return a split whose images are in memory, or decoded on demand if a row is broken."""
    draw = np.random.default_rng(0)
    images: Any = draw.integers(0, 256, (n, 3, 8, 8), dtype=np.uint8)
    ids = np.arange(n)
    if broken is not None:
        images = Pixels(images, broken)
    return Split(images, ids % 3, ids % 2, ids % 2 == 0, ids)


def draw_rows(n: int = 90, size: int = 16) -> list[Tensor]:
    return list(torch.randperm(n, generator=torch.Generator().manual_seed(1)).split(size))


class TestBatchLoader:
    @pytest.mark.parametrize("kind", ["resident", "in memory", "on demand"])
    def test_order_and_content_are_those_of_direct_indexing(self, kind: str) -> None:
        split = make_split(broken=-1 if kind == "on demand" else None)
        pixels = torch.from_numpy(make_split().images)
        loader = BatchLoader(split, CPU)
        assert loader.resident == (kind != "on demand")
        if kind == "in memory":
            loader.resident = False  # as on a device that the images do not fit on
        rows = draw_rows()
        for _ in range(2):  # a loader serves every epoch
            batches = list(loader.batches(rows))
            assert len(batches) == len(rows)
            for batch, part in zip(batches, rows, strict=True):
                assert batch.dtype == torch.uint8
                assert torch.equal(batch, pixels[part])
        if kind == "on demand":
            assert NAME in split.images.threads

    @pytest.mark.parametrize("kind", ["resident", "on demand"])
    def test_no_rows_give_no_batch(self, kind: str) -> None:
        split = make_split(broken=-1 if kind == "on demand" else None)
        assert list(BatchLoader(split, CPU).batches([])) == []

    def test_images_in_memory_are_indexed_without_a_thread(self) -> None:
        batches = BatchLoader(make_split(), CPU).batches(draw_rows())
        next(batches)
        assert not prefetch_threads()

    def test_an_error_of_decoding_reaches_the_training(self) -> None:
        rows = draw_rows()
        split = make_split(broken=int(rows[1][4]))
        with pytest.raises(DataError, match="truncated"):
            list(BatchLoader(split, CPU).batches(rows))

    def test_a_training_that_stops_leaves_no_thread(
        self,
        make_dataset: Callable[..., Path],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        data = load(make_dataset(tmp_path / "data"))
        train = data.splits["train"]
        monkeypatch.setitem(
            data.splits, "train",
            Split(Pixels(train.images), train.labels, train.bias, train.aligned, train.index),
        )  # fmt: skip

        def fail(*_: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("biascon.training.loop.set_learning_rate", fail)
        config = make_config("ce", preset="smoke")
        with pytest.raises(KeyboardInterrupt) as caught:
            train_in_folder(config, data, tmp_path, device=CPU)
        assert not prefetch_threads()
        assert caught.tb is not None  # the frames of the loop still exist


class FakeStreams:
    """CUDA streams and events that record what happens to them; copies are made at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.copy, self.empty = Tensor.to, torch.empty
        self.log: list[str] = []
        self.current = "main"  # the name of the stream that work is put on
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "Stream", lambda device: self.make("side"))
        monkeypatch.setattr(torch.cuda, "stream", self.use)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: self.make(self.current))
        for name in ("record_stream", "pin_memory", "to"):  # a function becomes a method of Tensor
            method = getattr(self, name)
            monkeypatch.setattr(
                Tensor, name, lambda *xs, _method=method, **options: _method(*xs, **options)
            )
        monkeypatch.setattr(torch, "empty", self.make_empty)

    def make(self, name: str) -> Any:
        def record_event() -> str:
            self.log.append(f"event on {name}")
            return f"event of {name}"

        def wait_event(event: str) -> None:
            self.log.append(f"{name} waits for {event}")

        return SimpleNamespace(name=name, record_event=record_event, wait_event=wait_event)

    @contextmanager
    def use(self, stream: Any) -> Iterator[None]:
        before, self.current = self.current, stream.name
        yield
        self.current = before

    def to(self, tensor: Tensor, *arguments: Any, **options: Any) -> Tensor:
        if arguments and str(arguments[0]).startswith("cuda"):
            self.log.append(f"copy on {self.current} {options}")
            return tensor.clone()
        return self.copy(tensor, *arguments, **options)

    def record_stream(self, tensor: Tensor, stream: Any) -> None:
        self.log.append(f"memory used by {stream.name}")

    def pin_memory(self, tensor: Tensor) -> Tensor:
        self.log.append("pin")
        return tensor

    def make_empty(self, *shape: Any, pin_memory: bool = False, **options: Any) -> Tensor:
        if pin_memory:
            self.log.append("pin")
        return self.empty(*shape, **options)


@pytest.mark.parametrize("kind", ["in memory", "on demand"])
def test_a_batch_is_copied_on_a_stream_of_its_own_and_waited_for(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = make_split(broken=-1 if kind == "on demand" else None)
    pixels = torch.from_numpy(make_split().images)
    loader = BatchLoader(split, CPU)
    loader.resident, loader.device = False, torch.device("cuda")
    fakes, rows = FakeStreams(monkeypatch), draw_rows()[:1]
    (batch,) = loader.batches(rows)
    assert torch.equal(batch, pixels[rows[0]])
    assert fakes.log == [
        "pin",
        "copy on side {'non_blocking': True}",
        "event on side",
        "main waits for event of side",
        "memory used by main",
    ]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", ["resident", "in memory", "on demand"])
def test_batches_on_a_cuda_device_equal_the_images(kind: str) -> None:
    device = torch.device("cuda")
    split = make_split(n=900, broken=-1 if kind == "on demand" else None)
    pixels = torch.from_numpy(make_split(n=900).images)
    loader = BatchLoader(split, device)
    if kind == "in memory":
        loader.resident, loader.images = False, torch.from_numpy(split.images)
    rows = draw_rows(900, 32)
    for batch, part in zip(loader.batches(rows), rows, strict=True):
        assert batch.device.type == "cuda"
        assert torch.equal(batch.cpu(), pixels[part])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_copies_have_a_stream_of_their_own() -> None:
    copies = CopyStream(torch.device("cuda"))
    assert copies.device.index == torch.cuda.current_device()
    assert copies.stream != torch.cuda.current_stream(copies.device)


def test_the_loader_reads_more_than_one_batch_ahead() -> None:
    assert DEPTH > 1
