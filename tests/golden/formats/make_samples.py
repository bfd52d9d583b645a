"""Write a frozen sample of the files of one version of biascon.

    python tests/golden/formats/make_samples.py NAME [NAME ...]

A sample is a folder beside this file. It is never written again: it shows that this version reads what that
version wrote, or refuses it in one line. The code of the version comes from the history of the repository
(``git archive COMMIT``); the digits are drawn, 10 x 10 pixels. Afterwards the weights are replaced by a few
bytes and the features are deleted, to keep a sample small, and the run is sealed again by ``done``.

After a change of a format constant: add a line to ``SAMPLES`` with the commit of the change, run this script,
and add the sample to ``tests/test_formats.py``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]

# name: (commit, what is written). The name states the format numbers and when they were written.
SAMPLES = {
    "evaluation-1-first": ("8eaf3f1", ("data", "run")),
    "evaluation-1-last": ("e1bd9f6", ("data", "run", "audit")),
    "evaluation-2-first": ("4ee43d8", ("data", "run")),
    "evaluation-2-last": ("8fde013", ("data", "run")),
    "evaluation-3-first": ("ef917bd", ("data", "run")),
    "audit-1-last": ("107f6a1", ("audit",)),
    "audit-2-first": ("c69572a", ("audit",)),
    "audit-features-1-first": ("cdcdf59", ("features",)),
    "study-1-first": ("3df2cbc", ("study",)),
    "present": ("e164ad2", ("data", "run", "audit")),
    "present-study": ("e164ad2", ("study",)),
}

DRAW = """
import sys
from pathlib import Path
import numpy as np
from biascon.data.dataset import Split, save
GLYPHS = (  # a ring, a stroke, an angle
    ("1111", "1001", "1001", "1001", "1001", "1111"),
    ("0110", "0110", "0110", "0110", "0110", "0110"),
    ("1111", "0001", "0010", "0010", "0100", "0100"),
)
def draw(labels, colors, rng):
    images = np.zeros((len(labels), 3, 10, 10), np.uint8)
    for image, label, color in zip(images, labels, colors):
        image[color] = 90
        top, left = rng.integers(0, 4), rng.integers(0, 6)
        for y, row in enumerate(GLYPHS[label]):
            for x, dot in enumerate(row):
                if dot == "1":
                    image[:, top + y, left + x] = 255
    return images
