"""``biascon sweep``: run a grid of runs."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import click

from biascon.cli.options import FOLDER, device_option, no_features_option, runs_option
from biascon.cli.output import format_table, print_note


@click.command(name="sweep")
@click.argument(
    "grid_paths",
    metavar="GRID...",
    nargs=-1,
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Number of runs at a time.  [default: CPU cores / --threads; on GPUs, a run for each]",
)
@click.option(
    "--per-gpu",
    type=click.IntRange(min=1),
    help="Number of runs that share a GPU of this machine.  [default: 1]",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="CPU threads of each run. Many runs with one thread are faster than few runs with many.",
)
@device_option
@click.option(
    "--ray",
    "ray_address",
    metavar="ADDRESS",
    is_flag=False,
    flag_value="",
    help="Run on the Ray cluster at this address, or auto; without a value, start a cluster here.",
)
@click.option(
    "--gpus-per-run",
    type=click.FloatRange(min=0),
    help="GPUs of each run on Ray; a fraction is allowed.  [default: 1 on CUDA, else 0]",
)
@click.option(
    "--collect",
    metavar="URL",
    help="Address for finished runs, if the Ray machines do not share --runs.",
)
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
    workers: int | None,
    per_gpu: int | None,
    threads: int,
    device: str,
    ray_address: str | None,
    gpus_per_run: float | None,
    collect: str | None,
    data_root: Path,
    root: Path,
    no_features: bool,
    dry_run: bool,
) -> None:
    """Run each GRID of losses x datasets x seeds x settings.

    The runs of several grids are run together; a run that is in two of them is run once. All runs of a seed
    come before those of the next seed.

    Finished runs are skipped. A failed run is started up to three times and resumes from its last epoch; a
    run whose memory does not suffice is not started again. Without the key preset, the preset is that of the
    device. On GPUs, each GPU has one run at a time.
    The key data, for example data = ["data/utkface-race-0.9"], names dataset folders, in addition to rho or
    instead of it. The key bias, for example bias = ["race", "race,age"], lists values of the option --bias.

    \b
    losses = ["contex", "contex-clip", "supcon"]
    rho = [0.99, 0.997]
    seeds = [0, 1, 2]
    [settings]
    "loss.temperature" = [0.05, 0.1]
    """
    from biascon.sweep.grid import Job, plan_jobs, prepare_datasets, read_grid
    from biascon.sweep.pools import choose_pool
    from biascon.sweep.results import (
        PLAN_HEADER,
        RESULT_HEADER,
        check_results,
        describe_result,
        plan_rows,
        result_rows,
    )
    from biascon.sweep.runner import Result, run_sweep
    from biascon.utils.devices import count_cpus, list_accelerators, pick_device

    if ray_address is not None and device == "cuda":
        device_type, accelerators = "cuda", []  # the machine that starts the sweep may have no GPU
    else:
        picked = pick_device(device)
        device_type, accelerators = picked.type, list_accelerators(picked)
    pool = choose_pool(
        root,
        device_type=device_type,
        accelerators=accelerators,
        threads=threads,
        cpus=count_cpus() or 1,
        workers=workers,
        per_gpu=per_gpu,
        ray_address=ray_address,
        gpus_per_run=gpus_per_run,
        collect=collect,
    )
    grids = [read_grid(path) for path in grid_paths]
    run_threads = threads if device_type == "cpu" else None
    planned: dict[Path, Job] = {}
    for grid in grids:
        folders = prepare_datasets(grid, data_root, log=print_note)
        jobs = plan_jobs(grid, folders, root, device=device_type, threads=run_threads)
        planned |= {job.folder: job for job in jobs}
    jobs = [replace(job, keep_features=not no_features) for job in planned.values()]
    if dry_run:
        click.echo(format_table(PLAN_HEADER, plan_rows(jobs), left=3))
        return
    numbers = itertools.count(1)

    def print_result(result: Result) -> None:
        print_note(f"[{next(numbers)}/{len(jobs)}] {describe_result(result)}")

    results = run_sweep(jobs, pool, print_result)
    click.echo(format_table(RESULT_HEADER, result_rows(results), left=2))
    check_results(results)
