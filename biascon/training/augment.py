"""Two-view augmentation in batches, with independent draws for each view, on the device of the images.

Geometry (random resized crop, flip, rotation) is one bilinear gather. Color (brightness, contrast,
saturation, hue, grayscale) and normalization are affine in (R, G, B), so the whole color chain of a view is
one 3 x 4 matrix that is applied once. This differs from per-image pipelines in three ways. Values are
clamped once at the end instead of after every step. Hue is a rotation of chroma in YIQ space, which keeps
luma, instead of a shift in HSV; it moves saturated colors less. A corner that is rotated out of its crop
shows the image outside the crop, not the border of the crop. The tests bound these differences against
kornia.
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
from biascon.models.preprocess import MEAN, STD, check_images

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in torchvision and kornia


def augment(
    images: Tensor,
    augmentation: Augmentation,
    generator: torch.Generator,
    views: int = 2,
    share: tuple[int, int] = (0, 1),
) -> Tensor:
    """Draw ``views`` independent views of every image.

    Args:
        images: ``(B, 3, H, W)`` uint8.
        augmentation: The distribution of a view.
        generator: A generator on the device of the images; its state decides every draw.
        views: V, 1 or more.
        share: ``(r, W)``: the images are part r of W equal parts of a batch. Each image gets the same draws
            as in the whole batch.

    Returns:
        ``(B * V, 3, H, W)`` float32 in [-1, 1], channels-last; row b * V + v is view v of image b.

    Raises:
        UsageError: Another shape or dtype, or fewer than one view.
    """
    check_images(images)
    if views < 1:
        raise UsageError(f"expected views to be 1 or more, but got {views}")
    n, c, h, w = len(images) * views, *images.shape[1:]
    repeated = images[:, None].expand(-1, views, -1, -1, -1)
    source = repeated.to(torch.float32).reshape(n, c, h, w)  # in 0..255
    draw = _Draw(n, images.device, generator, share)
    pixels = _transform_geometry(source, augmentation, draw).reshape(n, c, h * w)
    matrix, offset = _color_matrix(pixels, augmentation, draw)
    out = torch.baddbmm(offset, matrix, pixels).clamp_(-MEAN / STD, (1 - MEAN) / STD)
    return out.view(n, c, h, w).contiguous(memory_format=torch.channels_last)


class _Draw:
    """Uniform draws, one value for each view, for one part of a batch."""

    def __init__(
        self, n: int, device: torch.device, generator: torch.Generator, share: tuple[int, int]
    ) -> None:
        self.n, self.device, self.generator = n, device, generator
        self.part, self.parts = share

    def uniform(self, low: float = 0.0, high: float = 1.0, k: int | None = None) -> Tensor:
        shape = (self.n * self.parts,) if k is None else (self.n * self.parts, k)
        batch = torch.rand(shape, device=self.device, generator=self.generator)
        return batch[self.part * self.n : (self.part + 1) * self.n] * (high - low) + low

    def happens(self, p: float) -> Tensor:
        return self.uniform() < p


def _transform_geometry(source: Tensor, augmentation: Augmentation, draw: _Draw) -> Tensor:
    """Crop, flip and rotate with bilinear interpolation; the border is repeated outside the image."""
    b, _, h, w = source.shape
    has_crops, has_flips = augmentation.crop_scale != (1.0, 1.0), augmentation.flip_p > 0
    if not (has_crops or has_flips or augmentation.rotation > 0):
        return source
    ones = torch.ones(b, device=source.device)
    half_x, half_y, center_x, center_y = ones, ones, 0 * ones, 0 * ones
    if has_crops:
        half_x, half_y, center_x, center_y = _draw_crops(augmentation, draw, w / h)
    if has_flips:
        half_x = torch.where(draw.happens(augmentation.flip_p), -half_x, half_x)
    angle = draw.uniform(-augmentation.rotation, augmentation.rotation) * (math.pi / 180)
    cos, sin = torch.cos(angle), torch.sin(angle)
    x, y = (
        _pixel_centers(w, source.device),
        _pixel_centers(h, source.device),
    )  # (W,), (H,) in [-1, 1]

    # Pixels are rotated. In coordinates that run over [-1, 1] on both axes the rotation is scaled by w / h.
    # (B,): the change of x and y along a row, and along a column.
    along_x = torch.complex(half_x * cos, half_y * sin * (w / h))
    along_y = torch.complex(-half_x * sin * (h / w), half_y * cos)
    center = torch.complex(center_x, center_y)
    down = along_y[:, None, None] * y[None, :, None] + center[:, None, None]  # (B, H, 1)
    grid = torch.view_as_real(down + along_x[:, None, None] * x[None, None, :])  # (B, H, W, 2)
    return F.grid_sample(source, grid, padding_mode="border", align_corners=False)


def _pixel_centers(n: int, device: torch.device) -> Tensor:
    return (torch.arange(n, device=device, dtype=torch.float32) * 2 + 1) / n - 1


_TRIES = 10


def _draw_crops(
    augmentation: Augmentation, draw: _Draw, aspect: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return half sides and centers of random resized crops, in units of half the image.

    The rule is that of torchvision. Ten boxes are drawn for each view, and the first one that lies within the
    image is taken. If none does, the largest central box whose ratio is within the range is taken.
    """
    area = draw.uniform(*augmentation.crop_scale, k=_TRIES)
    low, high = (math.log(r) for r in augmentation.crop_ratio)
    ratio = (
        torch.exp(draw.uniform(low, high, k=_TRIES)) / aspect
    )  # a ratio of shares, not of pixels
    share_x, share_y = torch.sqrt(area * ratio), torch.sqrt(area / ratio)  # (B, 10)
    fits = (share_x <= 1) & (share_y <= 1)
    first = fits.to(torch.uint8).argmax(dim=1, keepdim=True)
    has_fit = fits.any(dim=1)
    low, high = (r / aspect for r in augmentation.crop_ratio)
    central_x, central_y = min(1.0, high), min(1.0, 1 / low)
    half_x = torch.where(has_fit, share_x.gather(1, first)[:, 0], central_x)
    half_y = torch.where(has_fit, share_y.gather(1, first)[:, 0], central_y)
    center_x = draw.uniform(-1, 1) * (1 - half_x) * has_fit
    center_y = draw.uniform(-1, 1) * (1 - half_y) * has_fit
    return half_x, half_y, center_x, center_y


