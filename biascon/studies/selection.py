"""Selection rules: which trial of a method a study chooses, by validation metrics only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from biascon.errors import unknown_name
from biascon.studies.records import StudyRun


@dataclass(frozen=True)
class Rule:
    """A rule that chooses the trial with the highest value of a metric; of equal ones the first.

    Attributes:
        name: The name of the rule.
        split: The split of the metric.
        metric: The metric.
        needs_bias: Whether the metric needs bias labels of the validation images.
        description: What is maximized, in words.
    """

    name: str
    split: str
    metric: str
    needs_bias: bool
    description: str

    def score(self, run: StudyRun) -> float:
        """Return the score of a run; minus infinity if it diverged, NaN if the metric is undefined."""
        if run.diverged:
            return -math.inf
        value = run.metrics(self.split).get(self.metric)
        return math.nan if value is None else value


_UNBIASED_VAL = "validation images (nearly unbiased)"
_BIASED_VAL = "validation images as biased as the training images"
_RULES = (
    Rule("worst-group", "val", "worst_group", True, f"worst-group accuracy on {_UNBIASED_VAL}"),
    Rule("unbiased", "val", "unbiased", True, f"unbiased accuracy on {_UNBIASED_VAL}"),
    Rule("accuracy", "val", "top1", False, f"accuracy on {_UNBIASED_VAL}"),
    Rule("worst-class", "val", "worst_class", False, f"worst class accuracy on {_UNBIASED_VAL}"),
    Rule("biased-accuracy", "val", "biased_accuracy", False, f"accuracy on {_BIASED_VAL}"),
    Rule(
        "biased-worst-class", "val", "biased_worst_class", False,
        f"worst class accuracy on {_BIASED_VAL}",
    ),
)  # fmt: skip
RULES: Mapping[str, Rule] = {rule.name: rule for rule in _RULES}
ORACLE = Rule(
    "oracle", "test", "unbiased", True, "unbiased accuracy on the TEST images: no selection rule"
)


def check_rule(name: str, known: Iterable[str]) -> None:
    """Refuse a name that is no rule.

    Raises:
        UsageError: The rule is unknown.
    """
    names = list(known)
    if name not in names:
        raise unknown_name("selection rule", name, names)


def choose(trials: Sequence[StudyRun], rule: Rule) -> StudyRun | None:
    """Return the trial with the highest score.

    Args:
        trials: The trials of one method, in order. A trial that diverged can only be chosen never.
        rule: The rule.

    Returns:
        The chosen trial; None if every trial diverged or the metric is undefined for one that did not.
    """
    scores = [rule.score(trial) for trial in trials]
    if not scores or any(map(math.isnan, scores)) or max(scores) == -math.inf:
        return None
    return trials[scores.index(max(scores))]
