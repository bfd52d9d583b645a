"""The long form: every metric of every run, in three formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from biascon.errors import UsageError
from biascon.report.experiments import METRICS, find_runs
from biascon.report.export import LONG_METRICS, write_long
from biascon.report.write import write_report
from tests.report.fakes import CLEAR


def test_csv_has_every_metric_of_every_run_with_n_interval_and_digests(
    runs: Path, tmp_path: Path
) -> None:
    write_report(runs, tmp_path, formats=["csv"])
    frame = pd.read_csv(tmp_path / "runs.csv")
    finished = {run.digest: run for run in find_runs(runs)}
    assert len(frame) == len(finished) * len(LONG_METRICS) and set(METRICS) < set(LONG_METRICS)
    for row in frame.to_dict("records"):
        run = finished[row["run"]]
        metric = run.evaluation.metric(row["metric"])
        assert metric is not None
        assert row["n"] == metric.n
        assert row["dataset_digest"] == run.evaluation.identity.dataset_digest
        for column, expected in (
            ("value", metric.value),
            ("ci_low", metric.low),
            ("ci_high", metric.high),
        ):
            assert row[column] == expected or (expected is None and pd.isna(row[column]))


def test_columns_have_the_words_of_the_evaluation(runs: Path, tmp_path: Path) -> None:
    write_long(find_runs(runs), tmp_path / "runs.csv")
    row = pd.read_csv(tmp_path / "runs.csv").iloc[0]
    assert row["evaluated_by"] == "linear_probe"
    assert not row["uses_bias_labels"]
    assert row["overrides"].split(" ")[0] == "train.epochs=1"


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json"])
def test_long_form_is_the_same_in_every_format(
    runs: Path, tmp_path: Path, suffix: str, cli: Any
) -> None:
    path = tmp_path / f"runs{suffix}"
    code, _, err = cli("compare", str(runs), "--out", str(path))
    assert code == 0, err
    read = {".csv": pd.read_csv, ".parquet": pd.read_parquet, ".json": pd.read_json}[suffix]
    frame = read(path)
    run = find_runs(runs)[0]
    assert len(frame) == 4 * frame["metric"].nunique()
    row = frame[(frame["metric"] == "unbiased") & (frame["run"] == run.digest)]
    assert row["value"].item() == pytest.approx(run.value("unbiased"))


def test_another_suffix_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"runs\.xlsx"):
        write_long(CLEAR, tmp_path / "runs.xlsx")
    assert list(tmp_path.iterdir()) == []
