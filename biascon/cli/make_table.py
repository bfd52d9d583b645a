"""``biascon make-table``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from biascon.cli.image_options import build_dataset, image_options, print_preview
from biascon.cli.options import FOLDER


@click.command(name="make-table")
@click.argument("table", metavar="CSV", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--image-col",
    required=True,
    metavar="COLUMN",
    help="The column of image files, as paths relative to --root.",
)
@click.option("--label-col", required=True, metavar="COLUMN", help="The column of labels.")
@click.option(
    "--bias-col",
    required=True,
    multiple=True,
    metavar="COLUMN",
    help="The column of a bias attribute; repeat it for more. The first is the default of the dataset, "
    "evaluate --bias selects another.",
)
@click.option(
    "--split-col",
    metavar="COLUMN",
    help="The column of split names: train, val or test.  [default: a seeded split]",
)
@click.option(
    "--root", type=FOLDER, help="Folder of the images.  [default: the folder of the CSV file]"
)
@click.option(
    "--aligned",
    multiple=True,
    metavar="LABEL=BIAS|FILE",
    help="A bias-aligned value of a label; repeat it. Or a TOML, JSON or CSV file of such pairs, as for "
    "audit.  [default: label = bias, if both columns have the same names]",
)
@click.option(
    "--val-protocol",
    type=click.Choice(["held-out", "hong", "none"]),
    default="held-out",
    show_default=True,
    help="For a seeded split. held-out: 10 % of the training images. hong: these images also stay in "
    "training (a leak). none: no validation split.",
)
@click.option(
    "--name", metavar="NAME", help="Name of the dataset.  [default: the name of the CSV file]"
)
@click.option(
    "--keep-word",
    "keep_words",
    multiple=True,
    metavar="WORD",
    help="A word such as None or NA that is a value in this table, not a missing value; repeat it.",
)
@image_options
def command(
    table: Path,
    image_col: str,
    label_col: str,
    bias_col: tuple[str, ...],
    split_col: str | None,
    root: Path | None,
    aligned: tuple[str, ...],
    val_protocol: str,
    name: str | None,
    keep_words: tuple[str, ...],
    size: int,
    resize: int,
    decode: str,
    seed: int,
    dry_run: bool,
    as_json: bool,
    **build_options: Any,
) -> None:
    """Build a dataset from a CSV file of your own images, labels and bias attributes."""
    from biascon.data.builders.csv_table import TableSpec, read_csv_table
    from biascon.data.builders.table import parse_aligned_options, plan_table
    from biascon.data.images.decoding import ImageSpec

    spec = TableSpec(
        image_col,
        label_col,
        bias_col,
        split_col,
        parse_aligned_options(aligned),
        re.sub("[^A-Za-z0-9._]+", "-", name or table.stem).strip("-._") or "table",
        seed,
        val_protocol,
        ImageSpec(size, resize, decode),
        keep_words,
    )
    plan = plan_table(read_csv_table(table, spec), spec, origin=f"{table.name} and its pictures")
    if dry_run:
        print_preview(plan, as_json=as_json)
    else:
        build_dataset(root or table.parent, plan, spec.image_spec, as_json=as_json, **build_options)
