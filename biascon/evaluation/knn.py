"""Weighted kNN classifier on the directions of frozen features; there is nothing to fit.

The K training features with the largest cosine s_i to a feature vote for their labels, each with weight
exp(s_i / T): Wu et al. (Unsupervised Feature Learning via Non-Parametric Instance Discrimination, CVPR 2018),
with their K = 200 and T = 0.07. The neighbors are exact. Similarities are computed in blocks, so the memory
beside the features is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from biascon.data.memory_map import release_pages
from biascon.errors import RunError
from biascon.utils.devices import free_memory
from biascon.utils.progress import report_progress
from biascon.utils.types import Array

# The size of a block of similarities: 32 MiB, and as much again to find the largest.
QUERY_ROWS, TRAINING_ROWS = 1024, 8192


@dataclass(frozen=True)
class KNNClassifier:
    """A kNN classifier: training features whose labels vote.

    Attributes:
        features: float32 or float16 ``(N, D)``; each block is divided by the lengths of its features when it
            is used.
        labels: int64 ``(N,)`` in 0..K-1.
        n_labels: K.
        k: The number of neighbors that vote; all training images if there are fewer.
        temperature: T.
        device: The device to compute on.
    """

    features: Array
    labels: Array
    n_labels: int
    k: int
    temperature: float
    device: torch.device

    def __post_init__(self) -> None:
        if not len(self.labels):
            raise RunError("there is no training image to be a neighbor")

    def probabilities(self, features: Array) -> Array:
        """Return float32 ``(Q, K)``: the share of the votes of each label.

        A feature without a direction (all 0) has the same distance to every other feature. If several
        training images have the distance of the k-th neighbor, the first ones vote.

        Args:
            features: float32 ``(Q, D)``.
        """
        shares = np.empty((len(features), self.n_labels), dtype=np.float32)
        training = self._training_blocks()
        labels = torch.from_numpy(self.labels).to(self.device)
        with torch.inference_mode():
            for start in range(0, len(features), QUERY_ROWS):
                rows = slice(start, start + QUERY_ROWS)
                query = _directions(torch.from_numpy(features[rows]).to(self.device))
                nearest, neighbors = self._nearest(query, training)
                # The nearest neighbor has weight 1.
                weights = ((nearest - nearest[:, :1]) / self.temperature).exp()
                votes = nearest.new_zeros(len(query), self.n_labels)
                votes = votes.scatter_add_(1, labels[neighbors], weights)
                shares[rows] = (votes / votes.sum(dim=1, keepdim=True)).cpu().numpy()
                done = min(rows.stop, len(features))
                report_progress("nearest neighbors", done, len(features), "images")
        return shares

    def _training_blocks(self) -> Callable[[], Iterable[tuple[int, Tensor]]]:
        """Return a function that gives the first row and the unit features of every training block.

        The blocks stay on a GPU if they take at most half of its free memory. On the CPU they are computed
        again for each block of queries, so that the memory beside the features is bounded.
        """
        if self.device.type == "cuda" and 4 * self.features.size <= free_memory(self.device) // 2:
            blocks = list(self._iter_training())
            return lambda: blocks
        return self._iter_training

    def _iter_training(self) -> Iterator[tuple[int, Tensor]]:
        for start in range(0, len(self.labels), TRAINING_ROWS):
            block = torch.from_numpy(self.features[start : start + TRAINING_ROWS])
            yield start, _directions(block.to(self.device))
            release_pages(self.features)

    def _nearest(
        self, query: Tensor, training: Callable[[], Iterable[tuple[int, Tensor]]]
    ) -> tuple[Tensor, Tensor]:
        """Return the similarities ``(Q, k)``, largest first, and rows ``(Q, k)`` of the neighbors."""
        nearest = neighbors = None
        for start, block in training():
            s = query @ block.T  # (Q, R)
            rows = torch.arange(start, start + len(block), device=self.device).expand_as(s)
            if nearest is not None and neighbors is not None:  # earlier neighbors come first
                s = torch.cat((nearest, s), dim=1)
                rows = torch.cat((neighbors, rows), dim=1)
            nearest, neighbors = _select_largest(s, rows, min(self.k, s.shape[1]))
        if nearest is None or neighbors is None:
            raise RunError("there is no training image to be a neighbor")
        return nearest, neighbors


def _select_largest(s: Tensor, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest values of each row of ``s`` and their ``rows``, largest first, ties in order."""
    smallest = s.topk(k, dim=1).values[:, -1:]
    # Keep all values above the k-th largest one, and of the equal ones the first that fit.
    above, at = s > smallest, s == smallest
    room = k - above.sum(dim=1, keepdim=True)
    keep = above | (at & (at.cumsum(dim=1, dtype=torch.int32) <= room))
    columns = keep.nonzero()[:, 1].view(len(s), k)
    values, kept_rows = s.gather(1, columns), rows.gather(1, columns)
    order = values.sort(dim=1, descending=True, stable=True).indices
    return values.gather(1, order), kept_rows.gather(1, order)


def _directions(features: Tensor) -> Tensor:
    features = features.float()
    lengths = features.norm(dim=1, keepdim=True)
    return features / torch.where(lengths > 0, lengths, 1.0)
