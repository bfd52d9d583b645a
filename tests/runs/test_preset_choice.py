"""The default preset: by the builder of the dataset and by the device, told in one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import biascon
from biascon.data import dataset
from biascon.data.registry import BUILDERS
from biascon.runs.preset_choice import DIGITS, NATURAL, choose_preset, describe_length
from biascon.sweep.grid import plan_jobs
from biascon.sweep.grid_file import Grid
from biascon.tuning.study import read_study
from tests.small_datasets import write_faces

TINY = [
    "train.epochs=1",
    "train.batch_size=32",
    "train.threads=1",
    "probe.max_iterations=20",
    "probe.tolerance=0.01",
]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faces(tmp_path_factory.mktemp("faces") / "faces", n=48)


def manifest_of(builder: str, kind: str = "made") -> Any:
    return dataset.DatasetDescription(
        name="made", builder=builder, protocol={}, parameters={}, labels=["0", "1"], bias=None,
        source={"origin": "nowhere", "kind": kind},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("builder", "kind", "elsewhere", "told_on_cuda"),
    [
        ("bmnist", "mnist", "cpu", "digits on CUDA"),
        ("bmnist", "fashion", "cpu", "digits on CUDA"),
        ("utkface", "made", "faces-cpu", "utkface has the published one"),
        ("celeba", "made", "faces-cpu", "celeba has the published one"),
        ("standard", "cifar100", "faces-cpu", "cifar has the published one"),
        ("standard", "folder", "faces-cpu", "a recipe for digits"),
        ("table", "digits", "faces-cpu", "a recipe for digits"),
        ("of-a-plug-in", "made", "faces-cpu", "a recipe for digits"),
    ],
)
def test_the_builder_and_the_device_decide(
    builder: str, kind: str, elsewhere: str, told_on_cuda: str
) -> None:
    manifest = manifest_of(builder, kind)
    names = [choose_preset(manifest, device).name for device in ("cpu", "mps", "cuda")]
    assert names == [elsewhere, elsewhere, "gpu"]
    line = choose_preset(manifest, "cuda").describe()
    assert told_on_cuda in line
    assert line.count("\n") == 0


@pytest.mark.parametrize(
    ("builder", "kind", "reason"),
    [
        ("bmnist", "mnist5k", "digits, no CUDA"),
        ("bmnist", "kmnist", "shapes like digits, no CUDA"),
        ("celeba", "celeba", "pictures that are not digits, no CUDA"),
        ("debias", "debias", "your own pictures, no CUDA; it mirrors them, so take cpu for digits"),
    ],
)
def test_the_reason_states_what_is_known(builder: str, kind: str, reason: str) -> None:
    assert choose_preset(manifest_of(builder, kind), "cpu").reason == reason


def test_a_dataset_of_digits_has_a_builder_of_the_registry() -> None:
    assert set(DIGITS) <= set(BUILDERS)
    assert set(NATURAL) - {"standard"} <= set(BUILDERS)


def test_a_large_dataset_is_told(faces: Path) -> None:
    manifest = dataset.read_manifest(faces)
    choice = choose_preset(manifest, "cpu")
    assert describe_length(choice, manifest) == ""
    train = replace(manifest.counts["train"], n=162_770)
    large = replace(manifest, counts={**manifest.counts, "train": train})
    assert "17 times as long as on UTKFace" in describe_length(choice, large)


def test_evaluate_and_train_tell_the_choice_and_take_it(
    cli: Callable[..., Any], faces: Path
) -> None:
    settings = [word for setting in TINY for word in ("--set", setting)]
    told = (
        "preset: faces-cpu (your own pictures, no CUDA; it mirrors them, so take cpu for digits; "
        "--preset chooses another, "
        "biascon list presets has all)"
    )
    for command in ("evaluate", "train"):
        outcome = cli(command, "--loss", "ce", "--data", faces, "--device", "cpu", *settings)
        assert outcome.code == 0, outcome.err
        assert outcome.err.splitlines()[0] == told
        assert "preset faces-cpu" in outcome.out
    named = cli("train", "--loss", "ce", "--data", faces, "--preset", "faces-cpu", *settings)
    assert named.code == 0
    assert "chooses another" not in named.err


def test_a_sweep_takes_the_preset_of_each_dataset(
    faces: Path, make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    folders = [faces, make_dataset(tmp_path / "digits"), make_dataset(tmp_path / "more", rho=0.8)]
    lines: list[str] = []
    jobs = plan_jobs(Grid(("ce",)), folders, tmp_path, device="cpu", threads=1, log=lines.append)
    assert [job.config.preset for job in jobs] == ["faces-cpu", "cpu", "cpu"]
    words = jobs[0].command(tmp_path, "cpu")
    assert words[words.index("--preset") + 1] == "faces-cpu"
    assert [line.split(" (")[0] for line in lines] == [
        "faces: preset: faces-cpu", "digits, more: preset: cpu",
    ]  # fmt: skip
    named = Grid(("ce",), preset="smoke")
    lines.clear()
    jobs = plan_jobs(named, folders, tmp_path, device="cpu", threads=1, log=lines.append)
    assert {job.config.preset for job in jobs} == {"smoke"}
    assert not lines


def test_a_study_takes_the_preset_of_its_dataset_if_it_names_none(
    faces: Path, make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    path = tmp_path / "study.toml"
    lines: list[str] = []

    def preset(text: str) -> str:
        path.write_text(f'losses = ["ce", "supcon"]\n{text}')
        return read_study(path, log=lines.append).preset

    assert preset(f'data = "{faces}"') == "faces-cpu"
    assert preset(f'data = "{make_dataset(tmp_path / "digits")}"') == "cpu"
    assert [line.split(" (")[0] for line in lines] == [
        "faces: preset: faces-cpu", "digits: preset: cpu",
    ]  # fmt: skip
    lines.clear()
    assert preset(f'data = "{faces}"\npreset = "smoke"') == "smoke"
    assert preset("rho = 0.9") == "cpu"
    assert not lines


def test_python_gives_the_same_choice(faces: Path, make_dataset: Callable[..., Path]) -> None:
    pictures = biascon.load_dataset(faces)
    assert biascon.default_preset(pictures, "cpu") == "faces-cpu"
    config = biascon.make_config("supcon", preset=biascon.default_preset(pictures, "cpu"))
    assert (config.preset, config.augment.flip_p) == ("faces-cpu", 0.5)
    assert biascon.make_config("supcon").preset == "cpu"  # without a dataset, as before
