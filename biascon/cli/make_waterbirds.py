"""``biascon make-waterbirds``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from biascon.cli.image_options import build_or_preview, image_options
from biascon.cli.options import FOLDER


@click.command(name="make-waterbirds")
@click.argument("raw", type=FOLDER)
@image_options
def command(
    raw: Path, size: int, resize: int, decode: str, seed: int, **build_options: Any
) -> None:
    """Build Waterbirds from the folder RAW of metadata.csv and its images.

    The label is landbird or waterbird, the bias attribute is the place, land or water.
    """
    from biascon.data.builders.waterbirds import plan_waterbirds
    from biascon.data.images.decoding import ImageSpec

    if seed:
        raise click.UsageError("the splits of Waterbirds are official: leave out --seed")
    spec = ImageSpec(size, resize, decode)
    folder, plan = plan_waterbirds(raw, spec)
    build_or_preview(folder, plan, spec, **build_options)
