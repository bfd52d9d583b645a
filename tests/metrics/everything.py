"""Every metric of counts at once, for the tests of their speed."""

from __future__ import annotations

import numpy as np

from biascon.metrics import accuracy, amplification, fairness, parity
from biascon.metrics.summary import accuracy_metrics

ROWS = 20_000


def all_metrics(tables: np.ndarray, aligned: np.ndarray, training: np.ndarray) -> dict:
    """The accuracies, the group metrics as macro means and per class, and the amplifications."""
    groups = {**fairness.from_counts(tables), **parity.from_counts(tables)}
    return {
        **accuracy_metrics(tables, aligned),
        **{name: fairness.macro(value) for name, value in groups.items()},
        **{f"class/{name}": value for name, value in groups.items()},
        **amplification.from_counts(training, tables),
        "cells": accuracy.cell_accuracy(tables),
    }


def made(n_labels: int, n_bias: int, right: float = 0.98) -> np.ndarray:
    """A table of 20,000 rows, evenly over the cells, with errors in all other classes."""
    p = np.full((n_labels, n_bias, n_labels), (1 - right) / (n_labels - 1))
    p[np.arange(n_labels), :, np.arange(n_labels)] = right
    drawn = np.random.default_rng(0).multinomial(ROWS, (p / p.sum()).reshape(-1))
    return drawn.reshape(n_labels, n_bias, n_labels)
