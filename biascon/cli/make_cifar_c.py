"""``biascon make-cifar-c``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from biascon.cli.image_options import ImageProgress, ShareType
from biascon.cli.options import FOLDER
from biascon.cli.output import print_json, print_note, print_text


class ReplacementType(click.ParamType):  # type: ignore[type-arg]
    """A replacement of a corruption by another, written as ``frost=gaussian_blur``."""

    name = "replacement"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Return the two names."""
        old, equals, new = str(value).partition("=")
        if not (old and equals and new):
            self.fail(
                f"expected OLD=NEW such as frost=gaussian_blur, but got '{value}'", param, ctx
            )
        return old.strip(), new.strip()


@click.command(name="make-cifar-c")
@click.argument("raw", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--conflicting",
    type=ShareType(),
    default="0.5%",
    show_default=True,
    help="Share of the training images of a class that have another corruption; papers: 0.5, 1, 2, 5 %.",
)
@click.option(
    "--type",
    "kind",
    type=click.Choice(["0", "1"]),
    default="0",
    show_default=True,
    help="List of corruptions. 0: snow, frost, fog, ... 1: noise and blur.",
)
@click.option(
    "--severity",
    type=click.IntRange(1, 4),
    default=4,
    show_default=True,
    help="Severity as in the paper; severity s is level s + 1 of CIFAR-10-C.",
)
@click.option(
    "--frost",
    "frost_dir",
    type=FOLDER,
    help="Folder with CIFAR-10-C's pictures of frost: frost1.png, frost2.png, frost3.png, frost4.jpg, "
    "frost5.jpg.",
)
@click.option(
    "--replace",
    type=ReplacementType(),
    multiple=True,
    metavar="OLD=NEW",
    help="Use another corruption, such as frost=gaussian_blur. The dataset gets another name.",
)
@click.option(
    "--val-protocol",
    type=click.Choice(["held-out", "biased", "none"]),
    default="held-out",
    show_default=True,
    help="held-out: hold out 10 % of the training images of each class, every corruption equally often. "
    "biased: the same, corrupted as the training images. none: train on all 50,000, as the papers do.",
)
@click.option(
    "--order",
    type=click.Choice(["shuffled", "files"]),
    default="shuffled",
    show_default=True,
    help="Order of the images of a class when corruptions are assigned (files: as published).",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Random seed of the dataset.",
)
@click.option("--out", type=FOLDER, help="Folder of the dataset.  [default: data/<name>]")
@click.option(
    "--force",
    is_flag=True,
    help="Replace an existing folder that holds another dataset, or is damaged.",
)
@click.option("--dry-run", is_flag=True, help="Print the counts; corrupt no image, write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest instead of the tables.")
def command(
    raw: Path,
    kind: str,
    frost_dir: Path | None,
    out: Path | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Build Corrupted CIFAR-10 from RAW, the folder of CIFAR-10's binary version.

    Each class has its own corruption, such as snow. A share of its training images has one of the nine
    others. In the test images every corruption is equally frequent.
    """
    from biascon.cli.inspect import format_description, print_result
    from biascon.data.builders import cifar_c
    from biascon.data.builders.cifar_c_plan import CorruptedCIFARSpec
    from biascon.utils.files import pretty_json

    spec = CorruptedCIFARSpec(type=int(kind), **parameters)
    if dry_run:
        description, counts = cifar_c.preview_corrupted_cifar(raw, spec, frost_dir)
        if as_json:
            parts = {name: part.to_json() for name, part in counts.items()}
            print_json(pretty_json({**description.to_json(), "counts": parts}))
        else:
            print_text(format_description(description, counts))
        return
    progress = ImageProgress("corrupting")
    result = cifar_c.make_corrupted_cifar(
        raw,
        spec,
        frost_dir=frost_dir,
        out=out,
        force=force,
        say=print_note,
        on_progress=progress,
    )
    progress.print_rate()
    print_result(result, as_json=as_json)
