"""Oracles of the losses that use bias values or bias features."""

from __future__ import annotations

import math
import statistics

from tests.losses.oracles_plain import (
    ce,
    dot,
    eps_supinfonce,
    flatten,
    log_sum_exp,
    mean,
    of_image,
    supcon,
)


def _anchors(z, labels, bias):
    """Return the vector, the label and the bias value of each anchor."""
    return [(vector, labels[image], bias[image]) for vector, image in flatten(z)]


def _mean_and_variance(values):
    center = sum(values) / len(values)
    return center, max(sum((x - center) ** 2 for x in values) / len(values), 1e-8)


def _fairkl_term(z, labels, bias, form, k):
    """Return R of FairKL: a term for pairs with equal labels and a term for pairs with different labels."""
    points = _anchors(z, labels, bias)
    if form == "code":
        return _fairkl_code(points, k)
    total = 0.0
    for equal_labels in (True, False):
        aligned, conflicting = [], []
        distinct = [0, 0]  # unordered pairs: aligned, conflicting
        for i, (zi, yi, bi) in enumerate(points):
            for j, (zj, yj, bj) in enumerate(points):
                if (yi == yj) != equal_labels or i == j:
                    continue
                (aligned if bi == bj else conflicting).append(dot(zi, zj))
                distinct[bi != bj] += i <= j
        if min(distinct) < 2:
            continue
        ma, va = _mean_and_variance(aligned)
        mc, vc = _mean_and_variance(conflicting)
        total += 0.5 * ((va + (ma - mc) ** 2) / vc - math.log(va / vc) - 1)
    return total


def _fairkl_code(points, k):
    """Return R of the authors' code from four N x N matrices with zeros outside their kind of pairs."""
    means, deviations = {}, {}
    for equal_labels in (True, False):
        for equal_bias in (True, False):
            entries, chosen = [], []
            for zi, yi, bi in points:
                for zj, yj, bj in points:
                    if (yi == yj) == equal_labels and (bi == bj) == equal_bias:
                        chosen.append(dot(zi, zj))
                        entries.append(chosen[-1])
                    else:
                        entries.append(0.0)
            kind = equal_labels, equal_bias
            means[kind] = sum(chosen) / len(chosen) if chosen else 0.0
            deviations[kind] = statistics.stdev(entries) if len(entries) > 1 else 0.0
    total = 0.0
    for label in (True, False):
        total += (means[label, True] - means[label, False]) ** 2
        total += k * (deviations[label, True] - deviations[label, False]) ** 2
    return total - means[True, False] + means[False, True]


def _sum(loss, term):
    """Return the sum of an oracle, which may be None, and a number."""
    return (loss or 0.0) + term


def fairkl(z, labels, bias, *, temperature, epsilon, weight, form, k):
    contrast = eps_supinfonce(z, labels, None, temperature=temperature, epsilon=epsilon)
    return _sum(contrast, weight * _fairkl_term(z, labels, bias, form, k))


def supcon_fairkl(z, labels, bias, *, temperature, weight, form, k):
    contrast = supcon(z, labels, None, temperature=temperature, form="out")
    return _sum(contrast, weight * _fairkl_term(z, labels, bias, form, k))


def _end_term(unit, labels, bias, alpha, beta):
    """Return alpha * R_perp + beta * R_par of EnD for unit vectors."""
    points = _anchors(unit, labels, bias)
    orthogonal, parallel = [], []
    for i, (xi, yi, bi) in enumerate(points):
        for j, (xj, yj, bj) in enumerate(points):
            if i == j:
                continue
            g = dot(xi, xj)
            if bi == bj:
                orthogonal.append(abs(g))
            elif yi == yj:
                parallel.append((1 + g) / 2)
    total = 0.0
    if orthogonal:
        total += alpha * mean(orthogonal)
    if parallel:
        total += beta * (1 - mean(parallel))
    return total


def _unit(vector):
    norm = math.sqrt(dot(vector, vector))
    return [x / norm for x in vector] if norm > 0 else vector


def end(z, labels, bias, *, features, alpha, beta):
    unit = [[_unit(vector) for vector in views] for views in features]
    return _sum(ce(z, labels, None), _end_term(unit, labels, bias, alpha, beta))


def supcon_end(z, labels, bias, *, temperature, alpha, beta):
    contrast = supcon(z, labels, None, temperature=temperature, form="out")
    return _sum(contrast, _end_term(z, labels, bias, alpha, beta))


def _weighted_contrast(z, labels, temperature, empty, weight):
    """Return the mean over anchors of -sum_P w (s - log sum_A exp s) / sum_P w with w = weight(i, p)."""
    points = flatten(z)
    losses = []
    for i, (zi, image) in enumerate(points):
        others, attraction, weights = [], 0.0, 0.0
        for j, (zj, other_image) in enumerate(points):
            if j == i:
                continue
            s = dot(zi, zj) / temperature
            others.append(s)
            if labels[other_image] == labels[image]:
                w = weight(image, other_image)
                attraction += w * s
                weights += w
        if weights > 0:
            losses.append(-(attraction / weights - log_sum_exp(others)))
        elif empty == "zero":
            losses.append(0.0)
    return mean(losses) or 0.0


