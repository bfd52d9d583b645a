"""CelebA: both forms of its files, both protocols, and the bias-aligned cells."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biascon.data import dataset
from biascon.data.builders import celeba
from biascon.data.builders.celeba import CelebASpec, find_aligned_cells
from biascon.data.builders.celeba_tables import read_celeba_tables
from biascon.errors import DataError, UsageError
from tests.data import faces

Cli = Callable[..., tuple[int, str, str]]
N = 400
ATTRIBUTES = faces.CELEBA_ATTRIBUTES


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return faces.draw_celeba(tmp_path_factory.mktemp("celeba") / "raw", N)


def read_lists(folder: Path) -> tuple[dict[str, dict[str, int]], dict[str, int]]:
    """Read the official files naively."""
    lines = (folder / "list_attr_celeba.txt").read_text().splitlines()
    names = lines[1].split()
    rows = {
        line.split()[0]: dict(zip(names, map(int, line.split()[1:]), strict=True))
        for line in lines[2:]
    }
    parts = (folder / "list_eval_partition.txt").read_text().split()
    return rows, {name: int(part) for name, part in zip(parts[::2], parts[1::2], strict=True)}


@pytest.mark.parametrize("target", ["Blond_Hair", "Heavy_Makeup"])
@pytest.mark.parametrize("protocol", celeba.PROTOCOLS)
def test_predicting_from_gender_is_right_on_exactly_the_aligned_images(
    target: str, protocol: str, raw: Path
) -> None:
    plan = celeba.plan_celeba(read_celeba_tables(raw), CelebASpec(target, protocol=protocol))
    table, _ = read_lists(raw)
    for rows in plan.splits.values():
        male = np.array([table[Path(path).name]["Male"] == 1 for path in rows.paths])
        predictions = np.where(male, 0, 1)  # men: not blond, no make-up; women: blond, make-up
        is_right = predictions == rows.labels
        assert is_right[rows.aligned].mean() == 1.0
        assert not is_right[~rows.aligned].any()
        assert np.array_equal(rows.bias, male)
    entry = plan.description.attributes["Male"]
    assert entry.aligned == [[f"not {target}", "male"], [target, "female"]]


def test_the_official_protocol_uses_the_official_partition(raw: Path) -> None:
    table, parts = read_lists(raw)
    plan = celeba.plan_celeba(
        read_celeba_tables(raw), CelebASpec("Young", "Bald", keep=("Male", "Bangs", "Bald"))
    )
    for k, name in enumerate(("train", "val", "test")):
        rows = plan.splits[name]
        assert [Path(path).name for path in rows.paths] == sorted(n for n in parts if parts[n] == k)
        for path, label, bald, male in zip(
            rows.paths, rows.labels, rows.bias, rows.attributes["Male"], strict=True
        ):
            row = table[Path(path).name]
            assert [row["Young"], row["Bald"], row["Male"]] == [
                2 * v - 1 for v in (label, bald, male)
            ]
    assert list(rows.attributes) == ["Bald", "Male", "Bangs"]


def test_protocol_hong_tests_on_the_validation_partition(raw: Path) -> None:
    _, parts = read_lists(raw)
    plan = celeba.plan_celeba(read_celeba_tables(raw), CelebASpec("Heavy_Makeup", protocol="hong"))
    names = {name: {Path(path).name for path in rows.paths} for name, rows in plan.splits.items()}
    train = {name for name, part in parts.items() if part == 0}
    assert names["test"] == {name for name, part in parts.items() if part == 1}
    assert len(names["train"]) == len(train) * 4 // 5
    assert names["train"] | names["val"] == train
    assert not names["train"] & names["val"]
    assert "hong" in plan.description.protocol["test"]


def test_protocol_hong_drops_women_who_are_not_blond_before_it_splits(
    raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(celeba, "N_NOT_BLOND_WOMEN", 20)
    source = read_celeba_tables(raw)
    parts = {}
    for seed in (0, 1):
        plan = celeba.plan_celeba(source, CelebASpec(protocol="hong", seed=seed))
        cells = {name: np.array(part.cells) for name, part in plan.summarize_splits().items()}
        counts = np.array(
            celeba.plan_celeba(source, CelebASpec()).summarize_splits()["train"].cells
        )
        counts[0, 0] = 20
        assert np.array_equal(cells["train"] + cells["val"], counts)
        assert cells["train"].sum() == counts.sum() * 4 // 5
        assert 0 < cells["val"][0, 0] < 20
        for name in ("train", "val"):
            assert plan.description.protocol[name].endswith(
                "at most 20 of its women who are not blond"
            )
        parts[seed] = {*plan.splits["train"].paths, *plan.splits["val"].paths}
    assert parts[0] != parts[1]  # the seed draws the women who are kept


def test_a_seed_without_effect_is_refused(raw: Path, cli: Cli) -> None:
    code, out, err = cli("make-celeba", raw, "--seed", "1", "--dry-run")
    assert (code, out) == (2, "")
    assert "the splits of protocol official are those of CelebA: leave out seed" in err
    assert cli("make-celeba", raw, "--seed", "1", "--protocol", "hong", "--dry-run")[0] == 0


def test_the_csv_form_in_another_order_gives_the_same_plan(raw: Path, tmp_path: Path) -> None:
    csv_folder = faces.draw_celeba(tmp_path / "csv", N, file_format="csv")
    rows = (csv_folder / "list_attr_celeba.csv").read_text().splitlines()
    (csv_folder / "list_attr_celeba.csv").write_text("\n".join([rows[0], *rows[:0:-1]]))
    plans = [
        celeba.plan_celeba(read_celeba_tables(folder), CelebASpec()) for folder in (raw, csv_folder)
    ]
    for name in plans[0].splits:
        first, second = (plan.splits[name] for plan in plans)
        assert first.paths == second.paths
        assert np.array_equal(first.labels, second.labels)
        assert np.array_equal(first.index, second.index)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([[9, 1], [1, 9]], [[0, 0], [1, 1]]),
        ([[1, 9], [9, 1]], [[0, 1], [1, 0]]),
        # Blond_Hair and Male: not the majority of each label
        ([[71_629, 66_874], [22_880, 1_387]], [[0, 1], [1, 0]]),
        ([[4, 2], [2, 1]], None),
    ],
)
def test_aligned_cells_have_the_larger_product_of_counts(
    counts: list[list[int]], expected: Any
) -> None:
    label = np.repeat([0, 0, 1, 1], np.array(counts).ravel())
    bias = np.repeat([0, 1, 0, 1], np.array(counts).ravel())
    assert find_aligned_cells("Young", "Bald", label, bias) == expected
    assert find_aligned_cells("Blond_Hair", "Male", label, bias) == [[0, 1], [1, 0]]
    assert find_aligned_cells("Blond_Hair", "Male", label, bias, "same") == [[0, 0], [1, 1]]


def test_the_command_builds_a_dataset_whose_bias_can_be_chosen(raw: Path, cli: Cli) -> None:
    code, out, err = cli("make-celeba", raw, "--keep", "all", "--size", "28", "--json")
    assert code == 0, err
    assert json.loads(out)["name"] == "celeba-Blond_Hair-Male-official-28-keep38"
    data = dataset.load(Path("data/celeba-Blond_Hair-Male-official-28-keep38"))
    assert len(data.manifest.attributes) == 39
    young = dataset.view_by_attributes(data, ["Young"])
    assert young.manifest.bias.values == ["not Young", "Young"]
    assert sum(len(split) for split in data.splits.values()) == N


def test_wrong_usage_and_malformed_files_give_one_line(raw: Path, tmp_path: Path, cli: Cli) -> None:
    for words, code, message in (
        (["--target", "Blond"], 2, "unknown attribute 'Blond'; did you mean 'Blond_Hair'?"),
        (["--keep", "Mael"], 2, "did you mean 'Male'?"),
        (["--bias", "Blond_Hair"], 2, "expected target and bias to differ"),
        (["--size", "226"], 2, "that 4 divides"),
    ):
        got, out, err = cli("make-celeba", raw, "--dry-run", *words)
        assert (got, out, err.count("\n")) == (code, "", 1)
        assert message in err
    copy = faces.draw_celeba(tmp_path / "copy", 20)
    attributes, partition = copy / "list_attr_celeba.txt", copy / "list_eval_partition.txt"
    text, parts = attributes.read_text(), partition.read_text()
    for path, damaged, message in (
        (attributes, text.replace("000007.jpg", "000006.jpg"), "line 9: '000006.jpg' is listed twice"),
        (attributes, text[: len(text) // 2], r"line \d+: expected a file name and 40 values of -1 or 1"),
        (attributes, text.replace("000003.jpg -1", "000003.jpg  7"), "line 5: expected a file name and 40"),
        (attributes, "", "expected a line with the names"),
        (partition, parts.replace("000004.jpg 0", "000004.jpg 3"), "line 4: expected a file name and 0, 1"),
        (partition, parts[: parts.index("000015")], r"do not name the same images \(20 and 14\)"),
    ):  # fmt: skip
        original = path.read_text()
        path.write_text(damaged)
        if damaged != original:
            with pytest.raises(DataError, match=message):
                read_celeba_tables(copy)
        path.write_text(original)
    attributes.unlink()
    with pytest.raises(DataError, match=r"it has no list_attr_celeba.txt \(or .csv\)"):
        read_celeba_tables(copy)
    with pytest.raises(DataError, match="it has no img_align_celeba"):
        read_celeba_tables(tmp_path)
    with pytest.raises(UsageError, match="expected protocol to be one of"):
        CelebASpec(protocol="mine")


def test_names_outside_the_folder_are_left_out(tmp_path: Path, cli: Cli) -> None:
    copy = faces.draw_celeba(tmp_path / "copy", 40)
    (tmp_path / "secret.jpg").write_bytes((copy / "img_align_celeba" / "000001.jpg").read_bytes())
    for path in (copy / "list_attr_celeba.txt", copy / "list_eval_partition.txt"):
        path.write_text(path.read_text().replace("000003.jpg", "../../secret.jpg"))
    code, out, err = cli("make-celeba", copy, "--size", "28", "--json", "--max-rejected", "10%")
    assert code == 0, err
    assert json.loads(out)["rejected"] == {"n": 1, "by_reason": {"outside the folder": 1}}


def test_other_labels_of_the_same_images_are_another_dataset(tmp_path: Path, cli: Cli) -> None:
    copy = faces.draw_celeba(tmp_path / "copy", 40)
    assert cli("make-celeba", copy, "--size", "28")[0] == 0
    path = copy / "list_attr_celeba.txt"
    lines = path.read_text().splitlines()
    position = ATTRIBUTES.index("Blond_Hair") + 1
    cells = lines[5].split()
    cells[position] = str(-int(cells[position]))
    path.write_text("\n".join([*lines[:5], " ".join(cells), *lines[6:]]))
    code, _, err = cli("make-celeba", copy, "--size", "28")
    assert code == 1
    assert "holds another dataset (it differs in source)" in err


def test_inconsistent_lists_are_refused_with_the_line(tmp_path: Path) -> None:
    raw = faces.draw_celeba(tmp_path / "raw", 20)
    (raw / "list_attr_celeba.txt").rename(raw / "kept.txt")
    good = (raw / "kept.txt").read_text()
    for text, message in (
        (
            good.replace("20", "21", 1),
            "line 1: expected the number of images, 20, but got 21: the list is cut",
        ),
        (good.replace(" -1", "  0", 1), "of -1 and 1, or of 0 and 1, but got all three"),
    ):
        (raw / "list_attr_celeba.txt").write_text(text)
        with pytest.raises(DataError, match=message):
            read_celeba_tables(raw)
    (raw / "list_attr_celeba.txt").write_text(good.replace(" -1", "  0"))
    assert read_celeba_tables(raw).table.any()
    with (raw / "list_eval_partition.txt").open("a") as file:
        file.write("000001.jpg 2\n")
    with pytest.raises(DataError, match=r"line 21: '000001\.jpg' is listed twice"):
        read_celeba_tables(raw)
