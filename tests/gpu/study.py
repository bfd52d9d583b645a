"""``run.py study``: runs of the published recipes at rho 0.997, all runs of a seed before the next seed.

A call stops at its time limit. The run that it interrupts resumes from its last epoch in the next call: from
the folder ``--work``, or, on another machine, from ``unfinished.tar`` of the last call (``--previous``).
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from biascon.config.factory import make_config
from biascon.config.method_settings import check_head, resolve_parameters
from biascon.config.resolve import resolve_weights
from biascon.config.settings import list_presets
from biascon.data.manifest import Manifest, dataset_digest, read_manifest
from biascon.errors import BiasconError, DataError, UsageError
from biascon.losses.loss import get_entry, list_losses
from biascon.runs.finished import FinishedRun
from biascon.utils.devices import pick_device
from tests.gpu.report import Row, describe_machine, table, write, write_json

RHO, SMALL_RHO = 0.997, 0.9
SECONDS = 570.0
RESERVE = 25.0  # seconds of a call for the end of the run and for the results
LEAST = 30.0  # a run is not started with less time left
RECORDS = ("evaluation.json", "metrics.jsonl", "config.toml", "environment.json")
LARGEST = 15 << 20  # bytes of an archive
HIDDEN = (
    "settings",
    "device",
    "dataset",
    "digest",
)  # columns of study.json that the page leaves out
FIRST = ("contex", "contex-clip", "supcon", "ce")


@dataclass(frozen=True)
class PlannedRun:
    """A run of the study: loss, preset, seed and settings."""

    loss: str
    preset: str
    seed: int
    settings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The run in one line."""
        return f"seed{self.seed} {self.preset} {self.loss}"


def plan(options: argparse.Namespace) -> list[PlannedRun]:
    """Return the runs, seed by seed: the four losses, the published recipes, then the other losses.

    ConTeX's own recipe is last, because a run of it takes hours.

    Raises:
        UsageError: A loss, the preset, a seed or a setting is not allowed.
    """
    if options.preset is not None and options.preset.endswith(".toml"):
        raise UsageError(
            "the study takes a preset by its name, which is part of the name of a run "
            f"(known: {', '.join(list_presets())}), but got the file '{options.preset}'"
        )
    try:
        seeds = [int(word) for word in options.seeds.split(",")]
    except ValueError as error:
        raise UsageError(
            f"expected seeds separated by commas, but got '{options.seeds}'"
        ) from error
    settings = tuple(options.settings)
    if options.small:
        settings = ("train.epochs=2", *settings)
    recipes: list[tuple[str, str, tuple[str, ...]]]
    preset = options.preset or ("smoke" if options.small else "gpu")
    if options.losses or options.preset or options.small:
        losses = options.losses.split(",") if options.losses else FIRST
        recipes = [(loss, preset, ()) for loss in losses]
    else:
        others = [loss for loss in list_losses() if loss not in FIRST and loss != "bias-ce"]
        recipes = [(loss, "gpu", ()) for loss in FIRST]
        recipes += [("biascon+biasbal", "paper-hong", ()), ("biasbal", "paper-hong", ())]
        recipes += [("fairkl", "paper-barbano", ()), ("supcon", "paper-barbano", ())]
        recipes += [(loss, "gpu", ()) for loss in others]
        recipes += [(loss, "contex-paper", ("augment.flip_p=0",)) for loss in FIRST[:3]]
    runs = []
    for seed in dict.fromkeys(seeds):
        for loss, name, own in recipes:
            config = make_config(loss, seed=seed, preset=name, settings=[*own, *settings])
            check_head(config, get_entry(loss))
            runs.append(PlannedRun(config.loss, name, seed, (*own, *settings)))
    return runs


