"""Folders that do not have the layout of their set: each error is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from biascon.data.builders.image_folders import ImageFoldersSpec, plan_image_folders
from biascon.errors import UsageError
from tests.data.builders.folder_sets import (
    WNIDS,
    get_error_line,
    make_caltech101,
    make_own_folder,
    write_image,
    write_images,
)


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
