"""Helpers: tables of counts, the rows that they count, and all count metrics at once."""

from __future__ import annotations

import numpy as np

from biascon.metrics import accuracy, amplification, fairness
from biascon.metrics.summary import accuracy_metrics

ROWS = 20_000


def compute_all_metrics(tables: np.ndarray, aligned: np.ndarray, training: np.ndarray) -> dict:
    """Return the accuracies, the group metrics (mean and per class) and the amplifications."""
    per_class = {**fairness.from_counts(tables), **fairness.parity_from_counts(tables)}
    return {
        **accuracy_metrics(tables, aligned),
        **{name: fairness.average_classes(value) for name, value in per_class.items()},
        **{f"class/{name}": value for name, value in per_class.items()},
        **amplification.from_counts(training, tables),
        "cells": accuracy.cell_accuracy(tables),
    }


def draw_table(n_labels: int, n_bias: int, accuracy_of_cells: float = 0.98) -> np.ndarray:
    """Return a table ``(K, M, K)`` of 20,000 rows, spread evenly over cells and over wrong classes."""
    p = np.full((n_labels, n_bias, n_labels), (1 - accuracy_of_cells) / (n_labels - 1))
    p[np.arange(n_labels), :, np.arange(n_labels)] = accuracy_of_cells
    counts = np.random.default_rng(0).multinomial(ROWS, (p / p.sum()).reshape(-1))
    return counts.reshape(n_labels, n_bias, n_labels)


def expand_rows(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the labels, predictions and bias values ``(N,)`` of the rows that a table counts."""
    label, bias, prediction = np.repeat(np.argwhere(table >= 0), table.reshape(-1), axis=0).T
    return label, prediction, bias
