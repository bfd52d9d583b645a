"""ConTeX (Deng and Yang, IEEE TMM 27:429-441, 2025): a context term over labels, a self term over views."""

from __future__ import annotations

import torch
from torch import Tensor

from biascon.losses.pairwise import Anchors, LogSums, make_anchors, mean_of_anchors, mean_over
from biascon.losses.simclr import simclr_term


def contex(
    z: Tensor,
    labels: Tensor,
    bias: Tensor | None = None,
    *,
    temperature: float = 0.1,
    wa: float = 0.5,
    wb: float = 0.5,
    clip: bool = False,
) -> Tensor:
    """Return wa * La + wb * Lb (Deng and Yang, IEEE TMM 2025).

    La, the context term, is the mean over anchors of
    -mean_{p in P(i)} f(s_ip - log sum_{n in N(i)} exp s_in). The normalizer holds negatives only.
    Lb, the self term, is the loss of SimCLR on the same batch.

    ``clip=False`` is f(u) = u, the entry point of the authors' code. It is unbounded below: a positive that
    is much closer than every negative is still attracted. ``clip=True`` is f(u) = min(u, 0), the clamped
    variant of the authors: such a positive has zero loss and zero gradient.

    Args:
        z: ``(B, V, D)`` L2-normalized embeddings. With one view Lb is 0. With one label in the batch no
            anchor has a negative, and La is 0.
        labels: ``(B,)`` integers.
        bias: Not used.
        temperature: T > 0, the same in both terms.
        wa: Weight of La, at least 0.
        wb: Weight of Lb, at least 0. The authors' later code uses wa = w, wb = 1 - w.
        clip: Whether f is min(u, 0).

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    batch = make_anchors(z, labels, temperature)
    logs = batch.log_sums("labels")
    return wa * _context_term(batch, logs, clip=clip) + wb * simclr_term(batch, logs.all)


def _context_term(batch: Anchors, logs: LogSums, *, clip: bool) -> Tensor:
    """Return La of ``contex``. An anchor counts if it has a positive and a negative."""
    if clip:

        def clamped(s: Tensor, mask: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
            return mean_over(torch.clamp(s - logs.negatives[rows, None], max=0.0), mask)

        u = batch.map_rows(clamped, "labels")
    else:
        u = batch.similarity_sums("labels")[0] / logs.n_positives.clamp(min=1) - logs.negatives
    return mean_of_anchors(-u, (logs.n_positives > 0) & (logs.n_negatives > 0))
