"""``biascon list``: what there is to choose from."""

from __future__ import annotations

import click

from biascon.cli.output import format_table


@click.command(name="list")
@click.argument("what", type=click.Choice(["losses", "encoders", "presets", "datasets"]))
def command(what: str) -> None:
    """List the losses, encoders, presets or datasets."""
    if what == "presets":
        from biascon.config.settings import list_presets

        click.echo("\n".join(list_presets()))
    elif what == "datasets":
        from biascon.data.registry import list_builders

        rows = [
            [name, b.classes, b.bias, b.needs, f"biascon {b.command}"]
            for name, b in list_builders().items()
        ]
        header = ["dataset", "classes", "bias attributes", "needs", "built by"]
        click.echo(format_table(header, rows, left=5))
        click.echo(
            "\nWhere the files come from and what they may be used for: datasets/<name>/README.md"
        )
    elif what == "encoders":
        from biascon.models.encoders import ENCODERS

        rows = [[name, (make.__doc__ or "").splitlines()[0]] for name, make in ENCODERS.items()]
        click.echo(format_table(["encoder", "what it is"], rows, left=2))
    else:
        from biascon.losses import get_entry, list_losses, uses_bias_labels
        from biascon.losses.registry import NEEDS

        entries = [(name, get_entry(name)) for name in list_losses()]
        rows = [
            [
                name + " †" * uses_bias_labels(name),
                e.input_kind,
                ", ".join(e.needs),
                "2" if e.first_stage else "1",
                e.evaluated_by,
                e.formula,
                e.source,
            ]
            for name, e in entries
        ]
        header = ["loss", "on", "needs", "stages", "judged by", "loss of an anchor", "source"]
        click.echo(format_table(header, rows, left=7))
        click.echo("\n† is given bias labels: not comparable with a method that is not. Needs:")
        used = {need for _, e in entries for need in e.needs}
        click.echo(
            format_table(
                ["need", "what it is"], [[k, v] for k, v in NEEDS.items() if k in used], left=2
            )
        )
