"""``biascon demo``: the main job on whatever digits there are."""

from __future__ import annotations

from pathlib import Path

import click

from biascon.cli.options import FOLDER
from biascon.cli.output import Progress, print_note


@click.command(name="demo")
@click.option(
    "--out", type=FOLDER, default="demo", show_default=True, help="Where data, runs and report go."
)
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda|mps")
def command(out: Path, device: str) -> None:
    """Build a BiasedMNIST, train ConTeX and SupCon on it, and write the report.

    It takes MNIST if it is found or can be downloaded, at rho 0.997; else the 5,000 embedded digits,
    at rho 0.97, and says which.
    """
    from biascon.cli.demo_run import plan, run
    from biascon.cli.evaluate import format_evaluations

    chosen = plan()
    print_note(chosen.why)
    found = run(chosen, out, device=device, say=print_note, progress=Progress)
    click.echo(format_evaluations([evaluation for evaluation, _ in found.runs]))
    click.echo("")
    for line in found.verdicts:
        click.echo(line)
    click.echo("")
    for path in found.files:
        click.echo(f"written: {path}")
