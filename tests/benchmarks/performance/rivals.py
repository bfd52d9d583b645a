"""What people use instead, written plainly: pipelines an image at a time, and a textbook BiasedMNIST."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from biascon.config.augmentation import Augmentation
from biascon.models.torchvision import import_torchvision

import_torchvision()

from PIL import Image  # noqa: E402
from torchvision.transforms import InterpolationMode, v2  # noqa: E402
from torchvision.transforms import transforms as T  # noqa: E402

BILINEAR = InterpolationMode.BILINEAR


def pil(recipe: Augmentation, side: int) -> Callable[[Any], Tensor]:
    """torchvision's classic pipeline on a PIL image."""
    return T.Compose(
        [
            *_geometry(T, recipe, side),
            T.RandomApply([T.ColorJitter(*recipe.jitter)], p=recipe.jitter_p),
            T.RandomGrayscale(p=recipe.grayscale_p),
            T.ToTensor(),
            T.Normalize((0.5,) * 3, (0.5,) * 3),
        ]
    )


def tensors(recipe: Augmentation, side: int) -> Callable[[Any], Tensor]:
    """torchvision's v2 pipeline on a uint8 tensor."""
    return v2.Compose(
        [
            *_geometry(v2, recipe, side),
            v2.RandomApply([v2.ColorJitter(*recipe.jitter)], p=recipe.jitter_p),
            v2.RandomGrayscale(p=recipe.grayscale_p),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.5,) * 3, (0.5,) * 3),
        ]
    )


def _geometry(module: Any, recipe: Augmentation, side: int) -> list[Any]:
    parts: list[Any] = []
    if recipe.crop_scale != (1.0, 1.0):
        parts.append(module.RandomResizedCrop(side, recipe.crop_scale, recipe.crop_ratio, BILINEAR))
    if recipe.flip_p:
        parts.append(module.RandomHorizontalFlip(recipe.flip_p))
    if recipe.rotation:
        parts.append(module.RandomRotation(recipe.rotation, BILINEAR))
    return parts


def kornia(recipe: Augmentation, side: int) -> Callable[[Tensor], Tensor]:
    """kornia's batched pipeline on floats in [0, 1]."""
    import kornia.augmentation as K

    parts: list[Any] = []
    if recipe.crop_scale != (1.0, 1.0):
        parts.append(K.RandomResizedCrop((side, side), recipe.crop_scale, recipe.crop_ratio))
    if recipe.flip_p:
        parts.append(K.RandomHorizontalFlip(p=recipe.flip_p))
    if recipe.rotation:
        parts.append(K.RandomAffine(recipe.rotation, p=1.0, padding_mode="border"))
    return torch.nn.Sequential(
        *parts,
        K.ColorJitter(*recipe.jitter, p=recipe.jitter_p),
        K.RandomGrayscale(p=recipe.grayscale_p),
        K.Normalize(mean=torch.full((3,), 0.5), std=torch.full((3,), 0.5)),
    )


class TwoViews(Dataset[Any]):
    """Two views of an image and its label, as the contrastive papers' code does it."""

    def __init__(self, images: Tensor, labels: Tensor, pipeline: Any, *, as_pil: bool) -> None:
        self.pipeline, self.labels = pipeline, labels
        self.images: Any = images
        if as_pil:
            self.images = [Image.fromarray(x.permute(1, 2, 0).contiguous().numpy()) for x in images]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return both views and the label."""
        image = self.images[i]
        return self.pipeline(image), self.pipeline(image), self.labels[i]


def batches(data: TwoViews, batch: int, *, workers: int = 2) -> Iterator[Any]:
    """Draw batches without end from worker processes of one thread each."""
    loader = DataLoader(data, batch, shuffle=True, drop_last=True, num_workers=workers)
    return itertools.chain.from_iterable(itertools.repeat(loader))


COLOURS = np.array(
    [
        (255, 0, 0), (0, 255, 0), (0, 0, 255), (225, 225, 0), (225, 0, 225),
        (0, 255, 255), (255, 128, 0), (255, 0, 128), (128, 0, 255), (128, 128, 128),
    ],
    np.uint8,
)  # fmt: skip


def textbook(images: np.ndarray, labels: np.ndarray, rho: float) -> np.ndarray:
    """Colour a split class by class and image by image."""
    rng = np.random.default_rng(0)
    coloured, order = [], []
    for label in range(10):
        rows = np.flatnonzero(labels == label)
        n_aligned = int(len(rows) * rho)
        others = [c for c in range(10) if c != label]
        for k, row in enumerate(rows):
            colour = label if k < n_aligned else rng.choice(others)
            digit = images[row] > 0
            out = np.zeros((28, 28, 3), np.uint8)
            for channel in range(3):
                out[:, :, channel] = np.where(digit, 255, COLOURS[colour][channel])
            coloured.append(torch.from_numpy(out).permute(2, 0, 1))
            order.append(row)
    stacked = torch.stack(coloured).numpy()
    found: np.ndarray = stacked[np.argsort(order)]
    return found
