"""``biascon audit``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from biascon.cli.output import note, table

if TYPE_CHECKING:
    from biascon.auditing.result import Audit

FORMS = (".json", ".html", ".tex", ".csv", ".txt")


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
    from biascon.data.alignment import read
    from biascon.errors import DataError, UsageError

    if out is not None:
        if out.suffix.lower() not in FORMS:
            raise UsageError(f"expected --out to end in {', '.join(FORMS)}, but got {out}")
        if out.exists() and any(
            p.exists() and out.samefile(p) for p in (predictions, aligned) if p
        ):
            raise UsageError(f"--out {out} would overwrite what is read")
    given = None if aligned is None else read(aligned)
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

        write_atomic(out, written(found, out.suffix.lower()))
        note(f"{out}: written")
    click.echo(as_lines(found) if as_json else show(found) + "\n", nl=False)  # fmt: skip


def show(found: Audit) -> str:
    """Lay an audit out as text."""
    import textwrap

    from biascon.auditing.tables import LEGEND, each, heading, tables, visible

    parts = [visible(heading(found))]
    for one in each(found):
        for section in tables(one):
            header, *rows = [
                [visible(cell) for cell in row] for row in [section.header, *section.rows]
            ]
            parts.append(f"{visible(section.title)}\n{table(header, rows, left=section.left)}")
        if one.notes:
            parts.append("\n".join(f"note: {visible(note)}" for note in one.notes))
    return "\n\n".join([*parts, textwrap.fill(LEGEND, 110)])


def as_lines(found: Audit) -> str:
    """Return an audit as JSON: a line a bias."""
    import json

    from biascon.auditing.tables import each

    return "".join(json.dumps(one.data, allow_nan=False) + "\n" for one in each(found))


def written(found: Audit, suffix: str) -> str:
    """Return an audit in the form of a suffix."""
    from biascon.auditing.markup import page

    forms: dict[str, Callable[[], str]] = {
        ".json": lambda: as_lines(found),
        ".html": lambda: page(found),
        ".tex": found.to_latex,
        ".csv": lambda: found.to_frame().to_csv(index=False, lineterminator="\n"),
        ".txt": lambda: show(found) + "\n",
    }
    return forms[suffix]()
