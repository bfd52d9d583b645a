"""What the subcommands that build datasets of pictures share: options and progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from biascon.cli.options import FOLDER
from biascon.cli.output import print_note

if TYPE_CHECKING:
    from biascon.data.building.arrays import BuildResult
    from biascon.data.building.plan import BuildPlan
    from biascon.data.images.decoding import ImageSpec

F = TypeVar("F", bound=Callable[..., Any])
PROGRESS_SECONDS = 10.0  # seconds between lines of progress


class ShareType(click.ParamType):  # type: ignore[type-arg]
    """A share as ``1%`` or ``0.01``."""

    name = "share"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the share in [0, 1]."""
        text = str(value).strip()
        try:
            share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            self.fail(f"expected a share like 1% or 0.01, but got '{value}'", param, ctx)
        return share


def image_options(command: F) -> F:
    """Add the options that every builder of pictures has."""
    options = [
        click.option("--size", type=int, default=64, show_default=True,
                     help="Side of the pictures in the dataset."),
        click.option("--resize", type=int, default=0,
                     help="What the shorter side is resized to before the center is cut out.  "
                          "[default: 9/8 of the size; 256 for 224]"),
        click.option("--decode", type=click.Choice(["full", "scaled"]), default="full", show_default=True,
                     help="scaled: JPEGs are decoded at a fraction of their size: faster, other pixels."),
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True),
        click.option("--out", type=FOLDER, help="Folder of the dataset.  [default: data/<name>]"),
        click.option("--max-rejected", type=ShareType(), default="1%", show_default=True, metavar="SHARE",
                     help="Pictures that may be left out; more is a failure."),
        click.option("--threads", type=click.IntRange(min=0), default=0,
                     help="How many decode.  [default: one a core]"),
        click.option("--store", type=click.Choice(["pixels", "files"]), default="pixels", show_default=True,
                     help="files: an index of RAW, decoded anew whenever they are read: for sets too large."),
        click.option("--force", is_flag=True, help="Replace another or a damaged dataset at that place."),
        click.option("--dry-run", is_flag=True, help="Print the counts; open no picture, write nothing."),
        click.option("--json", "as_json", is_flag=True, help="Print the manifest instead of the tables."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def build_dataset(
    raw: Path,
    plan: BuildPlan,
    shape: ImageSpec,
    *,
    out: Path | None,
    max_rejected: float,
    threads: int,
    store: str,
    force: bool,
    as_json: bool,
) -> BuildResult:
    """Build what a plan says, with progress, and print what was made."""
    from biascon.cli.inspect import format_manifest
    from biascon.data.building.images import build_image_dataset
    from biascon.utils.files import pretty_json

    plan = plan.as_file_index(shape) if store == "files" else plan
    folder = out if out is not None else Path("data") / plan.description.name
    progress = Progress()
    try:
        made = build_image_dataset(
            raw, plan, folder, shape=shape, max_rejected=max_rejected, force=force, threads=threads,
            on_progress=progress, log=print_note,
        )  # fmt: skip
    finally:
        progress.close()
    print_note(f"{made.folder}: {'is there already, intact' if made.reused else 'written'}")
    click.echo(
        pretty_json(made.manifest.to_json()) if as_json else format_manifest(made.manifest),
        nl=not as_json,
    )
    return made


class Progress:
    """A bar of pictures on a terminal, a line every ten seconds elsewhere; both to standard error."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.began = self.told = time.monotonic()
        self.first: int | None = None

    def __call__(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` pictures are done."""
        now = time.monotonic()
        if self.first is None:
            self.first, self.began, self.told = done, now, now
        if sys.stderr.isatty():
            if self.bar is None:
                from tqdm import tqdm

                self.bar = tqdm(total=total, initial=done, unit="picture", leave=False)
            self.bar.update(done - self.bar.n)
        elif done == total or now - self.told >= PROGRESS_SECONDS:
            self.told = now
            rate = (done - self.first) / max(now - self.began, 1e-9)
            left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
            print_note(f"{done:,}/{total:,} pictures, {rate:,.0f} a second{left}")

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()


def print_preview(plan: BuildPlan, *, as_json: bool) -> None:
    """Print what a plan would make, no picture opened: names read and left out, counts of each split."""
    from biascon.cli.inspect import format_description
    from biascon.utils.files import pretty_json

    names, counts = plan.description.source["names"], plan.summarize_splits()
    if as_json:
        counts_json = {name: part.to_json() for name, part in counts.items()}
        data = {**names, **plan.description.to_json(), "counts": counts_json}
        click.echo(pretty_json(data), nl=False)
        return
    reasons = "".join(f", {n:,} {reason}" for reason, n in names["reasons"].items())
    dropped = "".join(
        f"; {n:,} dropped: {reason}" for reason, n in names.get("dropped", {}).items()
    )
    mended = f", {names['repaired']:,} repaired" if "repaired" in names else ""
    click.echo(
        f"{names['read']:,} names read{mended}, {names['left_out']:,} left out{reasons}{dropped}"
    )
    click.echo(format_description(plan.description, counts))
