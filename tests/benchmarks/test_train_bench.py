"""Images a second of the encoders (forward and backward), and views a second of a training epoch."""

from __future__ import annotations

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from biascon.losses import LOSSES, get_loss
from biascon.models.encoders import build_encoder
from biascon.training.network import to_channels_last
from biascon.utils.seeds import torch_generator


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("name", "batch", "rounds"),
    [("fastconvnet", 512, 30), ("simpleconvnet", 32, 3), ("resnet18", 32, 3)],
)
def test_encoders_in_images_per_second(
    benchmark: BenchmarkFixture, name: str, batch: int, rounds: int, threads: int
) -> None:
    torch.set_num_threads(threads)
    generator = torch_generator(0, "bench")
    encoder = to_channels_last(build_encoder(name, generator), torch.device("cpu"))
    x = torch.randn(batch, 3, 28, 28, generator=generator).contiguous(
        memory_format=torch.channels_last
    )

    def step() -> None:
        encoder.zero_grad(set_to_none=True)
        encoder(x).square().mean().backward()

    benchmark.pedantic(step, rounds=rounds, warmup_rounds=2)
    median = benchmark.stats.stats.median
    benchmark.extra_info["images_per_second"] = round(batch / median)
    print(f"\n{name}, {threads} thread(s): {batch / median:,.0f} images/s (median)")


@pytest.mark.parametrize("name", LOSSES)
def test_loss_of_one_batch_in_seconds(benchmark: BenchmarkFixture, name: str) -> None:
    torch.set_num_threads(2)
    loss = get_loss(name)
    generator = torch_generator(0, "bench")
    width = 128 if loss.input_kind == "embeddings" else 10
    z = torch.nn.functional.normalize(torch.randn(256, 2, width, generator=generator), dim=-1)
    z.requires_grad_()
    labels, bias = torch.arange(256) % 10, torch.arange(256) % 7
    tensors = {
        "logits": torch.randn(256, 2, 10, generator=generator),
        "features": torch.randn(256, 2, 128, generator=generator),
        "counts": torch.arange(1, 71).view(10, 7),
        "group_weights": torch.full((10, 7), 1 / 70),
        "bias_features": torch.randn(256, 128, generator=generator),
        "bias_losses": torch.rand(256, generator=generator),
        "weights": torch.rand(256, generator=generator),
    }
    inputs = {key: tensors[key] for key in loss.tensor_inputs}

    def step() -> None:
        z.grad = None
        loss(z, labels, bias, **inputs).backward()

    benchmark.pedantic(step, rounds=30, warmup_rounds=5)
