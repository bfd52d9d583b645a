"""How fast pictures become a dataset, beside what the decoder alone does, and in how much memory.

    python tests/benchmarks/pictures WORK --names utkface-filenames.txt

draws a UTKFace of the names and a CelebA of 20,000 pictures in the folder WORK (a few hundred megabytes, kept
for the next time), builds both through the command line, and prints a line for each: pictures a second of
wall time and of processor time (the machine may be shared), the largest memory of all the processes, and the
decoder's own limit. ``--big N`` also builds N CelebA pictures that are links to those drawn, for the memory.
``--large`` also builds CelebA at 224 pixels, 150 kB a picture.
``--utkface FOLDER`` also builds a UTKFace of
real pictures. ``--compare FOLDER`` runs every command also with the biascon in another folder (an older
checkout), in turn, ``--repeats`` times, and prints medians and their ratio: the ratio holds on a machine that
other work shares. It also compares the files of the datasets.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[3]))

from biascon.data.images import decoding
from biascon.data.images.decoding import ImageSpec, decode
from biascon.data.images.resampling import CropResizer, load_kernel
from tests.data import faces


def rss(root: int) -> tuple[int, int]:
    """Return the resident memory in bytes of a process and all below it: with and without mapped files."""
    parents, memory = {}, {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            status = dict(
                line.split(":", 1)
                for line in (entry / "status").read_text().splitlines()
                if ":" in line
            )
        except OSError:
            continue
        pid = int(entry.name)
        parents[pid] = int(status["PPid"])
        memory[pid] = [int(status.get(k, "0 kB").split()[0]) << 10 for k in ("VmRSS", "RssAnon")]
    family = {root}
    for _ in range(9):
        family |= {pid for pid, parent in parents.items() if parent in family}
    found = [sum(memory.get(pid, (0, 0))[k] for pid in family) for k in (0, 1)]
    return found[0], found[1]


HERE = Path(__file__).parents[3]


def build(words: Sequence[str], code: Path = HERE) -> dict[str, Any]:
    """Run a command of the biascon in a folder; return seconds, the peak of memory and the files' digests."""
    # An older version does not replace a folder with the newer files of a later one.
    shutil.rmtree(words[list(words).index("--out") + 1], ignore_errors=True)
    began, before = time.perf_counter(), os.times()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "biascon", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(code.resolve())},
    )
    peak = (0, 0)
    while process.poll() is None:
        peak = max(peak, rss(process.pid))
        time.sleep(0.05)
    wall, after = time.perf_counter() - began, os.times()
    if process.returncode:
        raise SystemExit(f"failed: {' '.join(words)}")
    cpu = (
        after.children_user + after.children_system - before.children_user - before.children_system
    )
    assert process.stdout is not None
    manifest = json.load(process.stdout)
    n = sum(part["n"] for part in manifest["counts"].values()) + manifest["rejected"]["n"]
    usage = {"n": n, "wall": wall, "cpu": cpu, "rss": peak[0], "anonymous": peak[1]}
    return {**usage, "files": manifest["files"]}


def compare(words: Sequence[str], old: Path | None, repeats: int) -> str:
    """Run a command ``repeats`` times, in turn with an older biascon; return the medians as text."""
    folders = [HERE] if old is None else [old, HERE]
    runs: dict[Path, list[dict[str, Any]]] = {folder: [] for folder in folders}
    for _ in range(repeats):
        for folder in folders:
            runs[folder].append(build(words, folder))
    if any(run["files"] != runs[HERE][0]["files"] for part in runs.values() for run in part):
        raise SystemExit(f"the files of the dataset differ: {' '.join(words)}")
    lines, medians = [], {}
    for folder in folders:
        wall, cpu, memory = (
            statistics.median(run[key] for run in runs[folder]) for key in ("wall", "cpu", "rss")
        )
        n, medians[folder] = runs[folder][0]["n"], (wall, cpu)
        lines.append(
            f"{n:,.0f} pictures, {n / wall:,.0f} a second of wall time, {n / cpu:,.0f} of processor time "
            f"({cpu / wall:.2f} cores), memory {memory / 1e6:.0f} MB"
        )
    if old is not None:
        ratios = [medians[old][k] / medians[HERE][k] for k in range(2)]
        lines = [f"old: {lines[0]}", f"new: {lines[1]}"]
        lines.append(f"old / new: wall {ratios[0]:.2f}, processor {ratios[1]:.2f}; equal files")
    return "\n    ".join(lines)


