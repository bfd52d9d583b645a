"""Rates, scores, reference, bins, pairs, weights and a baseline by group, against other packages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fairlearn.metrics
import numpy as np
import pandas as pd
import pytest
import sklearn.metrics

import biascon
from biascon.auditing import audit_file
from biascon.auditing.record import AuditRecord
from biascon.auditing.rows.positive_scores import ScoreCounts
from biascon.errors import DataError, UsageError
from biascon.metrics.intervals import wilson
from tests.auditing.audit_cases import (
    COLUMNS,
    audit_rows,
    data_without_source,
    error_line,
    make_rows,
    write_table,
)

RATES = {
    "selection_rate": fairlearn.metrics.selection_rate,
    "true_positive_rate": fairlearn.metrics.true_positive_rate,
    "false_positive_rate": fairlearn.metrics.false_positive_rate,
    "false_negative_rate": fairlearn.metrics.false_negative_rate,
    "precision": sklearn.metrics.precision_score,
}


def scored_rows(n: int = 600) -> pd.DataFrame:
    """Two classes with a score, a weight, and the predictions of a baseline."""
    df = make_rows(n, classes=2)
    rng = np.random.default_rng(5)
    score = np.clip(0.35 * df.y + 0.6 * rng.random(n), 0, 1).round(3)
    base = np.where(rng.random(n) < 0.05, 1 - df.y, df.y)
    return df.assign(s=score, w=rng.random(n) + 0.1, base=base, age=rng.integers(18, 80, n))


def test_rates_by_group_equal_fairlearn_and_wilson() -> None:
    df = make_rows(classes=2)
    frame = audit_rows(df).by_group
    expected = fairlearn.metrics.MetricFrame(
        metrics=RATES, y_true=df.y, y_pred=df.p, sensitive_features=df.g
    ).by_group
    for name in RATES:
        assert frame[name].tolist() == pytest.approx(expected[name].tolist())
    positives = df[df.y == 1].groupby("g").p
    low, high = wilson(positives.sum().to_numpy(), positives.count().to_numpy())
    assert frame["true_positive_rate_low"].tolist() == low.tolist()
    assert frame["true_positive_rate_high"].tolist() == high.tolist()
    assert frame["false_negative_rate_low"].tolist() == pytest.approx((1 - high).tolist())


def test_scores_of_the_positive_class_by_group() -> None:
    df = scored_rows()
    for positive in (1, 0):
        score = df.s if positive else 1 - df.s  # a single score is that of the positive class
        frame = audit_rows(df, scores=score, positive=positive).by_group
        for group, rows in df.groupby("g"):
            y = rows.y == positive
            s = rows.s if positive else 1 - rows.s
            row = frame.loc[group]
            assert row["auc"] == pytest.approx(sklearn.metrics.roc_auc_score(y, s))
            assert row["auc_low"] < row["auc"] < row["auc_high"]
            gap = s - y
            assert row["calibration_in_the_large"] == pytest.approx(gap.mean())
            radius = 1.96 * gap.std() / np.sqrt(len(rows))
            width = row["calibration_in_the_large_high"] - row["calibration_in_the_large_low"]
            assert width == pytest.approx(2 * radius, rel=0.05)
            bins = np.clip(np.ceil(s * 15), 1, 15)
            expected = gap.groupby(bins).sum().abs().sum() / len(rows)
            if positive:  # 1 - s rounds differently at an edge
                assert row["positive_calibration_error"] == pytest.approx(expected)


def test_the_error_of_calibrated_scores_is_the_mean_over_drawn_labels() -> None:
    """Calibrated scores: the error of the small group is large, and no larger than expected."""
    rng = np.random.default_rng(0)
    g = np.array(["big"] * 3000 + ["small"] * 60)
    s = rng.beta(1, 2, len(g))
    result = biascon.audit(rng.random(len(g)) < s, s > 0.5, sensitive_features=g, scores=s)
    frame = result.by_group
    for group in ("big", "small"):
        score = s[g == group]
        bins = np.clip(np.ceil(score * 15), 1, 15).astype(int)
        gaps = score - (rng.random((1000, len(score))) < score)
        sums = np.stack([gaps[:, bins == b].sum(axis=1) for b in range(1, 16)])
        expected = (np.abs(sums).sum(axis=0) / len(score)).mean()
        chance = frame.loc[group, "positive_calibration_error_if_calibrated"]
        assert chance == pytest.approx(expected, rel=0.02)
        # The predicted class has the score s or 1 - s.
        score = np.maximum(score, 1 - score)
        bins = np.clip(np.ceil(score * 15), 1, 15).astype(int)
        gaps = score - (rng.random((1000, len(score))) < score)
        sums = np.stack([gaps[:, bins == b].sum(axis=1) for b in range(1, 16)])
        expected = (np.abs(sums).sum(axis=0) / len(score)).mean()
        chance = frame.loc[group, "calibration_error_if_calibrated"]
        assert chance == pytest.approx(expected, rel=0.02)
    error = frame["positive_calibration_error"]
    assert error["small"] > 4 * error["big"]
    assert error["small"] < 1.5 * frame.loc["small", "positive_calibration_error_if_calibrated"]
    record = result.record
    assert AuditRecord.from_json(json.loads(json.dumps(record.to_json()))) == record
    equal = biascon.audit(
        rng.random(len(g)) < s,
        s > 0.5,
        sensitive_features=g,
        scores=s,
        sample_weight=np.full(len(g), 0.25),
    )
    name = "positive_calibration_error_if_calibrated"
    assert equal.by_group[name].tolist() == pytest.approx(frame[name].tolist())


def test_the_table_of_scores_has_the_error_of_calibrated_scores(cli: Any, tmp_path: Path) -> None:
    path = write_table(tmp_path, "x.csv", scored_rows())
    outcome = cli("audit", path, *COLUMNS, "--scores", "s")
    table = outcome.out[outcome.out.index("Scores by group") :].splitlines()
    assert table[1].count("if calibrated") == 2
    assert "-" not in table[3].split()
    assert "If calibrated: the mean calibration error of calibrated scores" in " ".join(
        outcome.out.split()
    )


def test_a_shift_in_opposite_directions_is_seen() -> None:
    """Every score is 10 points off: up in one group, down in the other."""
    rng = np.random.default_rng(0)
    n = 20_000
    truth, g = rng.random(n) * 0.8 + 0.1, np.arange(n) % 2
    y = rng.random(n) < truth
    s = np.where(g == 1, truth + 0.1, truth - 0.1)
    result = biascon.audit(y, s > 0.5, sensitive_features=g, scores=s)
    assert result.by_group["calibration_in_the_large"].tolist() == pytest.approx(
        [-0.1, 0.1], abs=0.01
    )
    assert result.by_group["positive_calibration_error"].min() > 0.09


def test_the_auc_of_very_many_scores_is_close_and_in_any_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    df = scored_rows(3000)
    scores = np.random.default_rng(1).random(3000) * 0.5 + 0.5 * df.y * 0.4
    exact = audit_rows(df, scores=scores).by_group["auc"]
    monkeypatch.setattr("biascon.auditing.rows.positive_scores.MAX_EXACT", 500)
    result = audit_rows(df, scores=scores)
    assert result.by_group["auc"].tolist() == pytest.approx(exact.tolist(), abs=2e-5)
    assert any(note.startswith("AUC: from scores in steps") for note in result.notes)
    few = audit_rows(df, scores=np.round(scores, 1))
    assert not any(note.startswith("AUC") for note in few.notes)


def test_score_counts_do_not_depend_on_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("biascon.auditing.rows.positive_scores.MAX_EXACT", 300)
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 3, 1000), rng.random(1000), rng.random(1000) < 0.5
    results = []
    for size in (1000, 90):
        counts = ScoreCounts(3)
        for start in range(0, 1000, size):
            g, s, y = (column[start : start + size] for column in rows)
            counts.add(g, s, y.astype(float), 1.0 - y)
        results.append([[part.tolist() for part in group] for group in counts.by_group()])
    assert results[0] == results[1]


def test_differences_to_the_reference_are_signed() -> None:
    df = make_rows(classes=2)
    result = audit_rows(df, reference="b")
    frame = result.reference.set_index(["g", "metric"])
    rates = audit_rows(df).by_group
    for group in "acd":
        row = frame.loc[(group, "selection_rate")]
        own, base = rates.loc[group, "selection_rate"], rates.loc["b", "selection_rate"]
        assert row["difference"] == pytest.approx(own - base)
        assert row["ratio"] == pytest.approx(own / base)
        assert row["difference_low"] < row["difference"] < row["difference_high"]
        odds = frame.loc[(group, "average_odds"), "difference"]
        expected = [
            rates.loc[group, name] - rates.loc["b", name]
            for name in ("true_positive_rate", "false_positive_rate")
        ]
        assert odds == pytest.approx(np.mean(expected))
    assert "b" not in frame.index.get_level_values("g")


def test_a_reference_of_several_columns_is_a_combination(cli: Any, tmp_path: Path) -> None:
    path = write_table(tmp_path, "x.csv", make_rows(classes=2))
    words = ("audit", path, *COLUMNS, "--bias", "h", "--reference", "b")
    outcome = cli(*words, "--reference", "1")
    assert "Differences to the reference g=b, h=1" in outcome.out
    assert "Differences to the reference h=1" in outcome.out
    assert "for each bias column" in error_line(cli(*words), 2)
    assert "is no group of 'h'" in error_line(cli(*words, "--reference", "7"), 2)
    df = make_rows(classes=2)
    one, two = (audit_rows(df, "g", "h", reference=r).data for r in (["b", 1], {"h": 1, "g": "b"}))
    assert one == two and one["reference"]["bias"] == "b x 1"


def test_a_numeric_column_in_bins(cli: Any, tmp_path: Path) -> None:
    df = scored_rows()
    df.loc[0, "age"] = 65
    result = audit_rows(df, "age", bins={"age": [18, 40, 65]})
    names = pd.cut(df.age, [18, 40, 65.01, 100], right=False)
    assert result.by_group["n"].tolist() == names.value_counts(sort=False).tolist()
    assert list(result.by_group.index) == ["[18, 40)", "[40, 65]", "> 65"]
    outside = int((df.age > 65).sum())
    assert f"'age': {outside} rows are outside the bins" in result.notes[0]
    path = write_table(tmp_path, "x.csv", df)
    words = ("audit", path, "--label", "y", "--prediction", "p", "--bias", "age", "--json")
    data = json.loads(cli(*words, "--bins", "age=18,40,65").out)
    assert data["groups"] == list(result.by_group.index)
    assert data["counts"] == result.data["counts"]


def test_bins_are_in_the_order_of_their_edges() -> None:
    ages = [-1, 3, 25, 70, 130, 100]
    result = biascon.audit(
        [0, 1] * 3, [0, 1] * 3, sensitive_features={"age": ages}, bins={"age": [0, 5, 20, 100]}
    )
    assert list(result.by_group.index) == ["< 0", "[0, 5)", "[20, 100]", "> 100"]
    assert result.by_group["n"].tolist() == [1, 1, 3, 1]


@pytest.mark.parametrize(
    ("bins", "message", "code"),
    [
        ("age", "expected --bins COLUMN=EDGE", 2),
        ("age=1,x", "expected --bins COLUMN=EDGE", 2),
        ("age=1", "at least two increasing edges", 2),
        ("age=2,1", "at least two increasing edges", 2),
        ("agee=1,2", "no bias column", 2),
        ("g=1,2", "400 rows have other values: 'd', 'c'", 1),
    ],
)
def test_bad_bins_are_one_line(
    cli: Any, tmp_path: Path, bins: str, message: str, code: int
) -> None:
    path = write_table(tmp_path, "x.csv", make_rows().assign(age=1))
    words = ("audit", path, *COLUMNS, "--bias", "age", "--bins", bins)
    line = error_line(cli(*words), code)
    assert message.partition(":")[0] in line


def test_pairs_of_three_columns(cli: Any, tmp_path: Path) -> None:
    df = make_rows(classes=2).assign(k=lambda rows: rows.index % 2)
    result = audit_rows(df, "g", "h", "k", pairs=True)
    assert list(result.by_pair) == [("g", "h"), ("g", "k"), ("h", "k")]
    pair = data_without_source(result.by_pair["g", "k"])
    assert pair == data_without_source(audit_rows(df, "g", "k"))
    assert [record.bias for record in result.records][3:] == [
        "g x h",
        "g x k",
        "h x k",
        "g x h x k",
    ]
    with pytest.raises(UsageError, match="at least three bias columns"):
        audit_rows(df, "g", "h", pairs=True)


def test_whole_weights_are_repeated_rows() -> None:
    df = make_rows(300, classes=2)
    weights = np.random.default_rng(0).integers(0, 4, 300)
    repeated = audit_rows(df.loc[df.index.repeat(weights)])
    weighted = audit_rows(df, sample_weight=weights)
    for name in ("top1", "unbiased", "worst_group", "demographic_parity_ratio",
                 "equalized_odds_difference", "average_odds_difference"):  # fmt: skip
        assert weighted.overall[name] == pytest.approx(repeated.overall[name])
    for name in RATES:
        assert weighted.by_group[name].tolist() == pytest.approx(repeated.by_group[name].tolist())
    assert weighted.data["top1"]["n"] == 300


def test_weighted_rates_equal_fairlearn_and_use_the_effective_n() -> None:
    df = scored_rows()
    result = audit_rows(df, sample_weight=df.w, scores=df.s, reference="a")
    for name in ("selection_rate", "true_positive_rate", "false_positive_rate"):
        expected = fairlearn.metrics.MetricFrame(
            metrics=RATES[name], y_true=df.y, y_pred=df.p, sensitive_features=df.g,
            sample_params={"sample_weight": df.w},
        ).by_group  # fmt: skip
        assert result.by_group[name].tolist() == pytest.approx(expected.tolist())
    for group, rows in df.groupby("g"):
        expected = sklearn.metrics.roc_auc_score(rows.y, rows.s, sample_weight=rows.w)
        assert result.by_group.loc[group, "auc"] == pytest.approx(expected)
        effective = rows.w.sum() ** 2 / (rows.w**2).sum()
        assert result.by_group.loc[group, "effective_n"] == pytest.approx(effective)
        accuracy = np.average(rows.y == rows.p, weights=rows.w)
        low, _ = wilson(accuracy * effective, effective)
        assert result.by_group.loc[group, "ci_low"] == pytest.approx(float(low))
    assert result.data["disparity"] is None
    assert result.data["brier"]["value"] is None
    assert any("weighted by 'sample_weight'" in note for note in result.notes)
    record = result.record
    assert AuditRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_equal_weights_have_the_wilson_intervals_of_no_weights() -> None:
    df = make_rows(classes=2)
    plain, weighted = audit_rows(df), audit_rows(df, sample_weight=np.full(len(df), 0.25))
    for name in ("accuracy", "ci_low", "true_positive_rate_high", "effective_n"):
        assert weighted.by_group[name].tolist() == pytest.approx(plain.by_group[name].tolist())
    assert weighted.data["top1"]["ci"] == pytest.approx(plain.data["top1"]["ci"])


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (-1.0, "weights of at least 0, but 400 of 400"),
        (np.inf, "such as inf"),
        (0.0, "all rows are 0"),
    ],
)
def test_bad_weights_are_an_error(cli: Any, tmp_path: Path, weight: float, message: str) -> None:
    df = make_rows().assign(w=weight)
    with pytest.raises(UsageError, match=message):
        audit_rows(df, sample_weight=df.w)
    path = write_table(tmp_path, "x.parquet", df)
    assert message in error_line(cli("audit", path, *COLUMNS, "--weight", "w"))


def test_the_baseline_is_paired_by_row(cli: Any, tmp_path: Path) -> None:
    df = scored_rows()
    frame = audit_rows(df, baseline=df.base).baseline.set_index(["group", "metric"])
    for group, rows in df.groupby("g"):
        expected = (rows.y == rows.p).mean() - (rows.y == rows.base).mean()
        row = frame.loc[(group, "accuracy")]
        assert row["difference"] == pytest.approx(expected)
        assert row["p"] <= row["holm_p"]
        positives = rows[rows.y == 1]
        expected = (positives.p == 1).mean() - (positives.base == 1).mean()
        assert frame.loc[(group, "true_positive_rate"), "difference"] == pytest.approx(expected)
    path = write_table(tmp_path, "x.csv", df)
    outcome = cli("audit", path, *COLUMNS, "--baseline-prediction", "base")
    assert "Against the baseline 'base': significantly worse" in " ".join(outcome.out.split())
    same = audit_rows(df, baseline=df.p)
    assert (same.baseline["difference"] == 0).all() and (same.baseline["p"] == 1).all()


def test_a_baseline_of_three_classes_has_accuracy_only() -> None:
    df = make_rows()
    frame = audit_rows(df, baseline=df.y).baseline
    assert set(frame.metric) == {"accuracy"}
    assert (frame.difference < 0).all()


def test_rows_without_a_baseline_are_an_error_or_left_out() -> None:
    df = scored_rows()
    base = df.base.astype(float).where(df.index > 2)
    with pytest.raises(DataError, match="3 of 600 rows lack a prediction of the baseline"):
        audit_rows(df, baseline=base)
    frame = audit_rows(df, baseline=base, drop_missing=True).baseline
    assert frame.loc[0, "n"] == 597


def test_weights_and_a_baseline_exclude_each_other() -> None:
    df = scored_rows()
    with pytest.raises(UsageError, match="but got both"):
        audit_rows(df, baseline=df.base, sample_weight=df.w)
    with pytest.raises(UsageError, match=r"weights of shape \(600,\)"):
        audit_rows(df, sample_weight=[1.0])
    with pytest.raises(UsageError, match="weights to be numbers"):
        audit_rows(df, sample_weight=["a"] * 600)


def test_a_file_gives_the_audit_of_the_arrays(tmp_path: Path) -> None:
    df = scored_rows()
    settings: dict[str, Any] = {
        "reference": ["a", "[18, 40)"],
        "bins": {"age": [18, 40, 90]},
        "min_group": 5,
    }
    arrays = audit_rows(df, "g", "age", scores=df.s, sample_weight=df.w, **settings)
    path = write_table(tmp_path, "x.parquet", df)
    file = audit_file(
        path, label="y", prediction="p", bias=["g", "age"], scores=["s"], weight="w", **settings
    )
    one, two = data_without_source(arrays), data_without_source(file)
    one["weights"]["column"] = two["weights"]["column"]
    one["notes"] = two["notes"]
    assert one == two


def test_the_adjusted_average_weighs_cells_by_training_rows(cli: Any, tmp_path: Path) -> None:
    df, train = make_rows(classes=2), make_rows(900, classes=2, seed=3)
    result = audit_rows(df, "g", "h", training=(train.y, train[["h", "g"]]))
    for columns, part in (["g"], result.by_feature["g"]), (["g", "h"], result):
        accuracy = (df.y == df.p).groupby([df.y, *(df[c] for c in columns)]).mean()
        shares = train.groupby(["y", *columns]).size() / len(train)
        metric = part.data["adjusted_average"]
        assert metric["value"] == pytest.approx((accuracy * shares).sum())
        assert metric["ci"][0] < metric["value"] < metric["ci"][1]
    path, other = (write_table(tmp_path, f"{k}.csv", rows) for k, rows in enumerate((df, train)))
    data = json.loads(cli("audit", path, *COLUMNS, "--json", "--training", other).out)
    assert data["adjusted_average"] == result.by_feature["g"].data["adjusted_average"]
    assert result.by_feature["h"].overall.notna()["adjusted_average"]
    assert "adjusted average accuracy" in cli("audit", path, *COLUMNS, "--training", other).out


def test_a_training_cell_without_rows_here_has_no_adjusted_average() -> None:
    df, train = make_rows(classes=2), make_rows(60, classes=2)
    train.loc[0, "g"] = "z"
    result = audit_rows(df, training=(train.y, train[["g"]]))
    assert np.isnan(result.overall["adjusted_average"])
    assert "cells with training rows but without rows here" in result.notes[-1]
    with pytest.raises(UsageError, match="a pair"):
        audit_rows(df, training=train)
    with pytest.raises(UsageError, match="with the features 'g'"):
        audit_rows(df, training=(train.y, train[["h"]]))
    with pytest.raises(DataError, match="a value is missing in 1 training row;"):
        audit_rows(df, training=(train.y.where(train.index > 0), train[["g"]]))


def test_a_row_that_lacks_a_weight_lacks_a_value(cli: Any, tmp_path: Path) -> None:
    df = scored_rows()
    df.loc[:2, "w"] = np.nan
    df.loc[4, "g"] = None
    with pytest.raises(DataError, match=r"4 of 600 rows lack a value .*'g' in 1, the weight 's"):
        audit_rows(df, sample_weight=df.w)
    result = audit_rows(df, sample_weight=df.w, scores=df.s, drop_missing=True)
    kept = df.dropna()
    expected = audit_rows(kept, sample_weight=kept.w, scores=kept.s)
    one, two = data_without_source(result), data_without_source(expected)
    assert one.pop("dropped") == 4 and two.pop("dropped") == 0
    assert one.pop("notes")[0].startswith("left out: 4 of 600 rows lack a value")
    del two["notes"]
    assert one == two
    path = write_table(tmp_path, "x.csv", df)
    words = ("audit", path, *COLUMNS, "--weight", "w")
    assert "the weight 'w' in 3), row 1 first; --drop-missing" in error_line(cli(*words))
    assert f"{100 * one['top1']['value']:.1f}" in cli(*words, "--drop-missing").out


def test_training_rows_in_another_spelling_are_an_error(cli: Any, tmp_path: Path) -> None:
    df = make_rows(classes=2)
    path = write_table(tmp_path, "x.csv", df)
    cases: list[tuple[str, Any, str]] = [
        ("y", {0: "No", 1: "Yes"}, "two ways of writing yes and no; write both the same way"),
        ("g", str.upper, "differ in upper and lower case"),
        ("y", {0: "cat", 1: "dog"}, "names and the positions of names"),
        ("g", "x{}".format, "has no value in common with that of the audited rows"),
    ]
    for k, (name, change, cause) in enumerate(cases):
        train = df.assign(**{name: df[name].map(change)})
        other = write_table(tmp_path, f"{k}.csv", train)
        line = error_line(cli("audit", path, *COLUMNS, "--training", other))
        assert f"{k}.csv: '{name}' of the training rows" in line and cause in line


def test_training_labels_of_booleans_count_as_one_and_zero() -> None:
    df = make_rows(classes=2)
    expected = audit_rows(df, training=(df.y, df[["g"]])).overall["adjusted_average"]
    result = audit_rows(df, training=(df.y == 1, df[["g"]]))
    assert result.overall["adjusted_average"] == expected > 0


def test_a_column_of_many_numbers_has_a_note_about_bins() -> None:
    df = scored_rows()
    notes = " ".join(audit_rows(df, "age").notes)
    assert "'age' has 62 different numbers" in notes and "--bins age=EDGE" in notes
    for result in (
        audit_rows(df, "age", bins={"age": [18, 40, 90]}),
        audit_rows(df.assign(age=df.age % 20), "age"),
        audit_rows(df.assign(age="a" + df.age.astype(str)), "age"),
    ):
        assert "different numbers" not in " ".join(result.notes)


def test_one_row_outside_the_bins_is_one_row() -> None:
    df = scored_rows().assign(age=30)
    df.loc[0, "age"] = 95
    note = audit_rows(df, "age", bins={"age": [18, 40, 90]}).notes[0]
    assert note.startswith("'age': 1 row is outside the bins; such rows are groups of their own")
