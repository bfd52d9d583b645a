"""A rule whose score the validation images cannot have is refused before the first trial."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from biascon.data.dataset import read_manifest
from biascon.errors import UsageError
from biascon.studies.selection import RULES
from biascon.tuning.checks import check_rules

WEIGHTED = ("biased-accuracy", "biased-worst-class")


@pytest.mark.parametrize("name", RULES)
def test_a_rule_that_weights_an_empty_cell_is_refused(name: str, data: Path) -> None:
    manifest = read_manifest(data)
    cells = [list(row) for row in manifest.counts["train"].cells]
    with_all = {**manifest.counts, "val": replace(manifest.counts["train"], cells=cells)}
    check_rules([name], replace(manifest, counts=with_all), data)
    label, bias = next((y, b) for y in range(10) for b in range(10) if cells[y][b])
    cells[label][bias] = 0
    lacking = replace(manifest, counts=with_all)
    if name not in WEIGHTED:
        check_rules([name], lacking, data)
        return
    with pytest.raises(
        UsageError, match=f"rule '{name}' needs .* but 1 cells .* rule '{name[7:]}' is"
    ):
        check_rules([name], lacking, data)
    check_rules([name], lacking, data, bias="another")


def test_a_cell_without_training_images_needs_no_validation_image(data: Path) -> None:
    manifest = read_manifest(data)
    none = [[0] * 10 for _ in range(10)]
    counts = {**manifest.counts, "train": replace(manifest.counts["train"], cells=none)}
    check_rules(WEIGHTED, replace(manifest, counts=counts), data)
