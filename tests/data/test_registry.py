"""The registry of datasets: the list of builders, and builders of other packages."""

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
"""A dataset of another package."""

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
    description = {
        "name": "blobs", "builder": "blobs", "protocol": {}, "parameters": {}, "labels": ["a", "b"],
        "source": {"origin": "made"}, "bias": None,
    }
    save(Path("data/blobs"), {"train": split, "test": split}, description, replace=True)
'''


@pytest.fixture
def blobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outside_blobs.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "outside_blobs", raising=False)
    points = {"blobs": "builder"}
    register(monkeypatch, points)


def register(monkeypatch: pytest.MonkeyPatch, points: dict[str, str]) -> None:
    plugins = {k: EntryPoint(k, f"outside_blobs:{v}", GROUP) for k, v in points.items()}
    monkeypatch.setattr(
        entry_points, "plugins", lambda group: plugins if group == GROUP else real_plugins(group)
    )


def test_the_list_names_every_builder_with_its_command(cli: Any) -> None:
    outcome = cli("list", "datasets")
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert [line.split()[0] for line in lines[2 : 2 + len(BUILDERS)]] == list(BUILDERS)
    for line, builder in zip(lines[2:], BUILDERS.values(), strict=False):
        assert line.endswith(f"biascon {builder.command}")


@pytest.mark.parametrize("name", BUILDERS)
def test_the_command_of_each_builder_exists(cli: Any, name: str) -> None:
    command = BUILDERS[name].command.split()
    if command[0] not in COMMANDS:
        pytest.skip(f"{command[0]} does not exist yet")
    outcome = cli(command[0], "--help")
    assert outcome.code == 0
    if "--source" in command:
        assert command[-1] in outcome.out
    if command[0] == "make-standard":
        assert command[1] in outcome.out


def test_a_builder_of_another_package_is_listed_and_builds(
    cli: Any, blobs: None, tmp_path: Path
) -> None:
    lines = cli("list", "datasets").out.splitlines()
    assert any(line.startswith("blobs ") and line.endswith("biascon make-blobs") for line in lines)
    assert "Build blobs" in cli("make-blobs", "--help").out
    outcome = cli("make-blobs", "--n", "8")
    assert outcome.code == 0, outcome.err
    assert len(load(tmp_path / "data" / "blobs").splits["train"]) == 8


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ("missing", "plug-in dataset 'odd' fails to import"),
        ("bare", "is not a biascon.data.builders.Builder with a target, but a int"),
        ("odd", "plug-in command 'make-odd' fails to import"),
        ("wrong", "is not a click command, but a type"),
    ],
)
def test_a_broken_plugin_is_named_in_one_line(
    cli: Any, blobs: None, monkeypatch: pytest.MonkeyPatch, point: str, message: str
) -> None:
    register(monkeypatch, {"odd": point})
    outcome = cli("make-odd")
    assert outcome.code == 1
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize("point", ["missing", "bare"])
def test_the_list_leaves_a_broken_plugin_out_and_names_it(
    cli: Any, blobs: None, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    register(monkeypatch, {"odd": point, "good": "builder"})
    outcome = cli("list", "datasets")
    assert outcome.code == 0
    assert "warning: left out: plug-in dataset 'odd'" in outcome.err
    assert "good" in outcome.out
    assert "bmnist" in outcome.out


def test_a_plugin_cannot_replace_a_builder(
    cli: Any, blobs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, {"cifar10": "builder", "bmnist": "builder"})
    assert "outside" not in cli("list", "datasets").out
    assert "Build a BiasedMNIST" in cli("make-bmnist", "--help").out


def test_an_unknown_command_suggests_the_nearest(cli: Any) -> None:
    outcome = cli("make-bmnits")
    assert outcome.code == 2
    assert "did you mean 'make-bmnist'?" in outcome.err
