"""The readers that are fuzzed: valid inputs, how they are changed, and how they are read.

A reader raises ``BiasconError`` or a ``UsageError`` for an input that it refuses. Any other exception is a
fault, and so is a message of several lines.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import shutil
import struct
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pyarrow import feather

from biascon.cli import main
from biascon.config.settings import load_preset
from biascon.data.builders.mnist_source import parse_idx, read_idx_file
from biascon.data.builders.utkface_names import parse_names
from biascon.data.dataset import load
from biascon.data.manifest import with_checksum
from biascon.data.memory_map import read_arrays
from biascon.errors import BiasconError
from biascon.models.weights import read_weights
from biascon.report.experiments import group_runs
from biascon.report.markdown import render_markdown
from biascon.runs import checkpoint, journal
from biascon.runs.finished import FinishedRun
from biascon.runs.folder import read_seal
from biascon.studies.table import read_table
from biascon.sweep.grid_file import read_grid
from biascon.tuning.study import read_study
from tests.fuzz.mutation import Mutator, mutate_bytes, mutate_json, mutate_lines
from tests.run_helpers import note_in_journal, reseal

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "report" / "runs" / "bmnist5k-0.9"


@dataclass(frozen=True)
class Reader:
    """A reader of one kind of input.

    Attributes:
        name: The name of the kind.
        seeds: Valid inputs.
        mutate: Changes an input.
        read: Reads an input in a folder that it may use.
    """

    name: str
    seeds: Sequence[bytes]
    mutate: Mutator
    read: Callable[[bytes, Path], Any]


def run_command(*words: str) -> None:
    """Run a command in this process; an unexpected error is raised, an expected one is a ``BiasconError``."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(["--debug", *words])
        except SystemExit as stop:
            if stop.code:
                raise BiasconError(err.getvalue().strip().rpartition("\n")[2]) from None


def make_readers(folder: Path, dataset: Path) -> list[Reader]:
    """Return all readers.

    Args:
        folder: A folder for what the readers need.
        dataset: A small dataset folder.
    """
    run = next(path for path in sorted((GOLDEN / "contex").iterdir()) if path.is_dir())
    rng = np.random.default_rng(0)
    table = rng.integers(0, 2, (40, 3))
    csv = "label,bias,prediction\n" + "\n".join(",".join(map(str, row)) for row in table) + "\n"
    arrow = io.BytesIO()
    feather.write_feather(pq.read_table(io.BytesIO(_to_parquet(table))), arrow)
    weights = io.BytesIO()
    torch.save({"layer.weight": torch.ones(3, 2), "layer.bias": torch.zeros(3)}, weights)
    state = io.BytesIO()
    torch.save({"epoch": 1, "model": {"w": torch.ones(3)}, "history": []}, state)
    images = struct.pack(">IIII", 2051, 2, 3, 3) + bytes(18)
    labels = struct.pack(">II", 2049, 2) + b"\x01\x02"
    journal_folder = folder / "journal"
    journal_folder.mkdir()
    journal.write_files(journal_folder, {"a": b"1", "b": b"2"})
    lines = (journal_folder / journal.JOURNAL).read_bytes()
    names = "\n".join(
        ["25_0_2_20170116174525125.jpg", "1_1_0_20161219140623097.jpg.chip.jpg", "x.png"]
    )
    presets = sorted((ROOT / "biascon" / "config" / "presets").glob("*.toml"))
    studies = sorted((ROOT / "docs" / "results" / "fair").glob("*.toml"))
    safetensors = (dataset / "test.safetensors").read_bytes()
    study = ROOT / "docs" / "results" / "utkface" / "race" / "study.parquet"
    return [
        Reader("idx", [images, labels], mutate_bytes, lambda data, _: parse_idx(data, "x")),
        Reader("idx.gz", [gzip.compress(images, mtime=0)], mutate_bytes, _read_gzip),
        Reader("manifest", [(dataset / "manifest.json").read_bytes()], mutate_json, _manifest(dataset)),
        Reader("dataset arrays", [safetensors], mutate_bytes, _write_and(read_arrays, "x.safetensors")),
        Reader("evaluation", [(run / "evaluation.json").read_bytes()], mutate_json, _evaluation(run)),
        Reader("predictions", [(run / "predictions.parquet").read_bytes()], mutate_bytes, _predictions(run)),
        Reader("end marker", [(run / "done").read_bytes()], mutate_json, _write_and(_seal, "done")),
        Reader("journal", [lines], mutate_bytes, _read_journal),
        Reader("checkpoint", [state.getvalue()], mutate_bytes, _checkpoint),
        Reader("weights", [weights.getvalue(), safetensors], mutate_bytes,
               lambda data, _: read_weights(data, Path("x"))),
        Reader("preset", [path.read_bytes() for path in presets], mutate_lines,
               _write_and(lambda path: load_preset(str(path)), "x.toml")),
        Reader("grid", [GRID], mutate_lines, _write_and(read_grid, "x.toml")),
        Reader("study", [path.read_bytes() for path in studies], mutate_lines,
               _write_and(read_study, "x.toml")),
        Reader("study table", [study.read_bytes()], mutate_bytes, _write_and(read_table, "x.parquet")),
        Reader("names", [names.encode()], mutate_lines,
               lambda data, _: parse_names(data.decode("utf-8", "replace").split("\n"))),
        Reader("audit csv", [csv.encode()], mutate_lines, _audit("x.csv")),
        Reader("audit arrow", [arrow.getvalue()], mutate_bytes, _audit("x.arrow")),
        Reader("audit parquet", [_to_parquet(table)], mutate_bytes, _audit("x.parquet")),
        Reader("audit jsonl", [_to_jsonl(table)], mutate_lines, _audit("x.jsonl")),
    ]  # fmt: skip