def run(options: argparse.Namespace) -> None:
    """Run what is missing until the time is over, and write the results; exit with code 1 if a run failed.

    Raises:
        UsageError: A loss, the preset, a seed or a setting is not allowed.
        BiasconError: An archive of the last call is damaged, or there are no digits.
    """
    deadline = time.monotonic() + (options.seconds or SECONDS) - RESERVE
    planned = plan(options)
    records, runs = options.work / "records", options.work / "runs"
    records.mkdir(parents=True, exist_ok=True)
    if options.previous is not None:
        _unpack(options.previous / "study.tar", records)
        _unpack(options.previous / "unfinished.tar", runs)
    data = _dataset(options)
    manifest = read_manifest(data)
    rows: list[Row] = []
    for item in planned:
        try:
            start = _first_columns(item, manifest, options.device)
        except BiasconError as error:  # one run that cannot be started does not end the others
            row: Row = {"run": item.name, "state": "failed", "reason": str(error)}
        else:
            row = _finished_row(start, records) or _run_one(item, start, data, options, deadline)
        rows.append(row)
        _write(options, rows, records, runs)
        print(f"{item.name}: {row['state']} {row.get('reason', '')}", file=sys.stderr, flush=True)
    left = sum(row["state"] in ("interrupted", "not started") for row in rows)
    print(f"{len(rows) - left} of {len(rows)} runs have ended", file=sys.stderr)
    if any(row["state"] == "failed" for row in rows):
        raise SystemExit(1)


def _dataset(options: argparse.Namespace) -> Path:
    """Return the dataset folder of the study, built if it is missing."""
    from biascon.data.builders.biased_mnist import BiasedMNISTSpec, make_biased_mnist

    source = "auto" if options.mnist is not None else "embedded"
    spec = BiasedMNISTSpec(SMALL_RHO if options.small else RHO)
    folder: Path = make_biased_mnist(spec, root=options.work / "data", source=source).folder
    return folder


def _first_columns(item: PlannedRun, manifest: Manifest, device: str) -> Row:
    """Return what a row states before its run: the plan, the dataset, and the digest of the run.

    The digest is the one that ``biascon evaluate`` gives the run: it covers configuration, dataset and
    recipe version.
    """
    config = make_config(item.loss, seed=item.seed, preset=item.preset, settings=item.settings)
    config = resolve_parameters(config, manifest.builder, manifest.parameters)
    config = resolve_weights(config).for_device(pick_device(device).type)
    dataset = dataset_digest(manifest)
    return {
        "run": item.name, "seed": item.seed, "preset": item.preset, "loss": item.loss,
        "rho": manifest.parameters["rho"], "settings": list(item.settings), "device": device,
        "dataset": dataset, "digest": config.digest(dataset),
    }  # fmt: skip


def _record_folder(records: Path, row: Row) -> Path:
    """Return the folder of a record. Runs of one name, on other datasets for example, keep their own."""
    return records / f"{row['run']} {row['digest'][:8]}"


def _finished_row(start: Row, records: Path) -> Row | None:
    """Return the row of a record, or None if there is none of this very run.

    A record of another dataset, of another rho, of other settings or recipes, or of another device is of
    another run.
    """
    path = _record_folder(records, start) / "row.json"
    if not path.is_file():
        return None
    try:
        row: Row = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged; delete the folder {path.parent}") from error
    return row if all(row.get(key) == value for key, value in start.items()) else None


def _run_one(
    item: PlannedRun, start: Row, data: Path, options: argparse.Namespace, deadline: float
) -> Row:
    """Run or resume a run until it ends or the time is over, and keep its records."""
    row = dict(start)
    if deadline - time.monotonic() < (0 if options.small else LEAST):
        return {**row, "state": "not started"}
    words = [
        sys.executable, "-m", "biascon", "evaluate", "--json", "--loss", item.loss, "--preset",
        item.preset, "--seeds", str(item.seed), "--data", str(data), "--device", options.device,
        "--runs", str(options.work / "runs"),
    ]  # fmt: skip
    words += [word for setting in item.settings for word in ("--set", setting)]
    started = time.monotonic()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, errors = process.communicate(timeout=max(deadline - started, 0.1))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=RESERVE / 2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        return {**row, "state": "interrupted", "seconds": time.monotonic() - started}
    row["seconds"] = time.monotonic() - started
    if process.returncode:
        last = (errors.strip().splitlines() or ["no message"])[-1]
        return {**row, "state": "failed", "reason": last.removeprefix("error: ")[:300]}
    digest = json.loads(out)["digest"]
    if digest != row["digest"]:  # its record would not be found again
        reason = f"the run has the digest {digest[:8]}, but {row['digest'][:8]} was expected"
        return {**row, "state": "failed", "reason": reason}
    return _keep_record(item, row, digest, options)


