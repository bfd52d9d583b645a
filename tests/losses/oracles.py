"""Every loss once more, from its formula, in Python loops over floats: slow, and hard to get wrong.

An oracle takes ``z`` as nested lists ``[B][V][D]``, labels and bias as lists, the loss's parameters
as keywords, and returns the loss, or None where no anchor counts (the loss must then be exactly 0
with a zero gradient). A new loss needs one function here and one line in ``ORACLES``.
"""

from __future__ import annotations

import math


def _flatten(z):
    """The anchors in order: for each its vector and its image."""
    return [(vector, image) for image, views in enumerate(z) for vector in views]


def _dot(a, b):
    total = 0.0
    for x, y in zip(a, b, strict=True):
        total += x * y
    return total


def _mean(values):
    return sum(values) / len(values) if values else None


def _log_sum_exp(values):
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values))


def ce(z, labels, bias):
    del bias
    losses = []
    for logits, image in _flatten(z):
        losses.append(_log_sum_exp(logits) - logits[labels[image]])
    return _mean(losses)


def simclr(z, labels, bias, *, temperature):
    del labels, bias
    points = _flatten(z)
    losses = []
    for i, (zi, image) in enumerate(points):
        others = []
        positives = []
        for j, (zj, other_image) in enumerate(points):
            if j == i:
                continue
            s = _dot(zi, zj) / temperature
            others.append(s)
            if other_image == image:
                positives.append(s)
        if positives:
            normaliser = _log_sum_exp(others)
            losses.append(-_mean([s - normaliser for s in positives]))
    return _mean(losses)


def supcon(z, labels, bias, *, temperature, form):
    del bias
    points = _flatten(z)
    losses = []
    for i, (zi, image) in enumerate(points):
        others = []
        positives = []
        for j, (zj, other_image) in enumerate(points):
            if j == i:
                continue
            s = _dot(zi, zj) / temperature
            others.append(s)
            if labels[other_image] == labels[image]:
                positives.append(s)
        if not positives:
            continue
        normaliser = _log_sum_exp(others)
        if form == "out":
            losses.append(-_mean([s - normaliser for s in positives]))
        else:
            losses.append(-(_log_sum_exp(positives) - math.log(len(positives)) - normaliser))
    return _mean(losses)


def _context(z, labels, temperature, clip):
    points = _flatten(z)
    losses = []
    for i, (zi, image) in enumerate(points):
        positives = []
        negatives = []
        for j, (zj, other_image) in enumerate(points):
            s = _dot(zi, zj) / temperature
            if labels[other_image] != labels[image]:
                negatives.append(s)
            elif j != i:
                positives.append(s)
        if not positives or not negatives:
            continue
        repulsion = _log_sum_exp(negatives)
        terms = [s - repulsion for s in positives]
        if clip:
            terms = [min(u, 0.0) for u in terms]
        losses.append(-_mean(terms))
    return _mean(losses)


def _contex(z, labels, bias, *, temperature, wa, wb, clip):
    del bias
    la = _context(z, labels, temperature, clip)
    lb = simclr(z, None, None, temperature=temperature)
    if la is None and lb is None:
        return None
    return wa * (la or 0.0) + wb * (lb or 0.0)


def contex(z, labels, bias, *, temperature, wa, wb):
    return _contex(z, labels, bias, temperature=temperature, wa=wa, wb=wb, clip=False)


def contex_clip(z, labels, bias, *, temperature, wa, wb):
    return _contex(z, labels, bias, temperature=temperature, wa=wa, wb=wb, clip=True)


ORACLES = {
    "ce": ce,
    "simclr": simclr,
    "supcon": supcon,
    "contex": contex,
    "contex-clip": contex_clip,
}
