"""``biascon inspect``: the content of a dataset folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import click

from biascon.cli.options import FOLDER, bias_option, choose_dataset, load_dataset
from biascon.cli.output import format_table, print_json, print_note, print_text
from biascon.data.manifest import UNSET, DatasetDescription, Manifest, SplitCounts
from biascon.data.manifest_entries import is_count
from biascon.utils.text import message_line, shorten

if TYPE_CHECKING:
    from biascon.data.building.arrays import BuildResult
    from biascon.data.joint_counts import AttributeCounts
    from biascon.data.split import BiasedDataset


@click.command(name="inspect")
@click.argument("folder", type=FOLDER, required=False)
@click.option(
    "--png",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also draw a contact sheet: a sample of the bias-aligned and bias-conflicting images, one row per "
    "class, with the bias value of each image.",
)
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    default="train",
    show_default=True,
    help="The split in the contact sheet.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Random seed of the images in the contact sheet.",
)
@bias_option
@click.option("--json", "as_json", is_flag=True, help="Print the manifest instead of the tables.")
def command(
    folder: Path | None,
    png: Path | None,
    split: str,
    seed: int,
    bias: list[str] | None,
    as_json: bool,
) -> None:
    """Verify every byte of a dataset FOLDER and show its counts.

    With --store files, the image files are verified too.

    The default FOLDER is the dataset that was made or used last.
    """
    from biascon.data import dataset

    folder = choose_dataset(folder)
    manifest = dataset.read_manifest(folder)
    images = Path(str(manifest.source.get("folder"))) if manifest.store is not None else None
    has_files = images is not None and images.is_dir()
    if png is not None or bias is not None or has_files:
        data = load_dataset(folder, bias)
        _verify_files(data)
        manifest = data.manifest
    else:
        dataset.verify(folder, manifest)
    if images is not None and not has_files:
        print_note(f"{images} does not exist: only the index of its images was verified")
    if png is not None:
        from biascon.data.contact_sheet import draw_contact_sheet

        draw_contact_sheet(data, split, png, seed)
        print_note(f"{png}: written, a sample of the {split} split with seed {seed}")
    _print_manifest(folder, manifest, as_json=as_json)


def _verify_files(data: BiasedDataset) -> None:
    """Compare the image files of a dataset that holds an index of them with their SHA-256."""
    for split in data.splits.values():
        if hasattr(split.images, "verify"):
            split.images.verify()


def print_result(result: BuildResult, *, as_json: bool) -> None:
    """Print the result of a build: its state to standard error, its manifest to standard output."""
    print_note(f"{result.folder}: {'exists already and is intact' if result.reused else 'written'}")
    _print_manifest(result.folder, result.manifest, as_json=as_json)


def _print_manifest(folder: Path, manifest: Manifest, *, as_json: bool) -> None:
    """Print a manifest as JSON or as text, with the joint counts of several bias attributes."""
    from biascon.data.joint_counts import read_joint_counts
    from biascon.utils.files import pretty_json

    if as_json:
        print_json(pretty_json(manifest.to_json()))
        return
    print_text(format_description(manifest, manifest.counts))
    counts = read_joint_counts(folder, manifest)
    if counts:
        print_text(f"\n{format_joint_counts(manifest, counts)}")


def format_joint_counts(manifest: Manifest, counts: Mapping[str, AttributeCounts]) -> str:
    """Format the joint counts of several bias attributes as text.

    Args:
        manifest: The manifest of the dataset.
        counts: The counts of each split. All have the same attributes.
    """
    names = list(counts["train"].by_attribute)
    combinations = list(product((1, 0), repeat=len(names)))
    shown_names = [shorten(name) for name in names]
    header = [
        " + ".join(
            name for name, is_aligned in zip(shown_names, combination, strict=True) if is_aligned
        )
        or "none of them"
        for combination in combinations
    ]
    shown = None if manifest.bias is None else manifest.bias.name
    lines = [
        "images by the attributes with which they are bias-aligned",
        format_table(
            ["split", *(name if " + " in name or name == header[-1] else f"only {name}" for name in header)],
            [
                [split, *(f"{part.by_alignment[combination]:,}" for combination in combinations)]
                for split, part in counts.items()
            ],
        ),
    ]  # fmt: skip
    for name, cells in counts["train"].by_attribute.items():
        if name != shown:
            values = (manifest.attributes or {})[name].values
            lines += ["", *_format_cells(manifest.labels, name, values, cells.tolist())]
    return "\n".join(lines)


def _format_cells(
    labels: Sequence[str], name: str | None, values: Sequence[str], cells: Sequence[Sequence[int]]
) -> list[str]:
    """Format the training cells of the labels and an attribute; ``name`` is None without one."""
    axes = "" if name is None else f" (row) and {shorten(name)} (column)"
    rows = [
        [shorten(label), *(f"{n:,}" if n else "." for n in row)]
        for label, row in zip(labels, cells, strict=True)
    ]
    return [
        f"train, images per label{axes}; . is an empty cell",
        format_table(["label", *map(shorten, values)], rows),
    ]


def format_description(description: DatasetDescription, counts: Mapping[str, SplitCounts]) -> str:
    """Format a dataset as text: its description, the counts of each split, and the training cells."""
    bias, labels = description.bias, description.labels
    values = ["images"] if bias is None else bias.values
    name = None if bias is None else bias.name
    lines = [
        message_line(f"{description.name}: {description.origin}"),
        *(message_line(f"  {part}: {text}") for part, text in description.protocol.items()),
        *map(message_line, format_attributes(description)),
        "",
        format_table(
            ["split", "images", "aligned", "conflicting", "empty cells"],
            [
                [name, *("-" if n is None else f"{n:,}" for n in (part.n, part.aligned, part.conflicting)),
                 f"{part.empty_cells} of {len(labels) * len(values)}"]
                for name, part in counts.items()
            ],
        ),
        "",
        *_format_cells(labels, name, values, counts["train"].cells),
    ]  # fmt: skip
    return "\n".join(lines)


def format_attributes(description: DatasetDescription) -> list[str]:
    """Format the bias attribute, its alignment, the other attributes, and the number of rejected files."""
    bias, rejected = description.bias, description.rejected
    lines = []
    if bias is None:
        lines.append("  bias: no bias attribute; group metrics do not apply")
    elif bias.aligned is not UNSET:
        lines.append(f"  bias: {bias.name}; aligned: {bias.aligned or 'not defined'}")
    for name, attribute in (description.attributes or {}).items():
        lines.append(f"  attribute {shorten(name)}: {', '.join(map(shorten, attribute.values))}")
    if rejected is not None:
        names = description.source.get("names")
        dropped = names.get("dropped") if isinstance(names, dict) else None
        if isinstance(dropped, dict) and dropped and all(map(is_count, dropped.values())):
            counts = ", ".join(f"{n:,} {reason}" for reason, n in dropped.items())
            lines.append(f"  left out on purpose: {counts}")
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in rejected.by_reason.items())
        lines.append(f"  left out: {rejected.n:,}{f' ({reasons})' if reasons else ''}")
    return lines
