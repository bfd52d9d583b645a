"""Encoders: image batch ``(N, 3, H, W)`` -> features ``(N, dim)``; and the projection head.

Weights are drawn from an explicit generator: a network is built without storage (on the ``meta``
device), so that constructing one draws nothing from PyTorch's global generator, then filled.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from biascon.errors import UsageError, unknown_name

Module = TypeVar("Module", bound=nn.Module)


class Encoder(nn.Module):
    """A feature extractor with its feature dimension.

    Attributes:
        dim: D, the number of features.
        smallest: The smallest side in pixels that the network takes.
    """

    def __init__(self, body: nn.Module, dim: int, smallest: int) -> None:
        super().__init__()
        self.body = body
        self.dim = dim
        self.min_side = smallest

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(N, 3, H, W)`` in [-1, 1] to ``(N, dim)``."""
        features: Tensor = self.body(self.prepare(images))
        return features

    def prepare(self, images: Tensor) -> Tensor:
        """Return the images as the body wants them: here as they are."""
        return images


class ImageNetEncoder(Encoder):
    """An encoder whose body wants images normalized by ImageNet's mean and deviation of each channel."""

    mean = (0.485, 0.456, 0.406)  # as torchvision documents for its weights
    std = (0.229, 0.224, 0.225)

    def prepare(self, images: Tensor) -> Tensor:
        """Map x in [-1, 1] to ((x + 1) / 2 - mean) / std, a channel at a time."""
        scale = images.new_tensor([1 / (2 * s) for s in self.std])[:, None, None]
        shift = images.new_tensor(
            [(0.5 - m) / s for m, s in zip(self.mean, self.std, strict=True)]
        )[:, None, None]
        return images * scale + shift


class Conv2d(nn.Conv2d):
    """A convolution that is a matrix product where the kernel covers the image: faster on a CPU."""

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, O, H', W')``."""
        if tuple(images.shape[2:]) != self.kernel_size or self.padding != (0, 0):
            return super().forward(images)
        rows = images.permute(0, 2, 3, 1).flatten(1)  # (N, H W C): no copy where channels are last
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)
        return F.linear(rows, weight, self.bias)[:, :, None, None]


def _conv(
    i: int, o: int, kernel: int, *, stride: int = 1, padding: int = 0, bias: bool = False
) -> list[nn.Module]:
    conv = Conv2d(i, o, kernel, stride, padding, bias=bias)
    return [conv, nn.BatchNorm2d(o), nn.ReLU(inplace=True)]


def simpleconvnet() -> Encoder:
    """The papers' BiasedMNIST network: 4 x [conv 7x7, batch norm, ReLU], 16-32-64-128, 128-d.

    No stride; global average pooling; kaiming fan-out initialization. About 0.4 GMAC an image of
    28 x 28 pixels: a network for GPUs.
    """
    layers: list[nn.Module] = []
    for i, o in zip((3, 16, 32, 64), (16, 32, 64, 128), strict=True):
        layers += _conv(i, o, 7, padding=3, bias=True)
    return Encoder(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 128, 1)


def fastconvnet() -> Encoder:
    """A strided network for CPUs: conv 4x4/2-16, 4x4/2-32, 3x3/2-64, 3x3-128, batch norm, ReLU, 128-d.

    Of 28 x 28 pixels the last kernel sees all; larger images are averaged at the end. Kaiming fan-out
    initialization. About 0.8 MMAC an image of 28 x 28 pixels.
    """
    layers = [
        *_conv(3, 16, 4, stride=2, padding=1),
        *_conv(16, 32, 4, stride=2, padding=1),
        *_conv(32, 64, 3, stride=2),
        *_conv(64, 128, 3),
    ]
    return Encoder(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 128, 28)


def _resnet(name: str, dim: int) -> Encoder:
    from biascon.models.torchvision import import_torchvision

    body = getattr(import_torchvision().models, name)(weights=None)
    body.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    body.maxpool = nn.Identity()
    body.fc = nn.Identity()
    return Encoder(body, dim, 8)


def _imagenet(name: str, dim: int) -> Encoder:
    from biascon.models.torchvision import import_torchvision

    body = getattr(import_torchvision().models, name)(weights=None)
    body.fc = nn.Identity()
    return ImageNetEncoder(body, dim, 32)


def resnet18() -> Encoder:
    """torchvision's ResNet-18 with a stem for 32-pixel images (3x3 convolution, no pooling), 512-d."""
    return _resnet("resnet18", 512)


def resnet34() -> Encoder:
    """torchvision's ResNet-34 with a stem for 32-pixel images (3x3 convolution, no pooling), 512-d."""
    return _resnet("resnet34", 512)


def resnet50() -> Encoder:
    """torchvision's ResNet-50 with a stem for 32-pixel images (3x3 convolution, no pooling), 2048-d."""
    return _resnet("resnet50", 2048)


