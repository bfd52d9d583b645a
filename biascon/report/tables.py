"""What the tables of a report hold, before any form is given to it: plain text and numbers."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from biascon.report.experiments import LOWER_IS_BETTER, METRICS, Experiment, FinishedRun
from biascon.report.verdicts import significant_bests, summarize_seeds
from biascon.utils.files import read_json

ACCURACIES = len(METRICS) - len(LOWER_IS_BETTER)  # they come first
NO_GROUPS = "The dataset has no bias attribute: group metrics do not apply."
NO_ALIGNMENT = (
    "No alignment is defined for the bias attribute: bias-aligned and -conflicting do not apply."
)


def table_columns(one: Experiment) -> list[str]:
    """Return the names of the columns of a group's table after the loss and the seeds."""
    names = one.metrics
    return [
        "judged by",
        *(f"{name} ↓" if key in LOWER_IS_BETTER else name for key, name in names.items()),
        f"{names[one.headline]} by the other judge",
    ]


def table_note(one: Experiment) -> str:
    """Say which metrics do not apply to the dataset; nothing where all do."""
    if not one.has_bias:
        return NO_GROUPS
    return "" if one.knows_aligned else NO_ALIGNMENT


def table_cells(one: Experiment) -> list[dict[str, Any]]:
    """Return the rows of a group's table: label, seeds, and per metric ``mean``, ``sd``, ``bold``."""
    first = {metric: significant_bests(one, metric) for metric in one.metrics}
    rows = []
    for label, runs in one.losses.items():
        row: dict[str, Any] = {
            "label": label,
            "sees_bias": runs[0].sees_bias,
            "judge": runs[0].judge.split()[-1],
            "other": secondary_accuracy(runs),
            "seeds": len(runs),
            "metrics": {},
        }
        for metric in one.metrics:
            mean = summarize_seeds(one, label, metric)
            row["metrics"][metric] = {
                "mean": None if mean is None else f"{100 * mean.mean:.1f}",
                "sd": None if mean is None or mean.n < 2 else f"{100 * mean.sd:.1f}",
                "n": 0 if mean is None else mean.n,
                "bold": label in first[metric],
            }
        rows.append(row)
    return rows


def secondary_accuracy(runs: Sequence[FinishedRun]) -> str:
    """Return the mean headline accuracy by the judge that does not count, with who that is."""
    told = [run.other for run in runs]
    values = [value for _, value in filter(None, told) if value is not None]
    if not values or told[0] is None:
        return "-"
    return f"{100 * sum(values) / len(values):.1f} ({told[0][0].split()[-1]})"


def cell_text(cell: dict[str, Any], seeds: int, plus_minus: str, bold: str) -> str:
    """Write a cell of ``cells`` with a form's sign and its way to be bold; how many seeds, if not all."""
    if cell["mean"] is None:
        return "-"
    text = cell["mean"] if cell["sd"] is None else f"{cell['mean']} {plus_minus} {cell['sd']}"
    text = bold.format(text) if cell["bold"] else text
    return text if cell["n"] == seeds else f"{text} (n={cell['n']})"


def format_parameters(parameters: Mapping[str, Any]) -> str:
    """Return parameters in a line, so that what ran is always said."""
    return ", ".join(f"{k} {v}" for k, v in parameters.items()) or "no parameters"


def describe_machines(one: Experiment) -> str:
    """Return the devices and versions that the runs of a group name, each once."""
    found = set()
    for runs in one.losses.values():
        for run in runs:
            about = read_json(run.folder / "environment.json")
            device = about.get("accelerator", about["device"])
            torch = about["packages"]["torch"]
            found.add(f"{device}, {about['system']}, torch {torch}, biascon {about['biascon']}")
    return "; ".join(sorted(found))


def describe_classifiers(one: Experiment) -> list[tuple[str, str]]:
    """Return what judged, with the losses that it judged."""
    found: dict[str, list[str]] = {}
    for label, runs in one.losses.items():
        found.setdefault(runs[0].evaluation["protocol"]["evaluation"], []).append(label)
    return [(text, ", ".join(labels)) for text, labels in found.items()]


def published_rows(one: Experiment) -> list[tuple[str, str, str]]:
    """Return method, unbiased accuracy and source of what papers print for this dataset."""
    if not one.first["dataset"].startswith("bmnist-"):
        return []
    rho = one.first["dataset"].removeprefix("bmnist-").partition("-")[0]
    text = (resources.files("biascon.report") / "published.toml").read_text(encoding="utf-8")
    rows = tomllib.loads(text)["result"]
    return [(row["method"], f"{row[rho]:.1f}", row["source"]) for row in rows if rho in row]


READOUTS = {
    "label_readout": "label, by a probe",
    "bias_readout": "bias, by a probe",
    "class_alignment": "distance within a label",
    "bias_alignment": "distance within a bias value",
    "uniformity": "uniformity",
}


def readout_rows(one: Experiment) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return what the features of each loss hold: per readout its text and value, mean over seeds."""
    rows = []
    for label, runs in one.losses.items():
        row = []
        for key in READOUTS:
            values = [run.evaluation["representation"][key]["value"] for run in runs]
            known = [value for value in values if value is not None]
            if not known:
                row.append(("-", ""))
                continue
            mean = sum(known) / len(known)
            text = f"{100 * mean:.1f}" if key.endswith("_readout") else f"{mean:.3f}"
            row.append(
                (text if len(known) == len(values) else f"{text} (n={len(known)})", f"{mean:.6f}")
            )
        rows.append((label, row))
    return rows


def readout_split(one: Experiment) -> str:
    """Say on what the probes of the readouts are fitted."""
    n = one.first["representation"]["fitted_on"]
    return (
        "nothing: there is no validation split" if n is None else f"the validation split, n = {n:,}"
    )


def describe_experiment(one: Experiment) -> list[tuple[str, str]]:
    """Return what was run, as names and texts."""
    first = one.first
    protocol, epochs = first["protocol"], first["epochs"]
    note = table_note(one)
    return [
        *([("bias attribute", note)] if note else []),
        ("source of the images", first["source"]),
        ("training set", protocol["train"]),
        ("validation set", protocol["val"]),
        ("test set", f"{protocol['test']}, n = {first['top1']['n']:,}"),
        *(("judged by", f"{text}: {labels}") for text, labels in describe_classifiers(one)),
        ("selection", protocol["selection"]),
        (
            "encoder",
            f"{first['encoder']}, {epochs} epoch{'s' if epochs != 1 else ''}, batch {first['batch_size']}",
        ),
        *(
            (f"{label} ran with", format_parameters(runs[0].evaluation["parameters"]))
            for label, runs in one.losses.items()
        ),
        ("computed on", describe_machines(one)),
        *(
            (name, format_parameters(first["config"][name]))
            for name in ("augment", "optimizer", "train")
        ),
        ("preset, recipe digest", f"{one.preset}, {first['recipe'][:8]}"),
        ("dataset digest", first["dataset_digest"][:8]),
    ]


def worst_group_rows(one: Experiment) -> str:
    """Return how many test images the worst groups of the runs have."""
    found = sorted(
        {run.evaluation["worst_group"]["n"] for runs in one.losses.values() for run in runs}
    )
    return f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"
