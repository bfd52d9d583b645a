"""Build a dataset folder from image files: decoded once, in parallel, in bounded memory, resumable.

Threads decode chunks of images (the decoder and the resizer release Python's global lock). The main thread
appends the decoded chunks in their order to the files of the splits, and logs each chunk. So the memory is
that of a few chunks, whatever the size of the dataset. The bytes depend neither on the number of threads nor
on when a build was killed and resumed. The folder gets its final name only when it is complete.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from biascon.data import dataset
from biascon.data.bridges.croissant import METADATA, write_metadata
from biascon.data.building import left_out, resume
from biascon.data.building.arrays import BuildResult, check_same_dataset
from biascon.data.building.chunk import Chunk, decode_chunk
from biascon.data.building.plan import BuildPlan, SplitPlan
from biascon.data.building.published import compare_kept_images
from biascon.data.dataset import ATTRIBUTE
from biascon.data.images import decoding, lazy
from biascon.data.images.decoding import ImageFolder, ImageSpec
from biascon.data.manifest import (
    REJECTED,
    DatasetDescription,
    Manifest,
    RejectedCounts,
    describe_file,
    make_manifest,
)
from biascon.data.memory_map import SafetensorsWriter
from biascon.errors import BiasconError, DataError, UsageError
from biascon.utils.devices import count_cpus
from biascon.utils.files import digest_of, os_error, write_atomic
from biascon.utils.folders import new_folder
from biascon.utils.types import Array
from biascon.version import __version__

MAX_CHUNK_BYTES = 1 << 22  # bytes of pixels in a chunk
MAX_CHUNK_IMAGES = 256
_DTYPES = {"labels": np.int64, "bias": np.int64, "index": np.int64, "aligned": np.bool_}

Chunks = dict[str, list[Chunk]]  # the finished chunks of each split
ProgressCallback = Callable[[int, int], None]  # called with (finished images, all images)


def build_image_dataset(
    raw: Path | ImageFolder,
    plan: BuildPlan,
    out: Path,
    *,
    image_spec: ImageSpec,
    max_rejected: float = 0.01,
    force: bool = False,
    threads: int = 0,
    on_progress: ProgressCallback = lambda finished, total: None,
    log: Callable[[str], None] = lambda line: None,
) -> BuildResult:
    """Build a dataset folder from image files, resume an interrupted build, or reuse the same dataset.

    Args:
        raw: The folder of images. No file outside it is read. Or another source of images by name.
        plan: The files of each split, with their labels and attributes.
        out: The dataset folder.
        image_spec: How an image becomes an array.
        max_rejected: The largest share of images that may be left out, in [0, 1].
        force: Replace an existing folder that holds another dataset, or is damaged.
        threads: Number of decoding threads; 0 for one per core.
        on_progress: Called with the number of finished images and of all images.
        log: Called with lines of text for the user.

    Raises:
        BusyError: Another process builds ``out``.
        BiasconError: Too many images cannot be used, ``out`` holds another dataset, or the disk is full or
            not writable.
    """
    check_request(raw if isinstance(raw, Path) else None, out, max_rejected)
    folder = ImageFolder(raw) if isinstance(raw, Path) else raw
    with resume.lock_target(out) as work:
        is_occupied = out.exists() and any(out.iterdir())
        description = add_source_digests(plan, folder)
        if is_occupied and not force:
            manifest = check_same_dataset(out, description)
            resume.delete_partial(work)
            dataset.mark_used(out)
            return BuildResult(out, manifest, reused=True)
        threads = threads or count_cpus() or 1
        build = _ImageBuild(folder, plan, image_spec, work, max_rejected, threads, on_progress, log)
        return BuildResult(out, build.run(out, description, overwrite=out.exists()), reused=False)


def check_request(raw: Path | None, out: Path, max_rejected: float) -> None:
    """Check the folders and the limit of a build; None for images that are not in a folder.

    Raises:
        UsageError: ``max_rejected`` is not in [0, 1].
        BiasconError: ``raw`` is not a folder, or ``out`` is something else than a dataset.
    """
    if not 0 <= max_rejected <= 1:
        raise UsageError(f"expected max_rejected in [0, 1], but got {max_rejected}")
    if raw is not None and not raw.is_dir():
        raise DataError(f"{raw} is not a folder of images")
    if out.exists() and not dataset.is_dataset_folder(out):
        raise BiasconError(f"{out} exists and is not a dataset; choose another --out")


def add_source_digests(plan: BuildPlan, folder: ImageFolder) -> DatasetDescription:
    """Return the plan's description with digests of its rows and of the sizes of its files."""
    state = hashlib.sha256()
    for rows in plan.splits.values():
        for path in rows.paths:
            size = folder.read_stamp(path).partition(" ")[0]
            state.update(f"{size} {path}\n".encode("utf-8", "surrogateescape"))
    source = dict(plan.description.source)
    digests = {"rows": plan.digest_rows(), "list": state.hexdigest()}
    source["sha256"] = {**source.get("sha256", {}), **digests}
    if plan.description.store is not None:
        source["folder"] = folder.raw
    return replace(plan.description, source=source)


