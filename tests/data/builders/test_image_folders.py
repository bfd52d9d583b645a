"""Caltech, ImageNet and own folders: small ones in the official layouts, and what is wrong with them."""

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


def picture(path: Path, colour: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([colour, len(path.name)])
    pixels = rng.integers(0, 256, (20, 28, 3), np.uint8)
    Image.fromarray(pixels).save(path, format="JPEG")


def fill(folder: Path, classes: Sequence[str], n: int, form: str = "{k}.jpg") -> None:
    for label, name in enumerate(classes):
        for k in range(n):
            picture(folder / name / form.format(k=k, name=name), label * 100 + k)


def caltech101(raw: Path, n: int = 33) -> Path:
    root = raw / "caltech101" / "101_ObjectCategories"
    fill(root, ("Faces", "accordion", "wild_cat"), n, "image_{k:04}.jpg")
    fill(root, ("BACKGROUND_Google",), 2)
    return raw


def caltech256(raw: Path, n: int = 63) -> Path:
    root = raw / "caltech256" / "256_ObjectCategories"
    fill(root, ("001.ak47", "198.spider"), n)
    fill(root, ("257.clutter",), 2)
    (root / "198.spider" / "RENAME2").write_text("a stray script")
    (root / "198.spider" / "inner").mkdir()
    picture(root / "198.spider" / "inner" / "deep.jpg")
    return raw


def imagenet(raw: Path) -> Path:
    fill(raw / "train", WNIDS, 12, "{name}_{k}.JPEG")
    fill(raw / "val", WNIDS, 2, "ILSVRC2012_val_{name}{k}.JPEG")
    return raw


def own(raw: Path, *, val: bool = False) -> Path:
    fill(raw / "train", ("cat", "dog"), 12)
    fill(raw / "test", ("cat", "dog"), 4, "{k}.PNG")
    if val:
        fill(raw / "val", ("cat", "dog"), 3)
    return raw


def failed(outcome: Any, code: int = 1) -> str:
    assert outcome.code == code, outcome
    line: str = outcome.err.splitlines()[-1]
    assert line.startswith("error: ")
    return line


class TestLayouts:
    @pytest.mark.parametrize(("make", "train"), [(caltech101, 30), (caltech256, 60)])
    def test_caltech(self, cli: Any, tmp_path: Path, make: Any, train: int) -> None:
        name = make.__name__
        told = cli("make-standard", name, make(tmp_path / "raw"), "--size", "16")
        assert told.code == 0, told.err
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
        ("name", "place"),
        [
            ("caltech101", "caltech101"),
            ("caltech101", "caltech101/101_ObjectCategories"),
            ("caltech256", "caltech256"),
        ],
    )
    def test_caltech_from_wherever_it_is_unpacked(
        self, tmp_path: Path, name: str, place: str
    ) -> None:
        raw = {"caltech101": caltech101, "caltech256": caltech256}[name](tmp_path)
        folder, one = plan_image_folders(raw, ImageFoldersSpec(name))
        other, two = plan_image_folders(raw / place, ImageFoldersSpec(name))
        assert folder.resolve() == other.resolve()
        assert one.compute_digest() == two.compute_digest()

    def test_imagenet(self, cli: Any, tmp_path: Path) -> None:
        told = cli("make-standard", "imagenet", imagenet(tmp_path / "raw"), "--size", "16")
        assert told.code == 0, told.err
        data = load(tmp_path / "data" / "imagenet-16")
        assert data.manifest.labels == list(WNIDS)
        assert [len(data.splits[part]) for part in ("train", "val", "test")] == [33, 3, 6]
        assert data.manifest.protocol["test"] == "official validation pictures"

    def test_imagenet_with_its_validation_pictures_in_one_folder(self, tmp_path: Path) -> None:
        sorted_, flat = (
            imagenet(tmp_path / "sorted"),
            tmp_path / "flat" / "ILSVRC" / "Data" / "CLS-LOC",
        )
        imagenet(flat)
        lines = ["ImageId,PredictionString"]
        for name in WNIDS:
            for path in sorted((flat / "val" / name).iterdir()):
                lines.append(f"{path.stem},{name} 1 2 3 4 {name} 5 6 7 8 ")
                path.rename(flat / "val" / path.name)
            (flat / "val" / name).rmdir()
        (tmp_path / "flat" / "LOC_val_solution.csv").write_text("\n".join(lines))
        _, one = plan_image_folders(sorted_, ImageFoldersSpec("imagenet"))
        _, two = plan_image_folders(tmp_path / "flat", ImageFoldersSpec("imagenet"))
        for part in ("train", "val", "test"):
            assert (one.splits[part].labels == two.splits[part].labels).all()
            names = [[path.rpartition("/")[2] for path in p.splits[part].paths] for p in (one, two)]
            assert names[0] == names[1]

    @pytest.mark.parametrize("val", [False, True])
    def test_an_own_folder(self, cli: Any, tmp_path: Path, val: bool) -> None:
        told = cli("make-standard", "folder", own(tmp_path / "my pets", val=val), "--size", "16")
        assert told.code == 0, told.err
        data = load(tmp_path / "data" / "my_pets-16")
        assert data.manifest.labels == ["cat", "dog"]
        assert len(data.splits["train"]) == (24 if val else 22)
        assert len(data.splits["val"]) == (6 if val else 2)
        assert data.manifest.protocol["val"].startswith("the pictures of val" if val else "10 %")
        told = cli("make-standard", "folder", tmp_path / "my pets", "--size", "16", "--name", "pets",
                   "--val-protocol", "none", "--json")  # fmt: skip
        manifest = json.loads(told.out)
        assert manifest["name"] == "pets-16-none"
        assert set(manifest["counts"]) == {"train", "test"}
        assert manifest["protocol"]["val"] == "none: no selection is possible"

    def test_no_image_is_in_two_splits(self, tmp_path: Path) -> None:
        for found, _ in (
            (plan_image_folders(caltech101(tmp_path), ImageFoldersSpec("caltech101"))[1], 0),
        ):
            paths = [path for rows in found.splits.values() for path in rows.paths]
            assert len(set(paths)) == len(paths) == 99
            index = [int(k) for rows in found.splits.values() for k in rows.index]
            assert sorted(index) == list(range(99))
            for rows in found.splits.values():
                for path, label in zip(rows.paths, rows.labels, strict=True):
                    assert path.startswith(found.description["labels"][label] + "/")


