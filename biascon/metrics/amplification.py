"""Bias amplification: whether predictions are correlated with the bias more than the data are.

The label is the task T and the bias attribute is A. There are two families of measures:

- Co-occurrence (Zhao et al., "Men also like shopping", EMNLP 2017): how much more often than in training
  a predicted class occurs with the groups that it was correlated with in training.
- Directional amplification (Wang and Russakovsky, "Directional bias amplification", ICML 2021). A -> T:
  how much the group shifts the predicted class, compared with the labels of the same images. T -> A: how
  much the class shifts the predicted group, compared with the groups of the same images.

Co-occurrence compares test predictions with *training* labels. If the correlation of label and bias
differs between the training set and the test set, the measure mostly shows this difference. Directional
amplification compares predictions with labels of one set. For a classifier without errors it is 0, and
co-occurrence is the difference between the two sets.

T -> A needs predictions of the bias attribute. Without them it is NaN.
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
    """Return every metric of ``METRICS``: co-occurrence, A -> T and T -> A.

    Each metric is a mean over the classes (co-occurrence) or over the pairs (class, group) for which it is
    defined.

    Args:
        training: int ``(K, M)``, the number of training rows with label y in group b.
        counts: int ``(..., K, M, K)``, the number of test rows: label x bias x prediction.
        attribute_counts: int ``(..., K, M, M)``, the number of test rows: label x bias x *predicted* bias.
            None makes T -> A NaN.

    Returns:
        float64 ``(...)`` by metric name; NaN where the metric is undefined.

    Raises:
        UsageError: The tables do not fit together, or ``training`` does not hold integers.
    """
    per_class = co_occurrence(training, counts)
    attribute_to_task_mean = _average_pairs(attribute_to_task(training, counts))
    if attribute_counts is None:
        task_to_attribute_mean = np.full(per_class.shape[:-1], np.nan)
    else:
        task_to_attribute_mean = _average_pairs(task_to_attribute(training, attribute_counts))
    values = (average_classes(per_class), attribute_to_task_mean, task_to_attribute_mean)
    return dict(zip(METRICS, values, strict=True))


def co_occurrence(training: Array, counts: Array) -> Array:
    """Return the co-occurrence amplification of each class (Zhao et al., 2017).

    Let c(k, g) be the number of training rows of class k in group g, and M the number of groups that have
    training rows. Let b*(k, g) = c(k, g) / sum_g' c(k, g'), and b~(k, g) the same for the predictions. The
    amplification of class k is::

        sum over g with b*(k, g) > 1 / M of  b~(k, g) - b*(k, g)

    The paper reports the mean over the classes. A class that is correlated with no group counts as 0. A
    group without training rows does not count in M, but its test rows count in the denominator of b~.

    Args:
        training: int ``(K, M)``, the number of training rows with label y in group b.
        counts: int ``(..., K, M, K)``, the number of test rows: label x bias x prediction.

    Returns:
        float64 ``(..., K)``; NaN for a class that has no training rows or is never predicted.

    Raises:
        UsageError: The tables do not fit together, or ``training`` does not hold integers.
    """
    training, counts = _check_tables(training, counts)
    n_groups = int((training.sum(axis=0) > 0).sum())
    rows = training.sum(axis=1, keepdims=True)
    is_correlated = training * n_groups > rows  # b* > 1 / M, compared in exact integers
    predicted = np.swapaxes(counts.sum(axis=-3), -1, -2)  # (..., K, M)
    shift = divide(predicted, predicted.sum(axis=-1, keepdims=True)) - divide(training, rows)
    undefined = np.isnan(shift).any(axis=-1)
    return np.where(undefined, np.nan, np.where(is_correlated, shift, 0.0).sum(axis=-1))


def attribute_to_task(training: Array, counts: Array) -> Array:
    """Return directional amplification A -> T for each pair of class and group.

    Wang and Russakovsky, 2021. For class t and group a, let s = +1 if P(a, t) > P(a) P(t) in training,
    -1 if it is smaller, and 0 if both are equal. The term of the pair is, with probabilities of the test
    set::

        s (P(p = t | a) - P(y = t | a))

    The measure is the mean over the pairs. The paper's formula has s = -1 where both are equal; the
    authors' code has 0, as here.

    Args:
        training: int ``(K, M)``, the number of training rows with label y in group b.
        counts: int ``(..., K, M, K)``, the number of test rows: label x bias x prediction.

    Returns:
        float64 ``(..., K, M)``; NaN for the pairs of a group without test rows, and of a class or group
        without training rows.

    Raises:
        UsageError: The tables do not fit together, or ``training`` does not hold integers.
    """
    training, counts = _check_tables(training, counts)
    group = counts.sum(axis=(-3, -1))[..., None, :]  # (..., 1, M)
    predicted = np.swapaxes(counts.sum(axis=-3), -1, -2)  # (..., K, M)
    return _direction(training) * divide(predicted - counts.sum(axis=-1), group)


def task_to_attribute(training: Array, attribute_counts: Array) -> Array:
    """Return directional amplification T -> A for each pair of class and group.

    Wang and Russakovsky, 2021. For class t and group a, with s as in ``attribute_to_task`` and the
    *predicted* group g, the term of the pair is::

        s (P(g = a | y = t) - P(b = a | y = t))

    Args:
        training: int ``(K, M)``, the number of training rows with label y in group b.
        attribute_counts: int ``(..., K, M, M)``, the number of test rows: label x bias x predicted bias.

    Returns:
        float64 ``(..., K, M)``; NaN for the pairs of a class without test rows, and of a class or group
        without training rows.

    Raises:
        UsageError: The tables do not fit together, or ``training`` does not hold integers.
    """
    training, counts = _check_tables(training, attribute_counts, predicts_groups=True)
    return _direction(training) * divide(
        counts.sum(axis=-2) - counts.sum(axis=-1), counts.sum(axis=(-2, -1))[..., None]
    )


def _direction(training: Array) -> Array:
    """Return s, float64 ``(K, M)``: +1, 0 or -1; NaN where the class or the group has no rows."""
    label, group = training.sum(axis=1, keepdims=True), training.sum(axis=0, keepdims=True)
    # Python integers, because products of 10^10 rows do not fit into 64 bits.
    excess = training.astype(object) * int(training.sum()) - label.astype(object) * group
    return np.where((label > 0) & (group > 0), np.sign(excess).astype(np.float64), np.nan)


def _average_pairs(terms: Array) -> Array:
    """Return the mean over the pairs ``(..., K, M)`` that are not NaN."""
    return average_classes(terms.reshape(*terms.shape[:-2], -1))


def _check_tables(
    training: Array, counts: Array, *, predicts_groups: bool = False
) -> tuple[Array, Array]:
    """Return both tables as arrays, after checking that they fit together."""
    training, counts = np.asarray(training), np.asarray(counts)
    if training.ndim != 2 or not np.issubdtype(training.dtype, np.integer):
        raise UsageError(
            "expected a training table of integers (K, M), "
            f"but got {training.dtype} {training.shape}"
        )
    expected = (*training.shape, training.shape[1 if predicts_groups else 0])
    if counts.shape[-3:] != expected:
        raise UsageError(f"expected counts (..., {expected}), but got {counts.shape}")
    return training, counts