@dataclass
class _ImageBuild:
    """One build of a dataset folder; the attributes are the arguments of ``build_image_dataset``.

    Attributes:
        work: The partial folder.
    """

    folder: ImageFolder
    plan: BuildPlan
    image_spec: ImageSpec
    work: Path
    max_rejected: float
    threads: int
    on_progress: ProgressCallback
    log: Callable[[str], None]

    def run(self, out: Path, description: DatasetDescription, *, overwrite: bool) -> Manifest:
        """Write the dataset folder and return its manifest."""
        # The chunks in the partial folder belong to this digest, which covers the decoder too.
        versions = {"biascon": __version__, **decoding.get_decoder_versions()}
        identity = [self.plan.compute_digest(), vars(self.image_spec), self.folder.raw, versions]
        logged = resume.start_or_resume(self.work, digest_of(identity))
        try:
            chunks = self._write_splits(logged)
            return self._publish(out, description, chunks, overwrite=overwrite)
        except (OSError, DataError) as error:
            resume.delete_partial(self.work)
            raise os_error(error, "write", out) if isinstance(error, OSError) else error from error

    def _write_splits(self, logged: Sequence[Chunk]) -> Chunks:
        """Write the files of the splits, after the chunks that are still valid; return all chunks."""
        chunks: Chunks = {}
        with ExitStack() as stack:
            writers = {}
            for name, rows in self.plan.splits.items():
                logged_chunks = [chunk for chunk in logged if chunk.split == name]
                writers[name], chunks[name] = self._open_split(name, rows, logged_chunks)
                stack.callback(writers[name].close)
            lines = [chunk.to_line() for part in chunks.values() for chunk in part]
            write_atomic(self.work / resume.LOG, "".join(lines))
            self._decode_remaining(writers, chunks)
            for name, rows in self.plan.splits.items():
                split = rows.without_rejected(mark_kept_rows(chunks[name], len(rows)))
                writers[name].finish({k: v for k, v in split.arrays().items() if k != "images"})
        return chunks

    def _open_split(
        self, name: str, rows: SplitPlan, logged: list[Chunk]
    ) -> tuple[SafetensorsWriter, list[Chunk]]:
        """Open the file of a split, cut after its valid chunks; return its writer and these chunks."""
        dtypes = {**_DTYPES, **{f"{ATTRIBUTE}{key}": np.int64 for key in rows.attributes}}
        path = self.work / f"{name}.safetensors"
        resume.unlink_if_published(path)
        if self._stores_index:
            array_name, row_shape = "files", self._index_shape(rows)
        else:
            array_name, row_shape = "images", self.image_spec.array_shape
        n_written = sum(chunk.n_kept for chunk in logged)
        writer = SafetensorsWriter(path, len(rows), row_shape, dtypes, n_written, array_name)
        n_valid = resume.count_valid_chunks(
            logged, writer, self.folder, rows.paths, self._chunk_images
        )
        writer.cut(sum(chunk.n_kept for chunk in logged[:n_valid]))
        return writer, logged[:n_valid]

    @property
    def _stores_index(self) -> bool:
        """Whether the dataset holds an index of its files instead of pixels."""
        return self.plan.description.store is not None

    def _index_shape(self, rows: SplitPlan) -> tuple[int, ...]:
        return (lazy.compute_index_width(rows.paths),)

    @property
    def _chunk_images(self) -> int:
        """Images in a chunk."""
        return max(
            1, min(MAX_CHUNK_IMAGES, MAX_CHUNK_BYTES // math.prod(self.image_spec.array_shape))
        )

    def _decode_remaining(self, writers: Mapping[str, SafetensorsWriter], chunks: Chunks) -> None:
        """Decode the remaining images in parallel; append them to ``writers`` and ``chunks`` in order."""
        n_done = sum(chunk.stop - chunk.start for part in chunks.values() for chunk in part)
        self._check_rejected(chunks)
        if n_done:
            self.log(f"resuming after {n_done:,} of {len(self.plan):,} images")
        self.on_progress(n_done, len(self.plan))
        self._check_space(writers)
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="biascon")
        try:
            with (self.work / resume.LOG).open("a", encoding="utf-8") as log_file:
                for chunk, rows in self._iter_decoded(pool, chunks):
                    writers[chunk.split].append(rows)
                    log_file.write(chunk.to_line())
                    log_file.flush()
                    chunks[chunk.split].append(chunk)
                    n_done += chunk.stop - chunk.start
                    self.on_progress(n_done, len(self.plan))
                    if chunk.rejected:
                        self._check_rejected(chunks)
        finally:
            pool.shutdown(cancel_futures=True)

    def _iter_decoded(
        self, pool: ThreadPoolExecutor, chunks: Chunks
    ) -> Iterator[tuple[Chunk, Array]]:
        """Yield the remaining chunks in order, with the rows to write (pixels, or rows of the index)."""
        remaining = self._iter_remaining(chunks)
        pending: deque[Future[tuple[Chunk, Array]]] = deque()
        while True:
            # At most two chunks per thread wait, so that memory stays bounded.
            for arguments in islice(remaining, 2 * self.threads - len(pending)):
                pending.append(pool.submit(decode_chunk, self.folder, self.image_spec, *arguments))
            if not pending:
                return
            chunk, pixels = pending.popleft().result()
            if self._stores_index:
                index = self._encode_index(chunk)
                yield replace(chunk, crc=zlib.crc32(index.data)), index
            else:
                yield chunk, pixels

    def _iter_remaining(self, chunks: Chunks) -> Iterator[tuple[str, int, Sequence[str]]]:
        """Yield (split, start, paths) of each chunk that is not done yet."""
        size = self._chunk_images
        for name, rows in self.plan.splits.items():
            for start in range(len(chunks[name]) * size, len(rows), size):
                yield name, start, rows.paths[start : start + size]

    def _encode_index(self, chunk: Chunk) -> Array:
        """Return the rows of the index for the images of a chunk that are kept, uint8 ``(n, 32 + W)``."""
        rows, rejected = self.plan.splits[chunk.split], {row for row, _ in chunk.rejected}
        (width,) = self._index_shape(rows)
        index_rows = [
            lazy.encode_index_row(digest, rows.paths[row], width)
            for row, digest in enumerate(chunk.digests, chunk.start)
            if row not in rejected
        ]
        return np.stack(index_rows) if index_rows else np.empty((0, width), dtype=np.uint8)

    def _check_space(self, writers: Mapping[str, SafetensorsWriter]) -> None:
        """Raise a DataError if the disk has too little space for the remaining images."""
        needed = sum(
            (len(rows) - writers[name].rows) * writers[name].bytes
            for name, rows in self.plan.splits.items()
        )
        free = shutil.disk_usage(self.work).free
        if needed > free:
            raise DataError(
                f"the images take {needed / 1e6:,.0f} MB more in {self.work.parent}, but "
                f"{free / 1e6:,.0f} MB are free; free some space, or choose another --out or a smaller --size"
            )

    def _check_rejected(self, chunks: Chunks) -> None:
        """Raise a DataError as soon as the number of rejected images is over the limit."""
        left_out.check_limit(self.plan, self._list_rejected(chunks), self.max_rejected)

    def _list_rejected(self, chunks: Chunks) -> list[tuple[str, str]]:
        """Return (path, reason) of every planned image that cannot be used."""
        rejected = []
        for name, part in chunks.items():
            paths = self.plan.splits[name].paths
            rejected += [(paths[row], reason) for chunk in part for row, reason in chunk.rejected]
        return rejected

    def _publish(
        self, out: Path, description: DatasetDescription, chunks: Chunks, *, overwrite: bool
    ) -> Manifest:
        """Write the manifest of the finished files, and move them to the dataset folder."""
        masks = {
            name: mark_kept_rows(chunks[name], len(rows)) for name, rows in self.plan.splits.items()
        }
        self.plan.check_labels(masks)
        rejected = left_out.list_all(self.plan, self._list_rejected(chunks))
        resume.write_rejected(self.work, rejected)
        source = {**description.source, "decoder": decoding.get_decoder_versions()}
        source["sha256"] = {**source["sha256"], "files": digest_files(chunks)}
        rejected_counts = RejectedCounts(left_out.count_reasons(rejected))
        description = replace(description, source=source, rejected=rejected_counts)
        description = compare_kept_images(self.plan, description, masks)
        names = [*(f"{name}.safetensors" for name in self.plan.splits), REJECTED]
        files = {name: describe_file(self.work / name) for name in names}
        manifest = make_manifest(description, self.plan.summarize_splits(masks), files)
        write_metadata(self.work, manifest)
        with new_folder(out, replace=overwrite) as new:
            for name in [*names, *METADATA]:
                resume.link_or_move(self.work / name, new / name)
        resume.delete_partial(self.work)
        return manifest


def mark_kept_rows(chunks: Sequence[Chunk], n: int) -> Array:
    """Return bool ``(N,)``: whether an image of a split is kept."""
    is_kept = np.ones(n, dtype=bool)
    is_kept[[row for chunk in chunks for row, _ in chunk.rejected]] = False
    return is_kept


def digest_files(chunks: Chunks) -> str:
    """Return the SHA-256 of the digests of all files, split by split."""
    state = hashlib.sha256()
    for name, part in chunks.items():
        state.update(f"{name}\n".encode())
        for chunk in part:
            state.update("".join(f"{digest}\n" for digest in chunk.digests).encode())
    return state.hexdigest()
