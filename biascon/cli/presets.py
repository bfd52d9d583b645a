"""The preset of a command: the default of the dataset, and what a preset for a GPU costs on a CPU."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biascon.cli.options import check_losses, choose_dataset, make_configs
from biascon.cli.output import DISPLAY, print_note
from biascon.errors import BiasconWarning, DataError
from biascon.utils.progress import Listener, TaskProgress
from biascon.utils.text import format_duration

if TYPE_CHECKING:
    from biascon.config.run_config import RunConfig
    from biascon.data.manifest import Manifest

MEASURED_STEPS = 20  # steps of training whose time gives the estimate of the whole run
ENOUGH_SECONDS = 20.0  # after this time, two measured steps suffice


def make_run_configs(
    losses: Sequence[str],
    seeds: Sequence[int],
    preset: str | None,
    settings: Sequence[str],
    data: Path | None,
    device: str,
    **options: Any,
) -> tuple[list[RunConfig], Path]:
    """Return the configuration of every run, as ``make_configs``, and the dataset folder.

    Without a preset, that of the dataset is taken. Wrong options are reported before a missing dataset.

    Args:
        losses: The names of the losses.
        seeds: The seeds.
        preset: The value of the option ``--preset``.
        settings: Settings that override the preset.
        data: The value of the option ``--data``.
        device: The type of the device.
        options: Further arguments of ``make_configs``.

    Raises:
        UsageError: A name or a setting is unknown, or a value is not allowed.
        DataError: There is no dataset.
    """
    check_losses(losses)
    try:
        folder = choose_dataset(data)
        name = choose_run_preset(preset, folder, device)
    except DataError:
        make_configs(losses, seeds, preset or "cpu", settings, **options)
        raise
    return make_configs(losses, seeds, name, settings, **options), folder


def choose_run_preset(preset: str | None, folder: Path, device: str) -> str:
    """Return the preset of the option, or the default preset of a dataset, which is printed with its reason.

    A preset that is made for a GPU causes a warning on a CPU.

    Args:
        preset: The value of the option ``--preset``.
        folder: The dataset folder.
        device: The type of the device.

    Raises:
        DataError: The folder is not a dataset folder.
    """
    from biascon.data.dataset import read_manifest
    from biascon.runs.preset_choice import choose_preset
    from biascon.utils.distributed import is_main_process

    if preset is not None and not is_for_gpu(preset, device):
        return preset
    manifest = read_manifest(folder)
    if preset is not None:
        if is_main_process():
            warn_of_gpu_preset(preset, manifest)
        return preset
    choice = choose_preset(manifest, device)
    if is_main_process():
        print_note(choice.describe())
    return choice.name


def is_for_gpu(preset: str, device: str) -> bool:
    """Return whether a preset of the package is made for a GPU, while the device is a CPU."""
    from biascon.config.about import read_about
    from biascon.config.settings import list_presets

    return device == "cpu" and preset in list_presets() and read_about(preset).device == "gpu"


def warn_of_gpu_preset(preset: str, manifest: Manifest) -> None:
    """Warn of a preset for a GPU on a CPU, with its cost and a preset for a CPU.

    Args:
        preset: The name of the preset.
        manifest: The manifest of the dataset, for which another preset is named.
    """
    from biascon.config.about import read_about

    warnings.warn(
        f"preset {preset} is made for a GPU: on a CPU a run takes {read_about(preset).describe_cost()}; "
        f"preset {_describe_other(manifest)}",
        BiasconWarning,
        stacklevel=2,
    )


def warn_of_gpu_presets(presets: Mapping[str, Path], device: str) -> None:
    """Warn of each preset for a GPU among the runs of a sweep on a CPU.

    Args:
        presets: The presets of the runs, each with a dataset folder.
        device: The type of the device.
    """
    from biascon.data.dataset import read_manifest

    for preset, folder in presets.items():
        if is_for_gpu(preset, device):
            warn_of_gpu_preset(preset, read_manifest(folder))


def _describe_other(manifest: Manifest) -> str:
    """Return the preset for a dataset on a CPU, with its cost."""
    from biascon.config.about import read_about
    from biascon.runs.preset_choice import choose_preset

    other = choose_preset(manifest, "cpu").name
    return f"{other} takes {read_about(other).describe_cost()}"


def watch_cost(preset: str, manifest: Manifest, device: str) -> Listener | None:
    """Return what estimates the time of a run while it trains; None if the preset fits the device.

    Args:
        preset: The preset of the run.
        manifest: The manifest of its dataset.
        device: The type of the device.
    """
    return CostEstimate(device, _describe_other(manifest)) if is_for_gpu(preset, device) else None


class CostEstimate:
    """Prints the time that the training takes, once for each network.

    It is estimated from twenty steps, or from as many as 20 seconds have, but two or more. The first step is
    not counted: it also allocates memory, or compiles.

    Args:
        device: The type of the device.
        other: A preset for this device, with its cost.
    """

    def __init__(self, device: str, other: str) -> None:
        self.device, self.other = device, other
        self._task, self._first, self._started, self._is_told = "", 0, 0.0, False

    def __call__(self, progress: TaskProgress) -> None:
        """Measure a step; print the estimate when enough steps are measured."""
        if not progress.is_training or progress.total is None:
            return
        now = DISPLAY.clock()
        if progress.what != self._task:
            self._task, self._first, self._started = progress.what, progress.done, now
            self._is_told = False
        steps, passed = progress.done - self._first, now - self._started
        is_enough = steps >= MEASURED_STEPS or (steps >= 2 and passed >= ENOUGH_SECONDS)
        if self._is_told or not is_enough:
            return
        self._is_told = True
        seconds = passed / steps * progress.total
        print_note(
            f"estimated {format_duration(seconds)} for the {progress.what} of this run on {self.device} "
            f"(from {steps} of {progress.total:,} steps); preset {self.other}"
        )
