"""Numbers of audits are those of fairlearn, scikit-learn and vfairness, and of docs/agreement.md."""

from __future__ import annotations

import pytest

from tests.benchmarks import agreement

LARGEST = {"fairlearn": 1e-12, "scikit-learn": 1e-8, "vfairness": 1e-12}


@pytest.mark.slow
def test_every_number_is_that_of_the_other_packages_and_of_the_page() -> None:
    packages = agreement.installed()
    assert {"fairlearn", "scikit-learn"} <= set(packages)
    page = agreement.PAGE.read_text(encoding="utf-8")
    comparisons = agreement.compare_all(packages)
    assert len(comparisons) >= len(agreement.FILES)
    for comparison in comparisons:
        for package, deviation in comparison.largest.items():
            assert deviation <= LARGEST[package], (comparison.name, package)
        section = page.split(f"### {comparison.name}\n", 1)[1].split("\n### ", 1)[0]
        for name, value in comparison.own.items():
            assert f"| {name.replace('_', ' ')} | {value:.6f} |" in section


@pytest.mark.slow
def test_undefined_rates_are_undefined_here_whatever_others_give() -> None:
    _, *rows = agreement.design_rows(agreement.installed())
    assert [row[2] for row in rows] == ["undefined"] * len(agreement.CASES)
    page = agreement.PAGE.read_text(encoding="utf-8")
    assert all(f"| {row[0]} | {row[1]} | undefined |" in page for row in rows)
