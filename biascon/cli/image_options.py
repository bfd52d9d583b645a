"""Options and progress of the subcommands that build datasets from image files."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from biascon.cli.options import FOLDER
from biascon.cli.output import print_json, print_note, print_text
from biascon.utils.progress import report_progress

if TYPE_CHECKING:
    from biascon.data.building.arrays import BuildResult
    from biascon.data.building.plan import BuildPlan
    from biascon.data.images.decoding import ImageFolder, ImageSpec

F = TypeVar("F", bound=Callable[..., Any])


class ShareType(click.ParamType):  # type: ignore[type-arg]
    """A share in [0, 1], written as ``1%`` or ``0.01``."""

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
    """Add the options that all subcommands for image files have."""
    options = [
        click.option("--size", type=int, default=64, show_default=True,
                     help="Side of the images in the dataset, in pixels."),
        click.option("--resize", type=int, default=0,
                     help="Length of the shorter side before the center is cut out.  "
                          "[default: 9/8 of the size; 256 for 224]"),
        click.option("--decode", type=click.Choice(["full", "scaled"]), default="full", show_default=True,
                     help="scaled: decode JPEGs at a fraction of their size; faster, but other pixels."),
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
                     help="Random seed of the dataset."),
        click.option("--out", type=FOLDER, help="Folder of the dataset.  [default: data/<name>]"),
        click.option("--max-rejected", type=ShareType(), default="1%", show_default=True, metavar="SHARE",
                     help="Largest share of images that may be left out; more is an error."),
        click.option("--threads", type=click.IntRange(min=0), default=0,
                     help="Number of decoding threads.  [default: one per core]"),
        click.option("--store", type=click.Choice(["pixels", "files"]), default="pixels", show_default=True,
                     help="files: store an index of the files, and decode them when they are read."),
        click.option("--force", is_flag=True, help="Replace an existing dataset that differs or is damaged."),
        click.option("--dry-run", is_flag=True,
                     help="Print the counts, and the error of a build that would fail; open no image."),
        click.option("--json", "as_json", is_flag=True, help="Print the manifest instead of the tables."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def build_dataset(
    raw: Path | ImageFolder,
    plan: BuildPlan,
    image_spec: ImageSpec,
    *,
    out: Path | None,
    max_rejected: float,
    threads: int,
    store: str,
    force: bool,
    as_json: bool,
) -> BuildResult:
    """Build a dataset from its plan, with progress, and print its manifest.

    Args:
        raw: The folder of images, or another source of images by name.
        plan: The plan of the dataset.
        image_spec: How an image becomes an array.
        out: The dataset folder; None for ``data/<name>``.
        max_rejected: The largest share of images that may be left out.
        threads: Number of decoding threads; 0 for one per core.
        store: ``pixels``, or ``files`` for an index of the files.
        force: Replace an existing dataset that differs or is damaged.
        as_json: Print the manifest as JSON instead of tables.
    """
    from biascon.cli.inspect import print_result
    from biascon.data.building.images import build_image_dataset

    plan = plan.as_file_index(image_spec) if store == "files" else plan
    folder = out if out is not None else Path("data") / plan.description.name
    progress = ImageProgress()
    result = build_image_dataset(
        raw, plan, folder, image_spec=image_spec, max_rejected=max_rejected, force=force, threads=threads,
        on_progress=progress, log=print_note,
    )  # fmt: skip
    progress.print_rate()
    print_result(result, as_json=as_json)
    return result


def build_or_preview(
    raw: Path | None,
    plan: BuildPlan,
    image_spec: ImageSpec,
    *,
    dry_run: bool,
    as_json: bool,
    **build_options: Any,
) -> None:
    """Build a dataset as ``build_dataset``, or print the preview of the build.

    Args:
        raw: The folder of images; with ``dry_run``, None if there is only a list of names.
        plan: The plan of the dataset.
        image_spec: How an image becomes an array.
        dry_run: Print the preview.
        as_json: Print JSON instead of tables.
        build_options: The other arguments of ``build_dataset``.
    """
    if dry_run:
        if build_options["store"] == "files":
            plan = plan.as_file_index(image_spec)
        keys = ("out", "max_rejected", "force")
        print_preview(plan, raw, as_json=as_json, **{key: build_options[key] for key in keys})
    elif raw is not None:
        build_dataset(raw, plan, image_spec, as_json=as_json, **build_options)


class ImageProgress:
    """Reports the number of finished images, and prints the rate of the whole task at its end.

    Args:
        what: The task.
    """

    def __init__(self, what: str = "decoding") -> None:
        self.what = what
        self.start_time, self.seconds = time.monotonic(), 0.0
        self.n_resumed: int | None = None  # images that were done before this build
        self.finished = 0

    def __call__(self, finished: int, total: int) -> None:
        """Report that ``finished`` of ``total`` images are finished."""
        if self.n_resumed is None:
            self.n_resumed, self.start_time = finished, time.monotonic()
        self.finished, self.seconds = finished, time.monotonic() - self.start_time
        report_progress(self.what, finished, total, "images")

    def print_rate(self) -> None:
        """Print the number of images of this build and their rate, if there is one."""
        n = self.finished - (self.n_resumed or 0)
        if n:
            rate = n / max(self.seconds, 1e-9)
            print_note(f"{n:,} images, {self.seconds:.1f} s, {rate:,.0f} images/s")


def print_preview(
    plan: BuildPlan,
    raw: Path | None = None,
    *,
    as_json: bool,
    out: Path | None = None,
    max_rejected: float = 0.01,
    force: bool = False,
) -> None:
    """Print the preview of a plan: the numbers of names read and left out, and the counts of each split.

    Args:
        plan: The plan of the dataset.
        raw: The folder of images; None if there is only a list of names.
        as_json: Print JSON instead of tables.
        out: The dataset folder; None for ``data/<name>``.
        max_rejected: The largest share of images that may be left out.
        force: Replace an existing dataset that differs or is damaged.

    Raises:
        BiasconError: The build would fail.
    """
    from biascon.cli.inspect import format_description
    from biascon.data.building.preview import preview_build
    from biascon.utils.files import pretty_json

    folder = out if out is not None else Path("data") / plan.description.name
    preview = preview_build(raw, plan, folder, max_rejected=max_rejected, force=force)
    names, counts = plan.description.source["names"], preview.counts
    if as_json:
        counts_json = {name: part.to_json() for name, part in counts.items()}
        data = {**names, **preview.description.to_json(), "counts": counts_json}
        print_json(pretty_json(data))
    else:
        reasons = "".join(f", {n:,} {reason}" for reason, n in names["reasons"].items())
        dropped = "".join(
            f"; {n:,} dropped: {reason}" for reason, n in names.get("dropped", {}).items()
        )
        repaired = f", {names['repaired']:,} repaired" if "repaired" in names else ""
        print_text(
            f"{names['read']:,} names read{repaired}, {names['left_out']:,} left out{reasons}{dropped}"
        )
        print_text(format_description(preview.description, counts))
    if preview.failure is not None:
        raise preview.failure
