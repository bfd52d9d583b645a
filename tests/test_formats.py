"""Files of earlier versions: frozen samples are read, or refused in one line that says what to do.

``tests/golden/formats/make_samples.py`` wrote the samples with the code of those versions.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from biascon.auditing import record as audit_record
from biascon.auditing.features import record as feature_record
from biascon.auditing.record import AuditRecord
from biascon.data import manifest
from biascon.data.dataset import load
from biascon.errors import BiasconError, DataError, RunError
from biascon.report.experiments import group_runs
from biascon.report.markdown import render_markdown
from biascon.runs import evaluation
from biascon.runs.finished import FinishedRun
from biascon.runs.seals import Check
from biascon.studies import table

SAMPLES = Path(__file__).parent / "golden" / "formats"
# Written before manifests had a checksum, by a version that was never published.
REFUSED = "evaluation-1-first"
DATASETS = [
    path for path in sorted(SAMPLES.glob("*/data/manifest.json")) if REFUSED not in path.parts
]
RUNS = [path for path in sorted(SAMPLES.glob("*/runs/*/*/*/done")) if REFUSED not in path.parts]
AUDITS = sorted(SAMPLES.glob("*/audit.json"))
STUDIES = sorted(SAMPLES.glob("*/study.parquet"))


def name_sample(path: Path) -> str:
    return path.relative_to(SAMPLES).parts[0]


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", DATASETS, ids=name_sample)
def test_dataset_folders_are_read_with_every_byte_verified(path: Path) -> None:
    data = load(path.parent)
    stated = read(path)
    assert {name: len(split) for name, split in data.splits.items()} == {
        name: counts["n"] for name, counts in stated["counts"].items()
    }
    assert data.manifest.labels == stated["labels"]


@pytest.mark.parametrize("path", RUNS, ids=name_sample)
def test_the_dataset_of_a_run_has_the_digest_that_the_run_states(path: Path) -> None:
    data = load(path.parents[4] / "data")
    assert data.digest == read(path.parent / "evaluation.json")["dataset_digest"]


@pytest.mark.parametrize("path", RUNS, ids=name_sample)
def test_runs_are_read_with_their_numbers_and_reported(path: Path) -> None:
    run = FinishedRun.read(path.parent, check=Check.FULL)
    assert run is not None
    stated = read(path.parent / "evaluation.json")
    for name in evaluation.ACCURACIES[:5]:
        metric = run.evaluation.summary[name]
        assert (metric.value, metric.n) == (stated[name]["value"], stated[name]["n"])
        assert metric.to_json()["ci"] == stated[name]["ci"]
    page = render_markdown(group_runs([run]))
    assert f"{100 * stated['unbiased']['value']:.1f}" in page


def test_the_files_of_the_first_days_are_refused_in_one_line() -> None:
    (run,) = (SAMPLES / REFUSED).glob("runs/*/*/*")
    with pytest.raises(
        DataError,
        match=r"is missing, as in the first versions.*build the dataset again with --force",
    ) as error:
        load(SAMPLES / REFUSED / "data")
    assert "\n" not in str(error.value)
    with pytest.raises(
        RunError, match=r"of another version of biascon .*evaluate the run again"
    ) as refused:
        FinishedRun.read(run, check=Check.FULL)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("path", AUDITS, ids=name_sample)
def test_audits_are_read_or_refused_in_one_line(path: Path) -> None:
    data = read(path)
    if all(name in data for name in audit_record.EXTRA_METRICS):
        assert AuditRecord.from_json(data).to_json() == data
        return
    with pytest.raises(DataError, match="audit the predictions again") as error:
        AuditRecord.from_json(data)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", STUDIES, ids=name_sample)
def test_tables_of_studies_are_read(path: Path) -> None:
    study = table.read_table(path)
    assert study.methods == ["ce", "supcon"]
    trials = [run for method in study.methods for run in study.trials(method)]
    assert len(trials) == 4
    assert all(0 <= run.val["unbiased"] <= 1 for run in trials if run.val["unbiased"] is not None)


def test_each_format_has_a_frozen_sample() -> None:
    """A format constant that changes without a new sample fails here."""
    formats = {
        "manifest": {read(path)["format"] for path in DATASETS},
        "evaluation": {read(path.parent / "evaluation.json")["format"] for path in RUNS},
        "audit": {read(path).get("format", 1) for path in AUDITS},
        "features": {read(path)["format"] for path in SAMPLES.glob("*/features.json")},
        "study": {read_study_format(path) for path in STUDIES},
    }
    written = {
        "manifest": manifest.FORMAT,
        "evaluation": evaluation.FORMAT,
        "audit": audit_record.FORMAT,
        "features": feature_record.FORMAT,
        "study": table.FORMAT,
    }
    assert formats == {name: set(range(1, number + 1)) for name, number in written.items()}


def read_study_format(path: Path) -> int:
    import pyarrow.parquet as pq

    return int(json.loads(pq.read_schema(path).metadata[b"biascon-study"])["format"])


def test_a_later_format_is_refused_in_one_line(tmp_path: Path) -> None:
    source = DATASETS[0].parent
    for file in source.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "manifest.json").write_text(json.dumps(read(DATASETS[0]) | {"format": 99}))
    with pytest.raises(BiasconError, match="format") as error:
        load(tmp_path)
    assert "\n" not in str(error.value)


def test_the_samples_are_small() -> None:
    sizes = [path.stat().st_size for path in SAMPLES.rglob("*") if path.is_file()]
    assert max(sizes) < 50_000
    assert sum(sizes) < 500_000
