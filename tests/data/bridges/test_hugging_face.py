"""``from_huggingface``: rows become a dataset folder; what cannot become one is refused in one line."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

import biascon
from biascon.data.bridges.export import export_dataset
from biascon.data.split import BiasedDataset
from biascon.errors import BiasconError, DataError, MissingPackageError, UsageError
from tests.data import image_files

Cli = Callable[..., tuple[int, str, str]]
COLUMNS = {"image": "picture", "label": "animal", "bias": ["place", "camera"]}
NAMES = ["zebra", "ant", "cow"]  # not in the order of the alphabet; no row has a cow


def draw_rows(n: int, seed: int) -> dict[str, list[Any]]:
    """Return rows with a missing value of each kind: rows 1 (image), 2 (label), 3 (place) and 4 (camera)."""
    rng = np.random.default_rng(seed)
    pictures = [Image.fromarray(rng.integers(0, 256, (20, 24, 3), np.uint8)) for _ in range(n)]
    animal = [k % 2 for k in range(n)]
    place = [("field", "road")[k % 3 % 2] for k in range(n)]
    camera: list[Any] = [float(k % 4) for k in range(n)]
    return {
        "picture": [pictures[0], None, *pictures[2:]],
        "animal": [*animal[:2], -1, *animal[3:]],
        "place": [*place[:3], "NA", *place[4:]],
        "camera": [*camera[:4], None, *camera[5:]],
        "note": ["x"] * n,
    }


def make_split(datasets: Any, n: int = 30, seed: int = 0) -> Any:
    features = datasets.Features(
        {
            "picture": datasets.Image(),
            "animal": datasets.ClassLabel(names=NAMES),
            "place": datasets.Value("string"),
            "camera": datasets.Value("float32"),
            "note": datasets.Value("string"),
        }
    )
    return datasets.Dataset.from_dict(draw_rows(n, seed), features)


@pytest.fixture(scope="module")
def animals(hugging_face: Any) -> Any:
    splits = {"test": make_split(hugging_face, 20, 2), "train": make_split(hugging_face, 30, 0)}
    return hugging_face.DatasetDict({**splits, "validation": make_split(hugging_face, 12, 1)})


def build(data: Any, folder: Path, **options: Any) -> BiasedDataset:
    return biascon.from_huggingface(
        data, folder, **{**COLUMNS, "size": 16, "max_rejected": 0.5, **options}
    )


def test_rows_become_splits_with_names_and_missing_rows_are_counted(
    animals: Any, tmp_path: Path
) -> None:
    aligned = {"zebra": "field", "ant": "road"}
    data = build(animals, tmp_path / "out", name="animals", aligned=aligned)
    manifest = data.manifest
    assert list(data.splits) == ["train", "val", "test"]
    assert data.name == "animals-16"
    assert manifest.labels == ["zebra", "ant"]
    assert manifest.bias is not None
    assert (manifest.bias.name, manifest.bias.values) == ("place", ["field", "road"])
    assert (manifest.attributes or {})["camera"].values == ["0", "1", "2", "3"]
    reasons = {"no camera": 3, "no image": 3, "no label": 3, "no place": 3}
    assert manifest.rejected is not None
    assert manifest.rejected.by_reason == reasons
    rows = (tmp_path / "out" / "rejected.csv").read_text().splitlines()
    assert rows[1:5] == [
        "test/1,no image",
        "test/2,no label",
        "test/3,no place",
        "test/4,no camera",
    ]
    split = data.split("val")
    assert split.index.tolist() == [0, *range(5, 12)]
    assert split.labels.tolist() == [k % 2 for k in split.index]
    assert split.attributes["camera"].tolist() == [k % 4 for k in split.index]
    assert split.aligned.tolist() == ((split.labels == 0) == (split.bias == 0)).tolist()
    assert split.images.shape == (8, 3, 16, 16)
    assert "fingerprints: train " in manifest.origin
    assert animals["train"]._fingerprint in manifest.origin
    assert manifest.protocol["val"] == "split validation"


def test_the_same_rows_give_the_same_bytes_and_other_rows_do_not(
    hugging_face: Any, animals: Any, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        build(animals, tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    moved = animals.with_format("numpy")  # another fingerprint or format, the same rows
    assert build(moved, tmp_path / "one").digest == build(animals, tmp_path / "three").digest
    changed = hugging_face.DatasetDict({**animals, "train": make_split(hugging_face, 30, 9)})
    with pytest.raises(BiasconError, match="holds another dataset"):
        build(changed, tmp_path / "one")
    assert (
        build(changed, tmp_path / "one", force=True).digest
        != build(animals, tmp_path / "two").digest
    )


def test_an_export_comes_back_as_it_was(
    hugging_face: Any,
    faces: BiasedDataset,
    tmp_path: Path,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hugging_face.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    export_dataset(faces, tmp_path / "out", "hf")
    loaded = hugging_face.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert loaded["train"].features["race"].names == ["white", "other"]
    code, _, err = cli(
        "make-huggingface", tmp_path / "out", "--image-col", "image", "--label-col", "label",
        "--bias-col", "race", "--bias-col", "age", "--aligned", "round=white", "--aligned", "square=other",
        "--size", "28", "--resize", "28", "--out", tmp_path / "again",
    )  # fmt: skip
    assert code == 0, err
    again = biascon.load_dataset(tmp_path / "again")
    for name, split in faces.splits.items():
        for key in ("images", "labels", "bias", "aligned"):
            assert np.array_equal(getattr(again.split(name), key), getattr(split, key)), key
        assert np.array_equal(again.split(name).attributes["age"], split.attributes["age"])


def test_one_dataset_is_split_by_seed_or_by_a_column(hugging_face: Any, tmp_path: Path) -> None:
    rows = make_split(hugging_face, 60)
    seeded = build(rows, tmp_path / "seeded")
    assert {name: len(split) for name, split in seeded.splits.items()} == {
        "train": 40, "val": 4, "test": 12
    }  # fmt: skip
    parts = rows.add_column("part", [("train", "dev", "test")[k % 3] for k in range(60)])
    by_column = build(parts, tmp_path / "column", split="part")
    assert (by_column.split("val").index % 3 == 1).all()
    assert by_column.manifest.protocol["train"] == "column part"


def test_splits_are_chosen_by_name(hugging_face: Any, animals: Any, tmp_path: Path) -> None:
    data = hugging_face.DatasetDict(
        {"a": animals["train"], "b": animals["test"], "c": animals["test"]}
    )
    with pytest.raises(
        UsageError, match=r"cannot tell what split 'a' is for .*a, b, c.*pass splits"
    ):
        build(data, tmp_path / "out")
    built = build(data, tmp_path / "out", splits={"train": "a", "test": "c"})
    assert list(built.splits) == ["train", "test"]
    assert built.manifest.protocol["val"] == "none: no selection is possible"


def test_validation_images_are_held_out_of_own_splits_only_if_asked(
    hugging_face: Any, animals: Any, tmp_path: Path, cli: Cli
) -> None:
    data = hugging_face.DatasetDict({"train": animals["train"], "test": animals["test"]})
    plain = build(data, tmp_path / "plain")
    held = build(data, tmp_path / "held", val_protocol="held-out")
    rows = [sorted(held.split(name).index.tolist()) for name in ("train", "val")]
    assert [len(part) for part in rows] == [len(plain.split("train")) - 2, 2]  # one of each label
    assert sorted(rows[0] + rows[1]) == sorted(plain.split("train").index.tolist())
    assert sorted(held.split("val").labels.tolist()) == [0, 1]
    assert held.split("test").index.tolist() == plain.split("test").index.tolist()
    assert held.manifest.protocol["train"] == "split train, without the validation images"
    assert held.manifest.protocol["val"].startswith("10 % of the training images of each class")
    assert held.manifest.parameters["val_protocol"] == "held-out"
    assert "val_protocol" not in plain.manifest.parameters
    assert (
        build(animals, tmp_path / "a", val_protocol="held-out").digest
        == build(animals, tmp_path / "b").digest
    )  # it has a validation split
    with pytest.raises(UsageError, match="hong is for a seeded split"):
        build(data, tmp_path / "hong", val_protocol="hong")
    data.save_to_disk(tmp_path / "disk")
    words = ["make-huggingface", tmp_path / "disk", "--image-col", "picture", "--label-col", "animal",
             "--bias-col", "place", "--size", "16", "--dry-run", "--max-rejected", "1"]  # fmt: skip
    code, out, err = cli(*words)
    assert code == 0, err
    assert "no validation split: no selection is possible; --val-protocol held-out" in err
    code, out, err = cli(*words, "--val-protocol", "held-out")
    assert code == 0, err
    assert "no validation split" not in err
    assert "10 % of the training images of each class" in out


def test_paths_of_files_are_read_below_a_root_only(hugging_face: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    paths = [tmp_path / ("out.png" if k == 7 else f"in/{k}.png") for k in range(20)]
    for k, path in enumerate(paths):
        path.write_bytes(image_files.encode(image_files.draw_image(k, 20, 20), "PNG"))
    data = {
        "picture": [str(path) for path in paths],
        "animal": ["a", "b"] * 10,
        "place": ["x", "y"] * 10,
    }
    rows = hugging_face.Dataset.from_dict(data).cast_column("picture", hugging_face.Image())
    with pytest.raises(DataError, match=r"holds paths of image files.*pass root=FOLDER"):
        build(rows, tmp_path / "built", bias="place")
    options = {"bias": "place", "val_protocol": "none"}
    built = build(rows, tmp_path / "built", root=tmp_path / "in", **options)
    assert sum(len(split) for split in built.splits.values()) == 19
    assert "rows/7,outside the folder" in (tmp_path / "built" / "rejected.csv").read_text()


def test_a_damaged_image_is_left_out(hugging_face: Any, tmp_path: Path) -> None:
    whole = image_files.encode(image_files.draw_image(1, 20, 20))
    cells = [{"bytes": whole[:-60] if k == 3 else whole, "path": None} for k in range(20)]
    features = hugging_face.Features(
        {name: hugging_face.Image() if name == "picture" else hugging_face.Value("int64")
         for name in ("picture", "animal", "place")}
    )  # fmt: skip
    data = {"picture": cells, "animal": [0, 1] * 10, "place": [1, 0] * 10}
    rows = hugging_face.Dataset.from_dict(data, features)
    with pytest.raises(DataError, match="1 or more of 20 images cannot be used"):
        build(rows, tmp_path / "out", bias="place", val_protocol="none", max_rejected=0.01)
    assert not (tmp_path / "out").exists()
    built = build(rows, tmp_path / "out", bias="place", val_protocol="none")
    assert built.manifest.rejected is not None
    assert built.manifest.rejected.by_reason == {"truncated": 1}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda d: d["train"].to_iterable_dataset(), UsageError, "load it without streaming=True"),
        (lambda d: "ylecun/mnist", UsageError, "expected a datasets.Dataset or DatasetDict, but got str"),
        (lambda d: d.remove_columns("animal"), UsageError, "has no column 'animal' (it has: picture, place"),
        (lambda d: d.rename_column("animal", "animals"), UsageError, "did you mean 'animals'?"),
        (lambda d: d.remove_columns("picture").rename_column("note", "picture"), DataError,
         "holds Value, not images; convert it with: dataset.cast_column('picture', datasets.Image())"),
        (lambda d: type(d)({**d, "extra": d["test"]}), UsageError, "cannot tell what split 'extra' is for"),
        (lambda d: type(d)({"train": d["train"]}), DataError, "the test split has no images"),
        (lambda d: type(d)({"train": d["train"], "test": d["test"].rename_column("place", "spot")}),
         UsageError, "split 'test' has no column 'place'"),
        (lambda d: d.map(lambda row: {"place": [row["place"]]}, remove_columns=["place"]), DataError,
         "column 'place' holds values that are no labels"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_refused(
    animals: Any, tmp_path: Path, change: Callable[[Any], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        build(change(animals), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"splits": {"train": "train", "test": "tset"}}, "no split 'tset'; did you mean 'test'?"),
        ({"splits": {"train": "train", "tst": "test"}}, "expected the splits train, val and test"),
        ({"splits": {"train": "test", "test": "test"}}, "expected each split once"),
        ({"split": "note"}, "a DatasetDict has its own splits"),
        ({"bias": []}, "expected one or more bias columns"),
        ({"label": "place"}, "expected each column in one role"),
        ({"aligned": {"zebra": "field"}}, "no entry for label 'ant'"),
        ({"size": 15}, "expected a size of 4..4096"),
    ],
)
def test_wrong_arguments_are_refused(
    animals: Any, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        build(animals, tmp_path / "out", **options)


def test_the_command_reads_a_saved_dataset(animals: Any, tmp_path: Path, cli: Cli) -> None:
    animals.save_to_disk(tmp_path / "saved")
    words = [
        "make-huggingface",
        tmp_path / "saved",
        "--image-col",
        "picture",
        "--label-col",
        "animal",
    ]
    preview_words = [*words, "--bias-col", "place", "--size", "16", "--dry-run", "--json"]
    code, out, err = cli(*preview_words)
    assert code == 1
    assert "over --max-rejected 0.01" in err
    code, out, err = cli(*preview_words, "--max-rejected", "20%")
    assert code == 0, err
    preview = json.loads(out)
    assert (preview["read"], preview["left_out"]) == (62, 9)
    assert preview["name"] == "saved-16"
    code, _, err = cli(*words, "--bias-col", "spot")
    assert (code, err.count("\n")) == (2, 1)
    (tmp_path / "empty").mkdir()
    for raw in ("nowhere", "empty"):
        code, _, err = cli(*words[:1], tmp_path / raw, *words[2:], "--bias-col", "place")
        assert (code, err.count("\n")) == (1, 1)


def test_a_folder_named_datasets_is_not_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", ModuleType("datasets"))  # what Python makes of it
    with pytest.raises(MissingPackageError, match="pip install datasets"):
        biascon.from_huggingface(None, image="i", label="l", bias="b")
