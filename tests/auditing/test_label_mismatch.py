"""Labels and predictions that do not match: an error that names the cause, and no false alarm."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import biascon
from biascon.auditing.rows.label_mismatch import check_labels
from biascon.errors import DataError
from tests.auditing.audit_cases import COLUMNS, error_line, write_table


def check(labels: Sequence[str], predictions: Sequence[str]) -> list[str]:
    pairs: dict[tuple[str, str], int] = {}
    for pair in zip(labels, predictions, strict=True):
        pairs[pair] = pairs.get(pair, 0) + 1
    return check_labels(pairs, "y", "p")


def right(labels: str, predictions: str, n: int = 30) -> tuple[list[str], list[str]]:
    """Rows whose predictions are right up to the way of writing them."""
    return labels.split() * n, predictions.split() * n


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ("0 1 1", "0.1 0.9 0.7", "'p' has fractions .'0.1', '0.7', '0.9'. where 'y' has whole.*--scores"),
        ("0 1 1", "-3.2 0.4 2.5", "are they logits. pass the predicted class, such as score > 0, as pred"),
        ("0 1 1", "-0.1 0.4 1.2", "the rounded number"),
        ("cafe\u0301 x", "caf\u00e9 x", r"rows\['p'\].str.normalize\('NFC'\) for both columns"),
        ("\uff11a x", "1a x", r"str.normalize\('NFKC'\)"),
        ("1 2 3", "1.5 2.25 3", "'p' has fractions.*the rounded number"),
        ("0.5 1.5", "1 2", "'y' has fractions .'0.5', '1.5'.*classes"),
        ("0 1", "tensor(0) tensor(1)", "brackets, quotes or the name of a tensor.*'tensor.0.' for '0'"),
        ("0 1", "[0] [1]", r"'\[0\]' for '0'"),
        ("0 1", "tensor([0.]) tensor([1.])", "values differ in form"),
        ("cat dog", "'cat' np.str_('dog')", "brackets, quotes"),
        ("0 1", "tensor(0,dtype=int8) np.int64(1)", "brackets, quotes"),
        ("yes no", "Yes No", "upper and lower case.*'No' for 'no', 'Yes' for 'yes'"),
        ("yes no", "yes No", r"'p' has 'No' for 'no' in 'y'.*rows\['p'\].replace\({'No': 'no'}\)"),
        ("yes no yes", "yes no Yes", "'Yes' for 'yes'"),
        ("1 2", "+1 +2", "in the form of numbers"),
        ("1 2", "01 02", "in the form of numbers"),
        ("1 2", "1e0 2", "in the form of numbers.*'1e0' for '1'"),
        ("a\u200b b", "a b", "invisible"),
        ("blond_hair x", "blond-hair x", "hyphens or underscores"),
        ("2026-01-31 2026-02-01", "20260131 20260201", "in the form of dates"),
        ("2026-01-31T00:00:00 2026-02-01T00:00:00", "2026-01-31 2026-02-01", "in the form of dates"),
        ("2026-01-31 2026-02-01", "a b", "'y' has dates .*right columns"),
        ("1 2 3 4 5 6 7 8 9 10", "0 1 2 3 4 5 6 7 8 9",
         r"'p' has 0 to 9, 'y' has 1 to 10, and 300 of 300 rows are right if \+1 is added.*rows\['p'\] \+ 1"),
        ("0 1 2", "1 2 3", "if -1 is added to the prediction"),
        ("1 2", "0 1", r"if \+1 is added"),
        ("-1 1", "0 1", r"'y' has -1 and 1, 'p' has 0 and 1.*rows\['y'\].replace\({-1: 0}\)"),
        ("0 1", "-1 1", r"'p' has -1 and 1, 'y' has 0 and 1"),
        ("Yes No", "1 0", "'y' has 'No', 'Yes', 'p' has '0', '1'"),
        ("True False", "1 -1", "write both the same way"),
        ("cat dog", "0 1", "'y' has names .'cat', 'dog'., 'p' has whole numbers .'0', '1'.; if they are pos"),
        ("0 1", "cat dog", "'p' has names"),
        ("0 1", "[0.2,0.8] [0.9,0.1]", "several values in one"),
    ],
)  # fmt: skip
def test_a_likely_cause_is_an_error(labels: str, predictions: str, message: str) -> None:
    with pytest.raises(DataError, match=f"label and prediction do not match: .*{message}"):
        check(*right(labels, predictions))


def test_unicode_forms_are_an_error() -> None:
    labels = ["caf\u00e9", "tea"]
    with pytest.raises(DataError, match="in Unicode form"):
        check(labels, [unicodedata.normalize("NFD", text) for text in labels])


@pytest.mark.parametrize(
    ("labels", "predictions"),
    [
        ("a A b B c", "a A b B C"),  # letters are classes
        ("cat dog", "bird dog"),
        ("0 1 2", "0 1 3"),
        ("1 1 1", "0 0 0"),  # only positives, all wrong
        ("0 1", "1 0"),
        ("1 2 3", "1 2 2"),
        ("0.5 1.5", "0.5 1"),
        ("tensor(1) tensor(0)", "tensor(1) tensor(1)"),
        ("Yes yes", "Yes Yes"),
    ],
)
def test_other_differences_are_no_error(labels: str, predictions: str) -> None:
    check(*right(labels, predictions))


def test_random_predictions_are_not_taken_as_shifted() -> None:
    rng = np.random.default_rng(0)
    for seed in range(50):
        y = rng.integers(1, 3, 40 + seed)
        check(list(map(str, y)), list(map(str, rng.integers(0, 2, len(y)))))


def test_no_value_in_common_without_a_cause_is_a_note() -> None:
    assert check(["cat", "dog"], ["bird", "fish"]) == [
        "no row is right: label ('cat', 'dog') and prediction ('bird', 'fish') have no value in common"
    ]


def test_labels_that_may_be_one_class_are_noted() -> None:
    notes = check(["Yes", "yes", "no"], ["Yes", "no", "no"])
    assert notes == ["labels that differ in form only count as different classes: 'Yes' and 'yes'"]


def test_the_error_names_the_file_and_the_columns(cli: Any, tmp_path: Path) -> None:
    path = write_table(tmp_path, "x.csv", b"y,p,g\nyes,Yes,a\nno,No,b\n")
    line = error_line(cli("audit", path, *COLUMNS))
    assert re.search(r"x.csv: label and prediction do not match: .* 'p' has 'No' for 'no'", line)
    with pytest.raises(DataError, match="'y_pred' has 'No' for 'no', 'Yes' for 'yes' in 'y_true'"):
        biascon.audit(["yes", "no"], ["Yes", "No"], sensitive_features=["a", "b"])


def test_many_scores_as_predictions_have_a_hint(cli: Any, tmp_path: Path) -> None:
    rows = b"y,p,g\n" + b"".join(b"1,%.4f,a\n" % (k / 2000) for k in range(2000))
    line = error_line(cli("audit", write_table(tmp_path, "x.csv", rows), *COLUMNS))
    assert (
        "Pass the predicted class, such as score > 0.5 (logits: score > 0), and the score by --scores"
        in line
    )


@pytest.mark.parametrize(
    ("labels", "predictions", "note"),
    [
        ("0 1", "1 0", "no row is right; are the classes '0' and '1' exchanged?"),
        ("a b c", "b c a", "no row is right"),
        (
            "0 0 0 1 1",
            "1 1 0 0 0",
            "the prediction is right in 30 of 150 rows (20.0 %), fewer than by chance (52.0 %); are",
        ),
        ("0 1 0 1", "0 1 1 0", None),
        ("0 0 0 0 1", "0 0 0 1 0", None),
        ("0 0 0 1", "0 0 0 0", None),
    ],
)
def test_fewer_right_rows_than_by_chance_are_noted(
    labels: str, predictions: str, note: str | None
) -> None:
    notes = check(*right(labels, predictions))
    assert notes == [] if note is None else note in notes[0]
