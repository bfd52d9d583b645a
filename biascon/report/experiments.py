"""Finished runs as plain data, in groups within which numbers may be compared.

Two runs may stand in one table only if dataset, preset and every number of the recipe but the loss
and the seed agree; everything else is another protocol.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biascon.data.dataset import (
    Split,
    dataset_digest,
    load,
    read_manifest,
    view_by_attributes,
    view_identity,
)
from biascon.data.manifest import Manifest
from biascon.errors import BiasconError, BiasconWarning, RunError
from biascon.losses.registry import LOSSES
from biascon.runs.folder import read_finished

METRICS = {
    "top1": "top-1",
    "unbiased": "unbiased",
    "bias_aligned": "bias-aligned",
    "bias_conflicting": "bias-conflicting",
    "worst_group": "worst group",
    "demographic_parity_difference": "DP difference",
    "equalized_odds_difference": "EO difference",
    "equal_opportunity_difference": "EOpp difference",
}
WITHOUT_BIAS = {"top1": "top-1", "top5": "top-5"}  # what applies where there is no bias attribute
LOWER_IS_BETTER = {name for name in METRICS if name.endswith("_difference")}
NAMES = {"unbiased": "unbiased accuracy", "top1": "top-1 accuracy"}
ORDER = tuple(LOSSES)


@dataclass(frozen=True)
class FinishedRun:
    """A finished run: where it is, and its ``evaluation.json``."""

    folder: Path
    evaluation: dict[str, Any]

    @property
    def label(self) -> str:
        """The loss, with the parameters that are not its defaults."""
        return str(self.evaluation["label"])

    @property
    def sees_bias(self) -> bool:
        """Whether the method is given bias labels: it then knows more than one that is not."""
        return bool(self.evaluation["sees_bias"])

    @property
    def judge(self) -> str:
        """What the accuracies are of: the linear probe or the method's own classifier."""
        return str(self.evaluation["judged"])

    @property
    def has_bias(self) -> bool:
        """Whether its dataset has a bias attribute."""
        return self.evaluation["bias"] is not None

    @property
    def headline(self) -> str:
        """The accuracy that losses are compared in: unbiased, or top-1 without a bias attribute."""
        return "unbiased" if self.has_bias else "top1"

    @property
    def other(self) -> tuple[str, float | None] | None:
        """The other judge with its headline accuracy, None where the method has no classifier."""
        also = self.evaluation["also"]
        return (str(also[0]["by"]), also[0][self.headline]) if also else None

    @property
    def seed(self) -> int:
        """The seed."""
        return int(self.evaluation["seed"])

    def value(self, metric: str) -> float | None:
        """Return a metric's value, None where it is undefined, or of a run older than the metric."""
        value = self.evaluation.get(metric, {"value": None})["value"]
        return None if value is None else float(value)


@dataclass(frozen=True)
class Experiment:
    """Runs of one dataset and one recipe: by loss, then by seed."""

    first: dict[str, Any]
    losses: dict[str, list[FinishedRun]]

    def values(self, label: str, metric: str) -> dict[int, float]:
        """Return a metric by seed, without the seeds for which it is undefined.

        ``"gap"`` is bias-aligned minus bias-conflicting accuracy.
        """
        if metric == "gap":
            aligned, other = (
                self.values(label, f"bias_{kind}") for kind in ("aligned", "conflicting")
            )
            return {seed: aligned[seed] - other[seed] for seed in aligned.keys() & other.keys()}
        pairs = {run.seed: run.value(metric) for run in self.losses[label]}
        return {seed: value for seed, value in pairs.items() if value is not None}

    @property
    def has_bias(self) -> bool:
        """Whether the dataset has a bias attribute; without, group metrics do not apply."""
        return self.first["bias"] is not None

    @property
    def knows_aligned(self) -> bool:
        """Whether it is defined which cells are bias-aligned."""
        return self.has_bias and self.first["bias"].get("aligned", "as built") is not None

    @property
    def headline(self) -> str:
        """The accuracy that losses are compared in: ``unbiased``, or ``top1`` without a bias attribute."""
        return "unbiased" if self.has_bias else "top1"

    @property
    def accuracy(self) -> str:
        """The headline in words."""
        return NAMES[self.headline]

    @property
    def metrics(self) -> dict[str, str]:
        """The metrics that apply to the dataset, with their names."""
        return METRICS if self.has_bias else WITHOUT_BIAS

    @property
    def bias(self) -> dict[str, Any]:
        """The bias attribute's name and values; without one, all images are of one value."""
        found: dict[str, Any] | None = self.first["bias"]
        return {"name": "no bias attribute", "values": ["all"]} if found is None else found

    @property
    def preset(self) -> str:
        """The preset, with the settings that were changed."""
        return " + ".join([self.first["preset"], *self.first["changes"]])

    @property
    def title(self) -> str:
        """Dataset, preset and source in a line."""
        return f"{self.first['dataset']}, preset {self.preset} (source: {self.first['source']})"


