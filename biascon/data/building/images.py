"""Pictures -> dataset folder: decoded once, in parallel, in bounded memory, resumable.

Threads decode chunks of pictures (the decoder and the resizer work outside Python's lock); this thread
appends the chunks in their order to the splits' files and logs each. So memory is that of a few chunks,
whatever the size of the dataset, and the bytes depend on neither the number of threads nor on when a build
was killed. The folder appears under its name when it is complete.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from biascon.data import dataset
from biascon.data.building import resume
from biascon.data.building.arrays import BuildResult, check_same_dataset
from biascon.data.building.chunk import Chunk, decode_chunk
from biascon.data.building.plan import BuildPlan, SplitPlan
from biascon.data.dataset import ATTRIBUTE
from biascon.data.images import decoding, lazy
from biascon.data.images.decoding import ImageFolder, ImageSpec
from biascon.data.manifest import REJECTED, file_entry, make_manifest, sync_folder
from biascon.data.memory_map import SafetensorsWriter
from biascon.errors import BiasconError, DataError, UsageError
from biascon.utils.files import digest_of, new_folder, os_error, pretty_json, write_atomic
from biascon.utils.types import Array
from biascon.version import __version__

CHUNK = 1 << 22  # bytes of a chunk's pixels, at most
PICTURES = 256  # of a chunk, at most
_ARRAYS = {"labels": np.int64, "bias": np.int64, "index": np.int64, "aligned": np.bool_}

Report = Callable[[int, int], None]  # pictures done, of how many


def build_pictures(
    raw: Path,
    plan: BuildPlan,
    out: Path,
    *,
    shape: ImageSpec,
    max_rejected: float = 0.01,
    force: bool = False,
    threads: int = 0,
    report: Report = lambda done, total: None,
    say: Callable[[str], None] = lambda line: None,
) -> BuildResult:
    """Build a dataset folder of pictures, go on with one that was interrupted, or find that it is there.

    Args:
        raw: The folder of pictures; no file outside it is read.
        plan: Which files, with their labels and attributes.
        out: The dataset folder.
        shape: How a picture becomes an array.
        max_rejected: The share of names that may be left out.
        force: Replace an existing folder that is another dataset, or damaged.
        threads: How many decode; 0 for one a core.
        report: Called with pictures done and their number, now and then.
        say: Called with a line of progress.

    Raises:
        BiasconError: Too many pictures cannot be used, another dataset is in the way, another process
            builds it, or the place is not writable or full.
    """
    if not 0 <= max_rejected <= 1:
        raise UsageError(f"expected max_rejected in [0, 1], but got {max_rejected}")
    if not raw.is_dir():
        raise DataError(f"{raw} is not a folder of pictures")
    if out.exists() and not dataset.is_dataset_folder(out):
        raise BiasconError(f"{out} exists and is not a dataset; choose another --out")
    folder = ImageFolder(raw)
    with resume.lock_target(out) as work:
        occupied = out.exists() and any(out.iterdir())
        description = _described(plan, folder, shape)
        if occupied and not force:
            manifest = check_same_dataset(out, description)
            resume.delete_partial(work)
            dataset.mark_used(out)
            return BuildResult(out, manifest, reused=True)
        task = _ImageBuild(
            folder, plan, shape, work, max_rejected, threads or decoding.count_cpus(), report, say
        )
        return BuildResult(out, task.run(out, description, overwrite=out.exists()), reused=False)


def _described(plan: BuildPlan, folder: ImageFolder, shape: ImageSpec) -> dict[str, Any]:
    """Return the plan's description with the digests of its rows and of its files' sizes."""
    state = hashlib.sha256()
    for rows in plan.splits.values():
        for path in rows.paths:
            size = folder.stamp(path).partition(" ")[0]
            state.update(f"{size} {path}\n".encode("utf-8", "surrogateescape"))
    source = dict(plan.description["source"])
    digests = {"rows": plan.digest_of_rows(), "list": state.hexdigest()}
    source["sha256"] = {**source.get("sha256", {}), **digests}
    if "store" in plan.description:
        source["folder"] = folder.raw
    return {**plan.description, "source": source}


@dataclass
class _ImageBuild:
    folder: ImageFolder
    plan: BuildPlan
    shape: ImageSpec
    work: Path
    max_rejected: float
    threads: int
    report: Report
    say: Callable[[str], None]

    def run(self, out: Path, description: dict[str, Any], *, overwrite: bool) -> dict[str, Any]:
        # The plan's digest says what the parts in the partial folder belong to, the decoder included.
        versions = {"biascon": __version__, **decoding.decoder_versions()}
        whole = [self.plan.digest(), vars(self.shape), self.folder.raw, versions]
        logged = resume.start_or_resume(self.work, digest_of(whole))
        try:
            chunks = self._write(logged)
            return self._publish(out, description, chunks, give_way=overwrite)
        except (OSError, DataError) as error:
            resume.delete_partial(self.work)
            raise os_error(error, "write", out) if isinstance(error, OSError) else error from error

    def _write(self, logged: Sequence[Chunk]) -> dict[str, list[Chunk]]:
        """Write the splits' files, behind what the log says is done; return the chunks of each."""
        found: dict[str, list[Chunk]] = {}
        with ExitStack() as stack:
            streams = {}
            for name, rows in self.plan.splits.items():
                there = [chunk for chunk in logged if chunk.split == name]
                streams[name], found[name] = self._resume(name, rows, there)
                stack.callback(streams[name].close)
            lines = [chunk.line() for part in found.values() for chunk in part]
            write_atomic(self.work / resume.LOG, "".join(lines))
            self._decode(streams, found)
            for name, rows in self.plan.splits.items():
                split = rows.keep(kept_rows(found[name], len(rows)))
                streams[name].finish({k: v for k, v in split.arrays().items() if k != "images"})
        return found

    def _resume(
        self, name: str, rows: SplitPlan, there: list[Chunk]
    ) -> tuple[SafetensorsWriter, list[Chunk]]:
        small = {**_ARRAYS, **{f"{ATTRIBUTE}{key}": np.int64 for key in rows.attributes}}
        path = self.work / f"{name}.safetensors"
        row, large = (self._row(rows), "files") if self._files else (self.shape.row, "images")
        before = sum(chunk.kept for chunk in there)
        stream = SafetensorsWriter(path, len(rows), row, small, before, large)
        n = resume.log_chunk(there, stream, self.folder, rows.paths, self._size)
        stream.cut(sum(chunk.kept for chunk in there[:n]))
        return stream, there[:n]

    @property
    def _files(self) -> bool:
        """Whether an index of the files is written, and no pixels."""
        return "store" in self.plan.description

    def _row(self, rows: SplitPlan) -> tuple[int, ...]:
        return (lazy.width(rows.paths),)

    @property
    def _size(self) -> int:
        return max(1, min(PICTURES, CHUNK // math.prod(self.shape.row)))

    def _decode(
        self, streams: Mapping[str, SafetensorsWriter], found: Mapping[str, list[Chunk]]
    ) -> None:
        """Decode what is left, in parallel, and append it to ``streams`` and ``found`` in order."""
        ready = sum(chunk.stop - chunk.start for part in found.values() for chunk in part)
        refused = len(self.plan.left_out) + sum(len(c.rejected) for p in found.values() for c in p)
        self._check(refused, found)
        if ready:
            self.say(f"goes on behind the {ready:,} of {len(self.plan):,} pictures that are done")
        self.report(ready, len(self.plan))
        self._check_space(streams)
        queue = self._queue(found)
        waiting: deque[Future[tuple[Chunk, Array]]] = deque()
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="biascon")
        try:
            with (self.work / resume.LOG).open("a", encoding="utf-8") as log:
                while True:
                    for spec in islice(queue, 2 * self.threads - len(waiting)):
                        waiting.append(pool.submit(decode_chunk, self.folder, self.shape, *spec))
                    if not waiting:
                        return
                    chunk, pixels = waiting.popleft().result()
                    if self._files:
                        pixels = self._index(chunk)
                        chunk = replace(chunk, crc=zlib.crc32(pixels.data))
                    streams[chunk.split].append(pixels)
                    log.write(chunk.line())
                    log.flush()
                    found[chunk.split].append(chunk)
                    ready += chunk.stop - chunk.start
                    refused += len(chunk.rejected)
                    self.report(ready, len(self.plan))
                    self._check(refused, found)
        finally:
            pool.shutdown(cancel_futures=True)

    def _index(self, chunk: Chunk) -> Array:
        """Return uint8 ``(n, 32 + W)``: the rows of the index for the pictures of a chunk that are kept."""
        rows, left = self.plan.splits[chunk.split], {row for row, _ in chunk.rejected}
        (size,) = self._row(rows)
        found = [
            lazy.index_row(digest, rows.paths[row], size)
            for row, digest in enumerate(chunk.digests, chunk.start)
            if row not in left
        ]
        return np.stack(found) if found else np.empty((0, size), dtype=np.uint8)

    def _queue(self, found: Mapping[str, list[Chunk]]) -> Iterator[tuple[str, int, Sequence[str]]]:
        for name, rows in self.plan.splits.items():
            for start in range(len(found[name]) * self._size, len(rows), self._size):
                yield name, start, rows.paths[start : start + self._size]

    def _check(self, refused: int, found: Mapping[str, list[Chunk]]) -> None:
        """Refuse a source of which too much cannot be used, as soon as that is known."""
        total = len(self.plan) + len(self.plan.left_out)
        if refused <= self.max_rejected * total:
            return
        left = self._rejected(found)
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in count_reasons(left).items())
        few = ", ".join(path for path, _ in left[:3])
        raise DataError(
            f"{len(left):,} or more of {total:,} pictures cannot be used ({reasons}), which is over "
            f"--max-rejected {self.max_rejected:.4g}; the first are {few}; mend them or allow more"
        )

    def _check_space(self, streams: Mapping[str, SafetensorsWriter]) -> None:
        need = sum(
            (len(rows) - streams[name].rows) * streams[name].bytes
            for name, rows in self.plan.splits.items()
        )
        free = shutil.disk_usage(self.work).free
        if need > free:
            raise DataError(
                f"the pictures take {need / 1e6:,.0f} MB more in {self.work.parent}, but {free / 1e6:,.0f} "
                "MB are free; make room, or choose another --out or a smaller --size"
            )

    def _rejected(self, found: Mapping[str, list[Chunk]]) -> list[tuple[str, str]]:
        left = list(self.plan.left_out)
        for name, chunks in found.items():
            paths = self.plan.splits[name].paths
            left += [(paths[row], reason) for chunk in chunks for row, reason in chunk.rejected]
        return sorted(left)

    def _publish(
        self,
        out: Path,
        description: dict[str, Any],
        found: dict[str, list[Chunk]],
        *,
        give_way: bool,
    ) -> dict[str, Any]:
        """Give the finished files their manifest and the folder its name."""
        masks = {name: kept_rows(found[name], len(rows)) for name, rows in self.plan.splits.items()}
        for name in ("train", "test"):
            if not masks[name].any():
                raise DataError(f"no picture of the {name} split can be used")
        left = self._rejected(found)
        resume.write_rejected(self.work, left)
        state = hashlib.sha256()
        for name, chunks in found.items():
            state.update(f"{name}\n".encode())
            for chunk in chunks:
                state.update("".join(f"{digest}\n" for digest in chunk.digests).encode())
        source = {**description["source"], "decoder": decoding.decoder_versions()}
        source["sha256"] = {**source["sha256"], "files": state.hexdigest()}
        description = {**description, "source": source}
        description["rejected"] = {"n": len(left), "by_reason": count_reasons(left)}
        names = [*(f"{name}.safetensors" for name in self.plan.splits), REJECTED]
        files = {name: file_entry(self.work / name) for name in names}
        manifest = make_manifest(description, self.plan.counts(masks), files)
        (self.work / "manifest.json").write_text(pretty_json(manifest), encoding="utf-8")
        with new_folder(out, replace=give_way) as new:
            for name in [*names, "manifest.json"]:
                (self.work / name).rename(new / name)
            sync_folder(new)
        resume.delete_partial(self.work)
        return manifest


def kept_rows(chunks: Sequence[Chunk], n: int) -> Array:
    """Return bool ``(N,)``: which of a split's pictures are kept."""
    mask = np.ones(n, dtype=bool)
    mask[[row for chunk in chunks for row, _ in chunk.rejected]] = False
    return mask


def count_reasons(rejected: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Return how many names were left out for each reason, by reason."""
    return dict(sorted(Counter(reason for _, reason in rejected).items()))
