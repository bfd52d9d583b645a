"""The report as LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from biascon import __version__
from biascon.data.dataset import Split
from biascon.report.collect import LOWER_IS_BETTER, Group
from biascon.report.draw import PAGE
from biascon.report.figure import Drawing, drawings, drawings_across
from biascon.report.tables import ACCURACIES, cell_text, cells, judged, remark


def latex(groups: Sequence[Group], tests: Mapping[str, Split] | None = None) -> str:
    """Return tables and figures, to ``\\input`` after ``\\usepackage{booktabs,graphicx}``."""
    import pandas as pd

    parts = [f"% Made by biascon {__version__}. Needs \\usepackage{{booktabs,graphicx}}."]
    parts += [_figure(drawing) for drawing in drawings_across(groups)]
    for one in groups:
        data = {
            escape(row["label"]) + r"$^\dagger$" * row["sees_bias"]: [
                cell_text(cell, row["seeds"], "$\\pm$", "\\textbf{{{}}}")
                for cell in row["metrics"].values()
            ]
            for row in cells(one)
        }
        down = r" $\downarrow$"
        header = [name + down * (key in LOWER_IS_BETTER) for key, name in one.metrics.items()]
        frame = pd.DataFrame.from_dict(data, orient="index", columns=header)
        # Two tabulars under each other: eight columns are wider than the page of an article.
        halves = [
            part.style.to_latex(hrules=True, column_format="l" + "r" * part.shape[1])
            for part in (frame.iloc[:, :ACCURACIES], frame.iloc[:, ACCURACIES:])
            if part.shape[1]
        ]
        seeds = sorted({len(runs) for runs in one.losses.values()})
        protocol = one.first["protocol"]
        about = [
            one.title,
            f"training set: {protocol['train']}",
            f"{' or '.join(map(str, seeds))} seed{'s' if seeds != [1] else ''}, "
            "mean and sample standard deviation in percent",
            f"test: {protocol['test']}, n = {one.first['top1']['n']:,}",
            f"validation: {protocol['val']}",
            *(f"{text}: {labels}" for text, labels in judged(one)),
            f"selection: {protocol['selection']}",
            *([remark(one).rstrip(".")] if remark(one) else []),
            "bold: paired 95 % interval over seeds against every other loss of its kind excludes 0",
        ]
        caption = "; ".join(escape(part) for part in about) + "."
        if any(runs[0].sees_bias for runs in one.losses.values()):
            caption += (
                r" $^\dagger$ is given bias labels: not comparable with a method that is not."
            )
        digests = [f"%   {run.label}, seed {run.seed}: {run.evaluation['digest']}"
                   for runs in one.losses.values() for run in runs]  # fmt: skip
        table = "\n".join(
            [
                r"\begin{table}",
                r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
                rf"\caption{{{caption}}}",
                r"\medskip",
                *(rf"{half}\par\medskip" for half in halves[:-1]),
                rf"{halves[-1]}\end{{table}}",
                "",
            ]
        )
        parts.append(
            "\n".join([f"% dataset {one.first['dataset_digest']}; runs:", *digests, table])
        )
        parts += [_figure(drawing) for drawing in drawings(one, tests)]
    return "\n\n".join(parts)


def _figure(drawing: Drawing) -> str:
    width = f"{drawing.size[0] / PAGE:.3g}"
    return "\n".join(
        [
            f"% runs: {drawing.runs}",
            r"\begin{figure}",
            r"\centering",
            rf"\includegraphics[width={width}\linewidth]{{{drawing.file}.pdf}}",
            rf"\caption{{{escape(drawing.caption)}}}",
            r"\end{figure}",
            "",
        ]
    )


def main_file() -> str:
    """Return a document that has the appendix in it and nothing else."""
    return r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage[margin=1in]{geometry}
\usepackage{booktabs,graphicx}
\begin{document}
\appendix
\section{Fairness report}
\input{appendix}
\end{document}
"""


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "†": r"$^\dagger$", "↓": r"$\downarrow$", "±": r"$\pm$",
}  # fmt: skip


def escape(text: str) -> str:
    """Escape LaTeX's special characters.

    >>> escape("50 % of a_b")
    '50 \\\\% of a\\\\_b'
    """
    return "".join(_LATEX.get(character, character) for character in text)
