"""Oracles of the losses that do not use the bias attribute."""

from __future__ import annotations

import math


def flatten(z):
    """Return the vector and the image of each anchor, in order."""
    return [(vector, image) for image, views in enumerate(z) for vector in views]


def dot(a, b):
    total = 0.0
    for x, y in zip(a, b, strict=True):
        total += x * y
    return total


def mean(values):
    return sum(values) / len(values) if values else None


def log_sum_exp(values):
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values))


def of_image(views, label):
    """Return the cross-entropy of an image: the mean over its views."""
    return mean([log_sum_exp(logits) - logits[label] for logits in views])


def ce(z, labels, bias, *, decoupling=0.0):
    del bias
    losses = []
    for logits, image in flatten(z):
        own = logits[labels[image]]
        losses.append(log_sum_exp(logits) - own + decoupling * own**2)
    return mean(losses)


def bias_ce(z, labels, bias):
    del labels
    return ce(z, bias, None)


def gce(z, labels, bias, *, q):
    del bias
    losses = []
    for logits, image in flatten(z):
        p = math.exp(logits[labels[image]]) / sum(math.exp(logit) for logit in logits)
        losses.append((1 - p**q) / q)
    return mean(losses)


def lff(z, labels, bias, *, bias_losses):
    del bias
    losses = []
    for views, label, biased in zip(z, labels, bias_losses, strict=True):
        if not views:
            return None
        own = of_image(views, label)
        weight = biased / (biased + own) if biased + own > 0 else 0.5
        losses.append(weight * own)
    return mean(losses)


def jtt(z, labels, bias, *, weights, up, first_epochs):
    del bias, up, first_epochs
    losses = []
    for views, label, weight in zip(z, labels, weights, strict=True):
        if not views:
            return None
        losses.append(weight * of_image(views, label))
    return mean(losses)


def simclr(z, labels, bias, *, temperature):
    del labels, bias
    points = flatten(z)
    losses = []
    for i, (zi, image) in enumerate(points):
        others = []
        positives = []
        for j, (zj, other_image) in enumerate(points):
            if j == i:
                continue
            s = dot(zi, zj) / temperature
            others.append(s)
            if other_image == image:
                positives.append(s)
        if positives:
            normalizer = log_sum_exp(others)
            losses.append(-mean([s - normalizer for s in positives]))
    return mean(losses)


def supcon(z, labels, bias, *, temperature, form):
    del bias
    points = flatten(z)
    losses = []
    for i, (zi, image) in enumerate(points):
        others = []
        positives = []
        for j, (zj, other_image) in enumerate(points):
            if j == i:
                continue
            s = dot(zi, zj) / temperature
            others.append(s)
            if labels[other_image] == labels[image]:
                positives.append(s)
        if not positives:
            continue
        normalizer = log_sum_exp(others)
        if form == "out":
            losses.append(-mean([s - normalizer for s in positives]))
        else:
            losses.append(-(log_sum_exp(positives) - math.log(len(positives)) - normalizer))
    return mean(losses)


def iter_similarities(z, labels, temperature):
    """Yield for each anchor its similarities to positives and to negatives."""
    points = flatten(z)
    for i, (zi, image) in enumerate(points):
        positives = []
        negatives = []
        for j, (zj, other_image) in enumerate(points):
            s = dot(zi, zj) / temperature
            if labels[other_image] != labels[image]:
                negatives.append(s)
            elif j != i:
                positives.append(s)
        yield positives, negatives


def _context(z, labels, temperature, form):
    losses = []
    for positives, negatives in iter_similarities(z, labels, temperature):
        if not positives or not negatives:
            continue
        repulsion = log_sum_exp(negatives)
        if form == "log1p":
            repulsion = log_sum_exp([0.0, *negatives])  # log(1 + sum_N exp s)
        terms = [s - repulsion for s in positives]
        if form == "clip":
            terms = [min(u, 0.0) for u in terms]
        losses.append(-mean(terms))
    return mean(losses)


def _separate(z, labels, temperature):
    """Return La and Lb of the form ``separate``."""
    context, own_views = [], []
    points = flatten(z)
    for i, (zi, image) in enumerate(points):
        own, positives, negatives, other_images = [], [], [], []
        for j, (zj, other_image) in enumerate(points):
            s = dot(zi, zj) / temperature
            if other_image == image:
                if j != i:
                    own.append(s)
                continue
            other_images.append(s)
            (positives if labels[other_image] == labels[image] else negatives).append(s)
        if positives and negatives:
            context.append(-mean([s - log_sum_exp(negatives) for s in positives]))
        if own and other_images:
            ratio = log_sum_exp(own) - log_sum_exp(other_images)
            own_views.append(-log_sum_exp([0.0, ratio]))
    return mean(context), mean(own_views)


def contex(z, labels, bias, *, temperature, wa, wb, form):
    del bias
    if form == "separate":
        la, lb = _separate(z, labels, temperature)
    else:
        la = _context(z, labels, temperature, form)
        lb = simclr(z, None, None, temperature=temperature)
    if la is None and lb is None:
        return None
    return wa * (la or 0.0) + wb * (lb or 0.0)


def contex_clip(z, labels, bias, *, temperature, wa, wb):
    return contex(z, labels, bias, temperature=temperature, wa=wa, wb=wb, form="clip")


def eps_supinfonce(z, labels, bias, *, temperature, epsilon):
    del bias
    losses = []
    for positives, negatives in iter_similarities(z, labels, temperature):
        if positives:
            terms = [s - log_sum_exp([s - epsilon, *negatives]) for s in positives]
            losses.append(-mean(terms))
    return mean(losses)


def eps_supcon(z, labels, bias, *, temperature, epsilon):
    del bias
    losses = []
    for positives, negatives in iter_similarities(z, labels, temperature):
        if positives:
            normalizer = log_sum_exp([s - epsilon for s in positives] + negatives)
            losses.append(-mean([s - normalizer for s in positives]))
    return mean(losses)
