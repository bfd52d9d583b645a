"""A grid of runs, read from a TOML file."""

from __future__ import annotations

import itertools
import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biascon.config.resolve import resolve_weights
from biascon.config.run_config import RunConfig, make_config
from biascon.data import dataset
from biascon.errors import BiasconError, UsageError, did_you_mean
from biascon.runs.folder import run_folder

KEYS = ("losses", "seeds", "rho", "data", "bias", "preset", "settings")


@dataclass(frozen=True)
class Grid:
    """What a grid file says: the runs are the product of all lists.

    Attributes:
        losses: Names of losses.
        seeds: Seeds.
        rho: Color correlations of BiasedMNISTs, which are built where they are missing.
        data: Folders of datasets, beside or in place of ``rho``.
        bias: What each dataset is seen by, as ``--bias``; without any, by its own attribute.
        preset: Of all runs.
        settings: ``section.key`` -> the values it takes.
    """

    losses: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    rho: tuple[float, ...] = ()
    data: tuple[str, ...] = ()
    bias: tuple[str, ...] = ()
    preset: str = "cpu"
    settings: Mapping[str, tuple[Any, ...]] | None = None


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        config: Its configuration.
        data: Its dataset folder.
        folder: Its run folder.
        settings: What was set over the preset, as ``section.key=value``.
        bias: What the dataset is seen by, as ``--bias``; "" for its own attribute.
    """

    config: RunConfig
    data: Path
    folder: Path
    settings: tuple[str, ...]
    bias: str = ""

    @property
    def name(self) -> str:
        """Dataset, loss, seed and settings in a line."""
        extra = "".join(f" {s}" for s in self.settings if not s.startswith("train.threads="))
        by = f" by {self.bias}" if self.bias else ""
        return f"{self.data.name}{by} {self.config.loss} seed {self.config.seed}{extra}"

    def command(self, root: Path, device: str) -> list[str]:
        """Return the command line of the run."""
        sets = [word for setting in self.settings for word in ("--set", setting)]
        sets += ["--bias", self.bias] if self.bias else []
        return [
            sys.executable, "-m", "biascon", "evaluate", "--json", "--loss", self.config.loss,
            "--seeds", str(self.config.seed), "--data", str(self.data), "--preset",
            self.config.preset, "--device", device, "--runs", str(root), *sets,
        ]  # fmt: skip


def read_grid(path: Path) -> Grid:
    """Read a grid file.

    Raises:
        UsageError: Not TOML, an unknown key, or a value of the wrong kind.
        BiasconError: It cannot be read.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BiasconError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error
    wrong = [f"'{key}'{did_you_mean(key, KEYS)}" for key in tree if key not in KEYS]
    if wrong:
        raise UsageError(f"{path}: unknown key: {', '.join(wrong)} (known: {', '.join(KEYS)})")
    kinds: dict[str, Any] = {
        "losses": str,
        "seeds": int,
        "rho": (int, float),
        "data": str,
        "bias": str,
    }
    found: dict[str, Any] = {}
    for key, kind in kinds.items():
        value = tree.get(key, [0] if key == "seeds" else [])
        good = isinstance(value, list) and all(
            isinstance(item, kind) and not isinstance(item, bool) for item in value
        )
        if not good:
            raise UsageError(f"{path}: expected {key} to be a list, but got {value!r}")
        found[key] = tuple(dict.fromkeys(value))
    if not found["losses"] or not found["seeds"] or not (found["rho"] or found["data"]):
        raise UsageError(f"{path}: expected losses, seeds, and rho or data, each with an item")
    settings = tree.get("settings", {})
    if not isinstance(settings, dict) or not all(
        isinstance(values, list) and values for values in settings.values()
    ):
        raise UsageError(f'{path}: expected [settings] as "section.key" = [values]')
    preset = tree.get("preset", "cpu")
    if not isinstance(preset, str):
        raise UsageError(f"{path}: expected preset to be a name, but got {preset!r}")
    return Grid(**found, preset=preset, settings={k: tuple(v) for k, v in settings.items()})


def plan_jobs(
    grid: Grid, folders: Sequence[Path], root: Path, *, device: str, threads: int | None
) -> list[Job]:
    """Return the runs of a grid, each configuration resolved, in the order of the lists.

    Args:
        grid: The grid.
        folders: Its dataset folders, all there.
        root: The folder of runs.
        device: The type of the device they will run on.
        threads: CPU threads a run, None to leave it to the preset.

    Raises:
        BiasconError: A wrong name or value, or a folder that is no dataset.
    """
    extra = [] if threads is None else [f"train.threads={threads}"]
    choices = [
        [f"{key}={_toml(value)}" for value in values]
        for key, values in (grid.settings or {}).items()
    ]
    jobs = []
    for folder in folders:
        manifest = dataset.read_manifest(folder)
        own = (manifest.name, dataset.dataset_digest(manifest))
        for bias, loss, settings, seed in itertools.product(
            grid.bias or ("",), grid.losses, itertools.product(*choices), grid.seeds
        ):
            seen = dataset.view_identity(manifest, own[1], _names(bias)) if bias else own
            sets = (*settings, *extra)
            config = make_config(loss, seed=seed, preset=grid.preset, settings=sets)
            config = resolve_weights(config).for_device(device)
            place = run_folder(root, seen[0], config, config.digest(seen[1]))
            jobs.append(Job(config, folder, place, sets, bias))
    return list({job.folder: job for job in jobs}.values())


def _names(bias: str) -> list[str]:
    return [name.strip() for name in bias.split(",")]


def _toml(value: Any) -> str:
    return json.dumps(value)  # TOML reads JSON's scalars and lists
