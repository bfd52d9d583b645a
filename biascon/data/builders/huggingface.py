"""A dataset folder from a ``datasets.Dataset`` or ``DatasetDict`` of Hugging Face.

The images are decoded and resized as those of the other builders. Labels and attributes keep the names and
the order of a ``ClassLabel``, without the labels that no row has; the values of other columns are sorted. A
row that lacks its image, its label or an attribute (None, NaN, -1 in a ``ClassLabel``, a word for a missing
value) is left out and counted. The manifest holds digests of all rows and images. The text of its source has
the fingerprints of the splits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from biascon.data import dataset as dataset_folder
from biascon.data.alignment import AlignedValues
from biascon.data.bridges.hugging_face_images import NO_IMAGE, HuggingFaceImages, import_datasets
from biascon.data.builders.table import plan_table
from biascon.data.builders.table_rows import (
    NO_LABEL,
    NO_SPLIT,
    SPLIT_NAMES,
    ImageTable,
    TableSpec,
)
from biascon.data.building.images import build_image_dataset
from biascon.data.building.plan import BuildPlan
from biascon.data.building.splitting import (
    NO_VALIDATION,
    VAL_PROTOCOLS_WITHOUT_LEAK,
    describe_splits,
)
from biascon.data.images.decoding import ImageSpec
from biascon.data.manifest import SPLITS
from biascon.data.split import BiasedDataset
from biascon.data.values import normalize_value
from biascon.errors import DataError, UsageError, did_you_mean
from biascon.utils.text import quote_some

_SPLIT = "split of the dataset"  # the column of a table that is made from the splits


def from_huggingface(
    dataset: Any,
    folder: Path | str | None = None,
    *,
    image: str,
    label: str,
    bias: str | Sequence[str],
    splits: Mapping[str, str] | None = None,
    split: str | None = None,
    aligned: AlignedValues | None = None,
    name: str = "",
    size: int = 64,
    resize: int = 0,
    seed: int = 0,
    val_protocol: str | None = None,
    keep_words: Sequence[str] = (),
    root: Path | str | None = None,
    max_rejected: float = 0.01,
    force: bool = False,
) -> BiasedDataset:
    """Build a dataset folder from a Hugging Face dataset, or reuse the same dataset; return it.

    Args:
        dataset: A ``datasets.Dataset`` or ``DatasetDict``. A streamed dataset is refused.
        folder: The dataset folder; None for ``data/<name>``.
        image: The column of images, of type ``datasets.Image``.
        label: The column of labels.
        bias: One or more columns of attributes. The first is the bias attribute of the dataset.
        splits: The splits to use: ``{"train": ..., "val": ..., "test": ...}`` with the names in the dataset.
            None takes them by their names, ``validation`` as ``val``.
        split: For a ``Dataset``: the column of split names; None for a seeded split, 80 % training.
        aligned: The bias-aligned values of each label, as for ``audit``: ``{label: value or values}``. None
            takes label = bias if both have the same names.
        name: The first part of the dataset's name; "" for the name that the dataset has.
        size: S, the side of the images in pixels, a multiple of 4.
        resize: The length of the shorter side before the center is cut out; 0 for 9/8 of the size. Images of
            S x S pixels stay as they are with ``resize`` = S.
        seed: Seed of the seeded split, and of validation images that are held out.
        val_protocol: For a seeded split ``held-out`` (None too), ``hong`` or ``none``. For a dataset with its
            own splits and no validation split, ``held-out`` holds out 10 % of the training images of each
            label, and None holds out none: no selection is then possible.
        keep_words: Words for missing values, such as "None", that are values in this dataset.
        root: The folder of the image files, if the dataset holds their paths. No file outside it is read.
        max_rejected: The largest share of images that may be left out, in [0, 1].
        force: Replace an existing folder that holds another dataset, or is damaged.

    Raises:
        UsageError: A column or split does not exist, or an argument is not allowed.
        DataError: The column holds no images, or too few or too many rows remain.
        MissingPackageError: The package ``datasets`` is not installed.
    """
    columns = (bias,) if isinstance(bias, str) else tuple(bias)
    if not columns:
        raise UsageError("expected one or more bias columns, but got none")
    spec = TableSpec(
        image, label, columns, split, aligned, name, seed, val_protocol or "held-out",
        ImageSpec(size, resize), tuple(keep_words), hold_out_val=val_protocol == "held-out",
    )  # fmt: skip
    images, plan = plan_hugging_face(dataset, spec, splits=splits, root=root)
    out = Path("data") / plan.description.name if folder is None else Path(folder)
    result = build_image_dataset(
        images, plan, out, image_spec=spec.image_spec, max_rejected=max_rejected, force=force
    )
    return dataset_folder.load(result.folder)


def plan_hugging_face(
    dataset: Any,
    spec: TableSpec,
    *,
    splits: Mapping[str, str] | None = None,
    root: Path | str | None = None,
) -> tuple[HuggingFaceImages, BuildPlan]:
    """Assign the rows of a Hugging Face dataset to splits; return its images and the plan.

    Args:
        dataset: As for ``from_huggingface``.
        spec: The columns and settings. An empty name stands for the name that the dataset has. With
            ``hold_out_val``, validation images are held out if the dataset has its own splits and no
            validation split.
        splits: As for ``from_huggingface``.
        root: As for ``from_huggingface``.

    Raises:
        UsageError: As for ``from_huggingface``.
        DataError: As for ``from_huggingface``.
        MissingPackageError: As for ``from_huggingface``.
    """
    source = _open_source(dataset, spec, splits)
    has_splits = bool(source.mapping) or spec.split is not None
    if has_splits and spec.val_protocol not in VAL_PROTOCOLS_WITHOUT_LEAK:
        raise UsageError(
            f"val_protocol {spec.val_protocol} is for a seeded split, but the dataset has its own splits: "
            "expected held-out or none"
        )
    holds_out = spec.hold_out_val and has_splits and "val" not in source.mapping.values()
    spec = replace(spec, hold_out_val=holds_out, builder="huggingface")
    name = re.sub("[^A-Za-z0-9._]+", "-", spec.name or source.title).strip("-._")
    spec = replace(spec, split=_SPLIT if source.mapping else spec.split, name=name or "huggingface")
    images = HuggingFaceImages(source.splits, spec.image, None if root is None else Path(root))
    plan = plan_table(_read_table(source, spec, images), spec, origin="")
    return images, _describe_plan(plan, source, spec)


@dataclass(frozen=True)
class _HuggingFaceSource:
    """A Hugging Face dataset after a check of its type, splits and columns.

    Attributes:
        splits: The ``datasets.Dataset`` of each split that is used, by its name in the dataset.
        mapping: The split of biascon of each of these names; empty for one ``Dataset`` without splits.
        split_column: The column of split names of one ``Dataset``, or None.
    """

    splits: Mapping[str, Any]
    mapping: Mapping[str, str]
    split_column: str | None

    @property
    def first(self) -> Any:
        """The first split."""
        return next(iter(self.splits.values()))

    @property
    def title(self) -> str:
        """The name that the dataset has, or "" if it has none."""
        info = self.first.info
        return str(info.dataset_name or info.builder_name or "")

    @property
    def origin(self) -> str:
        """Where the rows come from, as text: name, version, and the fingerprint of each split."""
        info = self.first.info
        parts = [
            self.title,
            info.config_name if info.config_name != "default" else "",
            info.version,
        ]
        marks = [
            f"{name} {getattr(rows, '_fingerprint', None) or 'unknown'}"
            for name, rows in self.splits.items()
        ]
        title = " ".join(["Hugging Face dataset", *(str(part) for part in parts if part)])
        return f"{title} (fingerprints: {', '.join(marks)})"


def _open_source(
    dataset: Any, spec: TableSpec, splits: Mapping[str, str] | None
) -> _HuggingFaceSource:
    """Check the type, the splits and the columns of a dataset."""
    datasets = import_datasets()
    if isinstance(dataset, datasets.IterableDataset | datasets.IterableDatasetDict):
        raise UsageError(
            "a streamed dataset has no fixed rows, so it cannot be built twice alike; load it without "
            "streaming=True"
        )
    if isinstance(dataset, datasets.DatasetDict):
        if spec.split is not None:
            raise UsageError("a DatasetDict has its own splits: leave out split, or pass splits")
        mapping = _map_splits(list(dataset), splits)
        source = _HuggingFaceSource({key: dataset[key] for key in mapping}, mapping, None)
    elif isinstance(dataset, datasets.Dataset):
        if splits is not None:
            raise UsageError(
                "a Dataset has no splits by name: pass split, a column, or a DatasetDict"
            )
        source = _HuggingFaceSource({str(dataset.split or "rows"): dataset}, {}, spec.split)
    else:
        raise UsageError(
            f"expected a datasets.Dataset or DatasetDict, but got {type(dataset).__name__}; load one with "
            "datasets.load_dataset or load_from_disk"
        )
    columns = [spec.image, spec.label, *spec.bias, *([spec.split] if spec.split else [])]
    for key, rows in source.splits.items():
        for column in columns:
            if column not in rows.features:
                hint = did_you_mean(column, rows.features)
                names = ", ".join(rows.features)
                raise UsageError(f"split '{key}' has no column '{column}'{hint} (it has: {names})")
            if rows.features[column] != source.first.features[column]:
                raise DataError(
                    f"column '{column}' has another type in split '{key}' than in the first"
                )
    return source


def _map_splits(names: Sequence[str], splits: Mapping[str, str] | None) -> dict[str, str]:
    """Return the split of biascon of each split of a dataset that is used, in the order of ``SPLITS``."""
    if splits is None:
        chosen: dict[str, str] = {}
        for name in names:
            own = SPLIT_NAMES.get(name.lower())
            if own is None or own in chosen:
                raise UsageError(
                    f"cannot tell what split '{name}' is for (the dataset has: {', '.join(names)}); pass "
                    "splits={'train': ..., 'val': ..., 'test': ...} with the names to use"
                )
            chosen[own] = name
    else:
        chosen = {SPLIT_NAMES.get(own.lower(), own): name for own, name in splits.items()}
        unknown = [own for own in chosen if own not in SPLITS]
        if unknown:
            raise UsageError(
                f"expected the splits train, val and test, but got {quote_some(unknown)}"
            )
        absent = [name for name in chosen.values() if name not in names]
        if absent:
            hint = did_you_mean(str(absent[0]), names)
            raise UsageError(
                f"the dataset has no split '{absent[0]}'{hint} (it has: {', '.join(names)})"
            )
        if len(set(chosen.values())) != len(chosen):
            raise UsageError(
                f"expected each split once, but got {quote_some(list(chosen.values()))}"
            )
    return {chosen[own]: own for own in SPLITS if own in chosen}


def _read_table(
    source: _HuggingFaceSource, spec: TableSpec, images: HuggingFaceImages
) -> ImageTable:
    """Return the complete rows of all splits as a table; the name of an image is ``<split>/<row>``."""
    columns = [spec.label, *spec.bias]
    reasons = [NO_LABEL, *(f"no {name}" for name in spec.bias)]
    if source.split_column is not None:
        columns, reasons = [*columns, source.split_column], [*reasons, NO_SPLIT]
    files: list[str] = []
    index: list[int] = []
    texts: dict[str, list[str]] = {name: [] for name in columns}
    if source.mapping:
        texts[_SPLIT] = []
    left_out: list[tuple[str, str]] = []
    for key, rows in source.splits.items():
        values = [_read_column(rows, name, spec.keep_words) for name in columns]
        for row, cells in enumerate(zip(*values, strict=True)):
            file = f"{key}/{row}"
            missing = [reason for reason, cell in zip(reasons, cells, strict=True) if cell is None]
            if missing or not images.has_image(file):
                left_out.append((file, missing[0] if missing else NO_IMAGE))
                continue
            files.append(file)
            index.append(row)
            for name, cell in zip(columns, cells, strict=True):
                texts[name].append(str(cell))
            if source.mapping:
                texts[_SPLIT].append(source.mapping[key])
    if not files:
        raise DataError("no row of the dataset has an image, a label and a bias value")
    known = {name: _class_names(source.first, name) for name in (spec.label, *spec.bias)}
    known = {name: names for name, names in known.items() if names}
    if spec.label in known:  # a label without images can be in no split
        occurring = set(texts[spec.label])
        known[spec.label] = [name for name in known[spec.label] if name in occurring]
    return ImageTable(files, texts, np.array(index, dtype=np.int64), left_out, {}, known)


def _class_names(rows: Any, column: str) -> list[str]:
    """Return the names of a ``ClassLabel`` in their order; none for a column of another type."""
    return list(getattr(rows.features[column], "names", None) or [])


def _read_column(rows: Any, column: str, keep_words: Sequence[str]) -> list[str | None]:
    """Return a column as text, None for a missing value."""
    names = _class_names(rows, column)
    cells = rows.with_format(None).select_columns([column])[:][column]
    if names:
        return [None if cell is None or cell < 0 else names[cell] for cell in cells]
    try:
        texts = {cell: normalize_value(cell, keep_words) for cell in dict.fromkeys(cells)}
    except (TypeError, DataError) as error:
        raise DataError(f"column '{column}' holds values that are no labels: {error}") from error
    return [texts[cell] for cell in cells]


def _describe_plan(plan: BuildPlan, source: _HuggingFaceSource, spec: TableSpec) -> BuildPlan:
    """Return the plan with the description of its source."""
    description, info = plan.description, source.first.info
    protocol, parameters = dict(description.protocol), dict(description.parameters)
    parameters["split"] = source.split_column
    if source.mapping:
        texts = {own: f"split {name}" for name, own in source.mapping.items()}
        protocol |= {"val": NO_VALIDATION, **texts}
        if spec.hold_out_val:
            protocol |= describe_splits(texts["train"], spec.val_protocol)
        parameters["splits"] = {own: name for name, own in source.mapping.items()}
    elif source.split_column is None:
        protocol |= {"train": "seeded 80/20 split of the rows", "test": "20 % of the rows"}
    origin = {"kind": "huggingface", "origin": source.origin, "sha256": {}}
    terms = {"license": info.license, "citation": info.citation}
    described = replace(
        description,
        builder="huggingface",
        protocol=protocol,
        parameters=parameters,
        source={**description.source, **origin},
        extra={key: text.strip() for key, text in terms.items() if text and text.strip()},
    )
    return replace(plan, description=described)
