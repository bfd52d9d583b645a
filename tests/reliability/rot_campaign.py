"""Campaign ``rot``: files of unfinished and finished runs are damaged, and the same command runs again.

A run is built up to a state, and one of its files is damaged: a bit is flipped, its end is cut off, it is
exchanged for the file of another run, or it is deleted. Then ``biascon evaluate`` runs. There are two right
outcomes. Either one line names the file, nothing is sealed, the damaged bytes are kept aside, and the remedy
that the line states gives the result of a run without a fault, to the last byte. Or the command gives this
result at once, because it does not need the file or computes it again. An accepted file that changes a result
is wrong.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from biascon.config.factory import make_config
from biascon.data.dataset import BiasedDataset, load
from biascon.evaluation import fine_tuning, pipeline
from biascon.evaluation.pipeline import evaluate, train_network, validate
from biascon.runs.folder import DONE
from biascon.runs.journal import DAMAGED_SUFFIX
from biascon.runs.records import EpochRecord
from tests.reliability.campaign import Row
from tests.run_helpers import run_here
from tests.small_datasets import write_faces

CPU = torch.device("cpu")
RESULTS = ("config.toml", "encoder.safetensors", "predictions.parquet", "evaluation.json")
TEST = "tests/runs/test_journal.py::test_a_damaged_file_is_never_sealed"


class StopError(Exception):
    """Ends a run at a chosen moment."""


@dataclass(frozen=True)
class State:
    """A state of a run in which its files are damaged.

    Attributes:
        name: The state, as a noun with what was done.
        loss: The loss.
        files: The files that are damaged, as patterns below ``LOSS/seed0-*/``, or ``OTHER/seed0-*/``.
        build: Builds the state from a dataset, in a folder of runs, with a seed.
        settings: Settings of the run.
        at_seal: Whether the files are damaged between the last write and the seal.
    """

    name: str
    loss: str
    files: Sequence[str]
    build: Callable[[State, BiasedDataset, Path, int], None]
    settings: tuple[str, ...] = ()
    at_seal: bool = False

    def config(self, seed: int) -> object:
        return make_config(self.loss, preset="smoke", seed=seed, settings=[*self.settings])

    def words(self, data: Path, root: Path) -> list[str]:
        """Return the command that goes on from the state."""
        words = ["evaluate", "--loss", self.loss, "--preset", "smoke", "--device", "cpu"]
        words += ["--data", str(data), "--runs", str(root)]
        for setting in self.settings:
            words += ["--set", setting]
        return [sys.executable, "-m", "biascon", *words]


def _train(state: State, data: BiasedDataset, root: Path, seed: int) -> None:
    validate(state.config(seed), data, root=root, device=CPU)  # type: ignore[arg-type]


def _train_first_stage(state: State, data: BiasedDataset, root: Path, seed: int) -> None:
    """Train the first-stage network alone."""

    def stop(record: EpochRecord) -> None:
        if not record.stage:
            raise StopError

    _until_stop(
        lambda: train_network(state.config(seed), data, root=root, device=CPU, on_epoch=stop)
    )  # type: ignore[arg-type]


def _train_one_epoch(state: State, data: BiasedDataset, root: Path, seed: int) -> None:
    def stop(record: EpochRecord) -> None:
        raise StopError

    _until_stop(
        lambda: train_network(state.config(seed), data, root=root, device=CPU, on_epoch=stop)
    )  # type: ignore[arg-type]


def _fine_tune_one_epoch(state: State, data: BiasedDataset, root: Path, seed: int) -> None:
    def stop(record: EpochRecord) -> None:
        if record.stage == fine_tuning.STAGE:
            raise StopError

    _until_stop(lambda: evaluate(state.config(seed), data, root=root, device=CPU, on_epoch=stop))  # type: ignore[arg-type]


def _finish(state: State, data: BiasedDataset, root: Path, seed: int) -> None:
    evaluate(state.config(seed), data, root=root, device=CPU)  # type: ignore[arg-type]


def _until_stop(action: Callable[[], object]) -> None:
    try:
        action()
    except StopError:
        return
    raise AssertionError("the run was not stopped")


FINE_TUNED = ("probe.kind=finetune", "finetune.epochs=2", "finetune.batch_size=32")
STATES = (
    State(
        "a trained run that is not evaluated",
        "ce",
        ("encoder.safetensors", "classifier.safetensors", "features-train.safetensors",
         "features-val.safetensors", "metrics.jsonl", "config.toml", "environment.json", "journal.jsonl"),
        _train,
    ),
    State(
        "a training after its first epoch",
        "ce",
        ("checkpoint.pt", "environment.json", "metrics.jsonl", "journal.jsonl"),
        _train_one_epoch,
    ),
    State(
        "a method whose first-stage network is trained",
        "lff",
        ("gce/losses.safetensors", "gce/encoder.safetensors", "gce/journal.jsonl", "checkpoint.pt"),
        _train_first_stage,
    ),
    State("a trained run with a first stage", "jtt", ("first_stage.json",), _train),
    State(
        "a fine-tuning after its first epoch",
        "ce",
        ("finetune.pt", "encoder.safetensors"),
        _fine_tune_one_epoch,
        FINE_TUNED,
    ),
    State(
        "a fine-tuned run right before its seal",
        "ce",
        ("finetuned.safetensors", "finetune.jsonl", "predictions.parquet", "evaluation.json",
         "encoder.safetensors"),
        _fine_tune_one_epoch,
        FINE_TUNED,
        at_seal=True,
    ),
    State(
        "an evaluated run right before its seal",
        "ce",
        ("features-test.safetensors", "features-train.safetensors", "metrics.jsonl", "config.toml"),
        _train,
        at_seal=True,
    ),
    State(
        "a finished run",
        "ce",
        ("config.toml", "environment.json", "metrics.jsonl", "encoder.safetensors",
         "classifier.safetensors", "features-test.safetensors", "predictions.parquet",
         "evaluation.json", "done"),
        _finish,
    ),
)  # fmt: skip


def flip(path: Path, other: Path, rng: np.random.Generator) -> None:
    """Flip a bit; in a file of weights one exponent bit of 16 floats in every 4 KiB."""
    content = np.frombuffer(path.read_bytes(), np.uint8).copy()
    if path.name == "encoder.safetensors":
        start = 8 + int.from_bytes(content[:8].tobytes(), "little")
        floats = content[start : start + (len(content) - start) // 4 * 4].view(np.uint32)
        for block in range(0, len(floats), 1024):
            floats[block : block + 16] ^= np.uint32(1 << 24)
    else:
        content[rng.integers(len(content))] ^= np.uint8(1 << int(rng.integers(8)))
    path.write_bytes(content.tobytes())


def truncate(path: Path, other: Path, rng: np.random.Generator) -> None:
    """Cut off the end, at a random place."""
    os.truncate(path, int(rng.integers(path.stat().st_size)))


def swap(path: Path, other: Path, rng: np.random.Generator) -> None:
    """Put the file of the same name of another run in its place."""
    shutil.copyfile(other, path)


def delete(path: Path, other: Path, rng: np.random.Generator) -> None:
    path.unlink()


ROTS: Sequence[tuple[str, str, Callable[[Path, Path, np.random.Generator], None]]] = (
    ("flipped bits", "a random bit; in weights an exponent bit of 16 floats in every 4 KiB", flip),
    ("truncated file", "its end is cut off at a random place", truncate),
    ("file of another run", "the file of the same name of the run with the next seed", swap),
    ("deleted file", "the file is deleted", delete),
)


@dataclass
class Counts:
    """What the rots of one kind did.

    Attributes:
        times: Files that were damaged.
        found: Damages that one line named.
        same: Damages after which the command gave the right result at once.
        lost: Damages after which the remedy did not give the right result.
        wrong: Damages that were accepted and changed a result, or were not named in one line.
        faults: What went wrong.
    """

    times: int = 0
    found: int = 0
    same: int = 0
    lost: int = 0
    wrong: int = 0
    faults: list[str] = field(default_factory=list)


def run(scratch: Path) -> list[Row]:
    """Damage every file of every state in every way."""
    counts: dict[str, Counts] = {name: Counts() for name, _, _ in ROTS}
    for state, name, pattern in rot_all(scratch, counts):
        del state, name, pattern
    rows = []
    for name, how, _ in ROTS:
        each = counts[name]
        for fault in each.faults:
            print(f"  {name}: {fault}")
        note = (
            f"{each.found} of {each.times} named in one line, {each.same} did not matter or were computed "
            "again with the same result"
        )
        rows.append(
            Row(f"{name}, in a run", f"{how}; {len(STATES)} states of a run", each.times, each.lost,
                each.wrong, TEST, note)
        )  # fmt: skip
    return rows


def rot_all(
    scratch: Path, counts: dict[str, Counts], *, states: Sequence[State] = STATES
) -> Iterator[tuple[State, str, str]]:
    """Damage every file of the states in every way, and count what happened; yield each damage."""
    data_folder = write_faces(scratch / "data")
    data = load(data_folder)
    rng = np.random.default_rng(1)
    for k, state in enumerate(states):
        base, other, whole = (scratch / f"{kind}{k}" for kind in ("base", "other", "whole"))
        state.build(state, data, base, 0)
        _build_other(state, data, other)
        shutil.copytree(base, whole)
        expected = _finish_without_fault(state, data_folder, whole)
        for pattern in state.files:
            for name, _, damage in ROTS:
                with tempfile.TemporaryDirectory(dir=scratch) as work:
                    root = Path(shutil.copytree(base, Path(work) / "runs"))
                    rot = Rot(state, pattern, damage, data_folder, root, other, expected, rng)
                    if damage is swap and rot.is_same():
                        continue
                    _count(counts[name], rot)
                yield state, name, pattern


def _build_other(state: State, data: BiasedDataset, root: Path) -> None:
    """Build the run whose files replace those of others: in the same state, or right before its seal."""
    if state.at_seal:
        evaluate(state.config(1), data, root=root, device=CPU)  # type: ignore[arg-type]
    else:
        state.build(state, data, root, 1)


def _finish_without_fault(state: State, data: Path, root: Path) -> dict[str, str]:
    done = run_here(state.words(data, root))
    assert done.returncode == 0, done.stderr
    return _results(state, root)


def _results(state: State, root: Path) -> dict[str, str]:
    """Return the SHA-256 of the results of a run by name; empty if it is not finished."""
    folder = _folder(state, root, 0)
    if folder is None or not (folder / DONE).is_file():
        return {}
    present = [name for name in RESULTS if (folder / name).is_file()]
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in present}


def _folder(state: State, root: Path, seed: int, loss: str = "") -> Path | None:
    found = sorted(root.glob(f"*/{loss or state.loss}/seed{seed}-*"))
    assert len(found) <= 1, found
    return found[0] if found else None


@dataclass(frozen=True)
class Rot:
    """One damage of one file of a run."""

    state: State
    pattern: str
    damage: Callable[[Path, Path, np.random.Generator], None]
    data: Path
    root: Path
    other: Path
    expected: dict[str, str]
    rng: np.random.Generator

    def path(self, root: Path, seed: int) -> Path:
        """Return the file in a folder of runs."""
        loss, _, name = self.pattern.rpartition("/")
        folder = _folder(self.state, root, seed, loss)
        assert folder is not None, (root, self.pattern)
        return folder / name

    def is_same(self) -> bool:
        """Whether the other run has the same bytes, as in ``environment.json``."""
        path, other = self.path(self.root, 0), self.path(self.other, 1)
        return path.is_file() and path.read_bytes() == other.read_bytes()

    def inflict(self) -> bytes | None:
        """Damage the file; return the damaged bytes, None if it is gone."""
        path = self.path(self.root, 0)
        before = path.read_bytes()
        self.damage(path, self.path(self.other, 1), self.rng)
        after = path.read_bytes() if path.exists() else None
        assert after != before, path
        return after


def _count(counts: Counts, rot: Rot) -> None:
    """Damage a file, run the command, then the remedy, and count what happened."""
    state, words = rot.state, rot.state.words(rot.data, rot.root)
    path = _place(rot)
    counts.times += 1
    damaged: list[bytes | None] = []
    if state.at_seal:
        seal = pipeline.mark_finished

        def rot_and_seal(folder: Path, digest: str) -> None:
            damaged.append(rot.inflict())
            seal(folder, digest)

        with mock.patch.object(pipeline, "mark_finished", rot_and_seal):
            done = run_here(words)
    else:
        damaged.append(rot.inflict())
        done = run_here(words)
    where = f"{state.name}: {rot.damage.__name__} {rot.pattern}"
    if done.returncode == 0:
        if _results(state, rot.root) == rot.expected:
            counts.same += 1
        else:
            counts.wrong += 1
            counts.faults.append(f"{where}: accepted, with another result")
        return
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    is_named = len(errors) == 1 and _names(errors[0], path) and "Traceback" not in done.stderr
    if not is_named or done.returncode != 1 or not _is_kept(rot, path, damaged[-1]):
        counts.wrong += 1
        counts.faults.append(f"{where}: exit code {done.returncode}, {done.stderr[-300:]!r}")
    else:
        counts.found += 1
    if not _heal(rot, words, errors[-1] if errors else ""):
        counts.lost += 1
        counts.faults.append(f"{where}: the remedy does not give the result ({errors})")


def _place(rot: Rot) -> Path:
    """Return the path of the file; it may not exist yet if it is damaged right before the seal."""
    loss, _, name = rot.pattern.rpartition("/")
    folder = _folder(rot.state, rot.root, 0, loss)
    assert folder is not None
    return folder / name


def _names(error: str, path: Path) -> bool:
    """Whether an error names a file, or for a journal or an end marker the folder that it is of."""
    is_record = path.name in ("journal.jsonl", DONE)
    return str(path.parent) in error and (is_record or path.name in error)


def _is_kept(rot: Rot, path: Path, damaged: bytes | None) -> bool:
    """Whether the damaged bytes of a file of an unfinished run are kept, and no end marker was written."""
    if rot.state.build is _finish:
        return damaged is None or path.read_bytes() == damaged
    if (path.parent / DONE).exists():
        return False
    if damaged is None or path.name == "journal.jsonl":
        return True
    return path.with_name(path.name + DAMAGED_SUFFIX).read_bytes() == damaged


def _heal(rot: Rot, words: list[str], error: str) -> bool:
    """Do what the error says; return whether that gives the result of a run without a fault."""
    if "--recompute" in error:
        again = run_here(words)  # without the option, nothing is computed
        if again.returncode != 1:
            return False
        done = run_here([*words, "--recompute"])
    elif "--no-resume" in error:
        done = run_here([*words, "--no-resume"])
    elif "delete the folder" in error:
        folder = _folder(rot.state, rot.root, 0)
        assert folder is not None
        shutil.rmtree(folder)
        done = run_here(words)
    else:
        return False
    return done.returncode == 0 and _results(rot.state, rot.root) == rot.expected
