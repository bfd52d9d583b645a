"""``biascon compare``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from biascon.cli.output import format_table

if TYPE_CHECKING:
    from biascon.report.experiments import Experiment
    from biascon.report.paired_tests import PairedTest


@click.command(name="compare")
@click.argument(
    "folders", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--against", metavar="LOSS", help="Compare each loss with this one.  [default: every pair]"
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write every metric of every run in long form, as .csv, .parquet or .json.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a comparison.")
def command(
    folders: tuple[Path, ...], against: str | None, out: Path | None, as_json: bool
) -> None:
    """Test losses against each other in unbiased accuracy, on the same seeds and on the same test images.

    RUN is a run folder, or a folder with runs below it. Only runs of one dataset and one recipe are compared
    with each other; without a bias attribute, in top-1 accuracy.
    """
    from biascon.report.experiments import group_runs, read_runs
    from biascon.report.export import write_long
    from biascon.report.paired_tests import run_paired_tests

    found = read_runs(folders)
    groups = group_runs(found)
    labels = [None if against is None else _label(one, against) for one in groups]
    if out is not None:
        write_long(found, out)
    for one, label in zip(groups, labels, strict=True):
        tested = run_paired_tests(one, label)
        if as_json:
            for each in tested:
                about = {"dataset": one.first["dataset"], "recipe": one.first["recipe"]}
                click.echo(json.dumps({**about, "metric": one.headline, **each.plain()}))
        else:
            click.echo(format_tests(one, tested))


def _label(one: Experiment, against: str) -> str:
    from biascon.errors import UsageError, did_you_mean

    if against not in one.losses:
        known = ", ".join(one.losses)
        raise UsageError(
            f"no run of '{against}'{did_you_mean(against, one.losses)} (there are: {known})"
        )
    return against


def format_tests(one: Experiment, tested: list[PairedTest]) -> str:
    """Lay out the comparisons of a group as two tables."""
    if not tested:
        return f"{one.title}\nonly {', '.join(one.losses)}: nothing to compare with"

    def number(value: float, form: str = "+.1f", scale: float = 100.0) -> str:
        return "-" if value != value else f"{scale * value:{form}}"  # NaN differs from itself

    def p(value: float) -> str:
        return "-" if value != value else "< 0.001" if value < 0.001 else f"{value:.3f}"

    seeds = [
        [t.a, t.b, str(t.seeds), number(t.difference), f"[{number(t.low)}, {number(t.high)}]",
         p(t.p_t), p(t.p_t_holm), p(t.p_wilcoxon)]
        for t in tested
    ]  # fmt: skip
    images = [
        [t.a, t.b, str(i.seed), f"{i.n:,}", number(i.difference), f"[{number(i.low)}, {number(i.high)}]",
         f"{i.only_a:,}", f"{i.only_b:,}", p(i.mcnemar)]
        for t in tested
        for i in t.images
    ]  # fmt: skip
    head = ["loss", "against", "seeds", "difference", "95 %", "p (t)", "p (Holm)", "p (Wilcoxon)"]
    parts = [
        one.title,
        "",
        f"over seeds: {one.accuracy} in points, paired",
        format_table(head, seeds, left=2),
    ]
    if images:
        head = [
            "loss",
            "against",
            "seed",
            "n",
            "difference",
            "95 %",
            "only it",
            "only other",
            "p (McNemar)",
        ]
        parts += ["", "over the test images of one seed: about two encoders, not about the losses",
                  format_table(head, images, left=2)]  # fmt: skip
    parts.append(
        f"\nHolm: adjusted over the {len(tested)} comparison{'s' * (len(tested) != 1)} above"
    )
    return "\n".join(parts)
