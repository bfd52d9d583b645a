"""Selection rules: validation only, the first of equal trials, never a diverged one."""

from __future__ import annotations

import math

import pytest

from biascon.errors import UsageError
from biascon.studies.records import VAL_METRICS
from biascon.studies.selection import ORACLE, RULES, check_rule, choose
from tests.studies.made_up import diverged_run, make_run


def test_the_trial_with_the_highest_metric_is_chosen_and_of_equal_ones_the_first() -> None:
    values = (0.2, 0.7, 0.5, 0.7)
    for rule in RULES.values():
        # Every other metric, and the test split, would choose another trial.
        trials = [
            make_run(trial=k, val={**dict.fromkeys(VAL_METRICS, 1 - value), rule.metric: value})
            for k, value in enumerate(values)
        ]
        assert choose(trials, rule) is trials[1]
        assert choose(trials[2:], rule) is trials[3]


def test_only_the_oracle_looks_at_the_test_split() -> None:
    assert {rule.split for rule in RULES.values()} == {"val"}
    assert ORACLE.split == "test"
    assert "oracle" not in RULES
    trials = [make_run(trial=0, test={"unbiased": 0.9}), make_run(trial=1, test={"unbiased": 0.1})]
    assert choose(trials, RULES["unbiased"]) is trials[1]
    assert choose(trials, ORACLE) is trials[0]


def test_rules_state_whether_they_need_bias_labels() -> None:
    assert {name for name, rule in RULES.items() if rule.needs_bias} == {"worst-group", "unbiased"}
    assert {rule.metric for rule in RULES.values()} <= set(VAL_METRICS)


def test_a_trial_that_diverged_is_never_chosen() -> None:
    rule = RULES["unbiased"]
    trials = [
        diverged_run(trial=0),
        make_run(trial=1, val={"unbiased": 0.0}),
        diverged_run(trial=2),
    ]
    assert choose(trials, rule) is trials[1]
    assert rule.score(trials[0]) == -math.inf
    assert choose([trials[0], trials[2]], rule) is None
    assert choose([], rule) is None


def test_no_trial_is_chosen_by_a_metric_that_is_undefined() -> None:
    rule = RULES["worst-group"]
    undefined = make_run(trial=1, val={"worst_group": None})
    assert math.isnan(rule.score(undefined))
    assert choose([make_run(trial=2), undefined], rule) is None
    assert choose([make_run(trial=2), make_run(trial=3, val={})], rule) is None


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(
        UsageError, match="unknown selection rule 'worst-grup'; did you mean 'worst-group'"
    ):
        check_rule("worst-grup", RULES)
    check_rule("accuracy", RULES)
