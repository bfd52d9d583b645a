"""Corrupted CIFAR-10: the counts of the papers, the folder that is built, and input that is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biascon.data.builders import cifar_c
from biascon.data.builders.cifar_c_plan import (
    EVEN,
    CorruptedCIFARSpec,
    assign_corruptions,
    compute_counts,
    plan_corrupted_cifar,
)
from biascon.data.corruptions import frost as frost_module
from biascon.data.dataset import BiasedDataset, load
from biascon.errors import UsageError
from tests.data.builders.cifar_files import LAYOUT, NAMES, write_cifar10
from tests.data.corruptions.drawn import write_frost

TRAIN = np.arange(50_000) * 7 % 10  # the labels of files of the official size
TEST = np.arange(10_000) * 3 % 10
TYPE_0 = ["snow", "frost", "fog", "brightness", "contrast", "spatter", "elastic_transform",
          "jpeg_compression", "pixelate", "saturate"]  # fmt: skip


def plan(share: float, **more: Any) -> dict[str, tuple[int, int]]:
    plans = plan_corrupted_cifar(TRAIN, TEST, CorruptedCIFARSpec(share, **more))
    counts = {name: part.count() for name, part in plans.items()}
    return {name: (part.aligned or 0, part.conflicting or 0) for name, part in counts.items()}


class TestPlan:
    @pytest.mark.parametrize(
        ("share", "train", "held_out"),
        [
            (0.005, (49_750, 250), (44_776, 224)),
            (0.01, (49_500, 500), (44_550, 450)),
            (0.02, (49_000, 1_000), (44_100, 900)),
            (0.05, (47_500, 2_500), (42_750, 2_250)),
        ],
    )
    def test_the_counts_are_those_of_the_papers(
        self, share: float, train: tuple[int, int], held_out: tuple[int, int]
    ) -> None:
        test = (1_000, 9_000)
        assert plan(share, val_protocol="none") == {"train": train, "test": test}
        assert plan(share) == {"train": held_out, "val": (500, 4_500), "test": test}

    def test_biased_validation_images_are_the_held_out_ones_at_the_share_of_training(self) -> None:
        unbiased, biased = (
            plan_corrupted_cifar(TRAIN, TEST, CorruptedCIFARSpec(0.02, val_protocol=protocol))
            for protocol in ("held-out", "biased")
        )
        assert (unbiased["val"].rows == biased["val"].rows).all()
        assert (unbiased["train"].bias == biased["train"].bias).all()
        assert (biased["val"].count().aligned, biased["val"].count().conflicting) == (4_900, 100)
        assert not set(biased["val"].rows.tolist()) & set(biased["train"].rows.tolist())

    def test_every_cell_of_the_test_split_has_100_images(self) -> None:
        plans = plan_corrupted_cifar(TRAIN, TEST, CorruptedCIFARSpec(0.005, type=1, seed=3))
        assert np.array_equal(plans["test"].count().cells, np.full((10, 10), 100))

    def test_conflicting_images_are_spread_over_the_nine_other_corruptions(self) -> None:
        for label, share in ((0, Fraction(1, 200)), (7, Fraction(1, 20)), (9, Fraction(1, 50))):
            counts = compute_counts(5000, label, share)
            others = counts[:label] + counts[label + 1 :]
            assert max(others) - min(others) <= 1
            assert sum(others) == 5000 * share

    @pytest.mark.parametrize("share", [0.005, 0.01, 0.02, 0.05, 0.9])
    def test_in_file_order_the_images_are_those_of_the_published_rule(self, share: float) -> None:
        spec = CorruptedCIFARSpec(share, order="files")
        bias = assign_corruptions(TEST, spec, spec.share, "train")
        for label in range(10):
            weights = np.full(10, share / 9)
            weights[label] = 1 - share
            ends = np.round(1000 * np.cumsum(weights))
            expected = [int(np.argmax(ends > rank)) for rank in range(1000)]
            assert bias[label == TEST].tolist() == expected

    def test_another_seed_gives_other_images_the_conflicting_corruptions(self) -> None:
        first, second = (
            assign_corruptions(TEST, CorruptedCIFARSpec(0.05, seed=seed), EVEN, "train")
            for seed in (0, 1)
        )
        assert (first != second).any()
        assert (np.bincount(first) == np.bincount(second)).all()

    @pytest.mark.parametrize(
        ("more", "text"),
        [
            ({"conflicting": 1.5}, "conflicting in [0, 1]"),
            ({"severity": 5}, "severity to be one of 1, 2, 3, 4"),
            ({"type": 2}, "type to be one of 0, 1"),
            ({"order": "name"}, "order to be one of"),
            ({"val_protocol": "hong"}, "val_protocol to be one of"),
            ({"seed": -1}, "seed to be 0 or more"),
            ({"replace": (("frosty", "zoom_blur"),)}, "did you mean 'frost'"),
            ({"replace": (("frost", "zoom"),)}, "unknown corruption 'zoom'"),
            ({"replace": (("frost", "fog"),)}, "'fog' is there twice"),
            ({"replace": (("frost", "zoom_blur"), ("frost", "original"))}, "is there twice"),
        ],
    )
    def test_settings_that_make_no_sense_are_refused(self, more: dict[str, Any], text: str) -> None:
        with pytest.raises(UsageError) as caught:
            CorruptedCIFARSpec(**{"conflicting": 0.01, **more})
        assert text in str(caught.value)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cifar10(tmp_path_factory.mktemp("cifar") / "raw", per_file=40)


@pytest.fixture(scope="module")
def frost(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_frost(tmp_path_factory.mktemp("frost") / "frost")


@pytest.fixture
def built(cli: Any, raw: Path, frost: Path, tmp_path: Path) -> Callable[..., BiasedDataset]:
    """Build a dataset with the command and load it."""

    def build(name: str, *options: Any) -> BiasedDataset:
        outcome = cli(
            "make-cifar-c", raw, "--out", tmp_path / name, "--conflicting", "20%", *options
        )
        assert outcome.code == 0, outcome.err
        return load(tmp_path / name)

    return build


class TestBuild:
    def test_a_folder_has_labels_corruptions_and_alignment(
        self, built: Callable[..., BiasedDataset], frost: Path
    ) -> None:
        data = built("a", "--frost", frost)
        manifest = data.manifest
        assert data.name == "corrupted-cifar10-part-20pct-own-frost"
        assert manifest.labels == NAMES
        assert manifest.bias is not None and manifest.bias.values == TYPE_0
        assert (manifest.attributes or {})["corruption"].aligned_pairs == [
            [label, value] for label, value in zip(NAMES, TYPE_0, strict=True)
        ]
        assert manifest.parameters["level"] == 5
        assert set(frost_module.FILES) < set(manifest.source["sha256"])
        for split in data.splits.values():
            assert split.images.shape == (len(split), 3, 32, 32)
            assert (split.aligned == (split.labels == split.bias)).all()
        train, val = data.splits["train"], data.splits["val"]
        assert sorted([*train.index, *val.index]) == list(range(200))
        assert (train.labels == train.index * 7 % 10).all()

    def test_images_of_the_corruption_original_are_those_of_the_files(
        self, built: Callable[..., BiasedDataset], raw: Path
    ) -> None:
        data = built("a", "--replace", "frost=original")
        assert data.name == "corrupted-cifar10-part-20pct-original-for-frost"
        assert "original instead of frost" in data.manifest.protocol["pictures"]
        blob = b"".join((raw / LAYOUT.folder / file).read_bytes() for file in LAYOUT.train)
        source = np.frombuffer(blob, np.uint8).reshape(-1, 3073)[:, 1:].reshape(-1, 3, 32, 32)
        train = data.splits["train"]
        is_equal = (train.images == source[train.index]).all(axis=(1, 2, 3))
        assert is_equal[train.bias == 1].all()
        assert not is_equal[np.isin(train.bias, [0, 2, 3, 4, 7])].any()

    def test_the_same_command_gives_the_same_bytes_in_chunks_of_any_size(
        self, built: Callable[..., BiasedDataset], frost: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = built("one", "--frost", frost)
        monkeypatch.setattr(cifar_c, "CHUNK", 3)
        assert built("two", "--frost", frost).digest == first.digest
        other = built("three", "--frost", frost, "--seed", "1")
        assert other.digest != first.digest

    def test_an_image_has_the_same_pixels_whatever_the_share(
        self, built: Callable[..., BiasedDataset], frost: Path
    ) -> None:
        options = ("--frost", frost, "--val-protocol", "none", "--order", "files")
        few, many = built("few", *options), built("many", *options, "--conflicting", "50%")
        first, second = few.splits["train"], many.splits["train"]
        is_same = first.bias == second.bias
        assert 0 < is_same.sum() < len(first)
        assert (first.images[is_same] == second.images[is_same]).all()

    def test_a_preview_has_the_counts_and_needs_no_frost(self, cli: Any, raw: Path) -> None:
        outcome = cli("make-cifar-c", raw, "--dry-run", "--json", "--val-protocol", "none")
        assert outcome.code == 0, outcome.err
        counts = json.loads(outcome.out)["counts"]
        assert (counts["train"]["n"], counts["test"]["n"]) == (200, 40)
        assert not Path("data").exists()


class TestRefusal:
    def fail(self, outcome: Any, code: int = 1) -> str:
        assert outcome.code == code, outcome
        line: str = outcome.err.splitlines()[-1]
        assert line.startswith("error: ")
        return line

    def test_frost_asks_for_its_pictures(self, cli: Any, raw: Path, frost: Path) -> None:
        line = self.fail(cli("make-cifar-c", raw), code=2)
        assert "--frost DIR" in line and "frost5.jpg" in line and "--replace frost=" in line
        line = self.fail(cli("make-cifar-c", raw, "--type", "1", "--frost", frost), code=2)
        assert "leave out --frost" in line

    def test_pictures_of_frost_that_cannot_be_used_are_named(
        self, cli: Any, raw: Path, tmp_path: Path
    ) -> None:
        folder = write_frost(tmp_path / "frost")
        blob = (folder / "frost2.png").read_bytes()
        (folder / "frost2.png").write_bytes(blob[: len(blob) // 2])
        assert "frost2.png is no picture" in self.fail(cli("make-cifar-c", raw, "--frost", folder))
        (folder / "frost2.png").write_bytes(b"not a picture")
        assert "frost2.png is no picture" in self.fail(cli("make-cifar-c", raw, "--frost", folder))
        (folder / "frost2.png").unlink()
        line = self.fail(cli("make-cifar-c", raw, "--frost", folder))
        assert "has no frost2.png: frost needs" in line
        from PIL import Image

        Image.new("RGB", (400, 160)).save(folder / "frost2.png")
        line = self.fail(cli("make-cifar-c", raw, "--frost", folder))
        assert "frost2.png is too small" in line
        assert "not a folder" in self.fail(cli("make-cifar-c", raw, "--frost", tmp_path / "none"))

    def test_files_that_are_missing_or_truncated_are_named(self, cli: Any, tmp_path: Path) -> None:
        raw = write_cifar10(tmp_path / "raw", per_file=20)
        options = ("--replace", "frost=gaussian_blur")
        path = raw / LAYOUT.folder / LAYOUT.train[2]
        path.write_bytes(path.read_bytes()[:-1])
        assert "is truncated" in self.fail(cli("make-cifar-c", raw, *options))
        path.unlink()
        assert f"has no {LAYOUT.train[2]}" in self.fail(cli("make-cifar-c", raw, *options))
        assert "has neither the folder" in self.fail(cli("make-cifar-c", tmp_path, *options))

    @pytest.mark.parametrize(
        "options",
        [("--severity", "5"), ("--conflicting", "120%"), ("--replace", "frost"), ("--type", "2")],
    )
    def test_options_out_of_range_are_refused(
        self, cli: Any, raw: Path, options: tuple[str, str]
    ) -> None:
        assert options[0] in self.fail(cli("make-cifar-c", raw, *options), code=2)


@pytest.mark.slow
def test_files_of_the_official_size_give_the_counts_of_the_papers(cli: Any, tmp_path: Path) -> None:
    raw = write_cifar10(tmp_path / "raw", per_file=10_000)
    frost = write_frost(tmp_path / "frost")
    options = ("--frost", frost, "--val-protocol", "none")
    outcome = cli("make-cifar-c", raw, *options)
    assert outcome.code == 0, outcome.err
    data = load(tmp_path / "data" / "corrupted-cifar10-0.5pct-own-frost-none")
    train, test = data.manifest.counts["train"], data.manifest.counts["test"]
    assert (train.aligned, train.conflicting) == (49_750, 250)
    assert np.array_equal(test.cells, np.full((10, 10), 100))
