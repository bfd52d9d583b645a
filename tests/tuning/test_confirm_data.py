"""The datasets of a confirmation: which are refused, which runs count, and what the report says of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biascon.cli.study_output import format_comparison
from biascon.data.dataset import Split, load, save
from biascon.errors import DataError, UsageError
from biascon.report.study_data import load_study, make_study
from biascon.report.study_scope import describe_incomplete_search
from biascon.report.study_sections import make_document
from biascon.report.study_write import render_study_markdown
from biascon.studies.confirmation import compare_methods
from biascon.studies.records import Stage
from biascon.studies.resplits import confirmation_of_study
from biascon.studies.table import StudyTable, write_table
from biascon.tuning.run import TABLE
from tests.small_datasets import describe_dataset
from tests.tuning.fake_studies import FakePool, make_planner, make_session, make_spec

POOL = 60


def write_split(
    folder: Path, seed: int, *, n: int = POOL, split_seed: int | None = None, **source: Any
) -> str:
    """Write a random split of a pool of images: half train, a fifth is validated, the rest is tested."""
    draw = np.random.default_rng(99)
    labels, bias = draw.integers(0, 2, n), draw.integers(0, 2, n)
    images = draw.integers(0, 255, (n, 3, 28, 28)).astype(np.uint8)
    order = np.random.default_rng(seed if split_seed is None else split_seed).permutation(n)
    parts = np.split(order, [n // 2, n // 2 + n // 5])
    splits = {
        name: Split(images[rows], labels[rows], bias[rows], labels[rows] == bias[rows], rows)
        for name, rows in zip(("train", "val", "test"), parts, strict=True)
    }
    metadata = describe_dataset(
        f"pool-seed{seed}", ["a", "b"], parameters={"seed": seed},
        source={"origin": "nowhere", "sha256": {}, **source},
        bias={"name": "side", "values": ["left", "right"], "aligned": "a = left, b = right"},
    )  # fmt: skip
    save(folder / f"{seed}", splits, metadata, replace=False)
    return str(folder / f"{seed}")


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    return [write_split(tmp_path / "data", seed) for seed in range(4)]


def make_pool_spec(folders: list[str], *confirm_data: str, **confirm: Any) -> Any:
    confirm = {"seeds": 3, "reference": "ce", **confirm}
    confirm |= {"data": list(confirm_data)} if confirm_data else {}
    settings = ["train.batch_size=16"]
    return make_spec(Path(folders[0]), trials=4, settings=settings, confirm=confirm)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            {"seed": 0, "sha256": {"table": "a", "rows": "0"}},
            "the dataset of the trials, pool-seed0, and pool-seed0 are the same dataset",
        ),
        ({"seed": 5, "n": POOL // 2}, "made from 30 images and pool-seed0 from 60"),
        ({"seed": 5, "sha256": {"table": "b"}}, "made from other files than pool-seed0"),
        ({"seed": 5, "split_seed": 0}, "pool-seed5 and pool-seed0 have the same test images"),
        ({"seed": 5, "split_seed": 1}, "pool-seed5 and pool-seed1 have the same test images"),
    ],
)
def test_a_dataset_that_is_no_other_split_of_the_images_is_refused(
    other: dict[str, Any], words: str, tmp_path: Path
) -> None:
    first, second = (
        write_split(tmp_path / "data", seed, sha256={"table": "a", "rows": str(seed)})
        for seed in (0, 1)
    )
    source = {"sha256": {"table": "a"}} | other
    third = write_split(tmp_path / "other", source.pop("seed"), **source)
    planner = make_planner(make_pool_spec([first], second, third, seeds=2), tmp_path)
    with pytest.raises(UsageError, match=words):
        planner.trial_dataset()


def test_the_shares_of_the_reused_test_images_are_those_of_the_index(
    folders: list[str], tmp_path: Path
) -> None:
    planner = make_planner(make_pool_spec(folders, *folders[1:]), tmp_path)
    confirm = planner.describe(planner.trial_dataset())["confirm"]
    trials = {name: set(split.index.tolist()) for name, split in load(folders[0]).splits.items()}
    tests = [set(load(folder).splits["test"].index.tolist()) for folder in folders[1:]]
    for name, images in trials.items():
        share = np.mean([len(images & tested) / len(tested) for tested in tests])
        assert confirm["reused"][name] == pytest.approx(share, abs=1e-4)
    assert sum(confirm["reused"].values()) == pytest.approx(1, abs=1e-3)


@pytest.mark.usefixtures("made_up")
@pytest.mark.parametrize("order", [1, -1])
def test_runs_on_other_datasets_than_the_study_states_do_not_count(
    order: int, folders: list[str], tmp_path: Path
) -> None:
    specs = [make_pool_spec(folders), make_pool_spec(folders, *folders[1:])][::order]
    for spec in specs:
        table = make_session(spec, tmp_path, FakePool()).run()
    assert len(table.select(Stage.CONFIRMATION)) == 12
    # Runs on the datasets that the study does not state have another accuracy.
    names = ["pool-seed0"] * 3 if order == -1 else [f"pool-seed{k}" for k in (1, 2, 3)]
    runs = [
        run
        if run.stage is Stage.TRIAL or run.dataset == names[run.pair]
        else replace(run, test={**run.test, "unbiased": 0.0 if run.method == "ce" else 1.0})
        for run in table.runs
    ]
    found = StudyTable(table.description, runs)
    alone = replace(
        found, runs=[r for r in runs if r.stage is Stage.TRIAL or r.dataset == names[r.pair]]
    )
    for mixed in (found, replace(found, runs=runs[::-1])):
        assert [run.dataset for run in confirmation_of_study(mixed)] == sorted(names * 2)
        assert repr(compare_methods(mixed, "unbiased")) == repr(compare_methods(alone, "unbiased"))
        study = make_study(mixed)
        assert (study.other_data, study.left_out) == (6, 0)
        assert "6 confirmation runs are left out" in format_comparison(study)
        assert "6 confirmation runs are left out" in " ".join(describe_incomplete_search(study))
    assert "left out" not in format_comparison(make_study(alone))


@pytest.mark.usefixtures("made_up")
def test_the_report_names_the_splits_and_what_the_intervals_are_about(
    folders: list[str], tmp_path: Path
) -> None:
    table = make_session(make_pool_spec(folders, *folders[1:]), tmp_path, FakePool()).run()
    study = make_study(load_study(tmp_path / TABLE))
    report, shown = render_study_markdown(make_document(study)), format_comparison(study)
    for text in (report.replace("\\", ""), shown):
        assert "fresh training seeds and splits" in text
        assert "pool-seed1, pool-seed2, pool-seed3" in text
        assert "n_test/n_train = 0.60" in text
    assert "pairs of fresh training seeds and splits" in report
    assert "images of the confirmation" in report and "were training images of the trials" in report
    assert 'data = ["data/pool-seed1", "data/pool-seed2", "data/pool-seed3"]' in report
    # A table of an earlier version has the names alone.
    names = [f"data/{entry['name']}" for entry in table.description["confirm"]["data"]]
    confirm = {**table.description["confirm"], "data": names}
    old = make_study(StudyTable({**table.description, "confirm": confirm}, table.runs))
    assert old.other_data == 0
    assert "does not state the numbers of training images" in format_comparison(old)
    write_table(
        tmp_path / "bad.parquet",
        StudyTable(
            {**table.description, "confirm": {**confirm, "data": [{"name": "x"}]}}, table.runs
        ),
    )
    with pytest.raises(DataError, match=r"description of confirm\.data is not valid"):
        load_study(tmp_path / "bad.parquet")
