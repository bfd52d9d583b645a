"""``biascon make-table``."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from biascon.cli.image_options import build_or_preview, image_options
from biascon.cli.options import FOLDER

if TYPE_CHECKING:
    from biascon.data.builders.table_rows import TableSpec


@click.command(name="make-table")
@click.argument("table", metavar="CSV|FOLDER", type=click.Path(path_type=Path))
@click.option(
    "--pattern",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="For a FOLDER without a CSV: where labels and bias stand in the names of the files, such as "
    "'{split}/{label}/{id}_{bias}.png'; each field is a column. {id:#} is digits, {split:train|test} one of "
    "some words, {*} any text. A field that occurs twice must agree. Repeat it for files in other places.",
)
@click.option(
    "--ignore",
    multiple=True,
    metavar="GLOB",
    help="With --pattern: files that are no images of the set, such as '*_mask.png'; repeat it.",
)
@click.option(
    "--image-col",
    metavar="COLUMN",
    help="The column of image files, as paths relative to --root. Needed for a CSV.",
)
@click.option(
    "--label-col",
    metavar="COLUMN",
    help="The column of labels. Needed for a CSV.  [default for a pattern: label]",
)
@click.option(
    "--bias-col",
    multiple=True,
    metavar="COLUMN",
    help="The column of a bias attribute; repeat it for more. The first is the default of the dataset, "
    "evaluate --bias selects another. Needed for a CSV.  [default for a pattern: bias, if it has that field]",
)
@click.option(
    "--split-col",
    metavar="COLUMN",
    help="The column of splits: train, val or test, or 0, 1 and 2 for them.  [default: a seeded split; for a "
    "pattern: split, if it has that field]",
)
@click.option(
    "--split-map",
    multiple=True,
    metavar="VALUE=SPLIT",
    help="The split of another value of the split column; repeat it. VALUE= leaves its rows out.",
)
@click.option(
    "--leave-out",
    multiple=True,
    metavar="COLUMN=VALUE",
    help="Leave out the rows with this value; repeat it. COLUMN= leaves out the rows without a value. These "
    "rows do not count for --max-rejected.",
)
@click.option(
    "--rename",
    multiple=True,
    metavar="COLUMN:OLD=NEW",
    help="The name of a value of the label or of a bias attribute; repeat it. Equal names join values.",
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
    "training (a leak). none: no validation split. If given with a split column that has no val, held-out "
    "holds out 10 % of the training images of each label.",
)
@click.option(
    "--name", metavar="NAME", help="Name of the dataset.  [default: the name of the CSV or FOLDER]"
)
@click.option(
    "--keep-word",
    "keep_words",
    multiple=True,
    metavar="WORD",
    help="A word such as None or NA that is a value in this table, not a missing value; repeat it.",
)
@image_options
@click.pass_context
def command(context: click.Context, /, table: Path, root: Path | None, **options: Any) -> None:
    """Build a dataset from a CSV file of your own images, labels and bias attributes.

    Or build it from a FOLDER of images whose names hold the labels (--pattern).
    """
    from biascon.data.builders.csv_table import read_csv_table
    from biascon.data.builders.file_patterns import read_pattern_table
    from biascon.data.builders.table import plan_table

    source = context.get_parameter_source("val_protocol")
    asks_for_val = source is not click.core.ParameterSource.DEFAULT
    spec = _read_spec(table, root, asks_for_val=asks_for_val, **options)
    if spec.patterns:
        folder, rows = table, read_pattern_table(table, spec)
        origin = f"{table.resolve().name} and the names of its pictures"
    else:
        folder, rows = root or table.parent, read_csv_table(table, spec)
        origin = f"{table.name} and its pictures"
    names = ("out", "max_rejected", "threads", "store", "force", "dry_run", "as_json")
    plan = plan_table(rows, spec, origin=origin)
    build_or_preview(folder, plan, spec.image_spec, **{name: options[name] for name in names})


def _read_spec(
    table: Path,
    root: Path | None,
    *,
    asks_for_val: bool,
    patterns: tuple[str, ...],
    ignore: tuple[str, ...],
    image_col: str | None,
    label_col: str | None,
    bias_col: tuple[str, ...],
    split_col: str | None,
    split_map: tuple[str, ...],
    leave_out: tuple[str, ...],
    rename: tuple[str, ...],
    aligned: tuple[str, ...],
    val_protocol: str,
    name: str | None,
    keep_words: tuple[str, ...],
    size: int,
    resize: int,
    decode: str,
    seed: int,
    **_: Any,
) -> TableSpec:
    """Return the settings of the options."""
    from biascon.data.builders.table_options import (
        parse_aligned_options,
        parse_leave_out,
        parse_rename,
        parse_split_map,
    )
    from biascon.data.builders.table_rows import TableSpec
    from biascon.data.images.decoding import ImageSpec

    if patterns:
        image_col, label_col, bias_col, split_col = _choose_fields(
            table, patterns, image_col or root, label_col, bias_col, split_col
        )
    else:
        _check_csv_options(table, image_col, label_col, bias_col, ignore)
    spec = TableSpec(
        str(image_col),
        str(label_col),
        bias_col,
        split_col,
        parse_aligned_options(aligned),
        _clean_name(name or (table.resolve().name if patterns else table.stem)),
        seed,
        val_protocol,
        ImageSpec(size, resize, decode),
        keep_words,
        split_map=parse_split_map(split_map),
        leave_out=parse_leave_out(leave_out),
        rename=parse_rename(rename),
        patterns=patterns,
        ignore=ignore,
    )
    holds_out = asks_for_val and split_col is not None and val_protocol == "held-out"
    return replace(spec, hold_out_val=True) if holds_out else spec


def _choose_fields(
    table: Path,
    patterns: tuple[str, ...],
    of_csv: object,
    label_col: str | None,
    bias_col: tuple[str, ...],
    split_col: str | None,
) -> tuple[str, str, tuple[str, ...], str | None]:
    """Return the columns of file, label, bias and split for a folder with patterns."""
    from biascon.data.builders.file_patterns import FILE, parse_pattern

    if not table.is_dir():
        raise click.UsageError(f"expected a folder with --pattern, but {table} is none")
    if of_csv:
        raise click.UsageError(
            "--image-col and --root are for a CSV: leave them out with --pattern"
        )
    fields = {name for text in patterns for name in parse_pattern(text).fields}
    bias = bias_col or (("bias",) if "bias" in fields else ())
    return FILE, label_col or "label", bias, split_col or ("split" if "split" in fields else None)


def _check_csv_options(
    table: Path,
    image_col: str | None,
    label_col: str | None,
    bias_col: tuple[str, ...],
    ignore: tuple[str, ...],
) -> None:
    """Raise a UsageError unless the options describe a CSV file."""
    if table.is_dir():
        raise click.UsageError(
            f"{table} is a folder: expected a CSV file, or --pattern '{{label}}/{{id}}_{{bias}}.png' for "
            "labels in the names of its files"
        )
    options = {"--image-col": image_col, "--label-col": label_col, "--bias-col": bias_col}
    missing = [option for option, value in options.items() if not value]
    if missing:
        raise click.UsageError(f"Missing option '{missing[0]}'.")
    if ignore:
        raise click.UsageError("--ignore is for a folder with --pattern: leave it out")


def _clean_name(name: str) -> str:
    """Return a name of a dataset: letters, digits, dots, underscores and hyphens."""
    return re.sub("[^A-Za-z0-9._]+", "-", name).strip("-._") or "table"
