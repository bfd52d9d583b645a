"""The jobs that a grid of runs stands for."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biascon.config.factory import make_config
from biascon.config.method_settings import resolve_parameters
from biascon.config.resolve import resolve_weights
from biascon.config.run_config import RunConfig
from biascon.data import dataset
from biascon.data.builders.biased_mnist import BiasedMNISTSpec, make_biased_mnist
from biascon.data.manifest import Manifest
from biascon.errors import UsageError
from biascon.runs.folder import run_folder
from biascon.runs.preset_choice import choose_preset
from biascon.sweep.grid_file import Grid
from biascon.utils.progress import say_nothing
from biascon.utils.text import show_value


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
    """Return a value as TOML, which reads the scalars and lists of JSON.

    Raises:
        UsageError: The value is a date or a time, which no setting is.
    """
    try:
        return json.dumps(value)
    except TypeError as error:
        raise UsageError(
            f"expected a number, a text, true, false or a list, but got {show_value(value)}"
        ) from error
