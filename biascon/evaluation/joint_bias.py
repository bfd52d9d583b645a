"""The joint bias of the predictions on a split: two or more attributes that have alignment pairs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from biascon.data.joint_counts import list_aligned_attributes
from biascon.data.manifest import Attribute
from biascon.data.split import BiasedDataset, Split, find_aligned_rows
from biascon.metrics.alignment_patterns import pattern_of_rows
from biascon.metrics.counts import count
from biascon.metrics.joint_bias import AttributeTable, JointBias, measure_joint_bias
from biascon.utils.types import Array

MAX_JOINT = 4  # attributes whose combinations are measured: 16 patterns


def measure_joint(data: BiasedDataset, part: str, predictions: Array) -> JointBias | None:
    """Return the metrics of all attributes with alignment pairs, None with fewer than two of them.

    They are the same for every view of a dataset (``--bias``).

    Args:
        data: The dataset. The training rows of each alignment pattern come from its split ``train``.
        part: The name of the split.
        predictions: int ``(N,)`` in 0..K-1, in the order of the split.
    """
    stored, split = data.manifest.attributes or {}, data.splits[part]
    attributes = {name: stored[name] for name in list_aligned_attributes(data.manifest)}
    if len(attributes) < 2:
        return None
    names, n_labels = data.manifest.labels, data.n_labels
    tables = [
        AttributeTable(
            name,
            attribute.values,
            _aligned_cells(names, attribute),
            count(
                split.labels,
                split.attributes[name],
                predictions,
                n_labels=n_labels,
                n_bias=len(attribute.values),
            ),
        )
        for name, attribute in attributes.items()
    ]
    if len(attributes) > MAX_JOINT:
        return measure_joint_bias(tables, names, None, None)
    n_patterns = 1 << len(attributes)
    patterns = alignment_patterns(split, names, attributes)
    counts = count(split.labels, patterns, predictions, n_labels=n_labels, n_bias=n_patterns)
    training = None
    if "train" in data.splits:
        train = data.splits["train"]
        training = np.zeros((n_labels, n_patterns), np.int64)
        np.add.at(training, (train.labels, alignment_patterns(train, names, attributes)), 1)
    return measure_joint_bias(tables, names, counts, training)


def alignment_patterns(
    split: Split, labels: list[str], attributes: Mapping[str, Attribute]
) -> Array:
    """Return the alignment pattern of each image of a split, int64 ``(N,)`` (``metrics.alignment_patterns``).

    Args:
        split: The split.
        labels: The names of the K classes.
        attributes: The attributes by name; each has alignment pairs.
    """
    return pattern_of_rows(
        [
            ~find_aligned_rows(split.labels, split.attributes[name], labels, attribute)
            for name, attribute in attributes.items()
        ]
    )


def _aligned_cells(labels: list[str], attribute: Attribute) -> Array:
    """Return bool ``(K, M)``: the cells of an attribute that are bias-aligned."""
    label, value = np.indices((len(labels), len(attribute.values)))
    return find_aligned_rows(label, value, labels, attribute)
