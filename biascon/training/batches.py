"""What a step is fed: the order of an epoch's images, and their pixels on the device."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from biascon.data.dataset import Split
from biascon.data.memory_map import release_pages
from biascon.utils.seeds import derive_seed, permutation

RELEASE = 500  # steps after which pages of a large mapped dataset are given back


def epoch_order(split: Split, seed: int, epoch: int, *, by_groups: bool = False) -> Tensor:
    """Return int64 ``(N,)``: the training images of an epoch in their order.

    A permutation; or, by groups, N draws with replacement, first a (label, bias) group that has images,
    each as likely, then one of its images, each as likely.
    """
    if not by_groups:
        return torch.from_numpy(permutation(len(split), seed, f"order/{epoch}"))
    pairs = np.stack((split.labels, split.bias), axis=1)
    _, group, sizes = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    members, starts = np.argsort(group.reshape(-1), kind="stable"), np.cumsum(sizes) - sizes
    words = np.random.PCG64(derive_seed(seed, f"order/{epoch}")).random_raw((2, len(split)))
    share = (words >> np.uint64(11)) * 2.0**-53  # uniform in [0, 1)
    which = (share[0] * len(sizes)).astype(np.int64)
    return torch.from_numpy(members[starts[which] + (share[1] * sizes[which]).astype(np.int64)])


class BatchLoader:
    """The images of a split, on the device if they fit there, else read a batch ahead."""

    def __init__(self, split: Split, device: torch.device) -> None:
        self.split, self.device = split, device
        self.on_demand = not isinstance(split.images, np.ndarray)  # decoded as they are asked for
        self.images = torch.from_numpy(  # uint8 (N, 3, H, W)
            split.images[:0] if self.on_demand else split.images
        )
        # Not found out by comparing devices: "cuda" and "cuda:0" are one and differ.
        self.resident = not self.on_demand and _fits(self.images, device)
        if self.resident:
            self.images = self.images.to(device)

    def batches(self, rows: list[Tensor]) -> Iterator[Tensor]:
        """Yield the images of each batch of rows on the device.

        Images that stay on the CPU are gathered there into pinned memory and copied while the device
        still works on the batch before.

        Args:
            rows: Each int64 ``(B,)``, on the CPU.
        """
        if self.resident:
            for step, part in enumerate(rows):
                yield self.images[part.to(self.images.device, non_blocking=True)]
                if step % RELEASE == 0:
                    release_pages(self.split.images)
            return
        if self.on_demand:
            yield from self._decoded(rows)
            return
        ahead = self._copy(rows[0])
        for step, _ in enumerate(rows):
            now = ahead
            if step + 1 < len(rows):
                ahead = self._copy(rows[step + 1])
            yield now
            if step % RELEASE == 0:
                release_pages(self.split.images)

    def _decoded(self, rows: list[Tensor]) -> Iterator[Tensor]:
        """Yield batches that are decoded while the device works on the batch before."""
        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(self.split.images.__getitem__, rows[0].numpy())
            for step, _ in enumerate(rows):
                now = ahead.result()
                if step + 1 < len(rows):
                    ahead = reader.submit(self.split.images.__getitem__, rows[step + 1].numpy())
                yield torch.from_numpy(now).to(self.device, non_blocking=True)

    def _copy(self, rows: Tensor) -> Tensor:
        pictures = self.images[rows]
        if self.device.type == "cuda":
            pictures = pictures.pin_memory()
        return pictures.to(self.device, non_blocking=True)


def _fits(images: Tensor, device: torch.device) -> bool:
    """Whether the whole split may live on the device: it takes at most half of what is free."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return images.nbytes <= free / 2
