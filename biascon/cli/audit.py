"""The command ``biascon audit``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from biascon.cli.audit_features import with_features
from biascon.cli.output import print_json, print_note, print_text

if TYPE_CHECKING:
    from biascon.auditing.record import AuditRecord
    from biascon.auditing.result import Audit
    from biascon.auditing.verdicts import Verdict

FORMATS = (".json", ".html", ".tex", ".csv", ".txt")


@click.command(name="audit")
@click.argument("predictions", type=click.Path(path_type=Path))
@with_features
@click.option("--label", required=True, metavar="COLUMN", help="The column of labels.")
@click.option(
    "--prediction",
    metavar="COLUMN",
    help="The column of predicted labels.  [required without --features]",
)
@click.option(
    "--bias",
    required=True,
    multiple=True,
    metavar="COLUMN",
    help="A column that groups the rows. Repeat the option for several columns: the audit is by each "
    "column alone and by their combinations.",
)
@click.option(
    "--scores",
    metavar="COLUMN,...",
    help="Columns of probabilities, for AUC and calibration: one for each class in order, or one for the "
    "positive class.",
)
@click.option(
    "--aligned",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The bias values that go with each label: TOML or JSON (label = value or values) or CSV with two "
    "columns.  [default: label = bias, if both columns have the same names]",
)
@click.option(
    "--drop-missing", is_flag=True, help="Leave out rows that lack a value, and print their number."
)
@click.option(
    "--keep-word",
    "keep_words",
    multiple=True,
    metavar="WORD",
    help="A word such as None or NA that is a value here, not a missing value; repeat it.",
)
@click.option(
    "--delimiter",
    metavar="CHAR",
    help="The delimiter of a CSV: one character, or tab.  [default: recognized from the header]",
)
@click.option(
    "--decimal",
    type=click.Choice([".", ","]),
    help="The decimal mark of a CSV.  [default: recognized from the first rows]",
)
@click.option(
    "--positive",
    metavar="VALUE",
    help="The positive class.  [default: the second of two labels; the mean over classes with more labels]",
)
@click.option(
    "--min-group",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Leave groups with fewer rows out of the comparisons and of the worst group.",
)
@click.option(
    "--reference",
    multiple=True,
    metavar="VALUE",
    help="The reference group: signed differences and ratios of every group to it. With several bias "
    "columns, repeat the option for each of them in order.",
)
@click.option(
    "--bins",
    multiple=True,
    metavar="COLUMN=EDGE,...",
    help="The edges of the bins of a numeric bias column: age=0,18,40 makes [0, 18) and [18, 40]. Values "
    "outside are in bins of their own. Repeat the option for several columns.",
)
@click.option("--pairs", is_flag=True, help="Audit every pair of three or more bias columns too.")
@click.option("--weight", metavar="COLUMN", help="The column of weights of the rows.")
@click.option(
    "--baseline-prediction",
    "baseline",
    metavar="COLUMN",
    help="The column of the predictions of a baseline, compared row by row in each group.",
)
@click.option(
    "--training",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The training rows, with the label and the bias columns: adds the accuracy in which every cell has "
    "its share of the training rows as its weight.",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="A metric to judge against the --tolerance that follows, by its name in the JSON.",
)
@click.option(
    "--tolerance",
    "tolerances",
    multiple=True,
    metavar="[NAME=]LIMIT",
    help="Judge a metric by its interval: a difference or an error must be at most, an accuracy or a ratio "
    "at least LIMIT (0.05 is 5 points). The exit code is 0 if all are within, 3 if one exceeds its limit, 5 "
    "if one is undefined, 4 if one is inconclusive. Repeat the option for several metrics.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Random seed of the bootstrap and of the permutations.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write the audit to a file. Its suffix is the format: .json, .html, .tex, .csv or .txt. JSON "
    "has an array if there are several bias columns.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON object for each bias column instead of the tables.",
)
def command(
    predictions: Path,
    scores: str | None,
    aligned: Path | None,
    reference: tuple[str, ...],
    bins: tuple[str, ...],
    metrics: tuple[str, ...],
    tolerances: tuple[str, ...],
    out: Path | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Measure the PREDICTIONS of any model by groups, with n and intervals.

    PREDICTIONS is a CSV, JSON lines, Parquet or Arrow (Feather) file, or - for standard input.
    """
    from biascon.auditing.api import audit_file
    from biascon.auditing.display.text import render_text
    from biascon.auditing.options import parse_bins
    from biascon.auditing.tolerance import EXIT_CODES, parse_tolerances
    from biascon.auditing.verdicts import judge_records, worst_outcome
    from biascon.data.alignment import read_aligned_values
    from biascon.errors import AlignmentError, DataError

    limits = parse_tolerances(metrics, tolerances)
    if out is not None:
        inputs = (predictions, aligned, settings["training"])
        _check_out(out, [path for path in inputs if path is not None])
    aligned_values = None if aligned is None else read_aligned_values(aligned)
    try:
        audit = audit_file(
            predictions,
            scores=scores.split(",") if scores else (),
            aligned=aligned_values,
            reference=reference or None,
            bins=parse_bins(bins),
            **settings,
        )
    except AlignmentError as error:
        if aligned is None:
            raise
        raise DataError(f"{aligned}: {error}") from error
    verdicts = judge_records(audit.records, limits)
    if out is not None:
        from biascon.utils.files import write_output

        write_output({out: render_audit(audit, out.suffix.lower(), verdicts)})
        print_note(f"{out}: written")
    if as_json:
        print_json(format_json(audit.records, verdicts))
    else:
        print_text(render_text(audit.records, verdicts))
    if verdicts:
        sys.exit(EXIT_CODES[worst_outcome(verdicts)])


