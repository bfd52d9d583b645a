"""Finished runs: an evaluation with the folder that it was read from or written to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biascon.errors import RunError
from biascon.runs.environment import describe_other_processor
from biascon.runs.evaluation import Evaluation
from biascon.runs.evaluation_values import check_values
from biascon.runs.folder import ENVIRONMENT, EVALUATION, read_finished
from biascon.runs.recompute import check_evaluation, check_evaluation_once
from biascon.runs.records import Classifier
from biascon.runs.seals import Check
from biascon.utils.files import read_json
from biascon.utils.text import message_line


@dataclass(frozen=True)
class RunResult:
    """What ``evaluate`` returns.

    Attributes:
        folder: The run folder.
        evaluation: The evaluation; None in the other processes of a distributed run.
        reused: Whether the run had been finished before.
        other_processor: The processor and the code path of a reused run, if they are not those of this
            process.
    """

    folder: Path
    evaluation: Evaluation | None
    reused: bool
    other_processor: str | None = None


@dataclass(frozen=True)
class FinishedRun:
    """A finished run: its folder and its evaluation."""

    folder: Path
    evaluation: Evaluation

    @classmethod
    def read(
        cls, folder: Path, digest: str | None = None, check: Check = Check.FULL
    ) -> FinishedRun | None:
        """Read and verify a run folder; return None if the run is not finished.

        Args:
            folder: The run folder.
            digest: The digest that the run must have; None accepts every run.
            check: Which files are compared with ``done``. Unless it is ``EVALUATION``, the metrics are also
                computed again from the predictions.

        Raises:
            RunError: A file is missing, has changed, or is of another version, or a metric does not follow
                from the predictions.
        """
        data = read_finished(folder, digest, check)
        if data is None:
            return None
        evaluation = _parse_evaluation(folder, data)
        if check is Check.FULL:
            check_evaluation(folder, evaluation)
        elif check is Check.REPORT:
            check_evaluation_once(folder, evaluation)
        return cls(folder, evaluation)

    @property
    def other_processor(self) -> str | None:
        """The processor and the code path of the run, if they are not those of this process."""
        return describe_other_processor(read_json(self.folder / ENVIRONMENT))

    @property
    def label(self) -> str:
        """The loss, with the parameters that differ from their defaults."""
        return self.evaluation.identity.label

    @property
    def loss(self) -> str:
        """The name of the loss."""
        return self.evaluation.identity.loss

    @property
    def seed(self) -> int:
        """The seed."""
        return self.evaluation.identity.seed

    @property
    def digest(self) -> str:
        """The digest of the run."""
        return self.evaluation.identity.digest

    @property
    def uses_bias_labels(self) -> bool:
        """Whether the method uses bias labels."""
        return self.evaluation.identity.uses_bias_labels

    @property
    def evaluated_by(self) -> Classifier:
        """The classifier of the headline numbers."""
        return self.evaluation.identity.evaluated_by

    @property
    def has_bias(self) -> bool:
        """Whether the dataset has a bias attribute."""
        return self.evaluation.identity.bias is not None

    @property
    def headline(self) -> str:
        """The accuracy that losses are compared in: ``unbiased``, or ``top1`` without a bias attribute."""
        return self.evaluation.headline

    @property
    def secondary(self) -> tuple[Classifier, float | None] | None:
        """The first other classifier with its headline accuracy, None where the run has no other."""
        others = self.evaluation.other_classifiers
        if not others:
            return None
        return others[0].classifier, others[0].accuracies[self.headline]

    def value(self, metric: str) -> float | None:
        """Return the value of a metric, None where it is undefined or the run is older than the metric."""
        measured = self.evaluation.metric(metric)
        return None if measured is None else measured.value


def _parse_evaluation(folder: Path, data: Mapping[str, Any]) -> Evaluation:
    """Return the evaluation of a run folder whose values are possible.

    Raises:
        RunError: A key is missing, or a value is of another kind or not possible.
    """
    try:
        evaluation = Evaluation.from_json(data)
        check_values(evaluation)
    except KeyError as error:
        reason = f"it has no {error}"
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        reason = message_line(str(error))
    else:
        return evaluation
    raise RunError(
        f"{folder / EVALUATION} is damaged or of another version of biascon ({reason}); "
        "evaluate the run again"
    )
