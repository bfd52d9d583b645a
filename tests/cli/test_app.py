"""The command line: imports at start, one line for each error, and exit codes."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from PIL import Image

from biascon import __version__
from biascon.cli.app import COMMANDS, main
from biascon.data.builders import mnist_source
from biascon.data.builders.mnist_source import SHA256, Digits
from biascon.errors import BiasconWarning, DataError, RunBusyError, UsageError
from biascon.utils import entry_points

HEAVY = ("torch", "torchvision", "numpy", "pandas", "scipy", "sklearn", "matplotlib", "PIL")
HELP = f"""
import contextlib, io, json, sys
from biascon.cli.app import COMMANDS, main
pages = {{}}
for words in ([], ["--help"], ["-h"], ["--version"], *([name, "--help"] for name in COMMANDS)):
    out, code = io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            main(words)
        except SystemExit as stop:
            code = stop.code or 0
    heavy = [name for name in {HEAVY!r} if name in sys.modules]
    pages[" ".join(words)] = [code, out.getvalue(), heavy]
print(json.dumps(pages))
"""


def run_python(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False, **options
    )


def only_error(err: str) -> str:
    """Return the last line of standard error, which must be the only error."""
    *progress, last = err.splitlines()
    assert last.startswith("error: ")
    assert not any(line.startswith(("error", "Traceback", "Usage")) for line in progress)
    return last


def usage_error(outcome: Any) -> str:
    """Return the message of wrong usage: exit code 2, nothing on stdout, one line on stderr."""
    assert outcome.code == 2
    assert outcome.out == ""
    assert len(outcome.err.splitlines()) == 1
    return only_error(outcome.err)


def failure(outcome: Any) -> str:
    """Return the message of a failure: exit code 1, nothing on stdout."""
    assert outcome.code == 1
    assert outcome.out == ""
    return only_error(outcome.err)


@pytest.fixture
def small_digits(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the embedded digits by a small set."""
    monkeypatch.setattr(mnist_source, "load_embedded", lambda: digits)


@pytest.fixture
def folder(make_dataset: Callable[..., Path], tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "data" / "small")


def flip_last_byte(folder: Path) -> None:
    """Damage the training split of a dataset folder."""
    path = folder / "train.safetensors"
    blob = bytearray(path.read_bytes())
    blob[-1] ^= 1
    path.write_bytes(blob)


@pytest.fixture(scope="module")
def pages() -> dict[str, list[Any]]:
    """Return exit code, text and heavy imports of every help page, from one new process."""
    process = run_python("-c", HELP)
    assert process.returncode == 0, process.stderr
    pages: dict[str, list[Any]] = json.loads(process.stdout)
    return pages


class TestHelp:
    @pytest.mark.parametrize("name", COMMANDS)
    def test_the_help_of_every_command_imports_no_heavy_package(
        self, pages: dict[str, list[Any]], name: str
    ) -> None:
        code, text, heavy = pages[f"{name} --help"]
        assert code == 0
        assert text.startswith(f"Usage: biascon {name} ")
        assert heavy == []

    @pytest.mark.parametrize("words", ["--help", "-h"])
    def test_the_main_help_lists_every_command(
        self, pages: dict[str, list[Any]], words: str
    ) -> None:
        code, text, heavy = pages[words]
        assert (code, heavy) == (0, [])
        listed = text.split("Commands:\n")[1]
        assert [line.split()[0] for line in listed.splitlines()] == list(COMMANDS)

    def test_the_version_is_printed(self, pages: dict[str, list[Any]]) -> None:
        code, text, heavy = pages["--version"]
        assert (code, heavy) == (0, [])
        assert __version__ in text

    def test_without_a_command_the_help_is_shown(self, pages: dict[str, list[Any]]) -> None:
        assert "make-bmnist" in pages[""][1]


