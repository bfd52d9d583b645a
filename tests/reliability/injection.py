"""The n-th call of the system fails in a whole command, for every n; or the process is killed there.

``failing_calls.c`` is compiled and loaded by ``LD_PRELOAD`` into a process that imports biascon once. For
each n, that process forks a child, which runs one command in a fresh copy of a small folder.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

READS, WRITES, NAMES, OPENS, OPENS_TO_WRITE, SYNCS, CLOSES, REMOVES = (1 << k for k in range(8))
CHANGES = WRITES | NAMES | OPENS_TO_WRITE | SYNCS | CLOSES | REMOVES
SOURCE = Path(__file__).with_name("failing_calls.c")
SECONDS = 300  # the longest time of a command
# The ``.lock`` of a run folder stays: a lock is held on a file, which must not be removed.
_CACHED = re.compile(r"/\.cache/(seals|recomputed)\.json$")
_LEFTOVER = re.compile(r"\.(tmp|partial|biascon-work|biascon-old|old)$|[^/]\.lock$")
# What a run measures of the machine; everything else must be equal.
_TIMING = re.compile(r"second|^peak_memory|^(time|started|finished|created)$")


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        name: Its name.
        code: The errno; 0 for SIGKILL.
        kinds: The kinds of calls that it strikes, as bits.
        is_lasting: Whether all later calls fail too, as on a full disk.
    """

    name: str
    code: int
    kinds: int
    is_lasting: bool = False


FAULTS = (
    Fault("EIO", errno.EIO, CHANGES | READS | OPENS),
    Fault("ENOSPC", errno.ENOSPC, WRITES | NAMES | OPENS_TO_WRITE | SYNCS, is_lasting=True),
    Fault("EACCES", errno.EACCES, NAMES | OPENS | OPENS_TO_WRITE | REMOVES),
    Fault("SIGKILL", 0, CHANGES),
)


@dataclass(frozen=True)
class Case:
    """A command on small data.

    Attributes:
        name: The subcommand, or a form of it.
        words: Its words, with paths relative to the folder.
        prepare: Writes its input into a folder.
        before: Commands that make what is there before.
        outputs: What the command may replace: each file or folder is the old one, the new one or missing.
        grows: Folders in which unfinished work may stay for the next command.
        limit: The most injections of each fault.
        patch: Called in the child before the command.
    """

    name: str
    words: tuple[str, ...]
    prepare: Callable[[Path], object]
    before: tuple[tuple[str, ...], ...] = ()
    outputs: tuple[str, ...] = ()
    grows: tuple[str, ...] = ()
    limit: int = 60
    patch: Callable[[], None] = lambda: None


@dataclass
class Counts:
    """What the injections of one fault into one command did.

    Attributes:
        calls: Calls of the command that the fault can strike.
        times: Injections.
        harmless: Injections after which the command succeeded all the same.
        lost: Injections that lost what was there before.
        wrong: Injections that ended in anything else than one line and a documented exit code, left something
            half-made, or gave another result at the next command.
        ignored: The calls whose failure did not matter.
        findings: A line for each injection that lost data or was wrong.
    """

    calls: int = 0
    times: int = 0
    harmless: int = 0
    lost: int = 0
    wrong: int = 0
    ignored: set[str] = field(default_factory=set)
    findings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """The end of a command: exit code or minus the signal, standard error, calls, the call struck."""

    code: int
    err: str
    calls: int
    struck: str


def compile_library(folder: Path) -> Path | None:
    """Compile the C file with ``cc``; return the library, or None without a compiler or on another system."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        return None
    library = folder / "failing_calls.so"
    words = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"]
    done = subprocess.run(words, capture_output=True, check=False)
    return library if done.returncode == 0 else None


def start_server(library: Path, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run ``python -m tests.reliability.injection_cases WORDS`` with the library, and return its output."""
    environment = {**os.environ, "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.reliability.injection_cases", *words]
    return subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=SOURCE.parents[2],
    )


def run_command(
    words: Sequence[str],
    folder: Path,
    *,
    fault: Fault | None = None,
    n: int = 0,
    case: Case | None = None,
) -> Outcome:
    """Run a command in a forked child in ``folder``; the n-th call fails. Without a fault, none does."""
    report, report_to = os.pipe()
    with tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as calls:
        child = os.fork()
        if child == 0:
            os.close(report)
            _run_child(words, folder, fault, n, case, (err.fileno(), calls.fileno(), report_to))
        os.close(report_to)
        status = _wait(child)
        _wait_for_grandchildren()
        err.seek(0)
        calls.seek(0)
        with os.fdopen(report, "rb") as pipe:
            struck = pipe.read().decode()
        code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        text = err.read().decode(errors="replace")
        return Outcome(code, text, int(calls.read() or 0), struck.strip())


def _wait(child: int) -> int:
    stop = time.monotonic() + SECONDS
    while time.monotonic() < stop:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 98 << 8


