"""``biascon make-urbancars``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from biascon.cli.image_options import build_or_preview, image_options
from biascon.cli.options import FOLDER


@click.command(name="make-urbancars")
@click.argument("raw", type=FOLDER)
@image_options
def command(
    raw: Path, size: int, resize: int, decode: str, seed: int, **build_options: Any
) -> None:
    """Build UrbanCars from the folder RAW of bg-0.95_co_occur_obj-0.95 and bg-0.5_co_occur_obj-0.5.

    The label is the kind of car (obj), urban or country. The bias attributes are the background (bg) and the
    second object (co_occur_obj).
    """
    from biascon.data.builders.urbancars import plan_urbancars
    from biascon.data.images.decoding import ImageSpec

    if seed:
        raise click.UsageError("the splits of UrbanCars are official: leave out --seed")
    spec = ImageSpec(size, resize, decode)
    folder, plan = plan_urbancars(raw, spec)
    build_or_preview(folder, plan, spec, **build_options)
