"""``tests/gpu/run.py`` on the CPU: the parts of the check can fail, limits of time hold, a study resumes."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import subprocess
import sys
import time
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from biascon.cli.requirements import EVALUATION
from biascon.config.factory import make_config
from biascon.data import dataset
from biascon.data.manifest import read_manifest
from biascon.errors import DataError
from biascon.evaluation import pipeline
from biascon.losses import LOSSES
from biascon.runs import checkpoint
from biascon.runs.context import ignore_epoch
from tests.gpu import bench, check, parts, run, study
from tests.gpu.process import Ended
from tests.gpu.wheels import fits, unpack_missing

OPTIONS = Namespace(device="cpu", small=True)
RUN = Path(run.__file__)


def parse(*words: str | Path) -> Namespace:
    return run.parse([str(word) for word in words])


def test_every_loss_agrees_with_float64(tmp_path: Path) -> None:
    rows = list(itertools.islice(parts.check_losses(OPTIONS, tmp_path), len(LOSSES)))
    assert [row["loss"] for row in rows] == list(LOSSES)
    assert {row["reference"] for row in rows} == {"float64"}
    assert all(row["ok"] for row in rows), [row for row in rows if not row["ok"]]
    assert all(row["value"] > 0 for row in rows)  # two precisions, so that a difference is seen


def test_a_wrong_loss_and_a_failing_loss_are_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get_loss = parts.get_loss

    def changed(name: str) -> Any:
        def loss(z: torch.Tensor, *args: Any, **inputs: Any) -> torch.Tensor:
            value = get_loss(name)(z, *args, **inputs)
            return value * 1.001 if z.dtype == torch.float32 else value

        if name == "supcon":
            raise RuntimeError("no kernel image\nfor this device")
        return loss

    monkeypatch.setattr(parts, "get_loss", changed)
    rows = {row["loss"]: row for row in itertools.islice(parts.check_losses(OPTIONS, tmp_path), 5)}
    assert not any(row["ok"] for row in rows.values())
    assert rows["contex"]["gradient"] == pytest.approx(1e-3, rel=0.01)
    assert rows["supcon"]["error"] == "RuntimeError: no kernel image"


def test_a_gradient_that_is_nan_is_beyond_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = parts._value_and_gradients

    def changed(name: str, anchors: int, device: torch.device, dtype: torch.dtype) -> Any:
        found = find(name, anchors, device, dtype)
        if dtype == torch.float32:  # on the device
            found[list(found)[-1]] = found[list(found)[-1]] * torch.nan
        return found

    monkeypatch.setattr(parts, "_value_and_gradients", changed)
    rows = list(itertools.islice(parts.check_losses(OPTIONS, tmp_path), len(LOSSES)))
    assert not any(row["ok"] for row in rows)
    assert all(math.isnan(row["gradient"]) and row["value"] <= parts.LOSS_LIMIT for row in rows)


@pytest.mark.parametrize(
    ("epoch", "is_done", "line", "reason"),
    [
        (2, False, "epoch 2/4", ""),
        (2, False, "epoch 3/4", "exit code 0"),  # another line: the command ends by itself
        (None, False, "epoch 2/4", "no checkpoint"),
        (0, False, "epoch 2/4", "no checkpoint"),
        (2, True, "epoch 2/4", "finished before"),
    ],
)
def test_a_run_that_was_not_interrupted_is_found(
    tmp_path: Path, epoch: int | None, is_done: bool, line: str, reason: str
) -> None:
    folder = tmp_path / "data" / "contex" / "seed0-12345678"
    folder.mkdir(parents=True)
    if epoch is not None:
        checkpoint.save(folder, {"epoch": epoch})
    if is_done:
        (folder / "done").touch()
    wait = "time.sleep(60)" if line == "epoch 2/4" else "sys.exit()"
    program = f"import sys, time; print({line!r}, file=sys.stderr); {wait}"
    words = [sys.executable, "-S", "-c", program]
    found = parts._kill_at("epoch 2/4", words, tmp_path)
    assert (reason in found) if reason else found == ""


def test_a_command_that_is_not_killed_is_a_failed_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[Path] = []

    def finish(words: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        runs.append(Path(words[-1]))
        (runs[-1] / "data" / "contex" / "seed0-12345678").mkdir(parents=True)
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr("tests.gpu.parts.subprocess.run", finish)
    monkeypatch.setattr(parts, "_kill_at", lambda line, words, runs: "not killed")
    monkeypatch.setattr(parts, "_compare_runs", lambda first, other: (True, 0.0, 0.0))
    again, killed = parts._repeat(OPTIONS, tmp_path, deterministic=True)
    assert (again["run"], again["ok"]) == ("again", True)
    assert killed == {"deterministic": True, "run": "killed", "ok": False, "error": "not killed"}
    assert len(runs) == 2


def test_moments_of_views_agree_and_another_augmentation_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = list(parts.check_augmentation(OPTIONS, tmp_path))
    assert len(rows) == 2 * 6 * 2
    assert all(row["ok"] for row in rows), rows
    calls = itertools.count()
    augment = parts.augment

    def changed(images: torch.Tensor, augmentation: Any, *args: Any, **options: Any) -> Any:
        views = augment(images, augmentation, *args, **options)
        return views * 0.9 if next(calls) % 2 else views

    monkeypatch.setattr(parts, "augment", changed)
    assert not all(row["ok"] for row in parts.check_augmentation(OPTIONS, tmp_path))


ROW = {"preset": "smoke", "loss": "supcon", "precision": "float32", "compiled": False}


def test_a_part_runs_in_a_process_and_its_failure_and_its_time_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run.py").write_text("print('{\"x\": 1}'); raise SystemExit('out of order')")
    options = parse("check", "--out", tmp_path, "--device", "cpu")
    monkeypatch.setattr(check, "__file__", str(tmp_path / "check.py"))
    result = check._run_in_process("losses", options, 60.0)
    assert (result["state"], result["rows"]) == ("failed", [{"x": 1}])
    assert result["reason"] == "out of order"
    assert check._run_in_process("losses", options, 1.0)["state"] == "not run"
    # A last line that the time limit cut off is no row.
    ended = Ended(None, '{"x": 1}\n{"x"', "", 60.0)
    monkeypatch.setattr(check, "run_limited", lambda words, seconds: ended)
    result = check._run_in_process("losses", options, 60.0)
    assert (result["state"], result["rows"]) == ("failed", [{"x": 1}])
    assert result["reason"] == "not finished after 60 s"


@pytest.mark.parametrize(
    ("code", "rows", "state", "n_missing"),
    [
        (None, [ROW], "incomplete", 1),
        (None, [], "failed", 2),
        (None, [{**ROW, "ok": False}], "failed", 1),
        (1, [ROW], "failed", 1),
        (0, [ROW, {**ROW, "preset": "cpu", "loss": "contex"}], "passed", 0),
    ],
)
def test_only_throughput_that_the_time_limit_ends_after_a_row_is_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int | None, rows: list[dict[str, Any]],
    state: str, n_missing: int,
) -> None:  # fmt: skip
    ended = Ended(code, "\n".join(map(json.dumps, rows)), "out of order", 60.0)
    monkeypatch.setattr(check, "run_limited", lambda words, seconds: ended)
    words = ("--device", "cpu", "--small", "--only", "throughput")
    options = parse("check", "--out", tmp_path, *words)
    exit_code = 0
    try:
        check.run(options)
    except SystemExit as error:
        exit_code = int(str(error.code))
    assert exit_code == (1 if state == "failed" else 0)
    result = json.loads((tmp_path / "check.json").read_text())["parts"]["throughput"]
    assert (result["state"], len(result["missing"])) == (state, n_missing)
    page = (tmp_path / "check.md").read_text()
    assert f"| throughput | {state} |" in page
    assert ("| cpu | contex | float32 | False |" in page.partition("Missing")[2]) == (n_missing > 0)


class PopenUntil(subprocess.Popen[str]):
    """A process whose time limit is over as soon as a file exists, so that a slow machine is no matter."""

    file = Path()

    def wait(self, timeout: float | None = None) -> int:
        if timeout is None:
            return super().wait()
        while not self.file.exists() and self.poll() is None:
            time.sleep(0.01)
        raise subprocess.TimeoutExpired(self.args, timeout)


def test_bench_kills_the_processes_of_a_section_at_the_time_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The section starts a process of its own, writes its group, and waits.
    (tmp_path / "performance").write_text(
        "import os, pathlib, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(tmp_path / 'new')!r}).write_text(str(os.getpgid(child.pid)))\n"
        f"os.rename({str(tmp_path / 'new')!r}, {str(tmp_path / 'group')!r})\n"
        "child.wait()\n"
    )
    monkeypatch.setattr(PopenUntil, "file", tmp_path / "group")
    monkeypatch.setattr(bench, "PERFORMANCE", tmp_path / "performance")
    monkeypatch.setattr("tests.gpu.process.subprocess.Popen", PopenUntil)
    monkeypatch.setattr(bench, "describe_machine", lambda device: {})
    with pytest.raises(SystemExit) as ended:
        bench.run(parse("bench", "--out", tmp_path, "--device", "cpu", "--small"))
    assert ended.value.code == 1
    (row,) = json.loads((tmp_path / "bench.json").read_text())["sections"]
    assert row["state"] == "failed"
    assert row["reason"].startswith("not finished")
    for _ in range(500):  # until the system has removed the killed process
        if not _is_running(int((tmp_path / "group").read_text())):
            return
        time.sleep(0.02)
    raise AssertionError("a process of the section still runs")


def _is_running(group: int) -> bool:
    """Return whether a process of a group runs; one that is killed but not removed does not."""
    found = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True)
    return any(
        int(line.split()[0]) == group and line.split()[1][0] != "Z"
        for line in found.stdout.splitlines()
    )


def test_the_check_writes_its_page_after_each_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    def recorded(name: str, options: Namespace, seconds: float) -> dict[str, Any]:
        found.append(name)
        state = "passed" if name == "losses" else "failed"
        return {"state": state, "seconds": 1.0, "reason": "", "rows": [{"a|b": 1.5, "ok": None}]}

    monkeypatch.setattr(check, "_run_in_process", recorded)
    options = parse("check", "--out", tmp_path, "--device", "cpu", "--only", "losses,smoke")
    with pytest.raises(SystemExit) as ended:
        check.run(options)
    assert ended.value.code == 1
    assert found == ["losses", "smoke"]
    written = json.loads((tmp_path / "check.json").read_text())
    assert written["parts"]["losses"]["state"] == "passed"
    assert written["machine"]["device"] == "cpu"
    assert "| smoke | failed | 1 |" in (tmp_path / "check.md").read_text()


def test_the_runs_of_a_study_are_planned_seed_by_seed() -> None:
    runs = study.plan(parse("study", "--out", "x", "--seeds", "1,0"))
    seeds = [item.seed for item in runs]
    assert seeds == sorted(seeds, reverse=True)
    assert [item.name for item in runs[:4]] == [
        "seed1 gpu contex", "seed1 gpu contex-clip", "seed1 gpu supcon", "seed1 gpu ce",
    ]  # fmt: skip
    assert {item.preset for item in runs} == {"gpu", "paper-hong", "paper-barbano", "contex-paper"}
    assert {item.loss for item in runs} == set(LOSSES) - {"bias-ce"}
    assert len({item.name for item in runs}) == len(runs)


def test_archives_hold_whole_folders_and_are_unpacked_without_overwriting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "runs"
    for name, size in (("new", 100), ("large", 5000), ("old", 100)):
        (root / name).mkdir(parents=True)
        for file in ("checkpoint.pt", "config.toml", ".lock", "features-train.safetensors"):
            (root / name / file).write_bytes(b"x" * size)
    monkeypatch.setattr(study, "LARGEST", 6000)
    archive = tmp_path / "unfinished.tar"
    study._pack(archive, root, [study._files(root / name) for name in ("new", "large", "old")])
    other = tmp_path / "other"
    (other / "old").mkdir(parents=True)
    (other / "old" / "config.toml").write_text("kept")
    study._unpack(archive, other)
    found = sorted(str(path.relative_to(other)) for path in other.glob("*/*"))
    assert found == ["new/checkpoint.pt", "new/config.toml", "old/checkpoint.pt", "old/config.toml"]
    assert (other / "old" / "config.toml").read_text() == "kept"
    study._unpack(tmp_path / "missing.tar", other)


def test_a_record_is_only_of_the_same_run(
    tmp_path: Path, make_dataset: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_dataset(tmp_path / "a", rho=0.9)
    manifest, other = read_manifest(folder), read_manifest(make_dataset(tmp_path / "b", rho=0.8))
    (item,) = study.plan(parse("study", "--out", "x", "--losses", "biasbal", "--seeds", "3"))

    def start(manifest: Any = manifest, item: study.PlannedRun = item, device: str = "cpu") -> Any:
        return study._first_columns(item, manifest, device)

    row = {**start(), "state": "done", "unbiased": 0.5}
    records = tmp_path / "records"

    def write(start: dict[str, Any], text: str) -> None:
        folder = study._record_folder(records, start)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "row.json").write_text(text)

    write(start(), json.dumps(row))
    assert study._finished_row(start(), records) == row
    changed = dataclasses.replace(item, settings=("train.epochs=2",))
    others = [start(other), start(item=changed), {**start(), "device": "cuda"}]
    others.append({**start(), "rho": 0.8})
    file = dataclasses.replace(manifest.files["test.safetensors"], sha256="0" * 64)
    files = {**manifest.files, "test.safetensors": file}
    others.append(start(dataclasses.replace(manifest, files=files)))
    # The digest is the one of ``evaluate``.
    config, data = make_config("biasbal", preset="gpu", seed=3), dataset.load(folder)
    cpu = torch.device("cpu")
    context = pipeline._prepare(config, data, tmp_path, cpu, True, ignore_epoch, None)
    assert (row["digest"], row["dataset"]) == (context.digest, data.digest)
    monkeypatch.setattr("biascon.config.run_config.RECIPE_VERSION", -1)
    others.append(start())
    for other_start in others:
        if other_start["digest"] != row["digest"]:
            assert study._finished_row(other_start, records) is None
        write(other_start, json.dumps(row))
        assert study._finished_row(other_start, records) is None, other_start
    write(start(), "{")
    with pytest.raises(DataError, match="is damaged; delete the folder"):
        study._finished_row(start(), records)


@pytest.mark.parametrize(("state", "code"), [("failed", 1), ("interrupted", 0), ("done", 0)])
def test_a_study_with_a_failed_run_exits_with_1(
    tmp_path: Path, make_dataset: Callable[..., Path], monkeypatch: pytest.MonkeyPatch,
    state: str, code: int,
) -> None:  # fmt: skip
    folder = make_dataset(tmp_path / "data")
    ended = iter([{"state": state, "run": "x"}, {"state": "done", "run": "y"}])
    monkeypatch.setattr(study, "_dataset", lambda options: folder)
    monkeypatch.setattr(study, "_run_one", lambda *args: next(ended))
    words = ("study", "--out", tmp_path, "--work", tmp_path / "w", "--device", "cpu", "--losses")
    options = parse(*words, "ce,supcon", "--seeds", "0")
    found = 0
    try:
        study.run(options)
    except SystemExit as error:
        found = int(str(error.code))
    assert found == code
    rows = json.loads((tmp_path / "study.json").read_text())["runs"]
    assert [row["state"] for row in rows] == [state, "done"]  # the other run is still made


def test_the_packages_are_those_of_evaluate() -> None:
    assert ("click", *EVALUATION) == run.PACKAGES


@pytest.fixture
def end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Return a function that runs a command that fails: its exit code, and the error in one line."""
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr(sys, "path", list(sys.path))

    def call(*words: str | Path) -> tuple[int, str]:
        folders = () if "--out" in words else ("--out", tmp_path / "out")
        command = (*words, *folders, "--work", tmp_path / "work", "--device", "cpu")
        with pytest.raises(SystemExit) as ended:
            run.main([str(word) for word in command])
        lines = capsys.readouterr().err.splitlines()
        if lines[0] == "unpacked from wheels: nothing":
            del lines[0]
        (line,) = lines
        assert line.startswith("error: ")
        return int(str(ended.value.code)), line

    return call


