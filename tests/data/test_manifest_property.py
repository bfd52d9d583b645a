"""Any change of a manifest is read back unchanged, or refused with one DataError."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from biascon.data.manifest import Manifest
from biascon.errors import DataError

COUNTS = {"n": 2, "aligned": 1, "conflicting": 1, "empty_cells": 2, "cells": [[1, 1], [0, 0]]}
MANIFEST: dict[str, Any] = {
    "format": 1,
    "biascon": "0.1.0",
    "name": "faces",
    "builder": "made",
    "protocol": {"train": "made for a test"},
    "parameters": {"seed": 0},
    "source": {"kind": "made", "origin": "nowhere", "sha256": {}},
    "labels": ["male", "female"],
    "bias": {"name": "race", "values": ["white", "other"], "aligned": "male = white", "rgb": [[0, 0, 0]]},
    "attributes": {
        "race": {"values": ["white", "other"], "aligned": [["male", "white"]]},
        "age": {"values": ["young", "old"], "aligned": None},
    },
    "store": {"kind": "files", "size": 64},
    "rejected": {"n": 1, "by_reason": {"truncated": 1}},
    "counts": {"train": COUNTS, "test": COUNTS},
    "files": {"train.safetensors": {"sha256": "0" * 64, "bytes": 1}, "test.safetensors": {"sha256": "1"}},
    "sha256": "2" * 64,
}  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.text(max_size=3) | st.just("white"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


def list_positions(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in a JSON document."""
    keys = (
        list(data) if isinstance(data, dict) else range(len(data) if isinstance(data, list) else 0)
    )
    return [
        path,
        *(position for key in keys for position in list_positions(data[key], (*path, key))),
    ]


def test_the_unchanged_manifest_is_read_back_with_its_order() -> None:
    assert json.dumps(Manifest.from_json(MANIFEST).to_json()) == json.dumps(MANIFEST)


@given(
    path=st.sampled_from([path for path in list_positions(MANIFEST) if path]),
    value=JSON,
    is_removed=st.booleans(),
)
@settings(deadline=None, max_examples=200)
def test_a_changed_manifest_is_read_back_or_refused(
    path: tuple[Any, ...], value: Any, is_removed: bool
) -> None:
    changed = copy.deepcopy(MANIFEST)
    parent: Any = changed
    for key in path[:-1]:
        parent = parent[key]
    if is_removed:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    try:
        manifest = Manifest.from_json(changed)
    except DataError as error:
        assert str(path[0]) in str(error) or path[0] in (
            "labels",
            "bias",
        )  # attributes refer to both
        assert "\n" not in str(error)
    else:
        expected = {**changed, "format": changed.get("format", 1)}
        assert manifest.to_json() == expected
        assert (manifest.n_labels, manifest.origin) == (
            len(changed["labels"]),
            changed["source"]["origin"],
        )
