"""The options of the commands that run many runs: workers, threads, devices and the Ray cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from biascon.cli.options import device_option

if TYPE_CHECKING:
    from biascon.sweep.runner import Pool

Command = TypeVar("Command", bound=Callable[..., Any])
POOL_OPTIONS = (
    "workers", "per_gpu", "threads", "device", "ray_address", "gpus_per_run", "collect",
)  # fmt: skip


def pool_options(command: Command) -> Command:
    """Add the options of ``POOL_OPTIONS`` to a command."""
    options = [
        click.option("--workers", type=click.IntRange(min=1),
                     help="Number of runs at a time.  [default: CPU cores / --threads; on GPUs, a run "
                          "for each]"),
        click.option("--per-gpu", type=click.IntRange(min=1),
                     help="Number of runs that share a GPU of this machine.  [default: 1]"),
        click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True,
                     help="CPU threads of each run. Many runs with one thread are faster than few runs with "
                          "many."),
        device_option,
        click.option("--ray", "ray_address", metavar="ADDRESS", is_flag=False, flag_value="",
                     help="Run on the Ray cluster at this address, or auto; without a value, start a cluster "
                          "here."),
        click.option("--gpus-per-run", type=click.FloatRange(min=0),
                     help="GPUs of each run on Ray; a fraction is allowed.  [default: 1 on CUDA, else 0]"),
        click.option("--collect", metavar="URL",
                     help="Address for finished runs, if the Ray machines do not share --runs."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def find_devices(device: str, ray_address: str | None) -> tuple[str, list[str]]:
    """Return the type of the device that the runs use, and the accelerators of this machine.

    Args:
        device: The value of ``--device``.
        ray_address: The value of ``--ray``.
    """
    from biascon.utils.devices import list_accelerators, pick_device

    if ray_address is not None and device == "cuda":
        return "cuda", []  # the machine that starts the runs may have no GPU
    picked = pick_device(device)
    return picked.type, list_accelerators(picked)


def make_pool(root: Path, options: dict[str, Any], **changes: Any) -> Pool:
    """Return the pool that the options of ``pool_options`` describe.

    Args:
        root: The folder of runs.
        options: The values of ``POOL_OPTIONS``; other keys are ignored.
        changes: Values that replace those of ``options``.

    Raises:
        UsageError: An option changes nothing here, or the workers are too many.
    """
    from biascon.sweep.pools import choose_pool
    from biascon.utils.devices import count_cpus

    chosen = {name: {**options, **changes}[name] for name in POOL_OPTIONS}
    device_type, accelerators = find_devices(chosen.pop("device"), chosen["ray_address"])
    return choose_pool(
        root, device_type=device_type, accelerators=accelerators, cpus=count_cpus() or 1, **chosen
    )
