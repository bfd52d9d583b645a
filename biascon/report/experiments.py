"""Finished runs, collected into experiments whose numbers may be compared.

Two runs belong to one experiment only if their dataset, their preset and every setting of their recipe agree,
except the loss and the seed. Any other run follows another protocol.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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
from biascon.metrics.names import METRIC_NAMES
from biascon.runs.evaluation import Evaluation
from biascon.runs.finished import FinishedRun
from biascon.runs.identity import BiasRecord, RunIdentity
from biascon.runs.listing import find_run_folders, find_run_folders_below
from biascon.runs.seals import Check
from biascon.utils.progress import Say, say_nothing, with_progress


def report_names(metrics: Iterable[str]) -> dict[str, str]:
    """Return the names of metrics in the columns of a report, by metric."""
    names = {metric: METRIC_NAMES[metric] for metric in metrics}
    return {metric: name.report_name or name.short for metric, name in names.items()}


COMPARED_METRICS = (
    "top1",
    "unbiased",
    "bias_aligned",
    "bias_conflicting",
    "worst_group",
    "demographic_parity_difference",
    "equalized_odds_difference",
    "equal_opportunity_difference",
)
METRICS = report_names(COMPARED_METRICS)
METRICS_WITHOUT_BIAS = report_names(("top1", "top5"))
LOWER_IS_BETTER = {metric for metric in METRICS if METRIC_NAMES[metric].lower_is_better}
HEADLINE_NAMES = {metric: METRIC_NAMES[metric].name for metric in ("unbiased", "top1")}
LOSS_ORDER = tuple(LOSSES)
NO_BIAS = BiasRecord("no bias attribute", ("all",))


@dataclass(frozen=True)
class Experiment:
    """The finished runs of one dataset and one recipe.

    Attributes:
        metadata: The evaluation of the first run: what it states of dataset, protocol and recipe holds for
            every run.
        losses: The runs of each loss in the order of their seeds, by the label of the loss.
    """

    metadata: Evaluation
    losses: Mapping[str, Sequence[FinishedRun]]

    @property
    def identity(self) -> RunIdentity:
        """Dataset and recipe of the runs; loss and seed are those of the first run."""
        return self.metadata.identity

    @property
    def runs(self) -> list[FinishedRun]:
        """All runs, in the order of losses and seeds."""
        return [run for runs in self.losses.values() for run in runs]

    def values(self, label: str, metric: str) -> dict[int, float]:
        """Return the metric of a loss by seed, without the seeds for which it is undefined.

        ``"gap"`` is bias-aligned minus bias-conflicting accuracy.
        """
        if metric == "gap":
            aligned = self.values(label, "bias_aligned")
            conflicting = self.values(label, "bias_conflicting")
            seeds = aligned.keys() & conflicting.keys()
            return {seed: aligned[seed] - conflicting[seed] for seed in seeds}
        pairs = {run.seed: run.value(metric) for run in self.losses[label]}
        return {seed: value for seed, value in pairs.items() if value is not None}

    @property
    def has_bias(self) -> bool:
        """Whether the dataset has a bias attribute; without one, group metrics do not apply."""
        return self.identity.bias is not None

    @property
    def knows_aligned(self) -> bool:
        """Whether it is defined which cells are bias-aligned."""
        return self.identity.bias is not None and self.identity.bias.knows_aligned

    @property
    def headline(self) -> str:
        """The accuracy that losses are compared in: ``unbiased``, or ``top1`` without a bias attribute."""
        return self.metadata.headline

    @property
    def accuracy(self) -> str:
        """The name of the headline accuracy in a sentence."""
        return HEADLINE_NAMES[self.headline]

    @property
    def metrics(self) -> Mapping[str, str]:
        """The metrics that apply to the dataset, with their display names."""
        return METRICS if self.has_bias else METRICS_WITHOUT_BIAS

    @property
    def bias(self) -> BiasRecord:
        """The bias attribute; a dataset without one has a single value for all images."""
        return self.identity.bias or NO_BIAS

    @property
    def test_n(self) -> int:
        """The number of test images."""
        return self.metadata.summary["top1"].n

    @property
    def preset(self) -> str:
        """The preset, and the settings that differ from it."""
        return self.identity.preset_with_overrides

    @property
    def title(self) -> str:
        """Dataset, preset and source in a line."""
        return f"{self.identity.dataset}, preset {self.preset} (source: {self.identity.source})"


def list_digests(runs: Iterable[FinishedRun]) -> str:
    """Return the first eight digits of the digests of runs, separated by blanks."""
    return " ".join(run.digest[:8] for run in runs)


@dataclass(frozen=True)
class FoundRuns:
    """The runs of a folder.

    Attributes:
        runs: The finished runs, in the order of their paths.
        left_out: Which other runs there are, and why they are left out, a text each.
    """

    runs: Sequence[FinishedRun]
    left_out: Sequence[str]


def find_runs(
    root: Path,
    dataset: str | None = None,
    *,
    check: Check = Check.REPORT,
    say: Say = say_nothing,
) -> list[FinishedRun]:
    """Return the finished runs under a folder; see ``find_all_runs``."""
    return list(find_all_runs(root, dataset, check=check, say=say).runs)


def find_all_runs(
    root: Path,
    dataset: str | None = None,
    *,
    check: Check = Check.REPORT,
    say: Say = say_nothing,
) -> FoundRuns:
    """Return the finished runs under a folder, and which runs are left out.

    A warning states each run that is left out because it is damaged or of another version, and the number of
    unfinished runs.

    Args:
        root: The folder of runs.
        dataset: The name of the dataset whose runs are returned; None returns all runs.
        check: Which files of a run are compared with ``done``.
        say: Called with a line of progress every few seconds.

    Raises:
        RunError: There is no finished run. The message has the command that makes one.
    """
    found = _read_finished_runs(find_run_folders(root, dataset), check, say)
    if not found.runs:
        where = f"{root}/{dataset}" if dataset else str(root)
        raise RunError(
            f"there is no finished run in {where}; make one with: biascon evaluate --loss contex"
        )
    return found


def read_runs(
    folders: Iterable[Path], *, check: Check = Check.REPORT, say: Say = say_nothing
) -> list[FinishedRun]:
    """Return the finished runs of several folders, each run once.

    Args:
        folders: Run folders, or folders that have run folders below them.
        check: Which files of a run are compared with ``done``.
        say: Called with a line of progress every few seconds.

    Raises:
        RunError: A folder has no finished run.
    """
    runs: dict[Path, FinishedRun] = {}
    for folder in folders:
        runs_of_folder = _read_finished_runs(find_run_folders_below(folder), check, say).runs
        if not runs_of_folder:
            raise RunError(f"there is no finished run in {folder}")
        runs |= {run.folder.resolve(): run for run in runs_of_folder}
    return list(runs.values())


def _read_finished_runs(folders: Sequence[Path], check: Check, say: Say) -> FoundRuns:
    """Return the finished runs of these run folders, and warn of the other ones."""
    runs, damaged, unfinished = [], [], set()
    for folder in with_progress(folders, "reading runs", len(folders), say):
        try:
            run = FinishedRun.read(folder, check=check)
        except RunError as error:
            damaged.append(f"{folder}, because {error}")
            continue
        if run is None:
            unfinished.add(folder.name[-8:])
        else:
            runs.append(run)
    # A run that another run builds on is trained, but never evaluated.
    left_out = len(unfinished - {digest[:8] for run in runs for digest in _required_runs(run)})
    if left_out:
        damaged.append(f"{left_out} unfinished run(s)")
    for reason in damaged:
        warnings.warn(f"left out: {reason}", BiasconWarning, stacklevel=4)
    return FoundRuns(runs, damaged)


def _required_runs(run: FinishedRun) -> list[str]:
    """Return the digests of the runs that trained what this run builds on."""
    identity, encoder = run.evaluation.identity, run.evaluation.encoder_from
    first_stage = identity.first_stage
    return [
        *([] if first_stage is None else [first_stage.digest, *first_stage.others]),
        *([] if identity.trained_in_run is None else [identity.trained_in_run]),
        *([] if encoder is None else [encoder.digest]),
    ]


def find_test_splits(root: Path, experiments: Iterable[Experiment]) -> dict[str, Split]:
    """Return the test splits of the experiments whose datasets are in a folder, by dataset digest.

    A dataset folder that is damaged or of another version is skipped.
    """
    wanted = {
        experiment.identity.dataset_digest: experiment.bias.chosen for experiment in experiments
    }
    splits: dict[str, Split] = {}
    for path in sorted(root.glob("*/manifest.json")):
        with contextlib.suppress(BiasconError):
            manifest = read_manifest(path.parent)
            digest = dataset_digest(manifest)
            for wanted_digest, names in wanted.items():
                if names is None:
                    if wanted_digest == digest:
                        splits[wanted_digest] = load(path.parent, only=("test",)).splits["test"]
                elif _is_view(manifest, digest, names, wanted_digest):
                    view = view_by_attributes(load(path.parent, only=("test",)), names)
                    splits[wanted_digest] = view.splits["test"]
    return splits


def _is_view(manifest: Manifest, digest: str, names: Sequence[str], wanted_digest: str) -> bool:
    try:
        return view_identity(manifest, digest, names)[1] == wanted_digest
    except BiasconError:
        return False


def group_runs(runs: Sequence[FinishedRun]) -> list[Experiment]:
    """Return the experiments of runs; the losses are in the order of the registry, then by name."""
    runs_by_key: dict[tuple[str, ...], dict[str, list[FinishedRun]]] = {}
    for run in runs:
        i = run.evaluation.identity
        key = (i.dataset, i.dataset_digest, i.preset, i.recipe)
        runs_by_key.setdefault(key, {}).setdefault(run.label, []).append(run)
    experiments = []
    for _, by_label in sorted(runs_by_key.items()):
        labels = sorted(by_label, key=lambda label: (_loss_rank(by_label[label][0]), label))
        losses = {label: sorted(by_label[label], key=lambda run: run.seed) for label in labels}
        experiments.append(Experiment(losses[labels[0]][0].evaluation, losses))
    return experiments


def _loss_rank(run: FinishedRun) -> int:
    return LOSS_ORDER.index(run.loss) if run.loss in LOSS_ORDER else len(LOSS_ORDER)