def test_click_that_is_missing_is_named(
    end: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("biascon.cli")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("click", "pandas"):
        monkeypatch.setitem(sys.modules, name, None)
    code, line = end("check")
    assert code == 1
    assert "run.py check needs packages that are not installed: click, pandas;" in line


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (("part",), 2, "got no name"),
        (("part", "nope"), 2, "got 'nope'"),
        (("check", "smoke"), 2, "check takes no name"),
        (("check", "--only", "nope"), 2, "unknown parts nope"),
        (("check", "--seconds", "0"), 2, "above 0, but got '0'"),
        (("bench", "--seconds", "nan"), 2, "above 0, but got 'nan'"),
        (("bench", "--only", "nope"), 2, "unknown sections nope"),
        (("study", "--seeds", "a"), 2, "but got 'a'"),
        (("study", "--seeds", "-1"), 2, "-1"),
        (("study", "--losses", "nope"), 2, "nope"),
        (("study", "--preset", "folder/mine.toml"), 2, "but got the file 'folder/mine.toml'"),
        (("study", "--losses", "ce", "--mnist", "nowhere"), 1, "nowhere"),
        (("check", "--wheels", "nowhere"), 1, "there is no folder nowhere"),
        (("nope",), 2, "invalid choice: 'nope'"),
    ],
)
def test_wrong_usage_is_one_line(
    end: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...], code: int, part: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("BIASCON_MNIST", "")
    found, line = end(*words)
    assert (found, part in line) == (code, True), line


