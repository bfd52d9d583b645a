"""``croissant.json``: what it describes, that it is no part of the dataset, and that mlcroissant reads it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biascon.data.bridges.export import export_dataset
from biascon.data.bridges.terms import TERMS, find_terms
from biascon.data.builders.mnist_variants import SETS
from biascon.data.dataset import load, mark_used
from biascon.data.manifest import CROISSANT, dataset_digest, read_manifest
from biascon.data.split import BiasedDataset
from biascon.utils.files import sha256_file
from tests.small_datasets import write_faces

Cli = Callable[..., tuple[int, str, str]]


def read_croissant(folder: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((folder / CROISSANT).read_text(encoding="utf-8"))
    return data


def test_it_names_every_file_with_its_digest(faces_folder: Path) -> None:
    data = read_croissant(faces_folder)
    files = {entry["contentUrl"]: entry for entry in data["distribution"]}
    names = {path.name for path in faces_folder.iterdir()} - {CROISSANT}
    assert set(files) == names
    for name, entry in files.items():
        assert entry["sha256"] == sha256_file(faces_folder / name)
        assert entry["contentSize"] == f"{(faces_folder / name).stat().st_size} B"
    digest = dataset_digest(read_manifest(faces_folder))
    assert data["identifier"] == f"sha256:{digest}"
    assert data["conformsTo"] == "http://mlcommons.org/croissant/1.1"


def test_it_has_the_fields_of_each_split_and_the_names_of_the_values(faces_folder: Path) -> None:
    records = {record["@id"]: record for record in read_croissant(faces_folder)["recordSet"]}
    assert list(records) == [
        "label-values", "attribute-0-race-values", "attribute-1-age-values", "train", "val", "test",
    ]  # fmt: skip
    columns = [field["source"]["extract"]["column"] for field in records["test"]["field"]]
    assert columns == [
        "images", "labels", "bias", "aligned", "index", "attribute.race", "attribute.age",
    ]  # fmt: skip
    image, _, bias, *_ = records["test"]["field"]
    assert (image["arrayShape"], image["dataType"]) == ("3,28,28", "cr:UInt8")
    assert bias["references"] == {"field": {"@id": "attribute-0-race-values/code"}}
    values = records["attribute-0-race-values"]["data"]
    assert [list(row.values()) for row in values] == [[0, "white"], [1, "other"]]


def test_the_same_dataset_gives_the_same_bytes(faces_folder: Path, tmp_path: Path) -> None:
    again = write_faces(tmp_path / "again", n=40)
    assert (again / CROISSANT).read_bytes() == (faces_folder / CROISSANT).read_bytes()


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\x00"])
def test_a_missing_or_damaged_one_changes_no_dataset(
    faces: BiasedDataset, faces_folder: Path, tmp_path: Path, cli: Cli, content: bytes | None
) -> None:
    folder = tmp_path / "data" / "faces"
    shutil.copytree(faces_folder, folder)
    (folder / CROISSANT).unlink()
    if content is not None:
        (folder / CROISSANT).write_bytes(content)
    assert load(folder).digest == faces.digest
    mark_used(folder)
    assert cli("inspect", folder)[0] == 0
    code, _, err = cli("export", folder, "--to", "croissant")
    assert (code, err) == (0, f"{folder / CROISSANT}: written\n")
    assert (folder / CROISSANT).read_bytes() == (faces_folder / CROISSANT).read_bytes()


def test_an_existing_dataset_without_it_is_reused_as_it_is(
    tmp_path: Path, cli: Cli, make_dataset: Callable[..., Path]
) -> None:
    folder = make_dataset(tmp_path / "x")
    (folder / CROISSANT).unlink()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    load(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    make_again = make_dataset(tmp_path / "y")
    assert (make_again / CROISSANT).is_file()
    assert load(make_again).digest == load(folder).digest


def test_every_digit_set_states_its_terms(faces: BiasedDataset) -> None:
    assert {"mnist", "mnist5k", *(entry.kind for entry in SETS.values())} <= set(TERMS)
    assert find_terms(faces.manifest).license.startswith("The terms of the images")


def test_a_plugin_states_its_own_terms(tmp_path: Path) -> None:
    folder = write_faces(tmp_path / "faces", n=10)
    manifest = json.loads((folder / "manifest.json").read_text())
    named = type(read_manifest(folder)).from_json(
        {**manifest, "license": "CC0", "citation": "A. B."}
    )
    assert vars(find_terms(named)) == {"license": "CC0", "citation": "A. B."}


# rdflib, which mlcroissant uses, warns about names of its own
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
class TestMlcroissant:
    def test_it_validates_the_metadata_of_a_dataset_folder(
        self, mlcroissant: Any, faces_folder: Path, gray_folder: Path
    ) -> None:
        for folder in (faces_folder, gray_folder):
            data = mlcroissant.Dataset(jsonld=str(folder / CROISSANT))
            assert not data.metadata.ctx.issues.errors
            names = [record.name for record in data.metadata.record_sets]
            assert {"label-values", "train", "test"} <= set(names)

    def test_it_reads_the_records_of_a_parquet_export(
        self, mlcroissant: Any, faces: BiasedDataset, tmp_path: Path
    ) -> None:
        export_dataset(faces, tmp_path / "out", "hf")
        data = mlcroissant.Dataset(jsonld=str(tmp_path / "out" / CROISSANT))
        split = faces.splits["test"]
        for row, record in zip(range(5), data.records("test"), strict=False):
            assert np.array_equal(
                np.asarray(record["test/image"]).transpose(2, 0, 1), split.images[row]
            )
            assert record["test/label"] == split.labels[row]
            assert record["test/attribute-1-age"] == split.attributes["age"][row]
            assert record["test/aligned"] == split.aligned[row]