class TestAgainstTorchvision:
    def pairs(self, found: Any, but: str = "") -> list[tuple[str, int]]:
        return sorted(
            (str(path), label) for path, label in found if but not in str(path) or not but
        )

    def test_an_image_folder(self, tmp_path: Path) -> None:
        raw = own(tmp_path)
        import_torchvision()
        from torchvision.datasets import ImageFolder

        _, found = plan_image_folders(raw, ImageFoldersSpec("folder", val_protocol="none"))
        for part in ("train", "test"):
            theirs = ImageFolder(raw / part)
            rows = found.splits[part]
            mine = zip((str(raw / path) for path in rows.paths), rows.labels.tolist(), strict=True)
            assert self.pairs(mine) == self.pairs(theirs.samples)
            assert theirs.classes == found.description["labels"]
        assert folder_layouts.IMAGE_SUFFIXES == import_torchvision().datasets.folder.IMG_EXTENSIONS

    def test_caltech_101(self, tmp_path: Path) -> None:
        raw = caltech101(tmp_path)
        import_torchvision()
        from torchvision.datasets import Caltech101

        (raw / "caltech101" / "Annotations").mkdir()  # it looks for that folder alone
        theirs = Caltech101(raw)
        _, found = plan_image_folders(raw, ImageFoldersSpec("caltech101"))
        assert theirs.categories == found.description["labels"]
        # its file names are image_<k>.jpg, k from 1
        assert len(theirs) == sum(len(rows) for rows in found.splits.values())

    def test_caltech_256(self, tmp_path: Path) -> None:
        raw = caltech256(tmp_path)
        import_torchvision()
        from torchvision.datasets import Caltech256

        theirs = Caltech256(raw)
        _, found = plan_image_folders(raw, ImageFoldersSpec("caltech256"))
        # It has the clutter too, which is no class here.
        assert [name for name in theirs.categories if name != "257.clutter"] == (
            found.description["labels"]
        )


