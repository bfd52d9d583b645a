"""The datasets of a study: that of the trials, and those of the confirmation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biascon.data.dataset import Split, dataset_digest, load, read_manifest
from biascon.data.manifest import SPLITS, Manifest
from biascon.errors import UsageError
from biascon.studies.resplits import ConfirmDataset

_SPLIT_DIGESTS = (
    "rows",
    "list",
    "files",
)  # digests of the images that were chosen, not of the source
_TOLERANCE = 0.01  # of the number of images: a split may lose a few images that cannot be read


@dataclass(frozen=True)
class StudyDataset:
    """A dataset of a study.

    Attributes:
        folder: The dataset folder.
        manifest: Its manifest.
        rho: The color correlation, None where the study does not build the dataset.
        seed: The seed of the dataset, None where it is unknown.
    """

    folder: Path
    manifest: Manifest
    rho: float | None = None
    seed: int | None = None


def read_dataset(folder: Path) -> StudyDataset:
    """Return the dataset in a folder, with the seed that its builder states.

    Raises:
        DataError: The folder holds no dataset.
    """
    manifest = read_manifest(folder)
    seed = manifest.parameters.get("seed")
    return StudyDataset(folder, manifest, seed=seed if isinstance(seed, int) else None)


def describe_confirm_dataset(manifest: Manifest) -> ConfirmDataset:
    """Return what the description of a study states of a dataset of ``confirm.data``."""
    return ConfirmDataset(
        manifest.name,
        dataset_digest(manifest),
        manifest.counts["train"].n,
        manifest.counts["test"].n,
    )


def check_confirm_datasets(manifests: Sequence[Manifest], trials: Manifest) -> None:
    """Refuse datasets of the confirmation that are not the dataset of the trials with another seed.

    Args:
        manifests: The manifests of the datasets of the confirmation.
        trials: The manifest of the dataset of the trials.

    Raises:
        UsageError: A dataset differs in more than its seed, is made from other images, or is the same as
            another one or as that of the trials.
    """
    expected = _without_seed(trials)
    digests = {dataset_digest(trials): f"the dataset of the trials, {trials.name},"}
    for manifest in manifests:
        if _without_seed(manifest) != expected:
            raise UsageError(
                f"confirm.data: expected {manifest.name} to differ from {trials.name} in its seed only"
            )
        _check_images(manifest, trials)
        digest = dataset_digest(manifest)
        if digest in digests:
            raise UsageError(
                f"confirm.data: {digests[digest]} and {manifest.name} are the same dataset"
            )
        digests[digest] = manifest.name


def _check_images(manifest: Manifest, trials: Manifest) -> None:
    """Refuse a dataset whose manifest states another source, or another number of images."""
    one, other = (_source_digests(part) for part in (manifest, trials))
    if any(one[name] != other[name] for name in one.keys() & other.keys()):
        raise UsageError(
            f"confirm.data: {manifest.name} is made from other files than {trials.name} (the digests of "
            "their sources differ)"
        )
    n, expected = _count_images(manifest), _count_images(trials)
    if abs(n - expected) > _TOLERANCE * expected:
        raise UsageError(
            f"confirm.data: {manifest.name} is made from {n:,} images and {trials.name} from {expected:,}"
        )


def _source_digests(manifest: Manifest) -> dict[str, object]:
    digests = manifest.source.get("sha256")
    known = digests if isinstance(digests, Mapping) else {}
    return {name: value for name, value in known.items() if name not in _SPLIT_DIGESTS}


def _count_images(manifest: Manifest) -> int:
    """Return the number of images in all splits, with those that the builder dropped on purpose."""
    names = manifest.source.get("names")
    dropped = names.get("dropped") if isinstance(names, Mapping) else None
    counts = dropped.values() if isinstance(dropped, Mapping) else ()
    return sum(split.n for split in manifest.counts.values()) + sum(
        n for n in counts if isinstance(n, int)
    )


def check_test_splits(datasets: Sequence[StudyDataset]) -> None:
    """Refuse datasets whose seed changes nothing in the test split.

    The test images of two datasets may be the same if their biases differ, as in two colorings.

    Args:
        datasets: The dataset of the trials, and those of the confirmation.

    Raises:
        UsageError: Two datasets have the same test images with the same labels and bias values.
        DataError: A dataset is damaged.
    """
    seen: list[tuple[StudyDataset, Split]] = []
    for dataset in datasets:
        split = load(dataset.folder, only=("test",)).splits["test"]
        for other, known in seen:
            if all(
                np.array_equal(getattr(split, key), getattr(known, key))
                for key in ("index", "labels", "bias")
            ):
                raise UsageError(
                    f"confirm.data: {dataset.manifest.name} and {other.manifest.name} have the same test "
                    "images: the seed of this dataset does not change its test split"
                )
        seen.append((dataset, split))


def measure_reuse(
    trials: StudyDataset, confirmation: Sequence[StudyDataset]
) -> dict[str, float] | None:
    """Return which share of the test images of the confirmation each split of the trials had.

    Images are told apart by their ``index``. The splits of a dataset that is split at random number the same
    images. Where a number occurs in both the training and the test split, each split has numbers of its own.

    Args:
        trials: The dataset of the trials.
        confirmation: The datasets of the confirmation.

    Returns:
        The mean share over the datasets by ``"train"``, ``"val"`` and ``"test"``; None if there is no such
        dataset, or each split has numbers of its own.

    Raises:
        DataError: A dataset is damaged.
    """
    if not confirmation:
        return None
    own = {name: split.index for name, split in load(trials.folder).splits.items()}
    if np.isin(own["train"], own["test"]).any():
        return None
    shares: dict[str, list[float]] = {name: [] for name in SPLITS}
    for dataset in confirmation:
        index = load(dataset.folder, only=("test",)).splits["test"].index
        for name in SPLITS:
            shares[name].append(float(np.isin(index, own[name]).mean()))
    return {name: round(float(np.mean(values)), 4) for name, values in shares.items()}


def _without_seed(manifest: Manifest) -> tuple[object, ...]:
    """Return what two datasets share that differ in their seed only."""
    parameters = {key: value for key, value in manifest.parameters.items() if key != "seed"}
    return (
        manifest.builder, parameters, manifest.labels, manifest.bias, manifest.attributes,
        manifest.protocol, manifest.origin,
    )  # fmt: skip
