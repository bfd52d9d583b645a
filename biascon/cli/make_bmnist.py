"""``biascon make-bmnist``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from biascon.cli.options import FOLDER
from biascon.cli.output import print_note


@click.command(name="make-bmnist")
@click.option(
    "--rho",
    type=click.FloatRange(0, 1),
    default=0.997,
    show_default=True,
    help="Share of a class's images that have its color.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--variant",
    type=click.Choice(["rebias", "fairkl"]),
    default="rebias",
    show_default=True,
    help="Whose colors (class 9 differs).",
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
    help="How many other colors the rest of a class gets.",
)
@click.option(
    "--val-protocol",
    type=click.Choice(["held-out", "hong", "none"]),
    default="held-out",
    show_default=True,
    help="held-out: 10 % of the training digits leave it; hong: they also stay (leaks).",
)
@click.option(
    "--leftover",
    type=click.Choice(["chunk", "even"]),
    default="chunk",
    show_default=True,
    help="How the rest of a class is dealt out (chunk: as published).",
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
    help="Where MNIST comes from: auto, dir, env, torchvision, download, embedded; "
    "or what takes its place: fashion, kmnist.",
)
@click.option(
    "--mnist-dir",
    type=FOLDER,
    help="Folder of the set's IDX files, gzipped or not.",
)
@click.option("--force", is_flag=True, help="Replace another or a damaged dataset at that place.")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest instead of the table.")
def command(
    out: Path | None,
    source: str,
    mnist_dir: Path | None,
    force: bool,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Build a BiasedMNIST: digits whose color goes with the class in a share RHO of the images."""
    from biascon.cli.inspect import format_manifest
    from biascon.data.builders.biased_mnist import BiasedMNISTSpec, make_biased_mnist
    from biascon.utils.files import pretty_json

    made = make_biased_mnist(
        BiasedMNISTSpec(**parameters),
        out=out,
        source=source,
        mnist_dir=mnist_dir,
        force=force,
        say=print_note,
    )
    state = "is there already, intact" if made.reused else "written"
    print_note(f"{made.folder}: {state}")
    click.echo(
        pretty_json(made.manifest.to_json()) if as_json else format_manifest(made.manifest),
        nl=not as_json,
    )
