"""UTKFace: strict parsing of names, a seeded split, a rate in training, the counts of the real list."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from biascon.data import dataset
from biascon.data.builders import utkface, utkface_duplicates, utkface_names
from biascon.data.builders.utkface import UTKFaceSpec
from biascon.data.builders.utkface_names import parse_names
from biascon.errors import DataError, UsageError
from tests.data import faces

Cli = Callable[..., tuple[int, str, str]]
VARIABLE = "BIASCON_UTKFACE_NAMES"
NAMES_FILE = os.environ.get(VARIABLE)  # read before a test clears the environment
MALFORMED = {
    "24_0_1_20170116220224657 .jpg.chip.jpg": (24, 0, 1),
    "55_0_0_20170116232725357jpg.chip.jpg": (55, 0, 0),
    "39_1_20170116174525125.jpg.chip.jpg": None,
    "61_1_20170109142408075.jpg.chip.jpg": None,
    "61_1_20170109150557335.jpg.chip.jpg": None,
}


RACE_CELLS = {
    "train": [[3895, 486], [389, 4869]],
    "val": [[437, 570], [349, 540]],
    "test": [[1145, 1341], [951, 1304]],
}
AGE_CELLS = {
    "train": [[7405, 121], [740, 1217]],
    "val": [[822, 130], [689, 135]],
    "test": [[2036, 326], [1760, 328]],
}


@pytest.fixture(scope="module")
def names_file() -> Path:
    path = (
        Path(NAMES_FILE)
        if NAMES_FILE
        else Path(__file__).parents[4] / "shared/data/utkface-filenames.txt"
    )
    if not path.is_file():
        pytest.skip(f"needs the list of UTKFace's 23,707 names: set {VARIABLE}")
    return path


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_names_are_repaired_or_left_out(name: str) -> None:
    parsed, expected = parse_names([name]), MALFORMED[name]
    if expected is None:
        assert parsed.left_out == [(name, "name lacks the race")]
        assert parsed.names == []
    else:
        assert (parsed.age[0], parsed.gender[0], parsed.race[0]) == expected
        assert parsed.repaired == [name]


@pytest.mark.parametrize(
    "name",
    ["25_2_0_20170116174525125.jpg.chip.jpg", "25_0_5_20170116174525125.jpg.chip.jpg",
     "x_0_0_20170116174525125.jpg.chip.jpg", "25_0_0_20170116174525125.jpg", "25_0_0_.jpg.chip.jpg",
     "-5_0_0_20170116174525125.jpg.chip.jpg", "25_0_0_20170116174525125.jpg.chip.jpg.exe",
     "../25_0_0_20170116174525125.jpg.chip.jpg", "٣_0_0_20170116174525125.jpg.chip.jpg"],
)  # fmt: skip
def test_names_of_another_form_are_left_out(name: str) -> None:
    assert parse_names([name]).left_out == [(name, "not a UTKFace name")]


def test_the_counts_of_the_real_list_of_names(names_file: Path, cli: Cli) -> None:
    code, out, _ = cli(
        "make-utkface", "--names", names_file, "--bias", "race", "--dry-run", "--json"
    )
    preview = json.loads(out)
    assert code == 0
    assert (preview["read"], preview["repaired"], preview["left_out"]) == (23_707, 2, 3)
    assert preview["reasons"] == {"name lacks the race": 3}
    assert preview["dropped"] == {"conflicting, beyond the rate": 7428}
    cells = {name: part["cells"] for name, part in preview["counts"].items()}
    assert cells == RACE_CELLS
    code, out, _ = cli(
        "make-utkface", "--names", names_file, "--bias", "age", "--dry-run", "--json"
    )
    preview = json.loads(out)
    assert preview["dropped"] == {"11 to 19 years": 1375, "conflicting, beyond the rate": 6620}
    assert {name: part["cells"] for name, part in preview["counts"].items()} == AGE_CELLS


def test_every_name_of_the_real_list_is_in_one_split_or_dropped(names_file: Path) -> None:
    names = utkface_names.read_names(names_file)
    for bias in utkface.BIASES:
        plan = utkface.plan_utkface(names, UTKFaceSpec(bias), origin="the list")
        paths = [path for rows in plan.splits.values() for path in rows.paths]
        dropped = plan.description.source["names"]["dropped"]
        assert len(paths) == len(set(paths))
        assert len(paths) + sum(dropped.values()) + len(plan.left_out) == len(names)
        train = plan.splits["train"]
        share = 1 - train.aligned.mean()
        assert share == pytest.approx(0.1 / 1.1, abs=3e-4)


def test_both_biases_split_the_same_people(names_file: Path) -> None:
    names = utkface_names.read_names(names_file)
    race, age = (
        utkface.plan_utkface(names, UTKFaceSpec(bias), origin="").splits for bias in ("race", "age")
    )
    assert set(age["test"].paths) < set(race["test"].paths)
    assert not set(age["train"].paths) & set(race["test"].paths)
    assert not set(race["train"].paths) & set(age["test"].paths)


def test_the_split_depends_on_the_seed_but_not_on_the_order_of_names() -> None:
    names = faces.make_names(500)
    digests = [
        utkface.plan_utkface(listing, UTKFaceSpec(seed=seed), origin="").compute_digest()
        for listing, seed in ((names, 0), (names[::-1], 0), ([*names, names[3]], 0), (names, 1))
    ]
    assert digests[0] == digests[1] == digests[2] != digests[3]


@pytest.mark.parametrize("bias", utkface.BIASES)
@pytest.mark.parametrize("rate", [0.0, 0.5, 0.9, 1.0])
def test_the_training_split_follows_the_rate(bias: str, rate: float) -> None:
    names = faces.make_names(2000)
    plan = utkface.plan_utkface(names, UTKFaceSpec(bias, rate, val_protocol="none"), origin="")
    free = utkface.plan_utkface(names, UTKFaceSpec(bias, 0.0, val_protocol="none"), origin="")
    cells, all_cells = (
        plan.summarize_splits()["train"].cells,
        free.summarize_splits()["train"].cells,
    )
    assert set(plan.splits["train"].paths) <= set(free.splits["train"].paths)
    for value in (0, 1):
        assert cells[value][value] == all_cells[value][value]
        assert cells[1 - value][value] <= int(cells[value][value] * (1 - rate))
    rows = plan.splits["train"]
    for path, label, value, aligned in zip(
        rows.paths, rows.labels, rows.bias, rows.aligned, strict=True
    ):
        age, gender, race, _ = path.split("_")
        assert label == int(gender)
        assert value == (int(race) != 0 if bias == "race" else int(age) <= 10)
        assert aligned == (label == value)
        assert bias == "race" or not 11 <= int(age) <= 19


def test_validation_images_stay_in_training_with_protocol_hong() -> None:
    names = faces.make_names(400)
    held_out, hong, none = (
        utkface.plan_utkface(names, UTKFaceSpec(rate=0.0, val_protocol=kind), origin="").splits
        for kind in ("held-out", "hong", "none")
    )
    assert hong["val"].paths == held_out["val"].paths
    assert hong["train"].paths == none["train"].paths
    assert set(hong["val"].paths) < set(hong["train"].paths)
    assert not set(held_out["val"].paths) & set(held_out["train"].paths)
    assert hong["test"].paths == held_out["test"].paths


def make_copies() -> dict[str, str]:
    """Return the contents of 200 files by name: 100 pairs of copies, 25 of which have two genders."""
    contents = {}
    for k in range(100):
        for copy in (1, 2):
            gender = 1 - k % 2 if copy == 2 and k % 4 == 0 else k % 2
            name = f"{20 + k % 70}_{gender}_{k // 2 % 5}_{copy * 10**16 + k}.jpg.chip.jpg"
            contents[name] = f"face {k}"
    return contents


@pytest.mark.parametrize("val_protocol", ["held-out", "hong"])
def test_identical_files_are_kept_grouped_or_dropped(val_protocol: str) -> None:
    contents = make_copies()
    firsts: dict[str, str] = {}
    for name in sorted(contents):
        firsts.setdefault(contents[name], name)
    parts, sources = {}, {}
    for rule in utkface_duplicates.DUPLICATES:
        spec = UTKFaceSpec("race", 0.0, val_protocol=val_protocol, duplicates=rule)
        plan = utkface.plan_utkface([*contents], spec, origin="", digests=contents)
        parts[rule] = {part: set(rows.paths) for part, rows in plan.splits.items()}
        sources[rule] = plan.description.source["names"]
        faces_of = {part: {contents[name] for name in found} for part, found in parts[rule].items()}
        is_shared = bool((faces_of["train"] | faces_of["val"]) & faces_of["test"])
        assert is_shared == (rule == "keep")
        if val_protocol == "held-out" and rule != "keep":
            assert not faces_of["train"] & faces_of["val"]
    for part in ("val", "test"):  # their rows do not depend on the rate
        drawn = parts["keep"][part]
        assert parts["group"][part] == {
            name for name in contents if firsts[contents[name]] in drawn
        }
        assert parts["drop"][part] == {
            name for name in drawn
            if firsts[contents[name]] == name and int(contents[name].split()[1]) % 4
        }  # fmt: skip
    counts = {"sets": 100, "files": 200, "sets_with_other_labels": 25}
    assert sources["group"]["identical"] == sources["drop"]["identical"] == counts
    assert "identical" not in sources["keep"]
    assert sources["drop"]["dropped"]["identical files"] == 100 + 25


def test_the_preview_tells_what_the_build_does_with_identical_files(
    tmp_path: Path, cli: Cli
) -> None:
    names = faces.make_names(60)
    raw = faces.draw_utkface(tmp_path / "raw", names)
    for k in range(20):
        copy = f"99_{k % 2}_{k // 2 % 5}_{9 * 10**16 + k}.jpg.chip.jpg"
        (raw / copy).write_bytes((raw / names[k]).read_bytes())
    for k in (0, 1):  # empty files are no copies of each other
        (raw / f"30_0_0_{k}.jpg.chip.jpg").touch()
    words = ("make-utkface", raw, "--size", "16", "--rate", "0", "--max-rejected", "10%", "--json")
    for rule in ("group", "drop"):
        code, out, err = cli(*words, "--duplicates", rule, "--dry-run")
        assert code == 0, err
        assert "identical files: 40 in 20 sets, of which 20 differ in age, gender or race" in err
        preview = json.loads(out)
        code, out, err = cli(*words, "--duplicates", rule)
        assert code == 0, err
        manifest = json.loads(out)
        assert manifest["name"] == f"utkface-race-0.0-16-{rule}-duplicates"
        assert manifest["counts"] == preview["counts"]
        assert manifest["parameters"]["duplicates"] == rule
    (tmp_path / "names.txt").write_text(f"{ALIGNED}\n")
    code, _, err = cli("make-utkface", "--names", "names.txt", "--dry-run", "--duplicates", "group")
    assert code == 2
    assert "--duplicates group needs the folder RAW of the images" in err
    with pytest.raises(UsageError, match="needs the digests of the files"):
        utkface.plan_utkface([], UTKFaceSpec(duplicates="drop"), origin="")


def test_all_attributes_are_kept_and_can_be_the_bias(tmp_path: Path, cli: Cli) -> None:
    raw = faces.draw_utkface(tmp_path / "raw" / "UTKFace", faces.make_names(120)).parent
    code, _, err = cli("make-utkface", raw, "--size", "32", "--json")
    assert code == 0, err
    data = dataset.load(Path("data/utkface-race-0.9-32"))
    assert list(data.manifest.attributes) == ["race", "age", "race_group", "age_group"]
    names = utkface_names.find_images(raw).names
    for split in data.splits.values():
        for k, index in enumerate(split.index):
            age, _, race, _ = names[index].split("_")
            assert split.attributes["race_group"][k] == int(race)
            assert split.attributes["age"][k] == (
                0 if int(age) >= 20 else 1 if int(age) <= 10 else 2
            )
    by_age = dataset.view_by_attributes(data, ["age"])
    assert not by_age.knows_aligned  # 11 to 19 years are neither
    assert by_age.n_bias == 3 and not by_age.splits["test"].aligned.any()
    assert dataset.view_by_attributes(data, ["race_group", "age_group"]).n_bias == 25


def test_wrong_usage_gives_one_line(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "names.txt").write_text("cat.jpg\n")
    for words, code, message in (
        (["make-utkface"], 2, "expected the folder RAW of the images"),
        (["make-utkface", "empty"], 1, "is not a folder of UTKFace: expected files named like"),
        (["make-utkface", "nowhere"], 1, "is not a folder of UTKFace"),
        (["make-utkface", "--names", "names.txt", "--dry-run"], 1, "has no name of a UTKFace file"),
        (["make-utkface", "--names", "gone.txt", "--dry-run"], 1, "cannot read gone.txt"),
        (["make-utkface", "empty", "--max-rejected", "5"], 2, "expected a share like 1% or 0.01"),
        (["make-utkface", "empty", "--size", "30"], 2, "that 4 divides, but got 30"),
    ):
        got, out, err = cli(*words)
        assert (got, out) == (code, ""), words
        assert err.startswith("error: "), words
        assert err.count("\n") == 1, words
        assert message in err, words
    with pytest.raises(UsageError, match="expected rate in"):
        UTKFaceSpec(rate=1.5)
    with pytest.raises(UsageError, match="expected val_protocol to be one of"):
        utkface.plan_utkface(faces.make_names(50), UTKFaceSpec(val_protocol="best"), origin="")
    with pytest.raises(DataError, match="split has no images"):
        utkface.plan_utkface(faces.make_names(1), UTKFaceSpec(), origin="")


ALIGNED, IN_THE_WILD = "25_0_2_20170116174525125.jpg.chip.jpg", "25_0_2_20170116174525125.jpg"


@pytest.mark.parametrize(
    ("folders", "expected", "passed_over"),
    [
        ({"": ALIGNED}, "", []),
        ({"UTKFace": ALIGNED, "crop_part1": ALIGNED}, "UTKFace", ["crop_part1"]),
        ({"": ALIGNED, "a/b": ALIGNED}, "", ["a/b"]),
        ({"utkface_aligned_cropped/UTKFace": ALIGNED}, "utkface_aligned_cropped/UTKFace", []),
        ({"part1": IN_THE_WILD, "UTKFace": ALIGNED}, "UTKFace", []),
        ({"__MACOSX/UTKFace": f"._{ALIGNED}", "UTKFace/UTKFace": ALIGNED}, "UTKFace/UTKFace", []),
    ],
)
def test_the_folder_of_images_is_found(
    folders: dict[str, str], expected: str, passed_over: list[str], tmp_path: Path, cli: Cli
) -> None:
    for folder, name in folders.items():
        (tmp_path / "raw" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / folder / name).touch()
    images = utkface_names.find_images(Path("raw"))
    assert (images.folder, images.names) == (Path("raw") / expected, [ALIGNED])
    assert [str(folder.relative_to("raw")) for folder in images.passed_over] == passed_over


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ({"part1": IN_THE_WILD}, "raw/part1: these are the images of UTKFace in the wild, whose faces are"),
        ({"": IN_THE_WILD}, "raw: these are the images of UTKFace in the wild"),
        ({"a": ALIGNED, "b": ALIGNED}, r"several folders .*: raw/a \(1 images\), raw/b \(1 images\); pass"),
        ({"a/b/c": ALIGNED}, "is not a folder of UTKFace"),
        ({"": f"._{ALIGNED}"}, "is not a folder of UTKFace"),
    ],
)  # fmt: skip
def test_folders_of_other_images_are_refused(
    folders: dict[str, str], message: str, tmp_path: Path, cli: Cli
) -> None:
    for folder, name in folders.items():
        (tmp_path / "raw" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / folder / name).touch()
    with pytest.raises(DataError, match=message):
        utkface_names.find_images(Path("raw"))
