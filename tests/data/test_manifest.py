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
from biascon.data.builders.celeba_tables import CelebATables
from biascon.data.builders.cifar import LAYOUTS, make_cifar
from biascon.data.builders.csv_table import TableSpec, read_csv_table
from biascon.data.builders.image_folders import ImageFoldersSpec, plan_image_folders
from biascon.data.builders.mnist_source import Digits
from biascon.data.building.images import build_image_dataset
from biascon.data.building.plan import BuildPlan
from biascon.data.dataset import (
    Split,
    load,
    read_manifest,
    save,
    view_by_attributes,
    with_checksum,
)
from biascon.data.images.decoding import ImageSpec
from biascon.data.manifest import DatasetDescription, Manifest
from biascon.errors import DataError
from biascon.utils.files import pretty_json
from tests import small_datasets
from tests.data import faces

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


DATASETS: dict[str, Callable[..., Path]] = {
    "bmnist": make_bmnist,
    "bmnist-fairkl": lambda folder, digits: make_bmnist(
        folder, digits, variant="fairkl", color="digit", val_protocol="none", seed=3
    ),
    "cifar": make_small_cifar,
    "faces": lambda folder, digits: small_datasets.write_faces(folder),
}


def plan_utkface() -> BuildPlan:
    names = [f"{k * 7 % 90 + 1}_{k % 2}_{k // 2 % 5}_{10**16 + k}.jpg.chip.jpg" for k in range(300)]
    names.append("61_1_20170109150557335.jpg.chip.jpg")
    return utkface.plan_utkface(names, utkface.UTKFaceSpec("race", image_spec=SPEC), origin="names")


def plan_celeba() -> BuildPlan:
    n = 60
    signs = (np.arange(n)[:, None] * 13 + np.arange(40) * 5) % 11 < 5
    names = [f"{k + 1:06d}.jpg" for k in range(n)]
    source = CelebATables(
        raw=Path("raw"), image_folder="img_align_celeba", names=names, files=names,
        is_present=np.ones(n, dtype=bool), n_unlisted=0, table=signs, attributes=CELEBA_ATTRIBUTES,
        partition=np.arange(n) % 3,
    )  # fmt: skip
    spec = celeba.CelebASpec("Young", "Male", keep=("Male", "Bald"), image_spec=SPEC)
    return celeba.plan_celeba(source, spec)


CELEBA_ATTRIBUTES = [*(f"Attribute_{k}" for k in range(37)), "Male", "Bald", "Young"]


def plan_table(folder: Path) -> BuildPlan:
    lines = ["file,animal,place,camera"]
    lines += [f"{k:03}.jpg,{'cdx'[k % 3]},{'ab'[k // 2 % 2]},{k % 4}" for k in range(80)]
    lines += ["081.jpg,,a,1"]
    (folder / "table.csv").write_text("\n".join(lines))
    aligned = {"place": {"c": "a", "d": "b", "x": []}}
    spec = TableSpec("file", "animal", ("place", "camera"), aligned=aligned, image_spec=SPEC)
    return table.plan_table(read_csv_table(folder / "table.csv", spec), spec, origin="a CSV")


def plan_own_folder(folder: Path) -> BuildPlan:
    for split, n in (("train", 12), ("test", 3)):
        for label in ("cat", "dog"):
            (folder / "own" / split / label).mkdir(parents=True)
            for k in range(n):
                (folder / "own" / split / label / f"{k}.jpg").touch()
    (folder / "own" / "train" / "cat" / "notes.txt").touch()
    return plan_image_folders(folder / "own", ImageFoldersSpec("folder", image_spec=SPEC))[1]


def make_plans(folder: Path) -> dict[str, BuildPlan]:
    plans = {
        "utkface": plan_utkface(),
        "celeba": plan_celeba(),
        "table": plan_table(folder),
        "folder": plan_own_folder(folder),
    }
    return {**plans, "folder-index": plans["folder"].as_file_index(SPEC)}


