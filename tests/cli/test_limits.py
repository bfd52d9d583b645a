"""Absurd settings: one line and exit code 2 before anything starts, in the command line and in Python."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from biascon.config.factory import make_config
from biascon.config.limits import COUNTS, MAX_SEED
from biascon.config.run_config import RunConfig
from biascon.config.sections import SECTIONS
from biascon.config.settings import parse_settings
from biascon.errors import UsageError
from biascon.sweep.grid_file import MAX_RUNS, Grid, read_grids
from tests.cli.outcomes import usage_error

DIGITS = "9" * 400
ABSURD = {
    "train.threads=100000": "train.threads to be at most 1,024, but got 100000",
    "augment.views=1000000": "augment.views to be at most 1,024, but got 1000000",
    "train.epochs=99999999999": "train.epochs to be at most 100,000, but got 99999999999",
    "train.batch_size=99999999": "train.batch_size to be at most 1,048,576, but got 99999999",
    "model.head=[99999999]": "model.head to be at most 16 widths of at most 65,536",
    f"model.head={[1] * 17}": "model.head to be at most 16 widths of at most 65,536",
    f"optimizer.lr={DIGITS}": "expected optimizer.lr to be at most 1.8e+308, but got 9999",
    f"optimizer.weight_decay={DIGITS}.0": "optimizer.weight_decay to be 0 or more, but got inf",
    f"train.epochs=0x{'f' * 9000}": "but got a very long int",
    f"loss.temperature={DIGITS}": "expected temperature to be larger than 0, but got 9999",
    f"model.head={'[' * 3000}{']' * 3000}": "the value of --set model.head is nested too deeply",
    "train.epochs=1\ntrain.batch_size=7": "expected one setting in --set train.epochs=..., but got more",
    "model.encoder=a\nb": "expected one setting in --set model.encoder=..., but got more lines",
    "model.encoder=a\r\nb": "expected one setting in --set model.encoder=..., but got more lines",
    "train.epochs=1\n[probe]\nk=7": "expected one setting in --set train.epochs=..., but got more",
    f"{'x' * 3000}=1": "expected --set section.key=value, but got 'xxxx",
    f"model.encoder={'x ' * 1500}": "unknown encoder 'x x",
}


@pytest.mark.parametrize("setting", ABSURD, ids=range(len(ABSURD)))
def test_an_absurd_setting_is_one_short_line_before_anything_starts(
    setting: str, cli: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    message = usage_error(
        cli("evaluate", "--data", folder, "--loss", "supcon", "--preset", "smoke", "--set", setting)
    )
    assert ABSURD[setting] in message
    assert len(message) <= 2100
    assert not (tmp_path / "runs").exists()


def test_a_value_of_several_lines_that_is_one_value_is_read() -> None:
    assert parse_settings(["model.head=[1,\n2]"]) == {"model": {"head": [1, 2]}}


@pytest.mark.parametrize("name", COUNTS)
def test_python_refuses_what_the_command_line_refuses(name: str) -> None:
    low, high = COUNTS[name]
    section, _, key = name.partition(".")
    config = make_config("supcon", preset="smoke")

    def change(value: Any) -> RunConfig:
        changed = dataclasses.replace(getattr(config, section), **{key: value})
        return dataclasses.replace(config, **{section: changed})

    for allowed in (low, high):
        assert config.plain_value(name) == allowed or change(allowed) != config
    for value, expected in ((low - 1, f"{low} or more"), (high + 1, f"at most {high:,}")):
        with pytest.raises(UsageError, match=rf"expected {name} to be {expected}, but got"):
            change(value)
    with pytest.raises(UsageError, match=rf"expected {name} to be of type int, but got '3'"):
        change("3")


def test_python_refuses_numbers_that_no_float_holds_and_seeds_that_no_generator_takes() -> None:
    config = make_config("supcon", preset="smoke")
    with pytest.raises(UsageError, match=r"expected optimizer\.lr to be at most"):
        dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, lr=10**400))
    with pytest.raises(UsageError, match="expected seed to be at most"):
        make_config("supcon", seed=MAX_SEED + 1)
    assert make_config("supcon", seed=MAX_SEED).seed == MAX_SEED


def test_every_count_of_the_settings_has_limits() -> None:
    counts = {
        f"{name}.{field.name}"
        for name, section in SECTIONS.items()
        for field in dataclasses.fields(section)
        if field.type == "int"
    }
    assert counts == set(COUNTS)


@pytest.mark.parametrize("seeds", ["9" * 5000, "9" * 19, "0-" + "9" * 30])
def test_seeds_of_too_many_digits_are_refused(seeds: str, cli: Callable[..., Any]) -> None:
    message = usage_error(cli("evaluate", "--loss", "supcon", "--seeds", seeds))
    assert "expected seeds" in message
    assert len(message) < 400


def write_grid(path: Path, seeds: int, temperatures: int) -> Path:
    values = ", ".join(f"{k / 1000}" for k in range(1, temperatures + 1))
    path.write_text(
        f'losses = ["supcon"]\nrho = [0.9]\nseeds = {list(range(seeds))}\n'
        f'[settings]\n"loss.temperature" = [{values}]\n"train.epochs" = {list(range(1, 366))}\n'
    )
    return path


def test_a_sweep_of_58_million_runs_is_counted_and_refused_in_a_second(
    cli: Callable[..., Any], tmp_path: Path
) -> None:
    grid = write_grid(tmp_path / "big.toml", 400, 400)
    start = time.process_time()
    message = usage_error(cli("sweep", grid, "--dry-run"))
    assert time.process_time() - start < 1.0
    assert "expected at most 100,000 runs, but got 58,400,000" in message
    assert not (tmp_path / "data").exists()


def test_the_runs_of_all_grids_of_a_sweep_count(tmp_path: Path) -> None:
    one = write_grid(tmp_path / "a.toml", 2, 70)
    (grid,) = read_grids([one])
    assert grid.count_runs() == 2 * 70 * 365 <= MAX_RUNS
    with pytest.raises(UsageError, match="but got 102,200"):
        read_grids([one, one])
    assert Grid(("a", "b"), (0, 1, 2), (0.9,), ("x",), ("p", "q", "r")).count_runs() == 36


def test_a_date_in_a_grid_is_one_line(cli: Callable[..., Any], folder: Path) -> None:
    grid = folder.parent / "grid.toml"
    grid.write_text(
        f'losses = ["ce"]\ndata = ["{folder}"]\n[settings]\n"train.epochs" = [2020-01-01]\n'
    )
    assert "but got datetime.date" in usage_error(cli("sweep", grid, "--dry-run"))
