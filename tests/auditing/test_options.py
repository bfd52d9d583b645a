"""The settings of audits in Python: a value of another type is an error that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biascon.auditing import audit_file
from biascon.auditing.features.api import audit_features
from biascon.errors import UsageError
from tests.auditing.audit_cases import audit_rows, make_rows, write_table

CASES: list[tuple[dict[str, Any], str]] = [
    *(
        ({"seed": seed}, f"seed to be a whole number of at least 0, but got {seed!r}")
        for seed in ("a", 1.5, -1, True, None)
    ),
    ({"drop_missing": "no"}, "drop_missing to be True or False, but got 'no'"),
    ({"keep_words": 3}, r"keep_words to be words, such as \['None'\], but got 3"),
    ({"keep_words": [3]}, r"keep_words to be words, such as \['None'\], but got \[3\]"),
]
AUDIT_CASES: list[tuple[dict[str, Any], str]] = [
    *CASES,
    ({"positive": [1]}, r"the positive class to be one value, but got \[1\]"),
    ({"min_group": "a"}, "min_group to be a whole number of at least 0, but got 'a'"),
    ({"min_group": True}, "min_group to be a whole number"),
    ({"pairs": 1}, "pairs to be True or False, but got 1"),
]


@pytest.mark.parametrize(("setting", "message"), AUDIT_CASES, ids=str)
def test_a_setting_of_another_type_is_an_error(
    setting: dict[str, Any], message: str, tmp_path: Path
) -> None:
    df = make_rows(40, classes=2)
    with pytest.raises(UsageError, match=message):
        audit_rows(df, **setting)
    path = write_table(tmp_path, "x.csv", df)
    with pytest.raises(UsageError, match=message):
        audit_file(path, label="y", prediction="p", bias=["g"], **setting)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        *CASES,
        ({"folds": "a"}, "folds to be a whole number of at least 3, but got 'a'"),
        ({"folds": 2}, "folds to be a whole number of at least 3, but got 2"),
    ],
    ids=str,
)
def test_a_setting_of_an_audit_of_features_too(setting: dict[str, Any], message: str) -> None:
    df = make_rows(40, classes=2)
    with pytest.raises(UsageError, match=message):
        audit_features(np.eye(40), df.y, df.g, **setting)


def test_numbers_of_numpy_are_settings() -> None:
    df = make_rows(40, classes=2)
    settings: dict[str, Any] = {"seed": np.int64(3), "drop_missing": np.bool_(True)}
    expected = audit_rows(df, seed=3, drop_missing=True)
    assert audit_rows(df, **settings).data == expected.data
