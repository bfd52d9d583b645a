"""The command line: imports at start, one line for each error, and exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from biascon.cli.app import COMMANDS, main
from biascon.errors import BiasconWarning, DataError, RunBusyError, UsageError
from biascon.utils import entry_points
from biascon.version import __version__
from tests.cli.outcomes import only_error, usage_error

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
            (["list", "losses", "more"], "LOSS belongs to: biascon list spaces"),
            (["list", "spaces", "ce", "more"], "unexpected extra argument"),
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
            (["evaluate", "--loss", "ce", "--preset", "smok"], "did you mean 'smoke'?"),
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


def test_one_error_names_all_unknown_losses(cli: Any) -> None:
    message = usage_error(cli("evaluate", "--loss", "supcn", "--loss", "ce", "--loss", "biascn"))
    assert "'supcn'; did you mean 'supcon'?, 'biascn'; did you mean" in message


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