def _keep_record(item: PlannedRun, row: Row, digest: str, options: argparse.Namespace) -> Row:
    """Copy the small files of a finished run, and return its row."""
    pattern = f"*/{item.loss}/seed{item.seed}-{digest[:8]}"
    (folder,) = (options.work / "runs").glob(pattern)
    finished = FinishedRun.read(folder, digest)
    assert finished is not None
    for metric in ("unbiased", "top1", "bias_conflicting", "worst_group"):
        row[metric] = finished.value(metric)
    log = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    epochs = [json.loads(line) for line in log]
    row |= {
        "state": "done",
        "training seconds": sum(epoch["seconds"] for epoch in epochs),
        "views/s": epochs[-1]["views_per_second"],
    }  # fmt: skip
    target = _record_folder(options.work / "records", row)
    target.mkdir(exist_ok=True)
    for name in RECORDS:
        (target / name).write_bytes((folder / name).read_bytes())
    write_json(target / "row.json", row)
    return row


def _write(options: argparse.Namespace, rows: Sequence[Row], records: Path, runs: Path) -> None:
    """Write the results: one JSON, one page, the records, and what the next call resumes from."""
    result = {"machine": describe_machine(options.device), "runs": list(rows)}
    write_json(options.out / "study.json", result)
    shown = [{k: v for k, v in row.items() if k not in HIDDEN} for row in rows]
    write(
        options.out / "study.md",
        f"# Study at rho {SMALL_RHO if options.small else RHO}\n\n{table(shown)}\n",
    )
    _pack(options.out / "study.tar", records, [_files(folder) for folder in records.glob("*")])
    folders = [path.parent for path in runs.glob("*/*/*/config.toml")]
    unfinished = [folder for folder in folders if not (folder / "done").exists()]
    unfinished.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
    _pack(options.out / "unfinished.tar", runs, [_files(folder) for folder in unfinished])


def _files(folder: Path) -> list[Path]:
    """Return the files of a run folder or a record, without locks and features."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and path.name[0] != "." and not path.name.startswith("features-")
    )


def _pack(archive: Path, root: Path, folders: Sequence[Sequence[Path]]) -> None:
    """Write an archive of folders below a root. A folder that would exceed ``LARGEST`` is left out whole.

    Args:
        archive: The archive.
        root: The folder that the names in the archive are relative to.
        folders: The files of each folder, the most wanted folder first.
    """
    temporary = archive.with_name(f".{archive.name}.tmp")
    total = 0
    with tarfile.open(temporary, "w") as tar:
        for files in folders:
            size = sum(path.stat().st_size + 1024 for path in files)
            if total + size > LARGEST:
                print(f"{archive.name} has no room for {files[0].parent}", file=sys.stderr)
                continue
            total += size
            for path in files:
                tar.add(path, arcname=str(path.relative_to(root)), recursive=False)
    temporary.replace(archive)


def _unpack(archive: Path, root: Path) -> None:
    """Unpack an archive of an earlier call whole or not at all; files that exist stay.

    Raises:
        DataError: The archive is damaged.
    """
    if not archive.is_file():
        return
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
        try:
            with tarfile.open(archive, "r:") as tar:
                for member in tar.getmembers():
                    if member.isfile():
                        tar.extract(member, scratch, filter="data")
        except (tarfile.TarError, EOFError, ValueError) as error:
            raise DataError(f"{archive} is damaged: {error}") from error
        for path in sorted(Path(scratch).rglob("*")):
            target = root / path.relative_to(scratch)
            if path.is_file() and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
