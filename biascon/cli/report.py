"""``biascon report``."""

from __future__ import annotations

from pathlib import Path

import click

from biascon.cli.options import FOLDER, verify_option
from biascon.cli.output import print_note, print_text
from biascon.cli.study_report import report_study


@click.command(name="report")
@click.argument(
    "study_path",
    metavar="[STUDY]",
    required=False,
    type=click.Path(dir_okay=False, path_type=Path),
)
@click.option(
    "--runs", "root", type=FOLDER, default="runs", show_default=True, help="Folder of runs."
)
@click.option(
    "--out", type=FOLDER, default="report", show_default=True, help="Folder of the report."
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    metavar="FORMAT",
    help="html, markdown, latex, csv, parquet or json; repeat the option for several.  [default: all]",
)
@click.option(
    "--data",
    type=FOLDER,
    default="data",
    show_default=True,
    help="Folder of datasets; the report shows images of the datasets in it.",
)
@click.option("--dataset", metavar="NAME", help="Report only the runs on this dataset.")
@click.option(
    "--card",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Write only the model card of this run, or of all runs in this folder.",
)
@click.option(
    "--oracle",
    is_flag=True,
    help="With STUDY: also show the choice on the TEST images, marked as no selection rule.",
)
@verify_option
def command(
    study_path: Path | None,
    root: Path,
    out: Path,
    formats: tuple[str, ...],
    data: Path,
    dataset: str | None,
    card: Path | None,
    oracle: bool,
    verify: bool,
) -> None:
    """Write the report of all finished runs: a web page, Markdown, LaTeX with its figures, CSV and JSON.

    STUDY is the table of a tuning study, such as studies/NAME/study.parquet. With it, the report is that of
    the study, and no run folder is read.
    """
    from biascon.errors import UsageError

    if study_path is not None:
        if card is not None or dataset is not None:
            raise UsageError("--card and --dataset are about runs, and do not go with a study")
        report_study(study_path, out, formats, oracle=oracle)
        return
    if oracle:
        raise UsageError("--oracle needs the table of a study, such as studies/NAME/study.parquet")
    from biascon.report.verdicts import describe_difference, split_for_prose
    from biascon.report.write import write_cards, write_report
    from biascon.runs.seals import Check
    from biascon.utils.text import message_line

    check = Check.FULL if verify else Check.REPORT
    if card is not None:
        print_text(f"written: {', '.join(map(str, write_cards(card, out, check=check)))}")
        return
    files, experiments = write_report(
        root, out, dataset=dataset, formats=formats, data=data, check=check, say=print_note
    )
    for experiment in experiments:
        print_text(message_line(experiment.title))
        in_words, other_differences = split_for_prose(experiment)
        for difference in in_words:
            print_text(message_line(f"  {describe_difference(difference)}"))
        if other_differences:
            print_text(f"  and {len(other_differences)} more comparisons, in the report")
    print_text(f"written: {', '.join(map(str, files))}")
