"""Joint counts of several bias attributes: against a loop over the images."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from biascon.data import dataset
from biascon.data.joint_counts import count_jointly, list_aligned_attributes, read_joint_counts
from biascon.data.manifest import Attribute


@pytest.fixture
def both(make_dataset: Callable[..., Path], tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "both", foreground_rho=0.7)


def test_counts_of_a_folder_are_those_of_its_images(both: Path) -> None:
    data = dataset.load(both)
    counts = read_joint_counts(both, data.manifest)
    assert list(counts) == ["train", "val", "test"]
    for name, split in data.splits.items():
        found = counts[name]
        assert list(found.by_attribute) == ["background", "foreground"]
        expected: Counter[tuple[int, int]] = Counter()
        cells = np.zeros((2, 10, 10), dtype=int)
        attributes = (split.attributes["background"], split.attributes["foreground"])
        for label, background, foreground in zip(split.labels, *attributes, strict=True):
            expected[int(background == label), int(foreground == label)] += 1
            cells[0, label, background] += 1
            cells[1, label, foreground] += 1
        for combination in itertools.product((0, 1), repeat=2):
            assert found.by_alignment[combination] == expected[combination]
        assert np.array_equal(np.stack(list(found.by_attribute.values())), cells)


def test_attributes_without_pairs_are_not_counted_and_three_have_three_axes(both: Path) -> None:
    manifest = dataset.load(both).manifest
    attributes = dict(manifest.attributes or {})
    more = {"plain": Attribute(["a", "b"]), "side": Attribute(["left", "right"], [["0", "left"]])}
    manifest = dataclasses.replace(manifest, attributes={**attributes, **more})
    names = list_aligned_attributes(manifest)
    assert names == ["background", "foreground", "side"]
    arrays = {
        "labels": np.array([0, 0, 1]),
        "attribute.background": np.array([0, 3, 1]),
        "attribute.foreground": np.array([0, 0, 0]),
        "attribute.side": np.array([0, 1, 0]),
    }
    counts = count_jointly(arrays, manifest, names)
    assert counts.by_alignment.shape == (2, 2, 2)
    assert counts.by_alignment[1, 1, 1] == 1
    assert counts.by_alignment[0, 1, 0] == 1
    assert counts.by_alignment[1, 0, 0] == 1
    assert counts.by_alignment.sum() == 3


@pytest.mark.parametrize("n", [1, 4])
def test_one_attribute_and_more_than_three_have_no_joint_table(both: Path, n: int) -> None:
    manifest = dataset.load(both).manifest
    attribute = (manifest.attributes or {})["background"]
    changed = dataclasses.replace(manifest, attributes={f"a{k}": attribute for k in range(n)})
    assert read_joint_counts(both, changed) == {}
