"""Two processes with 64 images each compute what one computes with 128: ``biascon.losses.gather``.

The two are launched once; see ``distributed_worker.py`` for what they compute.
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
def told(tmp_path_factory: pytest.TempPathFactory):
    """What each rank wrote."""
    folder = tmp_path_factory.mktemp("ranks")
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(RANKS)]
    process = subprocess.Popen(
        [sys.executable, *words, WORKER, folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"},
    )
    try:
        said, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.terminate()  # torchrun ends its ranks too
        said, _ = process.communicate(timeout=60)
        pytest.fail(f"the ranks took more than {SECONDS} s:\n{said[-4000:]}")
    assert process.returncode == 0, said[-4000:]
    return [
        json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(RANKS)
    ]


@pytest.mark.parametrize("dtype", TOLERANCE)
@EVERY
def test_value_and_gradient_equal_those_of_one_process(told, name, dtype):
    for rank in told:
        found = rank[f"{name} {dtype}"]
        assert found["value"] <= TOLERANCE[dtype]
        assert found["gradient"] <= TOLERANCE[dtype]


@EVERY
def test_blocked_path_equals_that_of_one_process(told, name):
    for rank in told:
        found = rank[f"{name} blocked"]
        assert found["value"] <= TOLERANCE["float64"]
        assert found["gradient"] <= TOLERANCE["float64"]


@EVERY
def test_weights_after_five_steps_equal_those_of_one_process(told, name):
    for rank in told:
        assert rank[f"{name} float64"]["change"] <= TOLERANCE["float64"]
        assert rank[f"{name} float32"]["weights"] <= TOLERANCE["float32"]


def test_group_weights_are_equal_on_both_ranks_and_in_one_process(told):
    one, other = (rank["group_weights"] for rank in told)
    assert one == other
    for rank in told:
        assert rank["groupdro float64"]["tables"] <= TOLERANCE["float64"]


@pytest.mark.parametrize("kind", ["transposed", "bfloat16"])
def test_gather_keeps_strides_and_half_precision(told, kind):
    for rank in told:
        assert rank[f"supcon {kind}"]["value"] <= TOLERANCE["float32"]


def test_unequal_batches_are_refused_on_every_rank(told):
    for rank in told:
        assert rank["unequal"] == "expected as many images on every rank, but got 64, 60"


def test_batch_norm_on_a_cpu_uses_the_images_of_one_rank(told):
    # The loss sees 128 images, a BatchNorm layer 64: on the CPU, which has no SyncBatchNorm, a network
    # with such layers is not the one that a single process would train.
    for rank in told:
        found = rank["supcon batch norm"]
        assert found["value"] > 1e-5
        assert found["gradient"] > 1e-3
