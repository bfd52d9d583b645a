"""Two-view augmentation: batched, each view with draws of its own, on the device of the images.

Geometry (random resized crop, flip, rotation) is one bilinear gather. Color (brightness, contrast,
saturation, hue, grayscale) and normalization are affine in (R, G, B), so that a view's whole chain is
one 3 x 4 matrix, applied once. Three things differ from the per-image pipelines by that: values
are clamped once at the end instead of after every step; hue is a rotation of chroma in YIQ space
(luma is kept) instead of a shift in HSV, which moves saturated colors less; and a corner that is
rotated out of its crop shows what is there in the image, not the crop's border. The tests bound
what that changes against kornia and state it.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from biascon.config.augmentation import Augmentation
from biascon.errors import UsageError
from biascon.models.preprocess import MEAN, STD, _check

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in torchvision and kornia


def augment(
    images: Tensor,
    recipe: Augmentation,
    generator: torch.Generator,
    views: int = 2,
    share: tuple[int, int] = (0, 1),
) -> Tensor:
    """Draw ``views`` independent views of every image.

    Args:
        images: ``(B, 3, H, W)`` uint8.
        recipe: The distribution.
        generator: A generator on the device of the images; its state decides every draw.
        views: V, 1 or more.
        share: ``(r, W)``: the images are part r of W equal parts of a batch; what is drawn for them is
            what would be drawn for them in the whole batch.

    Returns:
        ``(B * V, 3, H, W)`` float32 in [-1, 1], channels-last; row b * V + v is view v of image b.

    Raises:
        UsageError: Another shape or dtype, or fewer than one view.
    """
    _check(images)
    if views < 1:
        raise UsageError(f"expected views to be 1 or more, but got {views}")
    n, c, h, w = len(images) * views, *images.shape[1:]
    source = images.to(torch.float32).repeat_interleave(views, dim=0)  # (N, 3, H, W) in 0..255
    draw = _Draw(n, images.device, generator, share)
    pixels = _geometry(source, recipe, draw).reshape(n, c, h * w)
    matrix, offset = _color(pixels, recipe, draw)
    out = torch.baddbmm(offset, matrix, pixels).clamp_(-MEAN / STD, (1 - MEAN) / STD)
    return out.view(n, c, h, w).contiguous(memory_format=torch.channels_last)


class _Draw:
    """Uniform draws of one value a view, for one part of a batch."""

    def __init__(
        self, n: int, device: torch.device, generator: torch.Generator, share: tuple[int, int]
    ) -> None:
        self.n, self.device, self.generator = n, device, generator
        self.part, self.parts = share

    def uniform(self, low: float = 0.0, high: float = 1.0, k: int | None = None) -> Tensor:
        shape = (self.n * self.parts,) if k is None else (self.n * self.parts, k)
        whole = torch.rand(shape, device=self.device, generator=self.generator)
        return whole[self.part * self.n : (self.part + 1) * self.n] * (high - low) + low

    def happens(self, p: float) -> Tensor:
        return self.uniform() < p


def _geometry(source: Tensor, recipe: Augmentation, draw: _Draw) -> Tensor:
    """Crop, flip and rotate with bilinear interpolation; the border is repeated outside the image."""
    b, _, h, w = source.shape
    crops, flips = recipe.crop_scale != (1.0, 1.0), recipe.flip_p > 0
    if not (crops or flips or recipe.rotation > 0):
        return source
    one = torch.ones(b, device=source.device)
    half_x, half_y, center_x, center_y = one, one, 0 * one, 0 * one
    if crops:
        half_x, half_y, center_x, center_y = _crops(recipe, draw, w / h)
    if flips:
        half_x = torch.where(draw.happens(recipe.flip_p), -half_x, half_x)
    angle = draw.uniform(-recipe.rotation, recipe.rotation) * (math.pi / 180)
    cos, sin = torch.cos(angle), torch.sin(angle)
    x, y = _centers(w, source.device), _centers(h, source.device)  # (W,), (H,) in [-1, 1]

    # A rotation of pixels: in coordinates that run over [-1, 1] on both axes it is scaled by w / h.
    along_x = torch.complex(
        half_x * cos, half_y * sin * (w / h)
    )  # (B,): how x and y change along a row
    along_y = torch.complex(-half_x * sin * (h / w), half_y * cos)
    center = torch.complex(center_x, center_y)
    down = along_y[:, None, None] * y[None, :, None] + center[:, None, None]  # (B, H, 1)
    grid = torch.view_as_real(down + along_x[:, None, None] * x[None, None, :])  # (B, H, W, 2)
    return F.grid_sample(source, grid, padding_mode="border", align_corners=False)


def _centers(n: int, device: torch.device) -> Tensor:
    return (torch.arange(n, device=device, dtype=torch.float32) * 2 + 1) / n - 1


_TRIES = 10


def _crops(
    recipe: Augmentation, draw: _Draw, aspect: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Half sides and centers of random resized crops, in units of the half image.

    Of ten boxes drawn per view the first that lies within the image is taken; if none does, the
    largest central box whose ratio is within the range: the rule of torchvision.
    """
    area = draw.uniform(*recipe.crop_scale, k=_TRIES)
    low, high = (math.log(r) for r in recipe.crop_ratio)
    ratio = torch.exp(draw.uniform(low, high, k=_TRIES)) / aspect  # of shares, not of pixels
    share_x, share_y = torch.sqrt(area * ratio), torch.sqrt(area / ratio)  # (B, 10)
    fits = (share_x <= 1) & (share_y <= 1)
    first = fits.to(torch.uint8).argmax(dim=1, keepdim=True)
    found = fits.any(dim=1)
    low, high = (r / aspect for r in recipe.crop_ratio)
    central_x, central_y = min(1.0, high), min(1.0, 1 / low)
    half_x = torch.where(found, share_x.gather(1, first)[:, 0], central_x)
    half_y = torch.where(found, share_y.gather(1, first)[:, 0], central_y)
    center_x = draw.uniform(-1, 1) * (1 - half_x) * found
    center_y = draw.uniform(-1, 1) * (1 - half_y) * found
    return half_x, half_y, center_x, center_y


