"""The kind of device in the digest, deterministic algorithms, TF32, and a lack of memory."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from biascon.config.factory import find_overrides, make_config
from biascon.config.first_stage import first_stage_config
from biascon.config.run_config import RunConfig, read_config
from biascon.data.dataset import BiasedDataset, load
from biascon.errors import OutOfMemoryError, UsageError
from biascon.evaluation import pipeline
from biascon.evaluation.transfer import read_source, transfer_config
from biascon.runs.computing import is_out_of_memory
from biascon.runs.folder import ENCODER, METRICS_LOG
from biascon.training import loop, stages
from biascon.utils.numerics import CUBLAS_WORKSPACE, numerics

CPU = torch.device("cpu")
DATASET = "0" * 64
SMOKE = ("train.epochs=1", "train.batch_size=32")


@pytest.fixture
def data(make_dataset: Callable[..., Path], tmp_path: Path) -> BiasedDataset:
    return load(make_dataset(tmp_path / "data" / "small", rho=0.8))


class TestDigest:
    def test_a_kind_of_device_other_than_cpu_is_part_of_the_digest(self) -> None:
        config = make_config("contex", preset="smoke")
        digests = {kind: config.for_device(kind).digest(DATASET) for kind in ("cpu", "cuda", "mps")}
        assert len(set(digests.values())) == 3
        assert digests["cpu"] == config.digest(DATASET)
        assert "device" not in config.for_device("cpu").as_dict()["train"]
        assert config.for_device("cuda").as_dict()["train"]["device"] == "cuda"
        # A configuration of one device becomes that of another.
        assert config.for_device("cuda").for_device("cpu").digest(DATASET) == digests["cpu"]

    def test_the_first_stage_has_the_device_of_its_run(self) -> None:
        stage = first_stage_config(make_config("lff", preset="smoke").for_device("cuda"))
        assert stage is not None
        assert stage.train.device == "cuda"

    def test_the_user_cannot_set_the_device(self) -> None:
        for section in ("train", "probe"):
            with pytest.raises(UsageError, match=f"'{section}.device'"):
                make_config("ce", preset="smoke", settings=[f"{section}.device=cuda"])

    def test_the_device_is_no_setting_that_a_command_repeats(self) -> None:
        config = make_config("ce", preset="smoke").for_device("cuda")
        assert find_overrides(config) == {}
        assert find_overrides(config.for_evaluation("cpu")) == {}

    def test_tf32_is_part_of_the_digest_on_cuda_only(self) -> None:
        plain, none = (
            make_config("ce", preset="smoke", settings=settings)
            for settings in ([], ["train.tf32=none"])
        )
        assert plain.for_device("cpu").digest(DATASET) == none.for_device("cpu").digest(DATASET)
        assert plain.for_device("cuda").digest(DATASET) != none.for_device("cuda").digest(DATASET)
        with pytest.raises(UsageError, match=r"train\.tf32 to be one of convolutions, all, none"):
            make_config("ce", preset="smoke", settings=["train.tf32=some"])

    def test_deterministic_is_part_of_the_digest(self) -> None:
        plain = make_config("ce", preset="smoke")
        other = make_config("ce", preset="smoke", settings=["train.deterministic=true"])
        assert plain.digest(DATASET) != other.digest(DATASET)
        assert "deterministic" not in plain.as_dict()["train"]

    def test_a_configuration_of_a_device_is_read_back(self) -> None:
        config = make_config("supcon", preset="smoke").for_device("cuda").for_evaluation("cpu")
        assert read_config(config.as_dict()).digest(DATASET) == config.digest(DATASET)


@pytest.fixture
def cuda_run(
    data: BiasedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[RunConfig, Path]:
    """Return a configuration and a finished run whose files say that it was trained on CUDA."""

    def for_cuda(config: RunConfig, device_type: str, processes: int = 1) -> RunConfig:
        train = dataclasses.replace(config.train, device="cuda")
        return dataclasses.replace(config, train=train)

    config = make_config("supcon", preset="smoke", settings=SMOKE)
    with monkeypatch.context() as patch:
        patch.setattr(RunConfig, "for_device", for_cuda)
        result = pipeline.evaluate(config, data, root=tmp_path / "runs", device=CPU)
    return config, result.folder


def test_a_run_of_another_device_is_neither_resumed_nor_reused(
    cuda_run: tuple[RunConfig, Path], data: BiasedDataset, tmp_path: Path
) -> None:
    config, folder = cuda_run
    result = pipeline.evaluate(config, data, root=tmp_path / "runs", device=CPU)
    assert not result.reused
    assert result.folder != folder


def test_an_encoder_of_another_device_is_evaluated_in_a_run_of_its_own(
    cuda_run: tuple[RunConfig, Path], data: BiasedDataset, tmp_path: Path
) -> None:
    _, folder = cuda_run
    source = read_source(folder)
    config = transfer_config(source, data, protocol="knn")
    result = pipeline.evaluate(config, data, root=tmp_path / "runs", device=CPU, source=source)
    assert result.evaluation is not None
    assert result.evaluation.identity.digest == config.for_evaluation("cpu").digest(data.digest)
    assert result.evaluation.identity.digest != config.digest(data.digest)
    tree = tomllib.loads((result.folder / "config.toml").read_text())
    assert (tree["train"]["device"], tree["probe"]["device"]) == ("cuda", "cpu")
    assert (result.folder / ENCODER).read_bytes() == (folder / ENCODER).read_bytes()
    again = read_source(result.folder)
    assert again.config.digest(data.digest) == source.run.digest
    reference = result.evaluation.encoder_from
    assert reference is not None
    assert reference.digest == source.run.digest


def flags() -> tuple[Any, ...]:
    return (
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
        torch.backends.cudnn.deterministic,
        torch.are_deterministic_algorithms_enabled(),
        os.environ.get(CUBLAS_WORKSPACE),
    )


class TestNumerics:
    @pytest.mark.parametrize(
        ("tf32", "expected"),
        [("convolutions", (False, True)), ("all", (True, True)), ("none", (False, False))],
    )
    def test_both_flags_of_tf32_are_set_and_restored(
        self, tf32: str, expected: tuple[bool, bool]
    ) -> None:
        before = flags()
        with numerics(torch.device("cuda"), tf32=tf32, deterministic=False):
            assert flags()[:2] == expected
        assert flags() == before
        with numerics(CPU, tf32=tf32, deterministic=False):
            assert flags() == before

    def test_deterministic_algorithms_are_set_and_restored_after_an_error(self) -> None:
        before = flags()
        with pytest.raises(ZeroDivisionError), numerics(CPU, tf32="none", deterministic=True):
            assert flags()[2:] == (True, True, ":4096:8")
            raise ZeroDivisionError
        assert flags() == before

    def test_a_run_is_computed_with_the_settings_of_its_configuration(
        self, data: BiasedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = []
        train, measure = stages.train, pipeline.measure
        for module, name, function in ((stages, "train", train), (pipeline, "measure", measure)):

            def recorded(*args: Any, function: Any = function, **options: Any) -> Any:
                seen.append(torch.are_deterministic_algorithms_enabled())
                return function(*args, **options)

            monkeypatch.setattr(module, name, recorded)
        config = make_config(
            "contex", preset="smoke", settings=[*SMOKE, "train.deterministic=true"]
        )
        pipeline.evaluate(config, data, root=tmp_path / "runs", device=CPU)
        assert seen == [True, True]
        assert not torch.are_deterministic_algorithms_enabled()


class TestOutOfMemory:
    @pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError("x"), MemoryError()])
    def test_a_lack_of_memory_is_one_error_and_the_next_command_resumes(
        self,
        error: BaseException,
        data: BiasedDataset,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        train_epoch, trained = loop._train_epoch, []

        def fail(*args: Any) -> Any:
            trained.append(args[4])
            if len(trained) == 2:
                raise error
            return train_epoch(*args)

        monkeypatch.setattr(loop, "_train_epoch", fail)
        config = make_config("ce", preset="smoke", settings=(*SMOKE, "train.epochs=2"))
        with pytest.raises(OutOfMemoryError, match=r"32 images.*train\.micro_batch=16") as caught:
            pipeline.evaluate(config, data, root=tmp_path / "runs", device=CPU)
        assert caught.value.exit_code == 71
        assert "\n" not in str(caught.value)
        result = pipeline.evaluate(config, data, root=tmp_path / "runs", device=CPU)
        assert trained == [0, 1, 1]  # epoch 1 is not trained again
        assert len((result.folder / METRICS_LOG).read_text().splitlines()) == 2

    @pytest.mark.parametrize("name", ["fit_classifiers", "_measure", "_write_results"])
    def test_after_the_training_no_setting_of_the_training_is_named(
        self, name: str, data: BiasedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*args: Any, **options: Any) -> None:
            raise torch.cuda.OutOfMemoryError("x")

        config = make_config("ce", preset="smoke", settings=SMOKE)
        with monkeypatch.context() as patch:
            patch.setattr(pipeline, name, fail)
            with pytest.raises(OutOfMemoryError, match="for the evaluation; close other") as caught:
                pipeline.evaluate(config, data, root=tmp_path / "runs", device=CPU)
        assert "train." not in str(caught.value)
        assert caught.value.exit_code == 71
        monkeypatch.setattr(loop, "_train_epoch", fail)  # the network is read
        assert pipeline.evaluate(config, data, root=tmp_path / "runs", device=CPU).evaluation

    def test_one_image_at_a_time_cannot_be_divided(
        self, data: BiasedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*args: Any) -> None:
            raise MemoryError

        monkeypatch.setattr(loop, "_train_epoch", fail)
        config = make_config("ce", preset="smoke", settings=(*SMOKE, "train.micro_batch=1"))
        with pytest.raises(
            OutOfMemoryError, match=r"one image at a time; pass a smaller"
        ) as caught:
            pipeline.evaluate(config, data, root=tmp_path / "runs", device=CPU)
        assert "micro_batch" not in str(caught.value)

    def test_other_errors_stay_what_they_are(self) -> None:
        assert not is_out_of_memory(
            RuntimeError("CUDA out of memory")
        )  # a class decides, not a text
        error = RuntimeError("CUDA error")
        error.error_code = 2  # type: ignore[attr-defined]  # as torch.AcceleratorError has
        assert is_out_of_memory(error)
