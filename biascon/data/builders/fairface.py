"""FairFace: faces with age, gender and race, nearly balanced by race.

Layout: Karkkainen and Joo, WACV 2021. The official validation images are the test images here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from biascon.data.builders.csv_table import read_csv_rows
from biascon.data.builders.find_root import find_root
from biascon.data.builders.table import plan_table
from biascon.data.builders.table_rows import ImageTable, TableSpec, select_rows
from biascon.data.building.plan import BuildPlan, PublishedCounts
from biascon.data.building.published import with_published_counts
from biascon.data.building.splitting import check_split_options
from biascon.data.images.decoding import ImageSpec
from biascon.errors import DataError, UsageError
from biascon.utils.files import sha256_file
from biascon.utils.text import quote_some

# The official values, in the order of their codes.
VALUES = {
    "gender": ("Female", "Male"),
    "race": (
        "Black", "East Asian", "Indian", "Latino_Hispanic", "Middle Eastern", "Southeast Asian", "White",
    ),
    "age": (
        "0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "more than 70",
    ),
}  # fmt: skip
COLUMNS = tuple(VALUES)
TABLES = {"train": "fairface_label_train.csv", "test": "fairface_label_val.csv"}
_IMAGES = ("fairface-img-margin025-trainval", "fairface-img-margin125-trainval")
PUBLISHED: PublishedCounts = {"train": {(): 86_744}, "test": {(): 10_954}}


def plan_fairface(
    raw: Path,
    image_spec: ImageSpec,
    *,
    label: str = "gender",
    bias: str = "race",
    seed: int = 0,
    val_protocol: str = "held-out",
) -> tuple[Path, BuildPlan]:
    """Assign the images to splits by the two tables of labels.

    The images of the official training table are the training images and, 10 % of each label, the validation
    images. The images of the official validation table are the test images. The third of gender, race and age
    is kept as an attribute.

    Args:
        raw: The folder of both tables. The folders ``train`` and ``val`` of images are in it, or in one of
            its folders ``fairface-img-margin025-trainval`` and ``fairface-img-margin125-trainval``.
        image_spec: How an image becomes an array.
        label: One of ``COLUMNS``.
        bias: Another one of ``COLUMNS``.
        seed: Seed of the validation images.
        val_protocol: ``held-out`` or ``none``.

    Returns:
        The folder of the images, and the plan.

    Raises:
        DataError: RAW does not have the layout, has the images of both margins, or a table has a value that
            is not official.
        UsageError: An option is not valid.
    """
    check_split_options(val_protocol, seed)
    if label not in COLUMNS or bias not in COLUMNS or label == bias:
        raise UsageError(
            f"expected label and bias to be two of {', '.join(COLUMNS)}, but got '{label}' and '{bias}'"
        )
    find_root(raw, (), tuple(TABLES.values()), "FairFace")
    root = _find_images(raw)
    others = tuple(name for name in COLUMNS if name not in (label, bias))
    spec = TableSpec(
        "file",
        label,
        (bias, *others),
        "split",
        name=f"fairface-{label}-{bias}",
        seed=seed,
        val_protocol=val_protocol,
        image_spec=image_spec,
        hold_out_val=True,
        builder="fairface",
        split_texts={
            "train": "official training pictures",
            "test": "official validation pictures",
        },
    )
    rows = [
        row._replace(texts=[*row.texts, split])
        for split, name in TABLES.items()
        for row in read_csv_rows(raw / name, "file", [label, *spec.bias])
    ]
    digests = {f"{split} table": sha256_file(raw / name) for split, name in TABLES.items()}
    table = _order_values(select_rows(rows, spec, where=str(raw), sha256=digests), raw)
    plan = plan_table(table, spec, origin=f"FairFace, its tables and {root.resolve().name}")
    return root, with_published_counts(plan, PUBLISHED)


def _order_values(table: ImageTable, raw: Path) -> ImageTable:
    """Return the table with the order of the official values that occur in each column."""
    values = {}
    for name, official in VALUES.items():
        occurring = set(table.columns[name])
        unknown = sorted(occurring - set(official))
        if unknown:
            raise DataError(
                f"{raw}: expected {', '.join(official)} in column '{name}', but got {quote_some(unknown, 3)}"
            )
        values[name] = [value for value in official if value in occurring]
    return replace(table, values=values)


def _find_images(raw: Path) -> Path:
    """Return the folder that has the folders ``train`` and ``val`` of images."""
    folders = [raw, *(raw / name for name in _IMAGES)]
    found = [
        folder for folder in folders if (folder / "train").is_dir() and (folder / "val").is_dir()
    ]
    if len(found) == 1:
        return found[0]
    if found:
        names = " and ".join(str(folder) for folder in found)
        raise DataError(f"{raw} has the images twice, in {names}: move one of them away")
    raise DataError(
        f"{raw} has no folders train and val of images (expected them in it, or in {' or '.join(_IMAGES)})"
    )
