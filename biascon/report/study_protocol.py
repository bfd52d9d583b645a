"""How a tuning study was made, and the commands and the study file that give it again."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import Any

from biascon.errors import BiasconError
from biascon.report.document import Block, Code, Table, Text
from biascon.report.study_data import Study
from biascon.report.study_file import format_study_file
from biascon.report.study_scope import (
    dataset_names,
    describe_reuse,
    describe_trials,
    describe_unshared,
)
from biascon.studies.records import Stage, StudyRun
from biascon.studies.selection import RULES

# Returns the settings of a trial as ``section.key=value``, from the description of the study and the trial.
TrialSettings = Callable[[Any, StudyRun], Sequence[str]]

DATA_NOTE = "data/NAME stands for the folder of the dataset NAME"


def format_commands(study: Study, trial_settings: TrialSettings) -> str:
    """Return a command that trains each chosen setting, a line each, with the rules that choose it."""
    description = study.table.description
    data = description["dataset"]
    name, rho = str(data["name"]), data["rho"]
    lines = []
    if rho is not None:
        source = " --source embedded" if name.startswith("bmnist5k") else ""
        biased = " --val-protocol biased" if name.endswith("-biased") else ""
        lines.append(f"biascon make-bmnist --rho {float(rho)!r}{biased}{source}")
    for method in study.methods:
        chosen: dict[tuple[int, int], tuple[StudyRun, list[str]]] = {}
        for rule in RULES.values():
            for search, run in study.choices(method, rule):
                if run is not None:
                    chosen.setdefault((search, run.trial), (run, []))[1].append(rule.name)
        for (search, trial), (run, rules) in chosen.items():
            where = f"search {search}, " if study.searches > 1 else ""
            lines.append(f"# {_one_line(method)}, {where}trial {trial}: {', '.join(rules)}")
            try:
                settings = trial_settings(description, run)
            except BiasconError as error:
                lines.append(f"# no command: {_one_line(str(error))}")
                continue
            loss = str(description["methods"][method].get("loss", method))
            bias = f" --bias {shlex.quote(str(data['bias']))}" if data.get("bias") else ""
            settings = [*settings, f"train.threads={run.threads}"]
            options = "".join(f" --set {shlex.quote(setting)}" for setting in settings)
            lines.append(
                f"biascon evaluate --loss {shlex.quote(loss)} --seeds {run.seed} --preset "
                f"{shlex.quote(str(description['preset']))} --data "
                f"{shlex.quote('data/' + name)}{bias}{options}"
            )
    return "\n".join(lines)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def protocol_section(study: Study) -> list[Block]:
    """Return the protocol of a study, and the study file that gives its search."""
    description = study.table.description
    data, confirm = description["dataset"], description["confirm"]
    runs = study.full.runs
    budget = description.get("budget_seconds")
    seeds = sorted({run.seed for run in study.full.select(Stage.TRIAL)})
    fresh = sorted({run.seed for run in study.full.select(Stage.CONFIRMATION)})
    colorings = sorted(
        {
            run.dataset_seed
            for run in study.full.select(Stage.CONFIRMATION)
            if run.dataset_seed is not None
        }
    )
    reuse, splits = describe_reuse(study), " and splits" * bool(study.resplits)
    rows: list[tuple[str, str]] = [
        ("dataset", f"{data['name']}, digest {data['digest'][:8]}, from {data['source']}"),
        ("bias", str(data.get("bias") or "the bias attribute of the dataset")),
        ("training images", str(data["train"])),
        ("validation images", str(data["val_protocol"])),
        ("test images", str(data["test"])),
        ("selection", "on validation images only" + f"; {reuse}" * bool(reuse)),
        ("preset", str(description["preset"])),
        ("settings of every run", " ".join(description["settings"]) or "-"),
        ("trials", describe_trials([description["trials"]] * study.searches)),
        ("budget in seconds", "none" if budget is None else f"{budget:,.0f} of each method"),
        ("draws", _draws(study)),
        ("seed of the draws", str(description["seed"])),
        ("training seeds of the trials", _ranges(seeds)),
        (
            "confirmation",
            f"{confirm['seeds']} fresh training seeds{splits} for rule {', '.join(confirm['rules']) or '-'}; "
            f"reference {study.reference}; margin {100 * study.margin:.1f} points",
        ),
        ("training seeds of the confirmation", _ranges(fresh)),
        *([("datasets of the confirmation", dataset_names(study))] if study.resplits else []),
        ("dataset seeds of the confirmation", _ranges(colorings)),
        ("rho of the confirmation", ", ".join("-" if r is None else f"{r:g}" for r in study.rhos)),
        ("devices", ", ".join(sorted({run.device for run in runs if run.device})) or "-"),
        ("CPU threads of a run", _ranges(sorted({run.threads for run in runs}))),
        ("recipe version", str(description["recipe"])),
        ("versions", _versions(description)),
        ("digest of the search", study.table.search_digest),
        (
            "command",
            str(
                description.get("command")
                or f"biascon tune {shlex.quote(study.table.name + '.toml')}"
            ),
        ),
    ]
    return [
        Table("Protocol", ("", ""), [list(row) for row in rows], in_words=True),
        Text(
            "The study file that gives this search" + f"; {DATA_NOTE}" * (data["rho"] is None) + ":"
        ),
        Code(format_study_file(description)),
    ]


def _draws(study: Study) -> str:
    if study.is_adaptive:
        return "adaptive"
    unshared = describe_unshared(study)
    return "quasi-random; shared parameters have the same draws for all methods" + (
        f", except {unshared}" if unshared else ""
    )


def _versions(description: Any) -> str:
    versions = description.get("versions")
    if not isinstance(versions, dict) or not versions:
        return "-"
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))


def _ranges(numbers: Sequence[int]) -> str:
    """Return sorted numbers with runs of consecutive ones as a range: ``0-3, 7``; ``-`` for none."""
    parts: list[list[int]] = []
    for n in numbers:
        if parts and n == parts[-1][1] + 1:
            parts[-1][1] = n
        else:
            parts.append([n, n])
    return ", ".join(f"{a}-{b}" if a < b else str(a) for a, b in parts) or "-"
