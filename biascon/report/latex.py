"""The report as LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from biascon.data.dataset import Split
from biascon.report.disparities import (
    COLUMNS,
    PAIRED_COLUMNS,
    count_permutations,
    measure_disparities,
    paired_cells,
)
from biascon.report.experiments import LOWER_IS_BETTER, Experiment
from biascon.report.figures import Figure, cross_experiment_figures, experiment_figures
from biascon.report.plots.style import PAGE
from biascon.report.tables import (
    ACCURACIES,
    cell_text,
    describe_classifiers,
    table_cells,
    table_note,
)
from biascon.report.verdicts import reference_loss
from biascon.utils.markup import escape_latex
from biascon.version import __version__

FLOATS = (
    12  # after which a page is ended: LaTeX holds back some 50, older ones 18, and then gives up
)


def render_latex(groups: Sequence[Experiment], tests: Mapping[str, Split] | None = None) -> str:
    """Return tables and figures, to ``\\input`` after ``\\usepackage{booktabs,graphicx}``."""
    floats = [_figure(drawing) for drawing in cross_experiment_figures(groups)]
    for one in groups:
        floats += [_results(one), *_tests(one), *_between_groups(one)]
        floats += [_figure(drawing) for drawing in experiment_figures(one, tests)]
    parts = [f"% Made by biascon {__version__}. Needs \\usepackage{{booktabs,graphicx}}."]
    for start in range(0, len(floats), FLOATS):
        parts += [*([r"\clearpage"] if start else []), *floats[start : start + FLOATS]]
    return "\n\n".join(parts)


def _results(one: Experiment) -> str:
    data = {
        escape_latex(row["label"]) + r"$^\dagger$" * row["sees_bias"]: [
            cell_text(cell, row["seeds"], "$\\pm$", "\\textbf{{{}}}")
            for cell in row["metrics"].values()
        ]
        for row in table_cells(one)
    }
    down = r" $\downarrow$"
    header = [name + down * (key in LOWER_IS_BETTER) for key, name in one.metrics.items()]
    seeds = sorted({len(runs) for runs in one.losses.values()})
    protocol = one.first["protocol"]
    about = [
        one.title,
        f"training set: {protocol['train']}",
        f"{' or '.join(map(str, seeds))} seed{'s' if seeds != [1] else ''}, "
        "mean and sample standard deviation in percent",
        f"test: {protocol['test']}, n = {one.first['top1']['n']:,}",
        f"validation: {protocol['val']}",
        *(f"{text}: {labels}" for text, labels in describe_classifiers(one)),
        f"selection: {protocol['selection']}",
        *([table_note(one).rstrip(".")] if table_note(one) else []),
        "bold: paired 95 % interval over seeds against every other loss of its kind excludes 0",
    ]
    caption = "; ".join(escape_latex(part) for part in about) + "."
    if any(runs[0].sees_bias for runs in one.losses.values()):
        caption += r" $^\dagger$ is given bias labels: not comparable with a method that is not."
    digests = [f"%   {run.label}, seed {run.seed}: {run.evaluation['digest']}"
               for runs in one.losses.values() for run in runs]  # fmt: skip
    # Two tabulars under each other: eight columns are wider than the page of an article.
    halves = [header[:ACCURACIES], header[ACCURACIES:]]
    table = _table(caption, data, halves)
    return "\n".join([f"% dataset {one.first['dataset_digest']}; runs:", *digests, table])


def _tests(one: Experiment) -> list[str]:
    """Return the paired tests over seeds, where there are any."""
    rows = paired_cells(one)
    if not rows:
        return []
    header = PAIRED_COLUMNS[1:]
    caption = (
        f"{one.title}: {one.accuracy} against {reference_loss(one)} on the same seeds, difference in points "
        "with its 95 % t interval; p of the paired t test, adjusted by Holm over this table, and of "
        "Wilcoxon's signed ranks, which cannot be small with few seeds."
    )
    data = {escape_latex(row[0]): [escape_latex(cell) for cell in row[1:]] for row in rows}
    return [_table(escape_latex(caption), data, [header])]


def _between_groups(one: Experiment) -> list[str]:
    """Return the disparities beside what chance gives, where the runs have them."""
    rows = measure_disparities(one)
    if not rows:
        return []
    caption = (
        f"{one.title}: disparities between the values of {one.bias['name']}, in percent, mean over seeds. By "
        "chance: the mean of the metric when the bias attribute is dealt out anew among the images, of "
        f"each label but for demographic parity, {count_permutations(one):,} times; p: how often it is then as "
        "extreme, the largest over the seeds. PP: predictive parity. Amplification: against the training "
        "counts (Zhao et al., 2017), and from bias to label (Wang and Russakovsky, 2021; 0 is none). "
        "Calibration error: expected, 15 bins, over all images and of the bias value where it is largest."
    )
    data = {escape_latex(label): [escape_latex(cell.text) for cell in row] for label, row in rows}
    return [_table(escape_latex(caption), data, [COLUMNS[:6], COLUMNS[6:12], COLUMNS[12:]])]


def _table(
    caption: str,
    data: Mapping[str, Sequence[str]],
    parts: Sequence[Sequence[str]],
) -> str:
    """Return a float with its columns in tabulars under each other; what is given is escaped."""
    import pandas as pd

    frame = pd.DataFrame(list(data.values()), index=list(data))
    tabulars, start = [], 0
    for names in parts:
        part = frame.iloc[:, start : start + len(names)]
        start += len(names)
        if names:
            numbered = part.set_axis(
                range(len(names)), axis=1
            )  # names may come again: not so numbers
            form = "l" + "r" * len(names)
            text = numbered.style.to_latex(hrules=True, column_format=form)
            first = " & " + " & ".join(map(str, range(len(names))))
            tabulars.append(text.replace(first, " & " + " & ".join(names), 1))
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
            rf"\caption{{{caption}}}",
            r"\medskip",
            *(rf"{tabular}\par\medskip" for tabular in tabulars[:-1]),
            rf"{tabulars[-1]}\end{{table}}",
            "",
        ]
    )


def _figure(drawing: Figure) -> str:
    width = f"{drawing.size[0] / PAGE:.3g}"
    return "\n".join(
        [
            f"% runs: {drawing.runs}",
            r"\begin{figure}",
            r"\centering",
            rf"\includegraphics[width={width}\linewidth]{{{drawing.file}.pdf}}",
            rf"\caption{{{escape_latex(drawing.caption)}}}",
            r"\end{figure}",
            "",
        ]
    )


def render_main_file() -> str:
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
