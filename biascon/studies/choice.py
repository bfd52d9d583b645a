"""The variance of the choice: what another search with the same budget would change."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from biascon.errors import RunError
from biascon.studies.records import StudyRun
from biascon.studies.selection import Rule
from biascon.utils.seeds import numpy_generator

HALF_SAMPLES = 2000


def choice_variance(
    trials_a: Sequence[StudyRun],
    trials_b: Sequence[StudyRun],
    rule: Rule,
    metric: str,
    seed: int = 0,
    replicates: int = HALF_SAMPLES,
) -> float:
    """Return the variance of the difference of the chosen trials' metrics over half samples of the trials.

    Both methods choose among the same half of the trial numbers, so that trials stay paired. Under a budget
    in seconds one method may have fewer trials: it chooses among those that it has. Halves in which a method
    has no usable trial are left out. With few usable trials they are many, and the variance is too small:
    ``compare_methods`` asks for ``MIN_USABLE`` of each method.

    Args:
        trials_a: The trials of one method.
        trials_b: The trials of the other method.
        rule: The selection rule.
        metric: A metric of the test split.
        seed: The seed of the half samples.
        replicates: The number of half samples.

    Raises:
        RunError: There are fewer than two trials.
    """
    numbers = sorted({run.trial for run in (*trials_a, *trials_b)})
    if len(numbers) < 2:
        raise RunError("expected two trials or more, but the search has fewer")
    rng = numpy_generator(seed, "tuning/half samples")
    half = len(numbers) // 2
    halves = rng.random((replicates, len(numbers))).argsort(axis=1)[:, :half]
    halves.sort(axis=1)  # of equal scores the first trial is chosen
    rows = np.arange(replicates)
    chosen_values = []
    for trials in (trials_a, trials_b):
        by_number = {run.trial: run for run in trials}
        runs = [by_number.get(number) for number in numbers]
        scores = np.array([-math.inf if run is None else rule.score(run) for run in runs])
        values = np.array([math.nan if run is None else _value(run, metric) for run in runs])
        chosen_values.append(values[halves[rows, scores[halves].argmax(axis=1)]])
    differences = chosen_values[0] - chosen_values[1]
    differences = differences[np.isfinite(differences)]
    return float(differences.var(ddof=1)) if len(differences) > 1 else math.nan


def _value(run: StudyRun, metric: str) -> float:
    value = run.test.get(metric)
    return math.nan if run.diverged or value is None else value