class TestSameBytes:
    def test_whatever_the_order_of_the_listing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        raw = own(tmp_path)
        _, one = plan_image_folders(raw, ImageFoldersSpec("folder"))
        scandir = os.scandir

        class Backwards:
            def __init__(self, folder: Any) -> None:
                with scandir(folder) as entries:
                    self.entries = list(entries)[::-1]

            def __enter__(self) -> Any:
                return iter(self.entries)

            def __exit__(self, *_: object) -> None: ...

        monkeypatch.setattr(folder_layouts.os, "scandir", Backwards)
        _, two = plan_image_folders(raw, ImageFoldersSpec("folder"))
        assert one.compute_digest() == two.compute_digest()

    def test_twice(self, cli: Any, tmp_path: Path) -> None:
        raw = own(tmp_path / "raw")
        for out in ("one", "two"):
            told = cli("make-standard", "folder", raw, "--size", "16", "--out", tmp_path / out)
            assert told.code == 0, told.err
        for name in ("train", "val", "test"):
            one, two = (tmp_path / out / f"{name}.safetensors" for out in ("one", "two"))
            assert one.read_bytes() == two.read_bytes()
        again = cli("make-standard", "folder", raw, "--size", "16", "--out", tmp_path / "one")
        assert "is there already, intact" in again.err
        other = cli("make-standard", "folder", raw, "--size", "32", "--out", tmp_path / "one")
        assert "holds another dataset" in failed(other)

    def test_another_seed_is_another_split(self, tmp_path: Path) -> None:
        raw = caltech101(tmp_path)
        one, two = (
            plan_image_folders(raw, ImageFoldersSpec("caltech101", seed=seed))[1] for seed in (0, 1)
        )
        assert sorted(one.splits["test"].paths) != sorted(two.splits["test"].paths)


