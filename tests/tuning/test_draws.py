"""Draws of the parameters: paired between methods, extensible, stratified, not correlated."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from biascon.config.factory import make_config
from biascon.errors import UsageError
from biascon.tuning.draws import assign_dimensions, draw_numbers, draw_trials
from biascon.tuning.space import SHARED, make_method, to_settings
from biascon.utils.distributions import (
    Choice,
    Complement,
    LogUniform,
    Uniform,
    read_distribution,
)

NAMES = (*SHARED, "loss.alpha", "loss.beta")  # as many as a method of the registry has at most


def draw_all(trials: int, seed: int = 0) -> np.ndarray:
    dimensions = assign_dimensions([dict.fromkeys(NAMES, Uniform(0, 1))])
    return np.stack([draw_numbers(trials, seed, name, dimensions[name]) for name in NAMES])


def test_methods_have_the_same_draws_of_every_parameter_that_they_share() -> None:
    names = (
        "ce",
        "supcon",
        "simclr",
        "contex",
        "fairkl",
        "supcon+fairkl",
        "end",
        "supcon+end",
        "jtt",
    )
    methods = {name: make_method(name, name, "cpu") for name in names}
    dimensions = assign_dimensions(method.space for method in methods.values())
    draws = {name: draw_trials(method.space, 24, 7, dimensions) for name, method in methods.items()}
    n_shared = 0
    for one, other in itertools.combinations(names, 2):
        common = methods[one].space.keys() & methods[other].space.keys()
        n_shared += sum(key not in SHARED for key in common)
        for trial, other_trial in zip(draws[one], draws[other], strict=True):
            assert {key: trial[key] for key in common} == {key: other_trial[key] for key in common}
    assert n_shared == 3  # the weight of two methods, alpha and beta of two others
    assert "loss.temperature" in draws["supcon"][0] and "loss.temperature" not in draws["ce"][0]
    for trial in draws["contex"]:
        assert trial["loss.wa"] + trial["loss.wb"] == pytest.approx(1.0, abs=1e-6)


def test_two_parameters_of_a_method_never_have_the_same_dimension() -> None:
    a, b, c = ({f"loss.{key}": Uniform(0, 1) for key in keys} for keys in ("pq", "qr", "rp"))
    dimensions = assign_dimensions([a, b, c])
    assert [dimensions[key] for key in SHARED] == list(range(len(SHARED)))
    assert sorted(dimensions[f"loss.{key}"] for key in "pqr") == [6, 9, 12]
    apart = assign_dimensions([{"loss.p": Uniform(0, 1)}, {"loss.q": Uniform(0, 1)}])
    assert apart["loss.p"] == apart["loss.q"] == 6


@pytest.mark.parametrize(("short", "long"), [(1, 2), (3, 4), (12, 24), (24, 100)])
def test_a_longer_study_begins_with_the_draws_of_a_shorter_one(short: int, long: int) -> None:
    space = make_method("contex", "contex", "smoke").space
    dimensions = assign_dimensions([space])
    long_draws = draw_trials(space, long, 3, dimensions)
    assert draw_trials(space, short, 3, dimensions) == long_draws[:short]
    assert len(long_draws) == long
    assert draw_trials(space, long, 4, dimensions) != long_draws


@pytest.mark.parametrize("exponent", [1, 3, 5])
def test_each_of_2_to_the_k_intervals_has_one_of_2_to_the_k_draws(exponent: int) -> None:
    n = 2**exponent
    for seed in range(3):
        for numbers in draw_all(n, seed):
            assert sorted(np.floor(numbers * n).astype(int)) == list(range(n))


@pytest.mark.parametrize(("trials", "limit"), [(24, 0.55), (64, 0.5), (256, 0.1)])
def test_no_two_parameters_of_a_method_are_much_correlated(trials: int, limit: float) -> None:
    # The largest correlation of independent draws is about 0.5, 0.3 and 0.15.
    for seed in range(10):
        correlations = np.corrcoef(draw_all(trials, seed)) - np.eye(len(NAMES))
        assert np.abs(correlations).max() < limit, seed


def test_draws_depend_on_the_seed_and_the_name_only() -> None:
    numbers = draw_numbers(8, 0, "loss.alpha", 6)
    np.testing.assert_array_equal(numbers, draw_numbers(8, 0, "loss.alpha", 6))
    assert not np.array_equal(numbers, draw_numbers(8, 1, "loss.alpha", 6))
    assert not np.array_equal(numbers, draw_numbers(8, 0, "loss.beta", 6))


# Distributions


def test_quantiles_are_inside_the_limits_and_increase() -> None:
    u = np.linspace(0, 1, 101)
    for distribution, middle in ((Uniform(-1, 3), 1.0), (LogUniform(0.01, 100), 1.0)):
        values = [distribution.quantile(x) for x in u]
        assert values == sorted(values)
        assert (values[0], values[-1]) == (distribution.low, distribution.high)
        assert distribution.quantile(0.5) == pytest.approx(middle)
    values = [Choice(("a", True, 3)).quantile(x) for x in u]
    assert [values.count(value) for value in ("a", True, 3)] == [34, 33, 34]


@pytest.mark.parametrize(
    "distribution",
    [Uniform(0.1, 0.9), LogUniform(1e-3, 1.0), Choice((1, "two", False)), Complement("wa")],
)
def test_distributions_round_trip(distribution: object) -> None:
    assert read_distribution("x", distribution.to_json()) == distribution  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"uniform": [0.9, 0.1]},
            r"a\.b: expected uniform = \[low, high\], but got \[0\.9, 0\.1\]",
        ),
        ({"uniform": [1, 1]}, "expected uniform"),
        ({"uniform": [0, float("inf")]}, "expected uniform"),
        ({"uniform": [0, True]}, "expected uniform"),
        ({"uniform": [0, 1, 2]}, "expected uniform"),
        ({"uniform": 3}, "expected uniform to be a list, but got 3"),
        ({"log_uniform": [0, 1]}, "with low above 0"),
        ({"log_uniform": [2, 1]}, "with low above 0"),
        ({"choice": []}, "expected choice to have a value"),
        ({"choice": [1, float("nan")]}, "numbers, texts, truth values or lists"),
        ({"choice": [{"a": 1}]}, "numbers, texts, truth values or lists"),
        ({"choice": "ab"}, "expected choice to be a list, but got 'ab'"),
        ({"complement": 1}, "expected complement to be a name"),
        ({"unifrom": [0, 1]}, "unknown distribution 'unifrom'; did you mean 'uniform'"),
        ({"uniform": [0, 1], "choice": [1]}, "expected one of uniform, log_uniform"),
        (0.5, "but got 0.5"),
    ],
)
def test_a_wrong_distribution_is_refused(data: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_distribution("a.b", data)


def test_the_strength_of_the_augmentation_is_a_factor_of_the_preset() -> None:
    preset = make_config("ce", preset="cpu")
    settings = to_settings({"optimizer.lr": 0.5, "augment.strength": 1.5}, preset)
    config = make_config("ce", preset="cpu", settings=settings)
    assert config.optimizer.lr == 0.5
    assert config.augment.rotation == pytest.approx(1.5 * preset.augment.rotation)
    assert config.augment.jitter == pytest.approx([1.5 * part for part in preset.augment.jitter])
    assert config.augment.grayscale_p == pytest.approx(1.5 * preset.augment.grayscale_p)
    strongest = to_settings({"augment.strength": 100.0}, preset)
    augment = make_config("ce", preset="cpu", settings=strongest).augment
    assert (augment.rotation, augment.jitter[3], augment.grayscale_p) == (180.0, 0.5, 1.0)
