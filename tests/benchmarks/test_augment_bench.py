"""Views a second at 28 x 28 x 3, full recipe, beside torchvision's per-image pipeline and kornia.

make bench, on an otherwise idle machine; quote medians, and ratios from one run.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from biascon.augment import Recipe, augment
from biascon.seeds import torch_generator

BATCH = 256
RECIPE = Recipe()


@pytest.fixture
def images() -> torch.Tensor:
    array = np.random.default_rng(0).integers(0, 256, (BATCH, 3, 28, 28), dtype=np.uint8)
    return torch.from_numpy(array)


def report(benchmark: BenchmarkFixture, views: int) -> None:
    median = benchmark.stats.stats.median
    benchmark.extra_info["views_per_second"] = round(views / median)
    print(f"\n{benchmark.name}: {views / median:,.0f} views/s (median)")


@pytest.mark.parametrize("threads", [1, 2])
def test_biascon(benchmark: BenchmarkFixture, images: torch.Tensor, threads: int) -> None:
    torch.set_num_threads(threads)
    generator = torch_generator(0, "bench")
    benchmark.pedantic(lambda: augment(images, RECIPE, generator, 2), rounds=60, warmup_rounds=10)
    report(benchmark, 2 * BATCH)


@pytest.mark.parametrize("threads", [1, 2])
def test_kornia(benchmark: BenchmarkFixture, images: torch.Tensor, threads: int) -> None:
    import kornia.augmentation as K

    torch.set_num_threads(threads)
    pipeline = torch.nn.Sequential(
        K.RandomAffine(RECIPE.rotation, p=1.0, padding_mode="border"),
        K.ColorJitter(*RECIPE.jitter, p=RECIPE.jitter_p),
        K.RandomGrayscale(p=RECIPE.grey_p),
        K.Normalize(mean=torch.full((3,), 0.5), std=torch.full((3,), 0.5)),
    )
    source = images.float() / 255
    benchmark.pedantic(lambda: (pipeline(source), pipeline(source)), rounds=20, warmup_rounds=3)
    report(benchmark, 2 * BATCH)


def test_torchvision_per_image_one_core(benchmark: BenchmarkFixture, images: torch.Tensor) -> None:
    from biascon.vision import torchvision

    torchvision()
    from PIL import Image
    from torchvision import transforms as T

    torch.set_num_threads(1)
    pipeline = T.Compose(
        [
            T.RandomRotation(RECIPE.rotation, interpolation=T.InterpolationMode.BILINEAR),
            T.RandomApply([T.ColorJitter(*RECIPE.jitter)], p=RECIPE.jitter_p),
            T.RandomGrayscale(p=RECIPE.grey_p),
            T.ToTensor(),
            T.Normalize((0.5,) * 3, (0.5,) * 3),
        ]
    )
    pictures = [Image.fromarray(x.permute(1, 2, 0).contiguous().numpy()) for x in images]
    benchmark.pedantic(
        lambda: [(pipeline(x), pipeline(x)) for x in pictures], rounds=5, warmup_rounds=1
    )
    report(benchmark, 2 * BATCH)
