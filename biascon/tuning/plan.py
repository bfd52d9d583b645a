"""The runs of a study: the trials of the search, the confirmation, and the split of the variance.

Every run is planned before the first one starts, as a ``Job`` of a sweep with the record that it fills. A
setting that no run can have is refused then.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from biascon.config.factory import make_config
from biascon.config.run_config import RECIPE_VERSION, RunConfig
from biascon.data.builders.biased_mnist import BiasedMNISTSpec, make_biased_mnist
from biascon.data.dataset import dataset_digest, read_manifest
from biascon.errors import UsageError
from biascon.runs.environment import package_versions
from biascon.studies.records import Stage, StudyRun
from biascon.sweep.grid import Job, plan_job
from biascon.tuning.checks import check_method, check_rules, check_runs, naming
from biascon.tuning.datasets import (
    StudyDataset,
    check_confirm_datasets,
    check_test_splits,
    describe_confirm_dataset,
    measure_reuse,
    read_dataset,
)
from biascon.tuning.draws import MAX_TRIALS, assign_dimensions, draw_trials
from biascon.tuning.space import Method, make_method, to_settings
from biascon.tuning.study import MAX_SEEDS, MethodSpec, StudySpec

SEEDS_OF_STUDY = 2 * MAX_TRIALS  # training seeds that a search uses: trials, then fresh ones
VARIANCE_SEEDS = MAX_TRIALS + MAX_SEEDS


@dataclass(frozen=True)
class PlannedRun:
    """A run of a study that may still have to be trained.

    Attributes:
        job: How the run is made.
        record: Its record, without metrics.
        dataset: Its dataset.
    """

    job: Job
    record: StudyRun
    dataset: StudyDataset


@dataclass(frozen=True)
class Planner:
    """What plans the runs of a study.

    Attributes:
        spec: The study.
        methods: The methods with their search spaces.
        root: The folder of runs.
        data_root: The folder in which datasets are built.
        device: The type of the device that the runs use.
        threads: CPU threads of each run; None for the value of the preset.
        log: Called with each line of progress.
        command: The command that runs the study, without paths of this machine.
    """

    spec: StudySpec
    methods: Sequence[Method]
    root: Path
    data_root: Path
    device: str
    threads: int | None
    log: Callable[[str], None]
    command: str = ""

    def trial_dataset(self) -> StudyDataset:
        """Return the dataset of the trials; build it if it is missing.

        Raises:
            BiasconError: The dataset cannot be built or read.
            UsageError: The dataset has no validation split, or no bias labels for a rule that needs them, so
                that no trial can be chosen.
        """
        spec = self.spec
        rho, folder = spec.rho, spec.data or Path()
        dataset = read_dataset(folder) if rho is None else self._build(rho, 0)
        if "val" not in dataset.manifest.counts:
            raise UsageError(
                f"{dataset.folder} has no validation split, and a study never selects on the test split; "
                "build the dataset with a validation split"
            )
        check_rules(spec.confirm.rules, dataset.manifest, dataset.folder, spec.bias)
        resplit = self.confirm_datasets()
        check_confirm_datasets([d.manifest for d in resplit], dataset.manifest)
        if resplit:
            check_test_splits([dataset, *resplit])
        return dataset

    def confirm_datasets(self) -> list[StudyDataset]:
        """Return the datasets of ``confirm.data``, one for each fresh seed.

        Raises:
            DataError: A folder holds no dataset.
        """
        return [read_dataset(folder) for folder in self.spec.confirm.data]

    def _build(self, rho: float, seed: int) -> StudyDataset:
        spec = BiasedMNISTSpec(rho, seed=seed, val_protocol=self.spec.val_protocol)
        folder = make_biased_mnist(spec, root=self.data_root, say=self.log).folder
        return StudyDataset(folder, read_manifest(folder), rho, seed)

    def plan_trials(self, dataset: StudyDataset) -> list[PlannedRun]:
        """Return the trials, all methods of a trial before the next trial.

        Raises:
            UsageError: A method cannot run on the dataset, or a draw gives a setting that is not allowed.
        """
        spec = self.spec
        for method in self.methods:
            check_method(method, dataset.folder)
        dimensions = assign_dimensions(method.space for method in self.methods)
        runs = []
        for study in range(spec.studies):
            draw_seed = spec.seed * MAX_TRIALS + study
            draws = {
                method.name: draw_trials(method.space, spec.trials, draw_seed, dimensions)
                for method in self.methods
            }
            for trial in range(spec.trials):
                for method in self.methods:
                    values = draws[method.name][trial]
                    runs.append(self.plan_trial(method, dataset, study, trial, values))
        check_runs([(run.job.config, run.record) for run in runs], dataset.folder, spec.bias)
        return runs

    def plan_trial(
        self,
        method: Method,
        dataset: StudyDataset,
        study: int,
        trial: int,
        values: Mapping[str, Any],
    ) -> PlannedRun:
        """Return one trial with the given values of the searched parameters.

        Raises:
            UsageError: No run can have these values.
        """
        seed = self._first_seed(study) + trial
        record = self._record(Stage.TRIAL, method, study, trial, trial, seed, values)
        return self._plan(record, method, dataset)

    def plan_confirmation(
        self, choices: Sequence[StudyRun], trial_dataset: StudyDataset
    ) -> Iterator[list[PlannedRun]]:
        """Yield the confirmation runs, in groups of the same fresh seeds.

        Args:
            choices: The chosen trials, each once.
            trial_dataset: The dataset of the trials, for a study that cannot color its dataset anew.
        """
        resplit = self.confirm_datasets()
        for rho in self.rhos():
            for pair in range(self.spec.confirm.seeds):
                fresh = MAX_TRIALS + pair
                if rho is not None:
                    dataset = self._build(rho, fresh)
                else:
                    dataset = resplit[pair] if resplit else trial_dataset
                yield [
                    self._confirm(Stage.CONFIRMATION, choice, dataset, pair, fresh)
                    for choice in choices
                ]

    def plan_variance(
        self, choices: Sequence[StudyRun], trial_dataset: StudyDataset
    ) -> list[PlannedRun]:
        """Return the runs that split the variance: fresh training seeds, fresh datasets, other rounding.

        The first ones keep the dataset of the first confirmation run, the second ones its training seed. The
        third ones repeat the first confirmation runs with another number of CPU threads, which changes only
        the rounding.
        """
        n, rhos = self.spec.confirm.variance, self.rhos()
        rho = self.spec.rho if self.spec.rho in rhos else rhos[0]
        names = self.spec.confirm.variance_of or tuple(method.name for method in self.methods)
        chosen = [choice for choice in choices if choice.method in names and choice.study == 0]
        first = trial_dataset if rho is None else self._build(rho, MAX_TRIALS)
        runs = []
        for pair in range(n):
            other = VARIANCE_SEEDS + pair
            same = first if rho is None else self._build(rho, MAX_TRIALS + pair)
            for choice in chosen:
                runs.append(self._confirm(Stage.SEEDS, choice, first, pair, other))
                if rho is not None:
                    fresh = self._build(rho, other)
                    runs.append(self._confirm(Stage.DATASETS, choice, fresh, pair, MAX_TRIALS))
                runs.append(self._confirm(Stage.ROUNDING, choice, same, pair, MAX_TRIALS + pair))
        return runs

    def rhos(self) -> tuple[float | None, ...]:
        """Return the color correlations of the confirmation; None for the dataset folder of the study."""
        return self.spec.confirm.rho or (self.spec.rho,)

    def _confirm(
        self, stage: Stage, choice: StudyRun, dataset: StudyDataset, pair: int, fresh: int
    ) -> PlannedRun:
        method = next(method for method in self.methods if method.name == choice.method)
        seed = self._first_seed(choice.study) + fresh
        record = self._record(
            stage, method, choice.study, choice.trial, pair, seed, choice.settings
        )
        return self._plan(record, method, dataset)

    def _first_seed(self, study: int) -> int:
        return (self.spec.seed * 1000 + study) * SEEDS_OF_STUDY

    @staticmethod
    def _record(
        stage: Stage,
        method: Method,
        study: int,
        trial: int,
        pair: int,
        seed: int,
        values: Mapping[str, Any],
    ) -> StudyRun:
        return StudyRun(
            stage, method.name, study, trial, pair, seed,
            dataset="", dataset_seed=None, rho=None, dataset_digest="", run="", settings=values,
        )  # fmt: skip

    def _plan(self, record: StudyRun, method: Method, dataset: StudyDataset) -> PlannedRun:
        """Return a run with its configuration resolved."""
        settings = (*self.spec.settings, *method.settings)
        threads = self.threads
        if record.stage is Stage.ROUNDING:
            threads = 2 if (threads or 1) == 1 else 1
        with naming(record):
            settings += to_settings(record.settings, self._preset(method))
            settings += () if threads is None else (f"train.threads={threads}",)
            config = make_config(
                method.loss, seed=record.seed, preset=self.spec.preset, settings=settings
            )
        job = plan_job(
            config, dataset.folder, dataset.manifest, self.root, self.device, settings,
            bias=self.spec.bias, preset=self.spec.preset,
        )  # fmt: skip
        record = replace(
            record,
            dataset=dataset.manifest.name,
            dataset_seed=dataset.seed,
            rho=dataset.rho,
            dataset_digest=dataset_digest(dataset.manifest),
            run=job.digest,
            threads=config.train.threads,
        )
        return PlannedRun(replace(job, keep_features=False), record, dataset)

    def _preset(self, method: Method) -> RunConfig:
        settings = (*self.spec.settings, *method.settings)
        return _make_preset(method.loss, self.spec.preset, settings)

    def describe(self, dataset: StudyDataset) -> dict[str, Any]:
        """Return the study as plain data, for its table."""
        spec, confirm, resplit = self.spec, self.spec.confirm, self.confirm_datasets()
        reused = measure_reuse(dataset, resplit)
        return {
            "name": spec.name,
            "search": spec.search,
            "methods": {method.name: method.to_json() for method in self.methods},
            "trials": spec.trials,
            "studies": spec.studies,
            "seed": spec.seed,
            "dataset": {
                "name": dataset.manifest.name,
                "digest": dataset_digest(dataset.manifest),
                "bias": spec.bias,
                "rho": spec.rho,
                "val_protocol": dataset.manifest.protocol["val"],
                "train": dataset.manifest.protocol["train"],
                "test": dataset.manifest.protocol["test"],
                "source": dataset.manifest.origin,
            },
            "val_protocol": spec.val_protocol,
            "preset": spec.preset,
            "settings": list(spec.settings),
            "recipe": RECIPE_VERSION,
            "versions": package_versions(),
            "command": self.command,
            "budget_seconds": spec.budget_seconds,
            "confirm": {
                "seeds": confirm.seeds,
                "rules": list(confirm.rules),
                "reference": confirm.reference or self.methods[0].name,
                "margin": confirm.margin,
                "rho": list(confirm.rho) or ([] if spec.rho is None else [spec.rho]),
                "data": [describe_confirm_dataset(d.manifest).to_json() for d in resplit],
                **({} if reused is None else {"reused": reused}),
                "variance": confirm.variance,
                "variance_of": list(confirm.variance_of),
            },
        }


def resolve_methods(spec: StudySpec) -> list[Method]:
    """Return the methods of a study with their search spaces.

    Raises:
        UsageError: A name is unknown, or a distribution does not fit.
    """
    return [_resolve(spec, method) for method in spec.methods]


@functools.cache
def _make_preset(loss: str, preset: str, settings: tuple[str, ...]) -> RunConfig:
    """Return the configuration that the trials of a method vary; every trial of a study asks for it."""
    return make_config(loss, preset=preset, settings=settings).without_method_settings()


def _resolve(spec: StudySpec, method: MethodSpec) -> Method:
    return make_method(
        method.name,
        method.loss,
        spec.preset,
        settings=(*spec.settings, *method.settings),
        changed=method.space,
    )
