"""``croissant.json``: a dataset folder described in Croissant 1.1, MLCommons' format for dataset metadata.

The file is computed from the manifest and the files that it names, so it holds no time. biascon never reads
it: a folder without it, or with a damaged one, is the same dataset. It has no part in the dataset digest.
``biascon export FOLDER --to croissant`` writes it again.

Source: MLCommons Croissant, https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from biascon.data.bridges.terms import find_terms
from biascon.data.manifest import (
    CROISSANT,
    SPLITS,
    UNSET,
    Attribute,
    FileEntry,
    Manifest,
    dataset_digest,
    describe_file,
)
from biascon.errors import DataError
from biascon.utils.files import pretty_json

Json = dict[str, Any]

# The context of Croissant 1.1, as its specification prints it.
_TERMS_OF_CROISSANT = (
    "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field",
    "fileProperty", "fileObject", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath",
    "key", "md5", "parentField", "path", "recordSet", "references", "regex", "repeated", "replace",
    "samplingRate", "separator", "source", "subField", "transform",
)  # fmt: skip
CONTEXT: Json = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    **{term: f"cr:{term}" for term in _TERMS_OF_CROISSANT},
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "description": {"@container": "@language"},
    "name": {"@container": "@language"},
}
_INT, _BOOL, _BYTE, _TEXT = "cr:Int64", "sc:Boolean", "cr:UInt8", "sc:Text"
METADATA = ("manifest.json", CROISSANT)  # the files that write_metadata writes
SAFETENSORS = "application/x-safetensors"


def write_metadata(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` and ``croissant.json`` into a folder that has all other files.

    Raises:
        OSError: A file cannot be written.
        DataError: A file of a split is no safetensors file.
    """
    (folder / "manifest.json").write_text(pretty_json(manifest.to_json()), encoding="utf-8")
    text = pretty_json(describe_folder(folder, manifest))
    (folder / CROISSANT).write_text(text, encoding="utf-8")


def describe_folder(folder: Path, manifest: Manifest) -> Json:
    """Return the Croissant metadata of a dataset folder: its files, classes, and the fields of each split.

    Args:
        folder: The dataset folder, complete with ``manifest.json``.
        manifest: Its manifest.

    Raises:
        DataError: A file of a split is no safetensors file.
    """
    files = {**manifest.files, "manifest.json": describe_file(folder / "manifest.json")}
    keys = name_records(manifest)
    records = list_value_records(manifest)
    for name in SPLITS:
        file = f"{name}.safetensors"
        if file in manifest.files:
            shape = _read_row_shape(folder / file)
            records.append(_describe_split(name, file, shape, manifest, keys))
    return make_metadata(
        manifest, [describe_object(*item) for item in sorted(files.items())], records
    )


def make_metadata(manifest: Manifest, files: Sequence[Json], records: Sequence[Json]) -> Json:
    """Return the Croissant metadata of a dataset.

    Args:
        manifest: The manifest: its texts.
        files: The entries of ``distribution``.
        records: The entries of ``recordSet``.
    """
    terms = find_terms(manifest)
    parts = [f"{name}: {text}" for name, text in manifest.protocol.items()]
    description = f"{manifest.name}, from {manifest.origin}. {'; '.join(parts)}."
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": manifest.name,
        "identifier": f"sha256:{dataset_digest(manifest)}",
        "description": description,
        "license": terms.license,
        **({"citeAs": terms.citation} if terms.citation else {}),
        "isLiveDataset": False,
        "distribution": list(files),
        "recordSet": list(records),
    }


def list_values(manifest: Manifest) -> dict[str, list[str]]:
    """Return the values of each attribute by name, the bias attribute first."""
    attributes: Mapping[str, Attribute] = manifest.attributes or {}
    values = {} if manifest.bias is None else {manifest.bias.name: manifest.bias.values}
    return {**values, **{name: attribute.values for name, attribute in attributes.items()}}


def name_records(manifest: Manifest) -> dict[str, str]:
    """Return the key of the record set of each attribute's values; a key has no white space."""
    keys: dict[str, str] = {}
    for k, name in enumerate(list_values(manifest)):
        word = re.sub(r"[^A-Za-z0-9._-]+", "_", name)
        keys[name] = f"attribute-{k}-{word}-values"
    return keys


