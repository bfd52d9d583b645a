"""``biascon sweep``: run a grid of runs."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from biascon.cli.options import FOLDER, no_features_option, runs_option
from biascon.cli.output import format_table, print_note, print_text
from biascon.cli.pool_options import find_devices, make_pool, pool_options
from biascon.cli.presets import warn_of_gpu_presets


@click.command(name="sweep")
@click.argument(
    "grid_paths",
    metavar="GRID...",
    nargs=-1,
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
)
@pool_options
@click.option(
    "--data-root",
    type=FOLDER,
    default="data",
    show_default=True,
    help="Folder in which the BiasedMNISTs of the grid are built.",
)
@runs_option
@no_features_option
@click.option("--dry-run", is_flag=True, help="Print the runs and their states; run nothing.")
def command(
    grid_paths: tuple[Path, ...],
    data_root: Path,
    root: Path,
    no_features: bool,
    dry_run: bool,
    **options: Any,
) -> None:
    """Run each GRID of losses x datasets x seeds x settings.

    The runs of several grids are run together; a run that is in two of them is run once. All runs of a seed
    come before those of the next seed.

    Finished runs are skipped. A failed run is started up to three times and resumes from its last epoch; a
    run whose memory does not suffice is not started again. Without the key preset, each dataset has its
    default, as in evaluate. On GPUs, each GPU has one run at a time.
    The key data, for example data = ["data/utkface-race-0.9"], names dataset folders, in addition to rho or
    instead of it. The key bias, for example bias = ["race", "race,age"], lists values of the option --bias.

    \b
    losses = ["contex", "contex-clip", "supcon"]
    rho = [0.99, 0.997]
    seeds = [0, 1, 2]
    [settings]
    "loss.temperature" = [0.05, 0.1]
    """
    from biascon.sweep.grid_file import read_grids

    grids = read_grids(grid_paths)  # first: it needs no PyTorch
    from biascon.sweep.grid import Job, plan_jobs, prepare_datasets
    from biascon.sweep.results import (
        PLAN_HEADER,
        RESULT_HEADER,
        check_results,
        describe_result,
        plan_rows,
        result_rows,
    )
    from biascon.sweep.runner import Result, run_sweep
    from biascon.utils.progress import describe_left

    device_type, _ = find_devices(options["device"], options["ray_address"])
    pool = make_pool(root, options)
    run_threads = options["threads"] if device_type == "cpu" else None
    planned: dict[Path, Job] = {}
    for grid in grids:
        folders = prepare_datasets(grid, data_root, log=print_note)
        jobs = plan_jobs(
            grid, folders, root, device=device_type, threads=run_threads, log=print_note
        )
        planned |= {job.folder: job for job in jobs}
    warn_of_gpu_presets({job.config.preset: job.data for job in planned.values()}, device_type)
    jobs = [replace(job, keep_features=not no_features) for job in planned.values()]
    if dry_run:
        print_text(format_table(PLAN_HEADER, plan_rows(jobs), left=3))
        return
    numbers, started, trained = itertools.count(1), time.monotonic(), 0

    def print_result(result: Result) -> None:
        nonlocal trained
        number = next(numbers)
        trained += result.state != "skipped"
        left = describe_left(time.monotonic() - started, trained, len(jobs) - number)
        print_note(f"[{number}/{len(jobs)}] {describe_result(result)}{left}")

    results = run_sweep(jobs, pool, print_result)
    print_text(format_table(RESULT_HEADER, result_rows(results), left=2))
    check_results(results)