def _check_out(out: Path, inputs: Sequence[Path]) -> None:
    """Check the file to write.

    Raises:
        UsageError: No format has its suffix, or it is one of the input files.
    """
    from biascon.errors import UsageError

    if out.suffix.lower() not in FORMATS:
        raise UsageError(f"expected --out to end in {', '.join(FORMATS)}, but got {out}")
    if out.exists() and any(path.exists() and out.samefile(path) for path in inputs):
        raise UsageError(f"--out {out} would overwrite an input file")


def format_json_file(records: Sequence[AuditRecord], verdicts: Sequence[Verdict] = ()) -> str:
    """Return the records of an audit as one JSON value: an object, or an array of several objects."""
    lines = format_json(records, verdicts).splitlines()
    return (lines[0] if len(lines) == 1 else "[" + ",\n".join(lines) + "]") + "\n"


def format_json(records: Sequence[AuditRecord], verdicts: Sequence[Verdict] = ()) -> str:
    """Return the records of an audit as JSON, one line for each record, with its verdicts if any."""
    import json

    lines = []
    for record in records:
        data = record.to_json()
        if verdicts:
            data["verdicts"] = [v.to_json() for v in verdicts if v.bias == record.bias]
        lines.append(json.dumps(data, allow_nan=False) + "\n")
    return "".join(lines)


def render_audit(audit: Audit, suffix: str, verdicts: Sequence[Verdict] = ()) -> str:
    """Return an audit in the format of a suffix of ``FORMATS``."""
    from biascon.auditing.display.long_frame import long_frame
    from biascon.auditing.display.markup import render_latex, render_page
    from biascon.auditing.display.text import render_text

    formats: dict[str, Callable[[], str]] = {
        ".json": lambda: format_json_file(audit.records, verdicts),
        ".html": lambda: render_page(audit.records, verdicts),
        ".tex": lambda: render_latex(audit.records, verdicts),
        ".csv": lambda: long_frame(audit.records, verdicts).to_csv(
            index=False, lineterminator="\n"
        ),
        ".txt": lambda: render_text(audit.records, verdicts),
    }
    return formats[suffix]()
