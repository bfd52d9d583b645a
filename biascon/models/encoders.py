"""Encoders, which map images ``(N, 3, H, W)`` to features ``(N, dim)``, and the projection head.

Initial weights come from an explicit generator. A network is first built without storage (on the ``meta``
device), so that its construction draws nothing from the global generator of PyTorch. Then its weights are
drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from biascon.errors import UsageError, unknown_name

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class Encoder(nn.Module):
    """A feature extractor with its feature dimension.

    Attributes:
        dim: The number of features.
        min_side: The smallest side of an image in pixels.
    """

    def __init__(self, body: nn.Module, dim: int, min_side: int) -> None:
        super().__init__()
        self.body = body
        self.dim = dim
        self.min_side = min_side

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(N, 3, H, W)`` in [-1, 1] to ``(N, dim)``."""
        features: Tensor = self.body(self.prepare(images))
        return features

    def prepare(self, images: Tensor) -> Tensor:
        """Return the images as the body takes them; here without change."""
        return images


class ImageNetEncoder(Encoder):
    """An encoder whose body takes images normalized by the mean and deviation of ImageNet's channels."""

    mean = (0.485, 0.456, 0.406)  # as torchvision documents for its weights
    std = (0.229, 0.224, 0.225)

    scale: Tensor
    shift: Tensor

    def __init__(self, body: nn.Module, dim: int, min_side: int) -> None:
        super().__init__(body, dim, min_side)
        # They follow the network to its device, and are not part of its state: no file of weights has them.
        for name in ("scale", "shift"):
            self.register_buffer(name, torch.empty(3, 1, 1), persistent=False)
        self.reset_statistics()

    def reset_statistics(self) -> None:
        """Fill the buffers ``scale`` and ``shift``, each ``(3, 1, 1)``, from ``mean`` and ``std``."""
        for c, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            self.scale[c].fill_(1 / (2 * std))
            self.shift[c].fill_((0.5 - mean) / std)

    def prepare(self, images: Tensor) -> Tensor:
        """Map x in [-1, 1] to ((x + 1) / 2 - mean) / std for each channel."""
        return images * self.scale + self.shift


class Conv2d(nn.Conv2d):
    """A convolution that is a matrix product if the kernel covers the image, which is faster on a CPU."""

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, O, H', W')``."""
        if tuple(images.shape[2:]) != self.kernel_size or self.padding != (0, 0):
            return super().forward(images)
        rows = images.permute(0, 2, 3, 1).flatten(1)  # (N, H W C), no copy for channels-last images
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)
        return F.linear(rows, weight, self.bias)[:, :, None, None]


def _conv(
    i: int, o: int, kernel: int, *, stride: int = 1, padding: int = 0, bias: bool = False
) -> list[nn.Module]:
    conv = Conv2d(i, o, kernel, stride, padding, bias=bias)
    return [conv, nn.BatchNorm2d(o), nn.ReLU(inplace=True)]


def simpleconvnet() -> Encoder:
    """The papers' BiasedMNIST network: 4 x [conv 7x7, batch norm, ReLU], 16-32-64-128, 128-d.

    Stride 1, global average pooling, Kaiming fan-out initialization. An image of 28 x 28 pixels takes about
    0.4 GMAC; use the network on a GPU.
    """
    layers: list[nn.Module] = []
    for i, o in zip((3, 16, 32, 64), (16, 32, 64, 128), strict=True):
        layers += _conv(i, o, 7, padding=3, bias=True)
    return Encoder(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 128, 1)


def fastconvnet() -> Encoder:
    """A strided network for CPUs: conv 4x4/2-16, 4x4/2-32, 3x3/2-64, 3x3-128, batch norm, ReLU, 128-d.

    The receptive field of the last convolution covers an image of 28 x 28 pixels. For larger images the last
    feature map is averaged. Kaiming fan-out initialization. An image of 28 x 28 pixels takes about 0.8 MMAC.
    """
    layers = [
        *_conv(3, 16, 4, stride=2, padding=1),
        *_conv(16, 32, 4, stride=2, padding=1),
        *_conv(32, 64, 3, stride=2),
        *_conv(64, 128, 3),
    ]
    return Encoder(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 128, 28)


def simpleconvnet_tanh() -> Encoder:
    """``simpleconvnet`` with tanh as the last activation, as the code of FairKL has it, 128-d.

    Its features have both signs, so that cosines of features lie in [-1, 1] and not in [0, 1].
    """
    return _end_with_tanh(simpleconvnet())


def fastconvnet_tanh() -> Encoder:
    """``fastconvnet`` with tanh as the last activation, 128-d."""
    return _end_with_tanh(fastconvnet())


def _end_with_tanh(encoder: Encoder) -> Encoder:
    """Replace the last ReLU of an encoder by tanh."""
    body = encoder.body
    last = max(k for k, layer in enumerate(body.children()) if isinstance(layer, nn.ReLU))
    setattr(body, str(last), nn.Tanh())
    return encoder


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
    """torchvision's ResNet-18 with its own stem for 224-pixel images (64 pixels suffice), 512-d.

    The stem is a 7x7 convolution of stride 2 and a pooling of stride 2. The last feature map has 1/32 of the
    side of the image. Images are normalized with the statistics of ImageNet, as torchvision's weights expect.
    """
    return _imagenet("resnet18", 512)


def resnet34_imagenet() -> Encoder:
    """torchvision's ResNet-34 with its own stem for 224-pixel images (64 pixels suffice), 512-d."""
    return _imagenet("resnet34", 512)


