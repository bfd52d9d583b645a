"""Seconds and peak memory of ``biascon audit`` on ten million rows, as a process of its own.

make bench, on an otherwise idle machine. The files also hold columns that the audit does not read.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

ROWS = 10_000_000
PART = 1_000_000
COLOURS = ["red", "green", "blue", "yellow", "magenta", "cyan", "orange", "rose", "violet", "grey"]
COLUMNS = ("--label", "label", "--prediction", "prediction")
CHILD = """
import re, sys
from pathlib import Path
from biascon.cli import main
try:
    main(sys.argv[1:])
finally:
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
    print(peak[1], file=sys.stderr)
"""


def parts() -> Iterator[pa.Table]:
    """Ten classes, ten colours, two sexes; predictions are right, or follow the colour."""
    rng = np.random.default_rng(0)
    for start in range(0, ROWS, PART):
        label = rng.integers(0, 10, PART)
        colour = np.where(rng.random(PART) < 0.3, label, rng.integers(0, 10, PART))
        yield pa.table(
            {
                "index": np.arange(start, start + PART),
                "label": label,
                "colour": pa.array(np.array(COLOURS)[colour]),
                "sex": pa.array(np.array(["female", "male"])[rng.integers(0, 2, PART)]),
                "prediction": np.where(rng.random(PART) < 0.7, label, colour),
                "score": rng.random(PART).astype(np.float32),
            }
        )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("audit")
    paths = {kind: folder / f"predictions.{kind}" for kind in ("parquet", "csv")}
    schema = next(parts()).schema
    with (
        pq.ParquetWriter(paths["parquet"], schema) as parquet,
        pc.CSVWriter(paths["csv"], schema) as text,
    ):
        for part in parts():
            parquet.write_table(part)
            text.write_table(part)
    return paths


@pytest.mark.parametrize("bias", [["colour"], ["colour", "sex"]], ids=" x ".join)
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_audit_of_ten_million_rows(
    benchmark: BenchmarkFixture, files: dict[str, Path], kind: str, bias: list[str]
) -> None:
    words = ["audit", str(files[kind]), *COLUMNS, *(word for b in bias for word in ("--bias", b))]
    peaks = []

    def process() -> None:
        done = subprocess.run(
            [sys.executable, "-c", CHILD, *words], capture_output=True, text=True, check=True
        )
        assert f"{ROWS:,} rows" in done.stdout
        peaks.append(int(done.stderr.splitlines()[-1]))

    benchmark.pedantic(process, rounds=3)
    benchmark.extra_info["peak_mb"] = round(max(peaks) / 1000)
    size = files[kind].stat().st_size / 1e6
    print(
        f"\n{kind} ({size:,.0f} MB), {' x '.join(bias)}: {benchmark.stats.stats.median:.1f} s (median of 3), "
        f"peak {max(peaks) / 1000:,.0f} MB"
    )
