"""Losses: one method a file, one line a loss in the registry.

``get_loss(name, **parameters)`` returns a callable ``loss(z, labels, bias=None, **inputs) -> scalar``. For
contrastive losses ``z`` holds L2-normalized embeddings ``(B, V, D)``; for losses on a classifier it holds
logits ``(B, V, K)``. ``inputs`` are the tensors that ``tensor_inputs`` names.

Notation: B images, V views of each image. Every pair (image, view) is an anchor i. T is the temperature,
and s_ij = z_i . z_j / T. A(i) are all other anchors. P(i) are the other anchors with the same label
(positives), N(i) the anchors with another label (negatives), S(i) the other views of the same image, and
Q(i) the anchors of P(i) with another value of the bias attribute b. Each loss is a mean over the anchors
whose sets are not empty. Without such an anchor the loss is 0 with a zero gradient.
"""

from biascon.losses.loss import (
    PLUGIN_GROUP,
    Loss,
    canonical_name,
    default_parameters,
    get_entry,
    get_loss,
    list_losses,
    usable_losses,
    uses_bias_labels,
)
from biascon.losses.registry import LOSSES, NEEDS, FirstStage, LossEntry, Requirement

__all__ = [
    "LOSSES",
    "NEEDS",
    "PLUGIN_GROUP",
    "FirstStage",
    "Loss",
    "LossEntry",
    "Requirement",
    "canonical_name",
    "default_parameters",
    "get_entry",
    "get_loss",
    "list_losses",
    "usable_losses",
    "uses_bias_labels",
]  # fmt: skip
