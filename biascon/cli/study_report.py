"""The report of a tuning study, as ``report`` and ``tune`` write it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from biascon.cli.output import print_note, print_text
from biascon.cli.study_output import format_comparison


def report_study(
    path: Path, out: Path, formats: Sequence[str] = (), *, oracle: bool = False
) -> None:
    """Write the report of a study and print its comparison.

    Args:
        path: The table of the study.
        out: The folder of the report.
        formats: Names of formats; without any, all formats are written.
        oracle: Whether the choice on the test images is shown too.
    """
    from biascon.report.study_data import load_study, make_study
    from biascon.report.study_write import write_study_report
    from biascon.tuning.repeat import trial_settings

    study = make_study(load_study(path), with_oracle=oracle)
    files = write_study_report(
        study, out, formats=formats, trial_settings=trial_settings, say=print_note
    )
    print_text(format_comparison(study))
    pages = [str(file) for file in files if file.parent == out]
    pictures = len(files) - len(pages)
    more = [f"{pictures} pictures in {out / 'figures'}"] if pictures else []
    print_text(f"written: {', '.join([*pages, *more])}")
