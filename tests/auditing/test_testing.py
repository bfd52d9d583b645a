"""``biascon.testing.assert_within``: passes, fails with one line, warns; the examples of docs/ci.md."""

from __future__ import annotations

import re
import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import biascon
from biascon.auditing.tolerance import EXIT_CODES, Outcome, parse_tolerances
from biascon.auditing.verdicts import describe_verdicts
from biascon.errors import BiasconWarning, UsageError
from biascon.testing import assert_within
from tests.auditing.audit_cases import write_table
from tests.auditing.test_tolerance import parity_rows

PAGE = Path(__file__).resolve().parents[2] / "docs" / "ci.md"
DPD = "demographic_parity_difference"


def check(rates: tuple[float, ...], tolerance: float, n: int = 400, **options: Any) -> list[Any]:
    rows = parity_rows(rates, n)
    return list(
        assert_within(
            rows.y, rows.p, sensitive_features=rows["g"], metric=DPD, tolerance=tolerance, **options
        )
    )


def test_within_returns_the_verdicts() -> None:
    (verdict,) = check((0.5, 0.5), 0.2)
    assert verdict.outcome is Outcome.WITHIN and verdict.bias == "g"


@pytest.mark.parametrize("choice", ["fail", "warn", "pass"])
def test_exceeding_always_fails_with_one_line(choice: str) -> None:
    with pytest.raises(AssertionError) as error:
        check((0.3, 0.8), 0.1, on_inconclusive=choice)
    (line,) = str(error.value).splitlines()
    assert line.startswith("by g, EXCEEDS: demographic parity difference (class '1') 50.0 points")


def test_inconclusive_fails_warns_or_passes() -> None:
    with pytest.raises(AssertionError, match=r"by g, INCONCLUSIVE.*; detectable: .*80 % power"):
        check((0.5, 0.6), 0.1)
    with pytest.warns(BiasconWarning, match="INCONCLUSIVE") as caught:
        check((0.5, 0.6), 0.1, on_inconclusive="warn")
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check((0.5, 0.6), 0.1, on_inconclusive="pass")[0].outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("choice", ["fail", "warn", "pass"])
def test_an_undefined_metric_always_fails(choice: Any) -> None:
    with pytest.raises(
        AssertionError, match=r"by g, UNDEFINED: .*no row with label '1' in group 'b'"
    ):
        assert_within(
            [0, 1, 0, 0], [0, 1, 0, 1], sensitive_features={"g": list("aabb")},
            tolerance=0.5, on_inconclusive=choice,
        )  # fmt: skip


def test_every_feature_and_their_combinations_must_be_within() -> None:
    rows = parity_rows((0.3, 0.8), 400)
    rows["h"] = np.arange(len(rows)) // 2 % 2
    with pytest.raises(AssertionError) as error:
        assert_within(
            rows.y, rows.p, sensitive_features=rows[["h", "g"]], metric=DPD, tolerance=0.2
        )
    message = str(error.value)
    assert "by g, EXCEEDS" in message and "by h x g, EXCEEDS" in message
    assert "by h, EXCEEDS" not in message


def test_a_name_with_a_line_break_stays_on_the_line() -> None:
    with pytest.raises(AssertionError) as error:
        assert_within([0, 1], [0, 1], sensitive_features={"a\nb": ["x", "y\nz"]}, tolerance=0.1)
    assert len(str(error.value).splitlines()) == 1


def test_an_unknown_choice_or_metric_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="on_inconclusive"):
        check((0.5, 0.5), 0.1, on_inconclusive="skip")
    with pytest.raises(UsageError, match="needs scores"):
        assert_within([0], [0], sensitive_features=["a"], metric="auc", tolerance=0.1)
    with pytest.raises(UsageError, match="unknown metric"):
        assert_within([0], [0], sensitive_features=["a"], metric="fairness", tolerance=0.1)


def test_pytest_shows_the_line_of_the_caller() -> None:
    with pytest.raises(AssertionError) as error:
        assert_within([0, 1], [0, 1], sensitive_features=["a", "b"], tolerance=0.1)
    shown = str(error.getrepr(style="long"))
    assert "test_testing.py" in shown and "raise AssertionError" not in shown


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_pytest_example_of_the_page_passes() -> None:
    (code,) = blocks("python")
    names: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), names)
    names["test_the_model_treats_the_sexes_alike"]()


def audit_step() -> str:
    """Return the shell lines of the step of the workflow that runs the audit."""
    (workflow,) = blocks("yaml")
    lines = re.search(r"name: audit\n        run: \|\n((?:          .*\n)+)", workflow)
    assert lines is not None
    return "\n".join(line[10:] for line in lines[1].splitlines())


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (1, 1), (2, 2), (3, 3), (4, 0), (5, 5)])
def test_the_workflow_of_the_page_lets_inconclusive_pass(code: int, expected: int) -> None:
    script = f"biascon() {{ return {code}; }}\n{audit_step()}"
    done = subprocess.run(["bash", "-e", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == expected
    assert ("::warning::" in done.stdout) == (code == 4)


def test_the_command_of_the_workflow_runs(cli: Any, tmp_path: Path) -> None:
    rows = parity_rows((0.3, 0.9), 400).rename(columns={"g": "sex"})
    write_table(tmp_path, "predictions.csv", rows)
    command = re.search(r"biascon (audit .*?) \|\|", audit_step().replace("\\\n", ""))
    assert command is not None
    assert cli(*command[1].split()).code == EXIT_CODES[Outcome.EXCEEDS]
    assert "Verdicts" in (tmp_path / "audit.html").read_text()


def test_the_verdict_of_the_page_has_the_form_of_a_verdict() -> None:
    rows = parity_rows((0.5, 0.6), 400)
    audit = biascon.audit(rows.y, rows.p, sensitive_features={"sex": rows.g})
    shown = describe_verdicts(audit.judge({"equalized_odds_difference": 0.05}))
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    for sentence in shown:
        pattern = re.sub(r"'[^']*'", "'.*?'", re.escape(sentence).replace(r"\ ", " "))
        pattern = re.sub(r"\d+(\\\.\d+)?", r"[\\d.]+", pattern)
        pattern = pattern.replace("true positive", "(true|false) positive")
        assert re.search(pattern, text), pattern


def test_the_commands_and_exit_codes_of_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    words = re.findall(r"--tolerance ([a-z_]+=[0-9.]+)", text)
    assert len(parse_tolerances([], sorted(set(words)))) == 3
    for outcome, code in EXIT_CODES.items():
        assert re.search(rf"^\| {outcome.value} \|.*\| {code} \|$", text, re.MULTILINE)
