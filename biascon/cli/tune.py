"""``biascon tune``: a tuning study."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from biascon.cli.options import FOLDER
from biascon.cli.output import print_note, print_text
from biascon.cli.pool_options import find_devices, make_pool, pool_options
from biascon.cli.presets import is_for_gpu, warn_of_gpu_preset
from biascon.cli.study_report import report_study


@click.command(name="tune")
@click.argument("study_path", metavar="STUDY", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--losses", metavar="LOSS,...", help="Losses, instead of those of the file.")
@click.option("--trials", type=int, help="Trials of each method.  [default: 24]")
@click.option("--studies", type=int, help="Number of independent searches.  [default: 1]")
@click.option("--data", type=FOLDER, help="Dataset folder, instead of the dataset of the file.")
@click.option(
    "--budget-seconds",
    type=float,
    help="Seconds of training that each method may use, first stages included.",
)
@click.option(
    "--val-protocol",
    type=click.Choice(["held-out", "biased"]),
    help="Validation at rho 0.1, or as biased as training.  [default: held-out]",
)
@click.option(
    "--search",
    type=click.Choice(["paired", "adaptive"]),
    help="paired: the same quasi-random draws for all methods. adaptive: optuna's TPE for each method, which "
    "looks for a recipe and compares nothing.  [default: paired]",
)
@pool_options
@click.option(
    "--data-root",
    type=FOLDER,
    default="data",
    show_default=True,
    help="Folder in which the BiasedMNISTs of the study are built.",
)
@click.option(
    "--runs",
    "root",
    type=FOLDER,
    default="studies/runs",
    show_default=True,
    help="Folder of runs; studies share it, and report does not show it among other runs.",
)
@click.option("--out", type=FOLDER, help="Folder of the study.  [default: studies/NAME]")
@click.option("--oracle", is_flag=True, help="Also show the choice on the TEST images, marked.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Print the search spaces, the trials and their states; train nothing.",
)
def command(
    study_path: Path, out: Path | None, oracle: bool, dry_run: bool, **options: Any
) -> None:
    """Tune each method of STUDY with the same budget, and train each choice anew with fresh seeds.

    The folder --out gets the table of all runs (study.parquet) and the report of the study. The same command
    resumes. Trials are chosen on the validation split.

    \b
    losses = ["contex", "contex-clip", "supcon"]
    rho = 0.997
    trials = 24
    [confirm]
    seeds = 10
    reference = "supcon"
    """
    from biascon.tuning.run import TABLE, StudySession
    from biascon.tuning.study import read_study

    overrides: dict[str, Any] = {
        key: options[key]
        for key in ("trials", "studies", "budget_seconds", "val_protocol", "search")
        if options[key] is not None
    }
    if options["data"] is not None:
        overrides["data"] = str(options["data"])
    if options["losses"] is not None:
        overrides |= {
            "losses": [name.strip() for name in options["losses"].split(",")],
            "methods": {},
        }
    spec = read_study(study_path, overrides, log=print_note)
    folder = out or Path("studies") / spec.name
    if spec.search == "adaptive":
        _search_adaptively(spec, options, folder / TABLE, oracle=oracle, dry_run=dry_run)
        return
    parts = _make_parts(spec, options, _describe_command(study_path, options))
    if dry_run:
        _print_plan(parts[0], folder / TABLE)
        return
    _warn_of_gpu_preset(parts[0])
    session = StudySession(*parts, path=folder / TABLE, log=print_note)
    session.run()
    report_study(session.path, folder, oracle=oracle)
    print_text(f"written: {session.path}")


def _describe_command(study_path: Path, options: dict[str, Any]) -> str:
    """Return the command with the options that change the study, without the paths of this machine."""
    words = ["biascon", "tune", study_path.name]
    for name in (
        "losses", "trials", "studies", "budget_seconds", "val_protocol", "search", "threads", "device",
    ):  # fmt: skip
        value = options[name]
        if value is not None and (name, value) not in (("threads", 1), ("device", "auto")):
            words += [
                f"--{name.replace('_', '-')}",
                f"{value:g}" if name == "budget_seconds" else str(value),
            ]
    return shlex.join(words)


def _warn_of_gpu_preset(planner: Any) -> None:
    """Warn if the preset of a study is made for a GPU, and the runs use the CPU."""
    preset = planner.spec.preset
    if is_for_gpu(preset, planner.device):
        warn_of_gpu_preset(preset, planner.trial_dataset().manifest)


def _print_plan(planner: Any, path: Path) -> None:
    """Print the search spaces, the trials with their states, and the number of runs.

    The dataset of the trials is built if it is missing.
    """
    from biascon.cli.output import format_table
    from biascon.runs.folder import DONE
    from biascon.studies.table import read_table

    rows = [
        [method.name, key, distribution.describe()]
        for method in planner.methods
        for key, distribution in method.space.items()
    ]
    print_text(format_table(["method", "parameter", "distribution"], rows, left=3))
    known = {run.key for run in read_table(path).runs} if path.exists() else set()
    planned = planner.plan_trials(planner.trial_dataset())
    rows = []
    for run in planned:
        is_done = run.record.key in known or (run.job.folder / DONE).is_file()
        settings = ", ".join(f"{key}={value}" for key, value in run.record.settings.items())
        record = run.record
        rows.append(
            [
                record.method,
                str(record.trial),
                str(record.seed),
                "done" if is_done else "-",
                settings,
            ]
        )
    print_text("")
    print_text(format_table(["method", "trial", "seed", "state", "settings"], rows, left=5))
    confirm, n = planner.spec.confirm, len(planner.methods) * planner.spec.studies
    most = n * confirm.seeds * len(planner.rhos()) * len(confirm.rules)
    print_text(
        f"\n{len(rows)} runs of the search, {sum(row[3] == 'done' for row in rows)} of them done; "
        f"then at most {most} runs of the confirmation"
    )


def _search_adaptively(
    spec: Any, options: dict[str, Any], path: Path, *, oracle: bool, dry_run: bool
) -> None:
    """Run an adaptive search, and print the best trial of each method.

    Raises:
        UsageError: An option belongs to a comparison.
        RunError: Runs failed, or every trial of a method diverged.
    """
    from biascon.errors import RunError, UsageError
    from biascon.tuning.adaptive import AdaptiveSession

    for option, is_given in (("--oracle", oracle), ("--dry-run", dry_run)):
        if is_given:
            raise UsageError(
                f"an adaptive search has no {option}: it plans each trial after the earlier ones, and "
                "compares nothing; biascon list spaces prints the search spaces"
            )
    parts = _make_parts(spec, options)
    _warn_of_gpu_preset(parts[0])
    session = AdaptiveSession(*parts, path=path, log=print_note)
    session.run()
    best = session.best_trials()
    for trial in best:
        print_text(f"{trial.describe()}\n")
    print_text(f"written: {session.path}")
    failed = [trial.method for trial in best if trial.record is None]
    if failed:
        raise RunError(f"every trial diverged: {', '.join(failed)}")


def _make_parts(spec: Any, options: dict[str, Any], command: str = "") -> tuple[Any, Any, Any]:
    """Return the planner and the two pools of a study."""
    from biascon.tuning.plan import Planner, resolve_methods

    root, threads = options["root"], options["threads"]
    device_type, _ = find_devices(options["device"], options["ray_address"])
    run_threads = threads if device_type == "cpu" else None
    planner = Planner(
        spec,
        resolve_methods(spec),
        root,
        options["data_root"],
        device_type,
        run_threads,
        print_note,
        command,
    )
    # On a small machine, a run with more threads has the cores to itself.
    other = make_pool(root, options, threads=2 if threads == 1 else 1, workers=None)
    return planner, make_pool(root, options), other
