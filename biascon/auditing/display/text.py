"""The records of an audit as plain text: tables, findings, notes, the legend, and the verdicts."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from biascon.auditing.display.findings import audit_findings
from biascon.auditing.display.legend import audit_legend
from biascon.auditing.display.tables import audit_tables, describe_source
from biascon.auditing.record import AuditRecord
from biascon.auditing.verdicts import Verdict, describe_verdicts
from biascon.utils.text import format_table, message_line, shorten_words

_WIDTH = 110  # letters in a line of a paragraph


def render_text(records: Sequence[AuditRecord], verdicts: Sequence[Verdict] = ()) -> str:
    """Return the records of an audit as tables of text, then the verdicts.

    Args:
        records: The records of one audit, by each bias column alone and by their combinations.
        verdicts: The verdicts against tolerances.
    """
    parts = [message_line(describe_source(records[-1]))]
    for record in records:
        findings = _fill(f"- {sentence}" for sentence in audit_findings(record))
        for k, table in enumerate(table.shorten() for table in audit_tables(record)):
            parts.append(
                f"{table.title}\n{format_table(table.header, table.rows, left=table.left)}"
            )
            if k == 0 and findings:
                parts.append(findings)
        if record.notes:
            parts.append("\n".join(message_line(f"note: {note}") for note in record.notes))
    parts.append(textwrap.fill(audit_legend(records), _WIDTH))
    if verdicts:
        parts.append(f"Verdicts\n{_fill(describe_verdicts(verdicts))}")
    return "\n\n".join(parts) + "\n"


def _fill(sentences: Iterable[str]) -> str:
    """Return sentences in lines, with an indent after the first line of each."""
    return "\n".join(
        textwrap.fill(shorten_words(sentence), _WIDTH, subsequent_indent="  ")
        for sentence in sentences
    )
