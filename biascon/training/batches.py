"""The batches of an epoch: the order of the training images, and their pixels on the device."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from biascon.data.dataset import Split
from biascon.data.memory_map import release_pages
from biascon.utils.seeds import derive_seed, permutation

RELEASE_EVERY = 500  # steps after which the pages of a large memory-mapped dataset are released


def epoch_order(split: Split, seed: int, epoch: int, *, by_cells: bool = False) -> Tensor:
    """Return int64 ``(N,)``: the training images of an epoch in their order.

    Without ``by_cells`` this is a permutation. With it, these are N draws with replacement: first one of the
    (label, bias) cells that have images, uniformly, then one of the images of that cell, uniformly.
    """
    if not by_cells:
        return torch.from_numpy(permutation(len(split), seed, f"order/{epoch}"))
    pairs = np.stack((split.labels, split.bias), axis=1)
    _, cell, sizes = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    members, starts = np.argsort(cell.reshape(-1), kind="stable"), np.cumsum(sizes) - sizes
    words = np.random.PCG64(derive_seed(seed, f"order/{epoch}")).random_raw((2, len(split)))
    uniform = (words >> np.uint64(11)) * 2.0**-53  # in [0, 1)
    drawn = (uniform[0] * len(sizes)).astype(np.int64)  # the cell of each draw
    within = (uniform[1] * sizes[drawn]).astype(np.int64)
    return torch.from_numpy(members[starts[drawn] + within])


class BatchLoader:
    """Load the images of a split: from the device if they fit there, else one batch ahead."""

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

    def batches(self, rows: list[Tensor]) -> Iterator[Tensor]:
        """Yield the images of each batch of rows on the device.

        Images that stay on the CPU are gathered into pinned memory and copied while the device still works on
        the previous batch.

        Args:
            rows: The rows of each batch, int64 ``(B,)`` on the CPU.
        """
        if self.resident:
            for step, batch in enumerate(rows):
                yield self.images[batch.to(self.images.device, non_blocking=True)]
                if step % RELEASE_EVERY == 0:
                    release_pages(self.split.images)
            return
        if self.on_demand:
            yield from self._load_decoded(rows)
            return
        following = self._copy(rows[0])
        for step, _ in enumerate(rows):
            current = following
            if step + 1 < len(rows):
                following = self._copy(rows[step + 1])
            yield current
            if step % RELEASE_EVERY == 0:
                release_pages(self.split.images)

    def _load_decoded(self, rows: list[Tensor]) -> Iterator[Tensor]:
        """Yield batches that are decoded while the device works on the previous batch."""
        with ThreadPoolExecutor(1) as reader:
            following = reader.submit(self.split.images.__getitem__, rows[0].numpy())
            for step, _ in enumerate(rows):
                images = following.result()
                if step + 1 < len(rows):
                    following = reader.submit(self.split.images.__getitem__, rows[step + 1].numpy())
                yield torch.from_numpy(images).to(self.device, non_blocking=True)

    def _copy(self, rows: Tensor) -> Tensor:
        images = self.images[rows]
        if self.device.type == "cuda":
            images = images.pin_memory()
        return images.to(self.device, non_blocking=True)


def _fits(images: Tensor, device: torch.device) -> bool:
    """Whether the split may stay on the device: it may take at most half of the free memory."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return images.nbytes <= free / 2
