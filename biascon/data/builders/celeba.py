"""CelebA: any of its 40 attributes as target, any other as bias attribute.

Protocol ``official``: the official training, validation and test partitions. Protocol ``hong`` (Hong and
Yang, NeurIPS 2021): the official training partition is split 80/20 into training and validation, and the
official *validation* partition is the test split. With Blond_Hair and Male, the training split keeps 2,000 of
the women who are not blond. Results of the two protocols cannot be compared.

The bias-aligned cells are two opposite cells of the 2 x 2 table of label and bias: those whose counts in the
training partition have the larger product. For Blond_Hair and Heavy_Makeup with Male these are (0, male) and
(1, female), as in the papers.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

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
N_NOT_BLOND_WOMEN = 2000  # in the training split of protocol hong

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
        seed: Seed of the split of ``hong`` and of the images that it keeps.
        shape: How an image becomes an array.
    """

    target: str = "Blond_Hair"
    bias: str = "Male"
    protocol: str = "official"
    keep: tuple[str, ...] = ()
    aligned: str = "auto"
    seed: int = 0
    shape: ImageSpec = field(default_factory=lambda: ImageSpec(64))

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
        keep = tuple(
            name for name in dict.fromkeys(self.keep) if name not in (self.target, self.bias)
        )
        object.__setattr__(self, "keep", keep)

    def name(self) -> str:
        """Return the dataset's name: target, bias, protocol, and the settings that differ from the defaults.

        >>> CelebASpec().name(), CelebASpec("Young", keep=("Bald",), protocol="hong", seed=2).name()
        ('celeba-Blond_Hair-Male-official', 'celeba-Young-Male-hong-keep1-seed2')
        """
        parts = ["celeba", self.target, self.bias, self.protocol, *self.shape.name_suffixes()]
        parts += [f"keep{len(self.keep)}"] if self.keep else []
        parts += [self.aligned] if self.aligned != "auto" else []
        parts += [f"seed{self.seed}"] if self.seed else []
        return "-".join(parts)


@dataclass(frozen=True)
class CelebATables:
    """The lists of CelebA, and the place of its images.

    Attributes:
        raw: The folder that paths are relative to.
        image_folder: The folder of the aligned images, relative to ``raw``.
        names: The file names, sorted.
        table: bool ``(N, A)``: the values of the attributes.
        attributes: The names of the A attributes.
        partition: int64 ``(N,)``: 0 train, 1 validation, 2 test.
    """

    raw: Path
    image_folder: str
    names: Sequence[str]
    table: Array
    attributes: Sequence[str]
    partition: Array


def read_celeba_tables(raw: Path) -> CelebATables:
    """Read the attributes and the partition, from the official text files or their CSV form.

    Raises:
        DataError: A file is missing or malformed. The message names the line.
    """
    image_folder = _find_image_folder(raw)
    attribute_path = _find_file(raw, "list_attr_celeba", "Anno")
    attributes, values = _read_attributes(attribute_path)
    partition_path = _find_file(raw, "list_eval_partition", "Eval")
    partition = _read_partition(partition_path)
    if set(partition) != set(values):
        raise DataError(
            f"{attribute_path} and {partition_path} do not name the same images "
            f"({len(values):,} and {len(partition):,})"
        )
    names = sorted(values)
    return CelebATables(
        raw,
        image_folder.relative_to(raw).as_posix(),
        names,
        np.array([values[name] for name in names], dtype=bool).reshape(-1, len(attributes)),
        attributes,
        np.array([partition[name] for name in names], dtype=np.int64),
    )


def _find_image_folder(raw: Path) -> Path:
    for parts in (
        ("img_align_celeba", "img_align_celeba"),
        ("img_align_celeba",),
        ("Img", "img_align_celeba"),
    ):
        if raw.joinpath(*parts).is_dir():
            return raw.joinpath(*parts)
    raise DataError(f"{raw} is not a folder of CelebA: it has no img_align_celeba")


def _read_attributes(path: Path) -> tuple[list[str], dict[str, list[bool]]]:
    """Read the names of the attributes, and their values by file name."""
    rows = _iter_rows(path)
    count = None if path.suffix == ".csv" else next(rows, (0, []))[1]
    _, header = next(rows, (0, []))
    attributes = header[1:]
    if not attributes or len(set(attributes)) != len(attributes):
        raise DataError(f"{path}: expected a line with the names of the attributes")
    values: dict[str, list[bool]] = {}
    texts: set[str] = set()
    for number, row in rows:
        if len(row) != len(attributes) + 1 or not set(row[1:]) <= {"-1", "0", "1"}:
            raise DataError(
                f"{path}, line {number}: expected a file name and {len(attributes)} values of -1 or 1"
            )
        if row[0] in values:
            raise DataError(f"{path}, line {number}: '{row[0]}' is listed twice")
        values[row[0]] = [value == "1" for value in row[1:]]
        texts.update(row[1:])
    if count is not None and count != [str(len(values))]:
        raise DataError(
            f"{path}, line 1: expected the number of images, {len(values)}, but got '{' '.join(count)}'"
        )
    if {"-1", "0"} <= texts:
        raise DataError(f"{path}: expected values of -1 and 1, or of 0 and 1, but got all three")
    return attributes, values


