"""A dataset seen by another of its attributes than the one that it was built with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from biascon.data.split import BiasedDataset, aligned_rows, summarize
from biascon.errors import UsageError, did_you_mean
from biascon.utils.files import digest_of

PRODUCT = " x "


def view_by_attributes(data: BiasedDataset, names: Sequence[str]) -> BiasedDataset:
    """Return a dataset seen by another of its attributes, or by the product of several.

    A product has a value for every combination, the last attribute changing fastest, and no alignment.
    The view's digest is that of the base's digest and the names; choosing the bias attribute that the
    dataset was built with gives the dataset itself.

    Args:
        data: The dataset.
        names: Of one attribute or more, each once.

    Raises:
        UsageError: No name, one twice, or one that the dataset does not have.
    """
    data = data.base or data
    manifest, names = data.manifest, list(names)
    if view_identity(manifest, data.digest, names)[1] == data.digest:
        return data
    attributes = manifest["attributes"]
    sizes = tuple(len(attributes[name]["values"]) for name in names)
    values = [PRODUCT.join(part) for part in product(*(attributes[n]["values"] for n in names))]
    pairs = attributes[names[0]].get("aligned") if len(names) == 1 else None
    splits = {}
    for key, split in data.splits.items():
        bias = np.ravel_multi_index([split.attributes[name] for name in names], sizes)
        if pairs is None:
            aligned = np.zeros(len(split), dtype=bool)
        else:
            aligned = aligned_rows(split.labels, bias, manifest, names[0])
        splits[key] = replace(split, bias=bias.astype(np.int64), aligned=aligned)
    told = None if pairs is None else ", ".join(f"{label} = {value}" for label, value in pairs)
    size = (data.n_labels, len(values))
    seen = {
        **{key: value for key, value in manifest.items() if key != "sha256"},
        "bias": {
            "name": PRODUCT.join(names),
            "values": values,
            "aligned": told,
            "chosen": names,
            "of": manifest["name"],
        },
        "counts": {
            key: summarize(split, *size, knows_aligned=pairs is not None)
            for key, split in splits.items()
        },
    }
    name, digest = view_identity(manifest, data.digest, names)
    return BiasedDataset(name, seen, splits, digest, base=data)


def view_identity(
    manifest: Mapping[str, Any], digest: str, names: Sequence[str]
) -> tuple[str, str]:
    """Return the name and digest of a dataset seen by these attributes; its own for its own attribute.

    Args:
        manifest: Of the dataset.
        digest: The dataset's, ``biascon.data.dataset.identity``.
        names: Of one attribute or more, each once.

    Raises:
        UsageError: No name, one twice, or one that the dataset does not have.
    """
    bias, attributes, name = manifest["bias"], manifest.get("attributes", {}), manifest["name"]
    if bias is not None and list(names) == [bias["name"]]:
        return name, digest
    if not names or len(set(names)) != len(names):
        raise UsageError(
            f"expected one bias attribute or several, each once, but got {list(names)}"
        )
    wrong = [one for one in names if one not in attributes]
    if wrong:
        known = list(attributes) or ([bias["name"]] if bias is not None else [])
        there = f"it has: {', '.join(known)}" if known else "it has none"
        near = did_you_mean(wrong[0], known)
        raise UsageError(f"{name} has no attribute '{wrong[0]}'{near} ({there})")
    clean = re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join(names))
    return f"{name}-by-{clean}", digest_of({"dataset": digest, "bias": list(names)})
