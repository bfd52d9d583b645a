"""UrbanCars: cars on a background with a second object; both go with the kind of car in training.

Layout and counts: the public generator of Li et al., CVPR 2023 (Whac-A-Mole).
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

from biascon.data.builders.file_patterns import FILE, read_pattern_table
from biascon.data.builders.find_root import find_root
from biascon.data.builders.table import plan_table
from biascon.data.builders.table_rows import TableSpec
from biascon.data.building.plan import BuildPlan, PublishedCounts
from biascon.data.building.published import with_published_counts
from biascon.data.images.decoding import ImageSpec

_TRAIN, _BALANCED = "bg-0.95_co_occur_obj-0.95", "bg-0.5_co_occur_obj-0.5"
PARTS = (f"{_TRAIN}/train", f"{_BALANCED}/val", f"{_BALANCED}/test")
FOLDERS = ("urbancars", "urbancars_images", "data/urbancars")
_KINDS = ("urban", "country")
_KIND = "|".join(_KINDS)
PATTERN = (
    f"{{*}}/{{split:train|val|test}}/obj-{{obj:{_KIND}}}_bg-{{bg:{_KIND}}}_co_occur_obj-{{co_occur_obj:{_KIND}}}"
    "/{*}.jpg"
)
MASKS = "*_mask.png"  # of the car and of the second object
# 4,000 training images of each kind of car, by the number of attributes that go with it; 500 in val and test.
_N_TRAIN = {2: 3610, 1: 190, 0: 10}
_CELLS = tuple(product(_KINDS, repeat=3))
PUBLISHED: PublishedCounts = {
    "train": {(obj, *rest): _N_TRAIN[rest.count(obj)] for obj, *rest in _CELLS},
    "val": dict.fromkeys(_CELLS, 125),
    "test": dict.fromkeys(_CELLS, 125),
}


def plan_urbancars(raw: Path, image_spec: ImageSpec) -> tuple[Path, BuildPlan]:
    """Assign the images to splits by the names of their folders: label obj, attributes bg and co_occur_obj.

    Args:
        raw: The folder of ``bg-0.95_co_occur_obj-0.95`` and ``bg-0.5_co_occur_obj-0.5``, or the folder above.
        image_spec: How an image becomes an array.

    Returns:
        The folder of the images, and the plan.

    Raises:
        DataError: RAW does not have the layout, or a split would be empty.
    """
    root = find_root(raw, FOLDERS, PARTS, "UrbanCars")
    same = {kind: kind for kind in _KINDS}
    spec = TableSpec(
        FILE,
        "obj",
        ("bg", "co_occur_obj"),
        "split",
        aligned={"bg": same, "co_occur_obj": same},
        name="urbancars",
        image_spec=image_spec,
        patterns=(PATTERN,),
        ignore=(MASKS,),
        builder="urbancars",
    )
    table = read_pattern_table(root, spec, inside=PARTS)
    plan = plan_table(table, spec, origin="UrbanCars, by the names of its folders")
    return root, with_published_counts(plan, PUBLISHED)
