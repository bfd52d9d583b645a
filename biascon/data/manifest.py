"""The manifest of a dataset folder, ``manifest.json``.

A ``DatasetDescription`` is the part of the manifest that a builder knows before it writes the images. A
``Manifest`` adds the counts of each split and the digest of each file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from biascon.data.manifest_entries import (
    UNSET,
    Attribute,
    BiasAttribute,
    FileEntry,
    RejectedCounts,
    SplitCounts,
    drop_none,
    list_json_keys,
    parse_names,
    parse_object,
    parse_source,
    require,
    select_extra_keys,
)
from biascon.errors import BusyError, DataError
from biascon.utils.files import digest_of, read_json, sha256_file
from biascon.utils.folders import is_being_written, recover_folder
from biascon.utils.temporary_files import is_temporary_name
from biascon.utils.text import visible
from biascon.version import __version__

__all__ = [
    "CROISSANT",
    "FORMAT",
    "REJECTED",
    "SPLITS",
    "UNSET",
    "Attribute",
    "BiasAttribute",
    "DatasetDescription",
    "FileEntry",
    "Manifest",
    "RejectedCounts",
    "SplitCounts",
    "dataset_digest",
    "describe_file",
    "is_dataset_folder",
    "make_manifest",
    "read_manifest",
    "verify",
    "with_checksum",
]

FORMAT = 1
SPLITS = ("train", "val", "test")
REJECTED = "rejected.csv"
CROISSANT = "croissant.json"  # computed from the manifest; never read, and no part of the digest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, kw_only=True)
class DatasetDescription:
    """The part of the manifest that a builder knows before it writes the images.

    Attributes:
        name: The dataset's name, which is also the default name of its folder.
        builder: The name of the builder.
        protocol: How each split was made, as text.
        parameters: The settings of the builder.
        source: Where the images come from: ``origin`` as text, and further keys of the builder such as
            ``kind``, the digests ``sha256``, and the counts of file names, ``names``.
        labels: The names of the K classes.
        bias: The bias attribute, or None.
        attributes: The attributes of the images by name. The bias attribute is one of them.
        store: How an image is decoded, if the dataset holds an index of image files instead of pixels.
        rejected: The number of image files that were left out.
        extra: Further keys of a plug-in.
    """

    name: str
    builder: str
    protocol: Mapping[str, str]
    parameters: Mapping[str, Any]
    source: Mapping[str, Any]
    labels: list[str]
    bias: BiasAttribute | None
    attributes: Mapping[str, Attribute] | None = None
    store: Mapping[str, Any] | None = None
    rejected: RejectedCounts | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_labels(self) -> int:
        """K, the number of classes."""
        return len(self.labels)

    @property
    def n_bias(self) -> int:
        """M, the number of values of the bias attribute; 1 without a bias attribute."""
        return 1 if self.bias is None else len(self.bias.values)

    @property
    def knows_aligned(self) -> bool:
        """Whether it is defined which (label, bias) cells are bias-aligned."""
        return self.bias is not None and self.bias.knows_aligned

    @property
    def origin(self) -> str:
        """Where the images come from, as text."""
        return str(self.source["origin"])

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Check and convert the keys of a manifest.

        Raises:
            DataError: A key is missing, or its value is not valid.
        """
        required = [
            f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING
        ]
        missing = [key for key in required if key not in data]
        if missing:
            raise DataError(f"the manifest lacks {', '.join(missing)}")
        values = {key: _PARSERS[key](key, data[key]) for key in list_json_keys(cls) if key in data}
        description = cls(**values, extra=select_extra_keys(cls, data))
        description._check_attributes()
        return description

    def _check_attributes(self) -> None:
        """Check that the attributes agree with the labels and with the bias attribute."""
        attributes, bias = self.attributes or {}, self.bias
        require(all(name and "," not in name for name in attributes), "attributes")
        for attribute in attributes.values():
            pairs = attribute.aligned_pairs or []
            require(all(label in self.labels for label, _ in pairs), "attributes")
        if bias is not None and attributes and bias.chosen is None:
            require(bias.name in attributes, "attributes")
            own = attributes[bias.name]
            require(own.values == bias.values, "attributes")
            require((own.aligned_pairs is not None) == bias.knows_aligned, "attributes")

    def to_json(self) -> dict[str, Any]:
        """Return the keys of the manifest in the order of the file."""
        values = {f.name: getattr(self, f.name) for f in fields(DatasetDescription)}
        extra, bias = values.pop("extra"), values.pop("bias")
        optional = {key: values.pop(key) for key in ("attributes", "store", "rejected")}
        data = {**values, "bias": bias, **drop_none(optional), **extra}
        return {key: _convert_to_json(value) for key, value in data.items()}


