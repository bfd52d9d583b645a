"""Quasi-random draws of the parameters of a study.

Each parameter has its own dimension of Sobol's sequence and its own scrambling, seeded by the study and by
the name of the parameter. A shared parameter therefore has the same draws in every method that searches it:
the trials of two methods are paired. An own parameter that several methods of the study have, such as the
weight of a regularizer, has the same draws in these methods too. The draws of a longer study begin with those
of a shorter one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from biascon.tuning.space import SHARED, complete
from biascon.utils.distributions import Complement, Distribution
from biascon.utils.seeds import numpy_generator
from biascon.utils.types import Array

MAX_TRIALS = 1000
# The dimensions of the own parameters, after the six shared ones. Of 24 draws, these and the first six have
# correlations of at most about 0.5; other pairs, such as 1 and 7, have one of 0.8.
_OWN_DIMENSIONS = (6, 12, 9)


def draw_numbers(trials: int, seed: int, parameter: str, dimension: int) -> Array:
    """Return numbers in [0, 1) for a parameter: one dimension of a scrambled Sobol sequence.

    Args:
        trials: The number of draws.
        seed: The seed of the study.
        parameter: The name of the parameter; it seeds the scrambling.
        dimension: The dimension of the sequence, from 0.

    Returns:
        float64 ``(trials,)``.
    """
    from scipy.stats import qmc

    sequence = qmc.Sobol(dimension + 1, rng=numpy_generator(seed, f"tuning/{parameter}"))
    # The sequence is balanced for powers of two; a shorter study takes its first draws.
    points: Array = sequence.random_base2(max(1, (trials - 1).bit_length()))
    return points[:trials, dimension]


def assign_dimensions(spaces: Iterable[Mapping[str, Distribution]]) -> dict[str, int]:
    """Return the dimension of every parameter of a study: the shared ones first, as in ``SHARED``.

    An own parameter gets the first dimension of ``_OWN_DIMENSIONS`` that no other parameter of its methods
    has; after these, the next ones. Pairs of few draws are uneven: of 12 draws, the learning rate and the
    strength of the augmentation have a correlation of up to 0.9, and so have the weight decay and the first
    own parameter. From 24 draws on they are at most about 0.5.

    Args:
        spaces: The search spaces of all methods of the study.
    """
    names = [
        {key for key, distribution in space.items() if not isinstance(distribution, Complement)}
        for space in spaces
    ]
    dimensions = {key: k for k, key in enumerate(SHARED)}
    for key in sorted(set().union(*names) - set(SHARED)):
        others = set().union(SHARED, *(own for own in names if key in own))
        taken = {dimensions[other] for other in others if other in dimensions}
        free = itertools.chain(_OWN_DIMENSIONS, itertools.count(max(_OWN_DIMENSIONS) + 1))
        dimensions[key] = next(k for k in free if k not in taken)
    return dimensions


def draw_trials(
    space: Mapping[str, Distribution], trials: int, seed: int, dimensions: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Return the values of the parameters of each trial, by ``section.key``.

    Args:
        space: The distributions by ``section.key``, from ``Method.space``.
        trials: The number of trials.
        seed: The seed of the study.
        dimensions: The dimension of each parameter, from ``assign_dimensions``.
    """
    columns: dict[str, list[Any]] = {}
    for key, distribution in space.items():
        if isinstance(distribution, Complement):
            continue
        numbers = draw_numbers(trials, seed, key, dimensions[key])
        columns[key] = [distribution.quantile(float(u)) for u in np.clip(numbers, 0, 1)]
    return [
        complete(space, {key: values[k] for key, values in columns.items()}) for k in range(trials)
    ]
