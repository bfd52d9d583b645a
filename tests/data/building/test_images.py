"""Builds of image datasets: the same bytes for every way to build, atomic folders, bounded memory."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from biascon.data import dataset, memory_map
from biascon.data.builders import utkface, utkface_names
from biascon.data.building import images
from biascon.data.building.images import build_image_dataset
from biascon.data.images import decoding
from biascon.data.images.decoding import ImageFolder, ImageSpec
from biascon.errors import BiasconError, DataError, UsageError
from tests.data import image_files
from tests.data.building.utkface_builds import SPEC, build, list_hidden, make_plan, read_contents


def test_the_folder_holds_every_image_in_its_row(raw: Path, tmp_path: Path) -> None:
    result = build(raw, tmp_path / "out")
    data = dataset.load(result.folder)
    folder, names = raw, utkface_names.find_images(raw).names
    for name, split in data.splits.items():
        assert len(split) == result.manifest.counts[name].n
        for row in range(0, len(split), 9):
            expected = decoding.decode((folder / names[split.index[row]]).read_bytes(), SPEC)
            assert np.array_equal(split.images[row], expected)
            assert split.labels[row] == int(names[split.index[row]].split("_")[1])
    assert not result.reused
    assert list_hidden(tmp_path) == []


def test_bytes_do_not_depend_on_threads_or_chunk_size(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(raw, tmp_path / "one", threads=1)
    build(raw, tmp_path / "four", threads=4)
    monkeypatch.setattr(images, "MAX_CHUNK_IMAGES", 5)
    build(raw, tmp_path / "chunks", threads=3)
    first = read_contents(tmp_path / "one")
    assert first == read_contents(tmp_path / "four") == read_contents(tmp_path / "chunks")


def test_bytes_do_not_depend_on_the_order_of_the_listing(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(raw, tmp_path / "one")
    scandir = os.scandir

    class ReversedScan:
        def __init__(self, folder: Path) -> None:
            with scandir(folder) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            return iter(self.entries)

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(utkface_names.os, "scandir", ReversedScan)
    build(raw, tmp_path / "other")
    monkeypatch.undo()
    assert read_contents(tmp_path / "one") == read_contents(tmp_path / "other")


def test_the_same_build_again_reuses_the_folder(raw: Path, tmp_path: Path) -> None:
    build(raw, tmp_path / "out")
    before = read_contents(tmp_path / "out")
    assert build(raw, tmp_path / "out").reused
    assert build(raw, tmp_path / "out", force=True).reused is False
    assert read_contents(tmp_path / "out") == before


def test_another_dataset_is_not_replaced_without_force(raw: Path, tmp_path: Path) -> None:
    build(raw, tmp_path / "out")
    before = read_contents(tmp_path / "out")
    other = make_plan(raw, seed=1)
    with pytest.raises(BiasconError, match=r"differs in name, parameters.*pass --force"):
        build_image_dataset(raw, other, tmp_path / "out", image_spec=SPEC)
    assert read_contents(tmp_path / "out") == before
    build_image_dataset(raw, other, tmp_path / "out", image_spec=SPEC, force=True)
    assert read_contents(tmp_path / "out") != before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(BiasconError, match="is not a dataset"):
        build(raw, tmp_path / "mine", force=True)


def test_changed_image_files_are_another_dataset(raw: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(raw, tmp_path / "raw")
    build(copy, tmp_path / "out")
    name = make_plan(copy).splits["train"].paths[0]
    (copy / name).write_bytes((copy / name).read_bytes() + b"more")
    with pytest.raises(BiasconError, match="differs in source"):
        build(copy, tmp_path / "out")


def test_a_full_disk_gives_one_line_and_leaves_no_files(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, n = memory_map.SafetensorsWriter.append, 0

    def append_or_fail(self: memory_map.SafetensorsWriter, images: Any) -> None:
        nonlocal n
        n += 1
        if n > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(self, images)

    monkeypatch.setattr(images, "MAX_CHUNK_IMAGES", 7)
    monkeypatch.setattr(memory_map.SafetensorsWriter, "append", append_or_fail)
    with pytest.raises(BiasconError, match=r"cannot write .*out: No space left on device"):
        build(raw, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_too_little_space_is_reported_before_the_first_image(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 8, 1))
    monkeypatch.setattr(images, "decode_chunk", lambda *_: pytest.fail("decoded"))
    with pytest.raises(DataError, match=r"MB more in .*, but 0 MB are free"):
        build(raw, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_unusable_files_are_listed_with_their_reason_and_the_others_are_decoded(
    raw: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(raw, tmp_path / "raw")
    kinds = {}
    for k, (kind, data) in enumerate(image_files.make_readable_files().items()):
        name = f"{20 + k}_{k % 2}_{k % 5}_20180101000000{k:03d}.jpg.chip.jpg"
        (copy / name).write_bytes(data)
        kinds[name] = kind
    reasons = image_files.write_unusable_files(copy)
    names = utkface_names.find_images(copy).names
    # Rate 0 keeps almost all images.
    spec = utkface.UTKFaceSpec(rate=0.0, val_protocol="none", image_spec=SPEC)
    plan = utkface.plan_utkface(names, spec, origin="drawn for the tests")
    result = build_image_dataset(copy, plan, tmp_path / "out", image_spec=SPEC, max_rejected=0.1)
    planned = {path for rows in plan.splits.values() for path in rows.paths}
    lines = (result.folder / "rejected.csv").read_text().splitlines()
    rejected = dict(line.rsplit(",", 1) for line in lines[1:])
    assert lines[0] == "path,reason"
    assert lines[1:] == sorted(lines[1:])
    assert set(rejected) == set(reasons) & planned
    assert all(reasons[name] in (reason, "any") for name, reason in rejected.items())
    entry = result.manifest.rejected
    assert entry.n == len(rejected) == sum(entry.by_reason.values())
    data = dataset.load(result.folder)
    n_compared = 0
    for split in data.splits.values():
        for row, index in enumerate(split.index):
            if names[index] in kinds:
                n_compared += 1
                expected = decoding.decode(
                    image_files.make_readable_files()[kinds[names[index]]], SPEC
                )
                assert np.array_equal(split.images[row], expected)
    assert n_compared == len(set(kinds) & planned) > 8


def test_too_many_unusable_files_give_one_line_and_leave_no_files(
    raw: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(raw, tmp_path / "raw")
    for name in make_plan(copy).splits["train"].paths[:10]:
        (copy / name).write_bytes(b"")
    with pytest.raises(DataError) as failure:
        build(copy, tmp_path / "out")
    assert str(failure.value).startswith("10 or more of ")
    assert "(10 empty), which is over --max-rejected 0.01; the first are " in str(failure.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]
    assert build(copy, tmp_path / "out", max_rejected=0.2).manifest.rejected.n == 10
    with pytest.raises(UsageError, match=r"expected max_rejected in \[0, 1\]"):
        build(copy, tmp_path / "other", max_rejected=2)


def test_the_file_is_safetensors_with_aligned_arrays(raw: Path, tmp_path: Path) -> None:
    folder = build(raw, tmp_path / "out").folder
    path = folder / "train.safetensors"
    with safe_open(path, framework="np") as file:
        assert file.get_slice("images").get_shape()[1:] == [3, 32, 32]
        assert file.get_tensor("attribute.race").dtype == np.int64
    size = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + size])
    assert size % 8 == 0
    starts = {name: entry["data_offsets"][0] for name, entry in header.items()}
    assert all(start % 8 == 0 for start in starts.values())


def test_the_number_of_chunks_in_memory_is_bounded(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_alive, max_alive = 0, 0
    lock = threading.Lock()
    decode_chunk = images.decode_chunk

    def decode_and_count(folder: ImageFolder, image_spec: ImageSpec, *rest: Any) -> Any:
        nonlocal n_alive, max_alive
        with lock:
            n_alive += 1
            max_alive = max(max_alive, n_alive)
        return decode_chunk(folder, image_spec, *rest)

    append = memory_map.SafetensorsWriter.append

    def append_and_count(self: memory_map.SafetensorsWriter, images: Any) -> None:
        nonlocal n_alive
        time.sleep(0.002)  # a slow disk
        append(self, images)
        with lock:
            n_alive -= 1

    monkeypatch.setattr(images, "MAX_CHUNK_IMAGES", 3)
    monkeypatch.setattr(images, "decode_chunk", decode_and_count)
    monkeypatch.setattr(memory_map.SafetensorsWriter, "append", append_and_count)
    build(raw, tmp_path / "out", threads=3)
    assert max_alive <= 7  # two waiting chunks per thread, and the chunk that is being written


def test_the_decoder_is_recorded_but_does_not_change_the_digest(raw: Path, tmp_path: Path) -> None:
    manifest = build(raw, tmp_path / "out").manifest
    assert set(manifest.source["decoder"]) == {"simplejpeg", "pillow"}
    other = replace(manifest, source={**manifest.source, "decoder": {"simplejpeg": "0"}})
    assert dataset.dataset_digest(other) == dataset.dataset_digest(manifest)