# The digest of the dataset, and a digest of the text of its manifest without version and checksum. They were
# computed when the manifest was a dictionary.
GOLDEN_DATASETS = {
    "bmnist": (
        "b9d80b17b072040a5705f98be0afed83557eddf24b4d9db29eab6abab66fd429",
        "8bfbfe6bb881566d",
    ),
    "bmnist-fairkl": (
        "ae0cd30c8918e9d3dc6ed788c5cd8ae10e37a0f5447e893441b9554fc91078a7",
        "ce4c5e4d5485665d",
    ),
    "cifar": (
        "76a0d0fbf388d0a38c5449df4747da426d2420321886a2b8cbad09cb62e59aaa",
        "c24fe0fb980ddda5",
    ),
    "faces": (
        "4aedfd4e3935a85e7c2e59f4320caaecf8fcba8c1754236555bb22bf69ff9bef",
        "48f5455aea0342b2",
    ),
}
GOLDEN_VIEWS = {
    "age": ("29915388937997fa010cb89a37edf22165c55835be46d599b5c7a3edc0c5a39b", "7cc4ca006b92d1ce"),
    "race-age": (
        "e01d21e35f74007773925800acdbbae9ce19d67145d18ada3be380f465cc16e4",
        "cd7c9db9c4004a1a",
    ),
}
GOLDEN_PLANS = {
    "utkface": (
        "89a4ac229c2a4bc3a0ac3753e070601af8ab338738ad751d80df06fccc558809",
        "a7fb37307be90bf4",
    ),
    "celeba": (
        "353e13f991c9e484d5f68ca82c6274f8c890df65b350803516e9051a145aed01",
        "25b4f79e98022273",
    ),
    "table": (
        "80e4f45d5e98c233f54c543147bf043ea40d32747d422eabb21361f0541baf91",
        "a5c7c9e231b5985d",
    ),
    "folder": (
        "e978faf9d5f909ee27b7a9b9e8799635ba5fbac5ae3789d3c691acb8b21eaad0",
        "53764b8b90b8d577",
    ),
    "folder-index": (
        "00710e5703df9b7d8175207322c77cf83d1b1e34b6ca2109ca460ab9396cd986",
        "62c9cec695ce803e",
    ),
}


def digest_without_version(manifest: dict[str, Any]) -> str:
    return digest_text({k: v for k, v in manifest.items() if k not in ("biascon", "sha256")})


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_has_the_digest_and_manifest_of_earlier_versions(
    name: str, digits: Digits, tmp_path: Path
) -> None:
    folder = DATASETS[name](tmp_path / "data" / name, digits)
    written = json.loads((folder / "manifest.json").read_text())
    assert (load(folder).digest, digest_without_version(written)) == GOLDEN_DATASETS[name]


@pytest.mark.parametrize("names", GOLDEN_VIEWS)
def test_a_view_has_the_digests_of_earlier_versions(names: str, tmp_path: Path) -> None:
    view = view_by_attributes(
        load(small_datasets.write_faces(tmp_path / "faces")), names.split("-")
    )
    manifest = view.manifest.to_json()
    assert (view.digest, digest_without_version(manifest)) == GOLDEN_VIEWS[names]
    assert "sha256" not in manifest
    assert Manifest.from_json(manifest) == view.manifest


def test_a_plan_has_the_digest_and_description_of_earlier_versions(tmp_path: Path) -> None:
    digests = {
        name: (plan.compute_digest(), digest_text(plan.description.to_json()))
        for name, plan in make_plans(tmp_path).items()
    }
    assert digests == GOLDEN_PLANS


@pytest.mark.parametrize("name", DATASETS)
def test_every_written_manifest_is_read_back_unchanged(
    name: str, digits: Digits, tmp_path: Path
) -> None:
    folder = DATASETS[name](tmp_path / "data" / name, digits)
    text = (folder / "manifest.json").read_text()
    assert pretty_json(Manifest.from_json(json.loads(text)).to_json()) == text
    assert pretty_json(read_manifest(folder).to_json()) == text


def test_every_description_is_read_back_unchanged(tmp_path: Path) -> None:
    for plan in make_plans(tmp_path).values():
        data = plan.description.to_json()
        assert DatasetDescription.from_json(json.loads(json.dumps(data))) == plan.description
        assert list(DatasetDescription.from_json(data).to_json()) == list(data)


def test_an_image_build_is_read_back_unchanged(tmp_path: Path) -> None:
    raw = faces.draw_utkface(tmp_path / "raw", faces.make_names(60))
    names = sorted(path.name for path in raw.iterdir())
    (raw / names[3]).write_bytes(b"not an image")
    spec = utkface.UTKFaceSpec(rate=0.5, image_spec=SPEC)
    for store in ("pixels", "files"):
        plan = utkface.plan_utkface(names, spec, origin="drawn for the test")
        plan = plan.as_file_index(SPEC) if store == "files" else plan
        out = tmp_path / store
        result = build_image_dataset(raw, plan, out, image_spec=SPEC, max_rejected=0.1)
        text = (out / "manifest.json").read_text()
        assert pretty_json(result.manifest.to_json()) == text
        assert read_manifest(out) == result.manifest
        assert result.manifest.rejected is not None
        assert result.manifest.rejected.n == 1
        assert list(json.loads(text))[8:] == [
            "bias", "attributes", *(["store"] if store == "files" else []), "rejected", "counts", "files",
            "sha256",
        ]  # fmt: skip


