"""``biascon make-fairface``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from biascon.cli.image_options import image_options, preview_or_build
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
def command(raw: Path, size: int, resize: int, decode: str, **options: Any) -> None:
    """Build FairFace from the folder RAW of its two tables and its images."""
    from biascon.data.builders.fairface import plan_fairface
    from biascon.data.images.decoding import ImageSpec

    spec = ImageSpec(size, resize, decode)
    folder, plan = plan_fairface(
        raw,
        spec,
        label=options["label"],
        bias=options["bias"],
        seed=options["seed"],
        val_protocol=options["val_protocol"],
    )
    preview_or_build(folder, plan, spec, options)
