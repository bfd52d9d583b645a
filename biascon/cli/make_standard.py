"""``biascon make-standard``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from biascon.cli.image_options import build_or_preview, image_options
from biascon.cli.output import print_note

NAMES = ("cifar10", "cifar100", "caltech101", "caltech256", "imagenet", "folder")


@click.command(name="make-standard")
@click.argument("name", type=click.Choice(NAMES))
@click.argument("raw", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--val-protocol",
    type=click.Choice(["held-out", "none"]),
    default="held-out",
    show_default=True,
    help="held-out: hold out 10 % of the training images of each class.",
)
@click.option(
    "--per-class",
    type=click.IntRange(min=1),
    help="Caltech: number of training images per class.  [default: 30 for 101, 60 for 256]",
)
@click.option("--name", "title", help="folder: name of the dataset.  [default: the name of RAW]")
@click.option(
    "--native",
    is_flag=True,
    help="Keep the size of the images, which must be squares of one size: no pixel is changed.",
)
@image_options
@click.pass_context
def command(
    context: click.Context,
    /,
    name: str,
    raw: Path,
    val_protocol: str,
    per_class: int | None,
    title: str | None,
    native: bool,
    size: int,
    resize: int,
    decode: str,
    seed: int,
    dry_run: bool,
    as_json: bool,
    **build_options: Any,
) -> None:
    """Build the standard dataset NAME from the folder RAW, which holds its files in the official layout.

    The dataset has no bias attribute: top-1 and top-5 accuracy are measured, and group metrics do not apply.
    With NAME "folder", RAW has the subfolders train/<class>/*, test/<class>/* and optionally val/<class>/*.
    """
    from biascon.data.builders import image_folders
    from biascon.data.images.decoding import ImageSpec

    passed = [
        key
        for key in ("size", "resize", "decode", "per_class", "title", "dry_run", "native")
        if context.get_parameter_source(key) is not click.core.ParameterSource.DEFAULT
    ]
    if not name.startswith("cifar"):
        useless = [f"--{key}" for key in passed if key in ("size", "resize", "decode")]
        if native and useless:
            raise click.UsageError(
                f"--native keeps the size of the images: leave out {', '.join(useless)}"
            )
        image_spec = (
            image_folders.find_native_spec(raw, name, title or "")
            if native
            else ImageSpec(size, resize, decode)
        )
        spec = image_folders.ImageFoldersSpec(
            name, seed, val_protocol, per_class or 0, title or "", image_spec
        )
        folder, plan = image_folders.plan_image_folders(raw, spec)
        build_or_preview(
            folder, plan, spec.image_spec, dry_run=dry_run, as_json=as_json, **build_options
        )
        return

    if [key for key in passed if (key, size) != ("size", 32)]:
        options = ", ".join(
            "--name" if k == "title" else f"--{k.replace('_', '-')}" for k in passed
        )
        raise click.UsageError(
            f"CIFAR has images of 32 x 32 pixels and no image files: leave out {options}"
        )
    _make_cifar(name, raw, seed, val_protocol, as_json=as_json, **build_options)


def _make_cifar(
    name: str,
    raw: Path,
    seed: int,
    val_protocol: str,
    *,
    as_json: bool,
    out: Path | None,
    force: bool,
    **_: Any,
) -> None:
    from biascon.cli.inspect import print_result
    from biascon.data.builders.cifar import make_cifar

    result = make_cifar(
        name, raw, seed=seed, val_protocol=val_protocol, out=out, force=force, say=print_note
    )
    print_result(result, as_json=as_json)
