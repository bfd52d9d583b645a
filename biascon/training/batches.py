"""The batches of an epoch: the order of the training images, and their pixels on the device."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from biascon.data.dataset import Split
from biascon.data.memory_map import release_pages
from biascon.training.prefetch import CopyStream, prepare_ahead
from biascon.utils.seeds import derive_seed, permutation
from biascon.utils.types import Array

RELEASE_EVERY = 500  # steps after which the pages of a large memory-mapped dataset are released
DEPTH = 4  # batches that are read ahead

Sampling = Literal["natural", "groups", "subsampled groups"]


@dataclass(frozen=True)
class TrainingGroups:
    """The label and the group of every training image, as the method sees them.

    Attributes:
        labels: int64 ``(N,)`` in 0..K-1.
        bias: int64 ``(N,)`` in 0..M-1: the bias values of the dataset, or groups that are inferred.
        n_labels: K.
        n_bias: M.
    """

    labels: Array
    bias: Array
    n_labels: int
    n_bias: int

    def counts(self) -> Array:
        """Return the number of images in each (label, bias) cell, int64 ``(K, M)``."""
        table = np.zeros((self.n_labels, self.n_bias), dtype=np.int64)
        np.add.at(table, (self.labels, self.bias), 1)
        return table

    def take(self, rows: Array) -> TrainingGroups:
        """Return the groups of some of the images."""
        return TrainingGroups(self.labels[rows], self.bias[rows], self.n_labels, self.n_bias)


def split_held_out(n: int, held_out: int, seed: int) -> tuple[Array, Array]:
    """Return the rows that a network is trained on and the rows that are held out, int64, in order.

    Args:
        n: The number of training images.
        held_out: The number of rows that are held out.
        seed: The seed of the run.
    """
    order = permutation(n, seed, "held out") if held_out else np.arange(n)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def epoch_order(
    groups: TrainingGroups, seed: int, epoch: int, sampling: Sampling = "natural"
) -> Tensor:
    """Return int64 ``(N,)``: the training images of an epoch in their order.

    ``natural`` is a permutation. ``groups`` are N draws with replacement: first one of the (label, bias)
    cells that have images, uniformly, then one of the images of that cell, uniformly. ``subsampled groups``
    are subsamples one after the other, N rows in all. A subsample has as many images of every cell as the
    smallest cell has, drawn without replacement, in random order.
    """
    n = len(groups.labels)
    if sampling == "natural":
        return torch.from_numpy(permutation(n, seed, f"order/{epoch}"))
    pairs = np.stack((groups.labels, groups.bias), axis=1)
    _, cell, sizes = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    cell = cell.reshape(-1)
    if sampling == "subsampled groups":
        return torch.from_numpy(_subsamples(cell, sizes, seed, epoch))
    members, starts = np.argsort(cell, kind="stable"), np.cumsum(sizes) - sizes
    uniform = _uniform((2, n), seed, f"order/{epoch}")
    drawn = (uniform[0] * len(sizes)).astype(np.int64)  # the cell of each draw
    within = (uniform[1] * sizes[drawn]).astype(np.int64)
    return torch.from_numpy(members[starts[drawn] + within])


def _uniform(shape: tuple[int, ...], seed: int, purpose: str) -> Array:
    """Return uniform numbers in [0, 1), equal on every machine."""
    words = np.random.PCG64(derive_seed(seed, purpose)).random_raw(shape)
    numbers: Array = (words >> np.uint64(11)) * 2.0**-53
    return numbers


def _subsamples(cell: Array, sizes: Array, seed: int, epoch: int) -> Array:
    """Return int64 ``(N,)``: subsamples of ``min(sizes)`` images a cell, one after the other."""
    n, smallest = len(cell), int(sizes.min())
    by_cell = np.argsort(cell, kind="stable")
    members = [
        by_cell[stop - size : stop] for size, stop in zip(sizes, sizes.cumsum(), strict=True)
    ]
    parts: list[Array] = []
    filled = 0
    while filled < n:
        purpose = f"order/{epoch}/{len(parts)}"
        uniform = _uniform((len(sizes), smallest), seed, purpose)
        chosen = [_draw_distinct(rows, row) for rows, row in zip(members, uniform, strict=True)]
        rows = np.concatenate(chosen)
        parts.append(rows[permutation(len(rows), seed, f"{purpose}/shuffle")])
        filled += len(rows)
    return np.concatenate(parts)[:n].astype(np.int64)


def _draw_distinct(rows: Array, uniform: Array) -> Array:
    """Return as many distinct rows as there are uniform numbers (steps of a Fisher-Yates shuffle)."""
    moved: dict[int, int] = {}
    chosen = []
    for step, number in enumerate(uniform):
        j = step + int(number * (len(rows) - step))
        chosen.append(rows[moved.get(j, j)])
        moved[j] = moved.get(step, step)
    return np.array(chosen, dtype=np.int64)


def oversampled_order(aligned: Array, oversample: float, n: int, seed: int, epoch: int) -> Tensor:
    """Return int64 ``(n,)``: draws with replacement in which bias-conflicting images are more frequent.

    Args:
        aligned: bool ``(N,)``: whether each training image is bias-aligned.
        oversample: How many times more often a bias-conflicting image is drawn than a bias-aligned one.
        n: The number of draws.
        seed: The seed of the run.
        epoch: The epoch, from 0.
    """
    cumulative = np.cumsum(np.where(aligned, 1.0, oversample))
    uniform = _uniform((n,), seed, f"order of the contrast/{epoch}")
    rows = np.searchsorted(cumulative, uniform * cumulative[-1], side="right")
    return torch.from_numpy(np.minimum(rows, len(aligned) - 1).astype(np.int64))


class BatchLoader:
    """Load the images of a split: from the device if they fit there, else ``DEPTH`` batches ahead."""

    def __init__(self, split: Split, device: torch.device) -> None:
        self.split, self.device = split, device
        self.on_demand = not isinstance(
            split.images, np.ndarray
        )  # images are decoded when they are read
        self.images = torch.from_numpy(  # uint8 (N, 3, H, W)
            split.images[:0] if self.on_demand else split.images
        )
        # A comparison of devices does not tell this: "cuda" and "cuda:0" are one device but not equal.
        self.resident = not self.on_demand and _fits(self.images, device)
        if self.resident:
            self.images = self.images.to(device)
        self._reads = 0

    def batches(self, rows: Sequence[Tensor]) -> Generator[Tensor, None, None]:
        """Yield the images of each batch of rows on the device.

        Images that are not on the device are read or decoded by a thread, up to ``DEPTH`` batches ahead. For
        a CUDA device the thread also copies them, from pinned memory and on a stream of its own. Close the
        generator if not all batches are used (``contextlib.closing``); the thread then ends.

        Args:
            rows: The rows of each batch, int64 ``(B,)`` on the CPU.

        Raises:
            DataError: An image cannot be decoded.
        """
        if self.resident:
            yield from self._index(rows)
            return
        if self.device.type == "cuda":
            copies = CopyStream(self.device)

            def send(batch: Tensor) -> tuple[Tensor, torch.cuda.Event]:
                with copies.context():
                    return copies.send(self._read_pinned(batch))

            with closing(prepare_ahead(send, rows, DEPTH)) as sent:
                for copy, event in sent:
                    yield copies.receive(copy, event)
            return
        with closing(prepare_ahead(self._read, rows, DEPTH)) as ready:
            for images in ready:
                yield images.to(self.device)

    def _index(self, rows: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield batches of images that are on the device. All rows are copied to it at once."""
        if not rows:
            return
        on_device = torch.cat(list(rows)).to(self.images.device)
        for step, batch in enumerate(torch.split(on_device, [len(batch) for batch in rows])):
            yield self.images.index_select(0, batch)
            if step % RELEASE_EVERY == 0:
                release_pages(self.split.images)

    def _read(self, rows: Tensor) -> Tensor:
        """Return the images of a batch in memory of the host."""
        if self.on_demand:
            return torch.from_numpy(self.split.images[rows.numpy()])
        images = self.images.index_select(0, rows)
        self._release_pages()
        return images

    def _read_pinned(self, rows: Tensor) -> Tensor:
        """Return the images of a batch in pinned memory of the host."""
        if self.on_demand:
            return self._read(rows).pin_memory()
        shape = (len(rows), *self.images.shape[1:])
        images = torch.empty(shape, dtype=self.images.dtype, pin_memory=True)
        torch.index_select(self.images, 0, rows, out=images)
        self._release_pages()
        return images

    def _release_pages(self) -> None:
        if self._reads % RELEASE_EVERY == 0:
            release_pages(self.split.images)
        self._reads += 1


def _fits(images: Tensor, device: torch.device) -> bool:
    """Whether the split may stay on the device: it may take at most half of the free memory."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return images.nbytes <= free / 2
