"""A batch of any size for every loss of the registry."""

from __future__ import annotations

import torch
from torch import Tensor

from biascon.losses import LOSSES

CLASSES = 10
WIDTH = 128  # of embeddings and features


def make_batch(name: str, anchors: int, views: int = 2, seed: int = 0) -> dict[str, Tensor]:
    """Draw the arguments of a loss on the CPU, in float64: ``z``, ``labels``, ``bias`` and inputs by name.

    The bias value is the label for 90 % of the images.

    Args:
        name: The name of the loss.
        anchors: B * V, the number of vectors that the loss compares.
        views: V.
        seed: The seed.
    """
    draw = torch.Generator().manual_seed(seed)
    n = anchors // views

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    labels = torch.randint(CLASSES, (n,), generator=draw)
    other = torch.randint(CLASSES, (n,), generator=draw)
    bias = torch.where(torch.rand(n, generator=draw) < 0.9, labels, other)
    counts = torch.ones(CLASSES, CLASSES, dtype=torch.long)
    counts.index_put_((labels, bias), torch.ones(n, dtype=torch.long), accumulate=True)
    weights = torch.rand(CLASSES, CLASSES, generator=draw, dtype=torch.float64) + 0.1
    logits = normal(n, views, CLASSES)
    z = logits
    if LOSSES[name].input_kind == "embeddings":
        # Vectors of a class lie near each other, as in training.
        z = torch.nn.functional.normalize(
            normal(CLASSES, WIDTH)[labels][:, None] + normal(n, views, WIDTH), dim=-1
        )
    tensors = {
        "logits": logits,
        "features": normal(n, views, WIDTH),
        "bias_features": normal(n, WIDTH),
        "bias_losses": normal(n).abs(),
        "weights": torch.where(normal(n) > 1, 20.0, 1.0).double(),
        "counts": counts,
        "group_weights": weights / weights.sum(),
        "partner_labels": labels.roll(1),
        "partner_bias": bias.roll(1),
        "mix": torch.rand(n, generator=draw, dtype=torch.float64),
    }
    inputs = {key: tensors[key] for key in LOSSES[name].tensor_inputs}
    return {"z": z, "labels": labels, "bias": bias, **inputs}
