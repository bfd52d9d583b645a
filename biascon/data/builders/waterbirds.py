"""Waterbirds: birds of CUB on backgrounds of Places; the place goes with the kind of bird in training.

Layout and counts: Sagawa, Koh, Hashimoto, Liang, ICLR 2020 (``waterbird_complete95_forest2water2``).
"""

from __future__ import annotations

from pathlib import Path

from biascon.data.builders.csv_table import read_csv_table
from biascon.data.builders.find_root import find_root
from biascon.data.builders.table import plan_table
from biascon.data.builders.table_rows import TableSpec
from biascon.data.building.plan import BuildPlan, PublishedCounts
from biascon.data.building.published import with_published_counts
from biascon.data.images.decoding import ImageSpec
from biascon.errors import DataError
from biascon.utils.text import quote_some

TABLE = "metadata.csv"
FOLDERS = ("waterbird_complete95_forest2water2", "waterbirds_v1.0")  # GroupDRO, WILDS
_CELLS = (
    ("landbird", "land"),
    ("landbird", "water"),
    ("waterbird", "land"),
    ("waterbird", "water"),
)
PUBLISHED: PublishedCounts = {
    "train": dict(zip(_CELLS, (3498, 184, 56, 1057), strict=True)),
    "val": dict(zip(_CELLS, (467, 466, 133, 133), strict=True)),
    "test": dict(zip(_CELLS, (2255, 2255, 642, 642), strict=True)),
}


def plan_waterbirds(raw: Path, image_spec: ImageSpec) -> tuple[Path, BuildPlan]:
    """Assign the images to the splits of ``metadata.csv``: label y, bias attribute place.

    Args:
        raw: The folder of ``metadata.csv`` and the folders of images, or the folder above it.
        image_spec: How an image becomes an array.

    Returns:
        The folder of the images, and the plan.

    Raises:
        DataError: RAW does not have the layout, or a split would be empty.
        UsageError: A column, or one of its values 0 and 1, is missing.
    """
    root = find_root(raw, FOLDERS, [TABLE], "Waterbirds")
    spec = TableSpec(
        "img_filename",
        "y",
        ("place",),
        "split",
        aligned={"landbird": "land", "waterbird": "water"},
        name="waterbirds",
        image_spec=image_spec,
        builder="waterbirds",
        rename={
            "y": {"0": "landbird", "1": "waterbird"},
            "place": {"0": "land", "1": "water"},
        },
    )
    table = read_csv_table(root / TABLE, spec)
    for name, names in spec.rename.items():
        unknown = set(table.columns[name]) - set(names.values())
        if unknown:
            raise DataError(
                f"{root / TABLE}: expected 0 or 1 in column '{name}', but got {quote_some(unknown)}"
            )
    plan = plan_table(table, spec, origin="Waterbirds, metadata.csv and its pictures")
    return root, with_published_counts(plan, PUBLISHED)