def resnet50_imagenet() -> Encoder:
    """torchvision's ResNet-50 with its own stem for 224-pixel images (64 pixels suffice), 2048-d."""
    return _imagenet("resnet50", 2048)


ENCODERS: dict[str, Callable[[], Encoder]] = {
    "simpleconvnet": simpleconvnet,
    "fastconvnet": fastconvnet,
    "simpleconvnet-tanh": simpleconvnet_tanh,
    "fastconvnet-tanh": fastconvnet_tanh,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "resnet18-imagenet": resnet18_imagenet,
    "resnet34-imagenet": resnet34_imagenet,
    "resnet50-imagenet": resnet50_imagenet,
}
# Encoders for which torchvision has pretrained weights, with the torchvision name of the network.
TORCHVISION_NETWORKS = {f"{name}-imagenet": name for name in ("resnet18", "resnet34", "resnet50")}
_KERNEL_1X1_SUFFIX = "-1x1"


def has_1x1_kernels(name: str) -> bool:
    """Whether the name is that of an encoder whose kernels are all 1 x 1."""
    return name.endswith(_KERNEL_1X1_SUFFIX)


def add_1x1_suffix(name: str) -> str:
    """Return the name of the variant of an encoder whose kernels are all 1 x 1."""
    return remove_1x1_suffix(name) + _KERNEL_1X1_SUFFIX


def remove_1x1_suffix(name: str) -> str:
    """Return the key of ``ENCODERS`` in the name of an encoder."""
    return name.removesuffix(_KERNEL_1X1_SUFFIX)


def build_on_meta(name: str) -> Encoder:
    """Return an encoder without storage, on the ``meta`` device.

    Args:
        name: A key of ``ENCODERS``, or such a key and ``-1x1``. With ``-1x1``, every kernel is 1 x 1 with
            the same stride and without padding. That network sees colors but no shapes; some methods need
            such a biased network.

    Raises:
        UsageError: There is no encoder of this name.
    """
    base = remove_1x1_suffix(name)
    if base not in ENCODERS:
        raise unknown_name("encoder", base, ENCODERS)
    with torch.device("meta"):
        encoder = ENCODERS[base]()
        if has_1x1_kernels(name):
            _replace_kernels(encoder)
    return encoder


def _replace_kernels(encoder: Encoder) -> None:
    """Replace every convolution and pooling of an encoder by its 1 x 1 variant."""
    encoder.min_side = 1
    for module in list(encoder.modules()):
        for key, child in module.named_children():
            if isinstance(child, nn.Conv2d):
                setattr(module, key, _to_kernel_1x1(child))
            elif isinstance(child, nn.MaxPool2d):  # in the stem of torchvision
                setattr(module, key, nn.MaxPool2d(1, child.stride))


def _to_kernel_1x1(conv: nn.Conv2d) -> nn.Module:
    """Return a 1 x 1 convolution with the stride of ``conv``.

    A stride is applied by a pooling before the convolution: the strided 1 x 1 kernels of oneDNN write beyond
    their memory for channels-last images of odd size (seen with PyTorch 2.13, 32 channels of 7 x 7).
    """
    conv_1x1 = nn.Conv2d(
        conv.in_channels, conv.out_channels, 1, groups=conv.groups, bias=conv.bias is not None
    )
    if conv.stride == (1, 1):
        return conv_1x1
    return nn.Sequential(nn.MaxPool2d(1, conv.stride), conv_1x1)


def build_encoder(name: str, generator: torch.Generator) -> Encoder:
    """Return a freshly initialized encoder on the CPU.

    Args:
        name: The name of the encoder, see ``build_on_meta``.
        generator: A CPU generator. Generators in the same state give the same weights.

    Raises:
        UsageError: There is no encoder of this name.
    """
    return _materialize(build_on_meta(name), generator)


def build_head(dim: int, widths: tuple[int, ...], generator: torch.Generator) -> nn.Module:
    """Return an MLP head: linear layers of the given widths with ReLU between them.

    Args:
        dim: The number of features.
        widths: ``(128, 128)`` gives the projection head of the contrastive papers, ``(K,)`` a linear
            classifier.
        generator: A CPU generator.

    Raises:
        UsageError: There is no width, or a width is below 1.
    """
    if not widths or min(widths) < 1:
        raise UsageError(f"expected head widths of 1 or more, but got {list(widths)}")
    layers: list[nn.Module] = []
    with torch.device("meta"):
        for i, o in zip((dim, *widths), widths, strict=False):
            layers += [nn.Linear(i, o), nn.ReLU(inplace=True)]
        head = nn.Sequential(*layers[:-1])
    return _materialize(head, generator)


def _materialize(module: ModuleT, generator: torch.Generator) -> ModuleT:
    """Allocate a network of the ``meta`` device on the CPU, draw its weights, and return it."""
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
        elif isinstance(part, ImageNetEncoder):
            part.reset_statistics()
        elif next(part.parameters(recurse=False), None) is not None:
            raise UsageError(f"no initialization is known for a layer of {type(part).__name__}")
    return module


def _uniform(parameter: Tensor | None, fan_in: int, generator: torch.Generator) -> None:
    """Draw uniform values within 1 / sqrt(fan_in), PyTorch's default for linear layers and biases."""
    if parameter is not None:
        bound = 1.0 / math.sqrt(fan_in)
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
