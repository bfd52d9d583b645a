"""Two-view augmentation: batched, each view with draws of its own, on the device of the images.

Geometry (random resized crop, flip, rotation) is one bilinear gather. Colour (brightness, contrast,
saturation, hue, greyscale) and normalisation are affine in (R, G, B), so that a view's whole chain is
one 3 x 4 matrix, applied once. Two things differ from the per-image pipelines by that: values
are clamped once at the end instead of after every step, and hue is a rotation of chroma in YIQ space
(luma is kept) instead of a shift in HSV. The tests bound what that changes against kornia.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from biascon.errors import UsageError

MEAN, STD = 0.5, 0.5  # normalisation of every image, in [0, 1] units
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in torchvision and kornia


@dataclass(frozen=True)
class Recipe:
    """The distribution of a view; every part can be switched off.

    Attributes:
        crop_scale: Range of the area share of the random resized crop; (1, 1) is off.
        crop_ratio: Range of the crop's aspect ratio, drawn log-uniformly.
        rotation: Largest rotation in degrees, drawn uniformly from both sides; 0 is off.
        flip_p: Probability of a horizontal flip (0 for digits).
        jitter: Strengths of brightness, contrast, saturation (factors uniform in
            [max(0, 1 - s), 1 + s]) and hue (share of a full turn, uniform in [-s, s]), in an order
            drawn for each view.
        jitter_p: Probability that a view is jittered at all; 0 is off.
        grey_p: Probability that a view loses its colour.
    """

    crop_scale: tuple[float, float] = (1.0, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    rotation: float = 20.0
    flip_p: float = 0.0
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)
    jitter_p: float = 0.8
    grey_p: float = 0.2

    def __post_init__(self) -> None:
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise UsageError(f"expected 0 < low <= high <= 1 for crop_scale, but got {low}, {high}")
        low, high = self.crop_ratio
        if not 0 < low <= high:
            raise UsageError(f"expected 0 < low <= high for crop_ratio, but got {low}, {high}")
        if not 0 <= self.rotation <= 180:
            raise UsageError(f"expected rotation in 0..180 degrees, but got {self.rotation}")
        for name in ("flip_p", "jitter_p", "grey_p"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise UsageError(f"expected {name} to be a probability, but got {value}")
        if len(self.jitter) != 4 or min(self.jitter) < 0 or self.jitter[3] > 0.5:
            got = list(self.jitter)
            raise UsageError(f"expected four strengths of jitter, hue at most 0.5, but got {got}")


def normalise(images: Tensor) -> Tensor:
    """Map uint8 ``(N, 3, H, W)`` to float32 in [-1, 1], channels-last: (x / 255 - 0.5) / 0.5."""
    _check(images)
    scaled = images.to(torch.float32).mul_(1 / (255 * STD)).sub_(MEAN / STD)
    return scaled.contiguous(memory_format=torch.channels_last)


def augment(images: Tensor, recipe: Recipe, generator: torch.Generator, views: int = 2) -> Tensor:
    """Draw ``views`` independent views of every image.

    Args:
        images: ``(B, 3, H, W)`` uint8.
        recipe: The distribution.
        generator: A generator on the device of the images; its state decides every draw.
        views: V, 1 or more.

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
    draw = _Draw(n, images.device, generator)
    pixels = _geometry(source, recipe, draw).reshape(n, c, h * w)
    matrix, offset = _colour(pixels, recipe, draw)
    out = torch.baddbmm(offset, matrix, pixels).clamp_(-MEAN / STD, (1 - MEAN) / STD)
    return out.view(n, c, h, w).contiguous(memory_format=torch.channels_last)


