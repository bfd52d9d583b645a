"""Caltech, ImageNet and a user's own folders: small sets in the official layouts, and error messages."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from biascon.data.builders import folder_layouts
from biascon.data.builders.image_folders import ImageFoldersSpec, plan_image_folders
from biascon.data.dataset import load
from biascon.errors import UsageError
from biascon.models.torchvision import import_torchvision

WNIDS = ("n01440764", "n01443537", "n01484850")


def write_image(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, len(path.name)])
    pixels = rng.integers(0, 256, (20, 28, 3), np.uint8)
    Image.fromarray(pixels).save(path, format="JPEG")


def write_images(
    folder: Path, classes: Sequence[str], n: int, name_format: str = "{k}.jpg"
) -> None:
    for label, name in enumerate(classes):
        for k in range(n):
            write_image(folder / name / name_format.format(k=k, name=name), label * 100 + k)


def make_caltech101(raw: Path, n: int = 33) -> Path:
    root = raw / "caltech101" / "101_ObjectCategories"
    write_images(root, ("Faces", "accordion", "wild_cat"), n, "image_{k:04}.jpg")
    write_images(root, ("BACKGROUND_Google",), 2)
    return raw


def make_caltech256(raw: Path, n: int = 63) -> Path:
    root = raw / "caltech256" / "256_ObjectCategories"
    write_images(root, ("001.ak47", "198.spider"), n)
    write_images(root, ("257.clutter",), 2)
    (root / "198.spider" / "RENAME2").write_text("a stray script")
    (root / "198.spider" / "inner").mkdir()
    write_image(root / "198.spider" / "inner" / "deep.jpg")
    return raw


def make_imagenet(raw: Path) -> Path:
    write_images(raw / "train", WNIDS, 12, "{name}_{k}.JPEG")
    write_images(raw / "val", WNIDS, 2, "ILSVRC2012_val_{name}{k}.JPEG")
    return raw


def make_own_folder(raw: Path, *, val: bool = False) -> Path:
    write_images(raw / "train", ("cat", "dog"), 12)
    write_images(raw / "test", ("cat", "dog"), 4, "{k}.PNG")
    if val:
        write_images(raw / "val", ("cat", "dog"), 3)
    return raw


def get_error_line(outcome: Any, code: int = 1) -> str:
    assert outcome.code == code, outcome
    line: str = outcome.err.splitlines()[-1]
    assert line.startswith("error: ")
    return line


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
        assert "BACKGROUND_Google" not in data.manifest["labels"]
        assert "257.clutter" not in data.manifest["labels"]
        if name == "caltech256":
            assert data.manifest["rejected"]["by_reason"] == {"not named like a picture": 1}
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
        assert data.manifest["labels"] == list(WNIDS)
        assert [len(data.splits[part]) for part in ("train", "val", "test")] == [33, 3, 6]
        assert data.manifest["protocol"]["test"] == "official validation pictures"

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
        assert data.manifest["labels"] == ["cat", "dog"]
        assert len(data.splits["train"]) == (24 if val else 22)
        assert len(data.splits["val"]) == (6 if val else 2)
        assert data.manifest["protocol"]["val"].startswith("the pictures of val" if val else "10 %")
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
                assert path.startswith(plan.description["labels"][label] + "/")


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
            assert reference.classes == plan.description["labels"]
        assert folder_layouts.IMAGE_SUFFIXES == import_torchvision().datasets.folder.IMG_EXTENSIONS

    def test_caltech_101_has_the_same_classes(self, tmp_path: Path) -> None:
        raw = make_caltech101(tmp_path)
        import_torchvision()
        from torchvision.datasets import Caltech101

        (
            raw / "caltech101" / "Annotations"
        ).mkdir()  # torchvision checks only that this folder exists
        reference = Caltech101(raw)
        _, plan = plan_image_folders(raw, ImageFoldersSpec("caltech101"))
        assert reference.categories == plan.description["labels"]
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
            plan.description["labels"]
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
        assert "is there already, intact" in again.err
        other = cli("make-standard", "folder", raw, "--size", "32", "--out", tmp_path / "one")
        assert "holds another dataset" in get_error_line(other)

    def test_another_seed_is_another_split(self, tmp_path: Path) -> None:
        raw = make_caltech101(tmp_path)
        first, second = (
            plan_image_folders(raw, ImageFoldersSpec("caltech101", seed=seed))[1] for seed in (0, 1)
        )
        assert sorted(first.splits["test"].paths) != sorted(second.splits["test"].paths)


class TestErrors:
    @pytest.mark.parametrize("name", ["caltech101", "caltech256", "imagenet", "folder"])
    def test_an_empty_or_missing_folder_is_refused(
        self, cli: Any, tmp_path: Path, name: str
    ) -> None:
        (tmp_path / "raw").mkdir()
        assert "has no folder" in get_error_line(cli("make-standard", name, tmp_path / "raw"))
        get_error_line(cli("make-standard", name, tmp_path / "nothing"))
        assert not (tmp_path / "data").exists()

    def test_an_empty_class_is_refused(self, cli: Any, tmp_path: Path) -> None:
        raw = make_own_folder(tmp_path / "raw")
        for path in (raw / "train" / "dog").iterdir():
            path.unlink()
        (raw / "train" / "dog" / "Thumbs.db").write_bytes(b"x")
        line = get_error_line(cli("make-standard", "folder", raw))
        assert line.endswith("train/dog has no images: a class must not be empty")

    @pytest.mark.parametrize("part", ["train", "test"])
    def test_a_class_in_only_one_split_is_refused(
        self, cli: Any, tmp_path: Path, part: str
    ) -> None:
        raw = make_own_folder(tmp_path / "raw")
        write_image(raw / part / "bird" / "1.jpg")
        other = {"train": "test", "test": "train"}[part]
        line = get_error_line(cli("make-standard", "folder", raw))
        assert f"class 'bird' is in {part}, but not in {other}" in line

    def test_a_single_class_is_refused(self, cli: Any, tmp_path: Path) -> None:
        write_images(tmp_path / "raw" / "train", ("cat",), 2)
        write_images(tmp_path / "raw" / "test", ("cat",), 2)
        assert "two or more" in get_error_line(cli("make-standard", "folder", tmp_path / "raw"))

    def test_a_class_too_small_for_its_training_pictures(self, cli: Any, tmp_path: Path) -> None:
        raw = make_caltech101(tmp_path / "raw", n=30)
        line = get_error_line(cli("make-standard", "caltech101", raw))
        assert "class 'Faces'" in line and "none is left to test; pass a lower --per-class" in line
        result = cli("make-standard", "caltech101", raw, "--per-class", "20", "--dry-run", "--json")
        assert json.loads(result.out)["name"] == "caltech101-20-a-class"
        assert json.loads(result.out)["counts"]["test"]["n"] == 30

    def test_a_single_training_image_cannot_be_held_out(self, cli: Any, tmp_path: Path) -> None:
        raw = tmp_path / "raw"
        write_images(raw / "train", ("a", "b"), 1)
        write_images(raw / "test", ("a", "b"), 1)
        assert "pass --val-protocol none" in get_error_line(cli("make-standard", "folder", raw))
        assert cli("make-standard", "folder", raw, "--val-protocol", "none", "--dry-run").code == 0

    def test_unusable_images_are_left_out_and_listed(self, cli: Any, tmp_path: Path) -> None:
        raw = make_own_folder(tmp_path / "raw")
        (raw / "train" / "cat" / "zero.jpg").write_bytes(b"")
        (raw / "train" / "cat" / "note.jpg").write_text("not a picture")
        (raw / "train" / "cat" / ".DS_Store").write_bytes(b"hidden files are ignored")
        line = get_error_line(cli("make-standard", "folder", raw, "--size", "16"))
        assert "--max-rejected" in line
        result = cli("make-standard", "folder", raw, "--size", "16", "--max-rejected", "20%")
        assert result.code == 0, result.err
        rejected = (tmp_path / "data" / "raw-16" / "rejected.csv").read_text()
        assert "train/cat/zero.jpg" in rejected and "train/cat/note.jpg" in rejected
        assert "DS_Store" not in rejected

    def test_a_link_out_of_the_folder_is_not_followed(self, cli: Any, tmp_path: Path) -> None:
        raw = make_own_folder(tmp_path / "raw")
        write_image(tmp_path / "secret.jpg")
        (raw / "train" / "cat" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
        result = cli("make-standard", "folder", raw, "--size", "16", "--max-rejected", "0.5")
        assert result.code == 0, result.err
        assert "outside the folder" in (tmp_path / "data" / "raw-16" / "rejected.csv").read_text()

    def test_imagenet_in_one_folder_needs_its_solution_file(self, cli: Any, tmp_path: Path) -> None:
        raw = tmp_path / "raw"
        write_images(raw / "train", WNIDS, 3)
        write_image(raw / "val" / "ILSVRC2012_val_00000001.JPEG")
        line = get_error_line(cli("make-standard", "imagenet", raw))
        assert "sort its images into one folder per class, or put LOC_val_solution.csv into" in line
        solution = raw / "LOC_val_solution.csv"
        solution.write_text("ImageId,PredictionString\nILSVRC2012_val_00000001,n99 1 2 3 4\n")
        assert "class 'n99', which is not in train," in get_error_line(
            cli("make-standard", "imagenet", raw)
        )
        solution.write_text("ImageId,PredictionString\n")
        assert "has no line for ILSVRC2012_val_0" in get_error_line(
            cli("make-standard", "imagenet", raw)
        )
        solution.write_text(f"ILSVRC2012_val_00000001,{WNIDS[0]} 1 2 3 4\n")
        assert f"no image of class '{WNIDS[1]}'" in get_error_line(
            cli("make-standard", "imagenet", raw)
        )
        solution.write_bytes(b"\xff\xfe\xff")
        assert "cannot read" in get_error_line(cli("make-standard", "imagenet", raw))

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["imagenet", "x", "--per-class", "3"], "leave out --per-class"),
            (["imagenet", "x", "--name", "y"], "leave out --name"),
            (["folder", "x", "--size", "30"], "4 divides"),
            (["mnist", "x"], "'mnist' is not one of"),
            (["cifar10", "x", "--dry-run"], "leave out --dry-run"),
            (["cifar10", "x", "--per-class", "3", "--name", "y"], "leave out"),
        ],
    )
    def test_wrong_usage_gives_one_line(self, cli: Any, words: list[str], message: str) -> None:
        assert message in get_error_line(cli("make-standard", *words), 2)

    def test_a_folder_name_without_letters_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="pass one with --name"):
            plan_image_folders(make_own_folder(tmp_path / "..."), ImageFoldersSpec("folder"))


class TestEvaluated:
    def test_from_image_files_to_the_report(self, cli: Any, tmp_path: Path) -> None:
        raw = make_own_folder(tmp_path / "pets", val=True)
        assert cli("make-standard", "folder", raw, "--size", "28").code == 0
        result = cli("evaluate", "--loss", "contex", "--preset", "smoke",
                   "--set", "train.batch_size=8")  # fmt: skip
        assert result.code == 0, result.err
        assert "no bias attribute" in result.out
        assert cli("report").code == 0
