"""``biascon make-bmnist``: what it writes, prints and refuses."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from biascon.data.builders import mnist_source
from biascon.data.builders.mnist_source import SHA256
from tests.cli.outcomes import failure, usage_error


def test_it_writes_a_dataset_under_its_name_and_prints_it(
    cli: Any, small_digits: None, tmp_path: Path
) -> None:
    outcome = cli("make-bmnist", "--rho", "0.9")
    assert outcome.code == 0
    assert outcome.err.splitlines() == [
        "source: made for the tests (1,000 + 200 digits)",
        "data/bmnist5k-0.9: written",
    ]
    first, *rest = outcome.out.splitlines()
    assert first == "bmnist5k-0.9: made for the tests"
    assert [line.split() for line in rest if line.startswith(("train ", "val ", "test "))] == [
        ["train", "900", "810", "90", "0", "of", "100"],
        ["val", "100", "10", "90", "0", "of", "100"],
        ["test", "200", "20", "180", "0", "of", "100"],
    ]
    assert {p.name for p in (tmp_path / "data" / "bmnist5k-0.9").iterdir()} == {
        "train.safetensors", "val.safetensors", "test.safetensors", "manifest.json",
            "croissant.json",
    }  # fmt: skip


def test_every_option_reaches_the_builder(cli: Any, small_digits: None, tmp_path: Path) -> None:
    outcome = cli(
        *("make-bmnist", "--rho", "0.5", "--seed", "2", "--variant", "fairkl"),
        *("--colour", "digit", "--n-confusing", "3", "--val-protocol", "hong"),
        *("--leftover", "even", "--out", "here", "--json"),
    )
    assert outcome.code == 0
    assert json.loads((tmp_path / "here" / "manifest.json").read_text())["parameters"] == {
        "rho": 0.5, "seed": 2, "variant": "fairkl", "colour": "digit", "n_confusing": 3,
        "val_protocol": "hong", "leftover": "even",
    }  # fmt: skip


def test_two_attributes_and_biased_classes_reach_the_builder(
    cli: Any, small_digits: None, tmp_path: Path
) -> None:
    outcome = cli(
        "make-bmnist", "--rho", "0.9", "--foreground-rho", "0.5", "--biased-classes", "3, 1"
    )
    assert outcome.code == 0
    name = "bmnist5k-0.9-fg0.5-biased1.3"
    assert outcome.err.splitlines()[1] == f"data/{name}: written"
    manifest = json.loads((tmp_path / "data" / name / "manifest.json").read_text())
    assert manifest["parameters"]["foreground_rho"] == 0.5
    assert manifest["parameters"]["biased_classes"] == [1, 3]
    lines = outcome.out.splitlines()
    start = lines.index("images by the attributes with which they are bias-aligned")
    title = "split  background + foreground  only background  only foreground  none of them"
    assert lines[start + 1] == title
    rows = [line.split() for line in lines[start + 3 : start + 6]]
    assert [row[0] for row in rows] == ["train", "val", "test"]
    for row, split in zip(rows, ("train", "val", "test"), strict=True):
        counts = manifest["counts"][split]
        numbers = [int(text) for text in row[1:]]
        assert sum(numbers) == counts["n"]
        assert numbers[0] + numbers[1] == counts["aligned"]
    # Background: 81 of 90 images in two classes, 9 in the eight others. Foreground: 45, and 9.
    assert sum(map(int, rows[0][1:3])) == 2 * 81 + 8 * 9
    assert int(rows[0][1]) + int(rows[0][3]) == 2 * 45 + 8 * 9
    assert [line.split()[0] for line in lines[-10:]] == list("0123456789")
    assert lines[-10:][3].split()[4] == "45"  # label 3, foreground value of class 3
    assert cli("inspect", f"data/{name}").out == outcome.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--foreground-rho", "1.5"], "'--foreground-rho'"),
        (["--foreground-rho", "nan"], "expected foreground_rho in [0, 1], but got nan"),
        (["--foreground-rho", "0.9", "--color", "digit"], "expected color 'background'"),
        (["--biased-classes", ""], "expected classes by number, like 0,1,2, but got ''"),
        (["--biased-classes", "0,,1"], "expected classes by number, like 0,1,2, but got '0,,1'"),
        (["--biased-classes", "zero"], "expected classes by number, like 0,1,2, but got 'zero'"),
        (["--biased-classes", "0,10"], "expected biased_classes to be numbers in 0..9, but got 10"),
        (["--biased-classes", "4,4"], "each class once in biased_classes, but got 4 twice"),
    ],
)
def test_bad_options_are_wrong_usage_and_nothing_is_written(
    cli: Any, small_digits: None, tmp_path: Path, options: list[str], message: str
) -> None:
    assert message in usage_error(cli("make-bmnist", *options))
    assert list(tmp_path.iterdir()) == []


def test_json_is_the_only_text_on_stdout(cli: Any, small_digits: None, tmp_path: Path) -> None:
    outcome = cli("make-bmnist", "--rho", "0.9", "--json")
    on_disk = (tmp_path / "data" / "bmnist5k-0.9" / "manifest.json").read_text()
    assert outcome.code == 0
    assert json.loads(outcome.out) == json.loads(on_disk)


def test_an_existing_dataset_is_verified_and_not_written_again(
    cli: Any, small_digits: None, tmp_path: Path
) -> None:
    first = cli("make-bmnist", "--rho", "0.9")
    images = tmp_path / "data" / "bmnist5k-0.9" / "train.safetensors"
    written = images.stat().st_mtime_ns
    again = cli("make-bmnist", "--rho", "0.9")
    assert again.code == 0
    last_line = again.err.splitlines()[-1]
    assert last_line.startswith("data/bmnist5k-0.9: ")
    assert last_line.endswith("intact")
    assert again.out == first.out
    assert images.stat().st_mtime_ns == written


def test_another_dataset_in_the_folder_is_refused_and_force_replaces_it(
    cli: Any, small_digits: None, tmp_path: Path
) -> None:
    assert cli("make-bmnist", "--rho", "0.9", "--out", "x").code == 0
    before = (tmp_path / "x" / "manifest.json").read_bytes()
    assert "--force" in failure(cli("make-bmnist", "--rho", "0.8", "--out", "x"))
    assert (tmp_path / "x" / "manifest.json").read_bytes() == before
    assert cli("make-bmnist", "--rho", "0.8", "--out", "x", "--force").code == 0
    assert (tmp_path / "x" / "manifest.json").read_bytes() != before


def test_a_file_in_place_of_the_folder_fails(cli: Any, small_digits: None, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "file" in failure(cli("make-bmnist", "--out", "file/x"))
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize("by_variable", [False, True])
@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (b"\0\0\x08\x03\0\0\0\x05\0\0\0\x1c\0\0\0\x1cabc", "truncated"),
        (gzip.compress(b"\0\0\x08\x01\0\0\0\x02ab", mtime=0)[:-4], "gzip"),
        (b"%PDF-1.4", "IDX file"),
        (b"\0\0\x08\x01\0\0\0\x02ab", "sha256"),
        (None, "no train-images-idx3-ubyte"),
    ],
    ids=["truncated", "gzip", "pdf", "other-idx", "missing"],
)
def test_invalid_idx_files_fail_and_nothing_is_written(
    cli: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    blob: bytes | None,
    message: str,
    by_variable: bool,
) -> None:
    (tmp_path / "idx").mkdir()
    if blob is not None:
        for name in SHA256:
            (tmp_path / "idx" / name).write_bytes(blob)
    monkeypatch.setattr(mnist_source, "load_embedded", lambda: pytest.fail("took another source"))
    if by_variable:
        monkeypatch.setenv(mnist_source.ENVIRONMENT_VARIABLE, str(tmp_path / "idx"))
        outcome = cli("make-bmnist")
    else:
        outcome = cli("make-bmnist", "--mnist-dir", "idx")
    error = failure(outcome)
    assert message in error
    assert "train-images-idx3-ubyte" in error
    assert len(outcome.err.splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["idx"]


def test_a_missing_folder_of_idx_files_fails(cli: Any) -> None:
    assert "nowhere" in failure(cli("make-bmnist", "--mnist-dir", "nowhere"))
