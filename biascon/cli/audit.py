"""``biascon audit``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from biascon.cli.output import format_table, print_note

if TYPE_CHECKING:
    from biascon.auditing.result import Audit

FORMATS = (".json", ".html", ".tex", ".csv", ".txt")


@click.command(name="audit")
@click.argument("predictions", type=click.Path(path_type=Path))
@click.option("--label", required=True, metavar="COLUMN", help="The column of labels.")
@click.option(
    "--prediction", required=True, metavar="COLUMN", help="The column of predicted labels."
)
@click.option(
    "--bias",
    required=True,
    multiple=True,
    metavar="COLUMN",
    help="The column that groups the rows; repeat it for several: each alone, and their combinations.",
)
@click.option(
    "--scores",
    metavar="COLUMN,...",
    help="Probabilities, for the calibration: a column a class, in order, or one for the second of two.",
)
@click.option(
    "--aligned",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Which bias values go with a label: TOML or JSON (label = value or values) or CSV of pairs.  "
    "[default: label = bias, where both have the same values]",
)
@click.option(
    "--drop-missing", is_flag=True, help="Leave out rows that lack a value, and say how many."
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the bootstrap."
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write the report, in the form of its suffix: .json, .html, .tex, .csv or .txt.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object a bias instead of the tables."
)
def command(
    predictions: Path,
    label: str,
    prediction: str,
    bias: tuple[str, ...],
    scores: str | None,
    aligned: Path | None,
    drop_missing: bool,
    seed: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure the PREDICTIONS of any model (a CSV or Parquet file) by groups, with n and intervals."""
    from biascon.auditing.api import audit_file
    from biascon.data.alignment import read_aligned_values
    from biascon.errors import DataError, UsageError

    if out is not None:
        if out.suffix.lower() not in FORMATS:
            raise UsageError(f"expected --out to end in {', '.join(FORMATS)}, but got {out}")
        if out.exists() and any(
            p.exists() and out.samefile(p) for p in (predictions, aligned) if p
        ):
            raise UsageError(f"--out {out} would overwrite what is read")
    given = None if aligned is None else read_aligned_values(aligned)
    try:
        found = audit_file(
            predictions,
            label=label,
            prediction=prediction,
            bias=bias,
            scores=scores.split(",") if scores else (),
            aligned=given,
            drop_missing=drop_missing,
            seed=seed,
        )
    except UsageError as error:
        if aligned is None or "aligned values" not in str(error):
            raise
        raise DataError(f"{aligned}: {error}") from error
    if out is not None:
        from biascon.utils.files import write_atomic

        write_atomic(out, render_audit(found, out.suffix.lower()))
        print_note(f"{out}: written")
    click.echo(json_lines(found) if as_json else format_audit(found) + "\n", nl=False)  # fmt: skip


def format_audit(found: Audit) -> str:
    """Lay an audit out as text."""
    import textwrap

    from biascon.auditing.tables import LEGEND, audit_tables, describe_source, iter_audits, visible

    parts = [visible(describe_source(found))]
    for one in iter_audits(found):
        for section in audit_tables(one):
            header, *rows = [
                [visible(cell) for cell in row] for row in [section.header, *section.rows]
            ]
            parts.append(
                f"{visible(section.title)}\n{format_table(header, rows, left=section.left)}"
            )
        if one.notes:
            parts.append("\n".join(f"note: {visible(note)}" for note in one.notes))
    return "\n\n".join([*parts, textwrap.fill(LEGEND, 110)])


def json_lines(found: Audit) -> str:
    """Return an audit as JSON: a line a bias."""
    import json

    from biascon.auditing.tables import iter_audits

    return "".join(json.dumps(one.data, allow_nan=False) + "\n" for one in iter_audits(found))


def render_audit(found: Audit, suffix: str) -> str:
    """Return an audit in the form of a suffix."""
    from biascon.auditing.markup import page

    forms: dict[str, Callable[[], str]] = {
        ".json": lambda: json_lines(found),
        ".html": lambda: page(found),
        ".tex": found.to_latex,
        ".csv": lambda: found.to_frame().to_csv(index=False, lineterminator="\n"),
        ".txt": lambda: format_audit(found) + "\n",
    }
    return forms[suffix]()
