"""Records of a run are read back as they were written."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from biascon.config.factory import make_config
from biascon.config.run_config import read_config
from biascon.data.dataset import load
from biascon.errors import RunError
from biascon.runs.evaluation import Evaluation
from biascon.runs.folder import SELECTED, read_selected_images
from biascon.runs.identity import FirstStageRecord
from biascon.runs.records import SelectedImages
from tests.run_helpers import evaluate_to_json, note_in_journal
from tests.small_datasets import write_faces

QUICK = ["train.epochs=1", "train.batch_size=32"]


class TestFirstStageRecord:
    def test_one_network_has_no_list_of_others(self) -> None:
        record = FirstStageRecord("ce", "fastconvnet", 2, "a" * 64)
        assert "others" not in record.to_json()
        assert FirstStageRecord.from_json(record.to_json()) == record

    def test_networks_of_several_attributes_are_read_back(self) -> None:
        record = FirstStageRecord("bias-ce", "fastconvnet-1x1", 2, "a" * 64, ("b" * 64, "c" * 64))
        plain = json.loads(json.dumps(record.to_json()))
        assert plain["others"] == ["b" * 64, "c" * 64]
        assert FirstStageRecord.from_json(plain) == record


class TestSelectedImages:
    def test_recall_and_precision_follow_from_the_counts(self) -> None:
        record = SelectedImages("errors", 1_000, 40, 50, 30)
        assert (record.recall, record.precision) == (0.6, 0.75)
        assert record.describe() == (
            "errors: 40 of 1,000 training images; 60 % of the 50 bias-conflicting images are among them "
            "(recall); 75 % of them are bias-conflicting (precision)"
        )
        assert SelectedImages.from_json(json.loads(json.dumps(record.to_json()))) == record

    @pytest.mark.parametrize(
        ("record", "recall", "precision"),
        [
            (SelectedImages("errors", 10, 0, 5, 0), 0.0, None),
            (SelectedImages("errors", 10, 3, 0, 0), None, 0.0),
            (SelectedImages("errors", 10, 3, None, None), None, None),
        ],
    )
    def test_a_share_of_no_image_is_undefined(
        self, record: SelectedImages, recall: float | None, precision: float | None
    ) -> None:
        assert (record.recall, record.precision) == (recall, precision)
        assert SelectedImages.from_json(record.to_json()) == record
        assert "nan" not in record.describe()

    def test_a_run_without_the_record_has_none(self, tmp_path: Path) -> None:
        assert read_selected_images(tmp_path) is None

    @pytest.mark.parametrize("content", ["", "{}", "[]", '{"kind": "errors"}'])
    def test_a_damaged_record_is_refused_in_one_line(self, content: str, tmp_path: Path) -> None:
        (tmp_path / SELECTED).write_text(content)
        note_in_journal(tmp_path / SELECTED)
        with pytest.raises(RunError, match=r"first_stage\.json is damaged; delete the folder"):
            read_selected_images(tmp_path)


@pytest.fixture
def evaluate(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that evaluates a run on a small dataset: ``evaluate("ce")``."""
    data = load(write_faces(tmp_path / "faces"))

    def run(loss: str, *settings: str) -> dict[str, Any]:
        config = make_config(loss, preset="smoke", settings=[*QUICK, *settings])
        _, evaluation, _ = evaluate_to_json(config, data, root=tmp_path / "runs")
        return evaluation

    return run


def test_methods_with_settings_of_their_own_are_compared_under_one_recipe(
    evaluate: Callable[..., dict[str, Any]],
) -> None:
    of_biascon, of_supcon = evaluate("biascon"), evaluate("supcon")
    assert of_biascon["method_settings"] == {"model.head": []}
    assert "method_settings" not in of_supcon
    assert of_biascon["config"] == of_supcon["config"]
    assert of_biascon["config"]["model"]["head"] == [32, 32]
    assert of_biascon["recipe"] == of_supcon["recipe"]
    assert of_biascon["overrides"] == of_supcon["overrides"]
    for plain in (of_biascon, of_supcon):
        record = Evaluation.from_json(json.loads(json.dumps(plain)))
        assert record.to_json() == plain
        assert dict(record.identity.method_settings) == plain.get("method_settings", {})
        assert record.selected_images is None


def test_an_evaluation_with_selected_images_is_read_back(
    evaluate: Callable[..., dict[str, Any]],
) -> None:
    plain = evaluate("jtt", "first_stage.augment=same")
    record = Evaluation.from_json(plain)
    assert record.selected_images is not None
    assert record.to_json() == plain
    assert plain["overrides"]["first_stage.augment"] == "same"
    without = Evaluation.from_json({k: v for k, v in plain.items() if k != "selected_images"})
    assert without == dataclasses.replace(record, selected_images=None)


def test_the_configuration_of_a_run_folder_is_that_of_the_run(tmp_path: Path) -> None:
    import tomllib

    data = load(write_faces(tmp_path / "faces"))
    config = make_config("flac", preset="smoke", settings=[*QUICK, "loss.delta=2"])
    folder, evaluation, _ = evaluate_to_json(config, data, root=tmp_path / "runs")
    written = read_config(tomllib.loads((folder / "config.toml").read_text()))
    assert written.digest(data.digest) == evaluation["digest"]
    assert "auto" not in written.parameters.values()
    assert written.parameters == evaluation["parameters"]
    assert written.parameters["delta"] == 2.0
