"""Bias amplification: do the predictions tie labels to the bias more than the data do?

Two measures, both of count tables, with T the label ("task") and A the bias attribute:

- Zhao et al., "Men also like shopping", EMNLP 2017: how much more often than in training a
  predicted class comes with the groups that it was correlated with in training;
- Wang and Russakovsky, "Directional bias amplification", ICML 2021: A -> T, how the group shifts
  what is predicted, and T -> A, how the class shifts which group is predicted, each beside the
  labels of the same images.

The first compares test predictions with *training* labels: on a test set whose bias is unlike the
training set's it is mostly the difference between the two sets. The second compares predictions
with labels of one set. Neither is a share of errors: a classifier without errors has 0 in the second,
and in the first the difference between the sets.

T -> A needs predictions of the attribute. Where the bias is an input's property that nobody
predicts it cannot be computed, and is NaN.
"""

from __future__ import annotations

import numpy as np

from biascon.errors import UsageError
from biascon.metrics.counts import divide
from biascon.metrics.fairness import average_classes
from biascon.utils.types import Array

METRICS = (
    "bias_amplification",
    "bias_amplification_attribute_to_task",
    "bias_amplification_task_to_attribute",
)


def from_counts(
    training: Array, counts: Array, attribute_counts: Array | None = None
) -> dict[str, Array]:
    """Return the three measures, ``(...)`` each: the means over the classes or pairs that have one.

    Args:
        training: Integers ``(K, M)``, rows of label y in group b of the training set.
        counts: ``(..., K, M, K)``, rows of label y in group b that were predicted p.
        attribute_counts: ``(..., K, M, M)``, rows of label y in group b whose *group* was predicted
            g. Without them T -> A is NaN.

    Raises:
        UsageError: Tables of different shape, or a training table that is not of integers.
    """
    zhao, forth = co_occurrence(training, counts), attribute_to_task(training, counts)
    back = np.full(zhao.shape[:-1], np.nan)
    if attribute_counts is not None:
        back = _mean_of_pairs(task_to_attribute(training, attribute_counts))
    return dict(zip(METRICS, (average_classes(zhao), _mean_of_pairs(forth), back), strict=True))


def co_occurrence(training: Array, counts: Array) -> Array:
    """Return Zhao's amplification of each class, ``(..., K)``; its mean is ``fairness.average_classes``'s.

    With c(k, g) rows of class k in group g, b*(k, g) = c(k, g) / sum_g' c(k, g') of the training
    labels, b~ the same of the predictions, and M groups in training::

        sum over g with b*(k, g) > 1 / M of  b~(k, g) - b*(k, g)

    The paper's figure is the mean over the classes. A class that is tied to no group counts as 0.
    A group without training rows is no group of M, but its rows count in the sum below b~.

    Undefined (NaN): a class without training rows, or one that is never predicted.
    """
    training, counts = _tables(training, counts)
    groups = int((training.sum(axis=0) > 0).sum())
    rows = training.sum(axis=1, keepdims=True)
    tied = training * groups > rows  # in integers: 1 / M is met exactly
    predicted = np.swapaxes(counts.sum(axis=-3), -1, -2)  # (..., K, M)
    shift = divide(predicted, predicted.sum(axis=-1, keepdims=True)) - divide(training, rows)
    undefined = np.isnan(shift).any(axis=-1)
    return np.where(undefined, np.nan, np.where(tied, shift, 0.0).sum(axis=-1))


def attribute_to_task(training: Array, counts: Array) -> Array:
    """Return the terms of directional amplification A -> T, ``(..., K, M)``.

    For class t and group a, with s = +1 if P(a, t) > P(a) P(t) in training and -1 if smaller::

        s (P(p = t | a) - P(y = t | a))        on the test set; the measure is the mean over pairs

    Where P(a, t) = P(a) P(t) exactly the pair has no direction and its term is 0, as in the
    authors' code (their formula says s = -1).

    Undefined (NaN): the pairs of a group without test rows, and of a class or group without
    training rows.
    """
    training, counts = _tables(training, counts)
    group = counts.sum(axis=(-3, -1))[..., None, :]  # (..., 1, M)
    predicted = np.swapaxes(counts.sum(axis=-3), -1, -2)
    return _direction(training) * divide(predicted - counts.sum(axis=-1), group)


def task_to_attribute(training: Array, attribute_counts: Array) -> Array:
    """Return the terms of directional amplification T -> A, ``(..., K, M)``.

    For class t and group a, with s as in ``attribute_to_task`` and g the *predicted* group::

        s (P(g = a | y = t) - P(b = a | y = t))

    Undefined (NaN): the pairs of a class without test rows, and of a class or group without
    training rows.

    Args:
        training: Integers ``(K, M)``.
        attribute_counts: ``(..., K, M, M)``: [y, b, g].
    """
    training, counts = _tables(training, attribute_counts, of_groups=True)
    return _direction(training) * divide(
        counts.sum(axis=-2) - counts.sum(axis=-1), counts.sum(axis=(-2, -1))[..., None]
    )


def _direction(training: Array) -> Array:
    """+1, 0 or -1 ``(K, M)``; NaN where the class or the group has no rows."""
    label, group = training.sum(axis=1, keepdims=True), training.sum(axis=0, keepdims=True)
    # Python integers: the products of 10^10 rows do not fit into 64 bits
    more = training.astype(object) * int(training.sum()) - label.astype(object) * group
    return np.where((label > 0) & (group > 0), np.sign(more).astype(np.float64), np.nan)


def _mean_of_pairs(terms: Array) -> Array:
    return average_classes(terms.reshape(*terms.shape[:-2], -1))


def _tables(training: Array, counts: Array, *, of_groups: bool = False) -> tuple[Array, Array]:
    training, counts = np.asarray(training), np.asarray(counts)
    if training.ndim != 2 or not np.issubdtype(training.dtype, np.integer):
        got = f"{training.dtype} {training.shape}"
        raise UsageError(f"expected a training table of integers (K, M), but got {got}")
    expected = (*training.shape, training.shape[1 if of_groups else 0])
    if counts.shape[-3:] != expected:
        raise UsageError(f"expected counts (..., {expected}), but got {counts.shape}")
    return training, counts
