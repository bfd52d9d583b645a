"""The command line: light to start, one clear line when it fails, the right exit code."""

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

from biascon.cli.app import COMMANDS, main
from biascon.data.builders import mnist_source
from biascon.data.builders.mnist_source import SHA256, Digits
from biascon.errors import BiasconWarning, DataError, UsageError
from biascon.utils import entry_points
from biascon.version import __version__

HEAVY = ("torch", "torchvision", "numpy", "pandas", "scipy", "sklearn", "matplotlib", "PIL")
HELP = f"""
import contextlib, io, json, sys
from biascon.cli.app import COMMANDS, main
found = {{}}
for words in ([], ["--help"], ["-h"], ["--version"], *([name, "--help"] for name in COMMANDS)):
    out, code = io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            main(words)
        except SystemExit as stop:
            code = stop.code or 0
    heavy = [name for name in {HEAVY!r} if name in sys.modules]
    found[" ".join(words)] = [code, out.getvalue(), heavy]
print(json.dumps(found))
"""


def python(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False, **options
    )


def only_error(err: str) -> str:
    """The one line of standard error that is not progress: it is the last and says so."""
    *progress, last = err.splitlines()
    assert last.startswith("error: ")
    assert not any(line.startswith(("error", "Traceback", "Usage")) for line in progress)
    return last


def refused(outcome: Any) -> str:
    """The message of wrong usage: exit code 2, nothing on stdout, one line on stderr."""
    assert outcome.code == 2
    assert outcome.out == ""
    assert len(outcome.err.splitlines()) == 1
    return only_error(outcome.err)


def failed(outcome: Any) -> str:
    """The message of a failure: exit code 1, nothing on stdout."""
    assert outcome.code == 1
    assert outcome.out == ""
    return only_error(outcome.err)


