"""Write a dataset folder from arrays, or reuse an intact folder that holds the same dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from biascon.data import dataset
from biascon.data.dataset import Split
from biascon.data.manifest import DatasetDescription, Manifest
from biascon.errors import BiasconError
from biascon.utils.folders import lock_target


@dataclass(frozen=True)
class BuildResult:
    """The result of a build.

    Attributes:
        folder: The dataset folder.
        manifest: Its manifest.
        reused: Whether the folder existed before and was reused.
    """

    folder: Path
    manifest: Manifest
    reused: bool


def build_or_reuse(
    folder: Path,
    description: DatasetDescription,
    build: Callable[[], Mapping[str, Split]],
    *,
    force: bool = False,
) -> BuildResult:
    """Write a dataset folder, or reuse the folder if it already holds the same dataset, intact.

    Args:
        folder: The dataset folder.
        description: The description of the dataset.
        build: Returns the splits. It is called only if the folder has to be written.
        force: Replace an existing folder that holds another dataset, or is damaged.

    Raises:
        BusyError: Another process builds the folder.
        BiasconError: The folder is not writable, or it holds another dataset or other files.
    """
    if _is_occupied(folder) and not force:
        return _reuse(folder, description)
    with lock_target(folder):
        # Another process may have finished it meanwhile, or the old folder has got its name back.
        is_occupied = _is_occupied(folder)
        if is_occupied and not force:
            return _reuse(folder, description)
        manifest = dataset.save(folder, build(), description, replace=force or not is_occupied)
    return BuildResult(folder, manifest, reused=False)


def _is_occupied(folder: Path) -> bool:
    """Return whether a folder is a dataset; it is not if it is missing or empty.

    Raises:
        BiasconError: The folder is something else.
    """
    if folder.exists() and not dataset.is_dataset_folder(folder):
        raise BiasconError(f"{folder} exists and is not a dataset; choose another --out")
    return folder.exists() and any(folder.iterdir())


def _reuse(folder: Path, description: DatasetDescription) -> BuildResult:
    """Return a dataset that exists, after a check of every byte."""
    manifest = check_same_dataset(folder, description)
    dataset.mark_used(folder)
    return BuildResult(folder, manifest, reused=True)


def check_same_dataset(folder: Path, description: DatasetDescription) -> Manifest:
    """Return the manifest of an intact dataset folder that matches a description.

    Raises:
        BiasconError: The folder holds another dataset.
        DataError: The folder is damaged.
    """
    manifest = dataset.read_manifest(folder)
    keys = ("name", "builder", "protocol", "parameters", "labels", "bias", "attributes", "store")
    actual, expected = manifest.to_json(), description.to_json()
    differing = [key for key in keys if actual.get(key) != expected.get(key)]
    source_digests = {**manifest.source.get("sha256", {})}
    source_digests.pop("files", None)  # of image files: known only after every file has been read
    if source_digests != description.source["sha256"]:
        differing.append("source")
    if differing:
        raise BiasconError(
            f"{folder} holds another dataset (it differs in {', '.join(differing)}); "
            "choose another --out, or pass --force to replace it"
        )
    dataset.verify(folder, manifest)
    return manifest