def _check(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.uint8:
        got = f"{images.dtype} {tuple(images.shape)}"
        raise UsageError(f"expected images as uint8 of shape (N, 3, H, W), but got {got}")


class _Draw:
    """Uniform draws of one value a view."""

    def __init__(self, n: int, device: torch.device, generator: torch.Generator) -> None:
        self.n, self.device, self.generator = n, device, generator

    def uniform(self, low: float = 0.0, high: float = 1.0, k: int | None = None) -> Tensor:
        shape = (self.n,) if k is None else (self.n, k)
        return torch.rand(shape, device=self.device, generator=self.generator) * (high - low) + low

    def happens(self, p: float) -> Tensor:
        return self.uniform() < p


def _geometry(source: Tensor, recipe: Recipe, draw: _Draw) -> Tensor:
    """Crop, flip and rotate with bilinear interpolation; the border is repeated outside the image."""
    b, _, h, w = source.shape
    crops, flips = recipe.crop_scale != (1.0, 1.0), recipe.flip_p > 0
    if not (crops or flips or recipe.rotation > 0):
        return source
    one = torch.ones(b, device=source.device)
    half_x, half_y, centre_x, centre_y = one, one, 0 * one, 0 * one
    if crops:
        half_x, half_y, centre_x, centre_y = _crops(recipe, draw, w / h)
    if flips:
        half_x = torch.where(draw.happens(recipe.flip_p), -half_x, half_x)
    angle = draw.uniform(-recipe.rotation, recipe.rotation) * (math.pi / 180)
    cos, sin = torch.cos(angle), torch.sin(angle)
    x, y = _centres(w, source.device), _centres(h, source.device)  # (W,), (H,) in [-1, 1]

    def plane(along_x: Tensor, along_y: Tensor, centre: Tensor) -> Tensor:
        rows = along_y[:, None, None] * y[None, :, None] + centre[:, None, None]  # (B, H, 1)
        return rows + along_x[:, None, None] * x[None, None, :]  # (B, H, W)

    # A rotation of pixels: in coordinates that run over [-1, 1] on both axes it is scaled by w / h.
    grid = torch.stack(
        (
            plane(half_x * cos, -half_x * sin * (h / w), centre_x),
            plane(half_y * sin * (w / h), half_y * cos, centre_y),
        ),
        dim=-1,
    )
    return F.grid_sample(source, grid, padding_mode="border", align_corners=False)


def _centres(n: int, device: torch.device) -> Tensor:
    return (torch.arange(n, device=device, dtype=torch.float32) * 2 + 1) / n - 1


_TRIES = 10


def _crops(recipe: Recipe, draw: _Draw, aspect: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Half sides and centres of random resized crops, in units of the half image.

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
    centre_x = draw.uniform(-1, 1) * (1 - half_x) * found
    centre_y = draw.uniform(-1, 1) * (1 - half_y) * found
    return half_x, half_y, centre_x, centre_y


def _colour(pixels: Tensor, recipe: Recipe, draw: _Draw) -> tuple[Tensor, Tensor]:
    """The colour chain and the normalisation of each view as ``(B, 3, 3)`` and ``(B, 3, 1)``."""
    b, device = pixels.shape[0], pixels.device
    fixed = _constants(device)
    eye, luma, grey = fixed.eye, fixed.luma, fixed.grey
    matrix = eye.expand(b, 3, 3) / 255
    offset = torch.zeros(b, 3, 1, device=device)
    if recipe.jitter_p > 0 and max(recipe.jitter) > 0:
        applied = draw.happens(recipe.jitter_p)
        brightness, contrast, saturation = (
            torch.where(applied, draw.uniform(max(0.0, 1 - s), 1 + s), 1.0)[:, None, None]
            for s in recipe.jitter[:3]
        )
        hue = torch.where(applied, draw.uniform(-recipe.jitter[3], recipe.jitter[3]), 0.0)
        steps = torch.stack(
            (
                brightness * eye,
                contrast * eye,
                saturation * eye + (1 - saturation) * grey,
                _hue_rotation(hue * (2 * math.pi)),
            ),
            dim=1,
        )  # (B, 4, 3, 3)
        mean = pixels.mean(dim=2, keepdim=True)  # (B, 3, 1)
        order = draw.uniform(k=4).argsort(dim=1)  # (B, 4)
        rows = torch.arange(b, device=device)
        for k in range(4):
            step = steps[rows, order[:, k]]
            # Contrast blends with the mean luma of the view as it is at this step.
            toward = torch.where((order[:, k] == 1)[:, None, None], 1 - contrast, 0.0)
            level = luma @ (torch.bmm(matrix, mean) + offset)  # (B, 1)
            matrix, offset = torch.bmm(step, matrix), torch.bmm(step, offset)
            offset = offset + toward * level[:, None, :]
    if recipe.grey_p > 0:
        to_grey = draw.happens(recipe.grey_p)[:, None, None]
        matrix = torch.where(to_grey, grey @ matrix, matrix)
        offset = torch.where(to_grey, grey @ offset, offset)
    return matrix / STD, (offset - MEAN) / STD


# RGB -> YIQ (NTSC): luma in the first row, chroma in the other two.
_YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


class _Constants(NamedTuple):
    """Fixed ``(3, 3)`` matrices and the luma row ``(3,)``, float32 on one device."""

    eye: Tensor
    luma: Tensor
    grey: Tensor  # maps a colour to its luma in all three channels
    keep: Tensor  # a hue rotation is keep + cos * chroma + sin * turn
    chroma: Tensor
    turn: Tensor


@functools.cache
def _constants(device: torch.device) -> _Constants:
    to = torch.tensor(_YIQ, dtype=torch.float64)
    back = torch.linalg.inv(to)
    keep = back[:, :1] @ to[:1]
    turn = back[:, 1:] @ torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64) @ to[1:]
    eye, luma = torch.eye(3, dtype=torch.float64), torch.tensor(LUMA, dtype=torch.float64)
    matrices = (eye, luma, luma.expand(3, 3), keep, eye - keep, turn)
    return _Constants(*(m.to(torch.float32).to(device) for m in matrices))


def _hue_rotation(angle: Tensor) -> Tensor:
    """``(B, 3, 3)``: rotate the chroma of a colour by ``angle`` radians ``(B,)``; greys stay."""
    fixed = _constants(angle.device)
    cos, sin = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    return fixed.keep + cos * fixed.chroma + sin * fixed.turn
