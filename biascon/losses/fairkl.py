"""FairKL (Barbano et al., ICLR 2023): equal similarity statistics of aligned and conflicting pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from biascon.losses.eps_margin import eps_supinfonce_term
from biascon.losses.pairwise import Anchors, Key, make_anchors

Form = Literal["code", "paper"]

FLOOR = 1e-8  # smallest variance of cosines in the form "paper"


def fairkl(
    z: Tensor,
    labels: Tensor,
    bias: Tensor,
    *,
    temperature: float = 0.1,
    epsilon: float = 0.25,
    weight: float = 1.0,
    form: Form = "code",
    k: float = 1.0,
) -> Tensor:
    """Return eps-SupInfoNCE + ``weight`` * R (Barbano et al., ICLR 2023).

    R compares the cosines z_i . z_j of ordered pairs with *equal* bias values (aligned, a) with those of
    pairs with different bias values (conflicting, c), first for pairs with equal labels, then for pairs with
    different labels (n). m are means of cosines.

    ``code``, as in the authors' code: R = (m_a - m_c)^2 + k (s_a - s_c)^2 - m_c
    + (m_na - m_nc)^2 + k (s_na - s_nc)^2 + m_na. The pair of an anchor with itself is an aligned pair with
    equal labels. A mean without a pair is 0. Each s is the sample standard deviation of all N^2 entries of
    the matrix of cosines in which pairs of the other three kinds are set to 0. The terms without a square
    attract conflicting pairs with equal labels and repel aligned pairs with different labels; R can be
    negative.

    ``paper``: R is the sum of two Kullback-Leibler divergences of Gaussians with the means m and variances v,
    1/2 [(v_a + (m_a - m_c)^2) / v_c - log(v_a / v_c) - 1], over pairs of different anchors. A term is 0 if it
    has fewer than two distinct aligned pairs or fewer than two distinct conflicting pairs. Variances are
    population variances, at least 1e-8. A batch with few conflicting images has a small v_c, and then R
    outweighs the contrastive term.

    Args:
        z: ``(B, V, D)`` L2-normalized embeddings.
        labels: ``(B,)`` integers.
        bias: ``(B,)`` integers.
        temperature: T > 0 of eps-SupInfoNCE. R has no temperature.
        epsilon: The margin of eps-SupInfoNCE, at least 0.
        weight: Weight of R (lambda in the paper), at least 0.
        form: The definition of R.
        k: Weight of the standard deviations if ``form`` is ``"code"``, at least 0; 1 in the authors' code.

    Raises:
        UsageError: A shape or a dtype does not fit.
    """
    batch = make_anchors(z, labels, temperature, bias)
    return eps_supinfonce_term(batch, epsilon) + weight * fairkl_regularizer(batch, form=form, k=k)


def fairkl_regularizer(batch: Anchors, *, form: Form = "code", k: float = 1.0) -> Tensor:
    """Return R of ``fairkl`` for anchors with labels and bias values.

    There are four kinds of ordered pairs. Variables of a kind end in two letters: ``p`` for equal labels or
    ``n`` for different labels, then ``a`` for equal bias values (aligned) or ``c`` for different bias values
    (conflicting).
    """
    if batch.dense and batch.z.device.type == "cpu":
        n, mean, squares = _sums_of_one_block(batch, form)
    else:
        n, mean, squares = _sums_by_blocks(batch, form)
    combine = (
        _paper_terms(mean, squares, n)
        if form == "paper"
        else _code_terms(mean, squares, n, len(batch), k)
    )
    return combine.to(batch.z.dtype)


Sums = tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]]


def _sums_of_one_block(batch: Anchors, form: Form) -> Sums:
    """Return for each kind of pair the number of pairs, the mean cosine and the sum of squares about it.

    All N x N cosines are computed, in float64.
    """
    labels, bias = batch.ids_of("labels"), batch.ids_of("bias")
    x = batch.z.double()
    cosines = (x @ x.T).flatten()  # (N^2,)
    same_label, same_bias = labels[:, None] == labels, bias[:, None] == bias
    masks = (same_label & same_bias, same_label & ~same_bias, same_bias & ~same_label)
    kinds = torch.stack((*masks, ~(same_label | same_bias)))
    if form == "paper":
        kinds.diagonal(dim1=1, dim2=2).fill_(False)
    weights = kinds.flatten(1).to(x.dtype)  # (4, N^2)
    n = weights.sum(dim=1)
    mean = (weights @ cosines) / n.clamp(min=1)
    squares = weights @ (cosines - mean @ weights) ** 2
    return n.unbind(), mean.unbind(), squares.unbind()


def _sums_by_blocks(batch: Anchors, form: Form) -> Sums:
    """Return what ``_sums_of_one_block`` returns, for any number of anchors.

    Nearly all pairs are of kind ``nc``. They are not visited: the sums of this kind are the sums over all
    pairs minus those of the other kinds.
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
    squares, n = (q_pa, q_pc, q_na, q_nc), (n_pa, n_pc, n_na, n_nc)
    return n, mean, squares


def _paper_terms(mean: Sequence[Tensor], squares: Sequence[Tensor], n: Sequence[Tensor]) -> Tensor:
    """Return R of the form ``paper``.

    Args:
        mean: Mean of the cosines of the kinds ``pa``, ``pc``, ``na``, ``nc``, 0 for a kind without a pair.
        squares: Sums of squares about these means.
        n: Numbers of ordered pairs.
    """
    total = torch.zeros_like(mean[0])
    variance = [
        (q / count.clamp(min=1)).clamp(min=FLOOR) for q, count in zip(squares, n, strict=True)
    ]
    for a, c in ((0, 1), (2, 3)):
        gap, v_a, v_c = (mean[a] - mean[c]) ** 2, variance[a], variance[c]
        r = 0.5 * ((v_a + gap) / v_c - torch.log(v_a / v_c) - 1)
        # Two ordered pairs are one distinct pair.
        total = total + torch.where((n[a] >= 4) & (n[c] >= 4), r, 0.0)
    return total


def _code_terms(
    mean: Sequence[Tensor], squares: Sequence[Tensor], n: Sequence[Tensor], size: int, k: float
) -> Tensor:
    """Return R of the form ``code``; the arguments are those of ``_paper_terms``, and N and k."""
    deviation = []
    for m, q, count in zip(mean, squares, n, strict=True):
        # The sum of squares about the mean of all N^2 entries, of which N^2 - count are 0.
        total = q.clamp(min=0) + count * m**2 * (1 - count / max(size**2, 1))
        variance = total / max(size**2 - 1, 1)
        has_spread = variance > 1e-16  # the square root has no gradient at 0
        deviation.append(
            torch.where(has_spread, torch.where(has_spread, variance, 1.0).sqrt(), 0.0)
        )
    gaps = (mean[0] - mean[1]) ** 2 + (mean[2] - mean[3]) ** 2
    spreads = (deviation[0] - deviation[1]) ** 2 + (deviation[2] - deviation[3]) ** 2
    return gaps + k * spreads - mean[1] + mean[2]


def _masked_sum(values: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, values, 0.0).sum(dim=1)


def _total(batch: Anchors, key: Key, terms: Callable[..., list[Tensor]]) -> tuple[Tensor, ...]:
    """Return the sums of per-anchor terms over all anchors, in float64 on devices that have float64."""
    table = batch.map_rows(lambda *pairs: torch.stack(terms(*pairs), dim=1), key)
    wide = table if table.device.type == "mps" else table.double()
    return wide.sum(dim=0).unbind()
