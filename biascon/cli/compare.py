"""``biascon compare``."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from biascon.cli.metric_output import compare_in_metrics
from biascon.cli.options import verify_option
from biascon.cli.output import format_p, format_table, print_json, print_note, print_text
from biascon.cli.study_output import compare_study
from biascon.utils.text import message_line

if TYPE_CHECKING:
    from biascon.report.experiments import Experiment
    from biascon.report.paired_tests import PairedTest

SEED_COLUMNS = (
    "loss",
    "against",
    "seeds",
    "difference",
    "95 %",
    "p (t)",
    "p (Holm)",
    "p (Wilcoxon)",
)
IMAGE_COLUMNS = (
    "loss", "against", "seed", "n", "difference", "95 %", "only loss", "only against", "p (McNemar)",
)  # fmt: skip


@click.command(name="compare")
@click.argument(
    "folders", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="Compare in this metric, such as worst_group or equalized_odds_difference. Repeat the option for "
    "several; Holm then adjusts over all metrics and pairs.  [default: unbiased accuracy]",
)
@click.option(
    "--against",
    metavar="LOSS",
    help="Compare each loss with this one.  [default: every pair; the reference of a study]",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write every metric of every run in long form, as .csv, .parquet or .json; with a study, every "
    "comparison as .csv or .json.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each comparison.")
@verify_option
def command(
    folders: tuple[Path, ...],
    metrics: tuple[str, ...],
    against: str | None,
    out: Path | None,
    as_json: bool,
    verify: bool,
) -> None:
    """Compare losses by paired tests in unbiased accuracy, over seeds and over test images.

    RUN is a run folder, or a folder that has run folders below it. Only runs of one dataset and one recipe
    are compared with each other. Without a bias attribute, the accuracy is top-1. --metric compares in other
    metrics.

    RUN may also be the table of a tuning study, such as studies/NAME/study.parquet: its confirmation is then
    compared, for every rule and rho, and no run folder is read.
    """
    if any(folder.suffix == ".parquet" and not folder.is_dir() for folder in folders):
        from biascon.errors import UsageError

        if len(folders) > 1:
            raise UsageError(f"expected one table of a study alone, but got {len(folders)} paths")
        compare_study(folders[0], against, out, as_json=as_json, metrics=metrics)
        return
    from biascon.report.experiments import group_runs, read_runs
    from biascon.report.export import write_long
    from biascon.report.paired_tests import run_paired_tests
    from biascon.runs.seals import Check

    if metrics:
        from biascon.metrics.paired_metrics import check_metrics

        metrics = check_metrics(metrics)
    runs = read_runs(folders, check=Check.FULL if verify else Check.REPORT, say=print_note)
    experiments = group_runs(runs)
    if against is not None:
        for experiment in experiments:
            _check_label(experiment, against)
    if out is not None:
        write_long(runs, out)
    if metrics:
        compare_in_metrics(experiments, metrics, against, as_json=as_json)
        return
    for experiment in experiments:
        tests = run_paired_tests(experiment, against, say=print_note)
        if not as_json:
            print_text(format_tests(experiment, tests))
            continue
        for test in tests:
            data = {
                "dataset": experiment.identity.dataset,
                "recipe": experiment.identity.recipe,
                "metric": experiment.headline,
                **test.to_json(),
            }
            print_json(json.dumps(data))


def _check_label(experiment: Experiment, label: str) -> None:
    """Raise a ``UsageError`` if the experiment has no run of this loss."""
    from biascon.errors import UsageError, did_you_mean

    if label not in experiment.losses:
        labels = ", ".join(experiment.losses)
        raise UsageError(
            f"no run of '{label}'{did_you_mean(label, experiment.losses)} (there are: {labels})"
        )


def format_tests(experiment: Experiment, tests: Sequence[PairedTest]) -> str:
    """Return the comparisons of an experiment as two tables: over seeds, and over test images."""
    if not tests:
        labels = ", ".join(experiment.losses)
        return f"{message_line(experiment.title)}\nonly {labels}: nothing to compare with"
    lines = [
        message_line(experiment.title),
        "",
        f"over seeds: {experiment.accuracy} in points, paired",
        format_table(SEED_COLUMNS, [_seed_row(test) for test in tests], left=2),
    ]
    image_rows = _image_rows(tests)
    if image_rows:
        lines += [
            "",
            "over the test images of one seed: this compares two encoders, not the losses",
            format_table(IMAGE_COLUMNS, image_rows, left=2),
        ]
    plural = "s" if len(tests) != 1 else ""
    lines.append(f"\nHolm: adjusted over the {len(tests)} comparison{plural} above")
    return "\n".join(lines)


def _seed_row(test: PairedTest) -> list[str]:
    return [
        test.a,
        test.b,
        str(test.seeds),
        _format_points(test.difference),
        _format_interval(test.low, test.high),
        format_p(test.p_t),
        format_p(test.p_t_holm),
        format_p(test.p_wilcoxon),
    ]


def _image_rows(tests: Sequence[PairedTest]) -> list[list[str]]:
    return [
        [
            test.a,
            test.b,
            str(image_test.seed),
            f"{image_test.n:,}",
            _format_points(image_test.difference),
            _format_interval(image_test.low, image_test.high),
            f"{image_test.only_a:,}",
            f"{image_test.only_b:,}",
            format_p(image_test.mcnemar),
        ]
        for test in tests
        for image_test in test.images
    ]


def _format_points(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:+.1f}"


def _format_interval(low: float, high: float) -> str:
    return f"[{_format_points(low)}, {_format_points(high)}]"
