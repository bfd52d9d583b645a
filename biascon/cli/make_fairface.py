"""``biascon make-fairface``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from biascon.cli.image_options import build_or_preview, image_options
from biascon.cli.options import FOLDER


@click.command(name="make-fairface")
@click.argument("raw", type=FOLDER)
@click.option(
    "--label",
    type=click.Choice(["gender", "race", "age"]),
    default="gender",
    show_default=True,
    help="The label.",
)
@click.option(
    "--bias",
    type=click.Choice(["gender", "race", "age"]),
    default="race",
    show_default=True,
    help="The bias attribute; the third column is kept for evaluate --bias.",
)
@click.option(
    "--val-protocol",
    type=click.Choice(["held-out", "none"]),
    default="held-out",
    show_default=True,
    help="held-out: hold out 10 % of the training images of each label. The official validation images are "
    "the test images.",
)
@image_options
def command(
    raw: Path,
    label: str,
    bias: str,
    val_protocol: str,
    size: int,
    resize: int,
    decode: str,
    seed: int,
    **build_options: Any,
) -> None:
    """Build FairFace from the folder RAW of its two tables and its images."""
    from biascon.data.builders.fairface import plan_fairface
    from biascon.data.images.decoding import ImageSpec

    spec = ImageSpec(size, resize, decode)
    folder, plan = plan_fairface(
        raw,
        spec,
        label=label,
        bias=bias,
        seed=seed,
        val_protocol=val_protocol,
    )
    build_or_preview(folder, plan, spec, **build_options)
