"""Checks of a study before its first run: what cannot work is refused before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from biascon.config.first_stage import first_stage_config
from biascon.config.run_config import RunConfig
from biascon.data.dataset import BiasedDataset, load, view_by_attributes
from biascon.data.manifest import Manifest
from biascon.errors import UsageError
from biascon.losses.loss import get_entry
from biascon.losses.registry import Requirement
from biascon.studies.records import WEIGHTED_METRICS, StudyRun
from biascon.studies.selection import RULES
from biascon.training.checks import check_run
from biascon.tuning.space import Method


def check_method(method: Method, folder: Path) -> None:
    """Refuse a method that has no place in a study.

    Args:
        method: The method.
        folder: The dataset folder, for the message.

    Raises:
        UsageError: The method fits its last layer on the validation split, so that no validation remains.
    """
    if Requirement.HELD_OUT_BIAS in get_entry(method.loss).requires:
        raise UsageError(
            f"method '{method.name}' fits its last layer on the validation split of {folder}, so that no "
            "image remains to choose a trial; leave it out of the study"
        )


def check_rules(rules: Sequence[str], manifest: Manifest, folder: Path, bias: str = "") -> None:
    """Refuse rules whose scores the validation images cannot have.

    Args:
        rules: The names of the rules.
        manifest: The manifest of the dataset.
        folder: The dataset folder, for the message.
        bias: The value of the option ``--bias``; the cells of other attributes are not counted here.

    Raises:
        UsageError: A rule needs bias labels that the dataset does not have, or images of every cell.
    """
    if manifest.bias is not None:
        if not bias:
            _check_cells(rules, manifest, folder)
        return
    others = ", ".join(name for name, rule in RULES.items() if not rule.needs_bias)
    for name in rules:
        if RULES[name].needs_bias:
            raise UsageError(
                f"rule '{name}' needs bias labels of the validation images, but {folder} has no bias "
                f"attribute; set confirm.rules to some of: {others}"
            )


def _check_cells(rules: Sequence[str], manifest: Manifest, folder: Path) -> None:
    """Refuse rules that weight the accuracy of a cell without validation images."""
    train, val = (np.array(manifest.counts[split].cells) for split in ("train", "val"))
    empty = int(((train > 0) & (val == 0)).sum())
    for name in rules:
        if empty and RULES[name].metric in WEIGHTED_METRICS:
            raise UsageError(
                f"rule '{name}' needs validation images of every cell of label and bias that has training "
                f"images, but {empty} cells of {folder} have none; where validation is as biased as "
                f"training, the rule '{name.removeprefix('biased-')}' is the same choice"
            )


def check_runs(runs: Sequence[tuple[RunConfig, StudyRun]], folder: Path, bias: str) -> None:
    """Refuse a run, or a first stage of it, that cannot be trained on the dataset.

    Args:
        runs: The configuration and the record of each run.
        folder: The dataset folder.
        bias: The value of the option ``--bias``; ``""`` for the bias attribute of the dataset itself.

    Raises:
        UsageError: A run cannot be trained; the message names its method and its trial.
        DataError: The dataset is damaged, or its training split lacks a class.
    """
    data = load(folder, only=("train",))
    if bias:
        data = view_by_attributes(data, [name.strip() for name in bias.split(",")])
    for config, record in runs:
        with naming(record):
            _check_stages(config, data)


def _check_stages(config: RunConfig, data: BiasedDataset) -> None:
    """Refuse a run that cannot be trained, or whose first-stage network cannot."""
    stage: RunConfig | None = config
    while stage is not None:
        check_run(stage, data)
        stage = first_stage_config(stage)


@contextmanager
def naming(record: StudyRun) -> Iterator[None]:
    """Name the method and the trial in the message of an error."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"method '{record.method}', trial {record.trial}: {error}") from error
