"""The audit of arrays: metrics equal those of fairlearn, scikit-learn and a biascon run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fairlearn.metrics
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pc
import pytest
import scipy.stats
import sklearn.metrics
import torch

import biascon
from biascon.auditing.record import METRICS
from biascon.config.factory import make_config
from biascon.data.dataset import load
from biascon.errors import DataError
from biascon.metrics.fairness import METRICS as FAIRNESS
from tests.auditing.audit_cases import COLUMNS, audit_rows, data_without_source, make_rows
from tests.run_helpers import evaluate_to_json


@pytest.mark.parametrize("seed", range(3))
def test_metrics_equal_fairlearn_and_scikit_learn(seed: int) -> None:
    df = make_rows(seed=seed)
    result = audit_rows(df)
    overall = result.overall
    assert overall["top1"] == sklearn.metrics.accuracy_score(df.y, df.p)
    by_cell = fairlearn.metrics.MetricFrame(
        metrics=sklearn.metrics.accuracy_score, y_true=df.y, y_pred=df.p,
        sensitive_features=df[["y", "g"]],
    ).by_group  # fmt: skip
    assert overall["unbiased"] == pytest.approx(by_cell.mean())
    assert overall["worst_group"] == by_cell.min()
    for k in df.y.unique():
        is_class = (df.y == k).astype(int), (df.p == k).astype(int)
        for name in FAIRNESS:
            expected = getattr(fairlearn.metrics, name)(*is_class, sensitive_features=df.g)
            assert result.data["by_class"][str(k)][name]["value"] == pytest.approx(expected)
        precision = fairlearn.metrics.MetricFrame(
            metrics=sklearn.metrics.precision_score, y_true=is_class[0], y_pred=is_class[1],
            sensitive_features=df.g,
        )  # fmt: skip
        difference = result.data["by_class"][str(k)]["predictive_parity_difference"]["value"]
        assert difference == pytest.approx(precision.difference())


def test_permutation_p_is_small_for_a_disparity_only() -> None:
    rng = np.random.default_rng(0)
    y, g = rng.integers(0, 3, 900), rng.integers(0, 2, 900)
    independent = np.where(rng.random(900) < 0.2, rng.integers(0, 3, 900), y)
    biased = np.where((g == 1) & (rng.random(900) < 0.4), 0, independent)
    names = ("demographic_parity_difference", "equalized_odds_difference", "worst_group")
    for predictions, is_biased in ((independent, False), (biased, True)):
        result = audit_rows(pd.DataFrame({"y": y, "p": predictions, "g": g}))
        for name in names:
            test = result.data["disparity"][name]
            assert 0 < test["expected"] < 1 and test["replicates"] == 2000
            assert (test["p"] < 0.01) is is_biased


def test_by_group_equals_a_metric_frame() -> None:
    df = make_rows()
    result = audit_rows(df)
    expected = fairlearn.metrics.MetricFrame(
        metrics={"n": fairlearn.metrics.count, "accuracy": sklearn.metrics.accuracy_score},
        y_true=df.y, y_pred=df.p, sensitive_features=df.g,
    ).by_group  # fmt: skip
    pd.testing.assert_frame_equal(
        result.by_group[["n", "accuracy"]], expected, check_dtype=False, check_index_type=False
    )


def test_cells_equal_one_metric_frame_for_each_class() -> None:
    df = make_rows()
    cells = audit_rows(df).cells
    names = ("selection_rate", "true_positive_rate", "false_positive_rate")
    for k in range(3):
        expected = fairlearn.metrics.MetricFrame(
            metrics={name: getattr(fairlearn.metrics, name) for name in names},
            y_true=df.y == k, y_pred=df.p == k, sensitive_features=df.g,
        ).by_group  # fmt: skip
        assert np.allclose(cells.loc[str(k), list(names)], expected.to_numpy(float))
    assert cells["n"].groupby(level="class").sum().tolist() == [400] * 3
    assert (cells.n_positive + cells.n_negative == cells.n).all()


def test_two_columns_give_audits_by_each_and_by_combinations() -> None:
    df = make_rows()
    result = audit_rows(df, "g", "h")
    assert list(result.by_feature) == ["g", "h"]
    assert data_without_source(result.by_feature["g"]) == data_without_source(audit_rows(df, "g"))
    assert data_without_source(result.by_feature["h"]) == data_without_source(audit_rows(df, "h"))
    expected = fairlearn.metrics.MetricFrame(
        metrics=sklearn.metrics.accuracy_score, y_true=df.y, y_pred=df.p,
        sensitive_features=df[["g", "h"]],
    ).by_group  # fmt: skip
    assert result.by_group.index.names == ["g", "h"]
    assert result.by_group["accuracy"].tolist() == expected.tolist()
    assert result.data["bias"] == "g x h"
    assert result.data["groups"][:2] == ["a x 0", "a x 1"]


def test_a_combination_without_a_row_is_no_group() -> None:
    result = biascon.audit(
        [0, 1, 0], [0, 1, 1], sensitive_features={"g": ["a", "a", "b"], "h": [0, 1, 1]}
    )
    assert result.data["groups"] == ["a x 0", "a x 1", "b x 1"]


def test_group_intervals_equal_wilson_of_scipy() -> None:
    groups = audit_rows(make_rows()).by_group
    for row in groups.itertuples():
        n_correct = round(row.accuracy * row.n)
        expected = scipy.stats.binomtest(n_correct, row.n).proportion_ci(method="wilson")
        assert (row.ci_low, row.ci_high) == pytest.approx((expected.low, expected.high))


def test_arrays_without_rows_are_a_data_error() -> None:
    with pytest.raises(DataError, match="there are no rows"):
        biascon.audit([], [], sensitive_features=[])


def test_predictions_of_a_run_give_the_metrics_of_its_evaluation(
    make_dataset: Callable[..., Path], tmp_path: Path, cli: Any
) -> None:
    dataset = load(make_dataset(tmp_path / "small"))
    run, evaluation, _ = evaluate_to_json(
        make_config("ce", preset="smoke"),
        dataset,
        root=tmp_path / "runs",
        device=torch.device("cpu"),
    )
    outcome = cli(
        *("audit", run / "predictions.parquet", "--label", "label", "--prediction", "prediction"),
        *("--bias", "bias", "--json"),
    )
    assert outcome.code == 0
    data = json.loads(outcome.out)
    cell = data["worst_group"]["group"]  # by name; an evaluation has indices
    data["worst_group"]["group"] = {
        "label": data["labels"].index(cell["label"]),
        "bias": data["groups"].index(cell["bias"]),
    }
    for name in (*METRICS, "by_class", "counts"):
        assert data[name] == evaluation[name], name


def test_the_audit_does_not_import_torch(tmp_path: Path) -> None:
    pc.write_csv(pa.table({"y": [0, 1], "p": [0, 1], "g": ["a", "b"]}), tmp_path / "x.csv")
    script = (
        "import sys\nfrom biascon.cli.app import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'sklearn', 'fairlearn') if m in sys.modules])"
    )
    process = subprocess.run(
        [sys.executable, "-c", script, "audit", str(tmp_path / "x.csv"), *COLUMNS, "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert process.stdout.splitlines()[-1] == "[]"