def find_runs(root: Path, dataset: str | None = None) -> list[FinishedRun]:
    """Return the finished runs under a folder, in the order of their paths.

    A run that is not finished is left out; so is, with a warning, one that is damaged.

    Raises:
        RunError: There is none; the message gives the command that makes one.
    """
    folders = [config.parent for config in sorted(root.glob("*/*/*/config.toml"))]
    found = _finished(f for f in folders if dataset is None or f.parent.parent.name == dataset)
    if not found:
        where = f"{root}/{dataset}" if dataset else str(root)
        raise RunError(
            f"there is no finished run in {where}; make one with: biascon evaluate --loss contex"
        )
    return found


def read_runs(folders: Iterable[Path]) -> list[FinishedRun]:
    """Return the finished runs at some folders: each a run, or a folder with runs below it; none twice.

    Raises:
        RunError: A folder without a finished run.
    """
    found: dict[Path, FinishedRun] = {}
    for folder in folders:
        here = [folder] if (folder / "config.toml").is_file() else [
            config.parent for config in sorted(folder.rglob("config.toml"))
        ]  # fmt: skip
        runs_here = _finished(here)
        if not runs_here:
            raise RunError(f"there is no finished run in {folder}")
        found |= {run.folder.resolve(): run for run in runs_here}
    return list(found.values())


def _finished(folders: Iterable[Path]) -> list[FinishedRun]:
    """Return the finished runs of these folders, and warn of the others."""
    found, unfinished = [], []
    for folder in folders:
        try:
            evaluation = read_finished(folder)
            if evaluation is not None:
                _check(folder, evaluation)
        except RunError as error:
            warnings.warn(f"left out: {error}", BiasconWarning, stacklevel=3)
            continue
        if evaluation is None:
            unfinished.append(folder.name[-8:])
        else:
            found.append(FinishedRun(folder, evaluation))
    # A run that another one builds on is trained and never evaluated.
    firsts = {
        str((run.evaluation.get(key) or {}).get("digest", ""))[:8]
        for run in found
        for key in ("first", "encoder_from")
    }
    firsts |= {str(run.evaluation.get("network_of", ""))[:8] for run in found}
    left = len(set(unfinished) - firsts)
    if left:
        warnings.warn(f"left out: {left} unfinished run(s)", BiasconWarning, stacklevel=3)
    return found


def find_test_splits(root: Path, groups: Iterable[Experiment]) -> dict[str, Split]:
    """Return the test splits of the groups' datasets that are in a folder of datasets, by their digest.

    One that is damaged, or of another version, is as one that is not there.
    """
    wanted = {
        group.first["dataset_digest"]: (group.first["bias"] or {}).get("chosen") for group in groups
    }
    found: dict[str, Split] = {}
    for manifest in sorted(root.glob("*/manifest.json")):
        with contextlib.suppress(BiasconError):
            about = read_manifest(manifest.parent)
            digest = dataset_digest(about)
            for want, names in wanted.items():
                if want == digest if names is None else _is_view(about, digest, names, want):
                    data = load(manifest.parent, only=("test",))
                    data = data if names is None else view_by_attributes(data, names)
                    found[want] = data.splits["test"]
    return found


def _is_view(about: Manifest, digest: str, names: list[str], wanted: str) -> bool:
    try:
        return view_identity(about, digest, names)[1] == wanted
    except BiasconError:
        return False


_MORE = (
    "recipe", "changes", "config", "judged", "sees_bias", "also", "first", "labels", "bias", "training",
    "representation",
)  # fmt: skip
_KEYS = ("dataset", "dataset_digest", "source", "protocol", "label", "loss", "preset", "seed")


def _check(folder: Path, evaluation: dict[str, Any]) -> None:
    missing = [key for key in (*_KEYS, *_MORE, *METRICS) if key not in evaluation]
    if evaluation.get("format") != 1 or missing:
        raise RunError(f"{folder} is a run of another version of biascon; evaluate it again")


def group_runs(found: Sequence[FinishedRun]) -> list[Experiment]:
    """Sort runs into groups that may be compared; losses in the order of the papers, then by name."""
    groups: dict[tuple[str, ...], dict[str, list[FinishedRun]]] = {}
    for run in found:
        e = run.evaluation
        key = tuple(str(e[part]) for part in ("dataset", "dataset_digest", "preset", "recipe"))
        groups.setdefault(key, {}).setdefault(run.label, []).append(run)
    result = []
    for key in sorted(groups):
        labels = sorted(groups[key], key=lambda label: (_rank(groups[key][label][0]), label))
        losses = {label: sorted(groups[key][label], key=lambda r: r.seed) for label in labels}
        result.append(Experiment(losses[labels[0]][0].evaluation, losses))
    return result


def _rank(run: FinishedRun) -> int:
    loss = run.evaluation["loss"]
    return ORDER.index(loss) if loss in ORDER else len(ORDER)
