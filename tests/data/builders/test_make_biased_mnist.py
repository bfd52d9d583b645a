"""make_biased_mnist: the same bytes each time, reuse of an intact folder, refusal of another dataset."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from biascon.data import dataset
from biascon.data.builders import biased_mnist
from biascon.data.builders.biased_mnist import (
    VAL_PROTOCOLS,
    BiasedMNISTSpec,
    BuildResult,
    make_biased_mnist,
)
from biascon.data.builders.mnist_source import Digits
from biascon.errors import BiasconError, DataError


def hashes(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


@pytest.fixture
def make(
    digits: Digits, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., BuildResult]:
    """``make_biased_mnist`` of the digits of the tests, under the test's folder."""
    monkeypatch.setattr(biased_mnist, "find_digits", lambda source, folder: digits)

    def run(
        rho: float = 0.9, *, force: bool = False, at: str | None = None, **spec: Any
    ) -> BuildResult:
        out = None if at is None else tmp_path / at
        return make_biased_mnist(
            BiasedMNISTSpec(rho, **spec), root=tmp_path / "data", out=out, force=force
        )

    return run


class TestFolder:
    def test_the_same_command_gives_the_same_bytes(self, make: Any) -> None:
        one, other = make(at="one"), make(at="other")
        assert not one.reused
        assert not other.reused
        assert set(hashes(one.folder)) == {
            "train.safetensors", "val.safetensors", "test.safetensors", "manifest.json",
            "croissant.json",
        }  # fmt: skip
        assert hashes(one.folder) == hashes(other.folder)
        assert one.manifest == other.manifest

    def test_another_seed_gives_other_bytes(self, make: Any) -> None:
        one, other = hashes(make().folder), hashes(make(seed=1).folder)
        assert all(one[name] != other[name] for name in one)

    def test_the_bytes_are_the_same_on_every_machine(self, make: Any) -> None:
        """If only the first holds, safetensors lays its files out differently."""
        made = make()
        split = dataset.load(made.folder).splits["train"]
        arrays = hashlib.sha256()
        for array in (split.images, split.labels.astype("<i8"), split.bias.astype("<i8")):
            arrays.update(array.tobytes())
        assert (
            arrays.hexdigest() == "47892bff922065a772f955ea617f66ce7b1f26ace3caecec193510cf0693b78e"
        )
        assert (
            hashes(made.folder)["train.safetensors"]
            == "cc459c2e21eea98f447ea3b911684ae9b4e6e97df9fa3843ce5d04a6b96be9c9"
        )

    def test_the_folder_in_the_root_has_the_name_of_the_dataset(
        self, make: Any, tmp_path: Path
    ) -> None:
        made = make(0.997, val_protocol="none")
        assert made.folder == tmp_path / "data" / "bmnist5k-0.997-none"
        assert made.manifest.name == "bmnist5k-0.997-none"

    def test_the_manifest_holds_the_settings_and_counts(self, make: Any, digits: Digits) -> None:
        made = make(0.997, seed=3, color="digit")
        on_disk = json.loads((made.folder / "manifest.json").read_text())
        assert on_disk == made.manifest.to_json()
        assert on_disk["parameters"] == {
            ("colour" if key == "color" else key): value
            for key, value in asdict(BiasedMNISTSpec(0.997, seed=3, color="digit")).items()
            if value is not None
        }
        assert on_disk["source"]["sha256"] == digits.sha256
        assert on_disk["source"]["origin"] == digits.origin
        assert "rho 0.997" in on_disk["protocol"]["train"]
        assert "digit coloured" in on_disk["protocol"]["train"]
        for name, counts in on_disk["counts"].items():
            split = dataset.load(made.folder).splits[name]
            assert counts["cells"] == split.counts(10, 10).tolist()
            assert counts["n"] == len(split)
            assert counts["aligned"] == int((split.labels == split.bias).sum())
            assert counts["aligned"] + counts["conflicting"] == counts["n"]
            assert counts["empty_cells"] == sum(row.count(0) for row in counts["cells"])

    @pytest.mark.parametrize("val_protocol", VAL_PROTOCOLS)
    def test_the_validation_protocol_is_in_the_manifest(self, make: Any, val_protocol: str) -> None:
        text = make(val_protocol=val_protocol).manifest.protocol["val"]
        word = {
            "held-out": "before colouring", "biased": "as in training", "hong": "leaks",
            "none": "no selection",
        }  # fmt: skip
        assert word[val_protocol] in text

    def test_an_intact_folder_is_reused(self, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        first = make()
        before = hashes(first.folder)
        monkeypatch.setattr(biased_mnist, "build_splits", lambda *_: pytest.fail("built again"))
        again = make()
        assert again.reused
        assert again.manifest == first.manifest
        assert hashes(again.folder) == before

    def test_a_reused_folder_is_the_latest(self, make: Any, tmp_path: Path) -> None:
        import os

        one, other = make(0.9), make(0.8)
        for age, made in enumerate((other, one), start=1):
            os.utime(made.folder / "manifest.json", (age, age))
        assert dataset.find_latest(tmp_path / "data") == one.folder
        assert make(0.8).reused
        assert dataset.find_latest(tmp_path / "data") == other.folder

    @pytest.mark.parametrize(
        "other",
        [
            {"rho": 0.8},
            {"seed": 1},
            {"variant": "fairkl"},
            {"color": "digit"},
            {"n_confusing": 2},
            {"val_protocol": "none"},
            {"leftover": "even"},
        ],
    )
    def test_a_folder_with_another_dataset_is_kept(self, make: Any, other: dict[str, Any]) -> None:
        made = make(at="folder")
        before = hashes(made.folder)
        with pytest.raises(BiasconError, match=r"holds another dataset .*parameters.*--force"):
            make(at="folder", **other)
        assert hashes(made.folder) == before
        replaced = make(at="folder", force=True, **other)
        assert not replaced.reused
        assert hashes(replaced.folder) != before
        assert [p.name for p in replaced.folder.parent.glob(".folder*")] == []

    def test_a_folder_from_another_source_is_kept(
        self, make: Any, digits: Digits, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make(at="folder")
        other_digits = replace(digits, sha256={"made": "1" * 64})
        monkeypatch.setattr(biased_mnist, "find_digits", lambda source, folder: other_digits)
        with pytest.raises(BiasconError, match="differs in source"):
            make(at="folder")

    def test_the_origin_of_the_digits_does_not_matter(
        self, make: Any, digits: Digits, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make(at="folder")
        other_digits = replace(digits, origin="somewhere else")
        monkeypatch.setattr(biased_mnist, "find_digits", lambda source, folder: other_digits)
        assert make(at="folder").reused

    @pytest.mark.parametrize("name", ["train", "val", "test"])
    def test_a_damaged_folder_is_refused_and_force_repairs_it(self, make: Any, name: str) -> None:
        made = make()
        before = hashes(made.folder)
        path = made.folder / f"{name}.safetensors"
        blob = bytearray(path.read_bytes())
        blob[-1] ^= 1
        path.write_bytes(blob)
        with pytest.raises(DataError, match=f"{name}.safetensors is not the file .*--force"):
            make()
        repaired = make(force=True)
        assert not repaired.reused
        assert hashes(repaired.folder) == before

    def test_a_folder_that_is_no_dataset_is_kept(self, make: Any, tmp_path: Path) -> None:
        (tmp_path / "thesis").mkdir()
        (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
        with pytest.raises(BiasconError, match="is not a dataset; choose another --out"):
            make(at="thesis")
        assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years of work"

    def test_force_does_not_delete_a_folder_that_is_no_dataset(
        self, make: Any, tmp_path: Path
    ) -> None:
        (tmp_path / "thesis").mkdir()
        (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
        with pytest.raises(BiasconError):
            make(at="thesis", force=True)
        assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years of work"

    def test_source_and_folder_are_passed_on_and_printed(
        self, digits: Digits, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        asked: list[Any] = []

        def find(source: str, folder: Path | None) -> Digits:
            asked.append((source, folder))
            return digits

        monkeypatch.setattr(biased_mnist, "find_digits", find)
        lines: list[str] = []
        make_biased_mnist(
            BiasedMNISTSpec(0.9),
            out=tmp_path / "x",
            source="dir",
            mnist_dir=tmp_path,
            say=lines.append,
        )
        assert asked == [("dir", tmp_path)]
        assert lines == ["source: made for the tests (1,000 + 200 digits)"]
