"""Mutation testing of the losses and metrics: ``make mutation`` (with mutmut, from the root of the project).

mutmut changes one expression of a function, such as ``<`` into ``<=``, and runs the tests that call this
function. A mutant is killed if a test fails, and it survives if all of them pass. There are some 9,500
mutants; a seeded random sample of them gives the score with its interval (Jeffreys). The survivors are
printed as differences: each one is a missing test, or a change that no test can see.

    python -m tests.reliability.mutation --sample 300 --seed 0 --out mutation.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from biascon.metrics.rate_intervals import jeffreys

ROOT = Path(__file__).resolve().parents[2]
CHEAP = "biascon.losses.simclr*"  # any mutants: the first command writes the names of all
CHUNK = (
    50  # mutants of one command; a run that is stopped keeps the results of the finished commands
)
STATES = {0: "survived", 5: "no test", 33: "no test", -24: "timeout", 24: "timeout", 36: "timeout"}
STATES |= {152: "timeout", 255: "timeout", 35: "suspicious"}


def run_mutmut(*names: str) -> None:
    """Run mutmut on mutants by name."""
    subprocess.run(
        [sys.executable, "-m", "mutmut", "run", "--max-children", "2", *names], cwd=ROOT, check=True
    )


def read_results() -> dict[str, int | None]:
    """Return the exit code of the tests of each mutant, None where they did not run."""
    results: dict[str, int | None] = {}
    for part in ("losses", "metrics"):
        for path in sorted((ROOT / "mutants" / "biascon" / part).glob("*.meta")):
            results |= json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
    return results


def main() -> None:
    """Draw the sample, test the mutants that are not tested, and print the score and the survivors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("mutation.json"))
    options = parser.parse_args()
    if not read_results():
        run_mutmut(CHEAP)
    names = sorted(read_results())
    order = np.random.default_rng(options.seed).permutation(len(names))
    sample = [names[k] for k in order[: options.sample]]
    untested = [name for name in sample if read_results()[name] is None]
    if untested:  # a run that is stopped keeps its results, and goes on with the others
        run_mutmut(*untested)
    results = read_results()
    states = {
        name: STATES.get(code, "killed") for name in sample if (code := results[name]) is not None
    }
    counts = Counter(states.values())
    caught = counts["killed"] + counts["timeout"]
    low, high = jeffreys(np.array(caught), np.array(len(states)))
    print(f"{len(names)} mutants, {len(states)} drawn (seed {options.seed}): {dict(counts)}")
    print(f"score {100 * caught / len(states):.1f} % (95 %: {100 * low:.1f} to {100 * high:.1f})")
    alive = sorted(name for name, state in states.items() if state not in ("killed", "timeout"))
    options.out.write_text(
        json.dumps({"counts": counts, "alive": alive}, indent=1) + "\n", encoding="utf-8"
    )
    for name in alive:
        shown = subprocess.run(
            [sys.executable, "-m", "mutmut", "show", name],
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
        )
        print(f"\n{states[name]}: {name}\n{shown.stdout}")


if __name__ == "__main__":
    main()
