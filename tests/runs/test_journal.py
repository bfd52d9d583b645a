"""Nothing unsealed is trusted: a file of an unfinished run is compared with the journal before it is used."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from biascon.config.factory import make_config
from biascon.data.dataset import BiasedDataset, load
from biascon.errors import RunError
from biascon.evaluation import pipeline
from biascon.evaluation.pipeline import evaluate, validate
from biascon.runs import folder as run_files
from biascon.runs import journal
from biascon.runs.finished import FinishedRun

CPU = torch.device("cpu")
CONFIG = make_config("ce", preset="smoke")
SEALED = ("config.toml", "encoder.safetensors", "predictions.parquet", "evaluation.json")


@pytest.fixture(scope="module")
def data(
    make_dataset: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> BiasedDataset:
    return load(make_dataset(tmp_path_factory.mktemp("journal") / "data"))


@pytest.fixture(scope="module")
def trained(data: BiasedDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs with one run that is trained, and not evaluated."""
    root = tmp_path_factory.mktemp("trained")
    validate(CONFIG, data, root=root, device=CPU)
    return root


@pytest.fixture(scope="module")
def whole(data: BiasedDataset, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same run, finished without a fault."""
    root = tmp_path_factory.mktemp("whole") / "runs"
    shutil.copytree(trained, root)
    return evaluate(CONFIG, data, root=root, device=CPU).folder


@pytest.fixture
def root(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "runs"))


def only_run(root: Path) -> Path:
    (found,) = root.glob("*/*/seed0-*")
    return found


def flip_exponents(path: Path) -> None:
    """Flip an exponent bit of 16 floats in every 4 KiB."""
    content = np.frombuffer(path.read_bytes(), np.uint8).copy()
    start = 8 + int.from_bytes(content[:8].tobytes(), "little")
    floats = content[start:].view(np.uint32)
    for block in range(0, len(floats), 1024):
        floats[block : block + 16] ^= np.uint32(1 << 24)
    path.write_bytes(content.tobytes())


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("encoder.safetensors", flip_exponents),
        pytest.param("classifier.safetensors", flip_bit, marks=pytest.mark.slow),
        ("features-train.safetensors", flip_bit),
        pytest.param("features-val.safetensors", flip_bit, marks=pytest.mark.slow),
        ("metrics.jsonl", flip_bit),
        ("config.toml", flip_bit),
        pytest.param("environment.json", flip_bit, marks=pytest.mark.slow),
    ],
)
def test_a_damaged_file_is_never_sealed(
    name: str, harm: Callable[[Path], None], data: BiasedDataset, root: Path, whole: Path
) -> None:
    run = only_run(root)
    harm(run / name)
    damaged = (run / name).read_bytes()
    with pytest.raises(RunError, match=rf"{name} does not have the bytes that were written"):
        evaluate(CONFIG, data, root=root, device=CPU)
    assert (run / f"{name}.damaged").read_bytes() == damaged
    assert FinishedRun.read(run) is None
    # The same command refuses the run again, and computes nothing silently.
    with pytest.raises(
        RunError,
        match=rf"has a damaged file \({name}\.damaged\); pass --recompute to biascon evaluate",
    ):
        evaluate(CONFIG, data, root=root, device=CPU)
    evaluate(CONFIG, data, root=root, device=CPU, recompute=True)
    for sealed in SEALED:
        assert (run / sealed).read_bytes() == (whole / sealed).read_bytes(), sealed


@pytest.mark.parametrize(
    "name", ["predictions.parquet", "evaluation.json", "features-test.safetensors"]
)
def test_damage_between_the_last_write_and_the_seal_is_found(
    name: str,
    data: BiasedDataset,
    root: Path,
    whole: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = only_run(root)

    def harm_and_seal(folder: Path, digest: str) -> None:
        flip_bit(folder / name)
        run_files.mark_finished(folder, digest)

    monkeypatch.setattr(pipeline, "mark_finished", harm_and_seal)
    with pytest.raises(RunError, match=rf"{name} does not have the bytes that were written"):
        evaluate(CONFIG, data, root=root, device=CPU)
    monkeypatch.undo()
    assert not (run / "done").exists()
    evaluate(CONFIG, data, root=root, device=CPU, recompute=True)
    for sealed in SEALED:
        assert (run / sealed).read_bytes() == (whole / sealed).read_bytes(), sealed


def test_a_damaged_checkpoint_is_not_resumed_from(
    data: BiasedDataset, root: Path, whole: Path
) -> None:
    run = only_run(root)
    (run / "encoder.safetensors").unlink()
    flip_bit(run / "checkpoint.pt")
    with pytest.raises(RunError, match=r"checkpoint\.pt does not have the bytes"):
        evaluate(CONFIG, data, root=root, device=CPU)
    evaluate(CONFIG, data, root=root, device=CPU, resume=False)
    assert (run / "checkpoint.pt.damaged").is_file()
    assert (run / "encoder.safetensors").read_bytes() == (
        whole / "encoder.safetensors"
    ).read_bytes()


def test_a_finished_run_has_no_journal(whole: Path) -> None:
    assert not (whole / journal.JOURNAL).exists()


def test_an_unfinished_run_without_a_journal_is_refused(data: BiasedDataset, root: Path) -> None:
    (only_run(root) / journal.JOURNAL).unlink()
    with pytest.raises(RunError, match=r"is not in the journal of its run.*pass --no-resume"):
        evaluate(CONFIG, data, root=root, device=CPU)
    assert not evaluate(CONFIG, data, root=root, device=CPU, resume=False).reused


def test_a_file_of_another_run_is_refused(data: BiasedDataset, root: Path, tmp_path: Path) -> None:
    other, _ = validate(
        make_config("ce", preset="smoke", seed=1), data, root=tmp_path / "b", device=CPU
    )
    shutil.copyfile(other / "encoder.safetensors", only_run(root) / "encoder.safetensors")
    with pytest.raises(RunError, match=r"encoder\.safetensors does not have the bytes"):
        evaluate(CONFIG, data, root=root, device=CPU)


def test_every_flipped_bit_of_a_journal_is_found(tmp_path: Path) -> None:
    journal.write_files(tmp_path, {"a": b"1", "b": b"2"})
    path = tmp_path / journal.JOURNAL
    content = path.read_bytes()
    for k in range(0, 8 * len(content), 5):  # 5 and 8 have no common factor: every bit position
        flipped = bytearray(content)
        flipped[k // 8] ^= 1 << (k % 8)
        path.write_bytes(bytes(flipped))
        try:
            known = journal.read_journal(tmp_path).written
        except RunError as error:
            assert "journal.jsonl is damaged" in str(error)
        else:  # the end of the last line is gone: its file counts as not written
            assert k // 8 == len(content) - 1
            assert list(known) == ["a"]


def test_a_torn_last_line_is_dropped_and_the_next_one_is_whole(tmp_path: Path) -> None:
    journal.write_files(tmp_path, {"a": b"1"})
    journal.write_files(tmp_path, {"b": b"2"})
    path = tmp_path / journal.JOURNAL
    content = path.read_bytes()
    first = (
        content.index(b"\n", content.index(b"\n") + 1) + 1
    )  # after the lines of the run and of "a"
    for end in range(first, len(content)):
        path.write_bytes(content[:end])
        assert list(journal.read_journal(tmp_path).written) == ["a"]
        journal.write_files(tmp_path, {"b": b"3"})
        assert list(journal.read_journal(tmp_path).written) == ["a", "b"]
        assert journal.read_verified(tmp_path, "b") == b"3"


def test_the_earlier_bytes_are_accepted_if_the_process_was_killed_before_the_rename(
    tmp_path: Path,
) -> None:
    journal.write_files(tmp_path, {"checkpoint.pt": b"epoch 1"})
    journal.record(tmp_path, {"checkpoint.pt": journal.sha256_bytes(b"epoch 2")})
    assert journal.read_verified(tmp_path, "checkpoint.pt") == b"epoch 1"
    with pytest.raises(RunError, match="does not have the bytes"):
        journal.verify(tmp_path, "checkpoint.pt", journal.sha256_bytes(b"epoch 1"), newest=True)