def _color_matrix(pixels: Tensor, augmentation: Augmentation, draw: _Draw) -> tuple[Tensor, Tensor]:
    """Return the color chain and the normalization of each view as ``(B, 3, 3)`` and ``(B, 3, 1)``.

    Brightness scales a color. Contrast blends it with the mean luma of the view. Saturation scales its
    chroma, hue rotates its chroma, and grayscale removes its chroma. Operations on chroma do not change luma,
    and the reverse. Without clamping in between all of them commute, so no order is drawn.
    """
    fixed = _constants(pixels.device)
    ones = torch.ones(len(pixels), device=pixels.device)
    brightness, contrast, saturation, angle = ones, ones, ones, 0 * ones
    if augmentation.jitter_p > 0 and max(augmentation.jitter) > 0:
        applied = draw.happens(augmentation.jitter_p)
        brightness, contrast, saturation = (
            torch.where(applied, draw.uniform(max(0.0, 1 - s), 1 + s), 1.0)
            for s in augmentation.jitter[:3]
        )
        turn = draw.uniform(-augmentation.jitter[3], augmentation.jitter[3]) * (2 * math.pi)
        angle = torch.where(applied, turn, 0.0)
    if augmentation.grayscale_p > 0:
        saturation = torch.where(draw.happens(augmentation.grayscale_p), 0.0, saturation)
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
    keep: Tensor  # the luma of a color in all three channels; keep + chroma is the identity
    chroma: Tensor
    turn: Tensor  # the chroma rotated by 90 degrees


@functools.cache
def _constants(device: torch.device) -> _Constants:
    to = torch.tensor(_YIQ, dtype=torch.float64)
    back = torch.linalg.inv(to)
    keep = torch.ones((3, 1), dtype=torch.float64) @ to[:1]
    turn = back[:, 1:] @ torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64) @ to[1:]
    matrices = (to[0], keep, torch.eye(3, dtype=torch.float64) - keep, turn)
    return _Constants(*(m.to(torch.float32).to(device) for m in matrices))
