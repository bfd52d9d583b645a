"""``biascon export``: a dataset in the layout of another library."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from biascon.cli.options import FOLDER, choose_dataset
from biascon.cli.output import print_note

if TYPE_CHECKING:
    from biascon.data.dataset import BiasedDataset


@click.command(name="export")
@click.argument("folder", type=FOLDER, required=False)
@click.option(
    "--to",
    type=click.Choice(["hf", "wilds", "folder", "croissant"]),
    required=True,
    help="hf: Parquet files for datasets.load_dataset. wilds: PNG files and metadata.csv, as group_DRO and "
    "WILDS read them. folder: PNG files in a folder for each class, and table.csv. croissant: write the "
    "dataset's croissant.json again.",
)
@click.option("--out", type=FOLDER, help="The new folder; needed except for croissant.")
@click.option("--force", is_flag=True, help="Replace an existing export whose files are unchanged.")
def command(folder: Path | None, to: str, out: Path | None, force: bool) -> None:
    """Write the dataset in FOLDER in the layout of another library. Every byte of it is verified first.

    The default FOLDER is the dataset that was made or used last.
    """
    from biascon.data import dataset
    from biascon.errors import UsageError

    if to == "croissant":
        if out is not None:
            raise UsageError("croissant.json belongs beside the manifest: leave out --out")
        _write_croissant(choose_dataset(folder))
        return
    if out is None:
        raise UsageError(f"--to {to} needs --out, the new folder")
    folder = choose_dataset(folder)
    data = dataset.load(folder)
    if out.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"{out} is in the dataset folder {folder}; choose another --out")
    _export(data, out, to, replace=force)


def _export(data: BiasedDataset, out: Path, to: str, *, replace: bool) -> None:
    """Write the export with progress, and print what it is and the terms of its images."""
    from biascon.cli.image_options import ImageProgress
    from biascon.data.bridges.export import export_dataset
    from biascon.data.bridges.terms import find_terms

    progress = ImageProgress("writing")
    export_dataset(data, out, to, replace=replace, on_progress=progress)
    progress.print_rate()
    print_note(f"{out}: written")
    print_note(f"license of the images: {find_terms(data.manifest).license}")


def _write_croissant(folder: Path) -> None:
    """Verify a dataset folder, and write its ``croissant.json``."""
    from biascon.data import dataset
    from biascon.data.bridges.croissant import describe_folder
    from biascon.data.manifest import CROISSANT
    from biascon.utils.files import pretty_json, write_atomic

    manifest = dataset.read_manifest(folder)
    dataset.verify(folder, manifest)
    write_atomic(folder / CROISSANT, pretty_json(describe_folder(folder, manifest)))
    print_note(f"{folder / CROISSANT}: written")
