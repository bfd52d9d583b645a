"""Views of a dataset by another of its attributes than the bias attribute that it was built with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from biascon.data.manifest import BiasAttribute, Manifest
from biascon.data.split import BiasedDataset, find_aligned_rows, summarize
from biascon.errors import UsageError, did_you_mean
from biascon.utils.files import digest_of

PRODUCT = " x "


def view_by_attributes(data: BiasedDataset, names: Sequence[str]) -> BiasedDataset:
    """Return the view of a dataset by another of its attributes, or by a product of attributes.

    A product has a value for every combination of the attributes' values. The last attribute changes fastest.
    No alignment is defined for a product. The digest of a view is computed from the dataset's digest and the
    names. The view by the bias attribute that the dataset was built with is the dataset itself.

    Args:
        data: The dataset.
        names: One or more attributes, each once.

    Raises:
        UsageError: There is no name, a name is repeated, or the dataset has no attribute of this name.
    """
    data = data.base or data
    manifest, names = data.manifest, list(names)
    name, digest = view_identity(manifest, data.digest, names)
    if digest == data.digest:
        return data
    attributes = manifest.attributes or {}  # view_identity has checked that it holds the names
    chosen = [attributes[name] for name in names]
    sizes = tuple(len(attribute.values) for attribute in chosen)
    values = [PRODUCT.join(part) for part in product(*(a.values for a in chosen))]
    pairs = chosen[0].aligned_pairs if len(names) == 1 else None
    splits = {}
    for key, split in data.splits.items():
        bias = np.ravel_multi_index([split.attributes[name] for name in names], sizes)
        if pairs is None:
            aligned = np.zeros(len(split), dtype=bool)
        else:
            aligned = find_aligned_rows(split.labels, bias, manifest.labels, chosen[0])
        splits[key] = replace(split, bias=bias.astype(np.int64), aligned=aligned)
    size = (data.n_labels, len(values))
    view_manifest = replace(
        manifest,
        bias=BiasAttribute(
            name=PRODUCT.join(names),
            values=values,
            aligned=None if pairs is None else ", ".join(f"{y} = {value}" for y, value in pairs),
            chosen=names,
            of=manifest.name,
        ),
        counts={
            key: summarize(split, *size, knows_aligned=pairs is not None)
            for key, split in splits.items()
        },
        sha256=None,
    )
    return BiasedDataset(name, view_manifest, splits, digest, base=data)


def view_identity(manifest: Manifest, digest: str, names: Sequence[str]) -> tuple[str, str]:
    """Return the name and the digest of the view of a dataset by attributes.

    For the bias attribute that the dataset was built with, they are the dataset's own name and digest.

    Args:
        manifest: The manifest of the dataset.
        digest: The digest of the dataset, see ``biascon.data.dataset.dataset_digest``.
        names: One or more attributes, each once.

    Raises:
        UsageError: There is no name, a name is repeated, or the dataset has no attribute of this name.
    """
    bias, attributes = manifest.bias, manifest.attributes or {}
    if bias is not None and list(names) == [bias.name]:
        return manifest.name, digest
    if not names or len(set(names)) != len(names):
        raise UsageError(f"expected one or more bias attributes, each once, but got {list(names)}")
    available = list(attributes) or ([bias.name] if bias is not None else [])
    unknown = [name for name in names if name not in available]
    if unknown:
        choices = f"it has: {', '.join(available)}" if available else "it has none"
        hint = did_you_mean(unknown[0], available)
        raise UsageError(f"{manifest.name} has no attribute '{unknown[0]}'{hint} ({choices})")
    suffix = re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join(names))
    return f"{manifest.name}-by-{suffix}", digest_of({"dataset": digest, "bias": list(names)})
