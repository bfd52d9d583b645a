"""``biascon sweep``."""

from __future__ import annotations

from pathlib import Path

import click

from biascon.cli.options import FOLDER
from biascon.cli.output import format_table, print_note


@click.command(name="sweep")
@click.argument("grid", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--workers", type=click.IntRange(min=1), help="Runs at a time.  [default: cores / threads]"
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="CPU threads of a run: several runs of one thread are faster than one of several.",
)
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda|mps")
@click.option("--ray", "address", metavar="ADDRESS", is_flag=False, flag_value="",
              help="On a Ray cluster: its address, auto, or nothing for one of this machine.")  # fmt: skip
@click.option("--gpus-per-run", type=click.FloatRange(min=0), default=0, show_default=True,
              help="GPUs of a run on Ray; a share is allowed.")  # fmt: skip
@click.option(
    "--collect", metavar="URL", help="Where Ray's machines leave runs, if --runs is not shared."
)
@click.option("--data-root", type=FOLDER, default="data", show_default=True,
              help="Where the BiasedMNISTs of the grid are built.")  # fmt: skip
@click.option(
    "--runs", "root", type=FOLDER, default="runs", show_default=True, help="Folder of runs."
)
@click.option(
    "--dry-run", is_flag=True, help="Print the runs and whether they are done; run nothing."
)
def command(
    grid: Path,
    workers: int | None,
    threads: int,
    device: str,
    address: str | None,
    gpus_per_run: float,
    collect: str | None,
    data_root: Path,
    root: Path,
    dry_run: bool,
) -> None:
    """Run a GRID of losses x rho x seeds x settings; what is done is skipped, what died is tried again.

    Beside rho or in its place, data = ["data/utkface-race-0.9"] names folders, and
    bias = ["race", "race,age"] what they are seen by.

    \b
    losses = ["contex", "supcon"]
    rho = [0.99, 0.997]
    seeds = [0, 1, 2]
    [settings]
    "loss.temperature" = [0.05, 0.1]
    """
    from biascon.data.builders.biased_mnist import BiasedMNISTSpec, make_biased_mnist
    from biascon.errors import RunError, UsageError
    from biascon.runs.folder import read_finished
    from biascon.sweep.grid import plan_jobs, read_grid
    from biascon.sweep.runner import LocalPool, Pool, Result, sweep
    from biascon.utils.devices import count_cpus, pick_device

    if collect is not None and address is None:
        raise UsageError("--collect is for a Ray cluster: pass --ray too")
    wanted = read_grid(grid)
    kind = pick_device(device).type
    folders = [Path(folder) for folder in wanted.data]
    for rho in wanted.rho:
        made = make_biased_mnist(BiasedMNISTSpec(float(rho)), root=data_root, say=print_note)
        folders.append(made.folder)
    jobs = plan_jobs(wanted, folders, root, device=kind, threads=threads if kind == "cpu" else None)
    if dry_run:
        rows = [
            [job.name, "done" if read_finished(job.folder) else "-", str(job.folder)]
            for job in jobs
        ]
        click.echo(format_table(["run", "state", "folder"], rows, left=3))
        return
    cores = count_cpus() or 1
    pool: Pool = LocalPool(root, workers or max(1, cores // threads), threads, device)
    if address is not None:
        from biascon.sweep.ray_pool import RayPool

        pool = RayPool(root, address, threads, gpus_per_run, device, collect)
    ended = 0

    def say(result: Result) -> None:
        nonlocal ended
        ended += 1
        took = f", {result.seconds:.0f} s" if result.tries else ""
        again = f", {result.tries} tries" if result.tries > 1 else ""
        told = f": {result.message}" if result.message else ""
        print_note(f"[{ended}/{len(jobs)}] {result.job.name}: {result.state}{took}{again}{told}")

    results = sweep(jobs, pool, say)
    rows = []
    for result in results:
        evaluation = read_finished(result.job.folder) if result.state != "failed" else None
        value = None
        if evaluation is not None:
            which = "top1" if evaluation["bias"] is None else "unbiased"
            value = evaluation[which]["value"]
        shown = "-" if value is None else f"{100 * value:.1f}"
        rows.append([result.job.name, result.state, shown, str(result.job.folder)])
    click.echo(format_table(["run", "state", "accuracy, %", "folder"], rows, left=2))
    failed = sum(result.state == "failed" for result in results)
    if failed:
        raise RunError(f"{failed} of {len(jobs)} runs failed; the same command tries them again")