class TestWrongUsage:
    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["evalute"], "'evalute'; did you mean 'evaluate'? (known: make-bmnist"),
            (["frobnicate"], "'frobnicate' (known: make-bmnist"),
            (["--frobnicate"], "--frobnicate"),
            (["list", "--frobnicate"], "--frobnicate"),
            (["list"], "Missing argument"),
            (["list", "cats"], "'cats'"),
            (["list", "losses", "more"], "unexpected extra argument"),
            (["evaluate"], "--loss NAME"),
            (["evaluate"], "--run RUN"),
            (["make-bmnist", "--rho"], "requires an argument"),
            (["make-bmnist", "--rho", "1.2"], "1.2 is not in the range 0<=x<=1"),
            (["make-bmnist", "--rho", "-0.5"], "-0.5 is not in the range 0<=x<=1"),
            (["make-bmnist", "--rho", "abc"], "'abc' is not a valid float"),
            (["make-bmnist", "--rho", "nan"], "rho in [0, 1], but got nan"),
            (["make-bmnist", "--rho", "inf"], "inf is not in the range"),
            (["make-bmnist", "--seed", "-1"], "-1 is not in the range x>=0"),
            (["make-bmnist", "--n-confusing", "10"], "10 is not in the range 1<=x<=9"),
            (["make-bmnist", "--variant", "x"], "'x' is not one of 'rebias', 'fairkl'"),
            (["make-bmnist", "--source", "kaggle"], "'kaggle' is not one of 'auto', 'dir', 'env'"),
            (["make-bmnist", "--source", "dir"], "--mnist-dir"),
            (["make-bmnist", "--source", "env"], "BIASCON_MNIST"),
            (["make-bmnist", "--source", "embedded", "--mnist-dir", "x"], "--mnist-dir"),
            (["make-bmnist", "--out", "file"], "'file'"),
            (["evaluate", "--loss", "contx"], "'contx'; did you mean 'contex'?"),
            (["train", "--loss", "contx"], "'contx'; did you mean 'contex'?"),
            (["evaluate", "--loss", "ce", "--preset", "papr"], "did you mean 'paper'?"),
            (["evaluate", "--loss", "ce", "--set", "train.epoch=3"], "did you mean 'epochs'?"),
            (["evaluate", "--loss", "ce", "--set", "epochs=3"], "--set section.key=value"),
            (["evaluate", "--loss", "ce", "--seeds", "a"], "0,1,2 or 0-4, but got 'a'"),
            (["evaluate", "--loss", "ce", "--seeds", "1,"], "0,1,2 or 0-4, but got '1,'"),
            (["evaluate", "--loss", "ce", "--seeds", "-1"], "0,1,2 or 0-4, but got '-1'"),
            (["evaluate", "--loss", "ce", "--seeds", "4-0"], "at least one seed, but got '4-0'"),
            (["evaluate", "--loss", "ce", "--seeds", "0-1000"], "1,000 seeds, but got '0-1000'"),
            (["evaluate", "--loss", "ce", "--device", "abacus"], "'abacus'"),
            (["inspect", "--split", "all"], "'all' is not one of 'train', 'val', 'test'"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_wrong_usage_gives_one_line_and_exit_code_two(
        self, cli: Any, small_digits: None, tmp_path: Path, words: list[str], message: str
    ) -> None:
        (tmp_path / "file").touch()
        assert message in usage_error(cli(*words))
        assert [p.name for p in tmp_path.iterdir()] == ["file"]  # nothing was written

    def test_a_superscript_is_not_a_seed(self, cli: Any) -> None:
        usage_error(cli("evaluate", "--loss", "ce", "--seeds", "²"))

    def test_wrong_usage_of_a_real_process_gives_exit_code_two(self) -> None:
        process = run_python("-m", "biascon", "make-bmnist", "--rho", "1.2")
        assert (process.returncode, process.stdout) == (2, "")
        assert len(process.stderr.splitlines()) == 1
        assert "1.2" in only_error(process.stderr)


class TestMakeBmnist:
    def test_it_writes_a_dataset_under_its_name_and_prints_it(
        self, cli: Any, small_digits: None, tmp_path: Path
    ) -> None:
        outcome = cli("make-bmnist", "--rho", "0.9")
        assert outcome.code == 0
        assert outcome.err.splitlines() == [
            "source: made for the tests (1,000 + 200 digits)",
            "data/bmnist5k-0.9: written",
        ]
        first, *rest = outcome.out.splitlines()
        assert first == "bmnist5k-0.9: made for the tests"
        assert [line.split() for line in rest if line.startswith(("train ", "val ", "test "))] == [
            ["train", "900", "810", "90", "0", "of", "100"],
            ["val", "100", "10", "90", "0", "of", "100"],
            ["test", "200", "20", "180", "0", "of", "100"],
        ]
        assert {p.name for p in (tmp_path / "data" / "bmnist5k-0.9").iterdir()} == {
            "train.safetensors", "val.safetensors", "test.safetensors", "manifest.json",
        }  # fmt: skip

    def test_every_option_reaches_the_builder(
        self, cli: Any, small_digits: None, tmp_path: Path
    ) -> None:
        outcome = cli(
            *("make-bmnist", "--rho", "0.5", "--seed", "2", "--variant", "fairkl"),
            *("--colour", "digit", "--n-confusing", "3", "--val-protocol", "hong"),
            *("--leftover", "even", "--out", "here", "--json"),
        )
        assert outcome.code == 0
        assert json.loads((tmp_path / "here" / "manifest.json").read_text())["parameters"] == {
            "rho": 0.5, "seed": 2, "variant": "fairkl", "colour": "digit", "n_confusing": 3,
            "val_protocol": "hong", "leftover": "even",
        }  # fmt: skip

    def test_json_is_the_only_text_on_stdout(
        self, cli: Any, small_digits: None, tmp_path: Path
    ) -> None:
        outcome = cli("make-bmnist", "--rho", "0.9", "--json")
        on_disk = (tmp_path / "data" / "bmnist5k-0.9" / "manifest.json").read_text()
        assert outcome.code == 0
        assert json.loads(outcome.out) == json.loads(on_disk)

    def test_an_existing_dataset_is_verified_and_not_written_again(
        self, cli: Any, small_digits: None, tmp_path: Path
    ) -> None:
        first = cli("make-bmnist", "--rho", "0.9")
        images = tmp_path / "data" / "bmnist5k-0.9" / "train.safetensors"
        written = images.stat().st_mtime_ns
        again = cli("make-bmnist", "--rho", "0.9")
        assert again.code == 0
        last_line = again.err.splitlines()[-1]
        assert last_line.startswith("data/bmnist5k-0.9: ")
        assert last_line.endswith("intact")
        assert again.out == first.out
        assert images.stat().st_mtime_ns == written

    def test_another_dataset_in_the_folder_is_refused_and_force_replaces_it(
        self, cli: Any, small_digits: None, tmp_path: Path
    ) -> None:
        assert cli("make-bmnist", "--rho", "0.9", "--out", "x").code == 0
        before = (tmp_path / "x" / "manifest.json").read_bytes()
        assert "--force" in failure(cli("make-bmnist", "--rho", "0.8", "--out", "x"))
        assert (tmp_path / "x" / "manifest.json").read_bytes() == before
        assert cli("make-bmnist", "--rho", "0.8", "--out", "x", "--force").code == 0
        assert (tmp_path / "x" / "manifest.json").read_bytes() != before

    def test_a_file_in_place_of_the_folder_fails(
        self, cli: Any, small_digits: None, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("in the way")
        assert "file" in failure(cli("make-bmnist", "--out", "file/x"))
        assert (tmp_path / "file").read_text() == "in the way"

    @pytest.mark.parametrize("by_variable", [False, True])
    @pytest.mark.parametrize(
        ("blob", "message"),
        [
            (b"\0\0\x08\x03\0\0\0\x05\0\0\0\x1c\0\0\0\x1cabc", "truncated"),
            (gzip.compress(b"\0\0\x08\x01\0\0\0\x02ab", mtime=0)[:-4], "gzip"),
            (b"%PDF-1.4", "IDX file"),
            (b"\0\0\x08\x01\0\0\0\x02ab", "sha256"),
            (None, "no train-images-idx3-ubyte"),
        ],
        ids=["truncated", "gzip", "pdf", "other-idx", "missing"],
    )
    def test_invalid_idx_files_fail_and_nothing_is_written(
        self,
        cli: Any,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        blob: bytes | None,
        message: str,
        by_variable: bool,
    ) -> None:
        (tmp_path / "idx").mkdir()
        if blob is not None:
            for name in SHA256:
                (tmp_path / "idx" / name).write_bytes(blob)
        monkeypatch.setattr(
            mnist_source, "load_embedded", lambda: pytest.fail("took another source")
        )
        if by_variable:
            monkeypatch.setenv(mnist_source.VARIABLE, str(tmp_path / "idx"))
            outcome = cli("make-bmnist")
        else:
            outcome = cli("make-bmnist", "--mnist-dir", "idx")
        error = failure(outcome)
        assert message in error
        assert "train-images-idx3-ubyte" in error
        assert len(outcome.err.splitlines()) == 1
        assert [p.name for p in tmp_path.iterdir()] == ["idx"]

    def test_a_missing_folder_of_idx_files_fails(self, cli: Any) -> None:
        assert "nowhere" in failure(cli("make-bmnist", "--mnist-dir", "nowhere"))


class TestInspect:
    def test_it_prints_the_counts_of_the_newest_dataset(self, cli: Any, folder: Path) -> None:
        outcome = cli("inspect")
        assert outcome.code == 0
        assert outcome.err.startswith("dataset: data/small (")
        named = cli("inspect", folder)
        assert named.err == ""
        assert named.out == outcome.out
        lines = named.out.splitlines()
        assert lines[0] == "bmnist5k-0.9: made for the tests"
        cells = [line.split() for line in lines[-10:]]
        assert [row[0] for row in cells] == [str(y) for y in range(10)]
        assert [row[1 + y] for y, row in enumerate(cells)] == ["81"] * 10
        assert all(sum(int(n) for n in row[1:]) == 90 for row in cells)

    def test_an_empty_cell_is_printed_as_a_point(
        self, cli: Any, make_dataset: Callable[..., Path], tmp_path: Path
    ) -> None:
        outcome = cli("inspect", make_dataset(tmp_path / "x", rho=1.0, val_protocol="none"))
        row = outcome.out.splitlines()[-10].split()
        assert row == ["0", "100", *["."] * 9]

    def test_json_is_the_manifest_of_the_dataset(self, cli: Any, folder: Path) -> None:
        outcome = cli("inspect", folder, "--json")
        assert outcome.code == 0
        assert json.loads(outcome.out) == json.loads((folder / "manifest.json").read_text())

    def test_a_contact_sheet_is_written(self, cli: Any, folder: Path, tmp_path: Path) -> None:
        outcome = cli("inspect", folder, "--png", "sheet.png", "--split", "val")
        assert outcome.code == 0
        assert outcome.err == "sheet.png: written\n"
        with Image.open(tmp_path / "sheet.png") as sheet:
            assert sheet.format == "PNG"
            assert sheet.size[1] > 10 * 28

    def test_a_contact_sheet_that_cannot_be_written_fails(
        self, cli: Any, folder: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "file").touch()
        assert "file/x.png" in failure(cli("inspect", folder, "--png", "file/x.png"))

    def test_a_contact_sheet_of_a_missing_split_fails(
        self, cli: Any, make_dataset: Callable[..., Path], tmp_path: Path
    ) -> None:
        dataset = make_dataset(tmp_path / "x", val_protocol="none")
        message = failure(cli("inspect", dataset, "--png", "s.png", "--split", "val"))
        assert "no val split" in message
        assert not (tmp_path / "s.png").exists()


class TestFailures:
    @pytest.mark.parametrize(
        "words", [["inspect"], ["evaluate", "--loss", "ce"], ["train", "--loss", "ce"]]
    )
    def test_without_a_dataset_the_error_names_the_command_that_builds_one(
        self, cli: Any, words: list[str]
    ) -> None:
        assert "biascon make-bmnist" in failure(cli(*words))

    def test_without_a_run_the_error_names_the_command_that_makes_one(self, cli: Any) -> None:
        assert "biascon evaluate" in failure(cli("report"))

    @pytest.mark.parametrize(
        "words",
        [
            ["inspect", "data/small"],
            ["inspect", "data/small", "--png", "s.png"],
            ["inspect", "data/small", "--json"],
            ["evaluate", "--loss", "ce", "--preset", "smoke", "--data", "data/small"],
            ["train", "--loss", "ce", "--preset", "smoke"],
        ],
        ids=" ".join,
    )
    def test_a_dataset_with_a_changed_byte_is_refused(
        self, cli: Any, folder: Path, tmp_path: Path, words: list[str]
    ) -> None:
        flip_last_byte(folder)
        message = failure(cli(*words))
        assert "sha256" in message
        assert "train.safetensors" in message
        assert [p.name for p in tmp_path.iterdir()] == ["data"]  # nothing was written

    @pytest.mark.parametrize("command", ["evaluate", "train"])
    def test_a_run_folder_that_cannot_be_created_fails(
        self, cli: Any, folder: Path, tmp_path: Path, command: str
    ) -> None:
        (tmp_path / "file").touch()
        words = [command, "--loss", "ce", "--preset", "smoke", "--data", str(folder)]
        message = failure(cli(*words, "--runs", "file/runs"))
        assert "file/runs" in message


def test_one_error_names_all_unknown_losses(cli: Any) -> None:
    message = usage_error(cli("evaluate", "--loss", "supcn", "--loss", "ce", "--loss", "biascn"))
    assert "'supcn'; did you mean 'supcon'?, 'biascn'; did you mean" in message


class TestList:
    def test_it_lists_the_presets(self, cli: Any) -> None:
        assert cli("list", "presets") == (0, "celeba\ncifar\ncpu\npaper\nsmoke\nutkface\n", "")

    def test_it_lists_the_losses_and_marks_those_with_bias_labels(self, cli: Any) -> None:
        from biascon.losses import LOSSES, uses_bias_labels

        outcome = cli("list", "losses")
        assert outcome.code == 0
        _, _, *rows = outcome.out.splitlines()
        assert [row.split()[0] for row in rows[: len(LOSSES)]] == list(LOSSES)
        marked = {row.split()[0] for row in rows[: len(LOSSES)] if row.split()[1] == "†"}
        assert marked == {name for name in LOSSES if uses_bias_labels(name)}
        assert {"biasbal", "dfr", "flac", "resample"} < marked
        assert not marked & {"ce", "contex", "supcon", "lff", "jtt", "softcon"}
        assert any(row.startswith("bias_features ") for row in rows)  # the legend of the inputs
        assert all(entry.source in outcome.out for entry in LOSSES.values())

    def test_it_lists_the_encoders(self, cli: Any) -> None:
        from biascon.models.encoders import ENCODERS

        outcome = cli("list", "encoders")
        assert outcome.code == 0
        assert [row.split()[0] for row in outcome.out.splitlines()[2:]] == list(ENCODERS)


def test_doctor_prints_versions_and_digits(cli: Any, small_digits: None) -> None:
    outcome = cli("doctor")
    assert outcome.code == 0
    values = dict(line.split(maxsplit=1) for line in outcome.out.splitlines())
    assert values["biascon"] == __version__
    assert values["MNIST"] == "made for the tests (1,000 training digits)"
    assert "torch" in values


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Return a function that replaces the body of ``biascon list``."""

    def replace(function: Callable[[], None]) -> None:
        monkeypatch.setattr(
            entry_points, "load", lambda target: click.command(name="list")(function)
        )

    return replace


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "code", "line"),
        [
            (DataError("broken\n  twice"), 1, "error: broken twice"),
            (UsageError("no sense"), 2, "error: no sense"),
            (RunBusyError("busy"), 75, "error: busy"),
            (OSError(28, "No space left on device", "x"), 1, "error: No space left on device: x"),
            (OSError(5, "Input/output error"), 1, "error: Input/output error: standard output"),
            (
                RuntimeError("bad\nluck"),
                1,
                "error: unexpected RuntimeError: bad luck (biascon --debug shows where)",
            ),
        ],
    )
    def test_an_error_is_one_line_and_debug_shows_its_traceback(
        self, cli: Any, command: Any, error: Exception, code: int, line: str
    ) -> None:
        def fail() -> None:
            raise error

        command(fail)
        assert cli("list") == (code, "", f"{line}\n")
        with pytest.raises(type(error)) as caught:
            main(["--debug", "list"])
        assert caught.value is error

    def test_only_debug_shows_the_traceback_of_a_process(self, tmp_path: Path) -> None:
        words = ("inspect", "nowhere")
        plain = run_python("-m", "biascon", *words, cwd=tmp_path)
        debug = run_python("-m", "biascon", "--debug", *words, cwd=tmp_path)
        assert plain.returncode == debug.returncode == 1
        assert len(plain.stderr.splitlines()) == 1
        assert "nowhere" in only_error(plain.stderr)
        assert debug.stderr.startswith("Traceback")
        assert only_error(plain.stderr).removeprefix("error: ") in debug.stderr

    def test_an_interruption_gives_exit_code_130(self, cli: Any, command: Any) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        command(interrupt)
        outcome = cli("list")
        assert outcome.code == 130
        assert "interrupted" in only_error(outcome.err.lstrip())

    def test_only_warnings_of_biascon_are_printed(
        self, cli: Any, command: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import warnings

        def warn() -> None:
            warnings.simplefilter("default")
            warnings.warn("only 3 images", BiasconWarning, stacklevel=1)
            warnings.warn("of another package", DeprecationWarning, stacklevel=1)

        command(warn)
        assert cli("list") == (0, "", "warning: only 3 images\n")

    @pytest.mark.skipif(sys.platform == "win32", reason="pipes are POSIX")
    def test_a_closed_pipe_ends_the_process_without_a_message(self) -> None:
        read, write = os.pipe()
        os.close(read)
        try:
            process = subprocess.run(
                [sys.executable, "-m", "biascon", "list", "presets"],
                stdout=write,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        finally:
            os.close(write)
        assert process.returncode == 1
        assert process.stderr == ""


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "1000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "active"}, "None"),
    ],
)
def test_waiting_threads_release_their_core_unless_the_user_sets_a_variable(
    variables: dict[str, str], expected: str
) -> None:
    script = (
        "import os, sys\nfrom biascon.cli.app import main\n"
        "try:\n    main(['list', 'presets'])\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules\nprint(os.environ.get('GOMP_SPINCOUNT'))"
    )
    clean = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    process = run_python("-c", script, env={**clean, **variables}, timeout=60)
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-1] == expected
