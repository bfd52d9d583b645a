"""Batches that a thread prepares before they are used, and copies to a GPU on a stream of its own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


def prepare_ahead(
    prepare: Callable[[ItemT], ResultT], items: Sequence[ItemT], depth: int
) -> Generator[ResultT, None, None]:
    """Yield ``prepare(item)`` for each item in order; a thread prepares up to ``depth`` results ahead.

    An error of ``prepare`` is raised at the next request, before results that are ready. The thread has ended
    when the generator ends. Close the generator if not all results are used
    (``contextlib.closing``): the thread then ends after the item that it works on.

    Args:
        prepare: Called by the thread, for one item at a time.
        items: The items.
        depth: The largest number of results that are ready or in preparation, 1 or more.
    """
    results: _Results[ResultT] = _Results(depth)

    def work() -> None:
        try:
            for item in items:
                if not results.wait_for_room():
                    return
                results.add(prepare(item))
        except BaseException as error:  # raised again by the consumer
            results.fail(error)

    thread = threading.Thread(target=work, name="biascon-prefetch", daemon=True)
    thread.start()
    try:
        for _ in items:
            yield results.take()
    finally:
        results.close()
        thread.join()


class _Results(Generic[ResultT]):
    """The results of a thread that are ready: a bounded queue with one producer and one consumer."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.ready: deque[ResultT] = deque()
        self.error: BaseException | None = None
        self.closed = False
        self.changed = threading.Condition()

    def wait_for_room(self) -> bool:
        """Wait until a further result may be prepared; return False if the consumer has stopped."""
        with self.changed:
            self.changed.wait_for(lambda: self.closed or len(self.ready) < self.depth)
            return not self.closed

    def add(self, result: ResultT) -> None:
        with self.changed:
            self.ready.append(result)
            self.changed.notify_all()

    def fail(self, error: BaseException) -> None:
        with self.changed:
            self.error = error
            self.changed.notify_all()

    def take(self) -> ResultT:
        """Return the next result, or raise the error of the thread."""
        with self.changed:
            self.changed.wait_for(lambda: self.error is not None or len(self.ready) > 0)
            if self.error is not None:
                raise self.error
            result = self.ready.popleft()
            self.changed.notify_all()
            return result

    def close(self) -> None:
        with self.changed:
            self.closed = True
            self.ready.clear()
            self.changed.notify_all()


class CopyStream:
    """Copies of batches to a CUDA device, on a stream of their own.

    The thread that prepares batches calls ``send`` within ``context``. The consumer calls ``receive``: its
    stream then waits for the copy, and the host does not wait.

    Attributes:
        device: The device, with its index.
        stream: The stream of the copies.
    """

    def __init__(self, device: torch.device) -> None:
        index = torch.cuda.current_device() if device.index is None else device.index
        self.device = torch.device("cuda", index)
        self.stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]

    def context(self) -> torch.cuda.StreamContext:
        """Return the context in which the calling thread uses the device and the stream of the copies."""
        return torch.cuda.stream(self.stream)

    def send(self, images: Tensor) -> tuple[Tensor, torch.cuda.Event]:
        """Start to copy images, and return the copy with the event that marks its end.

        Args:
            images: Images in pinned memory. The allocator of pinned memory keeps them until the copy is done.
        """
        copy = images.to(self.device, non_blocking=True)
        return copy, self.stream.record_event()

    def receive(self, copy: Tensor, event: torch.cuda.Event) -> Tensor:
        """Return a copy for use on the current stream of the device."""
        current = torch.cuda.current_stream(self.device)
        current.wait_event(event)
        copy.record_stream(
            current
        )  # its memory is not used again before the work of this stream is done
        return copy
