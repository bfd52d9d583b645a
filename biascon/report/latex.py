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
from biascon.report.extra_tables import extra_tables
from biascon.report.figures import Figure, cross_experiment_figures, experiment_figures
from biascon.report.plots.style import PAGE
from biascon.report.tables import (
    N_ACCURACIES,
    count_seeds,
    describe_classifiers,
    describe_comparisons,
    format_cell,
    mark_label,
    table_note,
    table_rows,
)
from biascon.report.verdicts import reference_loss
from biascon.utils.markup import escape_latex
from biascon.utils.text import visible
from biascon.version import __version__

# LaTeX stops if too many floats wait for a page: older versions hold 18, newer ones about 50. So the page is
# ended after this number of floats.
FLOATS_PER_PAGE = 12
DAGGER = r"$^\dagger$"
DOWN = r" $\downarrow$"


def render_latex(
    experiments: Sequence[Experiment],
    test_splits: Mapping[str, Split] | None = None,
    left_out: Sequence[str] = (),
) -> str:
    """Return tables and figures, to ``\\input`` after ``\\usepackage{booktabs,graphicx}``.

    Args:
        experiments: The experiments.
        test_splits: The available test splits by dataset digest, for the galleries of images.
        left_out: Which runs are left out, and why, a text each; a comment line each.
    """
    floats = [_figure(figure) for figure in cross_experiment_figures(experiments)]
    for experiment in experiments:
        floats += [
            _results_table(experiment),
            *_seed_test_tables(experiment),
            *_extra_tables(experiment),
            *_disparity_tables(experiment),
            *(_figure(figure) for figure in experiment_figures(experiment, test_splits)),
        ]
    parts = [f"% Made by biascon {__version__}. Needs \\usepackage{{booktabs,graphicx}}."]
    parts += [f"% left out: {' '.join(reason.split())}" for reason in left_out]
    for start in range(0, len(floats), FLOATS_PER_PAGE):
        if start:
            parts.append(r"\clearpage")
        parts += floats[start : start + FLOATS_PER_PAGE]
    return "\n\n".join(parts)


def _results_table(experiment: Experiment) -> str:
    data = {
        mark_label(escape_latex(row.label), uses_bias_labels=row.uses_bias_labels, mark=DAGGER): [
            format_cell(cell, row.seeds, "$\\pm$", "\\textbf{{{}}}")
            for cell in row.metrics.values()
        ]
        for row in table_rows(experiment)
    }
    header = [name + DOWN * (key in LOWER_IS_BETTER) for key, name in experiment.metrics.items()]
    # A line break in a name would end the comment.
    digests = [
        visible(f"%   {run.label}, seed {run.seed}: {run.digest}") for run in experiment.runs
    ]
    # Two tabulars below each other: eight columns are wider than the page of an article.
    halves = [header[:N_ACCURACIES], header[N_ACCURACIES:]]
    table = _format_table(_results_caption(experiment), data, halves)
    dataset = visible(f"% dataset {experiment.identity.dataset_digest}; runs:")
    return "\n".join([dataset, *digests, table])


def _results_caption(experiment: Experiment) -> str:
    protocol = experiment.metadata.protocol
    note = table_note(experiment).rstrip(".")
    parts = [
        experiment.title,
        f"training set: {protocol.train}",
        f"{count_seeds(experiment)}, mean and sample standard deviation in percent",
        f"test set: {protocol.test}, n = {experiment.test_n:,}",
        f"validation set: {protocol.val}",
        *(f"{text}: {labels}" for text, labels in describe_classifiers(experiment)),
        f"selection: {protocol.selection}",
        *([note] if note else []),
        *(
            [f"DP, EO, EOpp: differences between groups, {describe_comparisons(experiment)}"]
            if experiment.has_bias
            else []
        ),
        "bold: the paired 95 % interval over seeds against every other loss of its kind excludes 0",
    ]
    caption = "; ".join(escape_latex(part) for part in parts) + "."
    if any(run.uses_bias_labels for run in experiment.runs):
        caption += f" {DAGGER} uses bias labels: compare such methods only with each other."
    return caption


