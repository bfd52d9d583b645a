"""Made tables of studies: scores from a formula of the settings, no training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from biascon.studies.records import CellCounts, Stage, StudyRun
from biascon.studies.table import StudyTable
from biascon.utils.distributions import read_distribution

SPACE = {
    "optimizer.lr": {"log_uniform": [0.001, 0.1]},
    "train.batch_size": {"choice": [64, 128, 256]},
    "loss.temperature": {"log_uniform": [0.03, 0.5]},
}
GOLDEN = Path(__file__).parents[1] / "golden" / "report" / "study.md"
CELLS = CellCounts([[5, 3], [2, 5]], [[5, 5], [5, 5]])


def make_description(
    methods: Mapping[str, Mapping[str, Any]], trials: int, **changes: Any
) -> dict[str, Any]:
    """Return the description of a study with a space of three shared parameters."""
    confirm = {
        "seeds": 4, "rules": ["unbiased"], "reference": next(iter(methods)), "margin": 0.02,
        "rho": [0.997], "variance": 3, **changes.pop("confirm", {}),
    }  # fmt: skip
    return {
        "name": "made",
        "methods": {
            name: {"loss": name, "settings": [], **data, "space": {**SPACE, **data.get("space", {})}}
            for name, data in methods.items()
        },
        "trials": trials,
        "studies": 1,
        "seed": 0,
        "dataset": {
            "name": "bmnist-0.997", "digest": "d" * 64, "bias": "", "rho": 0.997,
            "val_protocol": "10 % of the digits, at rho 0.1", "train": "rho 0.997",
            "test": "test digits at rho 0.1", "source": "made up",
        },
        "preset": "smoke",
        "settings": [],
        "recipe": 6,
        "budget_seconds": None,
        **changes,
        "confirm": confirm,
    }  # fmt: skip


def metrics(accuracy: float) -> dict[str, float | None]:
    """Return the metrics of a run of some accuracy: the aligned cells are all right."""
    conflicting = (accuracy - 0.1) / 0.9
    return {
        "top1": accuracy,
        "unbiased": accuracy,
        "bias_aligned": 1.0,
        "bias_conflicting": conflicting,
        "worst_group": max(0.0, conflicting - 0.3),
        "worst_class": max(0.0, accuracy - 0.15),
        "biased_accuracy": 1 - (1 - accuracy) / 20,
        "biased_worst_class": None,
        "gap": 1 - conflicting,
        "equalized_odds_difference": 0.9 - 0.6 * conflicting,
    }


def make_study_table(
    gains: Mapping[str, float],
    trials: int = 8,
    *,
    methods: Mapping[str, Mapping[str, Any]] | None = None,
    noise: float = 0.004,
    rhos: Sequence[float] = (0.997,),
    score: Callable[[str, Mapping[str, Any]], float] | None = None,
    **changes: Any,
) -> StudyTable:
    """Return a complete study whose methods have the given gains in accuracy over a common curve.

    Args:
        gains: The gain of each method; the first method is the reference.
        trials: The trials of each method.
        methods: What the description has of the methods beside the space, by name.
        noise: The standard deviation of the accuracy of a run.
        rhos: The color correlations of the confirmation.
        score: Another gain of a method, by its name and settings.
        changes: Other values of the description.
    """
    confirm = {"rho": list(rhos), **changes.pop("confirm", {})}
    known = {name: dict((methods or {}).get(name, {})) for name in gains}
    description = make_description(known, trials, confirm=confirm, **changes)
    rng = np.random.default_rng(0)
    draws = rng.random((trials, len(SPACE)))
    runs: list[StudyRun] = []
    for name, gain in gains.items():
        space = description["methods"][name]["space"]
        search = []
        for trial in range(trials):
            own = rng.random(len(space) - len(SPACE))
            values = dict(zip(space, (*draws[trial], *own), strict=True))
            settings = {
                key: read_distribution(key, space[key]).quantile(u)  # type: ignore[union-attr]
                for key, u in values.items()
            }
            base = 0.75 + gain - 0.5 * (np.log10(settings["optimizer.lr"]) + 2) ** 2 * 0.3
            base += 0.0 if score is None else score(name, settings)
            search.append(_run(Stage.TRIAL, name, trial, trial, trial, settings, base, noise, rng))
        runs += search
        best = max(search, key=lambda run: run.val["unbiased"] or 0)
        base = 0.7 + gain
        stages = [(Stage.CONFIRMATION, description["confirm"]["seeds"], noise)]
        stages += [
            (stage, description["confirm"]["variance"], noise / 2)
            for stage in (Stage.SEEDS, Stage.DATASETS, Stage.ROUNDING)
        ]
        for stage, n, sd in stages:
            for rho in rhos if stage is Stage.CONFIRMATION else rhos[:1]:
                for pair in range(n):
                    seed = (1000 if stage in (Stage.CONFIRMATION, Stage.ROUNDING) else 1500) + pair
                    run = _run(
                        stage, name, best.trial, pair, seed, best.settings, base, sd, rng, rho
                    )
                    runs.append(run)
    return StudyTable(description, runs)


def _run(
    stage: Stage, method: str, trial: int, pair: int, seed: int, settings: Mapping[str, Any], base: float,
    noise: float, rng: np.random.Generator, rho: float = 0.997,
) -> StudyRun:  # fmt: skip
    val, test = (round(float(base + noise * rng.normal()), 4) for _ in range(2))
    text = f"{stage.value}/{method}/{trial}/{pair}/{rho}"
    return StudyRun(
        stage, method, 0, trial, pair, seed, "bmnist-0.997", seed if stage is not Stage.TRIAL else 0, rho,
        f"data-{rho}-{seed}", hashlib.sha256(text.encode()).hexdigest(), settings,
        seconds=20.0 + 5 * len(method), first_stage_seconds=0.0, device="cpu made", val=metrics(val),
        test=metrics(test), val_cells=CELLS, test_cells=CELLS, evaluated_by="linear_probe",
    )  # fmt: skip


def diverge(table: StudyTable, *keys: tuple[str, int]) -> StudyTable:
    """Return the table in which the given trials (method, number) diverged."""
    return replace(
        table,
        runs=[
            replace(run, diverged=True, message="loss is nan", val={}, test={}, val_cells=None,
                    test_cells=None)
            if run.stage is Stage.TRIAL and (run.method, run.trial) in keys
            else run
            for run in table.runs
        ],
    )  # fmt: skip


def without(table: StudyTable, leave_out: Callable[[StudyRun], bool]) -> StudyTable:
    """Return the table without some runs."""
    return replace(table, runs=[run for run in table.runs if not leave_out(run)])


def golden_table() -> StudyTable:
    """Return the study of the golden report: a clear winner, a clear loser, a diverged trial, bias labels."""
    table = make_study_table(
        {"supcon": 0.0, "contex": 0.04, "groupdro": -0.03},
        methods={"contex": {"space": {"loss.wa": {"uniform": [0.1, 0.9]}}}},
        rhos=(0.997, 0.99),
    )
    table = diverge(table, ("supcon", 2))
    marked = [replace(run, uses_bias_labels=run.method == "groupdro") for run in table.runs]
    return replace(table, runs=marked)


def golden_report() -> str:
    """Return the report of the golden study as Markdown."""
    from biascon.report.study_data import make_study
    from biascon.report.study_sections import make_document
    from biascon.report.study_write import render_study_markdown

    return render_study_markdown(make_document(make_study(golden_table()), settings_of))


def settings_of(description: Mapping[str, Any], run: StudyRun) -> list[str]:
    """Return the searched settings of a run as they are."""
    return [f"{key}={value}" for key, value in run.settings.items()]


if __name__ == "__main__":  # python -m tests.report.made_study: writes the golden report
    GOLDEN.write_text(golden_report(), encoding="utf-8")
