"""Distributed training: the launcher is recognized, and two processes train the weights that one trains."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from biascon.config.augmentation import Augmentation
from biascon.errors import UsageError
from biascon.models.encoders import ENCODERS
from biascon.training import checks
from biascon.training.augment import augment
from biascon.utils.distributed import Rank, launcher_environment
from biascon.utils.seeds import torch_generator
from tests.run_helpers import run_here
from tests.training.parallel_worker import plain

WORKER = Path(__file__).parent / "parallel_worker.py"
LOSSES = ("contex", "lff", "groupdro", "lisa", "badd")
gloo = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()),
    reason="this PyTorch has no gloo",
)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}, None),  # of an unknown launcher
        (
            {"TORCHELASTIC_RUN_ID": "x", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"},
            Rank(3, 4, 1),
        ),
        ({"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}, None),
        (
            {
                "SLURM_STEP_NUM_TASKS": "8",
                "SLURM_PROCID": "5",
                "SLURM_LOCALID": "1",
                "MASTER_ADDR": "node1",
            },
            Rank(5, 8, 1),
        ),
        # In a batch script, outside of srun: the job has eight tasks, this step one.
        ({"SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, None),
    ],
)
def test_the_launcher_is_recognized_by_its_environment(
    environment: dict[str, str], expected: Rank | None
) -> None:
    assert launcher_environment(environment) == expected


def test_srun_without_a_master_address_is_refused_with_the_remedy() -> None:
    with pytest.raises(UsageError, match=r"MASTER_ADDR.*scontrol show hostnames"):
        launcher_environment(
            {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "0"}
        )


@pytest.mark.parametrize(
    "recipe", [Augmentation(), Augmentation(crop_scale=(0.2, 1.0), flip_p=0.5)]
)
def test_views_of_a_shard_equal_those_of_the_whole_batch(recipe: Augmentation) -> None:
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (12, 3, 28, 28), generator=draw, dtype=torch.uint8)
    whole = augment(images, recipe, torch_generator(0, "x"), 2)
    parts = [
        augment(images[4 * r : 4 * r + 4], recipe, torch_generator(0, "x"), 2, (r, 3))
        for r in range(3)
    ]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-5)


def build_arguments(data: Path, root: Path, *words: str) -> list[str]:
    losses = [word for loss in LOSSES for word in ("--loss", loss)]
    # Plain gradient descent: AdamW divides by the size of a gradient, however small, and so enlarges
    # differences of the last bit. Three steps: rounding has no time to grow.
    settings = (
        "model.encoder=plain",
        "train.epochs=1",
        "train.batch_size=300",
        "optimizer.name=sgd",
        "optimizer.lr=0.05",
    )
    sets = [word for setting in settings for word in ("--set", setting)]
    return [*words, *losses, "--data", str(data), "--runs", str(root), "--preset", "smoke", *sets]


def run_command(words: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        words, check=False, env=environment, capture_output=True, text=True, timeout=280
    )


PYTHON = [sys.executable, "-m", "biascon"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@gloo
def test_two_processes_train_the_weights_that_one_trains(
    make_dataset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENCODERS, "plain", plain)
    data = make_dataset(tmp_path / "data", rho=0.8)
    single = run_here([*PYTHON, *build_arguments(data, tmp_path / "one", "train")])
    assert single.returncode == 0, single.stderr
    words = build_arguments(data, tmp_path / "two", "evaluate", "--json")
    paired = run_command([*TORCHRUN, str(WORKER), *words])
    assert paired.returncode == 0, paired.stderr
    # Only the first process prints and evaluates.
    evaluations = [json.loads(line) for line in paired.stdout.splitlines()]
    assert [e["loss"] for e in evaluations] == list(LOSSES)
    assert all(e["overrides"]["train.processes"] == 2 for e in evaluations)
    assert paired.stderr.count("contex seed 0: epoch 1/1") == 1
    for loss in (*LOSSES, "gce", "bias-ce"):
        (run_alone,), (run_of_two,) = ((tmp_path / n).glob(f"*/{loss}/*") for n in ("one", "two"))
        assert run_alone.name != run_of_two.name  # the number of processes is part of the digest
        for name in ("encoder.safetensors", "classifier.safetensors", "losses.safetensors"):
            assert (run_alone / name).exists() == (run_of_two / name).exists()
            if not (run_alone / name).exists():
                continue
            weights_alone, weights_of_two = (
                load_file(run_alone / name),
                load_file(run_of_two / name),
            )
            for key, value in weights_alone.items():
                assert name == "losses.safetensors" or value.isfinite().all()
                torch.testing.assert_close(
                    weights_of_two[key],
                    value,
                    rtol=1e-5,
                    atol=1e-5,
                    equal_nan=True,
                    msg=f"{loss} {key}",
                )
    # The network is trained: one process may evaluate it again, but must not train it.
    repeated = run_here([*PYTHON, *words, "--set", "train.processes=2"])
    assert repeated.stdout.splitlines() == paired.stdout.splitlines()
    untrained = run_here([*PYTHON, *words, "--set", "train.processes=2", "--seeds", "7"])
    assert untrained.returncode == 2
    assert "configured for 2 processes, but 1 run" in untrained.stderr


def test_a_batch_that_cannot_be_divided_is_refused(
    make_dataset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "world_size", lambda: 2)
    monkeypatch.setitem(ENCODERS, "plain", plain)
    words = build_arguments(make_dataset(tmp_path / "data"), tmp_path / "runs", "train")
    done = run_here([*PYTHON, *words, "--set", "train.batch_size=63"])
    assert done.returncode == 2
    assert "batch_size to be a multiple of 2 processes, but got 63" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@gloo
def test_two_processes_refuse_a_batch_that_they_cannot_divide(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    words = build_arguments(make_dataset(tmp_path / "data"), tmp_path / "runs", "train")
    done = run_command([*TORCHRUN, str(WORKER), *words, "--set", "train.batch_size=63"])
    assert done.returncode != 0
    assert "batch_size to be a multiple of 2 processes, but got 63" in done.stderr
    assert not (tmp_path / "runs").exists()
