"""Process seconds of ``make-bmnist`` on the whole 70,000 images, from IDX files to the disk."""

from __future__ import annotations

import time
from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture

from biascon.data.biased_mnist import Spec, make_biased_mnist


def test_make_bmnist(benchmark: BenchmarkFixture, tmp_path: Path, mnist_dir: Path) -> None:
    seconds = []

    def build() -> None:
        started = time.process_time()
        spec = Spec(0.997, val_protocol="none")
        make_biased_mnist(spec, root=tmp_path, mnist_dir=mnist_dir, force=True)
        seconds.append(time.process_time() - started)

    benchmark.pedantic(build, rounds=5, warmup_rounds=1)
    median = sorted(seconds[1:])[len(seconds[1:]) // 2]
    benchmark.extra_info["process_seconds"] = round(median, 2)
    print(f"\nmake-bmnist, 70,000 images: {median:.2f} s of process time (median)")
