"""``biascon inspect``: what a dataset folder holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from biascon.cli.options import FOLDER, bias_option, choose_dataset, load_dataset
from biascon.cli.output import format_table, print_note


@click.command(name="inspect")
@click.argument("folder", type=FOLDER, required=False)
@click.option(
    "--png",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also draw a contact sheet: a row a class, aligned and conflicting examples.",
)
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    default="train",
    show_default=True,
    help="Which split the contact sheet shows.",
)
@bias_option
@click.option("--json", "as_json", is_flag=True, help="Print the manifest instead of the tables.")
def command(
    folder: Path | None, png: Path | None, split: str, bias: list[str] | None, as_json: bool
) -> None:
    """Check every byte of a dataset FOLDER (default: the last made) and show its counts."""
    from biascon.data import dataset
    from biascon.utils.files import pretty_json

    folder = choose_dataset(folder)
    manifest = dataset.read_manifest(folder)
    if png is not None or bias is not None:
        data = load_dataset(folder, bias)
        manifest = dict(data.manifest)
    else:
        dataset.verify(folder, manifest)
    if png is not None:
        from biascon.data.contact_sheet import draw_contact_sheet

        draw_contact_sheet(data, split, png)
        print_note(f"{png}: written")
    click.echo(pretty_json(manifest) if as_json else format_manifest(manifest), nl=not as_json)


def format_manifest(manifest: Mapping[str, Any]) -> str:
    """Lay out a manifest: what it is, the counts of each split, and the cells of training."""
    labels, values = manifest["labels"], (manifest["bias"] or {"values": ["images"]})["values"]
    by = f" (row) and {manifest['bias']['name']} (column)" if manifest["bias"] else ""
    lines = [
        f"{manifest['name']}: {manifest['source']['origin']}",
        *(f"  {part}: {text}" for part, text in manifest["protocol"].items()),
        *format_attributes(manifest),
        "",
        format_table(
            ["split", "images", "aligned", "conflicting", "empty cells"],
            [
                [name, *("-" if counts[key] is None else f"{counts[key]:,}"
                         for key in ("n", "aligned", "conflicting")),
                 f"{counts['empty_cells']} of {len(labels) * len(values)}"]
                for name, counts in manifest["counts"].items()
            ],
        ),
        "",
        f"train, images per label{by}; . is an empty cell",
        format_table(
            ["label", *values],
            [
                [label, *(f"{n:,}" if n else "." for n in row)]
                for label, row in zip(labels, manifest["counts"]["train"]["cells"], strict=True)
            ],
        ),
    ]  # fmt: skip
    return "\n".join(lines)


def format_attributes(manifest: Mapping[str, Any]) -> list[str]:
    """Say what the bias attribute and its alignment are, which others there are, and what was left out."""
    bias, others = manifest["bias"], manifest.get("attributes", {})
    lines = []
    if bias is None:
        lines.append("  bias: no bias attribute; group metrics do not apply")
    elif "aligned" in bias:
        told = bias["aligned"]
        lines.append(f"  bias: {bias['name']}; aligned: {told or 'not defined'}")
    lines += [f"  attribute {name}: {', '.join(about['values'])}" for name, about in others.items()]
    if "rejected" in manifest:
        left = manifest["rejected"]
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in left["by_reason"].items())
        lines.append(f"  left out: {left['n']:,}{f' ({reasons})' if reasons else ''}")
    return lines
