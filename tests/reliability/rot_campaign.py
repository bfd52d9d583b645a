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
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from biascon.config.factory import make_config
from biascon.config.run_config import RunConfig
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
TESTS = "tests/runs/test_journal.py::"


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

    def config(self, seed: int) -> RunConfig:
        """Return the configuration of the run with a seed."""
        return make_config(self.loss, preset="smoke", seed=seed, settings=[*self.settings])

    def words(self, data: Path, root: Path) -> list[str]:
        """Return the command that goes on from the state."""
        words = ["evaluate", "--loss", self.loss, "--preset", "smoke", "--device", "cpu"]
        words += ["--data", str(data), "--runs", str(root)]
        for setting in self.settings:
            words += ["--set", setting]
        return [sys.executable, "-m", "biascon", *words]


def _train(state: State, data: BiasedDataset, root: Path, seed: int) -> None:
    validate(state.config(seed), data, root=root, device=CPU)


def _train_first_stage(state: State, data: BiasedDataset, root: Path, seed: int) -> None:
    """Train the first-stage network alone."""

    def stop(record: EpochRecord) -> None:
        if not record.stage:
            raise StopError

    _until_stop(
        lambda: train_network(state.config(seed), data, root=root, device=CPU, on_epoch=stop)
    )


def _train_one_epoch(state: State, data: BiasedDataset, root: Path, seed: int) -> None:
    def stop(record: EpochRecord) -> None:
        raise StopError

    _until_stop(
        lambda: train_network(state.config(seed), data, root=root, device=CPU, on_epoch=stop)
    )


def _fine_tune_one_epoch(state: State, data: BiasedDataset, root: Path, seed: int) -> None:
    def stop(record: EpochRecord) -> None:
        if record.stage == fine_tuning.STAGE:
            raise StopError

    _until_stop(lambda: evaluate(state.config(seed), data, root=root, device=CPU, on_epoch=stop))


def _finish(state: State, data: BiasedDataset, root: Path, seed: int) -> None:
    evaluate(state.config(seed), data, root=root, device=CPU)


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


@dataclass(frozen=True)
class Damage:
    """A kind of damage.

    Attributes:
        name: Its name, as a noun.
        how: What is done.
        inflict: Damages a file; it also gets the file of another run and a generator.
        test: The quick test that would find it.
    """

    name: str
    how: str
    inflict: Callable[[Path, Path, np.random.Generator], None]
    test: str


DAMAGES = (
    Damage(
        "flipped bits in a file",
        "one random bit; in an encoder one exponent bit of 16 floats in every 4 KiB",
        flip,
        "test_a_damaged_file_is_never_sealed",
    ),
    Damage(
        "a truncated file",
        "the end is cut off at a random place",
        truncate,
        "test_a_truncated_file_is_never_sealed",
    ),
    Damage(
        "the file of another run",
        "the file of the same name of the run with the next seed",
        swap,
        "test_a_file_of_another_run_is_refused",
    ),
    Damage(
        "a deleted file",
        "the file is deleted",
        delete,
        "test_a_deleted_file_is_named_and_computed_again_on_demand",
    ),
)


@dataclass
class Counts:
    """What the rots of one kind did.

    Attributes:
        times: Files that were damaged.
        named: Damages that one line named.
        same: Damages after which the command gave the right result at once.
        lost: Damages after which the remedy did not give the right result.
        wrong: Damages that were accepted and changed a result, or were not named in one line.
        faults: What went wrong.
    """

    times: int = 0
    named: int = 0
    same: int = 0
    lost: int = 0
    wrong: int = 0
    faults: list[str] = field(default_factory=list)


def run(scratch: Path) -> list[Row]:
    """Damage every file of every state in every way."""
    counts = {damage.name: Counts() for damage in DAMAGES}
    rot_all(scratch, counts)
    rows = []
    for damage in DAMAGES:
        found = counts[damage.name]
        for fault in found.faults:
            print(f"  {damage.name}: {fault}")
        rows.append(
            Row(
                f"unfinished or finished run with {damage.name}",
                f"{damage.how}; then the same command, and the remedy that it states",
                found.times,
                found.lost,
                found.wrong,
                TESTS + damage.test,
                f"{found.named} of {found.times} named in one line; {found.same} not needed, or computed "
                "again with the same result",
            )
        )
    return rows


def rot_all(scratch: Path, counts: dict[str, Counts], states: Sequence[State] = STATES) -> None:
    """Damage every file of the states in every way, and count what happened by the kind of damage."""
    data_folder = write_faces(scratch / "data")
    data = load(data_folder)
    rng = np.random.default_rng(1)
    for k, state in enumerate(states):
        base, other, whole = (scratch / f"{kind}{k}" for kind in ("base", "other", "whole"))
        state.build(state, data, base, 0)
        _build_other(state, data, other)
        own, of_other = _find_run(state, base), _find_run(state, other)
        shutil.copytree(base, whole)
        expected = _finish_without_fault(state, data_folder, whole, own)
        for pattern in state.files:
            paths = _locate(base, own, pattern), other / _locate(other, of_other, pattern)
            for damage in DAMAGES:
                with tempfile.TemporaryDirectory(dir=scratch) as work:
                    root = Path(shutil.copytree(base, Path(work) / "runs"))
                    rot = Rot(state, own, *paths, damage, data_folder, root, expected, rng)
                    if damage.inflict is not swap or not rot.is_same():
                        _count(counts[damage.name], rot)


