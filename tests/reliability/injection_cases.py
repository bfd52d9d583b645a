"""Every command of the command line on small drawn data, for the injector.

``python -m tests.reliability.injection_cases SCRATCH PLAN`` runs below the library of ``failing_calls.c``.
PLAN is JSON: a list of ``[case, fault, limit]``. It prints one JSON object for each.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from tests.data import faces
from tests.data.builders import biased_sets, cifar_files
from tests.data.builders.folder_sets import make_own_folder, write_image
from tests.data.corruptions.drawn import write_frost
from tests.reliability.injection import FAULTS, Case, Injector, become_subreaper, fork_trainings

SIZE = ("--size", "28", "--threads", "1", "--out", "data/set", "--quiet")
TABLE = (
    "make-table", "t.csv", "--image-col", "file", "--label-col", "y", "--bias-col", "b", "--split-col",
    "split", "--aligned", "cat=in", "--aligned", "dog=out", *SIZE,
)  # fmt: skip
SMOKE = (
    "--data", "data/set", "--preset", "smoke", "--device", "cpu", "--set", "train.epochs=1",
    "--set", "train.batch_size=32", "--set", "train.threads=1", "--set", "train.min_steps=0",
)  # fmt: skip
EVALUATE = ("evaluate", "--loss", "supcon", "--quiet", *SMOKE)
CONTEX = ("evaluate", "--loss", "contex", "--quiet", *SMOKE)
BMNIST = ("make-bmnist", "--source", "embedded", "--out", "data/set", "--quiet", "--rho")
AUDIT = ("audit", "p.csv", "--label", "y", "--prediction", "p", "--bias", "b", "--out", "a.json")
GRID = """losses = ["ce", "supcon"]
seeds = [0]
data = ["data/set"]
preset = "smoke"
[settings]
"train.epochs" = [1]
"train.batch_size" = [32]
"""
STUDY = """losses = ["ce", "supcon"]
data = "data/set"
preset = "smoke"
trials = 1
settings = ["train.epochs=1"]
[space]
"train.batch_size" = { choice = [32] }
[confirm]
seeds = 0
"""


def draw_table(folder: Path) -> None:
    """Write 84 pictures and their table."""
    lines = ["file,y,b,split"]
    for split, n in (("train", 40), ("val", 16), ("test", 28)):
        for k in range(n):
            y = k % 2
            b = y if split == "train" and k % 10 < 8 else k // 2 % 2
            write_image(folder / f"pictures/{split}{k}.jpg", 7 * k + y)
            lines.append(f"pictures/{split}{k}.jpg,{('cat', 'dog')[y]},{('in', 'out')[b]},{split}")
    (folder / "t.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def draw_predictions(folder: Path) -> None:
    """Write a table of predictions."""
    lines = "".join(f"{k % 3},{k % 2},{k % 5 % 2}\n" for k in range(300))
    (folder / "p.csv").write_text(f"y,p,b\n{lines}", encoding="utf-8")


def draw_plans(folder: Path) -> None:
    """Write the pictures with a grid and a study."""
    draw_table(folder)
    (folder / "grid.toml").write_text(GRID, encoding="utf-8")
    (folder / "study.toml").write_text(STUDY, encoding="utf-8")


def draw_parquet(folder: Path) -> None:
    """Write a Hugging Face dataset: Parquet files with encoded images."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for split, n in (("train", 16), ("validation", 8), ("test", 8)):
        rows: dict[str, list[object]] = {"image": [], "y": [], "b": []}
        for k in range(n):
            write_image(folder / "one.jpg", k)
            rows["image"].append({"bytes": (folder / "one.jpg").read_bytes(), "path": None})
            rows["y"].append(("cat", "dog")[k % 2])
            rows["b"].append(("in", "out")[k // 2 % 2])
        (folder / "hf").mkdir(exist_ok=True)
        pq.write_table(pa.table(rows), folder / "hf" / f"{split}.parquet")
    (folder / "one.jpg").unlink()


def draw_disent(folder: Path) -> None:
    """Write a set of DisEnt with one share."""
    biased_sets.make_disent(folder / "raw", valid_in_percent=True, nested=False)
    shutil.rmtree(folder / "raw" / "1pct")


def draw_cifar(folder: Path) -> None:
    """Write CIFAR-10 with 20 images a file, and pictures of frost."""
    cifar_files.write_cifar10(folder / "raw", per_file=20)
    write_frost(folder / "frost")


def draw_celeba(folder: Path) -> None:
    """Write 40 drawn faces in the layout of CelebA, with every pair of two attributes in each split."""
    faces.draw_celeba(folder / "raw", 40)


def draw_utkface(folder: Path) -> None:
    """Write 60 drawn faces with the names of UTKFace."""
    faces.draw_utkface(folder / "raw", faces.make_names(60))


def draw_nothing(folder: Path) -> None:
    """Write no input."""


def in_raw(write: Callable[[Path], object]) -> Callable[[Path], object]:
    """Return a function that writes a set into the folder ``raw``."""
    return lambda folder: write(folder / "raw")


def shorten_demo() -> None:
    """Let the demonstration take 300 digits, one seed and one epoch."""
    from biascon.cli import demo
    from biascon.data.builders import biased_mnist

    find = biased_mnist.find_digits

    def find_few(*words: object) -> object:
        digits = find(*words)  # type: ignore[arg-type]
        parts = {
            f"{split}_{part}": getattr(digits, f"{split}_{part}")[:n]
            for split, n in (("train", 300), ("test", 100))
            for part in ("images", "labels", "index")
        }
        return dataclasses.replace(digits, **parts)

    settings = (
        "train.epochs=1", "train.min_steps=0", "train.batch_size=64", "train.threads=1",
        "model.encoder=fastconvnet", "model.head=[8,8]",
    )  # fmt: skip
    vars(biased_mnist)["find_digits"] = find_few
    vars(demo)["LOSSES"] = ("supcon",)
    vars(demo)["plan_demo"] = lambda: demo.DemoPlan("embedded", 0.9, (0,), "small", settings)


AUDITING = (
    "biascon.auditing.display.text",
    "biascon.auditing.reading.prediction_file",
    "biascon.auditing.reading.csv_rows",
    "biascon.auditing.reading.csv_dialect",
    "pandas",
    "pyarrow.csv",
    "pyarrow.compute",
    "scipy.stats",
)
RUNS = (TABLE, EVALUATE, CONTEX)
BUILT = (TABLE,)
OUT = ("data/set",)
REPORT = (
    "report",
    "--quiet",
    "--format",
    "json",
    "--format",
    "csv",
    "--format",
    "html",
    "--format",
    "markdown",
)
WATERBIRDS = in_raw(biased_sets.make_waterbirds)
CASES = {
    case.name: case
    for case in (
        Case("make-bmnist", (*BMNIST, "0.9"), draw_nothing, outputs=OUT, limit=25),
        Case(
            "make-bmnist --force",
            (*BMNIST, "0.9", "--force"),
            draw_nothing,
            ((*BMNIST, "0.5"),),
            OUT,
            limit=25,
        ),
        Case("make-utkface", ("make-utkface", "raw", *SIZE), draw_utkface, outputs=OUT),
        Case("make-celeba", ("make-celeba", "raw", *SIZE), draw_celeba, outputs=OUT),
        Case("make-table", TABLE, draw_table, outputs=OUT),
        Case(
            "make-table --force",
            (*TABLE, "--seed", "1", "--size", "32", "--force"),
            draw_table,
            (TABLE,),
            OUT,
        ),
        Case("make-table --store files", (*TABLE, "--store", "files"), draw_table, outputs=OUT),
        Case("make-waterbirds", ("make-waterbirds", "raw", *SIZE), WATERBIRDS, outputs=OUT),
        Case(
            "make-urbancars",
            ("make-urbancars", "raw", *SIZE),
            in_raw(lambda raw: biased_sets.make_urbancars(raw, {0: 2, 1: 2, 2: 4}, 2)),
            outputs=OUT,
        ),
        Case(
            "make-fairface",
            ("make-fairface", "raw", *SIZE),
            in_raw(biased_sets.make_fairface),
            outputs=OUT,
        ),
        Case("make-debias", ("make-debias", "raw", *SIZE), draw_disent, outputs=OUT),
        Case(
            "make-huggingface",
            (
                "make-huggingface",
                "hf",
                "--image-col",
                "image",
                "--label-col",
                "y",
                "--bias-col",
                "b",
                "--aligned",
                "cat=in",
                "--aligned",
                "dog=out",
                *SIZE,
            ),
            draw_parquet,
            outputs=OUT,
        ),
        Case(
            "make-standard",
            ("make-standard", "folder", "raw", *SIZE),
            in_raw(lambda raw: make_own_folder(raw, val=True)),
            outputs=OUT,
        ),
        Case(
            "make-cifar-c",
            (
                "make-cifar-c",
                "raw",
                "--frost",
                "frost",
                "--conflicting",
                "20%",
                "--out",
                "data/set",
                "--quiet",
            ),
            draw_cifar,
            outputs=OUT,
            limit=25,
        ),
        Case(
            "inspect",
            ("inspect", "data/set", "--png", "sheet.png"),
            draw_table,
            BUILT,
            ("sheet.png",),
        ),
        Case(
            "export",
            ("export", "data/set", "--to", "hf", "--out", "export"),
            draw_table,
            BUILT,
            ("export",),
        ),
        Case(
            "export --force",
            ("export", "data/set", "--to", "folder", "--out", "export", "--force"),
            draw_table,
            (*BUILT, ("export", "data/set", "--to", "hf", "--out", "export")),
            ("export",),
        ),
        Case(
            "export --to wilds",
            ("export", "data/set", "--to", "wilds", "--out", "export"),
            draw_table,
            BUILT,
            ("export",),
        ),
        Case(
            "export --to croissant",
            ("export", "data/set", "--to", "croissant"),
            draw_table,
            BUILT,
            ("data/set/croissant.json",),
        ),
        Case("train", ("train", *EVALUATE[1:]), draw_table, BUILT, grows=("runs",)),
        Case("evaluate", EVALUATE, draw_table, BUILT, grows=("runs",), limit=120),
        Case(
            "evaluate --no-resume", (*EVALUATE, "--no-resume"), draw_table, BUILT, grows=("runs",)
        ),
        Case("audit", (*AUDIT, "--seed", "1"), draw_predictions, (AUDIT,), ("a.json",)),
        Case(
            "compare",
            ("compare", "runs", "--out", "c.csv"),
            draw_table,
            RUNS,
            ("c.csv",),
            ("runs",),
        ),
        Case(
            "sweep",
            ("sweep", "grid.toml", "--workers", "1", "--device", "cpu", "--quiet"),
            draw_plans,
            BUILT,
            grows=("runs",),
            limit=20,
            patch=fork_trainings,
        ),
        Case(
            "tune",
            ("tune", "study.toml", "--workers", "1", "--device", "cpu", "--quiet"),
            draw_plans,
            BUILT,
            grows=("runs", "studies"),
            limit=20,
            patch=fork_trainings,
        ),
        Case("report", REPORT, draw_table, RUNS, grows=("runs", "report"), limit=40),
        Case("list", ("list", "runs", "--verify"), draw_table, RUNS, grows=("runs",)),
        Case("check", ("check", "."), draw_table, RUNS, grows=("runs",)),
        Case("prune", ("prune", "--features"), draw_table, RUNS, grows=("runs",)),
        Case("doctor", ("doctor",), draw_nothing),
        Case(
            "demo",
            ("demo", "--out", "demo", "--device", "cpu"),
            draw_nothing,
            grows=("demo",),
            limit=20,
            patch=shorten_demo,
        ),
    )
}


def import_modules(names: set[str]) -> None:
    """Import what the commands of some cases use, so that a forked child starts at once."""
    import importlib

    from biascon.cli import app

    if names <= {"audit"}:
        importlib.import_module("biascon.cli.audit")
        importlib.import_module("biascon.auditing.api")
        for name in AUDITING:
            importlib.import_module(name)
        return
    import torch

    torch.set_num_threads(1)
    for target in app.COMMANDS.values():
        importlib.import_module(target.partition(":")[0])
    for name in (
        "biascon.evaluation.pipeline", "biascon.report.write", "biascon.tuning.study", "biascon.auditing.api",
        "biascon.data.bridges.export", "biascon.data.builders.biased_mnist", "biascon.sweep.runner",
        "biascon.report.verdicts", "sklearn.linear_model", "scipy.stats", "pyarrow.parquet", "simplejpeg",
        "matplotlib.figure", "matplotlib.backends.backend_agg", "mlxtend.data", "biascon.data.contact_sheet",
        "sklearn.manifold", "pyarrow.csv", "datasets", "torch._dynamo",
    ):  # fmt: skip
        try:
            importlib.import_module(name)
        except ImportError as error:
            print(f"not imported: {name}: {error}", file=sys.stderr)


def list_cases() -> list[Case]:
    """Return the cases whose packages are installed."""
    import importlib.util

    has_datasets = importlib.util.find_spec("datasets") is not None
    return [case for case in CASES.values() if has_datasets or case.name != "make-huggingface"]


def main(scratch: Path, plan: list[tuple[str, str, int]]) -> None:
    """Run a plan, and print the counts of each part as one line of JSON."""
    become_subreaper()
    import_modules({name for name, _, _ in plan})
    faults = {fault.name: fault for fault in FAULTS}
    injectors: dict[str, Injector] = {}
    for number, (name, fault, limit) in enumerate(plan):
        case = CASES[name]
        try:
            if name not in injectors:
                for old in injectors.values():
                    shutil.rmtree(old.work.parent)
                injectors = {}
                injectors = {name: Injector(case, scratch / f"case{number}")}
        except RuntimeError as error:
            print(json.dumps({"case": name, "fault": fault, "failed": str(error)}), flush=True)
            continue
        injector = injectors[name]
        counts = injector.inject(faults[fault], limit or case.limit)
        line = {**dataclasses.asdict(counts), "ignored": sorted(counts.ignored)}
        line |= {"case": name, "fault": fault, "volatile": sorted(injector.volatile)}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
