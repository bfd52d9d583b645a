"""``biascon.losses.gather``: 2 processes with 64 images give the results of 1 process with 128 images.

The processes are started once for all tests. ``distributed_worker.py`` computes the results.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist

from biascon.losses import LOSSES

RANKS, SECONDS = 2, 200
WORKER = Path(__file__).with_name("distributed_worker.py")
TOLERANCE = {"float64": 1e-10, "float32": 1e-6}  # relative to the largest number
EVERY = pytest.mark.parametrize("name", LOSSES)

if not dist.is_available() or not dist.is_gloo_available():
    pytest.skip("needs a PyTorch with torch.distributed and gloo", allow_module_level=True)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory):
    """The record that each rank wrote."""
    folder = tmp_path_factory.mktemp("ranks")
    arguments = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(RANKS)]
    process = subprocess.Popen(
        [sys.executable, *arguments, WORKER, folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"},
    )
    try:
        output, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.terminate()  # torchrun stops its ranks too
        output, _ = process.communicate(timeout=60)
        pytest.fail(f"the ranks took more than {SECONDS} s:\n{output[-4000:]}")
    assert process.returncode == 0, output[-4000:]
    return [
        json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(RANKS)
    ]


@pytest.mark.parametrize("dtype", TOLERANCE)
@EVERY
def test_value_and_gradient_equal_those_of_one_process(records, name, dtype):
    for rank in records:
        result = rank[f"{name} {dtype}"]
        assert result["value"] <= TOLERANCE[dtype]
        assert result["gradient"] <= TOLERANCE[dtype]


@EVERY
def test_blocked_path_equals_that_of_one_process(records, name):
    for rank in records:
        result = rank[f"{name} blocked"]
        assert result["value"] <= TOLERANCE["float64"]
        assert result["gradient"] <= TOLERANCE["float64"]


@pytest.mark.parametrize("name", [name for name in LOSSES if LOSSES[name].optional_inputs])
def test_two_batches_of_other_sizes_equal_those_of_one_process(records, name):
    for rank in records:
        result = rank[f"{name} two batches"]
        assert result["value"] <= TOLERANCE["float64"]
        assert result["gradient"] <= TOLERANCE["float64"]


@EVERY
def test_weights_after_five_steps_equal_those_of_one_process(records, name):
    for rank in records:
        assert rank[f"{name} float64"]["change"] <= TOLERANCE["float64"]
        assert rank[f"{name} float32"]["weights"] <= TOLERANCE["float32"]


def test_group_weights_are_equal_on_both_ranks_and_in_one_process(records):
    first, second = (rank["group_weights"] for rank in records)
    assert first == second
    for rank in records:
        assert rank["groupdro float64"]["tables"] <= TOLERANCE["float64"]


@pytest.mark.parametrize("kind", ["transposed", "bfloat16"])
def test_gather_keeps_strides_and_half_precision(records, kind):
    for rank in records:
        assert rank[f"supcon {kind}"]["value"] <= TOLERANCE["float32"]


def test_unequal_batches_are_refused_on_every_rank(records):
    for rank in records:
        assert rank["unequal"] == "expected as many images on every rank, but got 64, 60"


def test_a_later_batch_that_is_not_equal_is_refused_on_every_rank(records):
    unequal = "expected as many images on every rank, but got"
    for rank in records:
        assert rank["later"] == [
            "no error", f"{unequal} 64, 60", "no error", "no error",
            f"{unequal} 64, 68", f"{unequal} 80, 84", "no error", "no error",
        ]  # fmt: skip


def test_batch_norm_on_a_cpu_uses_the_images_of_one_rank(records):
    # The loss uses 128 images, a BatchNorm layer 64. SyncBatchNorm needs CUDA, so that on a CPU two processes
    # train another network than one process.
    for rank in records:
        result = rank["supcon batch norm"]
        assert result["value"] > 1e-5
        assert result["gradient"] > 1e-3