def _color(pixels: Tensor, recipe: Augmentation, draw: _Draw) -> tuple[Tensor, Tensor]:
    """The color chain and the normalization of each view as ``(B, 3, 3)`` and ``(B, 3, 1)``.

    Brightness scales a color, contrast blends it with the view's mean luma, saturation scales its
    chroma, hue turns its chroma, grayscale takes its chroma away. Chroma leaves luma alone and the
    other way round, so that without clamping in between all of them commute: no order is drawn.
    """
    fixed = _constants(pixels.device)
    one = torch.ones(len(pixels), device=pixels.device)
    brightness, contrast, saturation, angle = one, one, one, 0 * one
    if recipe.jitter_p > 0 and max(recipe.jitter) > 0:
        applied = draw.happens(recipe.jitter_p)
        brightness, contrast, saturation = (
            torch.where(applied, draw.uniform(max(0.0, 1 - s), 1 + s), 1.0)
            for s in recipe.jitter[:3]
        )
        turn = draw.uniform(-recipe.jitter[3], recipe.jitter[3]) * (2 * math.pi)
        angle = torch.where(applied, turn, 0.0)
    if recipe.grayscale_p > 0:
        saturation = torch.where(draw.happens(recipe.grayscale_p), 0.0, saturation)
    cos = (saturation * torch.cos(angle))[:, None, None]
    sin = (saturation * torch.sin(angle))[:, None, None]
    matrix = fixed.keep + cos * fixed.chroma + sin * fixed.turn
    gain = brightness * contrast / (255 * STD)
    lift = brightness * (1 - contrast) * (pixels.mean(dim=2) @ fixed.luma) / (255 * STD)
    return gain[:, None, None] * matrix, (lift - MEAN / STD)[:, None, None].expand(-1, 3, 1)


# RGB -> YIQ (NTSC): luma in the first row, chroma in the other two.
_YIQ = (LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


class _Constants(NamedTuple):
    """Fixed ``(3, 3)`` matrices and the luma row ``(3,)``, float32 on one device."""

    luma: Tensor
    keep: Tensor  # a color's luma, in all three channels; keep + chroma is the identity
    chroma: Tensor
    turn: Tensor  # the chroma turned by a right angle


@functools.cache
def _constants(device: torch.device) -> _Constants:
    to = torch.tensor(_YIQ, dtype=torch.float64)
    back = torch.linalg.inv(to)
    keep = torch.ones((3, 1), dtype=torch.float64) @ to[:1]
    turn = back[:, 1:] @ torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64) @ to[1:]
    matrices = (to[0], keep, torch.eye(3, dtype=torch.float64) - keep, turn)
    return _Constants(*(m.to(torch.float32).to(device) for m in matrices))
