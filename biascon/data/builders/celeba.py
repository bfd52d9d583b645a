"""CelebA: any of its 40 attributes as target, any other as bias attribute.

Protocol ``official``: the official training, validation and test partitions. Protocol ``hong`` (Hong and
Yang, NeurIPS 2021): the official training partition is split 80/20 into training and validation, and the
official *validation* partition is the test split. With Blond_Hair and Male, all but 2,000 of the women who
are not blond are left out before that split. Results of the two protocols cannot be compared.

The bias-aligned cells are two opposite cells of the 2 x 2 table of label and bias: those whose counts in the
training partition have the larger product. For Blond_Hair and Heavy_Makeup with Male these are (0, male) and
(1, female), as in the papers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from biascon.data.builders.celeba_tables import CelebATables
from biascon.data.building.plan import BuildPlan, SplitPlan
from biascon.data.images.decoding import ImageSpec
from biascon.data.manifest import Attribute, BiasAttribute, DatasetDescription
from biascon.errors import DataError, UsageError, unknown_name
from biascon.utils.seeds import permutation
from biascon.utils.types import Array

PROTOCOLS = ("official", "hong")
ALIGNED_RULES = ("auto", "same", "crossed")
SPLIT_NAMES = ("train", "val", "test")
CROSSED_TARGETS = ("Blond_Hair", "Heavy_Makeup")  # aligned cells with Male as in the papers
NOT_IN_FOLDER = "not in the folder of images"  # reason in the manifest of a subset
N_NOT_BLOND_WOMEN = 2000  # in the training and validation splits of protocol hong together

Cells = list[list[int]]  # [label, bias] pairs


@dataclass(frozen=True)
class CelebASpec:
    """All settings that determine the bytes of a CelebA dataset, besides its files.

    Attributes:
        target: The attribute that is the label.
        bias: The attribute that is the bias.
        protocol: ``official`` or ``hong``.
        keep: Other attributes that the dataset holds.
        aligned: The bias-aligned cells: ``auto`` (the rule in the docstring of this module), ``same``
            ((0, 0) and (1, 1)) or ``crossed`` ((0, 1) and (1, 0)).
        seed: Seed of the split of ``hong`` and of the images that it keeps; 0 for ``official``.
        image_spec: How an image becomes an array.
        subset: Use only the images that the folder has. They stay in the splits that they have in the lists.
    """

    target: str = "Blond_Hair"
    bias: str = "Male"
    protocol: str = "official"
    keep: tuple[str, ...] = ()
    aligned: str = "auto"
    seed: int = 0
    image_spec: ImageSpec = field(default_factory=lambda: ImageSpec(64))
    subset: bool = False

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("protocol", self.protocol, PROTOCOLS), ("aligned", self.aligned, ALIGNED_RULES)
        ):  # fmt: skip
            if value not in choices:
                raise UsageError(
                    f"expected {name} to be one of {', '.join(choices)}, but got '{value}'"
                )
        if self.target == self.bias:
            raise UsageError(f"expected target and bias to differ, but got '{self.bias}' for both")
        if self.seed < 0:
            raise UsageError(f"expected seed to be 0 or more, but got {self.seed}")
        if self.seed and self.protocol == "official":
            raise UsageError(
                "the splits of protocol official are those of CelebA: leave out seed (it draws the splits of "
                "protocol hong)"
            )
        keep = tuple(
            name for name in dict.fromkeys(self.keep) if name not in (self.target, self.bias)
        )
        object.__setattr__(self, "keep", keep)

    def name(self) -> str:
        """Return the dataset's name: target, bias, protocol, and the settings that differ from the defaults.

        >>> CelebASpec().name(), CelebASpec("Young", keep=("Bald",), protocol="hong", seed=2).name()
        ('celeba-Blond_Hair-Male-official', 'celeba-Young-Male-hong-keep1-seed2')
        """
        parts = ["celeba", self.target, self.bias, self.protocol, *self.image_spec.name_suffixes()]
        parts += [f"keep{len(self.keep)}"] if self.keep else []
        parts += [self.aligned] if self.aligned != "auto" else []
        parts += ["subset"] if self.subset else []
        parts += [f"seed{self.seed}"] if self.seed else []
        return "-".join(parts)


def plan_celeba(source: CelebATables, spec: CelebASpec) -> BuildPlan:
    """Assign the images to splits.

    Raises:
        UsageError: CelebA has no attribute of a given name.
        DataError: A split would be empty.
    """
    for name in (spec.target, spec.bias, *spec.keep):
        if name not in source.attributes:
            raise unknown_name("attribute", name, source.attributes)
    columns = {
        name: source.table[:, source.attributes.index(name)].astype(np.int64)
        for name in (spec.target, spec.bias, *spec.keep)
    }
    label = columns.pop(spec.target)
    is_train = source.partition == 0
    cells = {
        name: find_aligned_cells(
            spec.target, name, label[is_train], values[is_train],
            spec.aligned if name == spec.bias else "auto",
        )
        for name, values in columns.items()
    }  # fmt: skip
    splits, listed = {}, {}
    for part, rows in split_rows(source.partition, label, columns[spec.bias], spec).items():
        listed[part] = len(rows)
        rows = rows[source.is_present[rows]] if spec.subset else rows
        if not len(rows) and listed[part]:
            raise DataError(
                f"{source.image_folder} has none of the {listed[part]:,} images of the {part} split: a "
                "subset must have images of each split"
            )
        bias = columns[spec.bias][rows]
        splits[part] = SplitPlan(
            [f"{source.image_folder}/{source.files[row]}" for row in rows],
            label[rows],
            bias,
            _mark_aligned(label[rows], bias, cells[spec.bias]),
            rows,
            {name: values[rows] for name, values in columns.items()},
        )
    description = describe_celeba(source, spec, cells)
    if spec.subset:
        description = _describe_subset(description, source, splits, listed)
    return BuildPlan(description, splits)


def _describe_subset(
    description: DatasetDescription,
    source: CelebATables,
    splits: Mapping[str, SplitPlan],
    listed: Mapping[str, int],
) -> DatasetDescription:
    """Add to a description how many of the listed images the folder has.

    Args:
        description: The description of the dataset of all listed images.
        source: The lists of CelebA.
        splits: The splits of the images in the folder.
        listed: The number of listed images of each split.
    """
    n_missing = int((~source.is_present).sum())
    names = {
        "read": len(source.names),
        "left_out": n_missing,
        "reasons": {NOT_IN_FOLDER: n_missing},
    }
    used = {name: len(rows) for name, rows in splits.items()}
    texts = {
        name: f"{description.protocol[name]}; subset: {used[name]:,} of {listed[name]:,} images"
        for name in splits
    }
    subset = {"listed": dict(listed), "used": used, "not_in_lists": source.n_unlisted}
    return replace(
        description,
        protocol={**description.protocol, **texts},
        source={**description.source, "names": names, "subset": subset},
    )


def split_rows(partition: Array, label: Array, bias: Array, spec: CelebASpec) -> dict[str, Array]:
    """Return the rows of each split by the protocol, int64 in ascending order.

    Args:
        partition: int64 ``(N,)``: 0 train, 1 validation, 2 test.
        label: int64 ``(N,)``.
        bias: int64 ``(N,)``.
        spec: The settings.
    """
    official = [np.flatnonzero(partition == k) for k in range(3)]
    if spec.protocol == "official":
        return dict(zip(SPLIT_NAMES, official, strict=True))
    pool = official[0]
    if (spec.target, spec.bias) == ("Blond_Hair", "Male"):
        not_blond_women = np.flatnonzero((label[pool] == 0) & (bias[pool] == 0))
        order = permutation(len(not_blond_women), spec.seed, "celeba/not blond women")
        pool = np.delete(pool, not_blond_women[order[N_NOT_BLOND_WOMEN:]])
    order = pool[permutation(len(pool), spec.seed, "celeba/split")]
    n_train = len(order) * 4 // 5
    return {
        "train": np.sort(order[:n_train]),
        "val": np.sort(order[n_train:]),
        "test": official[1],
    }


def find_aligned_cells(
    target: str, name: str, label: Array, bias: Array, rule: str = "auto"
) -> Cells | None:
    """Return the bias-aligned cells, or None if both diagonals have the same product of counts.

    Args:
        target: Name of the target.
        name: Name of the bias attribute.
        label: int64 ``(N,)``: the labels of the training partition.
        bias: int64 ``(N,)``: the bias values of the training partition.
        rule: One of ``ALIGNED_RULES``.
    """
    if rule == "auto":
        if target in CROSSED_TARGETS and name == "Male":
            rule = "crossed"
        else:
            counts = [[int(((label == k) & (bias == m)).sum()) for m in (0, 1)] for k in (0, 1)]
            same, crossed = counts[0][0] * counts[1][1], counts[0][1] * counts[1][0]
            if same == crossed:
                return None
            rule = "same" if same > crossed else "crossed"
    return [[0, 0], [1, 1]] if rule == "same" else [[0, 1], [1, 0]]


def _mark_aligned(label: Array, bias: Array, cells: Cells | None) -> Array:
    """Return bool ``(N,)``: whether an image is bias-aligned; all false if this is not defined."""
    if cells is None:
        return np.zeros(len(label), dtype=bool)
    is_aligned: Array = (label == bias) if cells == [[0, 0], [1, 1]] else (label != bias)
    return is_aligned


def name_attribute_values(name: str) -> list[str]:
    """Return the names of the two values of an attribute.

    >>> name_attribute_values("Male"), name_attribute_values("Young")
    (['female', 'male'], ['not Young', 'Young'])
    """
    return ["female", "male"] if name == "Male" else [f"not {name}", name]


def _describe_protocol(spec: CelebASpec) -> dict[str, str]:
    """Return the manifest texts of the splits."""
    restriction = (
        f" with at most {N_NOT_BLOND_WOMEN:,} of its women who are not blond"
        if (spec.target, spec.bias) == ("Blond_Hair", "Male")
        else ""
    )
    return {
        "official": {
            "train": "official training partition",
            "val": "official validation partition",
            "test": "official test partition",
        },
        "hong": {
            "train": f"hong: 80 % of the official training partition{restriction}",
            "val": f"hong: 20 % of the official training partition{restriction}",
            "test": "hong: the official validation partition",
        },
    }[spec.protocol]


def describe_celeba(
    source: CelebATables, spec: CelebASpec, cells: Mapping[str, Cells | None]
) -> DatasetDescription:
    """Describe the dataset.

    Args:
        source: The lists of CelebA.
        spec: The settings.
        cells: The bias-aligned cells of each attribute, or None if they are not defined.
    """
    labels = name_attribute_values(spec.target)
    pairs: dict[str, list[list[str]] | None] = {
        name: None
        if name_cells is None
        else [[labels[k], name_attribute_values(name)[m]] for k, m in name_cells]
        for name, name_cells in cells.items()
    }
    bias_pairs = pairs[spec.bias]
    aligned = None
    if bias_pairs is not None:
        aligned = ", ".join(f"{label} = {value}" for label, value in bias_pairs)
    return DatasetDescription(
        name="-".join([spec.name(), *([source.edition] if source.edition else [])]),
        builder="celeba",
        protocol={**_describe_protocol(spec), "pictures": spec.image_spec.describe()},
        parameters={
            **{
                key: value
                for key, value in asdict(spec).items()
                if key not in ("image_spec", "subset")
            },
            "keep": list(spec.keep),
            **({"subset": True} if spec.subset else {}),
            **asdict(spec.image_spec),
        },
        source={
            "kind": "celeba",
            "origin": source.origin,
            "names": {"read": len(source.names), "left_out": 0, "reasons": {}},
        },
        labels=labels,
        bias=BiasAttribute(
            name=spec.bias,
            values=name_attribute_values(spec.bias),
            aligned=aligned,
        ),
        attributes={
            name: Attribute(name_attribute_values(name), name_pairs)
            for name, name_pairs in pairs.items()
        },
    )
