"""The description of a tuning study, read from a TOML file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from biascon.config.settings import read_toml
from biascon.data.dataset import read_manifest
from biascon.errors import UsageError, did_you_mean
from biascon.losses.loss import list_losses
from biascon.runs.preset_choice import choose_preset
from biascon.studies.selection import RULES, check_rule
from biascon.tuning.draws import MAX_TRIALS
from biascon.tuning.study_values import (
    check_keys,
    read_mapping,
    read_number,
    read_strings,
    read_typed,
)
from biascon.utils.distributions import Distribution, read_distribution
from biascon.utils.progress import Say, say_nothing

VAL_PROTOCOLS = ("held-out", "biased")
PAIRED, ADAPTIVE = SEARCHES = ("paired", "adaptive")
MAX_SEEDS = 500  # fresh seeds of the confirmation
MAX_STUDIES = 100
MAX_SEED = 10**9


@dataclass(frozen=True)
class MethodSpec:
    """A method as the file states it.

    Attributes:
        name: The name of the method in the study.
        loss: The name of the loss.
        settings: Settings of every trial, as ``section.key=value``.
        space: Distributions that replace those of the registry; None for a parameter that is not searched.
    """

    name: str
    loss: str
    settings: tuple[str, ...] = ()
    space: Mapping[str, Distribution | None] = field(default_factory=dict)


@dataclass(frozen=True)
class ConfirmSpec:
    """The confirmation: the chosen settings, trained anew.

    Attributes:
        seeds: The number of fresh training seeds. Each has a fresh coloring of the dataset too, where the
            dataset is built by the study. 0 leaves the confirmation out.
        rules: The selection rules whose choices are confirmed.
        reference: The method that the others are compared with; ``""`` for the first one.
        margin: The margin of the equivalence test, as a difference of accuracies: 0.01 is one point.
        rho: The color correlations of the datasets; empty for that of the trials.
        data: The dataset folder of each fresh seed, for a study with ``data``: the same dataset with other
            seeds of its split. Empty for the dataset of the trials.
        variance: The number of runs for each source of variance; 0 for none.
        variance_of: The methods whose variance is split; empty for all.
    """

    seeds: int = 10
    rules: tuple[str, ...] = ("unbiased",)
    reference: str = ""
    margin: float = 0.01
    rho: tuple[float, ...] = ()
    data: tuple[Path, ...] = ()
    variance: int = 0
    variance_of: tuple[str, ...] = ()


@dataclass(frozen=True)
class StudySpec:
    """A tuning study: methods, budget, dataset, and the confirmation.

    Attributes:
        name: The name of the study, also that of its folder.
        methods: The methods.
        trials: The number of trials of each method.
        studies: The number of independent searches.
        seed: The seed of the draws.
        rho: The color correlation of the BiasedMNIST that the study builds; None with ``data``.
        data: The dataset folder; None with ``rho``.
        bias: The value of the option ``--bias``; ``""`` for the bias attribute of the dataset itself.
        preset: The preset that the search spaces are relative to.
        settings: Settings of every run, as ``section.key=value``.
        val_protocol: ``held-out`` (validation at rho 0.1) or ``biased`` (validation as biased as training),
            for a dataset that the study builds.
        budget_seconds: The seconds of training that each method may use; None for no limit.
        confirm: The confirmation.
        search: ``paired`` (quasi-random draws, the same for all methods) or ``adaptive`` (each draw depends
            on the earlier trials of its method; no confirmation).
    """

    name: str
    methods: tuple[MethodSpec, ...]
    trials: int = 24
    studies: int = 1
    seed: int = 0
    rho: float | None = None
    data: Path | None = None
    bias: str = ""
    preset: str = "cpu"
    settings: tuple[str, ...] = ()
    val_protocol: str = "held-out"
    budget_seconds: float | None = None
    confirm: ConfirmSpec = ConfirmSpec()
    search: str = PAIRED

    def __post_init__(self) -> None:
        _check(self)


_KEYS = (
    "name", "losses", "methods", "trials", "studies", "seed", "rho", "data", "bias", "preset", "settings",
    "val_protocol", "budget_seconds", "space", "confirm", "search",
)  # fmt: skip
_CONFIRM_KEYS = ("seeds", "rules", "reference", "margin", "rho", "data", "variance", "variance_of")
_METHOD_KEYS = ("loss", "settings", "space")


def read_study(
    path: Path, overrides: Mapping[str, Any] | None = None, *, log: Say = say_nothing
) -> StudySpec:
    """Read a study file.

    A study that names no preset has the default preset of its dataset on the CPU, whatever the device is.

    Args:
        path: The TOML file.
        overrides: Values that replace keys of the file, such as ``{"trials": 12}``.
        log: Called with a line about the preset, if the study names none.

    Raises:
        UsageError: The file is not valid TOML, has an unknown key, or has a value that is not allowed.
        BiasconError: The file cannot be read.
        DataError: The study names no preset, and the manifest of its dataset is damaged.
    """
    tree = read_toml(path)
    tree = {"name": path.stem, **tree, **(overrides or {})}
    if "data" in (overrides or {}):
        tree.pop("rho", None)
    try:
        spec = parse_study(tree)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    if "preset" in tree or spec.data is None or not (spec.data / "manifest.json").is_file():
        return spec
    choice = choose_preset(read_manifest(spec.data), "cpu")
    log(f"{spec.data.name}: {choice.describe('the key preset')}")
    return replace(spec, preset=choice.name)


def parse_study(tree: Mapping[str, Any]) -> StudySpec:
    """Return the study that plain data describes.

    Raises:
        UsageError: A key is unknown, or a value is not allowed.
    """
    check_keys("", tree, _KEYS)
    space = _read_space("space", tree.get("space", {}))
    losses = read_strings("losses", tree.get("losses", []))
    methods = [MethodSpec(loss, loss, (), _space_of(loss, space)) for loss in dict.fromkeys(losses)]
    for name, table in read_mapping("methods", tree.get("methods", {})).items():
        check_keys(f"methods.{name}", read_mapping(f"methods.{name}", table), _METHOD_KEYS)
        own = _read_space(f"methods.{name}.space", table.get("space", {}))
        methods.append(
            MethodSpec(
                name,
                read_typed(f"methods.{name}.loss", table.get("loss", name), str),
                read_strings(f"methods.{name}.settings", table.get("settings", [])),
                {**_space_of(name, space), **_space_of(name, own)},
            )
        )
    names = [method.name for method in methods]
    if len(set(names)) < len(names):
        raise UsageError(f"expected each method once, but got {', '.join(names)}")
    _check_space_tables(space, names)
    data = tree.get("data")
    budget = tree.get("budget_seconds")
    rho = tree.get("rho")
    return StudySpec(
        name=read_typed("name", tree.get("name", "study"), str),
        methods=tuple(methods),
        trials=read_typed("trials", tree.get("trials", 24), int),
        studies=read_typed("studies", tree.get("studies", 1), int),
        seed=read_typed("seed", tree.get("seed", 0), int),
        rho=None if rho is None else read_number("rho", rho),
        data=None if data is None else Path(read_typed("data", data, (str, Path))),
        bias=read_typed("bias", tree.get("bias", ""), str),
        preset=read_typed("preset", tree.get("preset", "cpu"), str),
        settings=read_strings("settings", tree.get("settings", [])),
        val_protocol=read_typed("val_protocol", tree.get("val_protocol", "held-out"), str),
        budget_seconds=None if budget is None else read_number("budget_seconds", budget),
        confirm=_read_confirm(read_mapping("confirm", tree.get("confirm", {}))),
        search=read_typed("search", tree.get("search", PAIRED), str),
    )


def _read_confirm(table: Mapping[str, Any]) -> ConfirmSpec:
    check_keys("confirm", table, _CONFIRM_KEYS)
    default = ConfirmSpec()
    rho = table.get("rho", [])
    if not isinstance(rho, list):
        raise UsageError(f"expected confirm.rho to be a list, but got {rho!r}")
    return ConfirmSpec(
        seeds=read_typed("confirm.seeds", table.get("seeds", default.seeds), int),
        rules=read_strings("confirm.rules", table.get("rules", list(default.rules))),
        reference=read_typed("confirm.reference", table.get("reference", ""), str),
        margin=read_number("confirm.margin", table.get("margin", default.margin)),
        rho=tuple(read_number("confirm.rho", value) for value in rho),
        data=tuple(Path(folder) for folder in read_strings("confirm.data", table.get("data", []))),
        variance=read_typed("confirm.variance", table.get("variance", 0), int),
        variance_of=read_strings("confirm.variance_of", table.get("variance_of", [])),
    )


def _check(spec: StudySpec) -> None:
    """Refuse values that no study can have."""
    names = [method.name for method in spec.methods]
    confirm = spec.confirm
    checks = [
        (bool(names), "losses or methods, with at least one item"),
        (
            spec.search in SEARCHES,
            f"search to be one of {', '.join(SEARCHES)}, but got '{spec.search}'",
        ),
        (
            len(names) != 1 or spec.search == ADAPTIVE,
            f"two methods or more, but got only {', '.join(names)}",
        ),
        (1 <= spec.trials <= MAX_TRIALS, f"trials in 1..{MAX_TRIALS}, but got {spec.trials}"),
        (1 <= spec.studies <= MAX_STUDIES, f"studies in 1..{MAX_STUDIES}, but got {spec.studies}"),
        (0 <= spec.seed <= MAX_SEED, f"seed in 0..{MAX_SEED}, but got {spec.seed}"),
        ((spec.rho is None) != (spec.data is None), "either rho or data"),
        (
            spec.val_protocol in VAL_PROTOCOLS,
            f"val_protocol to be one of {', '.join(VAL_PROTOCOLS)}, but got '{spec.val_protocol}'",
        ),
        (
            spec.val_protocol == VAL_PROTOCOLS[0] or spec.rho is not None,
            f"rho with val_protocol '{spec.val_protocol}': the validation of a dataset folder stays as it is",
        ),
        (
            spec.budget_seconds is None or 0 < spec.budget_seconds < math.inf,
            f"budget_seconds above 0, but got {spec.budget_seconds}",
        ),
        (
            confirm.seeds == 0 or 2 <= confirm.seeds <= MAX_SEEDS,
            f"confirm.seeds to be 0 or in 2..{MAX_SEEDS}, but got {confirm.seeds}",
        ),
        (
            all(0 <= rho <= 1 for rho in (*confirm.rho, spec.rho or 0.0)),
            f"rho and confirm.rho in [0, 1], but got {[*confirm.rho, spec.rho]}",
        ),
        (0 < confirm.margin < 1, f"confirm.margin in (0, 1), but got {confirm.margin}"),
        (bool(confirm.rules), "confirm.rules to have a rule"),
        (not confirm.rho or spec.rho is not None, "rho of the study with confirm.rho"),
        *_check_confirm_data(spec),
        (
            confirm.variance == 0 or 2 <= confirm.variance <= confirm.seeds,
            f"confirm.variance to be 0 or in 2..confirm.seeds, but got {confirm.variance}",
        ),
    ]
    for is_allowed, expected in checks:
        if not is_allowed:
            raise UsageError(f"expected {expected}")
    for rule in confirm.rules:
        check_rule(rule, RULES)
    for name in (*confirm.variance_of, *([confirm.reference] if confirm.reference else [])):
        if name not in names:
            raise UsageError(f"the study has no method '{name}'{did_you_mean(name, names)}")
    if Path(spec.name).name != spec.name or spec.name in ("", ".", ".."):
        raise UsageError(f"expected name to be the name of a folder, but got '{spec.name}'")


def _check_confirm_data(spec: StudySpec) -> list[tuple[bool, str]]:
    """Return (is allowed, what was expected) of the dataset folders of the confirmation."""
    folders, seeds = spec.confirm.data, spec.confirm.seeds
    if not folders:
        return []
    return [
        (spec.data is not None, "data of the study with confirm.data"),
        (
            len(folders) == seeds,
            f"confirm.data to have one folder for each of the {seeds} confirm.seeds, but got {len(folders)}",
        ),
        (len(set(folders)) == len(folders), "each folder of confirm.data once"),
        (spec.confirm.variance == 0, "no confirm.variance with confirm.data"),
    ]


def _check_space_tables(space: Mapping[str, Any], methods: Sequence[str]) -> None:
    """Refuse a table ``[space.NAME]`` of a method that neither the study nor the registry has.

    The table of another loss of the registry is allowed: ``--losses`` may have left that loss out.
    """
    known = [*methods, *list_losses()]
    for name, table in space.items():
        if isinstance(table, dict) and name not in known:
            raise UsageError(
                f"[space.{name}]: there is no method '{name}'{did_you_mean(name, known)}"
            )


def _space_of(method: str, space: Mapping[str, Any]) -> dict[str, Distribution | None]:
    """Return the distributions of a space table for a method: its shared keys, then the method's table."""
    shared = {key: value for key, value in space.items() if not isinstance(value, dict)}
    own = space.get(method, {})
    return {**shared, **(own if isinstance(own, dict) else {})}


def _read_space(where: str, table: Any) -> dict[str, Any]:
    """Return a space table with its distributions read: by ``section.key``, or by method and then by that.

    The value ``false`` stands for a parameter that is not searched.
    """
    result: dict[str, Any] = {}
    for key, value in read_mapping(where, table).items():
        if "." in key:
            result[key] = None if value is False else read_distribution(f"{where}.{key}", value)
        else:
            result[key] = _read_space(f"{where}.{key}", value)
    return result
