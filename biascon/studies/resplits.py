"""The datasets of a confirmation: which runs count, and what splits of the same images mean for the variance.

``confirm.data`` of a study names a dataset for each pair: other random splits of the images that the trials
used. The mean paired difference of n such splits varies more than s^2 / n says, because the splits share
images. Nadeau and Bengio (Machine Learning 52, 2003) use::

    s^2 (1 / n + n_test / n_train)

``python tests/benchmarks/resampled_splits.py`` shows how often both intervals are wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from biascon.studies.records import Stage, StudyRun
from biascon.studies.table import StudyTable


@dataclass(frozen=True)
class ConfirmDataset:
    """A dataset of ``confirm.data``, as the description of a study states it.

    Attributes:
        name: The name of the dataset.
        digest: Its digest; ``""`` in a table that states names only.
        n_train: The number of training images, None where the table does not state it.
        n_test: The number of test images, None where the table does not state it.
    """

    name: str
    digest: str = ""
    n_train: int | None = None
    n_test: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the dataset as plain data."""
        return {
            "name": self.name,
            "digest": self.digest,
            "train": self.n_train,
            "test": self.n_test,
        }


def confirm_datasets(description: Mapping[str, Any]) -> list[ConfirmDataset]:
    """Return the datasets of ``confirm.data``, one for each pair; empty for a study without them.

    Raises:
        KeyError: An entry lacks a key.
        TypeError: An entry has another type.
    """
    return [_read_dataset(entry) for entry in description["confirm"].get("data") or ()]


def _read_dataset(entry: Any) -> ConfirmDataset:
    if isinstance(entry, str):  # tables of earlier versions have data/NAME only
        return ConfirmDataset(entry.removeprefix("data/"))
    counts = [None if entry[key] is None else int(entry[key]) for key in ("train", "test")]
    return ConfirmDataset(str(entry["name"]), str(entry["digest"]), *counts)


def confirmation_of_study(table: StudyTable) -> list[StudyRun]:
    """Return the confirmation runs that count, in the order of search and pair.

    A run counts if its pair is one that the study states, and if it is on the dataset that the study states
    for this pair. Of a study that names no such datasets and does not build its dataset, that is the dataset
    of the trials. Two runs of one setting for the same pair contradict each other: none of them counts.
    """
    limit = table.description["confirm"]["seeds"]
    datasets = confirm_datasets(table.description)
    runs = [
        run
        for run in table.select(Stage.CONFIRMATION)
        if run.pair < limit and _is_on_stated_dataset(run, datasets, table.description)
    ]
    found = Counter(map(_pair_of, runs))
    return [run for run in runs if found[_pair_of(run)] == 1]


def _pair_of(run: StudyRun) -> tuple[object, ...]:
    return run.method, run.study, run.trial, run.rho, run.pair


def _is_on_stated_dataset(
    run: StudyRun, datasets: list[ConfirmDataset], description: Mapping[str, Any]
) -> bool:
    if datasets:
        if run.pair >= len(datasets):
            return False
        stated = datasets[run.pair]
        if stated.digest:
            return run.dataset_digest == stated.digest
        return run.dataset == stated.name
    trials = description.get("dataset", {})
    if run.rho is not None or trials.get("rho") is not None or not trials.get("digest"):
        return True
    return bool(run.dataset_digest == trials["digest"])


def split_ratio(description: Mapping[str, Any]) -> float | None:
    """Return n_test / n_train of the splits of the confirmation, the mean over ``confirm.data``.

    Returns:
        The ratio; 0 for a study without ``confirm.data``, whose pairs are not splits of the same images; None
        if the table does not state the numbers of images.
    """
    datasets = confirm_datasets(description)
    ratios = [d.n_test / d.n_train for d in datasets if d.n_test is not None and d.n_train]
    if len(ratios) < len(datasets):
        return None
    return float(np.mean(ratios)) if ratios else 0.0


def reused_images(description: Mapping[str, Any]) -> dict[str, float] | None:
    """Return which share of the test images of ``confirm.data`` each split of the trials had.

    Returns:
        The shares of the training, validation and test images of the trials among the test images of the
        confirmation, by ``"train"``, ``"val"`` and ``"test"``; None if the table does not state them.
    """
    shares = description["confirm"].get("reused")
    if not shares:
        return None
    return {name: float(shares[name]) for name in ("train", "val", "test")}
