"""A signal ends a sweep and its runs: no process is left, and none is started anew."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from biascon.cli.app import LazyGroup
from biascon.sweep import runner
from biascon.utils.interruption import (
    Children,
    Interrupted,
    signal_handlers_kept,
    signals_as_exceptions,
)
from biascon.utils.parent import VARIABLE as PARENT_VARIABLE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
MARK = "BIASCON_TEST_MARK"
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"


def take_ctrl_c() -> None:
    """Let the process take SIGINT: a shell starts its background jobs with SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def find_marked(mark: str) -> set[int]:
    """Return the processes whose environment has a mark, without this process."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                    found.add(int(folder.name))
            except OSError:
                continue
    return found


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "to_group", "code"),
    [
        (signal.SIGINT, True, 130),
        pytest.param(signal.SIGINT, False, 130, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, False, 143, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, True, 129, marks=pytest.mark.slow),
        (signal.SIGKILL, False, -9),
    ],
)
def test_a_signal_to_a_sweep_leaves_no_run_behind(
    number: int, to_group: bool, code: int, make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    data = make_dataset(tmp_path / "small")
    grid = tmp_path / "grid.toml"
    grid.write_text(
        f'losses = ["ce", "supcon"]\ndata = ["{data}"]\npreset = "smoke"\nseeds = [0, 1]\n'
        "[settings]\n'train.epochs' = [1000]\n"
    )
    mark = tmp_path.name
    words = ["sweep", str(grid), "--runs", str(tmp_path / "runs"), "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "biascon", *words],
        env={**os.environ, MARK: mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=take_ctrl_c,  # noqa: PLW1509
    )
    wait_until(lambda: len(find_marked(mark)) == 3)  # the sweep and two runs
    (os.killpg if to_group else os.kill)(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    wait_until(lambda: not find_marked(mark))
    time.sleep(0.2)
    assert not find_marked(mark)  # none was started anew
    if number != signal.SIGKILL:
        last = err.splitlines()[-1]
        assert last.startswith("error: "), err
        assert "the same command resumes: it skips the runs that are finished" in last


def test_children_that_ignore_the_request_are_killed() -> None:
    children = Children()
    results: list[Any] = []
    words = [sys.executable, "-c", STUBBORN]
    thread = threading.Thread(target=lambda: results.append(children.run(words, os.environ)))
    thread.start()
    wait_until(lambda: bool(children._running))
    time.sleep(0.5)  # until it ignores SIGTERM
    children.stop(grace=0.1)
    thread.join(10)
    assert not thread.is_alive()
    assert results[0].returncode == -signal.SIGKILL
    assert children.run(SLEEP, os.environ) is None  # no further process is started
    children.allow()
    assert children.run([sys.executable, "-c", ""], os.environ).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_runs_the_cleanup_of_a_command(number: int) -> None:
    cleaned = False
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as caught, signals_as_exceptions():
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        finally:
            cleaned = True
    assert cleaned
    assert caught.value.exit_code == 128 + number
    assert signal.getsignal(number) == before


def run_program(program: str) -> tuple[int, str]:
    """Run a program that sends itself signals; return its exit code and standard error."""
    head = (
        "import os, signal, sys, time; from biascon.utils import interruption as i\n"
        "def send(name): os.kill(os.getpid(), getattr(signal, name))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", head + program],
        preexec_fn=take_ctrl_c,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_second_ctrl_c_ends_at_once_with_the_children(tmp_path: Path) -> None:
    code, out = run_program(
        "import threading\n"
        "i.SAME_REQUEST = 0.1\n"
        f"words = [sys.executable, '-c', {STUBBORN!r}]\n"
        "with i.signals_as_exceptions():\n"
        "    threading.Thread(target=i.CHILDREN.run, args=(words, os.environ)).start()\n"
        "    while not i.CHILDREN._running: time.sleep(0.01)\n"
        "    print(*(child.pid for child in i.CHILDREN._running), flush=True)\n"
        "    try:\n"
        "        send('SIGINT')\n"
        "    except KeyboardInterrupt:\n"
        "        time.sleep(0.2)\n"
        "        send('SIGINT')\n"
        "        time.sleep(60)\n"
    )
    assert code == 130
    wait_until(lambda: not Path(f"/proc/{int(out)}").exists(), 5)


def test_signals_that_belong_together_do_not_cut_the_cleanup_short() -> None:
    code, out = run_program(
        "with i.signals_as_exceptions():\n"
        "    try:\n"
        "        send('SIGHUP')\n"  # a closed terminal: from the shell, from the system, from a sweep
        "    except i.Interrupted:\n"
        "        send('SIGHUP'); send('SIGTERM')\n"
        "        time.sleep(0.01)\n"
        "        print('cleaned'); sys.exit(129)\n"
    )
    assert (code, out) == (129, "cleaned\n")


def test_a_command_that_swallows_the_signal_ends_after_the_limit() -> None:
    code, _ = run_program(
        "i.LIMIT = 0.1\n"
        "with i.signals_as_exceptions():\n"
        "    try:\n"
        "        send('SIGTERM')\n"
        "    except BaseException:\n"
        "        time.sleep(60)\n"
    )
    assert code == 143


def test_a_run_ends_with_its_parent_without_the_signal_of_linux(tmp_path: Path) -> None:
    child = (
        "from biascon.utils import parent; import time; parent.INTERVAL = 0.02\n"
        "parent._ask_for_signal = lambda: False; parent.end_with_parent(); time.sleep(60)"
    )
    program = (
        "import os, subprocess, sys\n"
        f"environment = {{**os.environ, {PARENT_VARIABLE!r}: str(os.getpid())}}\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], env=environment,\n"
        "    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True)\n"
        "import time; time.sleep(0.5); os._exit(0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    wait_until(lambda: not Path(f"/proc/{int(done.stdout)}").exists(), 10)


def test_a_library_that_turns_the_signal_into_an_error_does_not_hide_it(
    cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def swallow(*_: Any) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        except Interrupted as error:
            raise ImportError("initialization failed") from error

    monkeypatch.setattr(LazyGroup, "get_command", swallow)
    outcome = cli("audit", "p.csv")
    assert (outcome.code, outcome.err) == (
        143, "error: ended by SIGTERM; the same command starts again\n",
    )  # fmt: skip


def test_a_library_does_not_keep_a_handler() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with signal_handlers_kept():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))  # as Ray does
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with signals_as_exceptions():
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_run_that_was_interrupted_is_not_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = tmp_path / "starts"
    program = f"import sys; open({str(starts)!r}, 'a').write('x'); sys.exit(130)"
    job = type("Job", (), {"command": lambda *_: [sys.executable, "-c", program]})()
    result = runner.run_with_retries(job, tmp_path, 1, "cpu")
    assert (result.state, result.tries, starts.read_text()) == ("failed", 1, "x")
