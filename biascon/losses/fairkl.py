"""FairKL (Barbano et al., ICLR 2023): equal similarity statistics of aligned and conflicting pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from biascon.losses.eps_margin import eps_supinfonce_term
from biascon.losses.pairwise import Anchors, Key, make_anchors

FLOOR = 1e-8  # smallest variance of cosines


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
    """Return eps-SupInfoNCE + ``weight`` * R (Barbano et al., ICLR 2023).

    R is the sum of one term for pairs with equal labels and one term for pairs with different labels. In each
    term, m_a and v_a are the mean and variance of the cosines z_i . z_j of pairs with *equal* bias values
    (aligned), and m_c and v_c those of pairs with different bias values (conflicting), over all ordered
    pairs.

    ``paper``: the term is the Kullback-Leibler divergence of the two Gaussians,
    1/2 [(v_a + (m_a - m_c)^2) / v_c - log(v_a / v_c) - 1], over pairs of different anchors.
    ``code``: the term is (m_a - m_c)^2 + k (sqrt v_a - sqrt v_c)^2. The pair of an anchor with itself counts
    as aligned, as in the authors' code.

    A term is 0 if it has fewer than two distinct aligned pairs or fewer than two distinct conflicting pairs.
    Variances are population variances, at least 1e-8.

    Args:
        z: ``(B, V, D)`` L2-normalized embeddings.
        labels: ``(B,)`` integers.
        bias: ``(B,)`` integers.
        temperature: T > 0 of eps-SupInfoNCE. R has no temperature.
        epsilon: The margin of eps-SupInfoNCE, at least 0.
        weight: Weight of R (lambda in the paper), at least 0.
        form: The definition of R.
        k: Weight of the standard deviations if ``form`` is ``"code"``, at least 0.

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    batch = make_anchors(z, labels, temperature, bias)
    return eps_supinfonce_term(batch, epsilon) + weight * fairkl_regularizer(batch, form=form, k=k)


def fairkl_regularizer(
    batch: Anchors, *, form: Literal["paper", "code"] = "paper", k: float = 1.0
) -> Tensor:
    """Return R of ``fairkl`` for anchors with labels and bias values.

    There are four kinds of ordered pairs. Variables of a kind end in two letters: ``p`` for equal labels or
    ``n`` for different labels, then ``a`` for equal bias values (aligned) or ``c`` for different bias values
    (conflicting). Nearly all pairs are of kind ``nc``. They are not visited: the sums of this kind are the
    sums over all pairs minus those of the other kinds.
    """
    labels, bias, t = batch.ids_of("labels"), batch.ids_of("bias"), batch.temperature

    def same_label_kinds(mask: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Return the masks of ``pa`` and ``pc`` among pairs with equal labels."""
        if form == "code":
            mask = mask | (rows[:, None] == columns[None, :])
        same = bias[rows][:, None] == bias[columns][None, :]
        return mask & same, mask & ~same

    def same_bias_kinds(mask: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor]:
        """Return the mask of ``na`` among pairs with equal bias values."""
        return (mask & (labels[rows][:, None] != labels[columns][None, :]),)

    def cosine_sums(s: Tensor, kinds: tuple[Tensor, ...]) -> list[Tensor]:
        """Return for each kind the number of pairs, then for each kind the sum of cosines."""
        counts = [kind.sum(dim=1).to(s.dtype) for kind in kinds]
        return counts + [_masked_sum(s * t, kind) for kind in kinds]

    n_pa, n_pc, s_pa, s_pc = _total(
        batch, "labels", lambda s, *pairs: cosine_sums(s, same_label_kinds(*pairs))
    )
    n_na, s_na = _total(batch, "bias", lambda s, *pairs: cosine_sums(s, same_bias_kinds(*pairs)))
    x = batch.z if batch.z.device.type == "mps" else batch.z.double()
    self_cosines = (x * x).sum(dim=1)  # (N,): pairs of an anchor with itself; in "code" of kind pa
    excluded = self_cosines.sum() if form == "paper" else 0.0
    n_all = len(x) ** 2 - (len(x) if form == "paper" else 0)
    s_all = (x.sum(dim=0) ** 2).sum() - excluded
    n_nc = n_all - n_pa - n_pc - n_na
    s_nc = torch.where(n_nc > 0, s_all - s_pa - s_pc - s_na, 0.0)
    mean = [s / n.clamp(min=1) for s, n in ((s_pa, n_pa), (s_pc, n_pc), (s_na, n_na), (s_nc, n_nc))]
    m_pa, m_pc, m_na, m_nc = (m.to(batch.z.dtype) for m in mean)

    def squared_deviations(
        s: Tensor, kinds: tuple[Tensor, ...], means: tuple[Tensor, ...]
    ) -> list[Tensor]:
        """Return for each kind the sum of squares about its mean, then about the mean of ``nc``."""
        own = [_masked_sum((s * t - m) ** 2, kind) for kind, m in zip(kinds, means, strict=True)]
        return [*own, *(_masked_sum((s * t - m_nc) ** 2, kind) for kind in kinds)]

    q_pa, q_pc, r_pa, r_pc = _total(
        batch,
        "labels",
        lambda s, *pairs: squared_deviations(s, same_label_kinds(*pairs), (m_pa, m_pc)),
    )
    q_na, r_na = _total(
        batch, "bias", lambda s, *pairs: squared_deviations(s, same_bias_kinds(*pairs), (m_na,))
    )
    m = mean[3]
    r_all = (((x.T @ x) ** 2).sum() - 2 * m * (x.sum(dim=0) ** 2).sum()) + m**2 * len(x) ** 2
    if form == "paper":
        r_all = r_all - ((self_cosines - m) ** 2).sum()
    q_nc = torch.where(n_nc > 0, r_all - r_pa - r_pc - r_na, 0.0)
    squares = ((q_pa, n_pa), (q_pc, n_pc), (q_na, n_na), (q_nc, n_nc))
    variance = [(q / n.clamp(min=1)).clamp(min=FLOOR) for q, n in squares]
    # Two ordered pairs are one distinct pair; a pair of an anchor with itself is counted twice here.
    n_self = len(x) if form == "code" else 0
    return _sum_terms(mean, variance, (n_pa + n_self, n_pc, n_na, n_nc), form, k).to(batch.z.dtype)


def _sum_terms(
    mean: Sequence[Tensor],
    variance: Sequence[Tensor],
    n: Sequence[Tensor],
    form: Literal["paper", "code"],
    k: float,
) -> Tensor:
    """Return the sum of both terms of R from the statistics of the kinds ``pa``, ``pc``, ``na``, ``nc``."""
    total = torch.zeros((), dtype=mean[0].dtype, device=mean[0].device)
    for a, c in ((0, 1), (2, 3)):
        gap, v_a, v_c = (mean[a] - mean[c]) ** 2, variance[a], variance[c]
        if form == "paper":
            r = 0.5 * ((v_a + gap) / v_c - torch.log(v_a / v_c) - 1)
        else:
            r = gap + k * (v_a.sqrt() - v_c.sqrt()) ** 2
        total = total + torch.where((n[a] >= 4) & (n[c] >= 4), r, 0.0)
    return total


def _masked_sum(values: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, values, 0.0).sum(dim=1)


def _total(batch: Anchors, key: Key, terms: Callable[..., list[Tensor]]) -> tuple[Tensor, ...]:
    """Return the sums of per-anchor terms over all anchors, in float64 on devices that have float64."""
    table = batch.map_rows(lambda *pairs: torch.stack(terms(*pairs), dim=1), key)
    wide = table if table.device.type == "mps" else table.double()
    return wide.sum(dim=0).unbind()
