"""Oracles of FSCL, Correct-n-Contrast, LISA, logit correction, BAdd and AFR: loops over anchors."""

from __future__ import annotations

import math

from tests.losses.oracles_plain import ce, dot, flatten, log_sum_exp, mean, of_image


def _pairs(z, labels, bias, temperature):
    """Return for each anchor its label, its bias value and a list of (s, label, bias value) of the others."""
    points = [(vector, labels[image], bias[image]) for vector, image in flatten(z)]
    rows = []
    for i, (zi, yi, bi) in enumerate(points):
        others = [
            (dot(zi, zj) / temperature, yj, bj) for j, (zj, yj, bj) in enumerate(points) if j != i
        ]
        rows.append((yi, bi, others))
    return rows


def fscl(z, labels, bias, *, temperature, group_norm):
    by_group = {}
    for y, b, others in _pairs(z, labels, bias, temperature):
        negatives = [s for s, yj, bj in others if yj != y and bj == b]
        terms = {}
        for s, yj, bj in others:
            if yj == y and negatives:
                group = bj if group_norm else None
                terms.setdefault(group, []).append(log_sum_exp(negatives) - s)
        if terms:
            group = (y, b) if group_norm else None
            by_group.setdefault(group, []).append(mean([mean(part) for part in terms.values()]))
    return mean([mean(values) for values in by_group.values()])


def cnc(z, labels, bias, *, logits, temperature, contrast_weight):
    losses = []
    for y, b, others in _pairs(z, labels, bias, temperature):
        positives = [s for s, yj, bj in others if yj == y and bj != b]
        negatives = [s for s, yj, bj in others if yj != y and bj == b]
        if positives and negatives:
            normalizer = log_sum_exp(positives + negatives)
            losses.append(mean([normalizer - s for s in positives]))
    contrast = mean(losses) or 0.0
    return contrast_weight * contrast + (1 - contrast_weight) * (ce(logits, labels, None) or 0.0)


def badd(z, labels, bias, *, m):
    del m  # the training loop adds the bias features
    return ce(z, labels, bias)


def afr(z, labels, bias, *, gamma):
    del gamma  # the last layer is fitted after the training
    return ce(z, labels, bias)


def lisa(z, labels, bias, *, partner_labels, mix, alpha=None, p_label=None):
    del bias, alpha, p_label
    losses = []
    for views, y, other, share in zip(z, labels, partner_labels, mix, strict=True):
        if not views:
            return None
        losses.append(share * of_image(views, y) + (1 - share) * of_image(views, other))
    return mean(losses)


def lc(z, labels, bias, *, counts, partner_bias, mix, alpha=None):
    del alpha

    def given(b):
        column = [row[b] for row in counts]
        return [n / sum(column) if sum(column) else 0.0 for n in column]

    losses = []
    for views, y, b, other, share in zip(z, labels, bias, partner_bias, mix, strict=True):
        for logits in views:
            prior = [
                share * p + (1 - share) * q for p, q in zip(given(b), given(other), strict=True)
            ]
            adjusted = [x + math.log(p + 1e-4) for x, p in zip(logits, prior, strict=True)]
            losses.append(log_sum_exp(adjusted) - adjusted[y])
    return mean(losses)
