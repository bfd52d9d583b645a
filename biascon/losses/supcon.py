"""SupCon (Khosla et al., NeurIPS 2020): every anchor of the same label is a positive."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from biascon.losses.end import end_regularizer
from biascon.losses.fairkl import fairkl_regularizer
from biascon.losses.pairwise import Anchors, make_anchors, mean_of_anchors


def supcon(
    z: Tensor,
    labels: Tensor,
    bias: Tensor | None = None,
    *,
    temperature: float = 0.1,
    form: Literal["out", "in"] = "out",
) -> Tensor:
    """Return the mean over anchors of the supervised contrastive loss, in either of its two forms.

    ``out``: -mean_{p in P(i)} [s_ip - log sum_{a in A(i)} exp s_ia]: the sum outside the logarithm.
    ``in``: -[log mean_{p in P(i)} exp s_ip - log sum_{a in A(i)} exp s_ia]: inside it.

    Args:
        z: ``(B, V, D)`` L2-normalized embeddings.
        labels: ``(B,)`` integers.
        bias: Ignored.
        temperature: T > 0.
        form: ``"out"`` or ``"in"``.

    Raises:
        UsageError: Shapes or dtypes that do not fit.
    """
    return supcon_term(make_anchors(z, labels, temperature), form)


def supcon_term(batch: Anchors, form: Literal["out", "in"] = "out") -> Tensor:
    """The loss above on a batch of anchors."""
    logs = batch.log_sums("labels")
    if form == "in":
        attraction = logs.positives - torch.log(
            logs.n_positives.clamp(min=1).to(logs.positives.dtype)
        )
    else:
        attraction = batch.similarity_sums("labels")[0] / logs.n_positives.clamp(min=1)
    return mean_of_anchors(logs.all - attraction, logs.n_positives > 0)


def supcon_fairkl(
    z: Tensor,
    labels: Tensor,
    bias: Tensor,
    *,
    temperature: float = 0.1,
    weight: float = 1.0,
    form: Literal["paper", "code"] = "paper",
    k: float = 1.0,
) -> Tensor:
    """Return SupCon (out) + ``weight`` * FairKL's regularizer (see ``biascon.losses.fairkl``).

    Args:
        z: ``(B, V, D)`` L2-normalized embeddings.
        labels: ``(B,)`` integers.
        bias: ``(B,)`` integers.
        temperature: T > 0.
        weight: Of the regularizer, at least 0.
        form: Of the regularizer, ``"paper"`` or ``"code"``.
        k: Of the regularizer's form ``"code"``, at least 0.

    Raises:
        UsageError: Shapes or dtypes that do not fit.
    """
    batch = make_anchors(z, labels, temperature, bias)
    return supcon_term(batch) + weight * fairkl_regularizer(batch, form=form, k=k)


def supcon_end(
    z: Tensor,
    labels: Tensor,
    bias: Tensor,
    *,
    temperature: float = 0.1,
    alpha: float = 0.1,
    beta: float = 0.1,
) -> Tensor:
    """Return SupCon (out) + EnD's two regularizers on the embeddings (see ``biascon.losses.end``).

    Args:
        z: ``(B, V, D)`` L2-normalized embeddings.
        labels: ``(B,)`` integers.
        bias: ``(B,)`` integers.
        temperature: T > 0, of SupCon; EnD's Gram entries are plain cosines.
        alpha: Weight of R_perp, at least 0.
        beta: Weight of R_par, at least 0.

    Raises:
        UsageError: Shapes or dtypes that do not fit.
    """
    batch = make_anchors(z, labels, temperature, bias)
    return supcon_term(batch) + end_regularizer(make_anchors(z, labels, 1.0, bias), alpha, beta)
