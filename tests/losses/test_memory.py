"""Memory of a training step grows with the number of anchors, not with the number of pairs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Prints for each loss the peak in MiB above the memory before the first loss. The peak of getrusage includes
# the memory of the parent process.
SCRIPT = """
import sys
import torch
from biascon.losses import get_loss, pairwise

def peak():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

def step(name, n):
    draw = torch.Generator().manual_seed(0)
    labels, bias = (torch.randint(classes, (n,), generator=draw) for _ in range(2))
    z = torch.nn.functional.normalize(torch.randn(n, 2, 32, generator=draw), dim=-1)
    logits = torch.zeros(n, 2, 10)
    tensors = {"logits": logits, "features": z.clone(), "bias_features": z[:, 0].clone()}
    loss = get_loss(name)
    leaf = tensors["features"] if loss.input_kind == "logits" else z
    leaf.requires_grad_()
    inputs = {key: tensors[key] for key in loss.tensor_inputs}
    loss(logits if loss.input_kind == "logits" else z, labels, bias, **inputs).backward()
    assert leaf.grad.isfinite().all() and leaf.grad.any()

path, anchors, classes, *names = sys.argv[1:]
classes = int(classes)
if path == "dense":
    pairwise.DENSE["cpu"] = pairwise.PLAIN["cpu"] = 10**6
for name in names:
    step(name, 513)  # imports modules
before = peak()
for name in names:
    step(name, int(anchors) // 2)
    print(name, peak() - before)
"""

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def measure_peaks(path, anchors, *names, classes=10):
    """Return the peak in MiB of each loss on a batch with this number of classes and bias values."""
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, path, str(anchors), str(classes), *names],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return {name: float(peak) for name, peak in map(str.split, result.stdout.splitlines())}


def full_matrix_mib(anchors):
    """Return the size in MiB of all similarities in float32."""
    return anchors**2 * 4 / 2**20


@linux
def test_step_on_8192_anchors_needs_less_memory_than_their_similarities():
    peaks = measure_peaks("blocked", 8192, "supcon", "contex", "end")
    assert max(peaks.values()) < full_matrix_mib(8192) / 4, peaks


@pytest.mark.slow
@linux
def test_step_on_two_classes_needs_less_memory_than_its_similarities():
    # Half of the batch then has the label of an anchor. Its pairs must not be kept, nor fragment the heap.
    peaks = measure_peaks("blocked", 6144, "fairkl", classes=2)
    assert peaks["fairkl"] < full_matrix_mib(6144) * 2 / 3, peaks


@linux
@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize(
    "name", ["fairkl", "softcon", "contex-clip", "end", "flac", "fscl", "fscl+", "cnc"]
)
def test_step_on_8192_anchors_needs_less_memory_for_every_kind_of_pair_loop(name, classes):
    # With two classes, half of the batch has the label of an anchor: a block has more columns.
    share = {10: 1 / 3, 2: 2 / 3}[classes]
    peaks = measure_peaks("blocked", 8192, name, classes=classes)
    assert peaks[name] < share * full_matrix_mib(8192), peaks


@linux
@pytest.mark.slow
def test_memory_grows_with_anchors_and_not_with_pairs():
    # Two times as many anchors have four times as many pairs.
    few, many = (measure_peaks("blocked", n, "fairkl", classes=2)["fairkl"] for n in (6144, 12288))
    assert many < 3 * few, (few, many)


@linux
def test_dense_step_needs_more_memory_than_its_similarities():
    assert measure_peaks("dense", 2048, "supcon")["supcon"] > full_matrix_mib(2048)
