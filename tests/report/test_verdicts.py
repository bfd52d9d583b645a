"""biascon compare: paired tests over seeds and images, against scipy and by hand; and bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from scipy import stats

from biascon.config.run_config import make_config
from biascon.data.dataset import load
from biascon.evaluation.pipeline import evaluate
from biascon.metrics.paired_tests import holm
from biascon.report import paired_tests as module
from biascon.report.experiments import FinishedRun, find_runs, group_runs, read_runs
from biascon.report.export import write_long
from biascon.report.paired_tests import run_paired_tests
from tests.report.test_report import CLEAR, made_up

FAST = ["train.epochs=1", "probe.max_iterations=200", "probe.tolerance=1e-2"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compare")


@pytest.fixture
def root(place: Path, make_dataset: Callable[..., Path]) -> Path:
    """Runs of two losses and two seeds."""
    if not (place / "runs").exists():
        data = load(make_dataset(place / "data"))
        for loss in ("supcon", "ce"):
            for seed in (0, 1):
                config = make_config(loss, seed=seed, preset="smoke", settings=FAST)
                evaluate(config, data, root=place / "runs", device=torch.device("cpu"))
    return place / "runs"


def without_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_joint", lambda a, b: None)


def test_over_seeds_it_is_the_paired_t_test_and_wilcoxon(monkeypatch: pytest.MonkeyPatch) -> None:
    without_images(monkeypatch)
    values = {"supcon": [0.5, 0.52, 0.47, 0.55], "contex": [0.53, 0.58, 0.49, 0.54]}
    runs = [made_up(loss, s, v) for loss, each in values.items() for s, v in enumerate(each)]
    (found,) = run_paired_tests(*group_runs(runs))
    x, y = np.array(values["contex"]), np.array(values["supcon"])
    assert (found.a, found.b, found.seeds) == ("contex", "supcon", 4)
    assert found.difference == pytest.approx((x - y).mean())
    assert found.p_t == pytest.approx(stats.ttest_rel(x, y).pvalue)
    assert found.p_wilcoxon == pytest.approx(stats.wilcoxon(x, y).pvalue)
    low, high = stats.ttest_rel(x, y).confidence_interval()
    assert (found.low, found.high) == pytest.approx((low, high))


def test_holm_is_over_the_family_that_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    without_images(monkeypatch)
    more = [made_up("ce", s, 0.3 + 0.02 * s * s) for s in range(3)]
    (one,) = group_runs([*CLEAR, *more])
    every, against = run_paired_tests(one), run_paired_tests(one, "supcon")
    assert len(every) == 3
    assert [t.b for t in against] == ["supcon", "supcon"]
    for tested in (every, against):
        np.testing.assert_allclose([t.p_t_holm for t in tested], holm([t.p_t for t in tested]))


def test_one_seed_has_a_difference_and_no_test(monkeypatch: pytest.MonkeyPatch) -> None:
    without_images(monkeypatch)
    (found,) = run_paired_tests(*group_runs([made_up("supcon", 0, 0.5), made_up("contex", 0, 0.6)]))
    assert found.difference == pytest.approx(0.1)
    plain = found.plain()
    assert plain["p_t"] is plain["p_wilcoxon"] is plain["p_t_holm"] is plain["low"] is None


def test_over_images_it_counts_who_is_right(root: Path) -> None:
    (one,) = group_runs(find_runs(root))
    (found,) = run_paired_tests(one)
    assert found.seeds == len(found.images) == 2
    for images in found.images:
        frames = [
            pq.read_table(run.folder / "predictions.parquet").to_pandas()
            for label in (found.a, found.b)
            for run in one.losses[label]
            if run.seed == images.seed
        ]
        right = [(f["prediction"] == f["label"]).to_numpy() for f in frames]
        assert images.only_a == (right[0] & ~right[1]).sum()
        assert images.only_b == (right[1] & ~right[0]).sum()
        n = images.only_a + images.only_b
        exact = stats.binomtest(int(images.only_a), int(n)).pvalue
        assert 0 <= images.mcnemar <= exact
        cells = [
            f.assign(r=r).groupby(["label", "bias"])["r"].mean()
            for f, r in zip(frames, right, strict=True)
        ]
        assert images.difference == pytest.approx(cells[0].mean() - cells[1].mean())
        assert images.low <= images.difference <= images.high


def test_runs_that_saw_other_images_are_not_paired(root: Path, tmp_path: Path) -> None:
    runs = find_runs(root)
    frame = pq.read_table(runs[0].folder / "predictions.parquet").to_pandas()
    frame["index"] += 1
    (tmp_path / "other").mkdir()
    frame.to_parquet(tmp_path / "other" / "predictions.parquet")
    moved = FinishedRun(tmp_path / "other", runs[0].evaluation)
    (found,) = run_paired_tests(*group_runs([moved, *runs[1:]]))
    assert len(found.images) == 1


def test_command_takes_runs_and_folders_of_runs_and_each_once(root: Path, cli: Any) -> None:
    one = sorted(root.glob("*/ce/*"))
    code, out, err = cli("compare", str(root), str(one[0]))
    assert code == 0, err
    assert "over seeds: unbiased accuracy in points, paired" in out
    assert "Holm: adjusted over the 1 comparison above" in out
    assert len(read_runs([root, *one])) == 4
    code, out, _ = cli("compare", str(root), "--json")
    found = json.loads(out)
    assert code == 0
    assert found["seeds"] == 2
    assert len(found["images"]) == 2
    code, out, _ = cli("compare", *map(str, one))
    assert code == 0
    assert "only ce: nothing to compare with" in out


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json"])
def test_long_form_is_the_same_in_every_file(
    root: Path, tmp_path: Path, suffix: str, cli: Any
) -> None:
    path = tmp_path / f"runs{suffix}"
    code, _, err = cli("compare", str(root), "--out", str(path))
    assert code == 0, err
    read = {".csv": pd.read_csv, ".parquet": pd.read_parquet, ".json": pd.read_json}[suffix]
    frame = read(path)
    runs = find_runs(root)
    assert len(frame) == 4 * frame["metric"].nunique()
    row = frame[(frame["metric"] == "unbiased") & (frame["run"] == runs[0].evaluation["digest"])]
    assert row["value"].item() == pytest.approx(runs[0].evaluation["unbiased"]["value"])


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nowhere"], 1, "there is no finished run in nowhere"),
        ([], 2, "Missing argument"),
        (["RUNS", "--against", "supcom"], 2, "no run of 'supcom'; did you mean 'supcon'?"),
        (["RUNS", "--out", "x.txt"], 2, "expected a file that ends in .csv, .parquet or .json"),
    ],
)
def test_bad_input_is_one_line(
    root: Path, cli: Any, words: list[str], code: int, message: str
) -> None:
    found = cli("compare", *[str(root) if word == "RUNS" else word for word in words])
    assert found.code == code
    assert message in found.err
    assert found.err.count("\n") == 1


def test_a_loss_that_did_not_run_is_refused_before_anything_is_written(
    root: Path, tmp_path: Path, cli: Any
) -> None:
    out = tmp_path / "long.csv"
    found = cli("compare", str(root), "--against", "supcom", "--out", str(out))
    assert found.code == 2 and not out.exists()


def test_runs_of_different_recipes_are_compared_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    without_images(monkeypatch)
    other = [made_up("ce", s, 0.3, recipe="z" * 64) for s in range(3)]
    assert [len(run_paired_tests(one)) for one in group_runs([*CLEAR, *other])] == [1, 0]


def test_another_ending_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    from biascon.errors import UsageError

    with pytest.raises(UsageError, match="ends in"):
        write_long(CLEAR, tmp_path / "runs.xlsx")
    assert list(tmp_path.iterdir()) == []