def limits(files: Sequence[bytes], shape: ImageSpec) -> dict[str, float]:
    """Return pictures a second of one core, best of five, of the decoders alone and of a whole picture."""

    def pillow(data: bytes) -> object:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        image = image.resize((shape.resize, shape.resize), Image.Resampling.BILINEAR)
        return np.asarray(image)

    def draft(data: bytes) -> object:
        image = Image.open(io.BytesIO(data))
        image.draft("RGB", (shape.resize, shape.resize))
        image = image.resize((shape.resize, shape.resize), Image.Resampling.BILINEAR)
        return np.asarray(image)

    scaled = ImageSpec(shape.size, shape.resize, "scaled")
    ways: dict[str, Callable[[bytes], object]] = {
        "simplejpeg, decode alone": simplejpeg.decode_jpeg,
        "Pillow, decode alone": lambda data: Image.open(io.BytesIO(data)).load(),
        "Pillow, decode and resize": pillow,
        "Pillow with draft, decode and resize": draft,
        "here, full": lambda data: decode(data, shape),
        "here, full, resized by Pillow": lambda data: decode(data, shape),
        "here, scaled": lambda data: decode(data, scaled),
    }
    found, resizer, by_pillow = {}, decoding._get_resizer, CropResizer(None)
    for name, way in ways.items():
        best = 9e9
        decoding._get_resizer = (lambda: by_pillow) if "by Pillow" in name else resizer
        for _ in range(5):
            began = time.process_time()
            for data in files:
                way(data)
            best = min(best, time.process_time() - began)
        found[name] = len(files) / best
    decoding._get_resizer = resizer
    return found


def distance(files: Sequence[bytes], shape: ImageSpec) -> tuple[float, int]:
    """Return the mean and the largest difference, in levels of 255, of scaled decoding."""
    scaled = ImageSpec(shape.size, shape.resize, "scaled")
    gaps = [
        np.abs(decode(data, shape).astype(int) - decode(data, scaled).astype(int)) for data in files
    ]
    return float(np.mean(gaps)), int(np.max(gaps))


def main() -> None:
    """Draw, build, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--names", type=Path)
    parser.add_argument("--celeba", type=int, default=20_000)
    parser.add_argument("--big", type=int, default=0)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--utkface", type=Path)
    parser.add_argument("--compare", type=Path)
    parser.add_argument("--repeats", type=int, default=1)
    given = parser.parse_args()
    utk, celeba = given.work / "utkface", given.work / f"celeba{given.celeba}"
    names = given.names.read_text().split("\n") if given.names else faces.make_names(23_707)
    names = [name for name in names if name]
    for folder, draw in (
        (utk, lambda: faces.draw_utkface(utk, names)),
        (celeba, lambda: faces.draw_celeba(celeba, given.celeba)),
    ):
        if not (folder / ".drawn").exists():
            draw()
            (folder / ".drawn").touch()
    files = [path.read_bytes() for path in sorted(utk.glob("*.jpg"))[:400]]
    print(f"{len(files)} JPEGs of 200 x 200, {sum(map(len, files)) / len(files):,.0f} bytes each")
    print(f"resizing: {'Pillow (no kernel)' if load_kernel() is None else 'kernel'}")
    for name, rate in limits(files, ImageSpec(64)).items():
        print(f"{name}: {rate:,.0f} pictures a second of one core")
    print(
        "scaled against full, levels: mean {:.2f}, largest {}".format(
            *distance(files, ImageSpec(64))
        )
    )
    out = given.work / "out"
    jobs = [
        ("utkface, race", ["make-utkface", str(utk), "--bias", "race"]),
        ("utkface, all kept", ["make-utkface", str(utk), "--bias", "race", "--rate", "0"]),
        ("utkface, scaled", ["make-utkface", str(utk), "--rate", "0", "--decode", "scaled"]),
        ("celeba", ["make-celeba", str(celeba), "--keep", "all"]),
    ]
    if given.large:
        jobs.append(("celeba, 224", [*jobs[-1][1], "--size", "224"]))
    if given.utkface:
        jobs.append(("real utkface", ["make-utkface", str(given.utkface.resolve()), "--rate", "0"]))
    if given.big:
        big = given.work / f"celeba{given.big}"
        if not (big / ".drawn").exists():
            link(celeba, big, given.big)
        jobs.append((f"celeba, {given.big:,} links", ["make-celeba", str(big), "--keep", "all"]))
    for name, words in jobs:
        words = [*words, "--out", str(out), "--json"]
        print(f"{name}: {compare(words, given.compare, given.repeats)}", flush=True)


def link(source: Path, target: Path, n: int) -> None:
    """Make a CelebA of n pictures that are links to those of a smaller one."""
    pictures = sorted((source / "img_align_celeba").iterdir())
    (target / "img_align_celeba").mkdir(parents=True, exist_ok=True)
    rows = (source / "list_attr_celeba.txt").read_text().splitlines()
    parts = (source / "list_eval_partition.txt").read_text().splitlines()
    attributes, partition = [str(n), rows[1]], []
    for k in range(n):
        name = f"{k + 1:06d}.jpg"
        (target / "img_align_celeba" / name).unlink(missing_ok=True)
        (target / "img_align_celeba" / name).hardlink_to(pictures[k % len(pictures)])
        attributes.append(name + rows[2 + k % len(pictures)][10:])
        partition.append(name + parts[k % len(pictures)][10:])
    (target / "list_attr_celeba.txt").write_text("\n".join(attributes) + "\n")
    (target / "list_eval_partition.txt").write_text("\n".join(partition) + "\n")
    (target / ".drawn").touch()


if __name__ == "__main__":
    main()
