"""Rows, files and small audits that the tests of auditing share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import biascon
from biascon.auditing import Audit, audit_file

COLUMNS = ("--label", "y", "--prediction", "p", "--bias", "g")
OK = b"y,p,g\n1,1,a\n0,1,a\n1,0,b\n0,0,b\n0,0,b\n"


def make_rows(n: int = 400, *, classes: int = 3, groups: int = 4, seed: int = 0) -> pd.DataFrame:
    """Random rows: label y, prediction p that depends on the group, bias columns g and h."""
    rng = np.random.default_rng(seed)
    y, g = rng.integers(0, classes, n), rng.integers(0, groups, n)
    p = np.where(rng.random(n) < 0.6, y, np.where(rng.random(n) < 0.7, g % classes, y[::-1]))
    return pd.DataFrame(
        {"y": y, "p": p, "g": np.array(list("abcdefgh"))[g], "h": rng.integers(0, 2, n)}
    )


def audit_rows(df: pd.DataFrame, *columns: str, **options: Any) -> Audit:
    """The audit of rows by some of their bias columns; by g without any."""
    result: Audit = biascon.audit(
        df["y"], df["p"], sensitive_features=df[list(columns or "g")], **options
    )
    return result


def data_without_source(audit: Audit) -> dict[str, Any]:
    """The data of an audit without the keys that depend on where the rows are from."""
    source = ("predictions", "sha256", "label", "prediction")
    return {key: value for key, value in audit.data.items() if key not in source}


def write_table(folder: Path, name: str, content: bytes | pd.DataFrame) -> Path:
    """Write bytes, or a table as CSV or Parquet by the suffix of its name."""
    path = folder / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif path.suffix == ".parquet":
        content.to_parquet(path)
    else:
        content.to_csv(path, index=False)
    return path


def error_line(outcome: Any, code: int = 1) -> str:
    """The only line of a command that failed with an exit code."""
    assert (outcome.code, outcome.out) == (code, "")
    (line,) = outcome.err.splitlines()
    assert line.startswith("error: ")
    return str(line)


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
        aligned={"g": {0: "a", 1: "b", 2: ["a", "b"]}, "h": {0: 0, 1: 1, 2: 2}},
        drop_missing=True,
        seed=3,
    )


def audit_one_group() -> Audit:
    """One group: the comparisons between groups are undefined; class 2 is only predicted."""
    return biascon.audit([0, 1, 0, 1], [0, 2, 0, 1], sensitive_features=["a"] * 4)


def audit_csv(folder: Path) -> Audit:
    """A CSV file whose label and bias columns have the same values, which are aligned."""
    path = folder / "predictions.csv"
    biased_rows().to_csv(path, index=False, lineterminator="\n")
    return audit_file(path, label="y", prediction="p", bias=["h"], aligned={0: 0, 1: 1, 2: 2})
