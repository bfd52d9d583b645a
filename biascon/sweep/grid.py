"""A grid of runs, read from a TOML file, and the jobs that it stands for."""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biascon.config.factory import make_config
from biascon.config.method_settings import resolve_parameters
from biascon.config.resolve import resolve_weights
from biascon.config.run_config import RunConfig
from biascon.config.settings import read_toml
from biascon.data import dataset
from biascon.data.builders.biased_mnist import BiasedMNISTSpec, make_biased_mnist
from biascon.data.manifest import Manifest
from biascon.errors import UsageError, did_you_mean
from biascon.runs.folder import run_folder
from biascon.runs.preset_choice import choose_preset
from biascon.utils.progress import say_nothing
from biascon.utils.text import join_first, show_value

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


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        config: The configuration of the run.
        data: The dataset folder.
        folder: The run folder.
        settings: The settings that override the preset, as ``section.key=value``.
        bias: The value of the option ``--bias``; ``""`` for the bias attribute of the dataset itself.
        preset: The value of the option ``--preset``; ``""`` for the name that the configuration has. The name
            of a preset file lacks its folder.
        keep_features: Whether the finished run keeps its features.
        digest: The digest of the run.
    """

    config: RunConfig
    data: Path
    folder: Path
    settings: tuple[str, ...]
    bias: str = ""
    preset: str = ""
    keep_features: bool = True
    digest: str = ""

    @property
    def name(self) -> str:
        """The dataset, the loss, the seed and the settings in one line."""
        settings = "".join(f" {s}" for s in self.settings if not s.startswith("train.threads="))
        bias = f" by {self.bias}" if self.bias else ""
        return f"{self.data.name}{bias} {self.config.loss} seed {self.config.seed}{settings}"

    def command(self, root: Path, device: str) -> list[str]:
        """Return the command line of the run.

        Args:
            root: The folder of runs.
            device: The value of the option ``--device``.
        """
        options = [word for setting in self.settings for word in ("--set", setting)]
        options += ["--bias", self.bias] if self.bias else []
        options += [] if self.keep_features else ["--no-features"]
        return [
            sys.executable, "-m", "biascon", "evaluate", "--json", "--loss", self.config.loss,
            "--seeds", str(self.config.seed), "--data", str(self.data), "--preset",
            self.preset or self.config.preset, "--device", device, "--runs", str(root), *options,
        ]  # fmt: skip


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
    unknown = [f"'{key}'{did_you_mean(key, KEYS)}" for key in tree if key not in KEYS]
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


def prepare_datasets(grid: Grid, root: Path, *, log: Callable[[str], None]) -> list[Path]:
    """Return the dataset folders of a grid; build each BiasedMNIST that is missing.

    Args:
        grid: The grid.
        root: The folder in which the BiasedMNISTs are built.
        log: Called with each line of progress.

    Raises:
        BiasconError: A dataset cannot be built, or another dataset is in its folder.
    """
    built = [
        make_biased_mnist(BiasedMNISTSpec(float(rho)), root=root, say=log).folder
        for rho in grid.rho
    ]
    return [*map(Path, grid.data), *built]


def plan_jobs(
    grid: Grid,
    folders: Sequence[Path],
    root: Path,
    *,
    device: str,
    threads: int | None,
    log: Callable[[str], None] = say_nothing,
) -> list[Job]:
    """Return the runs of a grid, each with a resolved configuration: all runs of a seed, then the next seed.

    If a sweep ends early, the seeds that it finished have every loss.

    Args:
        grid: The grid.
        folders: The dataset folders, from ``prepare_datasets``.
        root: The folder of runs.
        device: The type of the device that the runs use.
        threads: CPU threads of each run; None for the value of the preset.
        log: Called with a line for each preset that is chosen because the grid names none.

    Raises:
        BiasconError: A name or a value is wrong, or a folder is not a dataset folder.
    """
    thread_setting = [] if threads is None else [f"train.threads={threads}"]
    choices = [
        [f"{key}={_to_toml(value)}" for value in values]
        for key, values in (grid.settings or {}).items()
    ]
    manifests = {folder: dataset.read_manifest(folder) for folder in folders}
    presets = _choose_presets(grid, manifests, device, log)
    jobs = []
    for seed, (folder, manifest), bias, loss, choice in itertools.product(
        grid.seeds,
        manifests.items(),
        grid.bias or ("",),
        grid.losses,
        list(itertools.product(*choices)),
    ):
        settings, preset = (*choice, *thread_setting), presets[folder]
        config = make_config(loss, seed=seed, preset=preset, settings=settings)
        jobs.append(
            plan_job(config, folder, manifest, root, device, settings, bias=bias, preset=preset)
        )
    return list({job.folder: job for job in jobs}.values())


def _choose_presets(
    grid: Grid, manifests: Mapping[Path, Manifest], device: str, log: Callable[[str], None]
) -> dict[Path, str]:
    """Return the preset of each dataset, and log each default preset once."""
    if grid.preset:
        return dict.fromkeys(manifests, grid.preset)
    choices = {folder: choose_preset(manifest, device) for folder, manifest in manifests.items()}
    for choice in dict.fromkeys(choices.values()):
        names = [folder.name for folder, other in choices.items() if other == choice]
        log(f"{', '.join(names)}: {choice.describe('the key preset')}")
    return {folder: choice.name for folder, choice in choices.items()}


def plan_job(
    config: RunConfig,
    folder: Path,
    manifest: Manifest,
    root: Path,
    device: str,
    settings: tuple[str, ...],
    *,
    bias: str = "",
    preset: str = "",
) -> Job:
    """Return one run with its configuration resolved.

    Args:
        config: The configuration, from ``make_config`` with ``settings``.
        folder: The dataset folder.
        manifest: Its manifest.
        root: The folder of runs.
        device: The type of the device that the run uses.
        settings: The settings that override the preset.
        bias: The value of the option ``--bias``.
        preset: The value of the option ``--preset``.

    Raises:
        BiasconError: A name or a value is wrong.
    """
    view_name, view_digest = manifest.name, dataset.dataset_digest(manifest)
    if bias:
        attributes = [attribute.strip() for attribute in bias.split(",")]
        view_name, view_digest = dataset.view_identity(manifest, view_digest, attributes)
    config = resolve_weights(config).for_device(device)
    config = resolve_parameters(config, manifest.builder, manifest.parameters)
    digest = config.digest(view_digest)
    run = run_folder(root, view_name, config, digest)
    return Job(config, folder, run, settings, bias, preset, digest=digest)


def _to_toml(value: Any) -> str:
    """Return a value as TOML, which reads the scalars and lists of JSON."""
    return json.dumps(value)