@dataclass(frozen=True, kw_only=True)
class Manifest(DatasetDescription):
    """All keys of ``manifest.json``.

    Attributes:
        counts: The number of images of each split.
        files: The digest and the size of each file of the folder.
        format: The format of the folder.
        biascon: The version of biascon that wrote the folder.
        sha256: SHA-256 of all other keys. The manifest of a view has none, since it is not in a file.
    """

    counts: Mapping[str, SplitCounts]
    files: Mapping[str, FileEntry]
    format: int = FORMAT
    biascon: str | None = None
    sha256: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the keys of the manifest in the order of the file."""
        counts, files = _convert_to_json(self.counts), _convert_to_json(self.files)
        return {
            **drop_none({"format": self.format, "biascon": self.biascon}),
            **super().to_json(),
            "counts": counts,
            "files": files,
            **drop_none({"sha256": self.sha256}),
        }


def _text(key: str, value: Any) -> str:
    require(isinstance(value, str), key)
    return str(value)


def _format(key: str, value: Any) -> int:
    require(value == FORMAT, key)
    return FORMAT


def _each(parse: Callable[[Any], Any]) -> Callable[[str, Any], dict[str, Any]]:
    """Return a parser of an object whose values are parsed by ``parse``."""
    return lambda key, value: {name: parse(item) for name, item in parse_object(key, value).items()}


_PARSERS: dict[str, Callable[[str, Any], Any]] = {
    "name": _text,
    "builder": _text,
    "protocol": parse_object,
    "parameters": parse_object,
    "source": parse_source,
    "labels": parse_names,
    "bias": lambda _, value: None if value is None else BiasAttribute.from_json(value),
    "attributes": _each(Attribute.from_json),
    "store": parse_object,
    "rejected": lambda _, value: RejectedCounts.from_json(value),
    "counts": _each(SplitCounts.from_json),
    "files": _each(FileEntry.from_json),
    "format": _format,
    "biascon": _text,
    "sha256": _text,
}


def _convert_to_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _convert_to_json(item) for key, item in value.items()}
    return value.to_json() if hasattr(value, "to_json") else value


def make_manifest(
    description: DatasetDescription,
    counts: Mapping[str, SplitCounts],
    files: Mapping[str, FileEntry],
) -> Manifest:
    """Return the manifest of a dataset folder, with its checksum.

    Args:
        description: The description of the dataset.
        counts: The counts of each split, as ``biascon.data.dataset.summarize`` returns them.
        files: The entry of each file, as ``describe_file`` returns it.
    """
    manifest = Manifest(**vars(description), counts=counts, files=files, biascon=__version__)
    return replace(manifest, sha256=with_checksum(manifest.to_json())["sha256"])


def describe_file(path: Path) -> FileEntry:
    """Return the manifest's entry of a file: its SHA-256 and size."""
    return FileEntry(sha256_file(path), path.stat().st_size)


