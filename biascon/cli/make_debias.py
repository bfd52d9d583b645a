"""``biascon make-debias``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from biascon.cli.image_options import build_or_preview, image_options
from biascon.cli.options import FOLDER


@click.command(name="make-debias")
@click.argument("raw", type=FOLDER)
@click.option(
    "--percent",
    default="",
    metavar="NAME",
    help="The folder of one share of bias-conflicting images, such as 0.5pct.  [default: the only one]",
)
@click.option(
    "--val-protocol",
    type=click.Choice(["held-out", "none"]),
    default="held-out",
    show_default=True,
    help="For a set without validation images. held-out: hold out 10 % of the training images of each label.",
)
@image_options
def command(
    raw: Path,
    percent: str,
    val_protocol: str,
    size: int,
    resize: int,
    decode: str,
    seed: int,
    **build_options: Any,
) -> None:
    """Build a set of debiasing papers from the folder RAW: labels and bias stand in the names of its files.

    Read are the sets of DisEnt (Colored MNIST, Corrupted CIFAR-10, bFFHQ: 0.5pct/align/0/1_0_0.png) and BAR
    (train/climbing_0.jpg, without bias labels).
    """
    from biascon.data.builders.debias_folders import plan_debias
    from biascon.data.images.decoding import ImageSpec

    spec = ImageSpec(size, resize, decode)
    folder, plan = plan_debias(
        raw,
        spec,
        percent=percent,
        seed=seed,
        val_protocol=val_protocol,
    )
    build_or_preview(folder, plan, spec, **build_options)
