"""``biascon make-bmnist``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from biascon.cli.options import FOLDER
from biascon.cli.output import print_note


class ClassesType(click.ParamType):  # type: ignore[type-arg]
    """Classes by number, separated by commas: ``0,1,2``."""

    name = "classes"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Return the classes in the order of the option."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isdecimal() for part in parts):
            self.fail(f"expected classes by number, like 0,1,2, but got '{value}'", param, ctx)
        return tuple(map(int, parts))


@click.command(name="make-bmnist")
@click.option(
    "--rho",
    type=click.FloatRange(0, 1),
    default=0.997,
    show_default=True,
    help="Share of the images of a class that have the color of the class.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Random seed of the dataset.",
)
@click.option(
    "--variant",
    type=click.Choice(["rebias", "fairkl"]),
    default="rebias",
    show_default=True,
    help="Palette. The two differ in the color of class 9.",
)
@click.option(
    "--color",
    "--colour",
    "color",
    type=click.Choice(["background", "digit"]),
    default="background",
    show_default=True,
    help="What is colored.",
)
@click.option(
    "--n-confusing",
    type=click.IntRange(1, 9),
    default=9,
    show_default=True,
    help="Number of other colors for the bias-conflicting images of a class.",
)
@click.option(
    "--val-protocol",
    type=click.Choice(["held-out", "biased", "hong", "none"]),
    default="held-out",
    show_default=True,
    help="held-out: hold out 10 % of the training digits, at rho 0.1. biased: the same, at rho RHO. "
    "hong: they also stay in training (a leak).",
)
@click.option(
    "--leftover",
    type=click.Choice(["chunk", "even"]),
    default="chunk",
    show_default=True,
    help="How bias-conflicting images are divided among the colors (chunk: as published).",
)
@click.option(
    "--foreground-rho",
    type=click.FloatRange(0, 1),
    metavar="A",
    help="FB-Biased-MNIST: the digit is colored too, in the digit color of the class in this share of its "
    "images. Attributes background and foreground.",
)
@click.option(
    "--biased-classes",
    type=ClassesType(),
    metavar="0,1,2",
    help="Only these classes are colored at RHO in training; the others at 0.1.  [default: all]",
)
@click.option("--out", type=FOLDER, help="Folder of the dataset.  [default: data/<name>]")
@click.option(
    "--source",
    default="auto",
    show_default=True,
    metavar="NAME",
    type=click.Choice(
        ["auto", "dir", "env", "torchvision", "download", "embedded", "fashion", "kmnist"]
    ),
    help="Source of MNIST: auto, dir, env, torchvision, download, embedded; "
    "or another set: fashion, kmnist.",
)
@click.option(
    "--mnist-dir",
    type=FOLDER,
    help="Folder with the IDX files of the set, gzipped or not.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Replace an existing folder that holds another dataset, or is damaged.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the manifest instead of the table.")
def command(
    out: Path | None,
    source: str,
    mnist_dir: Path | None,
    force: bool,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Build a BiasedMNIST: digits whose color agrees with the class in a share RHO of the images."""
    from biascon.cli.inspect import print_result
    from biascon.data.builders.biased_mnist import BiasedMNISTSpec, make_biased_mnist

    result = make_biased_mnist(
        BiasedMNISTSpec(**parameters),
        out=out,
        source=source,
        mnist_dir=mnist_dir,
        force=force,
        say=print_note,
    )
    print_result(result, as_json=as_json)
