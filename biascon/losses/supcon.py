"""SupCon (Khosla et al., NeurIPS 2020), alone and with the regularizers of FairKL and EnD."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from biascon.losses.end import end_regularizer
from biascon.losses.fairkl import Form, fairkl_regularizer
from biascon.losses.pairwise import Anchors, make_anchors, mean_of_anchors


def supcon(
    z: Tensor,
    labels: Tensor,
    bias: Tensor | None = None,
    *,
    temperature: float = 0.1,
    form: Literal["out", "in"] = "out",
) -> Tensor:
    """Return the supervised contrastive loss (Khosla et al., NeurIPS 2020): a mean over anchors.

    ``out``: -mean_{p in P(i)} [s_ip - log sum_{a in A(i)} exp s_ia], with the mean outside the logarithm.
    ``in``: -[log mean_{p in P(i)} exp s_ip - log sum_{a in A(i)} exp s_ia], with the mean inside the
    logarithm.

    Args:
        z: ``(B, V, D)`` L2-normalized embeddings.
        labels: ``(B,)`` integers.
        bias: Not used.
        temperature: T > 0.
        form: ``"out"`` or ``"in"``.

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    return supcon_term(make_anchors(z, labels, temperature), form)


def supcon_term(batch: Anchors, form: Literal["out", "in"] = "out") -> Tensor:
    """Return the supervised contrastive loss of anchors with labels."""
    logs = batch.log_sums("labels")
    if form == "in":
        attraction = logs.positives - torch.log(
            logs.n_positives.clamp(min=1).to(logs.positives.dtype)
        )
    else:
        attraction = logs.similarity_sum / logs.n_positives.clamp(min=1)
    return mean_of_anchors(logs.all - attraction, logs.n_positives > 0)


def supcon_fairkl(
    z: Tensor,
    labels: Tensor,
    bias: Tensor,
    *,
    temperature: float = 0.1,
    weight: float = 1.0,
    form: Form = "code",
    k: float = 1.0,
) -> Tensor:
    """Return SupCon (``out``) + ``weight`` * R, the regularizer of FairKL (Barbano et al., ICLR 2023).

    R is defined in ``biascon.losses.fairkl``.

    Args:
        z: ``(B, V, D)`` L2-normalized embeddings.
        labels: ``(B,)`` integers.
        bias: ``(B,)`` integers.
        temperature: T > 0.
        weight: Weight of R, at least 0.
        form: The definition of R, ``"code"`` or ``"paper"``.
        k: Weight of the standard deviations in R if ``form`` is ``"code"``, at least 0.

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    batch = make_anchors(z, labels, temperature, bias)
    return supcon_term(batch) + weight * fairkl_regularizer(batch, form=form, k=k)


def supcon_end(
    z: Tensor,
    labels: Tensor,
    bias: Tensor,
    *,
    temperature: float = 0.1,
    alpha: float = 1.0,
    beta: float = 1.0,
) -> Tensor:
    """Return SupCon (``out``) + alpha * R_perp + beta * R_par of EnD (Tartaglione et al., CVPR 2021).

    R_perp and R_par are defined in ``biascon.losses.end``; here g_ij are cosines of embeddings.

    Args:
        z: ``(B, V, D)`` L2-normalized embeddings.
        labels: ``(B,)`` integers.
        bias: ``(B,)`` integers.
        temperature: T > 0 of SupCon. The terms of EnD have no temperature.
        alpha: Weight of R_perp, at least 0.
        beta: Weight of R_par, at least 0.

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    batch = make_anchors(z, labels, temperature, bias)
    return supcon_term(batch) + end_regularizer(make_anchors(z, labels, 1.0, bias), alpha, beta)
