"""The entries of a manifest: bias attribute, attributes, counts, rejected files, digests of files.

``from_json`` checks the value of every key. ``to_json`` leaves out the optional keys that are not set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, Final, Self

from biascon.errors import DataError


class Unset(Enum):
    """The type of ``UNSET``, the value of an optional key that the manifest does not hold."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET


@dataclass(frozen=True)
class BiasAttribute:
    """The bias attribute of a dataset.

    Attributes:
        name: Its name. The name of a product of attributes is their names, joined by " x ".
        values: The names of its M values.
        aligned: The bias-aligned pairs as text, or None if no alignment is defined. UNSET means that label k
            goes with value k, as in BiasedMNIST.
        rgb: The color of each value, in 0..255.
        chosen: The attributes by which a view of the dataset was chosen.
        of: The name of the dataset that a view belongs to.
        extra: Further keys of a plug-in.
    """

    name: str
    values: list[str]
    aligned: str | Unset | None = UNSET
    rgb: list[list[int]] | None = None
    chosen: list[str] | None = None
    of: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def knows_aligned(self) -> bool:
        """Whether it is defined which (label, bias) cells are bias-aligned."""
        return self.aligned is not None

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Check and convert the value of the key ``bias`` if it is not null.

        Raises:
            DataError: It is not valid.
        """
        data = parse_object("bias", data)
        arguments = {key: data[key] for key in list_json_keys(cls) if key in data}
        require(isinstance(arguments.get("name"), str), "bias")
        require(isinstance(arguments.get("aligned", ""), str | None), "bias")
        require(all(isinstance(arguments.get(key, []), list) for key in ("rgb", "chosen")), "bias")
        require(isinstance(arguments.get("of", ""), str), "bias")
        arguments["values"] = parse_names("bias", arguments.get("values"))
        for color in arguments.get("rgb", []):
            require(isinstance(color, list) and len(color) == 3, "bias")
            require(all(is_count(part) and part <= 255 for part in color), "bias")
        require(all(isinstance(name, str) for name in arguments.get("chosen", [])), "bias")
        return cls(**arguments, extra=select_extra_keys(cls, data))

    def to_json(self) -> dict[str, Any]:
        """Return the value of the key ``bias``."""
        aligned = {} if self.aligned is UNSET else {"aligned": self.aligned}
        optional = drop_none({"rgb": self.rgb, "chosen": self.chosen, "of": self.of})
        return {"name": self.name, "values": self.values, **aligned, **optional, **self.extra}


@dataclass(frozen=True)
class Attribute:
    """An attribute that every image has, and by which a view of the dataset can be chosen.

    Attributes:
        values: The names of its values.
        aligned: The bias-aligned pairs ``[label, value]``, or None or UNSET if no alignment is defined.
        extra: Further keys of a plug-in.
    """

    values: list[str]
    aligned: list[list[str]] | Unset | None = UNSET
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def aligned_pairs(self) -> list[list[str]] | None:
        """The bias-aligned pairs ``[label, value]``, or None if no alignment is defined."""
        return None if self.aligned is UNSET else self.aligned

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Check and convert an entry of the key ``attributes``.

        Raises:
            DataError: It is not valid.
        """
        data = parse_object("attributes", data)
        values = parse_names("attributes", data.get("values"))
        require(len(set(values)) == len(values), "attributes")
        pairs = data.get("aligned", UNSET)
        if pairs is not UNSET and pairs is not None:
            require(isinstance(pairs, list | tuple), "attributes")
            pairs = [parse_names("attributes", pair) for pair in pairs]
            require(all(len(pair) == 2 for pair in pairs), "attributes")
            require(all(value in values for _, value in pairs), "attributes")
        return cls(values, pairs, select_extra_keys(cls, data))

    def to_json(self) -> dict[str, Any]:
        """Return the entry of the key ``attributes``."""
        aligned = {} if self.aligned is UNSET else {"aligned": self.aligned}
        return {"values": self.values, **aligned, **self.extra}


