"""Write the report: ``report.md``, ``table.tex``, ``figure.png`` and ``runs.csv``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from biascon import __version__
from biascon.files import explain, read_json, write_together
from biascon.report.collect import LOWER_IS_BETTER, METRICS, Group, Run, find_runs, group
from biascon.report.compare import in_prose, in_words, leaders, summary
from biascon.report.figure import figure

ACCURACIES = len(METRICS) - len(LOWER_IS_BETTER)  # they come first


def write_report(
    root: Path, out: Path, *, dataset: str | None = None
) -> tuple[list[Path], list[Group]]:
    """Report on the finished runs of a folder.

    Args:
        root: The folder of runs.
        out: Where the report goes; files of other names there stay.
        dataset: Only the runs on this dataset.

    Returns:
        The files written, and the groups of runs that they report on.

    Raises:
        RunError: There is no finished run.
        BiasconError: The place is not writable.
    """
    found = find_runs(root, dataset)
    groups = group(found)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(error, "create", out) from error
    files: dict[str, bytes | str] = {
        "runs.csv": runs_csv(found),
        "figure.png": figure(groups),
        "table.tex": latex(groups),
        "report.md": markdown(groups),
    }
    write_together({out / name: content for name, content in files.items()})
    return [out / name for name in reversed(files)], groups


def cells(one: Group) -> list[dict[str, Any]]:
    """Return the rows of a group's table: label, seeds, and per metric ``mean``, ``sd``, ``bold``."""
    first = {metric: leaders(one, metric) for metric in METRICS}
    rows = []
    for label, runs in one.losses.items():
        row: dict[str, Any] = {
            "label": label,
            "sees_bias": runs[0].sees_bias,
            "judge": runs[0].judge.split()[-1],
            "other": _other(runs),
            "seeds": len(runs),
            "metrics": {},
        }
        for metric in METRICS:
            mean = summary(one, label, metric)
            row["metrics"][metric] = {
                "mean": None if mean is None else f"{100 * mean.mean:.1f}",
                "sd": None if mean is None or mean.n < 2 else f"{100 * mean.sd:.1f}",
                "n": 0 if mean is None else mean.n,
                "bold": label in first[metric],
            }
        rows.append(row)
    return rows


def _other(runs: Sequence[Run]) -> str:
    """Return the mean unbiased accuracy by the judge that does not count, with who that is."""
    told = [run.other for run in runs]
    values = [value for _, value in filter(None, told) if value is not None]
    if not values or told[0] is None:
        return "-"
    return f"{100 * sum(values) / len(values):.1f} ({told[0][0].split()[-1]})"


def _cell(cell: dict[str, Any], seeds: int, plus_minus: str, bold: str) -> str:
    if cell["mean"] is None:
        return "-"
    text = cell["mean"] if cell["sd"] is None else f"{cell['mean']} {plus_minus} {cell['sd']}"
    text = bold.format(text) if cell["bold"] else text
    return text if cell["n"] == seeds else f"{text} (n={cell['n']})"


def markdown(groups: Sequence[Group]) -> str:
    """Return the report as Markdown."""
    parts = []
    for one in groups:
        rows = [
            [
                _escape_markdown(row["label"]) + " †" * row["sees_bias"],
                str(row["seeds"]),
                row["judge"],
                *(_cell(cell, row["seeds"], "±", "**{}**") for cell in row["metrics"].values()),
                row["other"],
            ]
            for row in cells(one)
        ]
        worst = sorted(
            {run.evaluation["worst_group"]["n"] for runs in one.losses.values() for run in runs}
        )
        parts.append(
            {
                "title": _escape_markdown(one.title),
                "first": one.first,
                "verdicts": [_escape_markdown(in_words(d)) for d in in_prose(one)[0]],
                "others": [
                    (
                        _escape_markdown(d.a) + " †" * one.losses[d.a][0].sees_bias,
                        _escape_markdown(d.b),
                        f"{100 * d.mean:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}]",
                        d.over,
                    )
                    for d in in_prose(one)[1]
                ],
                "rows": rows,
                "preset": one.preset,
                "settings": [
                    (name, _parameters(one.first["config"][name]))
                    for name in ("augment", "optimiser", "train")
                ],
                "parameters": [
                    (_escape_markdown(k), _parameters(v[0].evaluation["parameters"]))
                    for k, v in one.losses.items()
                ],
                "machines": _machines(one),
                "judges": [tuple(map(_escape_markdown, pair)) for pair in _judged(one)],
                "published": _published(one),
                "worst_n": f"{worst[0]}" if len(worst) == 1 else f"{worst[0]} to {worst[-1]}",
                "runs": [
                    (_escape_markdown(label), run)
                    for label, runs in one.losses.items()
                    for run in runs
                ],
            }
        )
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("biascon.report"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # this is Markdown: what comes from data is escaped by the filter below
    )
    environment.filters["md"] = _escape_markdown
    page = environment.get_template("report.md.j2")
    columns = [f"{name} ↓" if key in LOWER_IS_BETTER else name for key, name in METRICS.items()]
    columns = ["judged by", *columns, "unbiased by the other judge"]
    return page.render(groups=parts, columns=columns, version=__version__)


