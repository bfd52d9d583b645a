"""Caltech, ImageNet and a user's own folders: small sets in the official layouts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biascon.data.builders import folder_layouts
from biascon.data.builders.image_folders import ImageFoldersSpec, plan_image_folders
from biascon.data.dataset import load
from biascon.data.images import file_names
from biascon.models.torchvision import import_torchvision
from tests.data.builders.folder_sets import (
    WNIDS,
    get_error_line,
    make_caltech101,
    make_caltech256,
    make_imagenet,
    make_own_folder,
)


class TestLayouts:
    @pytest.mark.parametrize(("make", "train"), [(make_caltech101, 30), (make_caltech256, 60)])
    def test_caltech_in_its_official_layout(
        self, cli: Any, tmp_path: Path, make: Any, train: int
    ) -> None:
        name = make.__name__.removeprefix("make_")
        result = cli("make-standard", name, make(tmp_path / "raw"), "--size", "16")
        assert result.code == 0, result.err
        data = load(tmp_path / "data" / f"{name}-16")
        assert not data.has_bias
        held = train // 10
        for part, n in (("train", train - held), ("val", held), ("test", 3)):
            assert (np.bincount(data.splits[part].labels) == n).all(), part
        assert "BACKGROUND_Google" not in data.manifest.labels
        assert "257.clutter" not in data.manifest.labels
        if name == "caltech256":
            assert data.manifest.rejected.by_reason == {"not named like a picture": 1}
            assert (
                "198.spider/RENAME2"
                in (tmp_path / "data" / f"{name}-16" / "rejected.csv").read_text()
            )

    @pytest.mark.parametrize(
        ("name", "inner"),
        [
            ("caltech101", "caltech101"),
            ("caltech101", "caltech101/101_ObjectCategories"),
            ("caltech256", "caltech256"),
        ],
    )
    def test_caltech_from_any_folder_where_it_is_unpacked(
        self, tmp_path: Path, name: str, inner: str
    ) -> None:
        raw = {"caltech101": make_caltech101, "caltech256": make_caltech256}[name](tmp_path)
        folder, plan = plan_image_folders(raw, ImageFoldersSpec(name))
        folder_inside, plan_inside = plan_image_folders(raw / inner, ImageFoldersSpec(name))
        assert folder.resolve() == folder_inside.resolve()
        assert plan.compute_digest() == plan_inside.compute_digest()

    def test_imagenet_in_its_official_layout(self, cli: Any, tmp_path: Path) -> None:
        result = cli("make-standard", "imagenet", make_imagenet(tmp_path / "raw"), "--size", "16")
        assert result.code == 0, result.err
        data = load(tmp_path / "data" / "imagenet-16")
        assert data.manifest.labels == list(WNIDS)
        assert [len(data.splits[part]) for part in ("train", "val", "test")] == [33, 3, 6]
        assert data.manifest.protocol["test"] == "official validation pictures"

    def test_imagenet_with_its_validation_images_in_one_folder(self, tmp_path: Path) -> None:
        sorted_, flat = (
            make_imagenet(tmp_path / "sorted"),
            tmp_path / "flat" / "ILSVRC" / "Data" / "CLS-LOC",
        )
        make_imagenet(flat)
        lines = ["ImageId,PredictionString"]
        for name in WNIDS:
            for path in sorted((flat / "val" / name).iterdir()):
                lines.append(f"{path.stem},{name} 1 2 3 4 {name} 5 6 7 8 ")
                path.rename(flat / "val" / path.name)
            (flat / "val" / name).rmdir()
        (tmp_path / "flat" / "LOC_val_solution.csv").write_text("\n".join(lines))
        _, first = plan_image_folders(sorted_, ImageFoldersSpec("imagenet"))
        _, second = plan_image_folders(tmp_path / "flat", ImageFoldersSpec("imagenet"))
        for part in ("train", "val", "test"):
            assert (first.splits[part].labels == second.splits[part].labels).all()
            names = [
                [path.rpartition("/")[2] for path in p.splits[part].paths] for p in (first, second)
            ]
            assert names[0] == names[1]

    @pytest.mark.parametrize("val", [False, True])
    def test_a_folder_of_the_user(self, cli: Any, tmp_path: Path, val: bool) -> None:
        result = cli(
            "make-standard",
            "folder",
            make_own_folder(tmp_path / "my pets", val=val),
            "--size",
            "16",
        )
        assert result.code == 0, result.err
        data = load(tmp_path / "data" / "my_pets-16")
        assert data.manifest.labels == ["cat", "dog"]
        assert len(data.splits["train"]) == (24 if val else 22)
        assert len(data.splits["val"]) == (6 if val else 2)
        assert data.manifest.protocol["val"].startswith("the pictures of val" if val else "10 %")
        result = cli("make-standard", "folder", tmp_path / "my pets", "--size", "16", "--name", "pets",
                   "--val-protocol", "none", "--json")  # fmt: skip
        manifest = json.loads(result.out)
        assert manifest["name"] == "pets-16-none"
        assert set(manifest["counts"]) == {"train", "test"}
        assert manifest["protocol"]["val"] == "none: no selection is possible"

    def test_no_image_is_in_two_splits(self, tmp_path: Path) -> None:
        _, plan = plan_image_folders(make_caltech101(tmp_path), ImageFoldersSpec("caltech101"))
        paths = [path for rows in plan.splits.values() for path in rows.paths]
        assert len(set(paths)) == len(paths) == 99
        index = [int(k) for rows in plan.splits.values() for k in rows.index]
        assert sorted(index) == list(range(99))
        for rows in plan.splits.values():
            for path, label in zip(rows.paths, rows.labels, strict=True):
                assert path.startswith(plan.description.labels[label] + "/")


class TestAgainstTorchvision:
    def test_a_folder_of_the_user_as_image_folder(self, tmp_path: Path) -> None:
        raw = make_own_folder(tmp_path)
        import_torchvision()
        from torchvision.datasets import ImageFolder

        _, plan = plan_image_folders(raw, ImageFoldersSpec("folder", val_protocol="none"))
        for part in ("train", "test"):
            reference = ImageFolder(raw / part)
            rows = plan.splits[part]
            samples = zip(
                (str(raw / path) for path in rows.paths), rows.labels.tolist(), strict=True
            )
            assert sorted(samples) == sorted((str(path), k) for path, k in reference.samples)
            assert reference.classes == plan.description.labels
        assert file_names.IMAGE_SUFFIXES == import_torchvision().datasets.folder.IMG_EXTENSIONS

    def test_caltech_101_has_the_same_classes(self, tmp_path: Path) -> None:
        raw = make_caltech101(tmp_path)
        import_torchvision()
        from torchvision.datasets import Caltech101

        (
            raw / "caltech101" / "Annotations"
        ).mkdir()  # torchvision checks only that this folder exists
        reference = Caltech101(raw)
        _, plan = plan_image_folders(raw, ImageFoldersSpec("caltech101"))
        assert reference.categories == plan.description.labels
        # The file names of torchvision are image_<k>.jpg, k from 1.
        assert len(reference) == sum(len(rows) for rows in plan.splits.values())

    def test_caltech_256_has_the_same_classes(self, tmp_path: Path) -> None:
        raw = make_caltech256(tmp_path)
        import_torchvision()
        from torchvision.datasets import Caltech256

        reference = Caltech256(raw)
        _, plan = plan_image_folders(raw, ImageFoldersSpec("caltech256"))
        # torchvision has the clutter as a class too.
        assert [name for name in reference.categories if name != "257.clutter"] == (
            plan.description.labels
        )


class TestSameBytes:
    def test_the_order_of_the_listing_does_not_matter(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        raw = make_own_folder(tmp_path)
        _, first = plan_image_folders(raw, ImageFoldersSpec("folder"))
        scandir = os.scandir

        class ReversedScan:
            def __init__(self, folder: Any) -> None:
                with scandir(folder) as entries:
                    self.entries = list(entries)[::-1]

            def __enter__(self) -> Any:
                return iter(self.entries)

            def __exit__(self, *_: object) -> None: ...

        monkeypatch.setattr(folder_layouts.os, "scandir", ReversedScan)
        _, second = plan_image_folders(raw, ImageFoldersSpec("folder"))
        assert first.compute_digest() == second.compute_digest()

    def test_two_builds_give_the_same_bytes(self, cli: Any, tmp_path: Path) -> None:
        raw = make_own_folder(tmp_path / "raw")
        for out in ("one", "two"):
            result = cli("make-standard", "folder", raw, "--size", "16", "--out", tmp_path / out)
            assert result.code == 0, result.err
        for name in ("train", "val", "test"):
            first, second = (tmp_path / out / f"{name}.safetensors" for out in ("one", "two"))
            assert first.read_bytes() == second.read_bytes()
        again = cli("make-standard", "folder", raw, "--size", "16", "--out", tmp_path / "one")
        assert "exists already and is intact" in again.err
        other = cli("make-standard", "folder", raw, "--size", "32", "--out", tmp_path / "one")
        assert "holds another dataset" in get_error_line(other)

    def test_another_seed_is_another_split(self, tmp_path: Path) -> None:
        raw = make_caltech101(tmp_path)
        first, second = (
            plan_image_folders(raw, ImageFoldersSpec("caltech101", seed=seed))[1] for seed in (0, 1)
        )
        assert sorted(first.splits["test"].paths) != sorted(second.splits["test"].paths)


class TestEvaluated:
    def test_from_image_files_to_the_report(self, cli: Any, tmp_path: Path) -> None:
        raw = make_own_folder(tmp_path / "pets", val=True)
        assert cli("make-standard", "folder", raw, "--size", "28").code == 0
        result = cli("evaluate", "--loss", "contex", "--preset", "smoke",
                   "--set", "train.batch_size=8")  # fmt: skip
        assert result.code == 0, result.err
        assert "no bias attribute" in result.out
        assert cli("report").code == 0