def _wait_for_grandchildren() -> None:
    """Wait for the children of a killed child: this process inherits them."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def become_subreaper() -> None:
    """Let this process inherit the children of its children."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def _run_child(
    words: Sequence[str],
    folder: Path,
    fault: Fault | None,
    n: int,
    case: Case | None,
    streams: tuple[int, int, int],
) -> None:
    """Run the command in this process, and end it."""
    err, calls, report = streams
    code, library = 99, ctypes.CDLL(None)
    try:
        os.chdir(folder)
        os.environ.update(XDG_CACHE_HOME=str(folder / "cache"), BIASCON_MNIST="")
        os.environ.pop("BIASCON_MNIST")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(err, 2)
        if case is not None:
            case.patch()
        from biascon.cli.app import main

        kinds = fault.kinds if fault else 0
        library.fail_arm(
            str(folder).encode(), ctypes.c_long(n), fault.code if fault else 0, kinds,
            int(fault.is_lasting) if fault else 0, report,
        )  # fmt: skip
        try:
            main(list(words))
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException as error:
        os.write(2, f"escaped: {type(error).__name__}: {error}\n".encode())
    finally:
        library.fail_disarm()
        library.fail_count.restype = ctypes.c_long
        os.write(calls, str(library.fail_count()).encode())
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)


def fork_trainings() -> None:
    """Let a sweep fork its trainings from this process, and strike none of their calls."""
    from biascon.sweep import local_pool, runner

    children = SimpleNamespace(
        run=_run_grandchild,
        is_stopping=lambda seconds=0.0: False,
        stop=lambda: None,
        allow=lambda: None,
    )
    vars(runner)["CHILDREN"] = vars(local_pool)["CHILDREN"] = children


