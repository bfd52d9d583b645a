"""``biascon make-huggingface``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from biascon.cli.image_options import build_dataset, image_options, print_preview
from biascon.cli.options import FOLDER
from biascon.cli.output import print_note


@click.command(name="make-huggingface")
@click.argument("raw", metavar="FOLDER", type=FOLDER)
@click.option("--image-col", required=True, metavar="COLUMN", help="The column of images.")
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
    "--split",
    "split_words",
    multiple=True,
    metavar="train=NAME",
    help="The name in FOLDER of the split train, val or test; repeat it.  [default: by their names, "
    "validation as val]",
)
@click.option(
    "--split-col", metavar="COLUMN", help="The column of split names, if FOLDER has one split."
)
@click.option("--root", type=FOLDER, help="Folder of the image files, if FOLDER holds their paths.")
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
    help="For a seeded split, if FOLDER has one split. held-out: 10 % of the training images. hong: these "
    "images also stay in training (a leak). none: no validation split. If FOLDER has its own splits and no "
    "validation split, held-out has an effect only if it is given.",
)
@click.option("--name", default="", help="Name of the dataset.  [default: the name of FOLDER]")
@click.option(
    "--keep-word",
    "keep_words",
    multiple=True,
    metavar="WORD",
    help="A word such as None or NA that is a value in this dataset, not a missing value; repeat it.",
)
@image_options
@click.pass_context
def command(
    context: click.Context,
    /,
    raw: Path,
    image_col: str,
    label_col: str,
    bias_col: tuple[str, ...],
    split_words: tuple[str, ...],
    split_col: str | None,
    root: Path | None,
    aligned: tuple[str, ...],
    val_protocol: str,
    name: str,
    keep_words: tuple[str, ...],
    size: int,
    resize: int,
    decode: str,
    seed: int,
    dry_run: bool,
    as_json: bool,
    **build_options: Any,
) -> None:
    """Build a dataset from a Hugging Face dataset in FOLDER: Parquet files, or one of save_to_disk.

    No network is used. In Python, biascon.from_huggingface takes any datasets.Dataset or DatasetDict.
    """
    from biascon.data.bridges.hugging_face_images import load_folder
    from biascon.data.builders.huggingface import plan_hugging_face
    from biascon.data.builders.table_options import parse_aligned_options
    from biascon.data.builders.table_rows import TableSpec
    from biascon.data.images.decoding import ImageSpec
    from biascon.errors import UsageError

    source = context.get_parameter_source("val_protocol")
    is_given = source is not click.core.ParameterSource.DEFAULT
    if build_options["store"] == "files":
        raise UsageError("a Hugging Face dataset has no files to index: leave out --store files")
    spec = TableSpec(
        image_col, label_col, bias_col, split_col, parse_aligned_options(aligned),
        name or raw.resolve().name, seed, val_protocol, ImageSpec(size, resize, decode), keep_words,
        hold_out_val=is_given and val_protocol == "held-out",
    )  # fmt: skip
    splits = _parse_splits(split_words)
    images, plan = plan_hugging_face(load_folder(raw), spec, splits=splits, root=root)
    if "val" not in plan.splits and not is_given:
        print_note(
            "no validation split: no selection is possible; --val-protocol held-out holds out 10 % of the "
            "training images of each label"
        )
    if dry_run:
        keys = ("out", "max_rejected", "force")
        print_preview(plan, as_json=as_json, **{key: build_options[key] for key in keys})
    else:
        build_dataset(images, plan, spec.image_spec, as_json=as_json, **build_options)


def _parse_splits(words: Sequence[str]) -> dict[str, str] | None:
    """Return the name in the folder of each split, or None without ``--split``."""
    from biascon.errors import UsageError

    splits: dict[str, str] = {}
    for word in words:
        own, equals, name = (part.strip() for part in word.partition("="))
        if not (own and equals and name) or own in splits:
            raise UsageError(f"expected --split train=NAME, each split once, but got '{word}'")
        splits[own] = name
    return splits or None