@dataclass(frozen=True)
class SplitCounts:
    """The number of images in a split.

    Attributes:
        n: Number of images.
        aligned: Number of bias-aligned images, or None if no alignment is defined.
        conflicting: Number of bias-conflicting images, or None if no alignment is defined.
        empty_cells: Number of (label, bias) cells without an image.
        cells: Number of images in each (label, bias) cell, ``(K, M)``.
    """

    n: int
    aligned: int | None
    conflicting: int | None
    empty_cells: int
    cells: list[list[int]]

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Check and convert an entry of the key ``counts``.

        Raises:
            DataError: It is not valid.
        """
        data = parse_object("counts", data)
        require(set(data) == set(list_json_keys(cls)), "counts")
        require(all(is_count(data[key]) for key in ("n", "empty_cells")), "counts")
        parts = [data[key] for key in ("aligned", "conflicting")]
        rows = data["cells"]
        require(isinstance(rows, list) and all(isinstance(row, list) for row in rows), "counts")
        cells = [count for row in rows for count in row]
        require(all(map(is_count, cells)), "counts")
        require(sum(cells) == data["n"] and cells.count(0) == data["empty_cells"], "counts")
        if parts != [None, None]:
            require(all(map(is_count, parts)) and sum(parts) == data["n"], "counts")
        return cls(**data)

    def has_shape(self, n_labels: int, n_bias: int) -> bool:
        """Return whether there is a cell for each label and each bias value."""
        return len(self.cells) == n_labels and all(len(row) == n_bias for row in self.cells)

    def to_json(self) -> dict[str, Any]:
        """Return the entry of the key ``counts``."""
        return dict(vars(self))


@dataclass(frozen=True)
class RejectedCounts:
    """The number of image files that were left out.

    Attributes:
        by_reason: The number of files for each reason.
    """

    by_reason: Mapping[str, int]

    @property
    def n(self) -> int:
        """The number of files that were left out."""
        return sum(self.by_reason.values())

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Check and convert the value of the key ``rejected``.

        Raises:
            DataError: It is not valid.
        """
        data = parse_object("rejected", data)
        by_reason = parse_object("rejected", data.get("by_reason"))
        require(all(map(is_count, by_reason.values())), "rejected")
        counts = cls(by_reason)
        require(data == counts.to_json(), "rejected")
        return counts

    def to_json(self) -> dict[str, Any]:
        """Return the value of the key ``rejected``."""
        return {"n": self.n, "by_reason": dict(self.by_reason)}


@dataclass(frozen=True)
class FileEntry:
    """The digest and the size of a file of the dataset folder.

    Attributes:
        sha256: SHA-256 in hexadecimal digits.
        bytes: Size in bytes.
    """

    sha256: str
    bytes: int | None = None

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Check and convert an entry of the key ``files``.

        Raises:
            DataError: It is not valid.
        """
        data = parse_object("files", data)
        require(isinstance(data.get("sha256"), str), "files")
        require(is_count(data.get("bytes", 0)) and set(data) <= set(list_json_keys(cls)), "files")
        return cls(**data)

    def to_json(self) -> dict[str, Any]:
        """Return the entry of the key ``files``."""
        return drop_none(vars(self))


def require(is_valid: bool, key: str) -> None:
    """Raise a DataError about the entry ``key`` of a manifest unless it is valid."""
    if not is_valid:
        raise DataError(f"the manifest has no valid entry '{key}'")


def is_count(value: Any) -> bool:
    """Return whether a value is an integer of 0 to 2^63 - 1."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def parse_object(key: str, value: Any) -> dict[str, Any]:
    """Return a JSON object as a dictionary; the entry ``key`` of the manifest holds it.

    Raises:
        DataError: It is not an object.
    """
    require(isinstance(value, Mapping) and all(isinstance(name, str) for name in value), key)
    return dict(value)


def parse_source(key: str, value: Any) -> dict[str, Any]:
    """Return the value of the key ``source``: the origin as text, and counts of file names if there are any.

    Raises:
        DataError: It is not valid.
    """
    source = parse_object(key, value)
    require(isinstance(source.get("origin"), str), key)
    dropped = parse_object(key, parse_object(key, source.get("names", {})).get("dropped", {}))
    require(all(map(is_count, dropped.values())), key)
    return source


def parse_names(key: str, value: Any) -> list[str]:
    """Return a list of one or more names; the entry ``key`` of the manifest holds it.

    Raises:
        DataError: It is not a list of text, or it is empty.
    """
    require(isinstance(value, list | tuple) and len(value) > 0, key)
    require(all(isinstance(name, str) for name in value), key)
    return list(value)


def list_json_keys(cls: type[Any]) -> list[str]:
    """Return the keys of a type in JSON, in the order of its fields."""
    return [f.name for f in fields(cls) if f.name != "extra"]


def select_extra_keys(cls: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of ``data`` that are not keys of a type."""
    return {key: value for key, value in data.items() if key not in list_json_keys(cls)}


def drop_none(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries whose value is not None."""
    return {key: value for key, value in data.items() if value is not None}
