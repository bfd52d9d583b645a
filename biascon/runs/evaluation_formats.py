"""Evaluations of earlier formats, in the form of the present one."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from biascon.metrics.summary import COMPARISONS
from biascon.metrics.weighted_averages import ADJUSTED_AVERAGE, measure_adjusted_average
from biascon.runs.records import Classifier

_OLD_KEYS = {
    "sees_bias": "uses_bias_labels",
    "first": "first_stage",
    "network_of": "trained_in_run",
}


def upgrade(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return an evaluation of format 1 in the words of format 2; no number changes."""
    new = {_OLD_KEYS.get(key, key): value for key, value in data.items()}
    new["format"] = 2
    new |= {"builder": "", "source_kind": "", "dataset_parameters": {}}
    new["evaluated_by"] = Classifier.from_label(new.pop("judged")).value
    new["other_classifiers"] = [
        {
            "classifier": Classifier.from_label(other["by"]).value,
            **{key: value for key, value in other.items() if key != "by"},
        }
        for other in new.pop("also")
    ]
    config = {
        {"optimiser": "optimizer"}.get(key, key): value for key, value in data["config"].items()
    }
    if "augment" in config:
        config["augment"] = {
            {"grey_p": "grayscale_p"}.get(key, key): value
            for key, value in config["augment"].items()
        }
    new["config"] = config
    new["overrides"] = dict(map(_parse_override, _settings(new.pop("changes"))))
    return new


def _settings(changes: Sequence[str]) -> list[str]:
    """Return the settings among the changes of format 1; the others say where the encoder comes from."""
    return [change for change in changes if "=" in change]


def _parse_override(setting: str) -> tuple[str, Any]:
    key, _, text = setting.partition("=")
    key = key.replace("optimiser.", "optimizer.").replace("augment.grey_p", "augment.grayscale_p")
    try:
        return key, tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        return key, text


def add_positive_class(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return an evaluation of format 2 in format 3.

    In format 2 a comparison of groups is the mean over the classes for which it is defined. This mean
    becomes ``macro``, undefined where the comparison is undefined for a class that is the label of an image.
    With two classes the comparison becomes that of the second class, which format 2 has in ``by_class``.
    Format 2 has the permutation test of the mean alone; the tests of demographic parity and of equalized odds
    are those of either class.
    """
    new = dict(data) | {"format": 3, "positive": None}
    macro = {name: data[name] for name in COMPARISONS if name in data}
    by_class, counts = data["by_class"], data["counts"]
    if counts is not None and by_class:
        is_labeled = np.asarray(counts).sum(axis=(1, 2)) > 0
        labeled = [
            metrics for metrics, has in zip(by_class.values(), is_labeled, strict=True) if has
        ]
        for name in macro:
            if any(name in metrics and metrics[name]["value"] is None for metrics in labeled):
                macro[name] = {"value": None, "n": macro[name]["n"], "ci": [None, None]}
    new |= {"macro": macro, **macro}
    if counts is None or len(by_class) != 2:
        return new
    positive = list(by_class)[1]
    new |= {"positive": positive, **{name: by_class[positive][name] for name in macro}}
    tests = data.get("disparity")
    if tests is not None and "equal_opportunity_difference" in tests:
        test = tests["equal_opportunity_difference"] | {"expected": None, "p": None}
        new["disparity"] = {**tests, "equal_opportunity_difference": test}
    return new


def add_adjusted_average(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an evaluation of format 3 with its adjusted average accuracy.

    Evaluations of earlier versions do not hold it. They hold what it is computed from: the table of counts
    and the training images of each cell.
    """
    counts, cells = data["counts"], data["training"]["cells"]
    if ADJUSTED_AVERAGE in data or counts is None or data["bias"] is None:
        return data
    table, training = np.asarray(counts), np.asarray(cells)
    if table.ndim != 3 or table.shape[:2] != training.shape:
        return data
    return {**data, ADJUSTED_AVERAGE: measure_adjusted_average(table, training).to_json()}
