"""Nothing unsealed is trusted: a file of an unfinished run is compared with the journal before it is used."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from biascon.config.factory import make_config
from biascon.data.dataset import BiasedDataset, load
from biascon.errors import BiasconError, RunError
from biascon.evaluation import pipeline
from biascon.evaluation.pipeline import evaluate, validate
from biascon.runs import folder as run_files
from biascon.runs import journal
from biascon.runs.finished import FinishedRun
from biascon.runs.restart import start_again

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


def test_a_truncated_file_is_never_sealed(data: BiasedDataset, root: Path) -> None:
    path = only_run(root) / "encoder.safetensors"
    for size in (path.stat().st_size - 1, 0):
        os.truncate(path, size)
        with pytest.raises(RunError, match=r"encoder\.safetensors does not have the bytes"):
            run_files.read_artifact(path.parent, path.name)
        assert (path.parent / "encoder.safetensors.damaged").stat().st_size == size
        path.touch()
    assert not (path.parent / "done").exists()


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


@pytest.mark.parametrize(
    "name",
    [
        "metrics.jsonl",
        pytest.param("config.toml", marks=pytest.mark.slow),
        pytest.param("classifier.safetensors", marks=pytest.mark.slow),
    ],
)
def test_a_deleted_file_is_named_and_computed_again_on_demand(
    name: str, data: BiasedDataset, root: Path, whole: Path
) -> None:
    run = only_run(root)
    (run / name).unlink()
    with pytest.raises(RunError, match=rf"{name} was written and is missing; pass --recompute"):
        evaluate(CONFIG, data, root=root, device=CPU)
    with pytest.raises(RunError, match=rf"has a damaged file \({name}, missing\); pass"):
        validate(CONFIG, data, root=root, device=CPU)
    validate(CONFIG, data, root=root, device=CPU, recompute=True)
    evaluate(CONFIG, data, root=root, device=CPU)
    for sealed in SEALED:
        assert (run / sealed).read_bytes() == (whole / sealed).read_bytes(), sealed


def test_an_optional_file_that_was_written_is_not_left_out_of_the_seal(
    data: BiasedDataset, root: Path
) -> None:
    run = only_run(root)
    journal.record(run, {"first_stage.json": journal.sha256_bytes(b"{}")})
    with pytest.raises(RunError, match=r"first_stage\.json was written and is missing"):
        run_files.read_selected_images(run)
    with pytest.raises(RunError, match=r"first_stage\.json, missing"):
        evaluate(CONFIG, data, root=root, device=CPU)
    assert not (run / "done").exists()


def test_the_journal_of_another_run_is_refused_and_kept(
    data: BiasedDataset, root: Path, tmp_path: Path
) -> None:
    run, other = only_run(root), tmp_path / "other"
    other.mkdir()
    journal.write_files(other, {"encoder.safetensors": (run / "encoder.safetensors").read_bytes()})
    swapped = Path(shutil.copyfile(other / journal.JOURNAL, run / journal.JOURNAL)).read_bytes()
    with pytest.raises(RunError, match=r"journal\.jsonl is that of another run; pass --no-resume"):
        evaluate(CONFIG, data, root=root, device=CPU)
    assert not evaluate(CONFIG, data, root=root, device=CPU, resume=False).reused
    assert (run / "journal.jsonl.damaged").read_bytes() == swapped


def test_train_does_not_measure_damaged_features_of_a_finished_run(
    data: BiasedDataset, whole: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(whole.parents[2], tmp_path / "runs"))
    flip_exponents(only_run(root) / "features-train.safetensors")
    with pytest.raises(RunError, match=r"features-train\.safetensors has changed since the run"):
        validate(CONFIG, data, root=root, device=CPU)


def test_a_finished_run_is_not_written_with_other_bytes(whole: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole, tmp_path / whole.name))
    before = (run / "environment.json").read_bytes()
    run_files.write_artifacts(run, {"environment.json": b"{}", "features-new": b"not sealed"})
    assert (run / "environment.json").read_bytes() == before
    assert (run / "features-new").read_bytes() == b"not sealed"


def test_a_damaged_file_whose_line_cannot_be_written_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.write_files(tmp_path, {"a": b"1"})
    (tmp_path / "a").write_bytes(b"2")

    def fail(*_: object) -> None:
        raise BiasconError("cannot write: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "append_durably", fail)
        for _ in range(2):
            with pytest.raises(
                RunError, match=r"a does not have the bytes that were written; pass"
            ):
                journal.read_verified(tmp_path, "a")
    assert (tmp_path / "a").is_file()
    # A process that is killed between the line and the renaming: the next one renames the file.
    journal.record_damage(tmp_path, "a")
    with pytest.raises(RunError, match="has a damaged file"):
        start_again(tmp_path, resume=True, recompute=False)
    start_again(tmp_path, resume=True, recompute=True)
    assert (tmp_path / "a.damaged").read_bytes() == b"2" and not (tmp_path / "a").exists()
    start_again(tmp_path, resume=True, recompute=False)


def test_only_the_main_process_sets_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal.write_files(tmp_path, {"a": b"1", "b": b"2"})
    (tmp_path / "a").write_bytes(b"2")
    (tmp_path / "b").unlink()
    before = (tmp_path / journal.JOURNAL).read_bytes()
    monkeypatch.setattr("biascon.utils.distributed.is_main_process", lambda: False)
    for name, message in (("a", "does not have the bytes"), ("b", "is missing")):
        with pytest.raises(RunError, match=message):
            journal.read_verified(tmp_path, name)
    assert (tmp_path / journal.JOURNAL).read_bytes() == before
    assert (tmp_path / "a").read_bytes() == b"2"


def test_a_run_that_is_deleted_half_way_has_a_line_for_each_file(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process is killed before each deletion of ``--no-resume``."""
    run = only_run(root)
    unlink, left = Path.unlink, [0]

    def stop(path: Path, missing_ok: bool = False) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        unlink(path, missing_ok=missing_ok)

    for k in range(20):
        left[0] = k
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", stop)
            try:
                start_again(run, resume=False, recompute=False)
            except KeyboardInterrupt:
                pass
            else:
                break
        known = journal.read_journal(run).written
        for path in run.glob("[!.]*.*"):
            assert path.name in {*known, journal.JOURNAL}, (k, path)
    assert not (run / journal.JOURNAL).exists() and not (run / "encoder.safetensors").exists()
