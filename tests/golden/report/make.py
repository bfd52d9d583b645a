"""Write the golden report of the run folders beside this file.

    python tests/golden/report/make.py

The run folders are smoke runs on the embedded digits, of evaluation format 1. They are never written again:
they show that a report reads the runs of earlier versions. Their encoders are a few bytes, because a report
does not read encoders.
"""

from __future__ import annotations

from pathlib import Path

from biascon.report.experiments import find_runs, group_runs
from biascon.report.latex import render_latex
from biascon.report.markdown import render_markdown

HERE = Path(__file__).parent


def main() -> None:
    """Write the Markdown and the LaTeX."""
    experiments = group_runs(find_runs(HERE / "runs"))
    (HERE / "report.md").write_text(render_markdown(experiments), encoding="utf-8")
    (HERE / "appendix.tex").write_text(render_latex(experiments), encoding="utf-8")


if __name__ == "__main__":
    main()