def _bias_contrast(z, labels, bias, temperature, empty):
    def other_bias(image, other_image):
        return 1.0 if bias[image] != bias[other_image] else 0.0

    return _weighted_contrast(z, labels, temperature, empty, other_bias)


def biascon(
    z, labels, bias, *, logits, temperature, ce_weight, empty, logit_labels=None, **training
):
    del training  # parameters that only the training loop uses
    contrast = _bias_contrast(z, labels, bias, temperature, empty)
    labels = labels if logit_labels is None else logit_labels
    return contrast + ce_weight * (ce(logits, labels, None) or 0.0)


def biascon_biasbal(
    z,
    labels,
    bias,
    *,
    logits,
    counts,
    temperature,
    ce_weight,
    empty,
    logit_labels=None,
    logit_bias=None,
    **training,
):
    del training
    contrast = _bias_contrast(z, labels, bias, temperature, empty)
    labels = labels if logit_labels is None else logit_labels
    bias = bias if logit_bias is None else logit_bias
    return contrast + ce_weight * (biasbal(logits, labels, bias, counts=counts) or 0.0)


def softcon(
    z, labels, bias, *, logits, bias_features, temperature, ce_weight, empty, logit_labels=None
):
    del bias
    unit = [_unit(vector) for vector in bias_features]

    def dissimilarity(image, other_image):
        w = 1 - dot(unit[image], unit[other_image])
        return w if w > 1e-6 else 0.0  # equal features up to rounding

    contrast = _weighted_contrast(z, labels, temperature, empty, dissimilarity)
    labels = labels if logit_labels is None else logit_labels
    return contrast + ce_weight * (ce(logits, labels, None) or 0.0)


def _kernel(a, b, delta):
    squares = sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
    return 1 / (1 + math.sqrt(squares + 1e-6) ** delta)


def flac(z, labels, bias, *, features, bias_features, alpha, delta):
    del bias
    points = flatten([[_unit(vector) for vector in views] for views in features])
    bias_features = [_unit(vector) for vector in bias_features]
    if not points:
        return ce(z, labels, None)
    n = range(len(points))
    s_b = [
        [_kernel(bias_features[a], bias_features[b], delta) for _, b in points] for _, a in points
    ]
    th = (max(map(max, s_b)) + min(map(min, s_b))) / 2
    terms = []
    for i in n:
        pairs = []
        for j in n:
            equal_labels = labels[points[i][1]] == labels[points[j][1]]
            if i != j and (s_b[i][j] < th if equal_labels else s_b[i][j] > th):
                pairs.append((1 - s_b[i][j], _kernel(points[i][0], points[j][0], delta)))
        for p, q in pairs:
            p /= sum(pair[0] for pair in pairs)
            q /= sum(pair[1] for pair in pairs)
            terms.append((p - q) * (math.log(p) - math.log(q)))
    return ce(z, labels, None) + alpha * (mean(terms) or 0.0)


def biasbal(z, labels, bias, *, counts):
    losses = []
    for logits, image in flatten(z):
        column = [row[bias[image]] for row in counts]
        share = [n / sum(column) if sum(column) else 0.0 for n in column]
        adjusted = [logit + math.log(p + 1e-9) for logit, p in zip(logits, share, strict=True)]
        losses.append(log_sum_exp(adjusted) - adjusted[labels[image]])
    return mean(losses)


def reweight(z, labels, bias, *, counts):
    total = sum(map(sum, counts))
    numerator = denominator = 0.0
    for views, y, b in zip(z, labels, bias, strict=True):
        if not views:
            return None
        weight = total / counts[y][b]
        numerator += weight * of_image(views, y)
        denominator += weight
    return numerator / denominator if denominator else None


def _cell_losses(z, labels, bias):
    """Return the mean cross-entropy of the images in each cell of the batch."""
    by_cell = {}
    for views, y, b in zip(z, labels, bias, strict=True):
        if views:
            by_cell.setdefault((y, b), []).append(of_image(views, y))
    return {cell: mean(losses) for cell, losses in by_cell.items()}


def groupdro_weights(z, labels, bias, *, group_weights, eta):
    """Return q after the step, as a table."""
    losses = _cell_losses(z, labels, bias)
    grown = [
        [q * math.exp(eta * losses.get((y, b), 0.0)) for b, q in enumerate(row)]
        for y, row in enumerate(group_weights)
    ]
    total = sum(map(sum, grown))
    return [[q / total for q in row] for row in grown]


def groupdro(z, labels, bias, *, group_weights, eta):
    q = groupdro_weights(z, labels, bias, group_weights=group_weights, eta=eta)
    losses = _cell_losses(z, labels, bias)
    return sum(q[y][b] * loss for (y, b), loss in losses.items()) if losses else None