splits, start = {}, 0
for name, n, conflicting in (("train", 24, 6), ("val", 12, 2), ("test", 24, 2)):
    rng = np.random.default_rng(n + conflicting)
    labels = np.arange(n) % 3
    colors = np.where(np.arange(n) // 3 % conflicting == 0, (labels + 1) % 3, labels)
    splits[name] = Split(draw(labels, colors, rng), labels, colors, colors == labels, start + np.arange(n))
    start += n
save(Path(sys.argv[1]), splits, {
    "name": "drawn", "builder": "made",
    "protocol": {"train": "drawn", "val": "drawn", "test": "drawn"},
    "parameters": {}, "source": {"origin": "drawn", "sha256": {}},
    "labels": ["ring", "stroke", "angle"],
    "bias": {"name": "color", "values": ["red", "green", "blue"], "aligned": "the color of the label"},
}, replace=False)
"""

# The table of a study whose four trials have made-up metrics: training them would take minutes.
STUDY = """
import sys
from pathlib import Path
from biascon.studies.records import TEST_METRICS, VAL_METRICS, CellCounts, Stage, StudyRun
from biascon.studies.table import StudyTable, write_table
cells = CellCounts([[3, 1], [0, 2]], [[4, 2], [1, 3]])
runs = [
    StudyRun(
        stage=Stage.TRIAL, method=method, study=0, trial=trial, pair=trial, seed=trial, dataset="drawn",
        dataset_seed=None, rho=None, dataset_digest="d" * 64, run=f"{method}{trial}" * 8,
        settings={"optimizer.lr": 0.01 * (trial + 1)}, seconds=1.5, first_stage_seconds=0.0, device="cpu",
        val={name: 0.5 + trial / 8 for name in VAL_METRICS}, test={name: 0.25 for name in TEST_METRICS},
        val_cells=cells, test_cells=cells, evaluated_by="linear probe", uses_bias_labels=False,
    )
    for method in ("ce", "supcon") for trial in (0, 1)
]
description = {
    "name": "drawn", "methods": {"ce": {}, "supcon": {}}, "seed": 0, "trials": 2, "preset": "smoke",
    "dataset": {"name": "drawn"}, "settings": [], "recipe": {},
}
write_table(Path(sys.argv[1]), StudyTable(description, runs))
"""


def write_predictions(folder: Path) -> None:
    """Write predictions and features for the audits: counts by a formula, nothing drawn at random."""
    rows = [(n % 2, (n * 7 % 10 > 2) ^ (n % 2), "ab"[n // 2 % 2]) for n in range(40)]
    lines = [f"{y},{int(p)},{g},{(0.8 if p else 0.3):.1f}" for y, p, g in rows]
    (folder / "predictions.csv").write_text(
        "\n".join(["label,prediction,group,score", *lines]) + "\n"
    )
    features = [
        f"{y + n % 5 / 4},{n * 3 % 7 / 7},{(g == 'a') + n % 3 / 3}"
        for n, (y, _, g) in enumerate(rows)
    ]
    (folder / "features.csv").write_text("\n".join(["f0,f1,f2", *features]) + "\n")


def run_biascon(source: Path, work: Path, *words: str) -> None:
    """Run a command of the version in the working folder."""
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *words], cwd=work, env=environment, check=True)


def strip(run: Path) -> None:
    """Replace the weights of a run by a few bytes, delete its features, and seal it again."""
    import numpy as np
    from safetensors.numpy import save_file

    for path in (*run.glob("features-*"), *run.glob(".*")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in run.glob("*.safetensors"):
        save_file({"stripped": np.zeros(1, np.float32)}, path)
    done = json.loads((run / "done").read_text())
    files = done["files"]
    for name in list(files):
        path = run / name
        if path.exists():
            files[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            del files[name]
    (run / "done").write_text(json.dumps(done, indent=1) + "\n")


def make(name: str) -> None:
    """Write one sample."""
    commit, parts = SAMPLES[name]
    target = HERE / name
    if target.exists():
        sys.exit(f"{target} exists; a sample is never written again")
    biascon = ("-m", "biascon")
    with tempfile.TemporaryDirectory() as scratch:
        source, work = Path(scratch, "source"), Path(scratch, "work")
        source.mkdir(), work.mkdir()
        archive = subprocess.run(
            ["git", "archive", commit, "biascon"], cwd=ROOT, check=True, capture_output=True
        )
        subprocess.run(["tar", "-x", "-C", str(source)], input=archive.stdout, check=True)
        target.mkdir()
        if set(parts) & {"data", "run"}:
            run_biascon(source, work, "-c", DRAW, "data")
        if "data" in parts:
            shutil.copytree(work / "data", target / "data")
        if "run" in parts:
            run_biascon(
                source, work, *biascon, "evaluate", "--loss", "supcon", "--preset", "smoke", "--seeds", "0",
                "--set", "train.batch_size=8", "--set", "model.encoder=simpleconvnet",
                "--data", "data", "--runs", "runs", "--device", "cpu",
            )  # fmt: skip
            for done in sorted((work / "runs").rglob("done")):
                strip(done.parent)
            shutil.copytree(work / "runs", target / "runs")
        write_predictions(work)
        columns = ("--label", "label", "--prediction", "prediction", "--bias", "group")
        if "audit" in parts:
            run_biascon(
                source, work, *biascon, "audit", "predictions.csv", *columns, "--out", "audit.json"
            )
            shutil.copy(work / "audit.json", target)
        if "features" in parts:
            run_biascon(source, work, "-c", FEATURES, "features.npy")
            run_biascon(source, work, *biascon, "audit", "predictions.csv", "--features", "features.npy",
                        "--label", "label", "--bias", "group", "--out", "features.json")  # fmt: skip
            shutil.copy(work / "features.json", target)
        if "study" in parts:
            run_biascon(source, work, "-c", STUDY, "study.parquet")
            shutil.copy(work / "study.parquet", target)


FEATURES = """
import sys
import numpy as np
np.save(sys.argv[1], np.loadtxt("features.csv", delimiter=",", skiprows=1, dtype=np.float32))
"""

if __name__ == "__main__":
    for sample in sys.argv[1:]:
        make(sample)
