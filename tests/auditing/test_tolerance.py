"""Verdicts against tolerances: what an interval says, the exit codes, the sentences and the JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import biascon
from biascon import errors
from biascon.auditing.tolerance import (
    EXIT_CODES,
    TOLERABLE,
    WITHOUT_INTERVAL,
    Outcome,
    Tolerance,
    parse_tolerances,
)
from biascon.auditing.verdicts import Verdict, describe_verdicts, worst_outcome
from biascon.errors import BiasconError, UsageError
from biascon.metrics.records import Metric
from tests.auditing.audit_cases import COLUMNS, audit_rows, error_line, make_rows, write_table

EOD = "equalized_odds_difference"


def parity_rows(rates: tuple[float, ...], n: int = 4000) -> pd.DataFrame:
    """Groups a, b, ... of n rows each, half of either label, with given rates of the prediction 1."""
    parts = [
        pd.DataFrame(
            {
                "y": np.arange(n) % 2,
                "p": (np.arange(n) // 2 % 100 < 100 * rate).astype(int),
                "g": "abcdefgh"[k],
            }
        )
        for k, rate in enumerate(rates)
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize(
    ("metric", "limit", "interval", "expected"),
    [
        (EOD, 0.05, (0.0, 0.05), Outcome.WITHIN),
        (EOD, 0.05, (0.0, 0.0501), Outcome.INCONCLUSIVE),
        (EOD, 0.05, (0.05, 0.2), Outcome.INCONCLUSIVE),
        (EOD, 0.05, (0.0501, 0.2), Outcome.EXCEEDS),
        ("demographic_parity_ratio", 0.8, (0.8, 0.9), Outcome.WITHIN),
        ("demographic_parity_ratio", 0.8, (0.7, 0.8), Outcome.INCONCLUSIVE),
        ("demographic_parity_ratio", 0.8, (0.7, 0.79), Outcome.EXCEEDS),
        ("worst_group", 0.6, (0.61, 0.9), Outcome.WITHIN),
        ("top1", 0.6, (0.1, 0.59), Outcome.EXCEEDS),
    ],
)
def test_the_interval_decides(
    metric: str, limit: float, interval: tuple[float, float], expected: Outcome
) -> None:
    assert Tolerance(metric, limit).judge(Metric(sum(interval) / 2, 100, *interval)) is expected


@pytest.mark.parametrize("result", [Metric(None, 0), Metric(0.01, 10), Metric(0.01, 10, 0.0, None)])
def test_without_value_or_interval_the_verdict_is_undefined(result: Metric) -> None:
    assert Tolerance(EOD, 0.9).judge(result) is Outcome.UNDEFINED


def test_the_exit_codes_are_no_codes_of_errors() -> None:
    def subclasses(cls: type[BiasconError]) -> set[type[BiasconError]]:
        return {cls}.union(*map(subclasses, cls.__subclasses__()))

    codes = {cls.exit_code for cls in subclasses(BiasconError)} | {130}  # 130: interrupted
    assert list(EXIT_CODES) == list(Outcome)
    assert list(EXIT_CODES.values()) == [0, 3, 4, 5]
    assert not codes & set(EXIT_CODES.values())
    assert "0, 3, 4 or 5" in (errors.__doc__ or "")


def test_the_worst_of_several_counts() -> None:
    def verdict(outcome: Outcome) -> Verdict:
        return Verdict("g", ("a",), Tolerance(EOD, 0.1), outcome, Metric(0.1, 1))

    order = [Outcome.WITHIN, Outcome.INCONCLUSIVE, Outcome.UNDEFINED, Outcome.EXCEEDS]
    for k, worst in enumerate(order):
        assert worst_outcome(map(verdict, order[: k + 1])) is worst


@pytest.mark.parametrize(
    ("metrics", "words", "expected"),
    [
        ([EOD], ["0.05"], {EOD: 0.05}),
        ([], [f"{EOD}=0.05", "top1=.9"], {EOD: 0.05, "top1": 0.9}),
        (["top1", EOD], ["0.9", "worst_group=0.5", "0.1"], {"top1": 0.9, EOD: 0.1, "worst_group": 0.5}),
        ([], [], {}),
    ],
)  # fmt: skip
def test_both_forms_of_the_options(
    metrics: list[str], words: list[str], expected: dict[str, float]
) -> None:
    assert {t.metric: t.limit for t in parse_tolerances(metrics, words)} == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tolerance", "0.05"], "expected one --tolerance for each --metric"),
        (["--metric", EOD], "expected one --tolerance for each --metric"),
        (["--metric", EOD, "--tolerance", "x"], "expected a number as --tolerance, but got 'x'"),
        (["--tolerance", f"{EOD}=5"], "in 0..1 (0.05 is 5 points), but got 5"),
        (["--tolerance", f"{EOD}=nan"], "in 0..1"),
        (["--tolerance", "equalised_odds_difference=0.1"], f"did you mean '{EOD}'?"),
        (["--tolerance", "top1=0.1", "--tolerance", "top1=0.2"], "got several of top1"),
        (["--tolerance", "brier=0.01"], "brier has no interval, and so no tolerance"),
        (["--tolerance", "calibration_error=0.01"], "calibration_error has no interval"),
        (["--tolerance", "auc=0.99"], "a tolerance of auc needs scores (--scores, scores=)"),
        (
            ["--tolerance", "bias_conflicting=0.9"],
            "bias_conflicting needs aligned values (--aligned",
        ),
    ],
)
def test_options_that_do_not_fit_are_a_usage_error(
    cli: Any, tmp_path: Path, options: list[str], message: str
) -> None:
    path = write_table(tmp_path, "x.csv", make_rows(40))
    assert message in error_line(cli("audit", path, *COLUMNS, *options), 2)


def test_a_limit_that_is_no_number_is_a_usage_error() -> None:
    for limit in (True, "0.1", None):
        with pytest.raises(UsageError, match="expected a number"):
            Tolerance("top1", limit)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="expected tolerances as"):
        audit_rows(make_rows()).judge({})


@pytest.mark.parametrize(
    ("rates", "limit", "code", "word"),
    [
        ((0.5, 0.5), 0.1, 0, "WITHIN"),
        ((0.5, 0.8), 0.1, 3, "EXCEEDS"),
        ((0.5, 0.58), 0.1, 4, "INCONCLUSIVE"),
    ],
)
def test_the_exit_code_of_the_command(
    cli: Any, tmp_path: Path, rates: tuple[float, float], limit: float, code: int, word: str
) -> None:
    path = write_table(tmp_path, "x.csv", parity_rows(rates, 1200))
    words = ["--metric", "demographic_parity_difference", "--tolerance", str(limit)]
    outcome = cli("audit", path, *COLUMNS, *words, "--out", "report.html")
    assert outcome.code == code
    verdicts = outcome.out.split("\nVerdicts\n")[1]
    assert verdicts.startswith(f"by g, {word}: demographic parity difference")
    assert "tolerated: at most 10.0 points" in " ".join(verdicts.split())
    assert max(map(len, verdicts.splitlines())) <= 110
    assert f"by g, {word}: " in (tmp_path / "report.html").read_text()
    plain = cli("audit", path, *COLUMNS)
    assert plain.code == 0 and "Verdicts" not in plain.out


def test_json_has_the_verdicts_of_each_bias_column(cli: Any, tmp_path: Path) -> None:
    rows = parity_rows((0.4, 0.7), 400)
    rows["h"] = np.arange(len(rows)) // 2 % 2
    path = write_table(tmp_path, "x.csv", rows)
    outcome = cli(
        "audit", path, *COLUMNS, "--bias", "h", "--json",
        "--tolerance", "demographic_parity_difference=0.1", "--tolerance", "top1=0.3",
    )  # fmt: skip
    assert outcome.code == 3
    records = [json.loads(line) for line in outcome.out.splitlines()]
    found = {(r["bias"], v["metric"]): v["verdict"] for r in records for v in r["verdicts"]}
    assert found["g", "demographic_parity_difference"] == "exceeds"
    assert found["h", "demographic_parity_difference"] in ("within", "inconclusive")
    assert found["g x h", "top1"] == "within"
    for record in records:
        verdict = record["verdicts"][0]
        metric = record["demographic_parity_difference"]
        assert verdict["ci"] == metric["ci"] and verdict["value"] == metric["value"]
        assert (verdict["bound"], verdict["tolerance"]) == ("at most", 0.1)


def test_the_detectable_difference_stands_with_the_verdict() -> None:
    (verdict,) = audit_rows(parity_rows((0.5, 0.6), 200)).judge(
        {"demographic_parity_difference": 0.05}
    )
    found = verdict.to_json()["detectable"]
    assert found["groups"] == ["a", "b"] and found["n"] == [200, 200]
    assert (found["power"], found["level"], found["tests"]) == (0.8, 0.05, 1)
    # 2.8 standard errors of the difference of two rates of 0.55
    assert found["value"] == pytest.approx(2.8 * (0.55 * 0.45 / 100) ** 0.5, rel=0.02)
    text = verdict.describe_detectable() or ""
    assert text.endswith("selection rates of class '1' in 'a' (n = 200) and 'b' (n = 200)")
    first, last = describe_verdicts([verdict])
    assert first == f"{verdict}; {text}" and "80 % power" in last


def test_three_classes_and_accuracies_have_no_detectable_difference() -> None:
    verdicts = audit_rows(make_rows()).judge({"equal_opportunity_difference": 0.1, "top1": 0.5})
    assert [v.detectable for v in verdicts] == [None, None]
    assert describe_verdicts(verdicts) == list(map(str, verdicts))


@pytest.mark.parametrize(
    ("rows", "metric", "reason"),
    [
        ({"g": "aaaa", "y": "0101", "p": "0101"}, EOD, "there are no two groups"),
        ({"g": "aabb", "y": "0100", "p": "0101"}, EOD, "no row with label '1' in group 'b'"),
        ({"g": "aabb", "y": "0000", "p": "0000"}, EOD, "no row with a label other than '0' in group 'a'"),
        ({"g": "aabb", "y": "0101", "p": "0000"}, "equalized_odds_ratio",
         "the compared rates of class '1' are 0 in every group"),
        ({"g": "a" * 40 + "b" * 40, "y": "01" * 40, "p": ("01" * 18 + "00" * 2) * 2},
         "equalized_odds_ratio", "the lower limit is 0 for any number of rows"),
        ({"g": "aabbaabb", "y": "01010212", "p": "00000000"}, "demographic_parity_ratio",
         "the compared rates of class '1', '2' are 0 in every group"),
        ({"g": "aabb", "y": "0101", "p": "0101"}, "multiclass_equalized_odds_difference",
         "not more than two classes"),
        ({"g": "aabb", "y": "0101", "p": "0101"}, "adjusted_average", "there are no training rows"),
        ({"g": "aabb", "y": "0121", "p": "0101"}, "average_odds_difference", "no positive class"),
    ],
)  # fmt: skip
def test_an_undefined_metric_says_why(rows: dict[str, str], metric: str, reason: str) -> None:
    columns = {name: list(text) for name, text in rows.items()}
    audit = biascon.audit(columns["y"], columns["p"], sensitive_features={"g": columns["g"]})
    (verdict,) = audit.judge({metric: 0.5})
    assert verdict.outcome is Outcome.UNDEFINED
    assert reason in (verdict.reason or "")
    assert reason in str(verdict)


def test_limits_that_round_to_the_tolerance_have_more_digits() -> None:
    metric = Metric(0.07, 100, 0.0502, 0.09)
    text = str(Verdict("g", ("a",), Tolerance(EOD, 0.05), Outcome.EXCEEDS, metric))
    assert "5.02 to 9.00" in text
    text = str(
        Verdict("g", ("a",), Tolerance(EOD, 0.0525), Outcome.WITHIN, Metric(0.01, 9, 0, 0.02))
    )
    assert text.endswith("at most 5.25 points")  # fmt: skip


def test_values_have_the_unit_of_the_tables() -> None:
    def sentence(metric: str) -> str:
        result = Metric(0.742, 9, 0.719, 0.764)
        return str(Verdict("g", ("a",), Tolerance(metric, 0.7), Outcome.WITHIN, result))

    assert "0.742, 95 % interval 0.719 to 0.764; tolerated: at least 0.700" in sentence("auc")
    assert "74.2 %, 95 % interval 71.9 to 76.4; tolerated: at least 70.0 %" in sentence("top1")
    assert "0.74, 95 % interval 0.72 to 0.76; tolerated: at least 0.70" in sentence(
        "demographic_parity_ratio"
    )


def test_groups_too_small_to_compare_are_undefined(cli: Any, tmp_path: Path) -> None:
    path = write_table(tmp_path, "x.csv", parity_rows((0.5, 0.5), 400))
    outcome = cli("audit", path, *COLUMNS, "--min-group", "5000", "--tolerance", f"{EOD}=0.05")
    assert outcome.code == 5
    assert "by g, UNDEFINED" in outcome.out
    assert "no two groups of 5,000 rows or more" in " ".join(outcome.out.split())


def test_every_tolerable_metric_has_an_interval() -> None:
    """With scores, aligned values and training rows, only the multi-class metric is undefined."""
    y, g = np.arange(800) % 2, np.arange(800) // 2 % 2
    p = np.where(np.arange(800) % 7 == 0, 1 - y, y)
    scores = np.where(p == 1, 0.6, 0.3) + np.arange(800) % 10 / 100
    audit = biascon.audit(
        y, p, sensitive_features={"g": g}, scores=scores,
        aligned={"0": "0", "1": "1"}, training=(y, {"g": g}),
    )  # fmt: skip
    verdicts = audit.judge(dict.fromkeys(TOLERABLE, 0.5))
    undefined = [v.tolerance.metric for v in verdicts if v.outcome is Outcome.UNDEFINED]
    assert undefined == ["multiclass_equalized_odds_difference"]
    assert all(audit.record[name].interval is None for name in WITHOUT_INTERVAL)


def test_a_metric_that_one_column_lacks_is_undefined_by_it() -> None:
    rows = make_rows(classes=2, groups=2)
    audit = audit_rows(rows, "g", "h", aligned={"g": {"0": "a", "1": "b"}})
    verdicts = audit.judge({"bias_conflicting": 0.1})
    assert verdicts[0].outcome is not Outcome.UNDEFINED
    assert "aligned values" in (verdicts[1].reason or "")


def test_a_verdict_over_all_rows_says_so_once() -> None:
    verdicts = audit_rows(make_rows(), "g", "h").judge({"top1": 0.3, EOD: 0.9})
    shown = describe_verdicts(verdicts)
    assert len(verdicts) == 6 and len(shown) == 4
    assert [line for line in shown if "top-1" in line] == [str(verdicts[0])]
    assert str(verdicts[0]).startswith("over all rows, WITHIN: top-1 accuracy")


def composition_rows(labels: str) -> pd.DataFrame:
    """Predictions that depend on the label alone, in groups with other mixes of labels."""
    rates = {
        "0": "0" * 90 + "2" * 10,
        "1": "0" * 10 + "1" * 80 + "2" * 10,
        "2": "0" * 30 + "2" * 70,
    }
    parts = [
        pd.DataFrame({"y": y, "p": list(rates[y]) * n, "g": g})
        for y, sizes in zip(labels, ((8, 1), (1, 8), (1, 1)), strict=False)
        for g, n in zip("ab", sizes, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


def test_equalized_odds_of_three_labels_stand_beside_chance() -> None:
    verdicts = audit_rows(composition_rows("012")).judge(
        {EOD: 0.01, "equalized_odds_ratio": 0.8, "demographic_parity_difference": 0.1}
    )
    odds, ratio, parity = describe_verdicts(verdicts)
    hint = (
        "the false positive rate of a class depends on the shares of the other labels in a group, "
        "multiclass_equalized_odds_difference does not"
    )
    chance = verdicts[0].chance
    assert chance is not None and chance.expected is not None
    assert odds.endswith(
        f"; by chance {100 * chance.expected:.1f} points, p {chance.p:.4f}; {hint}"
    )
    assert ratio.endswith(f"; {hint}") and "by chance" not in ratio
    assert "by chance" not in parity and hint not in parity
    assert verdicts[0].to_json()["chance"] == chance.to_json()
    assert verdicts[0].to_json()["mixes_labels"] is True


def test_a_third_class_that_is_only_predicted_mixes_no_labels() -> None:
    (verdict,) = audit_rows(composition_rows("01")).judge({EOD: 0.01})
    assert not verdict.mixes_labels and verdict.chance is None
