"""The positive class, the smallest group that is compared, the four-fifths rule, p-values in tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fairlearn.metrics
import numpy as np
import pandas as pd
import pytest

import biascon
from biascon.auditing.display.findings import audit_findings
from biascon.auditing.display.formats import format_interval, format_permutation, format_rate
from biascon.errors import DataError, UsageError
from biascon.metrics.fairness import METRICS as FAIRNESS
from biascon.metrics.records import Metric, PermutationResult
from tests.auditing.audit_cases import COLUMNS, audit_rows, error_line, make_rows, write_table


def hiring(women: int = 20, men: int = 30, n: int = 200) -> pd.DataFrame:
    """Of n women and n men, some are selected."""
    p = [1] * women + [0] * (n - women) + [1] * men + [0] * (n - men)
    return pd.DataFrame({"y": [0, 1] * n, "p": p, "g": ["f"] * n + ["m"] * n})


def test_twenty_to_thirty_selected_is_a_ratio_of_two_thirds(cli: Any, tmp_path: Path) -> None:
    outcome = cli("audit", write_table(tmp_path, "x.csv", hiring()), *COLUMNS)
    (line,) = (
        row for row in outcome.out.splitlines() if row.startswith("demographic parity ratio")
    )
    assert line.split()[3] == "0.67"
    assert "positive class '1'" in outcome.out
    assert "below 0.8 (interval" in outcome.out
    data = audit_rows(hiring()).data
    assert data["demographic_parity_ratio"]["value"] == pytest.approx(20 / 30)
    assert data["macro"]["demographic_parity_ratio"]["value"] == pytest.approx(
        (20 / 30 + 170 / 180) / 2
    )


@pytest.mark.parametrize("positive", [0, 1])
def test_the_headline_is_fairlearns(positive: int) -> None:
    df = make_rows(classes=2)
    result = audit_rows(df, positive=positive)
    is_class = (df.y == positive).astype(int), (df.p == positive).astype(int)
    for name in FAIRNESS:
        expected = getattr(fairlearn.metrics, name)(*is_class, sensitive_features=df.g)
        assert result.overall[name] == pytest.approx(expected)
    expected = fairlearn.metrics.equalized_odds_difference(
        *is_class, sensitive_features=df.g, agg="mean"
    )
    assert result.overall["average_odds_difference"] == pytest.approx(expected)
    assert result.data["positive"] == str(positive)


def test_a_positive_class_must_be_one_of_the_classes(cli: Any, tmp_path: Path) -> None:
    path = write_table(tmp_path, "x.csv", make_rows(classes=2))
    assert "'yes'" in error_line(cli("audit", path, *COLUMNS, "--positive", "yes"), 2)
    with pytest.raises(UsageError, match="none of the classes"):
        audit_rows(make_rows(classes=3), positive=7)
    result = audit_rows(make_rows(classes=3), positive=1)
    assert result.data["positive"] == "1"
    by_class = result.data["by_class"]["1"]
    assert result.data["equal_opportunity_difference"] == by_class["equal_opportunity_difference"]


def test_three_classes_say_that_the_headline_is_a_mean(cli: Any, tmp_path: Path) -> None:
    outcome = cli("audit", write_table(tmp_path, "x.csv", make_rows()), *COLUMNS)
    assert "comparisons are means over classes" in outcome.out
    assert audit_rows(make_rows()).data["positive"] is None


def test_small_groups_are_not_compared_but_shown(cli: Any, tmp_path: Path) -> None:
    df = make_rows(classes=2)
    small = pd.DataFrame({"y": [1, 1, 1], "p": [0, 0, 0], "g": "z", "h": 0})
    both = pd.concat([df, small])
    result, without = audit_rows(both, min_group=4), audit_rows(df)
    for name in (*FAIRNESS, "worst_group", "average_odds_difference"):
        assert result.overall[name] == without.overall[name]
    assert result.overall["top1"] < without.overall["top1"]
    assert result.by_group.loc["z", ["n", "accuracy", "compared"]].tolist() == [3, 0.0, False]
    note = (
        "left out of the comparisons and of the worst group: 1 of 5 groups, with fewer than 4 rows"
    )
    assert f"{note}: 'z' (3)" in result.notes
    stay = "their cells stay in the means over cells, such as the unbiased accuracy"
    assert any(stay in text for text in result.notes)
    outcome = cli("audit", write_table(tmp_path, "x.csv", both), *COLUMNS, "--min-group", "4")
    rows = [line.split() for line in outcome.out.splitlines()]
    assert next(row[-1] for row in rows if row[:2] == ["z", "3"]) == "no"
    (mean,) = [row for row in rows if row[:3] == ["mean", "over", "classes"]]
    assert mean[3] == str(len(df))  # without the group that is left out
    assert "Comparison of the compared groups of g" in outcome.out


def test_small_groups_are_not_compared_with_the_reference(cli: Any, tmp_path: Path) -> None:
    small = pd.DataFrame({"y": [1, 1, 1], "p": [0, 0, 0], "g": "z", "h": 0})
    both = pd.concat([make_rows(classes=2), small])
    result = audit_rows(both, min_group=4, reference="a")
    assert sorted(set(result.reference["g"])) == ["b", "c", "d"]
    assert [group["bias"] for group in result.data["reference"]["groups"]] == ["b", "c", "d"]
    path = write_table(tmp_path, "x.csv", both)
    line = error_line(cli("audit", path, *COLUMNS, "--min-group", "4", "--reference", "z"), 2)
    assert "the reference 'z' of 'g' has 3 rows and is left out of the comparisons" in line


def test_one_group_left_has_no_comparisons() -> None:
    result = audit_rows(hiring().iloc[:230], min_group=100)
    assert np.isnan(result.overall["demographic_parity_difference"])
    assert result.notes[-1] == "one group only, 'f': differences and ratios are undefined"
    assert audit_findings(result.record) == []
    result = audit_rows(hiring(), min_group=1000)
    assert np.isnan(result.overall["worst_group"])
    assert "no group to compare" in result.notes[-1]


def test_findings_name_the_groups_with_their_columns() -> None:
    df = hiring().assign(h=[0, 1, 1, 0] * 100)
    record = audit_rows(df, "g", "h").record
    text = " ".join(audit_findings(record))
    assert "lowest in g=f, h=" in text and "highest in g=m, h=" in text
    cell = record.summary["worst_group"].cell
    assert cell is not None
    assert record.name_group(record.groups.index(str(cell.bias))) in ("g=f, h=0", "g=f, h=1")


@pytest.mark.parametrize(
    ("women", "men", "n", "words"),
    [
        (20, 30, 200, "below 0.8 (interval 0."),
        (500, 1000, 4000, "0.50, below 0.8"),
        (1000, 1010, 4000, "not below 0.8"),
        (1, 1, 2, "1.00, not below 0.8 (interval 0."),
    ],
)
def test_the_four_fifths_rule_says_whether_the_rows_decide(
    women: int, men: int, n: int, words: str
) -> None:
    (text,) = (
        sentence
        for sentence in audit_findings(audit_rows(hiring(women, men, n)).record)
        if "Four-fifths" in sentence
    )
    assert words in text
    assert ("the rows do not decide it" in text) is (n <= 200)


def test_a_group_without_positives_makes_the_headline_undefined() -> None:
    result = biascon.audit(
        [1, 1, 0, 0, 0, 0], [1, 0, 0, 1, 0, 1], sensitive_features=list("aaaabb")
    )
    assert np.isnan(result.overall["equal_opportunity_difference"])
    assert np.isnan(result.overall["average_odds_difference"])


def test_p_at_the_floor_is_an_inequality() -> None:
    floor = PermutationResult(0.1, 1 / 2001, "rows", 2000)
    assert format_permutation(floor, floor.p) == "< 0.0005"
    assert format_permutation(floor, 4 / 2001) == "< 0.0020"
    assert format_permutation(PermutationResult(0.1, 2 / 2001, "rows", 2000), 2 / 2001) == "0.0010"
    assert format_permutation(PermutationResult(None, None, "rows", 2000), None) == "-"


def test_an_interval_of_everything_is_too_few_rows() -> None:
    assert format_interval("top1", Metric(0.5, 2, 0.0, 1.0)) == "too few rows"
    assert format_rate(Metric(0.5, 2, 0.0, 1.0)) == "50.0 [too few rows]"
    assert format_rate(Metric(-0.0001, 2, -0.2, 0.1)) == "0.0 [-20.0, 10.0]"


def test_an_older_record_is_refused() -> None:
    data = json.loads(json.dumps(audit_rows(hiring()).data))
    del data["format"]
    with pytest.raises(DataError, match="expected an audit of format 2, but got 1"):
        type(audit_rows(hiring()).record).from_json(data)


def test_multiclass_equalized_odds_does_not_depend_on_the_mix_of_labels() -> None:
    """Predictions depend on the label alone; the groups have other shares of the labels."""
    rates = np.array([[8, 1, 1], [0, 10, 0], [0, 0, 10]])  # label x prediction, of 10 rows
    mixes = {"a": (10, 50, 10), "b": (50, 10, 10)}
    rows = [
        (k, j, g)
        for g, mix in mixes.items()
        for k, n in enumerate(mix)
        for j in range(3)
        for _ in range(n * rates[k, j])
    ]
    y, p, g = zip(*rows, strict=True)
    result = biascon.audit(y, p, sensitive_features=g)
    assert result.overall["multiclass_equalized_odds_difference"] == pytest.approx(0)
    assert result.overall["equalized_odds_difference"] > 0.03
    assert result.data["multiclass_equalized_odds_difference"]["ci"][1] < 0.2
    two = audit_rows(make_rows(classes=2)).data["multiclass_equalized_odds_difference"]
    assert two == {"value": None, "n": 0, "ci": [None, None]}