def test_a_folder_of_results_that_cannot_be_written_is_one_line(
    end: Callable[..., tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("kept")
    assert end("check", "--out", file) == (1, f"error: {file} is a file, but a folder is needed")
    code, line = end("check", "--out", file / "inside")
    assert (code, "Not a directory" in line) == (1, True)
    assert file.read_text() == "kept"

    def refuse(**options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    assert end("bench", "--out", tmp_path) == (
        1, f"error: cannot write to the folder {tmp_path}: Permission denied",
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["empty", "text", "cut off"])
def test_a_damaged_archive_is_one_line_and_leaves_nothing(
    end: Callable[..., tuple[int, str]], tmp_path: Path, kind: str
) -> None:
    record, archive = tmp_path / "r" / "a run", tmp_path / "study.tar"
    record.mkdir(parents=True)
    for name in ("evaluation.json", "row.json"):
        (record / name).write_bytes(b"x" * 3000)
    study._pack(archive, tmp_path / "r", [study._files(record)])
    whole = archive.read_bytes()
    archive.write_bytes({"empty": b"", "text": b"damaged" * 400, "cut off": whole[:6000]}[kind])
    code, line = end("study", "--losses", "ce", "--previous", tmp_path)
    assert (code, f"{archive} is damaged" in line) == (1, True), line
    assert not [path for path in (tmp_path / "work").rglob("*") if path.is_file()]


@pytest.mark.parametrize("kind", ["no archive", "changed"])
def test_a_damaged_wheel_is_one_line(
    end: Callable[..., tuple[int, str]], tmp_path: Path, kind: str
) -> None:
    wheel = tmp_path / "biascon_extra-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("biascon_extra.py", "value = 3\n")
    data = wheel.read_bytes()
    wheel.write_bytes(data[:30] if kind == "no archive" else data.replace(b"= 3", b"= 4"))
    code, line = end("check", "--wheels", tmp_path)
    assert (code, f"the wheel {wheel} is damaged" in line) == (1, True), line


@pytest.mark.parametrize(
    ("wheel", "expected"),
    [
        ("click-8.1.7-py3-none-any.whl", True),
        ("a-1.0-py2.py3-none-any.whl", True),
        ("a-1.0-py2-none-any.whl", False),
        (f"a-1.0-cp3{sys.version_info.minor}-cp3{sys.version_info.minor}-manylinux_2_17_x86_64"
         ".manylinux2014_x86_64.whl", True),
        ("a-1.0-cp38-abi3-manylinux2014_x86_64.whl", True),
        ("a-1.0-cp38-cp38-manylinux2014_x86_64.whl", False),
        ("a-1.0-cp39-abi3-win_amd64.whl", False),
        ("a-1.0-cp39-abi3-musllinux_1_2_x86_64.whl", False),
        ("no wheel.whl", False),
    ],
)  # fmt: skip
def test_only_wheels_that_fit_are_taken(
    wheel: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert fits(wheel) == expected


def test_wheels_of_missing_packages_are_unpacked(tmp_path: Path) -> None:
    wheels, target = tmp_path / "wheels", tmp_path / "target"
    wheels.mkdir()
    target.mkdir()
    for name, inside in (
        ("biascon_extra-1.0-py3-none-any.whl", "biascon_extra/__init__.py"),
        ("biascon_more-1.0-py3-none-any.whl", "biascon_more-1.0.data/purelib/biascon_more.py"),
        ("torch-9.0-py3-none-any.whl", "torch/__init__.py"),  # installed: stays what it is
    ):
        with zipfile.ZipFile(wheels / name, "w") as archive:
            archive.writestr(inside, "value = 3\n")
    assert unpack_missing(wheels, target) == ["biascon_extra", "biascon_more"]
    assert (target / "biascon_extra" / "__init__.py").is_file()
    assert (target / "biascon_more.py").read_text() == "value = 3\n"
    assert not (target / "torch").exists()


@pytest.mark.slow
def test_the_whole_check_and_a_study_of_two_calls(tmp_path: Path) -> None:
    def call(*words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(RUN), *map(str, words), "--device", "cpu", "--small"]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    checked = call("check", "--out", tmp_path / "out", "--work", tmp_path / "work")
    assert checked.returncode == 0, checked.stderr
    found = json.loads((tmp_path / "out" / "check.json").read_text())["parts"]
    assert set(found) == set(parts.PARTS)
    assert all(len(part["rows"]) > 0 for part in found.values())
    words = ("--losses", "ce,supcon", "--seeds", "0,1", "--set", "train.epochs=6")
    first = call(
        "study", "--out", tmp_path / "1", "--work", tmp_path / "w1", *words, "--seconds", "40"
    )
    assert first.returncode == 0, first.stderr
    # Another machine: only the results of the first call are there.
    second = call(
        "study", "--out", tmp_path / "2", "--work", tmp_path / "w2", *words, "--previous", tmp_path / "1",
    )  # fmt: skip
    assert second.returncode == 0, second.stderr
    rows = json.loads((tmp_path / "2" / "study.json").read_text())["runs"]
    assert [row["state"] for row in rows] == ["done"] * 4
