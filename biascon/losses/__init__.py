"""The losses: one idea a file, one line a loss.

``get_loss(name, **parameters)`` gives a callable ``loss(z, labels, bias=None, **inputs) -> scalar``. What
``z`` is depends on the kind: L2-normalized embeddings ``(B, V, D)`` for the contrastive losses,
logits ``(B, V, K)`` for the losses on a classifier. ``inputs`` are the tensors that ``needs`` names beyond
views, labels and bias. Notation: B images, V views each; every pair (image, view) is an anchor i;
s_ij = z_i . z_j / T; A(i) all other anchors, P(i) the others with the same label, N(i) those with another
label, S(i) the other views of the same image, Q(i) those of P(i) with another bias attribute b. Each loss
is a mean over the anchors whose sets are not empty, and 0 with a zero gradient where there is none.
"""

from biascon.losses.loss import (
    PLUGIN_GROUP,
    Loss,
    default_parameters,
    get_entry,
    get_loss,
    list_losses,
    uses_bias_labels,
)
from biascon.losses.registry import LOSSES, NEEDS, FirstStage, LossEntry

__all__ = [
    "LOSSES",
    "NEEDS",
    "PLUGIN_GROUP",
    "FirstStage",
    "Loss",
    "LossEntry",
    "default_parameters",
    "get_entry",
    "get_loss",
    "list_losses",
    "uses_bias_labels",
]  # fmt: skip
