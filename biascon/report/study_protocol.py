"""How a tuning study was made, and the commands and the study file that give it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from typing import Any

from biascon.errors import BiasconError
from biascon.report.document import Block, Code, Table, Text
from biascon.report.study_data import Study
from biascon.studies.records import Stage, StudyRun
from biascon.studies.selection import RULES

# Returns the settings of a trial as ``section.key=value``, from the description of the study and the trial.
TrialSettings = Callable[[Any, StudyRun], Sequence[str]]


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
    rows: list[tuple[str, str]] = [
        ("dataset", f"{data['name']}, digest {data['digest'][:8]}, from {data['source']}"),
        ("bias", str(data.get("bias") or "the bias attribute of the dataset")),
        ("training images", str(data["train"])),
        ("validation images", str(data["val_protocol"])),
        ("test images", str(data["test"])),
        ("selection", "on validation images only"),
        ("preset", str(description["preset"])),
        ("settings of every run", " ".join(description["settings"]) or "-"),
        ("trials", f"{description['trials']} of each method in each of {study.searches} searches"),
        ("budget in seconds", "none" if budget is None else f"{budget:,.0f} of each method"),
        (
            "draws",
            "adaptive"
            if study.is_adaptive
            else "quasi-random; shared parameters have the same draws for all methods",
        ),
        ("seed of the draws", str(description["seed"])),
        ("training seeds of the trials", _ranges(seeds)),
        (
            "confirmation",
            f"{confirm['seeds']} fresh training seeds for rule {', '.join(confirm['rules']) or '-'}; "
            f"reference {study.reference}; margin {100 * study.margin:.1f} points",
        ),
        ("training seeds of the confirmation", _ranges(fresh)),
        ("dataset seeds of the confirmation", _ranges(colorings)),
        ("rho of the confirmation", ", ".join("-" if r is None else f"{r:g}" for r in study.rhos)),
        ("devices", ", ".join(sorted({run.device for run in runs if run.device})) or "-"),
        ("CPU threads of a run", _ranges(sorted({run.threads for run in runs}))),
        ("recipe version", str(description["recipe"])),
        ("versions", _versions(description)),
        ("digest of the search", study.table.search_digest),
        ("command", f"biascon tune {shlex.quote(study.table.name + '.toml')}"),
    ]  # fmt: skip
    return [
        Table("Protocol", ("", ""), [list(row) for row in rows], in_words=True),
        Text("The study file that gives this search:"),
        Code(format_study_file(description)),
    ]


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


def format_study_file(description: Any) -> str:
    """Return a study file with the search of a description, every search space written out."""
    data, confirm = description["dataset"], description["confirm"]
    lines = [f"name = {_toml(description['name'])}"]
    if data["rho"] is not None:
        lines.append(f"rho = {float(data['rho'])!r}")
        biased = description.get("val_protocol") == "biased"
        lines += ['val_protocol = "biased"'] if biased else []
    else:
        lines.append(f"data = {_toml('data/' + str(data['name']))}")
    lines += [f"bias = {_toml(data['bias'])}"] if data.get("bias") else []
    for key in ("trials", "studies", "seed", "preset", "settings", "budget_seconds", "search"):
        if description.get(key) is not None:
            lines.append(f"{key} = {_toml(description[key])}")
    lines.append("\n[confirm]")
    for key in ("seeds", "rules", "reference", "margin", "rho", "variance"):
        if key in confirm:
            lines.append(f"{key} = {_toml(confirm[key])}")
    for method, entry in description["methods"].items():
        table = f"methods.{_toml(method)}"
        lines += [f"\n[{table}]", f"loss = {_toml(entry.get('loss', method))}"]
        if entry.get("settings"):
            lines.append(f"settings = {_toml(entry['settings'])}")
        lines.append(f"[{table}.space]")
        for key, distribution in entry["space"].items():
            ((kind, value),) = distribution.items()
            lines.append(f"{_toml(key)} = {{ {kind} = {_toml(value)} }}")
    return "\n".join(lines)


def _toml(value: Any) -> str:
    """Return a text, number, truth value or list as TOML, which JSON agrees with."""
    return json.dumps(value, ensure_ascii=False)