@pytest.fixture
def few(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    """Embedded digits that need no second to decode."""
    monkeypatch.setattr(mnist_source, "load_embedded", lambda: digits)


@pytest.fixture
def folder(make_dataset: Callable[..., Path], tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "data" / "small")


def damage(folder: Path) -> None:
    path = folder / "train.safetensors"
    blob = bytearray(path.read_bytes())
    blob[-1] ^= 1
    path.write_bytes(blob)


@pytest.fixture(scope="module")
def pages() -> dict[str, list[Any]]:
    """Exit code, text and heavy imports of every help page, from one fresh process."""
    done = python("-c", HELP)
    assert done.returncode == 0, done.stderr
    pages: dict[str, list[Any]] = json.loads(done.stdout)
    return pages


class TestHelp:
    @pytest.mark.parametrize("name", COMMANDS)
    def test_every_command_explains_itself_without_the_heavy_packages(
        self, pages: dict[str, list[Any]], name: str
    ) -> None:
        code, text, heavy = pages[f"{name} --help"]
        assert code == 0
        assert text.startswith(f"Usage: biascon {name} ")
        assert heavy == []

    @pytest.mark.parametrize("words", ["--help", "-h"])
    def test_the_whole_lists_every_command(self, pages: dict[str, list[Any]], words: str) -> None:
        code, text, heavy = pages[words]
        assert (code, heavy) == (0, [])
        listed = text.split("Commands:\n")[1]
        assert [line.split()[0] for line in listed.splitlines()] == list(COMMANDS)

    def test_the_version(self, pages: dict[str, list[Any]]) -> None:
        code, text, heavy = pages["--version"]
        assert (code, heavy) == (0, [])
        assert __version__ in text

    def test_no_command_shows_the_help(self, pages: dict[str, list[Any]]) -> None:
        assert "make-bmnist" in pages[""][1]


class TestWrongUsage:
    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (
                ["evalute"],
                "unknown command 'evalute'; did you mean 'evaluate'? (known: make-bmnist",
            ),
            (["frobnicate"], "unknown command 'frobnicate' (known: "),
            (["--frobnicate"], "No such option"),
            (["list", "--frobnicate"], "No such option"),
            (["list"], "Missing argument"),
            (["list", "cats"], "'cats' is not one of 'losses', 'encoders', 'presets', 'datasets'"),
            (["list", "losses", "more"], "unexpected extra argument"),
            (
                ["evaluate"],
                "expected --loss NAME to train, or --run RUN to take its encoder, but got neither",
            ),
            (["make-bmnist", "--rho"], "requires an argument"),
            (["make-bmnist", "--rho", "1.2"], "1.2 is not in the range 0<=x<=1"),
            (["make-bmnist", "--rho", "-0.5"], "-0.5 is not in the range 0<=x<=1"),
            (["make-bmnist", "--rho", "abc"], "'abc' is not a valid float"),
            (["make-bmnist", "--rho", "nan"], "expected rho in [0, 1], but got nan"),
            (["make-bmnist", "--rho", "inf"], "inf is not in the range"),
            (["make-bmnist", "--seed", "-1"], "-1 is not in the range x>=0"),
            (["make-bmnist", "--n-confusing", "10"], "10 is not in the range 1<=x<=9"),
            (["make-bmnist", "--variant", "x"], "'x' is not one of 'rebias', 'fairkl'"),
            (["make-bmnist", "--source", "kaggle"], "'kaggle' is not one of 'auto', 'dir', 'env'"),
            (["make-bmnist", "--source", "dir"], "--source dir needs --mnist-dir"),
            (["make-bmnist", "--source", "env"], "needs the variable BIASCON_MNIST"),
            (["make-bmnist", "--source", "embedded", "--mnist-dir", "x"], "exclude each other"),
            (["make-bmnist", "--out", "file"], "Directory 'file' is a file"),
            (["evaluate", "--loss", "contx"], "unknown loss 'contx'; did you mean 'contex'?"),
            (["train", "--loss", "contx"], "unknown loss 'contx'; did you mean 'contex'?"),
            (["evaluate", "--loss", "ce", "--preset", "papr"], "did you mean 'paper'?"),
            (["evaluate", "--loss", "ce", "--set", "train.epoch=3"], "did you mean 'epochs'?"),
            (["evaluate", "--loss", "ce", "--set", "epochs=3"], "--set section.key=value"),
            (["evaluate", "--loss", "ce", "--seeds", "a"], "expected seeds like 0,1,2 or 0-4"),
            (["evaluate", "--loss", "ce", "--seeds", "1,"], "expected seeds like 0,1,2 or 0-4"),
            (["evaluate", "--loss", "ce", "--seeds", "-1"], "expected seeds like 0,1,2 or 0-4"),
            (["evaluate", "--loss", "ce", "--seeds", "4-0"], "expected at least one seed"),
            (["evaluate", "--loss", "ce", "--device", "abacus"], "unknown device 'abacus'"),
            (["inspect", "--split", "all"], "'all' is not one of 'train', 'val', 'test'"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_is_one_line_and_exit_code_two(
        self, cli: Any, few: None, tmp_path: Path, words: list[str], message: str
    ) -> None:
        (tmp_path / "file").touch()
        assert message in refused(cli(*words))
        assert [p.name for p in tmp_path.iterdir()] == ["file"]  # and nothing was begun

    def test_a_superscript_is_no_seed(self, cli: Any) -> None:
        refused(cli("evaluate", "--loss", "ce", "--seeds", "²"))

    def test_of_the_real_process(self) -> None:
        done = python("-m", "biascon", "make-bmnist", "--rho", "1.2")
        assert (done.returncode, done.stdout) == (2, "")
        assert len(done.stderr.splitlines()) == 1
        assert "1.2 is not in the range" in only_error(done.stderr)


class TestMakeBmnist:
    def test_writes_a_dataset_under_its_name_and_shows_it(
        self, cli: Any, few: None, tmp_path: Path
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

    def test_every_option_reaches_the_builder(self, cli: Any, few: None, tmp_path: Path) -> None:
        outcome = cli(
            *("make-bmnist", "--rho", "0.5", "--seed", "2", "--variant", "fairkl"),
            *("--colour", "digit", "--n-confusing", "3", "--val-protocol", "hong"),
            *("--leftover", "even", "--out", "here", "--json"),
        )
        assert outcome.code == 0
        assert json.loads((tmp_path / "here" / "manifest.json").read_text())["parameters"] == {
            "rho": 0.5, "seed": 2, "variant": "fairkl", "color": "digit", "n_confusing": 3,
            "val_protocol": "hong", "leftover": "even",
        }  # fmt: skip

    def test_json_alone_on_stdout(self, cli: Any, few: None, tmp_path: Path) -> None:
        outcome = cli("make-bmnist", "--rho", "0.9", "--json")
        on_disk = (tmp_path / "data" / "bmnist5k-0.9" / "manifest.json").read_text()
        assert outcome.code == 0
        assert json.loads(outcome.out) == json.loads(on_disk)

    def test_the_second_time_it_is_there_already(self, cli: Any, few: None) -> None:
        first = cli("make-bmnist", "--rho", "0.9")
        again = cli("make-bmnist", "--rho", "0.9")
        assert again.code == 0
        assert again.err.splitlines()[-1] == "data/bmnist5k-0.9: is there already, intact"
        assert again.out == first.out

    def test_another_one_is_refused_and_force_replaces_it(
        self, cli: Any, few: None, tmp_path: Path
    ) -> None:
        assert cli("make-bmnist", "--rho", "0.9", "--out", "x").code == 0
        before = (tmp_path / "x" / "manifest.json").read_bytes()
        assert "--force" in failed(cli("make-bmnist", "--rho", "0.8", "--out", "x"))
        assert (tmp_path / "x" / "manifest.json").read_bytes() == before
        assert cli("make-bmnist", "--rho", "0.8", "--out", "x", "--force").code == 0
        assert (tmp_path / "x" / "manifest.json").read_bytes() != before

    def test_a_file_where_the_folder_should_be(self, cli: Any, few: None, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        message = failed(cli("make-bmnist", "--out", "file/x"))
        assert "cannot create a folder in file" in message
        assert (tmp_path / "file").read_text() == "in the way"

    @pytest.mark.parametrize("by_variable", [False, True])
    @pytest.mark.parametrize(
        ("blob", "message"),
        [
            (b"\0\0\x08\x03\0\0\0\x05\0\0\0\x1c\0\0\0\x1cabc", "is truncated"),
            (gzip.compress(b"\0\0\x08\x01\0\0\0\x02ab", mtime=0)[:-4], "truncated or corrupt gzip"),
            (b"%PDF-1.4", "is not an IDX file"),
            (b"\0\0\x08\x01\0\0\0\x02ab", "is not MNIST's train-images-idx3-ubyte (sha256"),
            (None, "has no train-images-idx3-ubyte"),
        ],
        ids=["truncated", "gzip", "pdf", "other-idx", "missing"],
    )
    def test_bad_idx_files(
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
        monkeypatch.setattr(mnist_source, "load_embedded", lambda: pytest.fail("fell through"))
        if by_variable:
            monkeypatch.setenv(mnist_source.VARIABLE, str(tmp_path / "idx"))
            outcome = cli("make-bmnist")
        else:
            outcome = cli("make-bmnist", "--mnist-dir", "idx")
        assert message in failed(outcome)
        assert len(outcome.err.splitlines()) == 1
        assert [p.name for p in tmp_path.iterdir()] == ["idx"]

    def test_a_folder_of_idx_files_that_is_not_there(self, cli: Any) -> None:
        assert "there is no folder nowhere" in failed(cli("make-bmnist", "--mnist-dir", "nowhere"))


class TestInspect:
    def test_shows_counts_of_the_last_made_dataset(self, cli: Any, folder: Path) -> None:
        outcome = cli("inspect")
        assert outcome.code == 0
        assert "dataset: data/small (the last made" in outcome.err
        named = cli("inspect", folder)
        assert named.err == ""
        assert named.out == outcome.out
        lines = named.out.splitlines()
        assert lines[0] == "bmnist5k-0.9: made for the tests"
        cells = [line.split() for line in lines[-10:]]
        assert [row[0] for row in cells] == [str(y) for y in range(10)]
        assert [row[1 + y] for y, row in enumerate(cells)] == ["81"] * 10
        assert all(sum(int(n) for n in row[1:]) == 90 for row in cells)

    def test_an_empty_cell_is_a_point(
        self, cli: Any, make_dataset: Callable[..., Path], tmp_path: Path
    ) -> None:
        outcome = cli("inspect", make_dataset(tmp_path / "x", rho=1.0, val_protocol="none"))
        row = outcome.out.splitlines()[-10].split()
        assert row == ["0", "100", *["."] * 9]

    def test_json(self, cli: Any, folder: Path) -> None:
        outcome = cli("inspect", folder, "--json")
        assert outcome.code == 0
        assert json.loads(outcome.out) == json.loads((folder / "manifest.json").read_text())

    def test_a_contact_sheet(self, cli: Any, folder: Path, tmp_path: Path) -> None:
        outcome = cli("inspect", folder, "--png", "sheet.png", "--split", "val")
        assert outcome.code == 0
        assert outcome.err == "sheet.png: written\n"
        with Image.open(tmp_path / "sheet.png") as sheet:
            assert sheet.format == "PNG"
            assert sheet.size[1] > 10 * 28

    def test_a_contact_sheet_that_cannot_be_written(
        self, cli: Any, folder: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "file").touch()
        assert "cannot write file/x.png" in failed(cli("inspect", folder, "--png", "file/x.png"))

    def test_a_contact_sheet_of_no_split(
        self, cli: Any, make_dataset: Callable[..., Path], tmp_path: Path
    ) -> None:
        where = make_dataset(tmp_path / "x", val_protocol="none")
        message = failed(cli("inspect", where, "--png", "s.png", "--split", "val"))
        assert "has no val split" in message
        assert not (tmp_path / "s.png").exists()


class TestFailures:
    @pytest.mark.parametrize(
        "words", [["inspect"], ["evaluate", "--loss", "ce"], ["train", "--loss", "ce"]]
    )
    def test_no_dataset_names_the_command_that_makes_one(self, cli: Any, words: list[str]) -> None:
        assert "biascon make-bmnist" in failed(cli(*words))

    def test_no_runs_names_the_command_that_makes_one(self, cli: Any) -> None:
        assert "biascon evaluate" in failed(cli("report"))

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
    def test_a_changed_byte_is_refused(
        self, cli: Any, folder: Path, tmp_path: Path, words: list[str]
    ) -> None:
        damage(folder)
        message = failed(cli(*words))
        assert "sha256" in message
        assert "train.safetensors" in message
        assert [p.name for p in tmp_path.iterdir()] == ["data"]  # and nothing was begun

    @pytest.mark.parametrize("command", ["evaluate", "train"])
    def test_runs_that_cannot_be_written(
        self, cli: Any, folder: Path, tmp_path: Path, command: str
    ) -> None:
        (tmp_path / "file").touch()
        words = [command, "--loss", "ce", "--preset", "smoke", "--data", str(folder)]
        message = failed(cli(*words, "--runs", "file/runs"))
        assert "cannot create file/runs" in message


def test_all_unknown_losses_are_told_at_once(cli: Any) -> None:
    outcome = cli("evaluate", "--loss", "supcn", "--loss", "ce", "--loss", "biascn")
    assert outcome.code == 2
    assert "unknown losses: 'supcn'; did you mean 'supcon'?, 'biascn'; did you mean" in outcome.err


class TestList:
    def test_presets(self, cli: Any) -> None:
        assert cli("list", "presets") == (0, "celeba\ncifar\ncpu\npaper\nsmoke\nutkface\n", "")

    def test_losses(self, cli: Any) -> None:
        from biascon.losses import LOSSES, uses_bias_labels

        outcome = cli("list", "losses")
        assert outcome.code == 0
        _, _, *rows = outcome.out.splitlines()
        assert [row.split()[0] for row in rows[: len(LOSSES)]] == list(LOSSES)
        marked = {row.split()[0] for row in rows[: len(LOSSES)] if row.split()[1] == "†"}
        assert marked == {name for name in LOSSES if uses_bias_labels(name)}
        assert {"biasbal", "dfr", "flac", "resample"} < marked
        assert not marked & {"ce", "contex", "supcon", "lff", "jtt", "softcon"}
        assert any(row.startswith("bias_features ") for row in rows)  # what a need is
        assert all(entry.source in outcome.out for entry in LOSSES.values())

    def test_encoders(self, cli: Any) -> None:
        from biascon.models.encoders import ENCODERS

        outcome = cli("list", "encoders")
        assert outcome.code == 0
        assert [row.split()[0] for row in outcome.out.splitlines()[2:]] == list(ENCODERS)


def test_doctor_tells_versions_and_digits(cli: Any, few: None) -> None:
    outcome = cli("doctor")
    assert outcome.code == 0
    told = dict(line.split(maxsplit=1) for line in outcome.out.splitlines())
    assert told["biascon"] == __version__
    assert told["MNIST"] == "made for the tests (1,000 training digits)"
    assert "torch" in told


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Put a function behind ``biascon list``."""

    def put(function: Callable[[], None]) -> None:
        monkeypatch.setattr(
            entry_points, "load", lambda target: click.command(name="list")(function)
        )

    return put


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "code", "line"),
        [
            (DataError("broken\n  twice"), 1, "error: broken twice"),
            (UsageError("no sense"), 2, "error: no sense"),
            (OSError(28, "No space left on device", "x"), 1, "error: No space left on device: x"),
            (OSError(5, "Input/output error"), 1, "error: Input/output error: standard output"),
            (
                RuntimeError("bad\nluck"),
                1,
                "error: unexpected RuntimeError: bad luck (biascon --debug shows where)",
            ),
        ],
    )
    def test_are_one_line_unless_debugging(
        self, cli: Any, command: Any, error: Exception, code: int, line: str
    ) -> None:
        def fail() -> None:
            raise error

        command(fail)
        assert cli("list") == (code, "", f"{line}\n")
        with pytest.raises(type(error)) as caught:
            main(["--debug", "list"])
        assert caught.value is error

    def test_the_traceback_is_shown_by_debug_alone(self, tmp_path: Path) -> None:
        words = ("inspect", "nowhere")
        plain = python("-m", "biascon", *words, cwd=tmp_path)
        debug = python("-m", "biascon", "--debug", *words, cwd=tmp_path)
        assert plain.returncode == debug.returncode == 1
        assert len(plain.stderr.splitlines()) == 1
        assert "nowhere is not a dataset folder" in only_error(plain.stderr)
        assert debug.stderr.startswith("Traceback")
        assert "nowhere is not a dataset folder" in debug.stderr

    def test_an_interruption(self, cli: Any, command: Any) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        command(interrupt)
        outcome = cli("list")
        assert outcome.code == 130
        assert "interrupted" in only_error(outcome.err.lstrip())

    def test_a_warning_of_biascon_is_told_and_another_is_not(
        self, cli: Any, command: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import warnings

        def warn() -> None:
            warnings.simplefilter("default")
            warnings.warn("only 3 images", BiasconWarning, stacklevel=1)
            warnings.warn("somebody else's", DeprecationWarning, stacklevel=1)

        command(warn)
        assert cli("list") == (0, "", "warning: only 3 images\n")

    @pytest.mark.skipif(sys.platform == "win32", reason="pipes are POSIX")
    def test_a_reader_that_has_gone_away(self) -> None:
        read, write = os.pipe()
        os.close(read)
        try:
            done = subprocess.run(
                [sys.executable, "-m", "biascon", "list", "presets"],
                stdout=write,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        finally:
            os.close(write)
        assert done.returncode == 1
        assert done.stderr == ""


@pytest.mark.parametrize(
    ("set_", "expected"),
    [
        ({}, "1000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "active"}, "None"),
    ],
)
def test_threads_that_wait_give_up_their_core_unless_the_user_says_otherwise(
    set_: dict[str, str], expected: str
) -> None:
    script = (
        "import os, sys\nfrom biascon.cli.app import main\n"
        "try:\n    main(['list', 'presets'])\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules\nprint(os.environ.get('GOMP_SPINCOUNT'))"
    )
    clean = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    words = [sys.executable, "-c", script]
    done = subprocess.run(
        words, env={**clean, **set_}, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == expected
