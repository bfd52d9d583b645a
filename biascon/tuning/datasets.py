"""The datasets of a study: that of the trials, and those of the confirmation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from biascon.data.dataset import dataset_digest, read_manifest
from biascon.data.manifest import Manifest
from biascon.errors import UsageError


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


def check_confirm_datasets(manifests: Sequence[Manifest], trials: Manifest) -> None:
    """Refuse datasets of the confirmation that are not the dataset of the trials with another seed.

    Args:
        manifests: The manifests of the datasets of the confirmation.
        trials: The manifest of the dataset of the trials.

    Raises:
        UsageError: A dataset differs in more than its seed, or two datasets are the same.
    """
    expected = _without_seed(trials)
    digests: dict[str, str] = {}
    for manifest in manifests:
        if _without_seed(manifest) != expected:
            raise UsageError(
                f"confirm.data: expected {manifest.name} to differ from {trials.name} in its seed only"
            )
        digest = dataset_digest(manifest)
        if digest in digests:
            raise UsageError(
                f"confirm.data: {digests[digest]} and {manifest.name} are the same dataset"
            )
        digests[digest] = manifest.name


def _without_seed(manifest: Manifest) -> tuple[object, ...]:
    """Return what two datasets share that differ in their seed only."""
    parameters = {key: value for key, value in manifest.parameters.items() if key != "seed"}
    return (
        manifest.builder, parameters, manifest.labels, manifest.bias, manifest.attributes,
        manifest.protocol, manifest.origin,
    )  # fmt: skip