def blob_description(**changes: Any) -> dict[str, Any]:
    """Return a description as a plug-in writes it: a mapping, with a key of its own."""
    return {
        "labels": ("a", "b"), "name": "blobs", "builder": "blobs", "protocol": {}, "parameters": {"n": 4},
        "source": {"origin": "made"}, "bias": {"name": "tint", "values": ["x", "y"], "unit": "none"},
        "license": "CC0", **changes,
    }  # fmt: skip


def make_blobs(folder: Path, description: dict[str, Any] | DatasetDescription) -> Manifest:
    labels = np.arange(4) % 2
    split = Split(np.zeros((4, 3, 8, 8), np.uint8), labels, labels, labels == 1, np.arange(4))
    return save(folder, {"train": split, "test": split}, description, replace=True)


def test_a_mapping_and_its_description_give_the_same_folder(tmp_path: Path) -> None:
    mapping = blob_description()
    manifest = make_blobs(tmp_path / "a", mapping)
    assert make_blobs(tmp_path / "b", DatasetDescription.from_json(mapping)) == manifest
    assert read_manifest(tmp_path / "a") == manifest
    written = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert written["license"] == "CC0"
    assert written["bias"] == {"name": "tint", "values": ["x", "y"], "unit": "none"}


@pytest.mark.parametrize("key", ["name", "builder", "protocol", "source", "labels", "bias"])
def test_save_names_a_missing_key_of_a_mapping(key: str, tmp_path: Path) -> None:
    description = blob_description()
    del description[key]
    with pytest.raises(DataError, match=rf"lacks {key}$"):
        make_blobs(tmp_path / "a", description)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"name": 5},
        {"builder": None},
        {"protocol": ["train"]},
        {"parameters": 3},
        {"source": {"origin": 4}},
        {"labels": []},
        {"labels": ["a", 2]},
        {"bias": {"name": "tint"}},
        {"bias": {"name": "tint", "values": ["x"], "aligned": 1}},
        {"bias": {"name": "tint", "values": ["x"], "rgb": "red"}},
        {"attributes": None},
        {"store": "files"},
        {"rejected": None},
        {"rejected": {"n": 1, "by_reason": {"x": 1}, "more": 2}},
    ],
    ids=repr,
)
def test_a_wrong_value_is_named_by_its_key(change: dict[str, Any]) -> None:
    (key,) = change
    with pytest.raises(DataError, match=f"no valid entry '{key}'$"):
        DatasetDescription.from_json(blob_description(**change))


@pytest.mark.parametrize(
    "counts",
    [
        {},
        {"n": 1, "aligned": None, "conflicting": None, "empty_cells": 0, "cells": [1]},
        {"n": "1", "aligned": None, "conflicting": None, "empty_cells": 0, "cells": [[1]]},
        {"n": 1, "aligned": "1", "conflicting": None, "empty_cells": 0, "cells": [[1]]},
        {"n": 1, "aligned": None, "conflicting": None, "empty_cells": 0, "cells": [["1"]]},
        [1],
    ],
)
def test_malformed_counts_are_one_error_line(counts: Any, tmp_path: Path) -> None:
    make_blobs(tmp_path, blob_description())
    path = tmp_path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["counts"]["train"] = counts
    path.write_text(json.dumps(with_checksum(manifest)))
    with pytest.raises(DataError, match="no valid entry 'counts'") as caught:
        load(tmp_path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_the_manifest_of_a_view_is_not_that_of_a_folder(tmp_path: Path) -> None:
    folder = small_datasets.write_faces(tmp_path / "faces")
    view = view_by_attributes(load(folder), ["age"])
    (folder / "manifest.json").write_text(json.dumps(with_checksum(view.manifest.to_json())))
    with pytest.raises(DataError, match="no valid entry 'bias'"):
        read_manifest(folder)


def test_properties_of_a_description() -> None:
    description = DatasetDescription.from_json(blob_description())
    assert (description.n_labels, description.n_bias, description.knows_aligned) == (2, 2, True)
    assert description.origin == "made"
    bias = {"name": "tint", "values": ["x", "y", "z"], "aligned": None}
    no_alignment = DatasetDescription.from_json(blob_description(bias=bias))
    assert (no_alignment.n_bias, no_alignment.knows_aligned) == (3, False)
    no_bias = DatasetDescription.from_json(blob_description(bias=None))
    assert (no_bias.n_bias, no_bias.knows_aligned) == (1, False)