class TestWrong:
    @pytest.mark.parametrize("name", ["caltech101", "caltech256", "imagenet", "folder"])
    def test_nothing_there(self, cli: Any, tmp_path: Path, name: str) -> None:
        (tmp_path / "raw").mkdir()
        assert "has no folder" in failed(cli("make-standard", name, tmp_path / "raw"))
        failed(cli("make-standard", name, tmp_path / "nothing"))
        assert not (tmp_path / "data").exists()

    def test_an_empty_class(self, cli: Any, tmp_path: Path) -> None:
        raw = own(tmp_path / "raw")
        for path in (raw / "train" / "dog").iterdir():
            path.unlink()
        (raw / "train" / "dog" / "Thumbs.db").write_bytes(b"x")
        line = failed(cli("make-standard", "folder", raw))
        assert line.endswith("train/dog has no pictures: a class cannot be empty")

    @pytest.mark.parametrize("part", ["train", "test"])
    def test_a_class_in_one_split_only(self, cli: Any, tmp_path: Path, part: str) -> None:
        raw = own(tmp_path / "raw")
        picture(raw / part / "bird" / "1.jpg")
        other = {"train": "test", "test": "train"}[part]
        line = failed(cli("make-standard", "folder", raw))
        assert f"class 'bird' is in {part}, but not in {other}" in line

    def test_one_class_only(self, cli: Any, tmp_path: Path) -> None:
        fill(tmp_path / "raw" / "train", ("cat",), 2)
        fill(tmp_path / "raw" / "test", ("cat",), 2)
        assert "two or more" in failed(cli("make-standard", "folder", tmp_path / "raw"))

    def test_a_class_too_small_for_its_training_pictures(self, cli: Any, tmp_path: Path) -> None:
        raw = caltech101(tmp_path / "raw", n=30)
        line = failed(cli("make-standard", "caltech101", raw))
        assert "class 'Faces'" in line and "none is left to test; pass a lower --per-class" in line
        told = cli("make-standard", "caltech101", raw, "--per-class", "20", "--dry-run", "--json")
        assert json.loads(told.out)["name"] == "caltech101-20-a-class"
        assert json.loads(told.out)["counts"]["test"]["n"] == 30

    def test_one_training_picture_cannot_be_held_out(self, cli: Any, tmp_path: Path) -> None:
        raw = tmp_path / "raw"
        fill(raw / "train", ("a", "b"), 1)
        fill(raw / "test", ("a", "b"), 1)
        assert "pass --val-protocol none" in failed(cli("make-standard", "folder", raw))
        assert cli("make-standard", "folder", raw, "--val-protocol", "none", "--dry-run").code == 0

    def test_bad_pictures_are_left_out_and_listed(self, cli: Any, tmp_path: Path) -> None:
        raw = own(tmp_path / "raw")
        (raw / "train" / "cat" / "zero.jpg").write_bytes(b"")
        (raw / "train" / "cat" / "note.jpg").write_text("not a picture")
        (raw / "train" / "cat" / ".DS_Store").write_bytes(b"hidden: passed over")
        line = failed(cli("make-standard", "folder", raw, "--size", "16"))
        assert "--max-rejected" in line
        told = cli("make-standard", "folder", raw, "--size", "16", "--max-rejected", "20%")
        assert told.code == 0, told.err
        listed = (tmp_path / "data" / "raw-16" / "rejected.csv").read_text()
        assert "train/cat/zero.jpg" in listed and "train/cat/note.jpg" in listed
        assert "DS_Store" not in listed

    def test_a_link_that_leads_out_is_not_followed(self, cli: Any, tmp_path: Path) -> None:
        raw = own(tmp_path / "raw")
        picture(tmp_path / "secret.jpg")
        (raw / "train" / "cat" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
        told = cli("make-standard", "folder", raw, "--size", "16", "--max-rejected", "0.5")
        assert told.code == 0, told.err
        assert "outside the folder" in (tmp_path / "data" / "raw-16" / "rejected.csv").read_text()

    def test_imagenet_in_one_folder_without_its_table(self, cli: Any, tmp_path: Path) -> None:
        raw = tmp_path / "raw"
        fill(raw / "train", WNIDS, 3)
        picture(raw / "val" / "ILSVRC2012_val_00000001.JPEG")
        line = failed(cli("make-standard", "imagenet", raw))
        assert "sort its pictures into one a class, or put LOC_val_solution.csv into" in line
        table = raw / "LOC_val_solution.csv"
        table.write_text("ImageId,PredictionString\nILSVRC2012_val_00000001,n99 1 2 3 4\n")
        assert "class 'n99', which train has not," in failed(cli("make-standard", "imagenet", raw))
        table.write_text("ImageId,PredictionString\n")
        assert "has no line for ILSVRC2012_val_0" in failed(cli("make-standard", "imagenet", raw))
        table.write_text(f"ILSVRC2012_val_00000001,{WNIDS[0]} 1 2 3 4\n")
        assert f"no picture of class '{WNIDS[1]}'" in failed(cli("make-standard", "imagenet", raw))
        table.write_bytes(b"\xff\xfe\xff")
        assert "cannot read" in failed(cli("make-standard", "imagenet", raw))

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (["imagenet", "x", "--per-class", "3"], "leave out --per-class"),
            (["imagenet", "x", "--name", "y"], "leave out --name"),
            (["folder", "x", "--size", "30"], "4 divides"),
            (["mnist", "x"], "'mnist' is not one of"),
            (["cifar10", "x", "--dry-run"], "leave out --dry-run"),
            (["cifar10", "x", "--per-class", "3", "--name", "y"], "leave out"),
        ],
    )
    def test_wrong_usage(self, cli: Any, words: list[str], told: str) -> None:
        assert told in failed(cli("make-standard", *words), 2)

    def test_a_name_that_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="pass one with --name"):
            plan_image_folders(own(tmp_path / "..."), ImageFoldersSpec("folder"))


class TestEvaluated:
    def test_from_pictures_to_the_report(self, cli: Any, tmp_path: Path) -> None:
        raw = own(tmp_path / "pets", val=True)
        assert cli("make-standard", "folder", raw, "--size", "28").code == 0
        told = cli("evaluate", "--loss", "contex", "--preset", "smoke",
                   "--set", "train.batch_size=8")  # fmt: skip
        assert told.code == 0, told.err
        assert "no bias attribute" in told.out
        assert cli("report").code == 0
