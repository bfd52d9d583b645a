"""What is told of the validation split after an epoch: top-1, top-5, and the accuracies by cells."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from biascon.data.dataset import BiasedDataset
from biascon.measures import measure_accuracies

Array = npt.NDArray[Any]
KEPT = ("n", "top1", "unbiased", "bias_aligned", "bias_conflicting")
TOP = 5


def accuracies(data: BiasedDataset, scores: Array) -> dict[str, Any]:
    """Return the accuracies of scores ``(N, K)`` on the validation split, top-5 where K is more than 5."""
    val = data.splits["val"]
    found = measure_accuracies(val, scores.argmax(axis=1), data.n_labels, data.n_bias)
    told = {key: found[key] for key in KEPT}
    return {**told, "top5": top_k(scores, val.labels, TOP)} if data.n_labels > TOP else told


def top_k(scores: Array, labels: Array, k: int) -> float:
    """Return the share of rows whose label is among the k highest scores; of equal scores the first counts.

    >>> top_k(np.array([[0.5, 0.3, 0.2], [0.2, 0.4, 0.4]]), np.array([1, 2]), 2)
    1.0
    """
    own = scores[np.arange(len(labels)), labels][:, None]
    before = np.arange(scores.shape[1]) < labels[:, None]
    higher = (scores > own).sum(axis=1) + ((scores == own) & before).sum(axis=1)
    return float((higher < k).mean())
