"""``biascon report``."""

from __future__ import annotations

from pathlib import Path

import click

from biascon.cli.options import FOLDER


@click.command(name="report")
@click.option(
    "--runs", "root", type=FOLDER, default="runs", show_default=True, help="Folder of runs."
)
@click.option(
    "--out", type=FOLDER, default="report", show_default=True, help="Folder of the report."
)
@click.option(
    "--format",
    "forms",
    multiple=True,
    metavar="FORM",
    help="html, markdown, latex, csv, parquet or json; repeat it for several.  [default: all]",
)
@click.option(
    "--data",
    type=FOLDER,
    default="data",
    show_default=True,
    help="Folder of datasets: of those that are there, images are shown.",
)
@click.option("--dataset", metavar="NAME", help="Only the runs on this dataset.")
@click.option(
    "--card",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Write the model card of this run, or of all runs in this folder, and nothing else.",
)
def command(
    root: Path,
    out: Path,
    forms: tuple[str, ...],
    data: Path,
    dataset: str | None,
    card: Path | None,
) -> None:  # fmt: skip
    """Write the report of all finished runs: a web page, Markdown, LaTeX with its figures, CSV and JSON."""
    from biascon.report.verdicts import describe_difference, split_for_prose
    from biascon.report.write import write_cards, write_report

    if card is not None:
        click.echo(f"written: {', '.join(map(str, write_cards(card, out)))}")
        return
    files, groups = write_report(root, out, dataset=dataset, formats=forms, data=data)
    for one in groups:
        click.echo(one.title)
        prose, rest = split_for_prose(one)
        for difference in prose:
            click.echo(f"  {describe_difference(difference)}")
        if rest:
            click.echo(f"  and {len(rest)} more comparisons, in the report")
    click.echo(f"written: {', '.join(map(str, files))}")
