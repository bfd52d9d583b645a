"""Small drawn sets in the official layouts of Waterbirds, UrbanCars, FairFace, DisEnt and BAR."""

from __future__ import annotations

from itertools import product
from pathlib import Path

from tests.data.builders.folder_sets import write_image


def make_waterbirds(raw: Path) -> Path:
    """Write 6 images for each split, label and place; return the folder above the set."""
    lines = ["img_id,img_filename,y,split,place,place_filename"]
    for k, (split, y, place) in enumerate(product((0, 1, 2), (0, 1), (0, 1)), 1):
        for n in range(6):
            name = f"{k:03d}.Bird_{y}/Bird_{n:04d}.jpg"
            write_image(raw / "waterbird_complete95_forest2water2" / name, k)
            lines.append(f"{10 * k + n},{name},{y},{split},{place},/o/ocean/{n}.jpg")
    table = raw / "waterbird_complete95_forest2water2" / "metadata.csv"
    table.write_text("\n".join(lines) + "\n")
    return raw


def make_urbancars(raw: Path, n_train: dict[int, int], n_other: int) -> Path:
    """Write images, masks and backgrounds; ``n_train`` by the number of attributes that go with the label."""
    kinds = ("urban", "country")
    for part, (obj, bg, co) in product(("train", "val", "test"), product(kinds, repeat=3)):
        rate = "0.95" if part == "train" else "0.5"
        folder = raw / "urbancars" / f"bg-{rate}_co_occur_obj-{rate}" / part
        folder /= f"obj-{obj}_bg-{bg}_co_occur_obj-{co}"
        for n in range(n_train[(bg, co).count(obj)] if part == "train" else n_other):
            write_image(folder / f"{n:03d}.jpg", n)
            for mask in ("mask", "co_occur_obj_mask"):
                write_image(folder / f"{n:03d}_{mask}.png", n)
    return raw


def make_fairface(raw: Path) -> Path:
    """Write 40 training and 8 validation images with the two tables."""
    for name, n in (("train", 40), ("val", 8)):
        lines = ["file,age,gender,race,service_test"]
        for k in range(n):
            write_image(raw / "fairface-img-margin025-trainval" / name / f"{k + 1}.jpg", k)
            age, race = (
                ("3-9", "more than 70")[k % 2],
                ("East Asian", "Latino_Hispanic")[k // 2 % 2],
            )
            lines.append(
                f"{name}/{k + 1}.jpg,{age},{('Male', 'Female')[k % 4 // 3]},{race},{k % 2 == 0}"
            )
        (raw / f"fairface_label_{name}.csv").write_text("\n".join(lines) + "\n")
    return raw


def make_disent(
    raw: Path, *, valid_in_percent: bool, nested: bool, labels: tuple[int, ...] = (0, 1)
) -> Path:
    """Write a set of DisEnt: 8 aligned and 2 conflicting images of each label, at 0.5 and 1 %."""
    for percent, y, k in product(("0.5pct", "1pct"), labels, range(10)):
        part, bias = ("align", y) if k < 8 else ("conflict", (y + 1) % len(labels))
        write_image(raw / percent / part / str(y) / f"{k}_a_{y}_{bias}.png", k)
    valid = "0.5pct/valid" if valid_in_percent else "valid"
    for part, y, bias, k in product((valid, "test"), labels, labels, range(3)):
        folder = raw / part / str(y) if nested else raw / part
        write_image(folder / f"{k}_{y}_{bias}.png", k)
    return raw


def make_bar(raw: Path) -> Path:
    """Write 10 training and 4 test images of two of the six actions of BAR."""
    for part, first, n in (("train", 0, 10), ("test", 10, 4)):
        for action, k in product(("climbing", "pole vaulting"), range(first, first + n)):
            write_image(raw / part / f"{action}_{k}.jpg", k)
    return raw
