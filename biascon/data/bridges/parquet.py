"""Parquet files with the feature types of Hugging Face: ``datasets.load_dataset(folder)`` reads them.

The package ``datasets`` is not needed to write them: its types are in the metadata of each file, and
``README.md`` names the files of each split.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from biascon.data.bridges import croissant
from biascon.data.bridges.export import Source, encode_png, iter_images
from biascon.data.bridges.terms import find_terms
from biascon.data.manifest import CROISSANT, Manifest, describe_file
from biascon.data.split import Split
from biascon.utils.files import pretty_json

SPLIT_NAMES = {"train": "train", "val": "validation", "test": "test"}
RESERVED = {"image", "label", "aligned", "index"}
_ROWS = 1000  # rows of a row group, which are in memory at a time


def write_hugging_face(work: Path, source: Source) -> dict[str, Any]:
    """Write ``data/*.parquet``, ``README.md`` and ``croissant.json``; return the names of the columns.

    The columns are ``image`` (PNG), ``label``, one column for each attribute under its name, ``aligned`` if
    an alignment is defined, and ``index``, the row in the source.

    Raises:
        OSError: A file cannot be written.
    """
    columns = source.name_columns(RESERVED)
    (work / "data").mkdir()
    files = {}
    for name, split in source.data.splits.items():
        files[SPLIT_NAMES[name]] = f"data/{SPLIT_NAMES[name]}.parquet"
        _write_split(work / files[SPLIT_NAMES[name]], name, split, source, columns)
    (work / "README.md").write_text(_format_card(source, columns, files), encoding="utf-8")
    metadata = _describe(work, source.manifest, columns, files)
    (work / CROISSANT).write_text(pretty_json(metadata), encoding="utf-8")
    return {"columns": columns}


def _write_split(
    path: Path, name: str, split: Split, source: Source, columns: Mapping[str, str]
) -> None:
    """Write the Parquet file of a split, a row group at a time."""
    import pyarrow as pa
    from pyarrow import parquet

    arrays = {"label": split.labels}
    arrays |= {columns[key]: codes for key, codes in source.list_attributes(split).items()}
    arrays |= {"aligned": split.aligned} if source.manifest.knows_aligned else {}
    arrays |= {"index": split.index}
    image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    types = {key: pa.bool_() if key == "aligned" else pa.int64() for key in arrays}
    features = json.dumps({"info": {"features": _list_features(source.manifest, columns)}})
    schema = pa.schema([("image", image_type), *types.items()], {"huggingface": features})
    with parquet.ParquetWriter(path, schema) as writer:
        pixels = iter_images(split)
        for start in range(0, len(split), _ROWS):
            stop = min(start + _ROWS, len(split))
            images = []
            for row in range(start, stop):
                image = {"bytes": encode_png(next(pixels)), "path": f"{name}-{row:07d}.png"}
                images.append(image)
                source.on_image()
            batch = [pa.array(images, image_type)]
            batch += [pa.array(codes[start:stop], types[key]) for key, codes in arrays.items()]
            writer.write_table(pa.Table.from_arrays(batch, schema=schema))


def _list_features(manifest: Manifest, columns: Mapping[str, str]) -> dict[str, Any]:
    """Return the types of the columns, as ``datasets`` stores them."""
    values = croissant.list_values(manifest)
    features: dict[str, Any] = {
        "image": {"_type": "Image"},
        "label": {"names": manifest.labels, "_type": "ClassLabel"},
    }
    for name, column in columns.items():
        features[column] = {"names": values[name], "_type": "ClassLabel"}
    if manifest.knows_aligned:
        features["aligned"] = {"dtype": "bool", "_type": "Value"}
    return {**features, "index": {"dtype": "int64", "_type": "Value"}}


def _format_card(source: Source, columns: Mapping[str, str], files: Mapping[str, str]) -> str:
    """Return ``README.md``: the files of each split for ``datasets``, and what the dataset is."""
    manifest, terms = source.manifest, find_terms(source.manifest)
    lines = ["---", "configs:", "- config_name: default", "  data_files:"]
    for name, file in files.items():
        lines += [f"  - split: {name}", f"    path: {file}"]
    lines += ["---", "", f"# {manifest.name}", "", f"{manifest.origin}; exported by biascon.", ""]
    for name, text in manifest.protocol.items():
        lines.append(f"- {name}: {text}")
    bias = manifest.bias
    if bias is not None:
        aligned = "label k = value k" if not isinstance(bias.aligned, str | None) else bias.aligned
        lines.append(f"- bias attribute: column `{columns[bias.name]}`")
        lines.append(f"- bias-aligned: {aligned or 'not defined'}")
    lines.append(f"- dataset digest of biascon: {source.data.digest}")
    lines.append(f"- license of the images: {terms.license}")
    lines += [f"- citation: {terms.citation}"] if terms.citation else []
    return "\n".join([*lines, ""])


def _describe(
    work: Path, manifest: Manifest, columns: Mapping[str, str], files: Mapping[str, str]
) -> croissant.Json:
    """Return the Croissant metadata of the exported folder. Its records can be read."""
    entries = [
        croissant.describe_object(file, describe_file(work / file)) for file in files.values()
    ]
    keys = croissant.name_records(manifest)
    records = croissant.list_value_records(manifest)
    for name, file in files.items():
        fields = _list_fields(name, file, manifest, columns, keys)
        records.append({"@type": "cr:RecordSet", "@id": name, "name": name, "field": fields})
    return croissant.make_metadata(manifest, entries, records)


def _list_fields(
    split: str,
    file: str,
    manifest: Manifest,
    columns: Mapping[str, str],
    keys: Mapping[str, str],
) -> Sequence[croissant.Json]:
    """Return the fields of the record set of a split."""

    def field(key: str, column: str, kind: str, text: str, **entries: Any) -> croissant.Json:
        source: croissant.Json = {"fileObject": {"@id": file}, "extract": {"column": column}}
        if kind == "sc:ImageObject":
            source["transform"] = {"jsonPath": "bytes"}
        return croissant.describe_field(f"{split}/{key}", kind, text, source=source, **entries)

    def coded(key: str, column: str, values: str, text: str) -> croissant.Json:
        return field(key, column, "cr:Int64", text, references={"field": {"@id": f"{values}/code"}})

    fields = [
        field("image", "image", "sc:ImageObject", "The image."),
        coded("label", "label", "label-values", "The label."),
    ]
    for name, column in columns.items():
        key = keys[name].removesuffix("-values")
        fields.append(coded(key, column, keys[name], f"The value of {name}."))
    if manifest.knows_aligned:
        fields.append(
            field("aligned", "aligned", "sc:Boolean", "Whether the image is bias-aligned.")
        )
    return [*fields, field("index", "index", "cr:Int64", "The row in the source.")]
