"""FairKL (Barbano et al., ICLR 2023): bias-aligned and bias-conflicting pairs alike in similarity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from biascon.losses.eps_margin import eps_supinfonce_term
from biascon.losses.pairwise import Anchors, Key, make_anchors

FLOOR = 1e-8  # the least variance of cosines that the Gaussians are given


def fairkl(
    z: Tensor,
    labels: Tensor,
    bias: Tensor,
    *,
    temperature: float = 0.1,
    epsilon: float = 0.25,
    weight: float = 1.0,
    form: Literal["paper", "code"] = "paper",
    k: float = 1.0,
) -> Tensor:
    """Return eps-SupInfoNCE + ``weight`` * R.

    R is a sum over two kinds of pairs, those of one label and those of two labels. For each kind let
    m_a, v_a be mean and variance of the cosines z_i . z_j of pairs with the *same* bias attribute, and
    m_c, v_c of pairs with different ones, over all ordered pairs of the batch:

    ``paper``: the Kullback-Leibler divergence of the two Gaussians,
    1/2 [(v_a + (m_a - m_c)^2) / v_c - log(v_a / v_c) - 1], over pairs of different anchors.
    ``code``: (m_a - m_c)^2 + k (sqrt v_a - sqrt v_c)^2, with each anchor's pair with itself among the
    aligned ones, as the authors' code has it.

    A kind of which one side has fewer than two distinct pairs contributes nothing. Variances are those
    of the population, at least 1e-8.

    Args:
        z: ``(B, V, D)`` L2-normalized embeddings.
        labels: ``(B,)`` integers.
        bias: ``(B,)`` integers.
        temperature: T > 0, of eps-SupInfoNCE; R is on cosines.
        epsilon: The margin of eps-SupInfoNCE, at least 0.
        weight: lambda, at least 0.
        form: Which R.
        k: Weight of the standard deviations in ``code``, at least 0.

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    batch = make_anchors(z, labels, temperature, bias)
    return eps_supinfonce_term(batch, epsilon) + weight * fairkl_regularizer(batch, form=form, k=k)


def fairkl_regularizer(
    batch: Anchors, *, form: Literal["paper", "code"] = "paper", k: float = 1.0
) -> Tensor:
    """R above on a batch of anchors that has labels and bias."""
    labels, bias, t = batch.ids_of("labels"), batch.ids_of("bias"), batch.temperature

    def of_label(mask: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Aligned and conflicting pairs of one label."""
        if form == "code":
            mask = mask | (rows[:, None] == columns[None, :])
        same = bias[rows][:, None] == bias[columns][None, :]
        return mask & same, mask & ~same

    def of_bias(mask: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor]:
        """Aligned pairs of two labels; the conflicting ones, nearly all, are what is left."""
        return (mask & (labels[rows][:, None] != labels[columns][None, :]),)

    def first(s: Tensor, kinds: tuple[Tensor, ...]) -> list[Tensor]:
        counts = [kind.sum(dim=1).to(s.dtype) for kind in kinds]
        return counts + [_masked(s * t, kind) for kind in kinds]

    n_pa, n_pc, s_pa, s_pc = _sum(batch, "labels", lambda s, *w: first(s, of_label(*w)))
    n_na, s_na = _sum(batch, "bias", lambda s, *w: first(s, of_bias(*w)))
    x = batch.z if batch.z.device.type == "mps" else batch.z.double()
    selves = (x * x).sum(dim=1)  # (N,): a pair with itself is among those of one label in "code"
    own = selves.sum() if form == "paper" else 0.0
    n_all = len(x) ** 2 - (len(x) if form == "paper" else 0)
    s_all = (x.sum(dim=0) ** 2).sum() - own
    n_nc = n_all - n_pa - n_pc - n_na
    s_nc = torch.where(n_nc > 0, s_all - s_pa - s_pc - s_na, 0.0)
    mean = [s / n.clamp(min=1) for s, n in ((s_pa, n_pa), (s_pc, n_pc), (s_na, n_na), (s_nc, n_nc))]
    pa, pc, na, nc = (m.to(batch.z.dtype) for m in mean)

    def second(s: Tensor, kinds: tuple[Tensor, ...], about: tuple[Tensor, ...]) -> list[Tensor]:
        near = [_masked((s * t - m) ** 2, kind) for kind, m in zip(kinds, about, strict=True)]
        return [*near, *(_masked((s * t - nc) ** 2, kind) for kind in kinds)]

    q_pa, q_pc, r_pa, r_pc = _sum(batch, "labels", lambda s, *w: second(s, of_label(*w), (pa, pc)))
    q_na, r_na = _sum(batch, "bias", lambda s, *w: second(s, of_bias(*w), (na,)))
    m = mean[3]
    about = (((x.T @ x) ** 2).sum() - 2 * m * (x.sum(dim=0) ** 2).sum()) + m**2 * len(x) ** 2
    if form == "paper":
        about = about - ((selves - m) ** 2).sum()
    q_nc = torch.where(n_nc > 0, about - r_pa - r_pc - r_na, 0.0)
    spread = ((q_pa, n_pa), (q_pc, n_pc), (q_na, n_na), (q_nc, n_nc))
    variance = [(q / n.clamp(min=1)).clamp(min=FLOOR) for q, n in spread]
    total = torch.zeros((), dtype=x.dtype, device=x.device)
    # Two ordered pairs are one; a pair with itself is one alone.
    n_own = len(x) if form == "code" else 0
    for a, c, n_a, n_c in ((0, 1, n_pa + n_own, n_pc), (2, 3, n_na, n_nc)):
        gap, va, vc = (mean[a] - mean[c]) ** 2, variance[a], variance[c]
        if form == "paper":
            r = 0.5 * ((va + gap) / vc - torch.log(va / vc) - 1)
        else:
            r = gap + k * (va.sqrt() - vc.sqrt()) ** 2
        total = total + torch.where((n_a >= 4) & (n_c >= 4), r, 0.0)
    return total.to(batch.z.dtype)


def _masked(values: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, values, 0.0).sum(dim=1)


def _sum(batch: Anchors, key: Key, terms: Callable[..., list[Tensor]]) -> tuple[Tensor, ...]:
    """Return the sums over all anchors of what ``terms`` gives for each, in float64 where there is one."""
    table = batch.map_rows(lambda *pairs: torch.stack(terms(*pairs), dim=1), key)
    wide = table if table.device.type == "mps" else table.double()
    return wide.sum(dim=0).unbind()
