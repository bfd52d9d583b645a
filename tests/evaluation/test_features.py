"""Features are what the encoder gives, are computed once a run, and kept."""

from __future__ import annotations

import errno
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from biascon.config.factory import make_config
from biascon.data.dataset import BiasedDataset, load
from biascon.errors import BiasconError, RunError
from biascon.evaluation import features as features_module
from biascon.evaluation import pipeline as evaluation_module
from biascon.evaluation.features import FEATURE_FILES, two_view_features, write_features
from biascon.models.encoders import build_encoder
from biascon.models.features import extract_features
from biascon.runs.context import RunContext
from biascon.runs.folder import ENCODER, read_finished
from biascon.training.network import to_channels_last
from biascon.utils.seeds import torch_generator
from tests.run_helpers import evaluate_to_json, note_in_journal

CPU = torch.device("cpu")
CONFIG = make_config("ce", preset="smoke", settings=["train.epochs=1"])


def test_features_do_not_depend_on_the_batch_and_the_mode_is_restored() -> None:
    encoder = build_encoder("fastconvnet", torch_generator(0, "test"))
    images = np.random.default_rng(0).integers(0, 256, (23, 3, 28, 28), dtype=np.uint8)
    encoder.train()
    state = {k: v.clone() for k, v in encoder.state_dict().items()}
    whole = extract_features(encoder, images, device=CPU)
    assert whole.shape == (23, encoder.dim)
    np.testing.assert_allclose(
        whole, extract_features(encoder, images, device=CPU, batch_size=5), atol=1e-5
    )
    assert encoder.training
    for key, value in encoder.state_dict().items():  # batch norm saw nothing of these images
        assert torch.equal(value, state[key])


def test_features_that_are_not_finite_are_refused() -> None:
    encoder = build_encoder("fastconvnet", torch_generator(0, "test"))
    with torch.no_grad():
        next(encoder.parameters()).fill_(float("nan"))
    with pytest.raises(RunError, match="not finite"):
        extract_features(encoder, np.zeros((2, 3, 28, 28), np.uint8), device=CPU)


@pytest.fixture
def data(make_dataset: Callable[..., Path], tmp_path: Path) -> BiasedDataset:
    return load(make_dataset(tmp_path / "data"))


@pytest.fixture
def interrupted(
    data: BiasedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Path]:
    """The files of a run that died when its features were there and nothing was measured."""

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(evaluation_module, "measure", die)
        evaluate_to_json(CONFIG, data, root=tmp_path / "runs", device=CPU)
    return {path.name: path for path in (tmp_path / "runs").rglob("*") if path.is_file()}


def test_cached_features_are_those_of_the_encoder(data: BiasedDataset, tmp_path: Path) -> None:
    folder, _, _ = evaluate_to_json(CONFIG, data, root=tmp_path / "runs", device=CPU)
    encoder = build_encoder("fastconvnet", torch_generator(0, "test"))
    encoder.load_state_dict(
        {k: torch.from_numpy(v) for k, v in load_file(folder / ENCODER).items()}
    )
    for part, name in FEATURE_FILES.items():
        kept = load_file(folder / name)["features"]
        want = extract_features(encoder, data.splits[part].images, device=CPU, batch_size=7)
        np.testing.assert_allclose(kept, want, atol=1e-4)


