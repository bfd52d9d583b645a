"""``biascon list``: tables of the losses, encoders, presets and datasets."""

from __future__ import annotations

import click

from biascon.cli.output import format_table


@click.command(name="list")
@click.argument("what", type=click.Choice(["losses", "encoders", "presets", "datasets"]))
def command(what: str) -> None:
    """List the losses, encoders, presets or datasets."""
    sections = {
        "losses": _list_losses,
        "encoders": _list_encoders,
        "presets": _list_presets,
        "datasets": _list_datasets,
    }
    click.echo(sections[what]())


def _list_losses() -> str:
    from biascon.losses import NEEDS, get_entry, list_losses, uses_bias_labels

    entries = {name: get_entry(name) for name in list_losses()}
    rows = [
        [
            name + " †" * uses_bias_labels(name),
            entry.input_kind,
            ", ".join(entry.needs),
            "2" if entry.first_stage else "1",
            entry.evaluated_by,
            entry.formula,
            entry.paper,
        ]
        for name, entry in entries.items()
    ]
    header = ["loss", "input", "needs", "stages", "evaluated by", "loss of an anchor", "paper"]
    used = {need for entry in entries.values() for need in entry.needs}
    descriptions = [[need, text] for need, text in NEEDS.items() if need in used]
    return "\n".join(
        [
            format_table(header, rows, left=7),
            "",
            "† uses bias labels: compare such a method only with other methods marked †.",
            "",
            format_table(["need", "description"], descriptions, left=2),
        ]
    )


def _list_encoders() -> str:
    from biascon.models.encoders import ENCODERS

    rows = [[name, (build.__doc__ or "").splitlines()[0]] for name, build in ENCODERS.items()]
    return format_table(["encoder", "description"], rows, left=2)


def _list_presets() -> str:
    from biascon.config.settings import list_presets

    return "\n".join(list_presets())


def _list_datasets() -> str:
    from biascon.data.registry import list_builders

    rows = [
        [name, builder.classes, builder.bias, builder.needs, f"biascon {builder.command}"]
        for name, builder in list_builders().items()
    ]
    header = ["dataset", "classes", "bias attributes", "needs", "built by"]
    table = format_table(header, rows, left=5)
    return f"{table}\n\nSources and licenses of the files: datasets/<name>/README.md"
