"""``biascon prune``."""

from __future__ import annotations

from pathlib import Path

import click

from biascon.cli.options import runs_option
from biascon.cli.output import print_note, print_text

KEPT = {
    "unfinished": "unfinished",
    "busy": "in use by another process",
    "damaged": "damaged",
}


@click.command(name="prune")
@runs_option
@click.option("--dataset", metavar="NAME", help="Prune only the runs on this dataset.")
@click.option("--features", is_flag=True, help="Delete features; the encoder gives them again.")
@click.option(
    "--checkpoints",
    is_flag=True,
    help="Delete checkpoints that a killed process left in a finished run.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be freed; delete nothing.")
def command(
    root: Path, dataset: str | None, features: bool, checkpoints: bool, dry_run: bool
) -> None:
    """Delete files of finished runs that can be computed again. The runs stay readable.

    Runs that are unfinished, damaged, or in use by another process are left as they are. A report of pruned
    runs has no t-SNE maps.
    """
    from biascon.errors import RunError, UsageError
    from biascon.runs.listing import find_run_folders
    from biascon.runs.prune import PruneState, prune_runs
    from biascon.utils.progress import with_progress

    if not (features or checkpoints):
        raise UsageError("expected --features or --checkpoints, which say what to delete")
    folders = find_run_folders(root, dataset)
    if not folders:
        raise RunError(f"there is no run in {root if dataset is None else root / dataset}")
    runs = []
    pruned = prune_runs(folders, features=features, checkpoints=checkpoints, dry_run=dry_run)
    for run in with_progress(pruned, "pruning runs", len(folders), print_note):
        runs.append(run)
        if run.state in (PruneState.BUSY, PruneState.DAMAGED):
            note = f" ({run.note})" if run.note else ""
            print_note(f"{run.folder}: left as it is: {KEPT[run.state.value]}{note}")
        elif run.state is PruneState.PRUNED:
            print_text(f"{run.folder}: {run.files} files, {run.freed / 2**20:,.1f} MiB")
    texts = {"pruned": "would be pruned" if dry_run else "pruned", "nothing": "nothing to delete"}
    texts |= {state: f"{text}, left as they are" for state, text in KEPT.items()}
    counts = {state: sum(run.state is state for run in runs) for state in PruneState}
    parts = [f"{texts[state.value]}: {n:,}" for state, n in counts.items() if n]
    print_text(
        f"{'would free' if dry_run else 'freed'} {sum(run.freed for run in runs) / 2**20:,.1f} MiB; "
        f"runs: {'; '.join(parts)}"
    )
