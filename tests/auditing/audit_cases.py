"""Small audits that touch every part of a record."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

import biascon
from biascon.auditing import Audit, audit_file


def biased_rows() -> pd.DataFrame:
    """60 rows of 3 classes whose predictions depend on the group."""
    index = np.arange(60)
    y = index * 7 % 3
    g = np.array(["a", "b"])[index * 5 % 7 % 2]
    p = np.where(index % 4 > 0, y, np.where(g == "a", 0, index % 3))
    return pd.DataFrame({"y": y, "p": p, "g": g, "h": index % 5 // 2})


def audit_two_columns() -> Audit:
    """Two bias columns, aligned values for one of them, scores, and a row without a label."""
    rows = biased_rows()
    confidence = 0.5 + np.arange(60) % 9 / 20
    scores = np.where(np.eye(3)[rows.p] > 0, confidence[:, None], (1 - confidence[:, None]) / 2)
    return biascon.audit(
        rows.y.where(rows.index != 3),
        rows.p,
        sensitive_features=rows[["g", "h"]],
        scores=scores,
        aligned={"g": {0: "a", 1: "b", 2: ["a", "b"]}},
        drop_missing=True,
        seed=3,
    )


def audit_one_group() -> Audit:
    """One group: the comparisons between groups are undefined; class 2 is only predicted."""
    return biascon.audit([0, 1, 0, 1], [0, 2, 0, 1], sensitive_features=["a"] * 4)


def audit_csv(folder: Path) -> Audit:
    """A CSV file whose label and bias columns have the same values."""
    path = folder / "predictions.csv"
    biased_rows().to_csv(path, index=False, lineterminator="\n")
    return audit_file(path, label="y", prediction="p", bias=["h"])
