"""From arrays to a dataset folder: built, or found to be there already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biascon.data import dataset
from biascon.data.dataset import Split
from biascon.errors import BiasconError


@dataclass(frozen=True)
class BuildResult:
    """What a builder did: the folder, its manifest, and whether it was there already."""

    folder: Path
    manifest: dict[str, Any]
    reused: bool


def build_or_reuse(
    folder: Path,
    description: Mapping[str, Any],
    build: Callable[[], Mapping[str, Split]],
    *,
    force: bool = False,
) -> BuildResult:
    """Write a dataset folder, or find that the same one is there, intact.

    Args:
        folder: Where.
        description: What the manifest says besides counts and digests, see ``dataset.save``.
        build: Gives the splits; called only where they are needed.
        force: Replace an existing folder that is another dataset, or damaged.

    Raises:
        BiasconError: An unwritable place, or another dataset, or something else, in the way.
    """
    if folder.exists() and not dataset.is_dataset_folder(folder):
        raise BiasconError(f"{folder} exists and is not a dataset; choose another --out")
    occupied = folder.exists() and any(folder.iterdir())
    if occupied and not force:
        manifest = check_same_dataset(folder, description)
        dataset.mark_used(folder)
        return BuildResult(folder, manifest, reused=True)
    manifest = dataset.save(folder, build(), description, replace=force or not occupied)
    return BuildResult(folder, manifest, reused=False)


def check_same_dataset(folder: Path, description: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest of an intact folder that this very command made, or refuse.

    Raises:
        BiasconError: It is another dataset.
        DataError: It is damaged.
    """
    manifest = dataset.read_manifest(folder)
    keys = ("name", "builder", "protocol", "parameters", "labels", "bias", "attributes", "store")
    differs = [key for key in keys if manifest.get(key) != description.get(key)]
    stated = {**manifest["source"].get("sha256", {})}
    stated.pop("files", None)  # of pictures: known once every one was read
    if stated != description["source"]["sha256"]:
        differs.append("source")
    if differs:
        raise BiasconError(
            f"{folder} holds another dataset (it differs in {', '.join(differs)}); "
            "choose another --out, or pass --force to replace it"
        )
    dataset.verify(folder, manifest)
    return manifest