GRID = b"""losses = ["contex", "supcon"]
rho = [0.99, 0.997]
seeds = [0, 1, 2]
preset = "cpu"

[settings]
"loss.temperature" = [0.05, 0.1]
"train.epochs" = [1]
"""


def _to_parquet(table: Any) -> bytes:
    buffer = io.BytesIO()
    names = ("label", "bias", "prediction")
    pq.write_table(pa.table({name: table[:, k] for k, name in enumerate(names)}), buffer)
    return buffer.getvalue()


def _to_jsonl(table: Any) -> bytes:
    keys = ("label", "bias", "prediction")
    rows = (json.dumps(dict(zip(keys, row, strict=True))) for row in table.tolist())
    return ("\n".join(rows) + "\n").encode()


def _write_and(read: Callable[[Path], Any], name: str) -> Callable[[bytes, Path], Any]:
    def write_and_read(data: bytes, folder: Path) -> Any:
        path = folder / name
        path.write_bytes(data)
        return read(path)

    return write_and_read


def _read_gzip(data: bytes, folder: Path) -> Any:
    (folder / "x.gz").write_bytes(data)
    return parse_idx(read_idx_file(folder / "x.gz"), "x")


def _seal(path: Path) -> Any:
    return read_seal(path.parent)


def _read_journal(data: bytes, folder: Path) -> Any:
    run = folder / "journal"  # a journal names the folder of its run
    run.mkdir(exist_ok=True)
    (run / journal.JOURNAL).write_bytes(data)
    return journal.read_journal(run)


def _checkpoint(data: bytes, folder: Path) -> Any:
    path = folder / checkpoint.NAME
    path.write_bytes(data)
    (folder / journal.JOURNAL).unlink(missing_ok=True)
    note_in_journal(path)
    return checkpoint.load(folder)


def _manifest(dataset: Path) -> Callable[[bytes, Path], Any]:
    """Read a dataset with another manifest; its own hash is renewed where that is possible."""

    def read(data: bytes, folder: Path) -> None:
        copy = folder / "dataset"
        if not copy.exists():
            shutil.copytree(dataset, copy, copy_function=shutil.copyfile)
        with contextlib.suppress(Exception):
            data = json.dumps(with_checksum(json.loads(data))).encode()
        (copy / "manifest.json").write_bytes(data)
        run_command("inspect", str(copy))
        load(copy)

    return read


def _evaluation(run: Path) -> Callable[[bytes, Path], Any]:
    """Read a run with another evaluation whose hash is renewed, and report it."""

    def read(data: bytes, folder: Path) -> None:
        copy = folder / "run"
        if not copy.exists():
            shutil.copytree(run, copy, ignore=shutil.ignore_patterns(".cache"))
        tree = json.loads(data)
        if isinstance(tree, dict) and isinstance(tree.get("digest"), str):
            done = json.loads((copy / "done").read_bytes())
            (copy / "done").write_text(json.dumps({**done, "digest": tree["digest"]}))
        (copy / "evaluation.json").write_bytes(data)
        reseal(copy)
        found = FinishedRun.read(copy)
        assert found is not None
        render_markdown(group_runs([found]))

    return read


def _predictions(run: Path) -> Callable[[bytes, Path], Any]:
    def read(data: bytes, folder: Path) -> None:
        copy = folder / "run"
        if not copy.exists():
            shutil.copytree(run, copy, ignore=shutil.ignore_patterns(".cache"))
        (copy / "predictions.parquet").write_bytes(data)
        reseal(copy)
        FinishedRun.read(copy)

    return read


def _audit(name: str) -> Callable[[bytes, Path], Any]:
    def read(data: bytes, folder: Path) -> None:
        path = folder / name
        path.write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            columns = [f"--{name}={name}" for name in ("label", "bias", "prediction")]
            run_command("audit", str(path), "--json", *columns)

    return read
