"""Builds of a small UTKFace dataset, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from biascon.data.builders import utkface, utkface_names
from biascon.data.building.arrays import BuildResult
from biascon.data.building.images import build_image_dataset
from biascon.data.building.plan import BuildPlan
from biascon.data.images.decoding import ImageSpec

SPEC = ImageSpec(32)


def make_plan(folder: Path, **parameters: Any) -> BuildPlan:
    names = utkface_names.find_images(folder).names
    spec = utkface.UTKFaceSpec(**{"rate": 0.5, "image_spec": SPEC, **parameters})
    return utkface.plan_utkface(names, spec, origin="drawn for the tests")


def build(raw: Path, out: Path, **options: Any) -> BuildResult:
    return build_image_dataset(raw, make_plan(raw), out, image_spec=SPEC, **options)


def read_contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def list_hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]