def _build_other(state: State, data: BiasedDataset, root: Path) -> None:
    """Build the run whose files are put in the place of others."""
    if state.at_seal:
        evaluate(state.config(1), data, root=root, device=CPU)
    else:
        state.build(state, data, root, 1)


def _finish_without_fault(state: State, data: Path, root: Path, own: Path) -> dict[str, str]:
    done = run_here(state.words(data, root))
    assert done.returncode == 0, done.stderr
    return _results(root / own)


def _results(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the results of a run by name; empty if it is not finished."""
    if not (folder / DONE).is_file():
        return {}
    present = [name for name in RESULTS if (folder / name).is_file()]
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in present}


def _find_run(state: State, root: Path) -> Path:
    """Return the folder of the run of a state, below a folder of runs."""
    protocol = "finetune" if state.settings else "linear"
    (found,) = (
        path
        for path in root.glob(f"*/{state.loss}/seed*")
        if tomllib.loads((path / "config.toml").read_text())["probe"].get("kind", "linear")
        == protocol
    )
    return found.relative_to(root)


def _locate(root: Path, own: Path, pattern: str) -> Path:
    """Return a file of a run or of its first stage, below a folder of runs."""
    loss, _, name = pattern.rpartition("/")
    if not loss:
        return own / name
    (found,) = root.glob(f"*/{loss}/seed*")
    return found.relative_to(root) / name


@dataclass(frozen=True)
class Rot:
    """One damage of one file of a run.

    Attributes:
        state: The state of the run.
        own: The folder of the run, below ``root``.
        file: The file, below ``root``.
        other: The file of the same name of another run.
        damage: The kind of damage.
        data: The dataset folder.
        root: The folder of runs.
        expected: The SHA-256 of the results without a fault, by name.
        rng: Draws the places.
    """

    state: State
    own: Path
    file: Path
    other: Path
    damage: Damage
    data: Path
    root: Path
    expected: dict[str, str]
    rng: np.random.Generator

    @property
    def path(self) -> Path:
        """The file."""
        return self.root / self.file

    def is_same(self) -> bool:
        """Whether the other run has the same bytes, as in ``environment.json``."""
        return self.path.is_file() and self.path.read_bytes() == self.other.read_bytes()

    def has_result(self) -> bool:
        """Whether the run is finished, with the result of a run without a fault."""
        return _results(self.root / self.own) == self.expected

    def inflict(self) -> bytes | None:
        """Damage the file; return the damaged bytes, None if it is gone."""
        before = self.path.read_bytes()
        self.damage.inflict(self.path, self.other, self.rng)
        after = self.path.read_bytes() if self.path.exists() else None
        assert after != before, self.path
        return after


def _count(counts: Counts, rot: Rot) -> None:
    """Damage a file, run the command, then the remedy, and count what happened."""
    state, words = rot.state, rot.state.words(rot.data, rot.root)
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
    where = f"{state.name}: {rot.damage.name}: {rot.file}"
    if done.returncode == 0:
        if rot.has_result():
            counts.same += 1
        else:
            counts.wrong += 1
            counts.faults.append(f"{where}: accepted, with another result")
        return
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    is_named = len(errors) == 1 and _names(errors[0], rot.path) and "Traceback" not in done.stderr
    if not is_named or done.returncode != 1 or not _is_kept(rot, damaged[-1]):
        counts.wrong += 1
        counts.faults.append(f"{where}: exit code {done.returncode}, {done.stderr[-300:]!r}")
    else:
        counts.named += 1
    if not _heal(rot, words, errors[-1] if errors else ""):
        counts.lost += 1
        counts.faults.append(f"{where}: the remedy does not give the result ({errors})")


def _names(error: str, path: Path) -> bool:
    """Whether an error names a file, or for a journal or an end marker the folder that it is of."""
    is_record = path.name in ("journal.jsonl", DONE)
    return str(path.parent) in error and (is_record or path.name in error)


def _is_kept(rot: Rot, damaged: bytes | None) -> bool:
    """Whether the damaged bytes of a file of an unfinished run are kept, and no end marker was written."""
    path = rot.path
    if rot.state.build is _finish:
        return damaged is None or path.read_bytes() == damaged
    if (path.parent / DONE).exists():
        return False
    if damaged is None or path.name == "journal.jsonl":
        return True
    aside = path.with_name(path.name + DAMAGED_SUFFIX)
    return aside.is_file() and aside.read_bytes() == damaged


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
        shutil.rmtree(rot.root / rot.own)
        done = run_here(words)
    else:
        return False
    return done.returncode == 0 and rot.has_result()