def list_value_records(manifest: Manifest) -> list[Json]:
    """Return the record sets of the values of the label and of each attribute."""
    keys, values = name_records(manifest), list_values(manifest)
    attributes = [_describe_values(name, keys[name], values[name]) for name in values]
    return [_describe_values("label", "label-values", manifest.labels), *attributes]


def describe_object(name: str, entry: FileEntry) -> Json:
    """Return a ``FileObject`` of ``distribution``.

    Args:
        name: The file, relative to the folder.
        entry: Its digest and size.
    """
    suffix = Path(name).suffix
    formats = {".json": "application/json", ".csv": "text/csv", ".parquet": "application/x-parquet"}
    size = {} if entry.bytes is None else {"contentSize": f"{entry.bytes} B"}
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        **size,
        "contentUrl": name,
        "encodingFormat": formats.get(suffix, SAFETENSORS),
        "sha256": entry.sha256,
    }


def _describe_values(name: str, key: str, values: Sequence[str]) -> Json:
    """Return the record set ``key`` of the values of the label or an attribute: code and name."""
    return {
        "@type": "cr:RecordSet",
        "@id": key,
        "name": key,
        "description": f"The values of {name}.",
        "dataType": "sc:Enumeration",
        "key": {"@id": f"{key}/code"},
        "field": [
            describe_field(f"{key}/code", _INT, "The number in the files."),
            describe_field(f"{key}/name", _TEXT, "The name."),
        ],
        "data": [{f"{key}/code": k, f"{key}/name": value} for k, value in enumerate(values)],
    }


def describe_field(key: str, data_type: str, text: str, **entries: Any) -> Json:
    """Return a ``Field`` of a record set.

    Args:
        key: The record set and the name of the field: ``train/label``.
        data_type: The type of a value.
        text: The description.
        **entries: Further entries, such as ``source``.
    """
    name = key.rpartition("/")[2]
    return {
        "@type": "cr:Field",
        "@id": key,
        "name": name,
        "description": text,
        "dataType": data_type,
        **entries,
    }


def _describe_split(
    name: str, file: str, shape: tuple[int, ...], manifest: Manifest, keys: Mapping[str, str]
) -> Json:
    """Return the record set of a split: a record is an image with its label, bias value and the rest."""

    def field(column: str, data_type: str, text: str, key: str = "", **entries: Any) -> Json:
        source = {"fileObject": {"@id": file}, "extract": {"column": column}}
        return describe_field(f"{name}/{key or column}", data_type, text, source=source, **entries)

    def coded(column: str, values: str, text: str, key: str = "") -> Json:
        references = {"field": {"@id": f"{values}/code"}}
        return field(column, _INT, text, key=key, references=references)

    array: Json = {"isArray": True, "arrayShape": ",".join(map(str, shape))}
    if manifest.store is None:
        image = field("images", _BYTE, "The image, (C, H, W).", **array)
    else:
        image = field("files", _BYTE, "SHA-256 and path of the image file.", **array)
    fields = [image, coded("labels", "label-values", "The label.")]
    if manifest.bias is None:
        fields.append(field("bias", _INT, "0: the dataset has no bias attribute."))
    else:
        fields.append(
            coded("bias", keys[manifest.bias.name], f"The bias value: {manifest.bias.name}.")
        )
    fields.append(field("aligned", _BOOL, _describe_alignment(manifest)))
    fields.append(field("index", _INT, "The row in the source."))
    for attribute in manifest.attributes or {}:
        key = keys[attribute].removesuffix("-values")
        column = f"attribute.{attribute}"
        fields.append(coded(column, keys[attribute], f"The value of {attribute}.", key))
    text = manifest.protocol.get(name, "")
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        **({"description": text} if text else {}),
        "field": fields,
    }


def _describe_alignment(manifest: Manifest) -> str:
    """Return the text of the field ``aligned``."""
    bias = manifest.bias
    if bias is None or not bias.knows_aligned:
        return "False for every image: no alignment is defined."
    pairs = "label k goes with value k" if bias.aligned is UNSET else str(bias.aligned)
    return f"Whether the image is bias-aligned: {pairs}."


def _read_row_shape(path: Path) -> tuple[int, ...]:
    """Return the shape of a row of the largest array of a split: an image, or an entry of the index."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        shape = header["images" if "images" in header else "files"]["shape"]
        return tuple(int(side) for side in shape[1:])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
