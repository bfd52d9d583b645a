"""``biascon inspect``: counts, contact sheets, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from tests.cli.outcomes import failure


def test_it_prints_the_counts_of_the_newest_dataset(cli: Any, folder: Path) -> None:
    outcome = cli("inspect")
    assert outcome.code == 0
    assert outcome.err.startswith("dataset: data/small (")
    named = cli("inspect", folder)
    assert named.err == ""
    assert named.out == outcome.out
    lines = named.out.splitlines()
    assert lines[0] == "bmnist5k-0.9: made for the tests"
    cells = [line.split() for line in lines[-10:]]
    assert [row[0] for row in cells] == [str(y) for y in range(10)]
    assert [row[1 + y] for y, row in enumerate(cells)] == ["81"] * 10
    assert all(sum(int(n) for n in row[1:]) == 90 for row in cells)


def test_an_empty_cell_is_printed_as_a_point(
    cli: Any, make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    outcome = cli("inspect", make_dataset(tmp_path / "x", rho=1.0, val_protocol="none"))
    row = outcome.out.splitlines()[-10].split()
    assert row == ["0", "100", *["."] * 9]


def test_json_is_the_manifest_of_the_dataset(cli: Any, folder: Path) -> None:
    outcome = cli("inspect", folder, "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out) == json.loads((folder / "manifest.json").read_text())


def test_a_contact_sheet_is_written(cli: Any, folder: Path, tmp_path: Path) -> None:
    outcome = cli("inspect", folder, "--png", "sheet.png", "--split", "val", "--seed", "4")
    assert outcome.code == 0
    assert outcome.err == "sheet.png: written, a sample of the val split with seed 4\n"
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.size[1] > 10 * 28


def test_a_contact_sheet_that_cannot_be_written_fails(
    cli: Any, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    assert "file/x.png" in failure(cli("inspect", folder, "--png", "file/x.png"))


def test_a_contact_sheet_of_a_missing_split_fails(
    cli: Any, make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    dataset = make_dataset(tmp_path / "x", val_protocol="none")
    message = failure(cli("inspect", dataset, "--png", "s.png", "--split", "val"))
    assert "no val split" in message
    assert not (tmp_path / "s.png").exists()