def resnet18_imagenet() -> Encoder:
    """torchvision's ResNet-18 as it is: its stem for 224-pixel images (64 and up do), 512-d.

    A 7x7 convolution of stride 2 and a pooling of stride 2 come first, so that an image is 1/32 of its side
    before the average. Images are normalized as ImageNet's are, so that torchvision's weights fit.
    """
    return _imagenet("resnet18", 512)


def resnet34_imagenet() -> Encoder:
    """torchvision's ResNet-34 as it is: its stem for 224-pixel images (64 and up do), 512-d."""
    return _imagenet("resnet34", 512)


def resnet50_imagenet() -> Encoder:
    """torchvision's ResNet-50 as it is: its stem for 224-pixel images (64 and up do), 2048-d."""
    return _imagenet("resnet50", 2048)


IMAGENET = "-imagenet"  # what the name of an encoder with torchvision's own stem ends in
ENCODERS: dict[str, Callable[[], Encoder]] = {
    "simpleconvnet": simpleconvnet,
    "fastconvnet": fastconvnet,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    f"resnet18{IMAGENET}": resnet18_imagenet,
    f"resnet34{IMAGENET}": resnet34_imagenet,
    f"resnet50{IMAGENET}": resnet50_imagenet,
}


KERNEL_1X1_SUFFIX = "-1x1"


def build_on_meta(name: str) -> Encoder:
    """Return an encoder without storage, on the ``meta`` device.

    Args:
        name: A key of ``ENCODERS``; with ``-1x1`` after it, every kernel is 1 x 1 at the same strides and
            without padding: a network that sees colors but no shapes, for methods that need a biased one.

    Raises:
        UsageError: No such encoder.
    """
    base = name.removesuffix(KERNEL_1X1_SUFFIX)
    if base not in ENCODERS:
        raise unknown_name("encoder", base, ENCODERS)
    with torch.device("meta"):
        encoder = ENCODERS[base]()
        if name.endswith(KERNEL_1X1_SUFFIX):
            encoder.min_side = 1
            for part in list(encoder.modules()):
                for key, child in part.named_children():
                    if isinstance(child, nn.Conv2d):
                        setattr(part, key, _to_kernel_1x1(child))
                    elif isinstance(child, nn.MaxPool2d):  # of torchvision's own stem
                        setattr(part, key, nn.MaxPool2d(1, child.stride))
    return encoder


def _to_kernel_1x1(conv: nn.Conv2d) -> nn.Module:
    """A 1 x 1 convolution of every s-th pixel.

    The pixels are picked first: oneDNN's strided 1 x 1 kernels for channels-last images of odd size write
    beyond their memory (seen with PyTorch 2.13, 32 channels of 7 x 7).
    """
    narrow = nn.Conv2d(
        conv.in_channels, conv.out_channels, 1, groups=conv.groups, bias=conv.bias is not None
    )
    return narrow if conv.stride == (1, 1) else nn.Sequential(nn.MaxPool2d(1, conv.stride), narrow)


def build_encoder(name: str, generator: torch.Generator) -> Encoder:
    """Return a freshly initialized encoder on the CPU.

    Args:
        name: As of ``design``.
        generator: A CPU generator; the same state gives the same weights.

    Raises:
        UsageError: No such encoder.
    """
    return _materialize(build_on_meta(name), generator)


def build_head(dim: int, widths: tuple[int, ...], generator: torch.Generator) -> nn.Module:
    """Return an MLP head: linear layers of the given widths with ReLU between them.

    ``(128, 128)`` is the projection head of the contrastive papers; ``(K,)`` a linear classifier.

    Raises:
        UsageError: A width below 1, or none.
    """
    if not widths or min(widths) < 1:
        raise UsageError(f"expected head widths of 1 or more, but got {list(widths)}")
    layers: list[nn.Module] = []
    with torch.device("meta"):
        for i, o in zip((dim, *widths), widths, strict=False):
            layers += [nn.Linear(i, o), nn.ReLU(inplace=True)]
        head = nn.Sequential(*layers[:-1])
    return _materialize(head, generator)


def _materialize(module: Module, generator: torch.Generator) -> Module:
    """Give a network of the ``meta`` device storage on the CPU and draw its weights."""
    module.to_empty(device="cpu")
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(
                part.weight, mode="fan_out", nonlinearity="relu", generator=generator
            )
            _uniform(part.bias, part.weight[0].numel(), generator)
        elif isinstance(part, nn.Linear):
            _uniform(part.weight, part.in_features, generator)
            _uniform(part.bias, part.in_features, generator)
        elif isinstance(part, nn.BatchNorm2d):
            part.reset_running_stats()
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
        elif next(part.parameters(recurse=False), None) is not None:
            raise UsageError(f"no initialization is known for a layer of {type(part).__name__}")
    return module


def _uniform(parameter: Tensor | None, fan_in: int, generator: torch.Generator) -> None:
    """PyTorch's own default for linear layers and biases: uniform within 1 / sqrt(fan_in)."""
    if parameter is not None:
        bound = 1.0 / math.sqrt(fan_in)
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
