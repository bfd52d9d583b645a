"""A grid of runs, read from a TOML file. Reading and counting it imports neither PyTorch nor a dataset."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biascon.config.settings import read_toml
from biascon.errors import UsageError, did_you_mean
from biascon.utils.text import join_first, shorten, show_value

MAX_RUNS = 100_000  # of a sweep; a plan of 1,000 runs takes some seconds
KEYS = ("losses", "seeds", "rho", "data", "bias", "preset", "settings")
_LIST_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "losses": str,
    "seeds": int,
    "rho": (int, float),
    "data": str,
    "bias": str,
}


@dataclass(frozen=True)
class Grid:
    """The contents of a grid file. The runs are the product of all lists.

    Attributes:
        losses: The names of the losses.
        seeds: The seeds.
        rho: The color correlation of each BiasedMNIST. A missing dataset is built.
        data: Dataset folders, in addition to the BiasedMNISTs of ``rho``.
        bias: Values of the option ``--bias``. Empty: the bias attribute of each dataset itself.
        preset: The preset of all runs; None for the default of each dataset, as in ``evaluate``.
        settings: The values of each setting, by ``section.key``.
    """

    losses: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    rho: tuple[float, ...] = ()
    data: tuple[str, ...] = ()
    bias: tuple[str, ...] = ()
    preset: str | None = None
    settings: Mapping[str, tuple[Any, ...]] | None = None

    def count_runs(self) -> int:
        """Return the number of runs: the product of the lengths of all lists."""
        lengths = [len(values) for values in (self.settings or {}).values()]
        datasets = len(self.rho) + len(self.data)
        return math.prod(
            [len(self.losses), len(self.seeds), datasets, max(1, len(self.bias)), *lengths]
        )


def read_grids(paths: Sequence[Path]) -> list[Grid]:
    """Read the grid files of a sweep, and count their runs before anything is planned.

    Raises:
        UsageError: As ``read_grid``, or the grids have more than ``MAX_RUNS`` runs.
        DataError: A file cannot be read.
    """
    grids = [read_grid(path) for path in paths]
    n = sum(grid.count_runs() for grid in grids)
    if n > MAX_RUNS:
        raise UsageError(
            f"{join_first(list(map(str, paths)))}: expected at most {MAX_RUNS:,} runs, but got {n:,} (the "
            "product of all lists of a grid); divide the grid"
        )
    return grids


def read_grid(path: Path) -> Grid:
    """Read a grid file.

    Raises:
        UsageError: The file is not valid TOML, has an unknown key, or has a value of the wrong type.
        DataError: The file cannot be read, is no regular file, or is too large.
    """
    tree = read_toml(path)
    unknown = [f"'{shorten(key)}'{did_you_mean(key, KEYS)}" for key in tree if key not in KEYS]
    if unknown:
        raise UsageError(f"{path}: unknown key: {', '.join(unknown)} (known: {', '.join(KEYS)})")
    lists: dict[str, Any] = {}
    for key, kind in _LIST_TYPES.items():
        values = tree.get(key, [0] if key == "seeds" else [])
        is_valid = isinstance(values, list) and all(
            isinstance(value, kind) and not isinstance(value, bool) for value in values
        )
        if not is_valid:
            raise UsageError(f"{path}: expected {key} to be a list, but got {show_value(values)}")
        lists[key] = tuple(dict.fromkeys(values))
    if not lists["losses"] or not lists["seeds"] or not (lists["rho"] or lists["data"]):
        raise UsageError(f"{path}: expected losses, seeds, and rho or data, each with an item")
    settings = tree.get("settings", {})
    if not isinstance(settings, dict) or not all(
        isinstance(values, list) and values for values in settings.values()
    ):
        raise UsageError(f'{path}: expected [settings] as "section.key" = [values]')
    preset = tree.get("preset")
    if not (preset is None or isinstance(preset, str)):
        raise UsageError(f"{path}: expected preset to be a name, but got {show_value(preset)}")
    return Grid(**lists, preset=preset, settings={k: tuple(v) for k, v in settings.items()})
