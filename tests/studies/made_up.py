"""Made-up runs of a study."""

from __future__ import annotations

from typing import Any

from biascon.studies.records import TEST_METRICS, VAL_METRICS, CellCounts, Stage, StudyRun
from biascon.studies.table import StudyTable

DESCRIPTION = {
    "name": "made-up", "methods": {"ce": {}, "contex": {}}, "trials": 4, "studies": 1, "seed": 0,
    "dataset": {"name": "bmnist-0.9"}, "preset": "smoke", "settings": [], "recipe": 6,
}  # fmt: skip


def make_run(method: str = "ce", trial: int = 0, **changes: Any) -> StudyRun:
    """Return a trial whose metrics are ``trial / 10``, with some fields changed."""
    fields: dict[str, Any] = {
        "stage": Stage.TRIAL, "method": method, "study": 0, "trial": trial, "pair": trial,
        "seed": 100 + trial, "dataset": "bmnist-0.9", "dataset_seed": None, "rho": None,
        "dataset_digest": "d" * 64, "run": f"{method}{trial}", "settings": {"optimizer.lr": 0.1},
        "seconds": 1.5, "first_stage_seconds": 0.0, "device": "cpu AVX2",
        "val": dict.fromkeys(VAL_METRICS, trial / 10), "test": dict.fromkeys(TEST_METRICS, trial / 20),
        "val_cells": CellCounts([[3, 0], [1, 2]], [[4, 1], [1, 4]]),
        "test_cells": CellCounts([[5, 0], [1, 2]], [[5, 0], [2, 2]]),
        "evaluated_by": "linear_probe", "uses_bias_labels": False, **changes,
    }  # fmt: skip
    return StudyRun(**fields)


def diverged_run(method: str = "ce", trial: int = 0) -> StudyRun:
    return make_run(
        method, trial, diverged=True, message="the loss is not finite", seconds=0.5, val={}, test={},
        val_cells=None, test_cells=None, evaluated_by="",
    )  # fmt: skip


def make_table(*runs: StudyRun) -> StudyTable:
    return StudyTable(DESCRIPTION, list(runs))
