"""What is told of the validation split after an epoch: top-1, top-5, and the accuracies by cells."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from biascon.data.dataset import BiasedDataset
from biascon.measures import TOP, measure_accuracies, top_k

Array = npt.NDArray[Any]
KEPT = ("n", "top1", "unbiased", "bias_aligned", "bias_conflicting")


def accuracies(data: BiasedDataset, scores: Array) -> dict[str, Any]:
    """Return the accuracies of scores ``(N, K)`` on the validation split, top-5 where K is more than 5."""
    val = data.splits["val"]
    found = measure_accuracies(val, scores.argmax(axis=1), data)
    told: dict[str, Any] = {key: found[key] for key in KEPT}
    if data.n_labels > TOP:
        told["top5"] = float(top_k(val.labels, scores, TOP).mean())
    return told
