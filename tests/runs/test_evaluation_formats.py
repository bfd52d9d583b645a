"""Evaluations of format 2: which class their comparisons of groups are about."""

from __future__ import annotations

from typing import Any

from biascon.metrics.records import MetricSummary
from biascon.metrics.summary import COMPARISONS
from biascon.runs.evaluation_formats import add_positive_class


def metric(value: float | None) -> dict[str, Any]:
    return {"value": value, "n": 8, "ci": [value, value]}


def make_format_2(values: dict[str, list[float | None]], means: dict[str, float]) -> dict[str, Any]:
    """Return the parts of an evaluation of format 2 that its upgrade reads.

    Args:
        values: The values of the classes by metric name.
        means: The stored means over classes by metric name.
    """
    k = len(next(iter(values.values())))
    return {
        "format": 2,
        **{name: metric(mean) for name, mean in means.items()},
        "by_class": {
            f"class {i}": {name: metric(column[i]) for name, column in values.items()}
            for i in range(k)
        },
        "disparity": {
            name: {"expected": 0.1, "p": 0.2, "within": "labels", "replicates": 100}
            for name in ("equalized_odds_difference", "equal_opportunity_difference")
        },
        "counts": [[[2] * k]] * k,
    }


def test_two_classes_get_the_value_of_the_second_one() -> None:
    name = "equal_opportunity_difference"
    data = make_format_2({name: [0.1, 0.4]}, {name: 0.25})
    summary = MetricSummary.from_json(add_positive_class(data), COMPARISONS)
    assert summary.positive == "class 1"
    assert (summary[name].value, summary.macro[name].value) == (0.4, 0.25)
    assert summary.disparity is not None
    assert summary.disparity[name].p is None  # format 2 tested the mean over classes
    assert summary.disparity["equalized_odds_difference"].p == 0.2
    assert data["format"] == 2 and data[name]["value"] == 0.25  # unchanged


def test_more_classes_keep_their_mean() -> None:
    name = "equal_opportunity_difference"
    data = make_format_2({name: [0.1, 0.4, 0.1]}, {name: 0.2})
    summary = MetricSummary.from_json(add_positive_class(data), COMPARISONS)
    assert summary.positive is None
    assert summary[name] == summary.macro[name]
    assert summary[name].value == 0.2
    assert summary.disparity is not None and summary.disparity[name].p == 0.2


def test_a_mean_that_left_a_class_out_is_undefined() -> None:
    name = "equal_opportunity_difference"
    data = make_format_2({name: [0.1, None, 0.1]}, {name: 0.1})
    summary = MetricSummary.from_json(add_positive_class(data), COMPARISONS)
    assert summary[name].value is None and summary[name].interval is None
    data["counts"][1] = [[0, 0, 0]]  # class 1 is the label of no image
    summary = MetricSummary.from_json(add_positive_class(data), COMPARISONS)
    assert summary[name].value == 0.1


def test_without_a_bias_attribute_nothing_is_compared() -> None:
    name = "equal_opportunity_difference"
    data = make_format_2({name: [None, None]}, {}) | {"counts": None, "disparity": None}
    data[name] = {"value": None, "n": 0, "ci": [None, None]}
    summary = MetricSummary.from_json(add_positive_class(data), COMPARISONS)
    assert summary.positive is None and summary[name].value is None
