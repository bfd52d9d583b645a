"""``biascon make-celeba``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from biascon.cli.image_options import build_or_preview, image_options
from biascon.cli.options import FOLDER


@click.command(name="make-celeba")
@click.argument("raw", type=FOLDER)
@click.option(
    "--target",
    default="Blond_Hair",
    show_default=True,
    metavar="ATTRIBUTE",
    help="The target: the attribute to learn.",
)
@click.option(
    "--bias",
    default="Male",
    show_default=True,
    metavar="ATTRIBUTE",
    help="The bias attribute.",
)
@click.option(
    "--protocol",
    type=click.Choice(["official", "hong"]),
    default="official",
    show_default=True,
    help="hong: the official training images are split 80/20 by --seed, and the official validation images "
    "are the test split. For Blond_Hair and Male, all but 2,000 women who are not blond are left out first.",
)
@click.option(
    "--keep",
    multiple=True,
    metavar="ATTRIBUTE",
    help="Another attribute to keep, for evaluate --bias. Repeat it, or pass all.",
)
@click.option(
    "--aligned",
    type=click.Choice(["auto", "same", "crossed"]),
    default="auto",
    show_default=True,
    help="The bias-aligned cells (label, bias). same: (0, 0) and (1, 1). crossed: (0, 1) and (1, 0). auto: "
    "the two opposite cells with more training images (the larger product of counts).",
)
@click.option(
    "--subset",
    is_flag=True,
    help="Use only the images that the folder has, if the lists name more. They stay in their splits.",
)
@click.option(
    "--images",
    metavar="FOLDER",
    help="Folder of the images, relative to RAW.  [default: img_align_celeba, or img_align_celeba_png]",
)
@image_options
def command(
    raw: Path,
    target: str,
    bias: str,
    protocol: str,
    keep: tuple[str, ...],
    aligned: str,
    subset: bool,
    images: str | None,
    size: int,
    resize: int,
    decode: str,
    seed: int,
    dry_run: bool,
    as_json: bool,
    **build_options: Any,
) -> None:
    """Build a CelebA dataset from its folder RAW. Any two attributes can be target and bias.

    RAW has img_align_celeba, list_attr_celeba.txt and list_eval_partition.txt (or .csv).
    """
    from biascon.data.builders import celeba
    from biascon.data.builders.celeba_tables import check_images, read_celeba_tables
    from biascon.data.images.decoding import ImageSpec

    image_spec = ImageSpec(size, resize, decode)
    source = read_celeba_tables(raw, images)
    if not subset:
        check_images(source, build_options["max_rejected"])
    kept_attributes = tuple(source.attributes) if "all" in keep else keep
    spec = celeba.CelebASpec(
        target, bias, protocol, kept_attributes, aligned, seed, image_spec, subset
    )
    plan = celeba.plan_celeba(source, spec)
    build_or_preview(
        source.raw, plan, image_spec, dry_run=dry_run, as_json=as_json, **build_options
    )
