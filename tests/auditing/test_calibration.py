"""Calibration of scores: equal to plain loops, independent of parts, and bad scores are errors."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics

import biascon
from biascon.auditing import audit, audit_file
from biascon.auditing.reading.prediction_file import PredictionFile
from biascon.errors import UsageError
from tests.auditing.audit_cases import (
    COLUMNS,
    audit_rows,
    data_without_source,
    error_line,
    make_rows,
    write_table,
)


def make_scored_rows(n: int = 3000, classes: int = 3) -> pd.DataFrame:
    df = make_rows(n, classes=classes)
    logits = np.random.default_rng(1).normal(size=(n, classes)) + 2 * np.eye(classes)[df.p]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return df.assign(**{f"s{k}": scores[:, k] for k in range(classes)})


def test_calibration_equals_a_plain_loop_in_every_group() -> None:
    df = make_scored_rows()
    scores = df[["s0", "s1", "s2"]].to_numpy()
    result = audit_rows(df, "g", "h", scores=scores)
    for part in (*result.by_feature.values(), result):
        names = df[list(part.columns)].astype(str).agg(" x ".join, axis=1)
        for row in part.data["by_group"]:
            rows = (names == row["bias"]).to_numpy()
            s, y, p = scores[rows], df.y[rows].to_numpy(), df.p[rows].to_numpy()
            squares = ((s - np.eye(3)[y]) ** 2).sum(axis=1)
            assert row["brier"]["value"] == pytest.approx(squares.mean())
            confidence = s[np.arange(len(s)), p]
            bins = np.ceil(confidence * 15).astype(int)
            gaps = [
                abs((p[bins == b] == y[bins == b]).sum() - confidence[bins == b].sum())
                for b in range(1, 16)
            ]
            assert row["calibration_error"]["value"] == pytest.approx(sum(gaps) / len(s))
            assert row["brier"]["n"] == rows.sum()


def test_one_column_of_scores_is_the_second_of_two_classes() -> None:
    df = make_scored_rows(classes=2)
    result = audit_rows(df, scores=df["s1"])
    expected = audit_rows(df, scores=df[["s0", "s1"]]).data
    assert {**result.data, "notes": []} == {**expected, "notes": []}
    expected = sklearn.metrics.brier_score_loss(df.y, df.s1)
    assert result.overall["brier"] == pytest.approx(2 * expected)


def _calibration_notes(result: biascon.Audit) -> list[str]:
    return [note for note in result.notes if "score" in note]


def test_the_class_of_a_single_score_is_noted() -> None:
    df = make_scored_rows(400, classes=2)
    result = audit_rows(df, scores=df.s1)
    note = _calibration_notes(result)[0]
    assert note == "the score is taken as that of class '1' (the second of '0', '1')"
    two = audit_rows(df, scores=df[["s0", "s1"]])
    assert _calibration_notes(result)[1:] == _calibration_notes(two)


@pytest.mark.parametrize("positive", ["0", "1"])
def test_a_single_score_is_of_the_positive_class(positive: str) -> None:
    df = make_scored_rows(400, classes=2)
    both = df[["s0", "s1"]]
    expected = audit_rows(df, scores=both, positive=positive)
    one = audit_rows(df, scores=both.iloc[:, int(positive)], positive=positive)
    assert one.data["brier"]["value"] == pytest.approx(expected.data["brier"]["value"])
    assert one.data["auc"]["value"] == pytest.approx(expected.data["auc"]["value"])
    note = f"the score is taken as that of class '{positive}' (the positive class)"
    assert _calibration_notes(one) == [note, *_calibration_notes(expected)]
    with pytest.raises(UsageError, match="positive class '2' is none of the classes '0', '1'"):
        audit_rows(df, scores=df.s1, positive=2)


def test_rows_whose_highest_score_is_not_the_prediction_are_counted() -> None:
    df = make_scored_rows(400)
    scores = df[["s0", "s1", "s2"]].to_numpy()
    n = int((scores.argmax(axis=1) != df.p).sum())
    assert 0 < n < 200
    (note,) = _calibration_notes(audit_rows(df, scores=scores))
    assert note.startswith(
        f"in {n} of 400 rows ({n / 4:.1f} %) the class with the highest score is not"
    )
    (note,) = _calibration_notes(audit_rows(df, scores=np.roll(scores, 1, axis=1)))
    assert note.endswith("are the scores in the order of the classes '0', '1', '2'?")
    assert not _calibration_notes(audit_rows(df, scores=np.eye(3)[df.p]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: 100 * s, r"in 0..1, but got .*are they percent\? pass score / 100"),
        (np.log, r"are they logarithms of probabilities\? pass exp\(score\)"),
        (lambda s: 8 * s - 3, "are they logits. pass their softmax"),
        (lambda s: s / 2 + 0.4, "to sum to 1, but got .*is each a sigmoid of its own"),
        (lambda s: np.where(s > 0.9, np.inf, s), "infinite scores"),
    ],
)
def test_scores_that_are_no_probabilities_have_a_likely_cause(change: Any, message: str) -> None:
    df = make_scored_rows(100)
    with pytest.raises(UsageError, match=message):
        audit_rows(df, scores=change(df[["s0", "s1", "s2"]].to_numpy()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: 100 * s, "but got .*percent"),
        (lambda s: 8 * s - 3, r"are they logits\? pass 1 / \(1 \+ exp\(-score\)\)"),
    ],
)
def test_a_single_score_that_is_no_probability_has_a_likely_cause(
    change: Any, message: str
) -> None:
    df = make_scored_rows(100, classes=2)
    with pytest.raises(UsageError, match=message):
        audit_rows(df, scores=change(df.s1.to_numpy()))


def test_scores_fit_booleans_that_are_taken_as_numbers() -> None:
    df = make_scored_rows(classes=2)
    result = biascon.audit(df.y, df.p > 0, sensitive_features=df[["g"]], scores=df.s1)
    assert result.data["brier"] == audit_rows(df, scores=df.s1).data["brier"]


def test_scores_do_not_depend_on_the_parts_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    df = make_scored_rows()
    columns = ["s0", "s1", "s2"]
    results = [data_without_source(audit_rows(df, "g", "h", scores=df[columns]))]
    for name in ("x.csv", "x.parquet"):
        path = write_table(tmp_path, name, df)
        for rows, size in ((1 << 20, 1 << 23), (60, 1 << 12)):
            parts = functools.partialmethod(
                PredictionFile.scored_parts, part_rows=rows, part_bytes=size
            )
            with monkeypatch.context() as patch:
                patch.setattr(PredictionFile, "scored_parts", parts)
                result = audit_file(
                    path, label="y", prediction="p", bias=["g", "h"], scores=columns
                )
            results.append(data_without_source(result))
    assert len({json.dumps(data) for data in results}) == 1


@pytest.mark.parametrize("scores", [{}, {"a": [0.5] * 4, "b": [0.5] * 3}])
def test_columns_of_scores_of_other_lengths_are_an_error(scores: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"expected columns of scores of shape \(4,\)"):
        biascon.audit([0, 1] * 2, [0, 1] * 2, sensitive_features=list("aabb"), scores=scores)


def test_calibration_is_undefined_without_scores() -> None:
    result = audit_rows(make_rows())
    assert result.data["brier"] == {"value": None, "n": 0, "ci": [None, None]}
    assert result.by_group["calibration_error"].isna().all()
    assert "Brier" not in result.to_html()


def test_rows_without_a_score_are_an_error_or_left_out(cli: Any, tmp_path: Path) -> None:
    df = make_scored_rows(400)
    df.loc[[3, 5], "s1"] = np.nan
    path = write_table(tmp_path, "x.csv", df)
    words = ("audit", path, *COLUMNS, "--scores", "s0,s1,s2")
    assert "2 of 400 rows lack a score" in error_line(cli(*words))
    data = json.loads(cli(*words, "--drop-missing", "--json").out)
    assert (data["rows"], data["brier"]["n"], data["top1"]["n"]) == (400, 398, 400)
    assert data["notes"][1] == "left out of the calibration: 2 of 400 rows lack a score"


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ("s0,s1", "expected one score for each of the 3 classes '0', '1', '2'"),
        ("s0,s1,s3", "lacks column 's3' (it has "),
        ("s0,s1,h2", "expected the scores of a row to sum to 1"),
        ("s0,s1,big", "expected scores in 0..1"),
        ("s0,s1,word", "expected numbers in column 'word', but got 'a'"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_bad_scores_are_one_line(
    cli: Any, tmp_path: Path, scores: str, message: str, suffix: str
) -> None:
    df = make_scored_rows(50).assign(h2=1.0, big=7, word="a")
    path = write_table(tmp_path, f"x{suffix}", df)
    line = error_line(cli("audit", path, *COLUMNS, "--scores", scores))
    assert message in line or "Failed to parse string: 'a'" in line or "but got 'a'" in line
    assert path.name in line


def test_a_column_in_two_roles_is_an_error(cli: Any, tmp_path: Path) -> None:
    path = write_table(tmp_path, "x.csv", make_scored_rows(50))
    assert "but got 'p' twice" in error_line(cli("audit", path, *COLUMNS, "--scores", "p"), 2)


def test_scores_of_another_shape_are_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"expected scores of shape \(400,\)"):
        audit_rows(make_rows(), scores=[0.5])
    with pytest.raises(UsageError, match="expected scores to be numbers"):
        audit_rows(make_rows(), scores=["a"] * 400)


def test_a_value_that_is_only_predicted_needs_no_score() -> None:
    y, p, g = [0, 1, 0, 1] * 30, [0, 1, 1, 1] * 30, ["a", "b"] * 60
    score = [0.1, 0.8, 0.6, 0.9] * 30
    both = audit(y, p, sensitive_features=g, scores=score)
    stray = audit(y, [*p[:-1], "refused"], sensitive_features=g, scores=score)
    assert stray.data["positive"] == "1"
    assert stray.overall["auc"] == both.overall["auc"]
    pair = audit(y, [*p[:-1], "refused"], sensitive_features=g, scores=[(1 - s, s) for s in score])
    assert pair.overall["auc"] == both.overall["auc"]
    assert pair.overall["brier"] == stray.overall["brier"]