def read_manifest(folder: Path) -> Manifest:
    """Read and check ``manifest.json``.

    Raises:
        BusyError: The folder does not exist yet: another process builds it.
        DataError: The file does not exist, or is not a valid manifest of this format.
    """
    path = folder / "manifest.json"
    if not folder.exists() and not recover_folder(folder) and is_being_written(folder):
        raise BusyError(f"another process builds {folder}; wait for it, or stop it")
    if not path.is_file():
        raise DataError(
            f"{folder} is not a dataset folder: it has no manifest.json; "
            "make one with: biascon make-bmnist --rho 0.997"
        )
    data = read_json(path)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise DataError(f"{path} is not a manifest of format {FORMAT}; build the dataset again")
    try:
        manifest = Manifest.from_json(data)
        require(manifest.bias is None or manifest.bias.chosen is None, "bias")  # as in a view
    except DataError as error:
        raise DataError(f"{path} is damaged: {error}; build the dataset again") from error
    for name in ("train", "test"):
        if f"{name}.safetensors" not in manifest.files:
            raise DataError(f"{folder} has no {name} split; build the dataset again")
    try:
        _check_counts(manifest)
    except DataError as error:
        raise DataError(f"{path} is damaged: {error}; build the dataset again") from error
    if not _NAME.fullmatch(manifest.name):  # it becomes part of a path
        raise DataError(
            f"{path} has the name {manifest.name!r}, which no dataset may have; build the dataset again"
        )
    return manifest


def _check_counts(manifest: Manifest) -> None:
    """Raise a DataError unless each split has counts of the right shape, and all numbers are finite."""
    splits, shape = manifest.counts, (manifest.n_labels, manifest.n_bias)
    require(set(splits) == {s for s in SPLITS if f"{s}.safetensors" in manifest.files}, "counts")
    require(all(counts.has_shape(*shape) for counts in splits.values()), "counts")
    try:
        dataset_digest(manifest)
    except ValueError as error:  # JSON has no NaN
        raise DataError(f"a number is not finite ({error})") from error


def dataset_digest(manifest: Manifest) -> str:
    """Return the digest of a dataset.

    It covers the manifest without provenance: writer, location of the files, and decoder.
    """
    data = manifest.to_json()
    provenance = ("origin", "decoder", "folder")
    source = {key: value for key, value in data["source"].items() if key not in provenance}
    rest = {key: value for key, value in data.items() if key not in ("biascon", "sha256")}
    return digest_of({**rest, "source": source})


def with_checksum(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest, as plain data, with the SHA-256 of all its other keys as its last key."""
    rest = {key: value for key, value in data.items() if key != "sha256"}
    return {**rest, "sha256": digest_of(rest)}


def is_dataset_folder(folder: Path) -> bool:
    """Return whether a folder holds only files of a dataset, so that it may be replaced."""
    names = {"manifest.json", REJECTED, CROISSANT, *(f"{name}.safetensors" for name in SPLITS)}
    return folder.is_dir() and all(
        path.name in names or is_temporary_name(path.name) for path in folder.iterdir()
    )


def verify(folder: Path, manifest: Manifest) -> None:
    """Check the SHA-256 of the manifest and of every file in it.

    Raises:
        DataError: The manifest was changed, or a file is missing or differs.
    """
    data = manifest.to_json()
    if data != with_checksum(data):
        why = "does not match" if "sha256" in data else "is missing, as in the first versions"
        raise DataError(
            f"{folder / 'manifest.json'} has changed since it was written (its sha256 {why}); "
            "build the dataset again with --force"
        )
    for name, entry in manifest.files.items():
        if name not in {REJECTED, *(f"{split}.safetensors" for split in SPLITS)}:
            raise DataError(
                f"{folder / 'manifest.json'} names a file that no dataset has: {name!r}"
            )
        path = folder / name
        if not path.is_file():
            raise DataError(f"{path} is missing; build the dataset again with --force")
        digest = sha256_file(path)
        if digest != entry.sha256:
            raise DataError(
                f"{path} is not the file that its manifest describes "
                f"(sha256 {digest[:12]}..., expected {visible(entry.sha256[:12])}...); "
                "build the dataset again with --force"
            )
