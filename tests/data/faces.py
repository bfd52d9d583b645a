"""Drawn faces with the names of UTKFace and in the layout of CelebA, for tests and benchmarks.

A face is an ellipse of skin with hair on a blurred background. The target determines the hair (short, or long
beside the face), the bias attribute determines the tone of the skin. No image shows a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

Array = npt.NDArray[Any]
SKIN_TONES = ((236, 200, 176), (110, 74, 54), (228, 186, 140), (160, 112, 80), (200, 150, 120))
HAIR_COLORS = ((60, 44, 30), (214, 180, 110))


@lru_cache(maxsize=8)
def _make_grids(height: int, width: int) -> tuple[Array, Array, Array]:
    """Return backgrounds (16, H, W, 3), grain (16, H, W, 3), and masks (2, 3, H, W)."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(40, 216, (16, 9, 9, 3), dtype=np.uint8)
    backs = np.stack(
        [
            np.asarray(Image.fromarray(c).resize((width, height), Image.Resampling.BICUBIC))
            for c in coarse
        ]
    )
    grain = rng.normal(0, 4, (16, height, width, 3)).astype(np.int8)
    y, x = np.mgrid[0:height, 0:width]
    y, x = y / height * 2 - 1, x / width * 2 - 1
    masks = np.zeros((2, 3, height, width), dtype=bool)
    for kind in range(2):
        skin = (x / 0.55) ** 2 + ((y - 0.05) / 0.75) ** 2 < 1
        cap = ((x / 0.62) ** 2 + ((y + 0.05) / 0.85) ** 2 < 1) & (y < -0.3)
        long = (np.abs(x) > 0.45) & (np.abs(x) < 0.75) & (y > -0.5) & (y < 0.9)
        eyes = ((np.abs(x) - 0.22) / 0.1) ** 2 + ((y + 0.1) / 0.06) ** 2 < 1
        masks[kind] = skin, cap | (long & bool(kind)), eyes
    return backs, grain, masks


def draw_face(
    trait: int, tone: int, number: int, height: int = 200, width: int = 200, hair: int = 0
) -> Array:
    """Draw a face, uint8 ``(H, W, 3)``, with a hair style (0, 1), a skin tone and a hair color."""
    backs, grains, masks = _make_grids(height, width)
    skin, cap, eyes = masks[trait]
    rng = np.random.default_rng((number, trait, tone))
    image = backs[rng.integers(16)].copy()
    image[skin] = np.clip(np.array(SKIN_TONES[tone]) + rng.integers(-18, 19), 0, 255)
    image[cap] = np.clip(np.array(HAIR_COLORS[hair]) + rng.integers(-25, 26), 0, 255)
    image[eyes] = rng.integers(10, 70)
    image = np.roll(image, tuple(rng.integers(-6, 7, 2)), axis=(0, 1))
    return np.clip(image.astype(np.int16) + grains[rng.integers(16)], 0, 255).astype(np.uint8)


def draw_utkface(folder: Path, names: Sequence[str]) -> Path:
    """Draw an image of 200 x 200 pixels for each name; a name without a race gets skin tone 0."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        parts = name.split("_")
        gender, race = int(parts[1]), int(parts[2]) if len(parts) == 4 else 0
        data = simplejpeg.encode_jpeg(
            draw_face(gender, race, number), quality=90, colorsubsampling="420"
        )
        (folder / name).write_bytes(data)
    return folder


def make_names(n: int, seed: int = 0) -> list[str]:
    """Return n names in the form of UTKFace, with every combination of gender and race."""
    rng = np.random.default_rng(seed)
    names = []
    for k in range(n):
        age, stamp = rng.integers(1, 90), 20170101000000000 + int(rng.integers(10**12)) * 1000 + k
        names.append(f"{age}_{k % 2}_{k // 2 % 5}_{stamp}.jpg.chip.jpg")
    return sorted(names)


CELEBA_ATTRIBUTES = [
    "5_o_Clock_Shadow",
    "Arched_Eyebrows",
    "Attractive",
    "Bags_Under_Eyes",
    "Bald",
    "Bangs",
    "Big_Lips",
    "Big_Nose",
    "Black_Hair",
    "Blond_Hair",
    "Blurry",
    "Brown_Hair",
    "Bushy_Eyebrows",
    "Chubby",
    "Double_Chin",
    "Eyeglasses",
    "Goatee",
    "Gray_Hair",
    "Heavy_Makeup",
    "High_Cheekbones",
    "Male",
    "Mouth_Slightly_Open",
    "Mustache",
    "Narrow_Eyes",
    "No_Beard",
    "Oval_Face",
    "Pale_Skin",
    "Pointy_Nose",
    "Receding_Hairline",
    "Rosy_Cheeks",
    "Sideburns",
    "Smiling",
    "Straight_Hair",
    "Wavy_Hair",
    "Wearing_Earrings",
    "Wearing_Hat",
    "Wearing_Lipstick",
    "Wearing_Necklace",
    "Wearing_Necktie",
    "Young",
]


def draw_celeba(folder: Path, n: int, *, file_format: str = "txt", seed: int = 0) -> Path:
    """Draw n images of 178 x 218 pixels in the layout of CelebA; most women are blond, most men are not.

    Args:
        folder: The folder to write.
        n: Number of images.
        file_format: ``txt``, the official files, or ``csv``, their common other form.
        seed: Decides the attributes.
    """
    pictures = folder / "img_align_celeba"
    pictures.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    table = rng.random((n, 40)) < 0.3
    male = rng.random(n) < 0.42
    blond = rng.random(n) < np.where(male, 0.1, 0.5)
    makeup = (rng.random(n) < 0.7) & ~male
    for name, column in (("Male", male), ("Blond_Hair", blond), ("Heavy_Makeup", makeup)):
        table[:, CELEBA_ATTRIBUTES.index(name)] = column
    parts = np.select([np.arange(n) < 0.8 * n, np.arange(n) < 0.9 * n], [0, 1], 2)
    files = [f"{k + 1:06d}.jpg" for k in range(n)]
    for k, name in enumerate(files):
        pixels = draw_face(int(not male[k]), k % 5, k, 218, 178, int(blond[k]))
        data = simplejpeg.encode_jpeg(pixels, quality=90, colorsubsampling="420")
        (pictures / name).write_bytes(data)
    signs = np.where(table, 1, -1)
    if file_format == "csv":
        rows = [",".join(["image_id", *CELEBA_ATTRIBUTES])]
        rows += [",".join([f, *map(str, row)]) for f, row in zip(files, signs, strict=True)]
        (folder / "list_attr_celeba.csv").write_text("\n".join(rows) + "\n")
        rows = ["image_id,partition", *(f"{f},{p}" for f, p in zip(files, parts, strict=True))]
        (folder / "list_eval_partition.csv").write_text("\n".join(rows) + "\n")
    else:
        rows = [str(n), " ".join(CELEBA_ATTRIBUTES) + " "]
        rows += [
            f"{f} " + " ".join(f"{v:2d}" for v in row) for f, row in zip(files, signs, strict=True)
        ]
        (folder / "list_attr_celeba.txt").write_text("\n".join(rows) + "\n")
        rows = [f"{f} {p}" for f, p in zip(files, parts, strict=True)]
        (folder / "list_eval_partition.txt").write_text("\n".join(rows) + "\n")
    return folder
