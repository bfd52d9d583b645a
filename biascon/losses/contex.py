"""ConTeX (Deng and Yang, IEEE TMM 27:429-441, 2025): a context term over labels, a self term over views."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from biascon.losses.pairwise import Anchors, LogSums, make_anchors, mean_of_anchors, mean_over
from biascon.losses.simclr import check_views, simclr_term

Form = Literal["plain", "clip", "log1p", "separate"]


def contex(
    z: Tensor,
    labels: Tensor,
    bias: Tensor | None = None,
    *,
    temperature: float = 0.1,
    wa: float = 0.5,
    wb: float = 0.5,
    form: Form = "plain",
) -> Tensor:
    """Return wa * La + wb * Lb (Deng and Yang, IEEE TMM 2025), in one of four published forms.

    La, the context term, is a mean over the anchors with a positive and a negative. Lb, the self term, is the
    loss of SimCLR on the same batch, except in the form ``separate``.

    ``plain``, the entry point of the authors' code: La = -mean_{p in P(i)} [s_ip - log sum_{n in N(i)} exp
    s_in]. It is unbounded below: a positive that is much closer than every negative is still attracted.
    ``clip``, the clamped variant of the authors: La = -mean_P min(s_ip - log sum_N exp s_in, 0). Such a
    positive has zero loss and zero gradient.
    ``log1p``, after the history of the authors' code: La = mean_P log(1 + sum_N exp s_in) - s_ip, at least
    -1/T. Weights 0.6 and 0.4 stand there. Their code subtracts the largest similarity of the row before, so
    that exp(1/T) takes the place of 1.
    ``separate``, from the code of a later paper (D2AFC): the positives of La are those of other images,
    P(i) without S(i), and Lb = -log(1 + sum_{S(i)} exp s / sum_{other images} exp s). Both terms are
    unbounded below. Its weights are 0.7 and 0.3.

    ``get_loss`` sets the weights of the form where the caller sets none.

    Args:
        z: ``(B, V, D)`` L2-normalized embeddings; two views or more unless wb is 0. With one label in the
            batch no anchor has a negative, and La is 0.
        labels: ``(B,)`` integers.
        bias: Not used.
        temperature: T > 0, the same in both terms.
        wa: Weight of La, at least 0.
        wb: Weight of Lb, at least 0. The authors' later code uses wa = w, wb = 1 - w.
        form: The definition of La and Lb.

    Raises:
        UsageError: A shape or a dtype does not fit, or there is one view and wb is above 0.
    """
    batch = make_anchors(z, labels, temperature)
    if wb > 0:
        check_views(z)
    logs = batch.log_sums("labels")
    if form == "separate":
        return wa * _separate_context_term(batch, logs) + wb * _separate_self_term(batch)
    return wa * _context_term(batch, logs, form) + wb * simclr_term(batch, logs.all)


def _context_term(batch: Anchors, logs: LogSums, form: Form) -> Tensor:
    """Return La of the forms ``plain``, ``clip`` and ``log1p``."""
    if form == "clip":

        def clamped(s: Tensor, mask: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
            return mean_over(torch.clamp(s - logs.negatives[rows, None], max=0.0), mask)

        u = batch.map_rows(clamped, "labels")
    else:
        repulsion = logs.negatives
        if form == "log1p":
            repulsion = torch.logaddexp(repulsion, torch.zeros_like(repulsion))
        u = logs.similarity_sum / logs.n_positives.clamp(min=1) - repulsion
    return mean_of_anchors(-u, (logs.n_positives > 0) & (logs.n_negatives > 0))


def _separate_context_term(batch: Anchors, logs: LogSums) -> Tensor:
    """Return La of the form ``separate``: the positives are the anchors of other images with the label."""
    label_sum, n_label = batch.similarity_sums("labels")
    own_sum, n_own = batch.similarity_sums("image")
    n = n_label - n_own
    attraction = (label_sum - own_sum) / n.clamp(min=1)
    return mean_of_anchors(logs.negatives - attraction, (n > 0) & (logs.n_negatives > 0))


def _separate_self_term(batch: Anchors) -> Tensor:
    """Return Lb of the form ``separate``. An anchor counts if there are other views and other images."""
    logs = batch.log_sums("image")
    ratio = logs.positives - logs.negatives
    value = -torch.logaddexp(ratio, torch.zeros_like(ratio))
    return mean_of_anchors(value, (logs.n_positives > 0) & (logs.n_negatives > 0))
