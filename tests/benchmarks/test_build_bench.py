"""Process seconds of ``make-bmnist`` on the whole 70,000 images, from IDX files to the disk."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from biascon.data.biased_mnist import Spec, make_biased_mnist
from biascon.data.sources import VARIABLE


@pytest.mark.skipif(VARIABLE not in os.environ, reason=f"needs the real MNIST: set {VARIABLE}")
def test_make_bmnist(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    seconds = []

    def build() -> None:
        started = time.process_time()
        make_biased_mnist(Spec(0.997, val_protocol="none"), root=tmp_path, source="env", force=True)
        seconds.append(time.process_time() - started)

    benchmark.pedantic(build, rounds=5, warmup_rounds=1)
    median = sorted(seconds[1:])[len(seconds[1:]) // 2]
    benchmark.extra_info["process_seconds"] = round(median, 2)
    print(f"\nmake-bmnist, 70,000 images: {median:.2f} s of process time (median)")
