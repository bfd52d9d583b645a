"""``biascon list``: tables of the losses, search spaces, encoders, presets, datasets and runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from biascon.cli.options import runs_option
from biascon.cli.output import format_table, print_json, print_note, print_text
from biascon.utils.text import message_line

if TYPE_CHECKING:
    from biascon.losses import LossEntry
    from biascon.runs.listing import ListedRun

WHAT = ("losses", "spaces", "encoders", "presets", "datasets", "runs")


@click.command(name="list")
@click.argument("what", type=click.Choice(list(WHAT)))
@click.argument("loss", required=False)
@click.option("--preset", default="cpu", show_default=True, help="Preset of the search spaces.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the presets or the search spaces as JSON."
)
@runs_option
@click.option("--dataset", metavar="NAME", help="List only the runs on this dataset.")
@click.option(
    "--verify",
    is_flag=True,
    help="Compare every file of the runs with its hash, also features and weights; exit code 1 if a run is "
    "damaged. Otherwise evaluation.json is compared.",
)
def command(
    what: str,
    loss: str | None,
    preset: str,
    as_json: bool,
    root: Path,
    dataset: str | None,
    verify: bool,
) -> None:
    """List the losses, search spaces, encoders, presets, datasets or runs.

    LOSS, --preset and --json belong to: biascon list spaces, the search spaces of tuning studies; --json also
    to: biascon list presets. The other options belong to: biascon list runs.
    """
    _check_unused_options(what)
    if what == "runs":
        _list_runs(root, dataset, verify=verify)
        return
    if what == "spaces":
        from biascon.cli.spaces import describe_spaces

        (print_json if as_json else print_text)(describe_spaces(loss, preset, as_json=as_json))
        return
    if what == "presets":
        (print_json if as_json else print_text)(_list_presets(as_json=as_json))
        return
    sections = {
        "losses": _list_losses,
        "encoders": _list_encoders,
        "datasets": _list_datasets,
    }
    print_text(sections[what]())


def _list_losses() -> str:
    from biascon.losses import NEEDS, usable_losses, uses_bias_labels

    entries = usable_losses()
    rows = [
        [
            name + " †" * uses_bias_labels(name),
            entry.input_kind,
            ", ".join(entry.needs),
            _describe_head(entry),
            _describe_first_stage(entry),
            entry.evaluated_by,
            _describe_scale(entry),
            entry.formula,
            entry.paper,
        ]
        for name, entry in entries.items()
    ]
    header = [
        "loss", "input", "needs", "head", "first stage", "evaluated by", "cpu preset", "loss of an anchor",
        "paper",
    ]  # fmt: skip
    used = {need for entry in entries.values() for need in entry.needs}
    descriptions = [[need, text] for need, text in NEEDS.items() if need in used]
    return "\n".join(
        [
            format_table(header, rows, left=9),
            "",
            "† uses bias labels: compare such a method only with other methods marked †.",
            "METHOD@eiil: a method marked † with inferred groups in place of bias labels (groupdro@eiil).",
            "head none: the normalized encoder features are contrasted; model.head may add a head.",
            "cpu preset: factors of a method for the learning rate and the epochs of the preset cpu.",
            "",
            format_table(["need", "description"], descriptions, left=2),
        ]
    )


def _describe_head(entry: LossEntry) -> str:
    return entry.head if entry.input_kind == "embeddings" else "-"


def _describe_first_stage(entry: LossEntry) -> str:
    first_stage = entry.first_stage
    if first_stage is None:
        return "-"
    notes: list[str] = [first_stage.gives]
    notes += ["1x1 kernels"] if first_stage.kernel_1x1 else []
    notes += ["plain views"] if first_stage.plain_views else []
    return f"{first_stage.loss} ({', '.join(notes)})"


def _describe_scale(entry: LossEntry) -> str:
    scale = entry.cpu_scale
    parts = [
        f"{name} x {factor:g}"
        for name, factor in (("lr", scale.lr), ("epochs", scale.epochs))
        if factor != 1
    ]
    return ", ".join(parts) or "-"


def _list_encoders() -> str:
    from biascon.models.encoders import ENCODERS

    rows = [[name, (build.__doc__ or "").splitlines()[0]] for name, build in ENCODERS.items()]
    return format_table(["encoder", "description"], rows, left=2)


def _list_presets(*, as_json: bool) -> str:
    from biascon.config.about import read_about
    from biascon.config.settings import list_presets

    presets = {name: read_about(name) for name in list_presets()}
    if as_json:
        return json.dumps({name: about.to_json() for name, about in presets.items()})
    rows = [
        [name, about.data, about.pixels, about.device.upper(), about.describe_cost(), about.source]
        for name, about in presets.items()
    ]
    header = ["preset", "for", "pixels", "made for a", "one run on a CPU takes", "source"]
    return "\n".join(
        [
            format_table(header, rows, left=len(header)),
            "",
            "default: cpu for digits, faces-cpu for other pictures, gpu on CUDA; a TOML file is a preset too",
        ]
    )


def _list_datasets() -> str:
    from biascon.data.registry import list_builders

    rows = [
        [name, builder.classes, builder.bias, builder.needs, f"biascon {builder.command}"]
        for name, builder in list_builders().items()
    ]
    header = ["dataset", "classes", "bias attributes", "needs", "built by"]
    table = format_table(header, rows, left=5)
    return f"{table}\n\nSources and licenses of the files: datasets/<name>/README.md"


def _check_unused_options(what: str) -> None:
    """Refuse the options of a list with another one."""
    from click.core import ParameterSource

    from biascon.errors import UsageError

    context = click.get_current_context()
    for owners, option, name in (
        (("spaces",), "LOSS", "loss"),
        (("spaces",), "--preset", "preset"),
        (("spaces", "presets"), "--json", "as_json"),
        (("runs",), "--runs", "root"),
        (("runs",), "--dataset", "dataset"),
        (("runs",), "--verify", "verify"),
    ):
        if what not in owners and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"{option} belongs to: biascon list {' and '.join(owners)}")


def _list_runs(root: Path, dataset: str | None, *, verify: bool) -> None:
    """Print the runs.

    Raises:
        RunError: There is no run, or, with ``verify``, a run is damaged.
    """
    from biascon.errors import RunError
    from biascon.runs.listing import RunState, find_run_folders, list_runs
    from biascon.runs.seals import Check
    from biascon.utils.progress import with_progress

    folders = find_run_folders(root, dataset)
    if not folders:
        where = root if dataset is None else root / dataset
        raise RunError(f"there is no run in {where}; make one with: biascon evaluate --loss contex")
    listed = list_runs(folders, Check.FULL if verify else Check.EVALUATION)
    runs = list(with_progress(listed, "reading runs", len(folders), print_note))
    header = [
        "dataset", "loss", "seed", "by", "preset", "state", "accuracy", "features, MiB", "run",
    ]  # fmt: skip
    counts = {state: sum(run.state is state for run in runs) for state in RunState}
    lines = [
        format_table(header, [_run_cells(run) for run in runs], left=2),
        "",
        ", ".join(f"{n:,} {state.value}" for state, n in counts.items() if n)
        + f"; features: {sum(run.feature_bytes for run in runs) / 2**20:,.0f} MiB",
        "accuracy: unbiased accuracy in percent; top-1 where the dataset has no bias attribute",
        *(message_line(f"damaged: {run.note}") for run in runs if run.state is RunState.DAMAGED),
    ]
    print_text("\n".join(lines))
    if verify and counts[RunState.DAMAGED]:
        raise RunError(f"{counts[RunState.DAMAGED]} of {len(runs):,} runs are damaged, see above")


def _run_cells(run: ListedRun) -> list[str]:
    return [
        run.dataset,
        run.label,
        "-" if run.seed is None else str(run.seed),
        "-" if run.evaluated_by is None else run.evaluated_by.short,
        run.preset or "-",
        run.state.value,
        "-" if run.accuracy is None else f"{100 * run.accuracy:.1f}",
        f"{run.feature_bytes / 2**20:.1f}",
        run.digest[:8],
    ]
