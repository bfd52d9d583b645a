"""Weighted nearest neighbors on the directions of frozen features: a judge without anything to fit.

Of a feature f, the K training features with the largest cosine s_i vote for their labels, each with weight
exp(s_i / T): Wu et al. (Unsupervised Feature Learning via Non-Parametric Instance Discrimination, CVPR 2018),
with their K = 200 and T = 0.07. The neighbors are exact. Similarities are computed a block at a time, so
that memory beside the features is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from biascon.errors import RunError
from biascon.utils.types import Array

QUERIES, ROWS = (
    1024,
    8192,
)  # of a block of similarities: 32 MiB, and as much again to find the largest


@dataclass(frozen=True)
class KNNClassifier:
    """The training features that vote.

    Attributes:
        features: float32 ``(N, D)``, as they are: their lengths are divided out block by block.
        labels: int64 ``(N,)`` in 0..K-1.
        n_labels: K.
        k: How many neighbors vote; all where there are fewer.
        temperature: T.
        device: Where to compute.
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

        A feature without a direction (all 0) is as far from every other. Of training images at the same
        distance, at the K-th place, those that come first vote.

        Args:
            features: float32 ``(Q, D)``.
        """
        found = np.empty((len(features), self.n_labels), dtype=np.float32)
        labels = torch.from_numpy(self.labels).to(self.device)
        with torch.inference_mode():
            for start in range(0, len(features), QUERIES):
                rows = slice(start, start + QUERIES)
                query = _directions(torch.from_numpy(features[rows]).to(self.device))
                near, who = self._nearest(query)
                vote = ((near - near[:, :1]) / self.temperature).exp()  # the nearest has weight 1
                votes = near.new_zeros(len(query), self.n_labels).scatter_add_(1, labels[who], vote)
                found[rows] = (votes / votes.sum(dim=1, keepdim=True)).cpu().numpy()
        return found

    def _nearest(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """Return the similarities ``(Q, k)``, largest first, and rows ``(Q, k)`` of the neighbors."""
        n = len(self.labels)
        near = who = None
        for start in range(0, n, ROWS):
            block = torch.from_numpy(self.features[start : start + ROWS]).to(self.device)
            s = query @ _directions(block).T  # (Q, R)
            rows = torch.arange(start, start + len(block), device=self.device).expand_as(s)
            if near is not None and who is not None:  # those found so far come first
                s, rows = torch.cat((near, s), dim=1), torch.cat((who, rows), dim=1)
            near, who = _largest(s, rows, min(self.k, s.shape[1]))
        if near is None or who is None:
            raise RunError("there is no training image to be a neighbor")
        return near, who


def _largest(s: Tensor, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest of each row of ``s``, largest first; of equal ones the first."""
    least = s.topk(k, dim=1).values[:, -1:]
    # All above the k-th largest value, and as many of those at that value as there is room for.
    above, at = s > least, s == least
    room = k - above.sum(dim=1, keepdim=True)
    keep = above | (at & (at.cumsum(dim=1, dtype=torch.int32) <= room))
    where = keep.nonzero()[:, 1].view(len(s), k)
    near, who = s.gather(1, where), rows.gather(1, where)
    order = near.sort(dim=1, descending=True, stable=True).indices
    return near.gather(1, order), who.gather(1, order)


def _directions(features: Tensor) -> Tensor:
    lengths = features.norm(dim=1, keepdim=True)
    return features / torch.where(lengths > 0, lengths, 1.0)