def test_an_interrupted_run_does_not_compute_cached_features_again(
    data: BiasedDataset,
    interrupted: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:

    def only_views(*args: Any, **kwargs: Any) -> np.ndarray:
        assert "prepare" in kwargs  # of augmented views, which are not kept
        return extract_features(*args, **kwargs)

    monkeypatch.setattr(features_module, "extract_features", only_views)
    folder, evaluation, _ = evaluate_to_json(CONFIG, data, root=tmp_path / "runs", device=CPU)
    monkeypatch.undo()
    folder_anew, evaluation_anew, _ = evaluate_to_json(
        CONFIG, data, root=tmp_path / "again", device=CPU
    )
    assert evaluation == evaluation_anew
    assert (folder / "predictions.parquet").read_bytes() == (
        folder_anew / "predictions.parquet"
    ).read_bytes()


@pytest.mark.parametrize("harm", ["bytes", "shape", "name", "values", "origin"])
def test_a_damaged_feature_file_is_refused(
    harm: str, data: BiasedDataset, interrupted: dict[str, Path], tmp_path: Path
) -> None:
    path = interrupted["features-train.safetensors"]
    kept = load_file(path)["features"]
    if harm == "bytes":
        path.write_bytes(path.read_bytes()[:100])
    elif harm == "values":
        path.write_bytes(path.read_bytes()[:-20] + bytes(20))
    elif harm == "origin":
        save_file({"features": kept}, path, metadata={"origin": "another encoder"})
    else:
        save_file({"features": kept[1:]} if harm == "shape" else {"other": kept}, path)
    note_in_journal(path)
    with pytest.raises(RunError, match=r"features-train\.safetensors is damaged; delete it"):
        evaluate_to_json(CONFIG, data, root=tmp_path / "runs", device=CPU)
    path.unlink()
    evaluate_to_json(CONFIG, data, root=tmp_path / "runs", device=CPU)


def test_cached_features_may_be_deleted_but_not_changed(
    data: BiasedDataset, tmp_path: Path
) -> None:
    folder, evaluation, _ = evaluate_to_json(CONFIG, data, root=tmp_path / "runs", device=CPU)
    (folder / FEATURE_FILES["train"]).unlink()
    assert read_finished(folder) == evaluation
    path = folder / FEATURE_FILES["test"]
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(RunError, match=r"features-test\.safetensors has changed"):
        read_finished(folder)


def test_features_of_a_large_split_are_memory_mapped_float16(
    data: BiasedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, plain, _ = evaluate_to_json(CONFIG, data, root=tmp_path / "plain", device=CPU)
    monkeypatch.setattr(features_module, "HALF_ABOVE_BYTES", 1000)
    folder, evaluation, _ = evaluate_to_json(CONFIG, data, root=tmp_path / "runs", device=CPU)
    again, evaluation_again, _ = evaluate_to_json(CONFIG, data, root=tmp_path / "b", device=CPU)
    assert evaluation == evaluation_again
    assert read_finished(folder) is not None
    for name in FEATURE_FILES.values():
        kept = load_file(folder / name)["features"]  # a safetensors file like any other
        assert kept.dtype == np.float16
        assert (folder / name).read_bytes() == (again / name).read_bytes()
        mapped = features_module._read(folder / name)
        assert isinstance(mapped, np.memmap)
        np.testing.assert_array_equal(mapped, kept)
    encoder = build_encoder("fastconvnet", torch_generator(0, "test"))
    encoder.load_state_dict(
        {k: torch.from_numpy(v) for k, v in load_file(folder / ENCODER).items()}
    )
    want = extract_features(encoder, data.splits["test"].images, device=CPU)
    np.testing.assert_allclose(kept.astype(np.float32), want, rtol=2e-3, atol=1e-3)
    top1 = [run["top1"]["value"] for run in (plain, evaluation)]
    assert abs(top1[0] - top1[1]) < 0.02


def test_a_full_disk_leaves_no_part_of_a_large_file(
    data: BiasedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = build_encoder("fastconvnet", torch_generator(0, "test"))

    def fill_disk(*_: object, **__: object) -> Iterator[tuple[slice, torch.Tensor]]:
        yield slice(0, 1), torch.zeros(1, encoder.dim)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(features_module, "iter_outputs", fill_disk)
    path, images = tmp_path / "features-test.safetensors", data.splits["test"].images
    with pytest.raises(BiasconError, match=r"cannot write .*: No space left"):
        write_features(path, encoder, images, np.dtype(np.float16), "x", CPU)
    assert not list(tmp_path.glob("*features*")) and not list(tmp_path.glob(".*.tmp"))


def test_features_above_the_range_of_float16_are_stored_as_float32(
    data: BiasedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = build_encoder("fastconvnet", torch_generator(0, "test"))
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.mul_(1e4)
    images, path = data.splits["test"].images[:4], tmp_path / "f"
    monkeypatch.setattr(features_module, "HALF_ABOVE_BYTES", 100)
    stored = write_features(path, encoder, images, np.dtype(np.float16), "x", CPU)
    assert stored.dtype == np.float32 and isinstance(stored, np.memmap)
    assert stored.max() > 65_504
    np.testing.assert_array_equal(stored, extract_features(encoder, images, device=CPU))
    np.testing.assert_array_equal(stored, load_file(path)["features"])


@pytest.mark.parametrize("harm", ["none", "changed", "not finished"])
def test_a_run_takes_the_features_of_a_finished_run_of_the_same_encoder(
    harm: str, data: BiasedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "runs"
    linear, _, _ = evaluate_to_json(CONFIG, data, root=root, device=CPU)
    knn = make_config("ce", preset="smoke", settings=["train.epochs=1", "probe.kind=knn"])
    context = RunContext(knn, data, root, CPU)
    context.folder.mkdir(parents=True)
    shutil.copyfile(linear / ENCODER, context.folder / ENCODER)
    note_in_journal(context.folder / ENCODER)
    name = FEATURE_FILES["train"]
    kept = (linear / name).read_bytes()
    if harm == "changed":
        (linear / name).write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    if harm == "not finished":
        (linear / "done").unlink()
    computed = []

    def count_calls(*args: Any, **kwargs: Any) -> np.ndarray:
        computed.append(args)
        return extract_features(*args, **kwargs)

    monkeypatch.setattr(features_module, "extract_features", count_calls)
    encoder = build_encoder("fastconvnet", torch_generator(0, "test"))
    encoder.load_state_dict(
        {k: torch.from_numpy(v) for k, v in load_file(linear / ENCODER).items()}
    )
    encoder = to_channels_last(encoder, CPU)  # as in a run: other kernels round differently
    features_module.cached_features(context, "train", encoder)
    assert len(computed) == (0 if harm == "none" else 1)
    assert (context.folder / name).read_bytes() == kept
    assert not list(context.folder.glob(".*.tmp"))


def test_images_that_are_decoded_on_demand_are_read_one_block_ahead() -> None:
    images = np.random.default_rng(0).integers(0, 256, (23, 3, 28, 28), dtype=np.uint8)
    read: list[tuple[int, str]] = []

    class OnDemand:
        shape, nbytes = images.shape, images.nbytes

        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, rows: slice) -> np.ndarray:
            read.append((rows.start, threading.current_thread().name))
            return images[rows]

    encoder = build_encoder("fastconvnet", torch_generator(0, "test"))
    decoded = extract_features(encoder, OnDemand(), device=CPU, batch_size=5)  # type: ignore[arg-type]
    np.testing.assert_array_equal(
        decoded, extract_features(encoder, images, device=CPU, batch_size=5)
    )
    assert [start for start, _ in read] == [0, 5, 10, 15, 20]
    assert threading.current_thread().name not in {thread for _, thread in read}


def test_features_of_two_views_are_seeded_and_differ() -> None:
    encoder = build_encoder("fastconvnet", torch_generator(0, "weights"))
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 28, 28), np.uint8)
    augmentation = make_config("supcon", preset="cpu").augment
    first, second = two_view_features(encoder, images, augmentation, seed=3, device=CPU)
    again = two_view_features(encoder, images, augmentation, seed=3, device=CPU)
    plain = extract_features(encoder, images, device=CPU)
    assert first.shape == second.shape == (40, 128)
    np.testing.assert_array_equal(first, again[0])
    np.testing.assert_array_equal(second, again[1])
    for a, b in ((first, second), (first, plain)):
        assert not np.isclose(a, b).all(axis=1).any()
    assert not np.array_equal(
        first, two_view_features(encoder, images, augmentation, seed=4, device=CPU)[0]
    )