def _run_grandchild(
    words: list[str], environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a training of a sweep in a child of this process, without a fault."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            code = 99
            try:
                ctypes.CDLL(None).fail_disarm()
                ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                sys.stdout = open(1, "w", 1, closefd=False)  # noqa: SIM115
                sys.stderr = open(2, "w", 1, closefd=False)  # noqa: SIM115
                from biascon.cli.app import main

                main(words[3:])
                code = 0
            except SystemExit as error:
                code = error.code if isinstance(error.code, int) else 1
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(words, code, out.read().decode(), err.read().decode())


class Injector:
    """Injects faults into one case."""

    def __init__(self, case: Case, scratch: Path) -> None:
        """Prepare the folder of the case, and run the command three times without a fault.

        Args:
            case: The command.
            scratch: A folder to work in.

        Raises:
            RuntimeError: The command fails without a fault, or leaves something behind.
        """
        self.case = case
        self.work = scratch / "work"
        self.origin = scratch / "origin"
        self.work.mkdir(parents=True)
        case.prepare(self.work)
        for words in case.before:
            self._run_clean(words)
        shutil.copytree(self.work, self.origin, symlinks=True)
        self.before = digests(self.work)
        references = []
        self.calls: dict[str, int] = {}
        for fault in (FAULTS[0], FAULTS[1], FAULTS[2], FAULTS[3]):
            self.renew()
            outcome = run_command(case.words, self.work, fault=fault, case=case)
            self.calls[fault.name] = outcome.calls
            if outcome.code:
                raise RuntimeError(f"{case.name} ends with {outcome.code}: {outcome.err}")
            references.append(snapshot(self.work))
        self.volatile = {
            name
            for name in references[0]
            if any(other.get(name) != references[0][name] for other in references[1:])
        }
        self.names = set(references[0])
        self.reference = references[0]
        # A second command on a finished result must also leave it as it is.
        leftovers = [name for name in self.names if _LEFTOVER.search(name)]
        if leftovers or any(set(other) != self.names for other in references):
            names = [sorted(set(other) ^ self.names) for other in references]
            raise RuntimeError(f"{case.name} leaves {leftovers}, other names each time: {names}")

    def _run_clean(self, words: Sequence[str]) -> None:
        outcome = run_command(words, self.work, case=self.case)
        if outcome.code:
            raise RuntimeError(f"{' '.join(words)} ends with {outcome.code}: {outcome.err}")

    def renew(self) -> None:
        """Put the folder back into the state before the command."""
        shutil.rmtree(self.work)
        shutil.copytree(self.origin, self.work, symlinks=True)

    def inject(self, fault: Fault, limit: int) -> Counts:
        """Inject a fault at call 1, 1 + stride, ... until the command makes fewer calls."""
        counts = Counts(calls=self.calls[fault.name])
        stride = max(1, -(-counts.calls // max(1, limit)))
        n = 1
        while n <= counts.calls + 20:
            if not self.inject_once(fault, n, counts):
                break
            n += stride
        return counts

    def inject_once(self, fault: Fault, n: int, counts: Counts) -> bool:
        """Inject a fault at the n-th call, and check; return False if the command makes fewer calls."""
        self.renew()
        first = run_command(self.case.words, self.work, fault=fault, n=n, case=self.case)
        if not first.struck:
            return False
        counts.times += 1
        call = _describe(first.struck, self.work)
        lost, wrong = self._check_state(first), self._check_end(fault, first)
        if first.code == 0:
            counts.harmless += 1
            counts.ignored.add(call)
        again = run_command(self.case.words, self.work, case=self.case)
        is_complete = first.code < 0 and " exists already; " in again.err and again.code == 1
        if again.code != 0 and not is_complete:  # the kill came after the last step
            wrong.append(f"the next command ends with {again.code}: {again.err.strip()[-300:]}")
        else:
            wrong += self._check_result()
        counts.lost += bool(lost)
        counts.wrong += bool(wrong) and not lost
        if lost or wrong:
            what = "; ".join([*lost, *wrong])[:600]
            counts.findings.append(f"{self.case.name}: {fault.name} at call {n} ({call}): {what}")
        return True

    def _check_end(self, fault: Fault, outcome: Outcome) -> list[str]:
        """Return what is wrong with the exit code and the lines of standard error."""
        if fault.code == 0:
            return [] if outcome.code == -signal.SIGKILL else [f"ended with {outcome.code}"]
        lines = outcome.err.splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        if outcome.code == 0:
            return [f"succeeded with {errors}"] if errors else []
        wrong = []
        if outcome.code not in (1, 2, 71, 75):
            wrong.append(f"exit code {outcome.code}: {outcome.err.strip()[-300:]}")
        if len(errors) != 1 or not lines[-1].startswith("error: "):
            wrong.append(f"not one error line: {outcome.err.strip()[-300:]!r}")
        elif "unexpected" in errors[0]:
            wrong.append(errors[0])
        if "Traceback" in outcome.err:
            wrong.append("a traceback")
        return wrong

    def _check_state(self, outcome: Outcome) -> list[str]:
        """Return what of the state before is lost, and which output is neither the old nor the new one.

        A command that says which run it leaves out may write an output without it.
        """
        problems = []
        now = digests(self.work)
        outputs = (*self.case.outputs, *self.case.grows)
        for name, digest in self.before.items():
            if now.get(name) != digest and not _is_below(name, outputs):
                problems.append(f"{name} was changed or removed")
        for output in self.case.outputs:
            old = {name: d for name, d in self.before.items() if _is_below(name, (output,))}
            got = {name: d for name, d in now.items() if _is_below(name, (output,))}
            if got == old:
                continue
            if not got:
                problems.append(f"{output} is gone")
                continue
            if outcome.code == 0 and "warning: " in outcome.err and "left out" in outcome.err:
                continue
            new = {name for name in self.names if _is_below(name, (output,))}
            if set(got) != new or any(self._differs(name) for name in new):
                said = outcome.err.strip()[-200:]
                problems.append(f"{output} is neither the old one nor the new one: {said!r}")
        return problems

    def _check_result(self) -> list[str]:
        """Return how the folder differs from that of a command without a fault."""
        names = set(digests(self.work))
        # What a report keeps for the next one may be there or not. Its temporary files may not.
        extra = {name for name in names - self.names if not _CACHED.search(name)}
        wrong = [f"{name} is left over" for name in sorted(extra)]
        wrong += [f"{name} is missing" for name in sorted(self.names - names)]
        wrong += [f"{name} differs" for name in sorted(self.names & names) if self._differs(name)]
        return wrong

    def _differs(self, name: str) -> bool:
        path = self.work / name
        if not path.is_file():
            return not path.exists()
        return name not in self.volatile and _normalize(path) != self.reference[name]


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder, "folder" for an empty one, by relative name."""
    return dict(_walk(folder, lambda path: hashlib.sha256(path.read_bytes()).hexdigest()))


def snapshot(folder: Path) -> dict[str, str]:
    """Return the digest of every file below a folder without its timing fields, by relative name."""
    return dict(_walk(folder, _normalize))


def _walk(folder: Path, read: Callable[[Path], str]) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file():
            yield name, read(path)
        elif path.is_dir() and not any(path.iterdir()):
            yield name, "folder"


def _normalize(path: Path) -> str:
    """Return a digest of a file, without the fields of time and machine of JSON."""
    data = path.read_bytes()
    if path.name in ("done", "journal") or path.suffix in (".json", ".jsonl", ".journal"):
        with contextlib.suppress(ValueError):
            text = data.decode()
            lines = text.splitlines() if path.suffix == ".jsonl" else [text]
            data = json.dumps([_without_timing(json.loads(line)) for line in lines]).encode()
    return hashlib.sha256(data).hexdigest()


def _without_timing(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_timing(v) for key, v in value.items() if not _TIMING.search(key)}
    if isinstance(value, list):
        return [_without_timing(item) for item in value]
    return value


def _is_below(name: str, folders: Sequence[str]) -> bool:
    return any(name == folder or name.startswith(f"{folder}/") for folder in folders)


def _describe(struck: str, work: Path) -> str:
    """Return a call and its path, without what differs between two processes."""
    text = struck.replace(f"{work}/", "").replace(" (deleted)", "")
    return re.sub(r"[a-z0-9_]{8}\.biascon\.tmp", "X.biascon.tmp", text)