def _parameters(parameters: Mapping[str, Any]) -> str:
    """Return parameters in a line, so that what ran is always said."""
    return _escape_markdown(", ".join(f"{k} {v}" for k, v in parameters.items()) or "no parameters")


def _machines(one: Group) -> str:
    """Return the devices and versions that the runs of a group name, each once."""
    found = set()
    for runs in one.losses.values():
        for run in runs:
            about = read_json(run.folder / "environment.json")
            device = about.get("accelerator", about["device"])
            torch = about["packages"]["torch"]
            found.add(f"{device}, {about['system']}, torch {torch}, biascon {about['biascon']}")
    return _escape_markdown("; ".join(sorted(found)))


def _judged(one: Group) -> list[tuple[str, str]]:
    """Return what judged, with the losses that it judged."""
    found: dict[str, list[str]] = {}
    for label, runs in one.losses.items():
        found.setdefault(runs[0].evaluation["protocol"]["evaluation"], []).append(label)
    return [(text, ", ".join(labels)) for text, labels in found.items()]


def _published(one: Group) -> list[tuple[str, str, str]]:
    """Return method, unbiased accuracy and source of what papers print for this dataset."""
    if not one.first["dataset"].startswith("bmnist-"):
        return []
    rho = one.first["dataset"].removeprefix("bmnist-").partition("-")[0]
    text = (resources.files("biascon.report") / "published.toml").read_text(encoding="utf-8")
    rows = tomllib.loads(text)["result"]
    return [(row["method"], f"{row[rho]:.1f}", row["source"]) for row in rows if rho in row]


def latex(groups: Sequence[Group]) -> str:
    """Return one booktabs table a group, to ``\\input`` after ``\\usepackage{booktabs}``."""
    import pandas as pd

    parts = [f"% Made by biascon {__version__}. Needs \\usepackage{{booktabs}}."]
    for one in groups:
        data = {
            _escape_latex(row["label"]) + r"$^\dagger$" * row["sees_bias"]: [
                _cell(cell, row["seeds"], "$\\pm$", "\\textbf{{{}}}")
                for cell in row["metrics"].values()
            ]
            for row in cells(one)
        }
        down = r" $\downarrow$"
        header = [name + down * (key in LOWER_IS_BETTER) for key, name in METRICS.items()]
        frame = pd.DataFrame.from_dict(data, orient="index", columns=header)
        # Two tabulars under each other: eight columns are wider than the page of an article.
        halves = [
            part.style.to_latex(hrules=True, column_format="l" + "r" * part.shape[1])
            for part in (frame.iloc[:, :ACCURACIES], frame.iloc[:, ACCURACIES:])
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
            *(f"{text}: {labels}" for text, labels in _judged(one)),
            f"selection: {protocol['selection']}",
            "bold: paired 95 % interval over seeds against every other loss of its kind excludes 0",
        ]
        caption = "; ".join(_escape_latex(part) for part in about) + "."
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
                rf"{halves[0]}\par\medskip",
                rf"{halves[1]}\end{{table}}",
                "",
            ]
        )
        parts.append(
            "\n".join([f"% dataset {one.first['dataset_digest']}; runs:", *digests, table])
        )
    return "\n\n".join(parts)


def runs_csv(found: Sequence[Run]) -> str:
    """Return every run in long form: one row a run and metric, with n, interval and digests."""
    import pandas as pd

    identity = ("dataset", "source", "preset", "label", "seed", "judged", "sees_bias")
    rows = [
        {
            **{key: run.evaluation[key] for key in identity},
            "metric": metric,
            "value": run.evaluation[metric]["value"],
            "n": run.evaluation[metric]["n"],
            "ci_low": run.evaluation[metric]["ci"][0],
            "ci_high": run.evaluation[metric]["ci"][1],
            **{f"protocol_{key}": text for key, text in run.evaluation["protocol"].items()},
            "changes": " ".join(run.evaluation["changes"]),
            "recipe": run.evaluation["recipe"],
            "run": run.evaluation["digest"],
            "dataset_digest": run.evaluation["dataset_digest"],
        }
        for run in found
        for metric in METRICS
    ]
    text: str = pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")
    return text


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def _escape_latex(text: str) -> str:
    """Escape LaTeX's special characters.

    >>> _escape_latex("50 % of a_b")
    '50 \\\\% of a\\\\_b'
    """
    return "".join(_LATEX.get(character, character) for character in text)


def _escape_markdown(text: str) -> str:
    """Escape what Markdown or a table in it would take for markup.

    >>> _escape_markdown("a|b*c")
    'a\\\\|b\\\\*c'
    """
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", text)
