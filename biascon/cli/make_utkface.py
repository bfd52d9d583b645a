"""``biascon make-utkface``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from biascon.cli.image_options import build_dataset, image_options, print_preview
from biascon.cli.options import FOLDER


@click.command(name="make-utkface")
@click.argument("raw", type=FOLDER, required=False)
@click.option(
    "--bias",
    type=click.Choice(["race", "age"]),
    default="race",
    show_default=True,
    help="The bias attribute: white or not; from 20 or up to 10 years.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, 1),
    default=0.9,
    show_default=True,
    help="1 - RATE conflicting pictures for each aligned one in training.",
)
@click.option(
    "--val-protocol",
    type=click.Choice(["held-out", "hong", "none"]),
    default="held-out",
    show_default=True,
    help="held-out: 10 % of the training pictures, in natural proportions; hong: they also stay (leaks).",
)
@click.option(
    "--names",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file with the names to use, one a line, instead of the folder's listing.",
)
@image_options
def command(
    raw: Path | None,
    bias: str,
    rate: float,
    val_protocol: str,
    names: Path | None,
    size: int,
    resize: int,
    decode: str,
    seed: int,
    dry_run: bool,
    as_json: bool,
    **how: Any,
) -> None:
    """Build a UTKFace from the folder RAW of its cropped pictures: gender, biased by race or age."""
    from biascon.data.builders import utkface
    from biascon.data.images.decoding import ImageSpec

    spec = utkface.UTKFaceSpec(bias, rate, seed, val_protocol, ImageSpec(size, resize, decode))
    if raw is None:
        if names is None or not dry_run:
            raise click.UsageError(
                "expected the folder RAW of the pictures (or --names FILE --dry-run)"
            )
        folder, listed = Path(), utkface.read_names(names)
    else:
        folder, listed = utkface.list_images(raw)
        listed = listed if names is None else utkface.read_names(names)
    plan = utkface.plan_utkface(
        listed, spec, origin=f"UTKFace, aligned and cropped ({len(listed):,} names)"
    )
    if dry_run:
        print_preview(plan, as_json=as_json)
    else:
        build_dataset(folder, plan, spec.shape, as_json=as_json, **how)