def _read_partition(path: Path) -> dict[str, int]:
    """Read the partition (0 train, 1 validation, 2 test) by file name."""
    partition: dict[str, int] = {}
    for number, row in _iter_rows(path, header=False):
        if len(row) != 2 or row[1] not in ("0", "1", "2"):
            raise DataError(f"{path}, line {number}: expected a file name and 0, 1 or 2")
        if row[0] in partition:
            raise DataError(f"{path}, line {number}: '{row[0]}' is listed twice")
        partition[row[0]] = int(row[1])
    return partition


def _find_file(raw: Path, stem: str, folder: str) -> Path:
    for parent in (raw, raw / folder):
        for suffix in (".txt", ".csv"):
            if (parent / f"{stem}{suffix}").is_file():
                return parent / f"{stem}{suffix}"
    raise DataError(f"{raw} is not a folder of CelebA: it has no {stem}.txt (or .csv)")


def _iter_rows(path: Path, *, header: bool = True) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells) of a file in text or CSV form.

    With ``header``, the header is a row with an arbitrary first cell. In a text file, its first line (the
    number of images) comes before the header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix == ".csv":
                for number, row in enumerate(csv.reader(file, strict=True), 1):
                    if row and (header or number > 1):
                        yield number, row
                return
            for number, line in enumerate(file, 1):
                cells = line.split()
                if header and number == 2:
                    yield number, ["", *cells]
                elif cells or (header and number == 1):
                    yield number, cells
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {path}: it is not text of the expected form") from error


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
    splits = {}
    for part, rows in split_rows(source.partition, label, columns[spec.bias], spec).items():
        bias = columns[spec.bias][rows]
        splits[part] = SplitPlan(
            [f"{source.image_folder}/{source.names[row]}" for row in rows],
            label[rows],
            bias,
            _mark_aligned(label[rows], bias, cells[spec.bias]),
            rows,
            {name: values[rows] for name, values in columns.items()},
        )
    return BuildPlan(describe_celeba(source, spec, cells), splits)


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
    order = official[0][permutation(len(official[0]), spec.seed, "celeba/split")]
    n_train = len(order) * 4 // 5
    train, val = np.sort(order[:n_train]), np.sort(order[n_train:])
    if (spec.target, spec.bias) == ("Blond_Hair", "Male"):
        not_blond_women = np.flatnonzero((label[train] == 0) & (bias[train] == 0))
        order = permutation(len(not_blond_women), spec.seed, "celeba/not blond women")
        is_kept = np.ones(len(train), dtype=bool)
        is_kept[not_blond_women[order[N_NOT_BLOND_WOMEN:]]] = False
        train = train[is_kept]
    return {"train": train, "val": val, "test": official[1]}


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


def attribute_values(name: str) -> list[str]:
    """Return the names of the two values of an attribute.

    >>> attribute_values("Male"), attribute_values("Young")
    (['female', 'male'], ['not Young', 'Young'])
    """
    return ["female", "male"] if name == "Male" else [f"not {name}", name]


def describe_celeba(
    source: CelebATables, spec: CelebASpec, pairs: Mapping[str, Cells | None]
) -> DatasetDescription:
    """Return what the manifest says besides counts and digests."""
    labels = attribute_values(spec.target)
    named: dict[str, list[list[str]] | None] = {
        name: None if cells is None else [[labels[k], attribute_values(name)[m]] for k, m in cells]
        for name, cells in pairs.items()
    }
    own = named[spec.bias]
    kept = (
        f"; {N_NOT_BLOND_WOMEN:,} women who are not blond"
        if (spec.target, spec.bias) == ("Blond_Hair", "Male")
        else ""
    )
    protocol = {
        "official": {
            "train": "official training partition",
            "val": "official validation partition",
            "test": "official test partition",
        },
        "hong": {
            "train": f"hong: 80 % of the official training partition{kept}",
            "val": "hong: 20 % of the official training partition",
            "test": "hong: the official validation partition",
        },
    }[spec.protocol]
    return DatasetDescription(
        name=spec.name(),
        builder="celeba",
        protocol={**protocol, "pictures": spec.shape.describe()},
        parameters={
            **{key: value for key, value in asdict(spec).items() if key != "shape"},
            "keep": list(spec.keep),
            **asdict(spec.shape),
        },
        source={
            "kind": "celeba",
            "origin": "CelebA, aligned and cropped",
            "names": {"read": len(source.names), "left_out": 0, "reasons": {}},
        },
        labels=labels,
        bias=BiasAttribute(
            name=spec.bias,
            values=attribute_values(spec.bias),
            aligned=None if own is None else ", ".join(f"{k} = {m}" for k, m in own),
        ),
        attributes={
            name: Attribute(attribute_values(name), cells) for name, cells in named.items()
        },
    )
