"""How often the verdict of a study is wrong, and how often it finds a difference, on made studies.

    python tests/benchmarks/study_rates.py [STUDIES]

Each row is one truth: two surfaces of accuracy over six parameters (``tests/studies/made_studies.py``), 24
paired trials each, the choice by validation, ten paired confirmation runs. The last column is the share of
winners that the interval of the confirmation alone would call. docs/tuning.md has the table.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from biascon.studies.confirmation import Verdict, compare_methods
from tests.studies.made_studies import Surface, make_study

BASE = Surface()
STEEP = replace(BASE, curvature=(0.60, 0.05, 0.10, 0.30, 0.15, 0.10))
FLAT = replace(BASE, curvature=tuple(c / 20 for c in BASE.curvature))


def mirrored(surface: Surface) -> Surface:
    """Return the surface with its optimum at the other side of every parameter."""
    return replace(surface, optimum=tuple(1 - o for o in surface.optimum))


def raised(surface: Surface, gap: float) -> Surface:
    """Return the surface with a higher peak."""
    return replace(surface, peak=surface.peak + gap)


SCENARIOS = {
    "equal: the same surface": (BASE, BASE),
    "equal: the same surface, steep": (STEEP, STEEP),
    "equal: the same surface, flat": (FLAT, FLAT),
    "equal: optimum elsewhere": (mirrored(BASE), BASE),
    "equal: optimum elsewhere, steep": (mirrored(STEEP), STEEP),
    "gap of 1 point": (raised(BASE, 0.01), BASE),
    "gap of 2 points": (raised(BASE, 0.02), BASE),
    "gap of 3 points": (raised(BASE, 0.03), BASE),
    "gap of 3 points, steep": (raised(STEEP, 0.03), STEEP),
    "gap of 3 points, flat": (raised(FLAT, 0.03), FLAT),
    "gap of 3 points, optimum elsewhere": (raised(mirrored(BASE), 0.03), BASE),
}


def main() -> None:
    """Print the table."""
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print("| truth | better | worse | level | undecided | winners by the confirmation alone |")
    print("|---|---|---|---|---|---|")
    for name, (a, b) in SCENARIOS.items():
        verdicts, alone = Counter[Verdict](), 0
        for k in range(studies):
            comparison = compare_methods(make_study(a, b, 100_000 + k), "unbiased")[0]
            verdicts[comparison.verdict] += 1
            alone += comparison.settings_low > 0 or comparison.settings_high < 0
        cells = [*(verdicts[verdict] for verdict in Verdict), alone]
        row = " | ".join(f"{100 * cell / studies:.1f} %" for cell in cells)
        print(f"| {name} | {row} |", flush=True)


if __name__ == "__main__":
    main()
