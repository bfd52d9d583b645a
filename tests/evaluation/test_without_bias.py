"""Datasets without a bias attribute: top-1 and top-5 accuracy, and undefined group metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biascon.evaluation.measurements import measure_top5, top_k
from biascon.losses import list_losses, uses_bias_labels
from biascon.metrics.intervals import wilson
from biascon.metrics.records import UNDEFINED
from tests.small_datasets import write_plain

GROUPS = (
    "unbiased", "bias_aligned", "bias_conflicting", "worst_group", "bias_aligned_samples",
    "bias_conflicting_samples", "demographic_parity_difference", "demographic_parity_ratio",
    "equalized_odds_difference", "equalized_odds_ratio", "equal_opportunity_difference",
)  # fmt: skip
UNDEFINED_JSON = {"value": None, "n": 0, "ci": [None, None]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_plain(tmp_path_factory.mktemp("plain") / "plain")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def evaluations(cli: Any, folder: Path, root: Path) -> list[dict[str, Any]]:
    result = cli("evaluate", "--json", "--loss", "supcon", "--loss", "ce", "--seeds", "0,1", "--data", folder,
               "--preset", "smoke", "--runs", root)  # fmt: skip
    assert result.code == 0, result.err
    return [json.loads(line) for line in result.out.splitlines()]


class TestEvaluation:
    def test_group_metrics_are_undefined_of_zero_rows(
        self, evaluations: list[dict[str, Any]]
    ) -> None:
        for evaluation in evaluations:
            assert evaluation["bias"] is None
            for name in GROUPS:
                assert evaluation[name] == UNDEFINED_JSON, name
            assert evaluation["top1"]["n"] == evaluation["top5"]["n"] == 140
            low, high = evaluation["top1"]["ci"]
            assert low <= evaluation["top1"]["value"] <= high
            assert evaluation["top1"]["value"] <= evaluation["top5"]["value"]
            assert evaluation["representation"]["bias_readout"] == {"value": None, "n": 0}
            assert evaluation["representation"]["label_readout"]["n"] == 140
            assert evaluation["representation"]["bias_alignment"] == {"value": None, "n": 0}
            assert evaluation["validation"]["top1"] is not None
            assert evaluation["validation"]["unbiased"] is None

    def test_the_table_states_that_group_metrics_do_not_apply(
        self, evaluations: Any, cli: Any, folder: Path, root: Path
    ) -> None:
        result = cli("evaluate", "--loss", "supcon", "--data", folder, "--preset", "smoke",
                   "--runs", root)  # fmt: skip
        assert result.code == 0, result.err
        assert "no bias attribute: group metrics do not apply" in result.out
        assert "top-5 [95 %]" in result.out
        row = next(line for line in result.out.splitlines() if line.startswith("supcon "))
        assert row.split().count("-") == 7

    def test_train_command_measures_on_validation(self, cli: Any, folder: Path, root: Path) -> None:
        result = cli("train", "--loss", "supcon", "--data", folder, "--preset", "smoke",
                   "--runs", root)  # fmt: skip
        assert result.code == 0, result.err


class TestLosses:
    @pytest.mark.parametrize("loss", [name for name in list_losses() if uses_bias_labels(name)])
    def test_losses_that_use_bias_labels_are_refused_before_training(
        self, cli: Any, folder: Path, tmp_path: Path, loss: str
    ) -> None:
        result = cli("evaluate", "--loss", loss, "--data", folder, "--preset", "smoke",
                   "--runs", tmp_path / "none")  # fmt: skip
        assert result.code == 2
        assert result.err.splitlines()[-1].startswith(
            f"error: loss '{loss}' needs bias labels, but plain has no bias attribute"
        )
        assert not (tmp_path / "none").exists()


class TestReport:
    def test_every_report_format_omits_group_metrics(
        self, evaluations: Any, cli: Any, folder: Path, root: Path, tmp_path: Path
    ) -> None:
        result = cli("report", "--runs", root, "--out", tmp_path / "out", "--data", folder.parent)
        assert result.code == 0, result.err
        assert "top-1 accuracy" in result.out and "unbiased" not in result.out
        for name in ("report.md", "report.html", "appendix.tex"):
            text = (tmp_path / "out" / name).read_text()
            assert "no bias attribute: group metrics do not apply" in text.replace("\n", " "), name
            assert "top-5" in text
            assert "worst group is the cell" not in text
        text = (tmp_path / "out" / "report.md").read_text()
        assert "bias-aligned" not in text and "top-1 accuracy without a bias attribute" in text
        rows = json.loads((tmp_path / "out" / "runs.json").read_text())
        assert {row["metric"] for row in rows if row["value"] is not None} == {"top1", "top5"}

    def test_a_model_card_omits_group_metrics(
        self, evaluations: Any, cli: Any, root: Path, tmp_path: Path
    ) -> None:
        result = cli("report", "--card", root, "--out", tmp_path / "cards")
        assert result.code == 0, result.err
        text = next((tmp_path / "cards").iterdir()).read_text()
        assert "group metrics do not apply" in text and "top-5" in text
        assert "None" not in text

    def test_compare_uses_top1_accuracy(self, evaluations: Any, cli: Any, root: Path) -> None:
        result = cli("compare", root)
        assert result.code == 0, result.err
        assert "top-1 accuracy in points" in result.out
        lines = cli("compare", root, "--json").out.splitlines()
        assert json.loads(lines[0])["metric"] == "top1"

    def test_inspect_writes_a_contact_sheet(self, cli: Any, folder: Path, tmp_path: Path) -> None:
        result = cli("inspect", folder, "--png", tmp_path / "sheet.png")
        assert result.code == 0, result.err
        assert (tmp_path / "sheet.png").is_file()


class TestTop:
    def test_top_k_equals_hand_computed_values(self) -> None:
        scores = np.array([[0.1, 0.2, 0.3, 0.05, 0.15, 0.2]] * 3)
        # 2, then 1 and 5 (equal: the first counts as higher), 4, 0, 3
        assert top_k(np.array([2, 1, 5]), scores, 1).tolist() == [True, False, False]
        assert top_k(np.array([2, 1, 5]), scores, 2).tolist() == [True, True, False]
        assert top_k(np.array([3, 0, 4]), scores, 5).tolist() == [False, True, True]

    def test_top_1_is_the_prediction_even_with_equal_scores(self) -> None:
        rng = np.random.default_rng(0)
        scores = rng.integers(0, 4, (500, 8)).astype(float)
        labels = rng.integers(0, 8, 500)
        assert (top_k(labels, scores, 1) == (scores.argmax(axis=1) == labels)).all()
        order = np.argsort(-scores, axis=1, kind="stable")
        assert (top_k(labels, scores, 5) == (order[:, :5] == labels[:, None]).any(axis=1)).all()

    def test_top_5_is_undefined_for_five_classes(self) -> None:
        assert measure_top5(np.zeros(9, np.int64), np.ones((9, 5))) == UNDEFINED
        metric = measure_top5(np.zeros(9, np.int64), np.ones((9, 6)))
        assert (metric.value, metric.n) == (1.0, 9)
        assert metric.interval == pytest.approx([float(side) for side in wilson(9, 9)])


@pytest.mark.parametrize("loss", ["ce", "supcon"])
def test_a_dataset_of_one_label_is_refused(loss: str, cli: Any, tmp_path: Path) -> None:
    folder = write_plain(tmp_path / "one", classes=1)
    result = cli("evaluate", "--loss", loss, "--data", folder, "--preset", "smoke")
    assert result.code == 1
    assert (
        result.err.strip()
        == "error: plain: expected two or more labels, but all images have the same one"
    )
