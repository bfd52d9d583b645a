"""``biascon make-utkface``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from biascon.cli.image_options import build_or_preview, image_options
from biascon.cli.options import FOLDER
from biascon.cli.output import print_note


@click.command(name="make-utkface")
@click.argument("raw", type=FOLDER, required=False)
@click.option(
    "--bias",
    type=click.Choice(["race", "age"]),
    default="race",
    show_default=True,
    help="The bias attribute. race: white or not. age: 20 years or more, or 10 years or less.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, 1),
    default=0.9,
    show_default=True,
    help="In training, 1 - RATE bias-conflicting images for each bias-aligned image.",
)
@click.option(
    "--val-protocol",
    type=click.Choice(["held-out", "hong", "none"]),
    default="held-out",
    show_default=True,
    help="held-out: 10 % of the training images, in natural proportions. hong: these images also stay in "
    "training (a leak; not the UTKFace split of Hong and Yang). none: no validation split.",
)
@click.option(
    "--names",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file with the names to use, one per line, instead of all files in the folder.",
)
@click.option(
    "--duplicates",
    type=click.Choice(["keep", "group", "drop"]),
    default="keep",
    show_default=True,
    help="Identical files. keep: they may be in different splits. group: all are in the split of the first "
    "by name. drop: the first by name is used, or none if their names differ in age, gender or race. group "
    "and drop read all files, also with --dry-run.",
)
@image_options
def command(
    raw: Path | None,
    bias: str,
    rate: float,
    val_protocol: str,
    names: Path | None,
    duplicates: str,
    size: int,
    resize: int,
    decode: str,
    seed: int,
    dry_run: bool,
    as_json: bool,
    **build_options: Any,
) -> None:
    """Build a UTKFace dataset from the folder RAW of its aligned and cropped images.

    The target is the gender, the bias attribute is the race or the age.
    """
    from biascon.data.builders import utkface, utkface_duplicates, utkface_names
    from biascon.data.images.decoding import ImageSpec

    image_spec = ImageSpec(size, resize, decode)
    spec = utkface.UTKFaceSpec(bias, rate, seed, val_protocol, image_spec, duplicates)
    digests = None
    if raw is None:
        if names is None or not dry_run:
            raise click.UsageError(
                "expected the folder RAW of the images (or --names FILE --dry-run)"
            )
        if duplicates != "keep":
            raise click.UsageError(f"--duplicates {duplicates} needs the folder RAW of the images")
        folder, image_names = None, utkface_names.read_names(names)
    else:
        images = utkface_names.find_images(raw)
        for other, n in images.passed_over.items():
            print_note(f"passed over: {other} ({n:,} images)")
        folder = images.folder
        image_names = images.names if names is None else utkface_names.read_names(names)
        if duplicates != "keep":
            digests = utkface_duplicates.digest_images(images.folder, image_names)
    origin = f"UTKFace, aligned and cropped ({len(image_names):,} names)"
    plan = utkface.plan_utkface(image_names, spec, origin=origin, digests=digests)
    identical = plan.description.source["names"].get("identical")
    if identical is not None:
        print_note(
            f"identical files: {identical['files']:,} in {identical['sets']:,} sets, of which "
            f"{identical['sets_with_other_labels']:,} differ in age, gender or race"
        )
    build_or_preview(folder, plan, image_spec, dry_run=dry_run, as_json=as_json, **build_options)
