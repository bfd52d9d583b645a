"""The runs of a study: one record for each, with its settings and its metrics."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from biascon.metrics.summary import ACCURACIES, COMPARISONS


class Stage(enum.Enum):
    """Why a run is part of a study: the value is what files hold.

    The last three stages vary one source of randomness each, for the split of the variance.
    """

    TRIAL = "trial"
    CONFIRMATION = "confirmation"
    SEEDS = "training seeds"
    DATASETS = "dataset seeds"
    ROUNDING = "rounding"


RunKey = tuple[str, str, int, str]
VARIANCE_STAGES = (Stage.SEEDS, Stage.DATASETS, Stage.ROUNDING)
WEIGHTED_METRICS = ("biased_accuracy", "biased_worst_class")  # by the cells of the training images
VAL_METRICS = (*ACCURACIES, "worst_class", *WEIGHTED_METRICS)
TEST_METRICS = (*ACCURACIES, "worst_class", "gap", *COMPARISONS, "ece", "brier")


@dataclass(frozen=True)
class CellCounts:
    """How many images of each cell of label and bias a split has, and how many are classified correctly.

    Attributes:
        correct: int lists ``(K, M)``.
        total: int lists ``(K, M)``.
    """

    correct: Sequence[Sequence[int]]
    total: Sequence[Sequence[int]]


@dataclass(frozen=True)
class StudyRun:
    """One run of a study.

    Attributes:
        stage: Why the run is part of the study.
        method: The name of the method.
        study: The number of the search, from 0.
        trial: The number of the trial whose setting the run has, from 0.
        pair: The number that the runs of all methods share: the trial, or the number of the confirmation run.
        seed: The training seed.
        dataset: The name of the dataset.
        dataset_seed: The seed of the dataset, None where the study does not build it.
        rho: The color correlation of the dataset, None where the study does not build it.
        dataset_digest: The digest of the dataset.
        run: The digest of the run.
        settings: The searched parameters by ``section.key``.
        diverged: Whether the training diverged; there are no metrics then.
        message: The error message of a run that diverged.
        seconds: The seconds of training of the run itself, None where unknown. For a run that diverged, those
            of its process.
        first_stage_seconds: The seconds of training of its first-stage networks, None where unknown.
        threads: The number of CPU threads.
        device: The device, with its model.
        val: The metrics of ``VAL_METRICS`` on the validation split; None where undefined.
        test: The metrics of ``TEST_METRICS`` on the test split; None where undefined.
        val_cells: The counts of the validation split.
        test_cells: The counts of the test split.
        evaluated_by: The classifier of the numbers, as in ``Classifier``.
        uses_bias_labels: Whether the method uses bias labels of training images.
    """

    stage: Stage
    method: str
    study: int
    trial: int
    pair: int
    seed: int
    dataset: str
    dataset_seed: int | None
    rho: float | None
    dataset_digest: str
    run: str
    settings: Mapping[str, Any]
    diverged: bool = False
    message: str = ""
    seconds: float | None = None
    first_stage_seconds: float | None = None
    threads: int = 1
    device: str = ""
    val: Mapping[str, float | None] = field(default_factory=dict)
    test: Mapping[str, float | None] = field(default_factory=dict)
    val_cells: CellCounts | None = None
    test_cells: CellCounts | None = None
    evaluated_by: str = ""
    uses_bias_labels: bool = False

    def metrics(self, split: str) -> Mapping[str, float | None]:
        """Return the metrics on ``"val"`` or ``"test"``."""
        return self.val if split == "val" else self.test

    @property
    def total_seconds(self) -> float | None:
        """The seconds of training with the first stage, None where unknown."""
        if self.seconds is None or self.first_stage_seconds is None:
            return None
        return self.seconds + self.first_stage_seconds

    @property
    def key(self) -> RunKey:
        """What identifies the record in its study: stage, method, trial, digest of the run.

        Two methods, or two trials that have the same setting, may share a run.
        """
        return self.stage.value, self.method, self.trial, self.run