def _seed_test_tables(experiment: Experiment) -> list[str]:
    """Return the table of the paired tests over seeds; nothing below two common seeds."""
    rows = paired_cells(experiment)
    if not rows:
        return []
    caption = (
        f"{experiment.title}: {experiment.accuracy} against {reference_loss(experiment)} on the same seeds, "
        "difference in points with its 95 % t interval. The p-values are those of the paired t test, of the "
        "same test adjusted by Holm over this table, and of Wilcoxon's signed-rank test. Wilcoxon's "
        "p-value cannot be small with few seeds."
    )
    data = {escape_latex(label): [escape_latex(cell) for cell in cells] for label, *cells in rows}
    return [_format_table(escape_latex(caption), data, [PAIRED_COLUMNS[1:]])]


def _extra_tables(experiment: Experiment) -> list[str]:
    """Return the tables beside the table of results."""
    texts = []
    for table in extra_tables(experiment):
        data = {
            escape_latex(label): [
                r"$\pm$".join(escape_latex(part) for part in cell.text.split("±")) for cell in cells
            ]
            for label, cells in table.rows
        }
        caption = escape_latex(f"{experiment.title}: {table.title}. {table.note}")
        headers = [[escape_latex(name) for name in group] for group in table.columns]
        texts.append(_format_table(caption, data, headers))
    return texts


def _disparity_tables(experiment: Experiment) -> list[str]:
    """Return the table of the disparities; nothing if no run has permutation tests."""
    rows = measure_disparities(experiment)
    if not rows:
        return []
    caption = (
        f"{experiment.title}: disparities between the values of {experiment.bias.name}, in percent, mean "
        f"over seeds, {describe_comparisons(experiment)}. By chance: the mean of the metric when the bias "
        f"values are permuted {count_permutations(experiment):,} times, for demographic parity among all "
        "images, for the other metrics among the images of each label. Largest p: the largest permutation "
        "p-value of the seeds. PP: predictive parity. Amplification: against the training counts (Zhao et "
        "al., 2017), and from bias to label (Wang and Russakovsky, 2021; 0 is none). Calibration error: "
        "expected calibration error with 15 bins, over all images, and the largest of a group."
    )
    data = {
        escape_latex(label): [escape_latex(cell.text) for cell in cells] for label, cells in rows
    }
    return [_format_table(escape_latex(caption), data, [COLUMNS[:6], COLUMNS[6:12], COLUMNS[12:]])]


def _format_table(
    caption: str,
    data: Mapping[str, Sequence[str]],
    headers: Sequence[Sequence[str]],
) -> str:
    """Return a table whose columns are divided into several tabulars below each other.

    Args:
        caption: The caption, escaped.
        data: The cells of each row by its first cell, escaped.
        headers: The names of the columns of each tabular.
    """
    import pandas as pd

    frame = pd.DataFrame(list(data.values()), index=list(data))
    tabulars, start = [], 0
    for names in headers:
        columns = frame.iloc[:, start : start + len(names)]
        start += len(names)
        if names:
            # Styler needs unique names of columns, and names may repeat: it gets numbers, which are replaced.
            numbers = range(len(names))
            columns = columns.set_axis(numbers, axis=1)
            text = columns.style.to_latex(hrules=True, column_format="l" + "r" * len(names))
            numbered_header = " & " + " & ".join(map(str, numbers))
            tabulars.append(text.replace(numbered_header, " & " + " & ".join(names), 1))
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


def _figure(figure: Figure) -> str:
    width = f"{figure.size[0] / PAGE:.3g}"
    return "\n".join(
        [
            f"% runs: {figure.runs}",
            r"\begin{figure}",
            r"\centering",
            rf"\includegraphics[width={width}\linewidth]{{{figure.file_stem}.pdf}}",
            rf"\caption{{{escape_latex(figure.caption)}}}",
            r"\end{figure}",
            "",
        ]
    )


def render_main_file() -> str:
    """Return a LaTeX document that contains only the appendix."""
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
