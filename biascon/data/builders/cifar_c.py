"""Corrupted CIFAR-10: each class has its own corruption in a share of the training images.

``biascon.data.builders.cifar_c_plan`` chooses the images, and ``biascon.data.corruptions`` corrupts them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import PIL
import scipy

from biascon.data.builders.cifar import LAYOUTS, CifarImages, read_cifar
from biascon.data.builders.cifar_c_plan import (
    CorruptedCIFARSpec,
    CorruptionPlan,
    plan_corrupted_cifar,
)
from biascon.data.building.arrays import BuildResult, build_or_reuse
from biascon.data.building.splitting import NO_VALIDATION
from biascon.data.corruptions.draws import ImageDraws
from biascon.data.corruptions.frost import FILES, FrostPictures, read_frost
from biascon.data.corruptions.registry import CORRUPTIONS, FROST, Corruption
from biascon.data.corruptions.weather import make_frost
from biascon.data.manifest import Attribute, BiasAttribute, DatasetDescription, SplitCounts
from biascon.data.split import Split
from biascon.errors import UsageError

CHUNK = 256  # images that are corrupted at once; the result does not depend on it


def build_splits(
    cifar: CifarImages,
    plans: Mapping[str, CorruptionPlan],
    spec: CorruptedCIFARSpec,
    frost: FrostPictures | None = None,
    on_progress: Callable[[int, int], None] = lambda finished, total: None,
) -> dict[str, Split]:
    """Corrupt the images.

    Args:
        cifar: The content of the files.
        plans: The plan of each split.
        spec: The settings.
        frost: The pictures of frost, if the corruption is in the list.
        on_progress: Called with the number of finished images and of all images.
    """
    pools = {"train": cifar.train[0], "test": cifar.test[0]}
    functions: dict[str, Corruption] = dict(CORRUPTIONS)
    if frost is not None:
        functions[FROST] = make_frost(frost.pictures)
    n_done, total = 0, sum(len(plan.rows) for plan in plans.values())
    splits = {}
    for name, plan in plans.items():
        source = pools[plan.pool]
        images = np.empty((len(plan.rows), *source.shape[1:]), dtype=np.uint8)
        for value, corruption in enumerate(spec.corruptions):
            chosen = np.flatnonzero(plan.bias == value)
            for start in range(0, len(chosen), CHUNK):
                places = chosen[start : start + CHUNK]
                rows = plan.rows[places]
                draws = ImageDraws(
                    spec.seed, f"{corruption}/{spec.level}/{plan.pool}", rows.tolist()
                )
                images[places] = functions[corruption](source[rows], spec.level, draws)
                n_done += len(places)
                on_progress(n_done, total)
        splits[name] = plan.fill(images)
    return splits


def describe_corrupted_cifar(
    cifar: CifarImages, spec: CorruptedCIFARSpec, frost: FrostPictures | None
) -> DatasetDescription:
    """Return the description of a Corrupted CIFAR-10; ``frost`` is None if no pictures were read."""
    is_complete = (len(cifar.train[1]), len(cifar.test[1])) == LAYOUTS["cifar10"].official
    names = spec.corruptions
    pairs = [list(pair) for pair in zip(cifar.names, names, strict=True)]
    percent = f"{float(spec.share * 100):g} %"
    validation = {
        "held-out": "10 % of the training images of each class, held out, every corruption equally often",
        "biased": f"10 % of the training images of each class, held out, {percent} conflicting",
        "none": NO_VALIDATION,
    }[spec.val_protocol]
    replaced = "".join(f"; {new} instead of {old}" for old, new in spec.replace)
    return DatasetDescription(
        name=spec.name(
            is_complete=is_complete, has_published_frost=frost is None or frost.are_published
        ),
        builder="corrupted-cifar10",
        protocol={
            "train": f"{percent} of the images of a class conflicting, evenly over nine corruptions",
            "val": validation,
            "test": "the test file, every corruption equally often in each class",
            "pictures": (
                f"type {spec.type}, severity {spec.severity} (level {spec.level} of CIFAR-10-C){replaced}"
            ),
        },
        parameters={
            **asdict(spec),
            "replace": [list(pair) for pair in spec.replace],
            "level": spec.level,
        },
        source={
            "kind": "cifar10",
            "origin": "CIFAR-10, binary version",
            "sha256": {**cifar.sha256, **({} if frost is None else frost.sha256)},
            "decoder": {"pillow": PIL.__version__, "scipy": scipy.__version__},
        },
        labels=cifar.names,
        bias=BiasAttribute("corruption", names, ", ".join(" = ".join(pair) for pair in pairs)),
        attributes={"corruption": Attribute(names, pairs)},
    )


def _read_given_frost(spec: CorruptedCIFARSpec, folder: Path | None) -> FrostPictures | None:
    """Read the pictures of frost if a folder is given.

    Raises:
        UsageError: They have no use.
        DataError: A file is missing, is no picture, is damaged, or is too small.
    """
    if folder is None:
        return None
    if not spec.needs_frost:
        raise UsageError("no class has the corruption frost: leave out --frost")
    return read_frost(folder)


def preview_corrupted_cifar(
    raw: Path, spec: CorruptedCIFARSpec, frost_dir: Path | None = None
) -> tuple[DatasetDescription, dict[str, SplitCounts]]:
    """Return the description and the counts of a Corrupted CIFAR-10; no image is corrupted.

    Args:
        raw: The folder of CIFAR-10's binary version, or the folder that contains it.
        spec: The settings.
        frost_dir: The folder of the pictures of frost. A preview does not need them.

    Raises:
        UsageError: Pictures of frost are given, but not needed.
        DataError: A file is missing, truncated or not of this form.
    """
    frost = _read_given_frost(spec, frost_dir)
    cifar = read_cifar(LAYOUTS["cifar10"], raw)
    plans = plan_corrupted_cifar(cifar.train[1], cifar.test[1], spec)
    counts = {name: plan.count() for name, plan in plans.items()}
    return describe_corrupted_cifar(cifar, spec, frost), counts


def make_corrupted_cifar(
    raw: Path,
    spec: CorruptedCIFARSpec,
    *,
    frost_dir: Path | None = None,
    root: Path = Path("data"),
    out: Path | None = None,
    force: bool = False,
    say: Callable[[str], None] = lambda line: None,
    on_progress: Callable[[int, int], None] = lambda finished, total: None,
) -> BuildResult:
    """Build a Corrupted CIFAR-10 on disk, or reuse the folder if it already holds the same dataset, intact.

    Args:
        raw: The folder of CIFAR-10's binary version, or the folder that contains it.
        spec: The settings.
        frost_dir: The folder of the pictures of frost, if they are needed.
        root: The folder of datasets. The dataset folder in it has the dataset's name.
        out: The dataset folder, instead of one in ``root``.
        force: Replace an existing folder that holds another dataset, or is damaged.
        say: Called with lines of text for the user.
        on_progress: Called with the number of finished images and of all images.

    Raises:
        UsageError: Pictures of frost are needed but not given, or the reverse.
        DataError: A file is missing, truncated or not of its form.
        BiasconError: The folder is not writable, or it holds another dataset.
    """
    frost = _read_given_frost(spec, frost_dir)
    if spec.needs_frost and frost is None:
        raise UsageError(
            f"the corruption frost needs pictures: pass --frost DIR with {', '.join(FILES)} of CIFAR-10-C, "
            "or build another dataset with --replace frost=gaussian_blur"
        )
    cifar = read_cifar(LAYOUTS["cifar10"], raw)
    plans = plan_corrupted_cifar(cifar.train[1], cifar.test[1], spec)
    description = describe_corrupted_cifar(cifar, spec, frost)
    n_train, n_test = len(cifar.train[1]), len(cifar.test[1])
    say(f"source: {description.origin} ({n_train:,} + {n_test:,} images)")
    if (n_train, n_test) != LAYOUTS["cifar10"].official:
        say(
            f"these are not the 50,000 + 10,000 images of CIFAR-10: the dataset is called {description.name}"
        )
    if frost is not None and not frost.are_published:
        say(
            f"these pictures of frost are not those of CIFAR-10-C: the dataset is called {description.name}"
        )
    if spec.conflicting and not plans["train"].count().conflicting:
        say("no training image is bias-conflicting: the images are too few for this share")
    return build_or_reuse(
        out if out is not None else root / description.name,
        description,
        lambda: build_splits(cifar, plans, spec, frost, on_progress),
        force=force,
    )
