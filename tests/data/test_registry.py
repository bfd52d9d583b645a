"""What there is to build: the list, and datasets of outside packages."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from biascon.cli.app import COMMANDS
from biascon.data.dataset import load
from biascon.data.registry import BUILDERS, GROUP
from biascon.utils import entry_points
from biascon.utils.entry_points import plugins as real_plugins

CARDS = Path(__file__).parents[2] / "datasets"
SOURCE = '''
"""A dataset that biascon knows nothing of."""

from pathlib import Path

import click
import numpy as np

from biascon.data.builders import Builder
from biascon.data.dataset import Split, save

builder = Builder("2", "none", "nothing", "make-blobs", "outside_blobs:command")
odd = Builder("2", "none", "nothing", "make-odd", "outside_blobs:nothing")
wrong = Builder("2", "none", "nothing", "make-wrong", "outside_blobs:Path")
bare = 3


@click.command(name="make-blobs")
@click.option("--n", default=10)
def command(n):
    """Build blobs."""
    labels = np.arange(n) % 2
    split = Split(np.zeros((n, 3, 8, 8), np.uint8), labels, labels * 0, labels > 5, np.arange(n))
    about = {
        "name": "blobs", "builder": "blobs", "protocol": {}, "parameters": {}, "labels": ["a", "b"],
        "source": {"origin": "made"}, "bias": None,
    }
    save(Path("data/blobs"), {"train": split, "test": split}, about, replace=True)
'''


@pytest.fixture
def blobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outside_blobs.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "outside_blobs", raising=False)
    points = {"blobs": "builder"}
    register(monkeypatch, points)


def register(monkeypatch: pytest.MonkeyPatch, points: dict[str, str]) -> None:
    found = {k: EntryPoint(k, f"outside_blobs:{v}", GROUP) for k, v in points.items()}
    monkeypatch.setattr(entry_points, "plugins", lambda g: found if g == GROUP else real_plugins(g))


def test_the_list_names_every_builder_with_its_command(cli: Any) -> None:
    told = cli("list", "datasets")
    assert told.code == 0, told.err
    lines = told.out.splitlines()
    assert [line.split()[0] for line in lines[2 : 2 + len(BUILDERS)]] == list(BUILDERS)
    for line, builder in zip(lines[2:], BUILDERS.values(), strict=False):
        assert line.endswith(f"biascon {builder.command}")


@pytest.mark.parametrize("name", BUILDERS)
def test_each_command_is_there(cli: Any, name: str) -> None:
    command = BUILDERS[name].command.split()
    if command[0] not in COMMANDS:
        pytest.skip(f"{command[0]} is not there yet")
    told = cli(command[0], "--help")
    assert told.code == 0
    if "--source" in command:
        assert command[-1] in told.out
    if command[0] == "make-standard":
        assert command[1] in told.out


def test_an_outside_package_is_listed_and_builds(cli: Any, blobs: None, tmp_path: Path) -> None:
    lines = cli("list", "datasets").out.splitlines()
    assert any(line.startswith("blobs ") and line.endswith("biascon make-blobs") for line in lines)
    assert "Build blobs" in cli("make-blobs", "--help").out
    told = cli("make-blobs", "--n", "8")
    assert told.code == 0, told.err
    assert len(load(tmp_path / "data" / "blobs").splits["train"]) == 8


@pytest.mark.parametrize(
    ("point", "told"),
    [
        ("missing", "plug-in dataset 'odd' fails to import"),
        ("bare", "is not a biascon.data.builders.Builder with a target, but a int"),
        ("odd", "plug-in command 'make-odd' fails to import"),
        ("wrong", "is not a click command, but a type"),
    ],
)
def test_a_broken_one_says_so(
    cli: Any, blobs: None, monkeypatch: pytest.MonkeyPatch, point: str, told: str
) -> None:
    register(monkeypatch, {"odd": point})
    found = cli("make-odd")
    assert found.code == 1
    assert told in found.err and len(found.err.splitlines()) == 1


def test_no_name_can_be_taken(cli: Any, blobs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, {"cifar10": "builder", "bmnist": "builder"})
    assert "outside" not in cli("list", "datasets").out
    assert "colours" in cli("make-bmnist", "--help").out


def test_an_unknown_command_suggests_the_nearest(cli: Any) -> None:
    found = cli("make-bmnits")
    assert found.code == 2
    assert "did you mean 'make-bmnist'?" in found.err
