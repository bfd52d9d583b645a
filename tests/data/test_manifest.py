"""The manifest as types: every manifest that biascon writes is read back, and none of its bytes changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biascon.data.builders import celeba, table, utkface
from biascon.data.builders.biased_mnist import (
    BiasedMNISTSpec,
    build_splits,
    describe_biased_mnist,
)
from biascon.data.builders.cifar import LAYOUTS, make_cifar
from biascon.data.builders.image_folders import ImageFoldersSpec, plan_image_folders
from biascon.data.builders.mnist_source import Digits
from biascon.data.building.plan import BuildPlan
from biascon.data.dataset import dataset_digest, load, read_manifest, save, view_by_attributes
from biascon.data.images.decoding import ImageSpec
from tests import made

SPEC = ImageSpec(32)


def digest_text(value: Any) -> str:
    """Return a digest that changes with the order of the keys, too."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def make_bmnist(folder: Path, digits: Digits, **parameters: Any) -> Path:
    spec = BiasedMNISTSpec(**{"rho": 0.9, **parameters})
    save(folder, build_splits(digits, spec), describe_biased_mnist(digits, spec), replace=False)
    return folder


def make_small_cifar(folder: Path, digits: Digits) -> Path:
    layout = LAYOUTS["cifar10"]
    raw = folder.parent / "raw" / layout.folder
    raw.mkdir(parents=True)
    for k, name in enumerate((*layout.train, layout.test)):
        rows = np.arange(40 * 3073, dtype=np.int64).reshape(40, 3073) * 7 % (251 + k)
        rows[:, 0] = np.arange(40) % 10
        (raw / name).write_bytes(rows.astype(np.uint8).tobytes())
    (raw / layout.names).write_text("\n".join(f"thing {k}" for k in range(10)))
    return make_cifar("cifar10", raw, out=folder).folder


def make_faces(folder: Path, digits: Digits) -> Path:
    return made.faces(folder)


DATASETS: dict[str, Callable[..., Path]] = {
    "bmnist": make_bmnist,
    "bmnist-fairkl": lambda folder, digits: make_bmnist(
        folder, digits, variant="fairkl", color="digit", val_protocol="none", seed=3
    ),
    "cifar": make_small_cifar,
    "faces": make_faces,
}


def plan_utkface() -> BuildPlan:
    names = [f"{k * 7 % 90 + 1}_{k % 2}_{k // 2 % 5}_{10**16 + k}.jpg.chip.jpg" for k in range(300)]
    names.append("61_1_20170109150557335.jpg.chip.jpg")
    return utkface.plan_utkface(names, utkface.UTKFaceSpec("race", shape=SPEC), origin="names")


def plan_celeba() -> BuildPlan:
    n = 60
    signs = (np.arange(n)[:, None] * 13 + np.arange(40) * 5) % 11 < 5
    names = [f"{k + 1:06d}.jpg" for k in range(n)]
    source = celeba.CelebATables(
        Path("raw"), "img_align_celeba", names, signs, CELEBA_ATTRIBUTES, np.arange(n) % 3
    )
    spec = celeba.CelebASpec("Young", "Male", keep=("Male", "Bald"), shape=SPEC)
    return celeba.plan_celeba(source, spec)


CELEBA_ATTRIBUTES = [*(f"Attribute_{k}" for k in range(37)), "Male", "Bald", "Young"]


def plan_table(folder: Path) -> BuildPlan:
    lines = ["file,animal,place,camera"]
    lines += [f"{k:03}.jpg,{'cdx'[k % 3]},{'ab'[k // 2 % 2]},{k % 4}" for k in range(80)]
    lines += ["081.jpg,,a,1"]
    (folder / "table.csv").write_text("\n".join(lines))
    aligned = {"place": {"c": "a", "d": "b", "x": []}}
    spec = table.TableSpec(
        "file", "animal", ("place", "camera"), aligned=aligned, shape=SPEC
    )
    return table.plan_table(table.read_csv_table(folder / "table.csv", spec), spec, origin="a CSV")


def plan_own_folder(folder: Path) -> BuildPlan:
    for split, n in (("train", 12), ("test", 3)):
        for label in ("cat", "dog"):
            (folder / "own" / split / label).mkdir(parents=True)
            for k in range(n):
                (folder / "own" / split / label / f"{k}.jpg").touch()
    (folder / "own" / "train" / "cat" / "notes.txt").touch()
    return plan_image_folders(folder / "own", ImageFoldersSpec("folder", shape=SPEC))[1]


def make_plans(folder: Path) -> dict[str, BuildPlan]:
    plans = {
        "utkface": plan_utkface(),
        "celeba": plan_celeba(),
        "table": plan_table(folder),
        "folder": plan_own_folder(folder),
    }
    return {**plans, "folder-index": plans["folder"].as_file_index(SPEC)}
