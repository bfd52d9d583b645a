"""The batched augmentation: its distribution against kornia's, and its contract."""

from __future__ import annotations

import math

import kornia.augmentation as K
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from biascon.data.builders.biased_mnist import PALETTES
from biascon.errors import UsageError
from biascon.models.preprocess import normalize
from biascon.models.torchvision import import_torchvision
from biascon.training.augment import LUMA, Augmentation, augment

OFF = {"rotation": 0.0, "jitter_p": 0.0, "grayscale_p": 0.0}
IDENTITY = Augmentation(**OFF)
JITTER = (0.4, 0.4, 0.4, 0.1)
LUMA_OF = torch.tensor(LUMA)

quick = settings(max_examples=15, deadline=None, derandomize=True)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(n=4, h=28, w=28, seed=0):
    """Random images: no symmetry that could hide a wrong axis."""
    return torch.randint(0, 256, (n, 3, h, w), generator=generator(seed), dtype=torch.uint8)


def smooth(h=33, w=33, seed=0):
    """One image that changes slowly, so that interpolation is nearly exact; (3, H, W)."""
    coarse = torch.rand(1, 3, 3, 3, generator=generator(seed)) * 255
    fine = torch.nn.functional.interpolate(coarse, (h, w), mode="bilinear", align_corners=True)
    return fine[0].round().to(torch.uint8)


def digits():
    """A white T on each of the ten colours of BiasedMNIST: uint8 (10, 3, 28, 28)."""
    palette = torch.tensor(PALETTES["rebias"], dtype=torch.uint8)
    images = palette[:, :, None, None].repeat(1, 1, 28, 28)
    images[:, :, 4:8, 6:22] = 255
    images[:, :, 8:24, 12:16] = 255
    return images


def in_unit_range(views):
    return (views + 1) / 2


# The distribution, against kornia. Both sides draw GROUPS * COPIES views of each of the ten digits;
# kornia draws one order of the jitter's steps per call, so the sampling error is taken from the
# scatter of GROUPS calls, not of single views.

GROUPS, COPIES = 100, 10
BATCH = (GROUPS, COPIES, 10, 3, 28, 28)


def our_views_of(augmentation, seed=0):
    images = digits().repeat(GROUPS * COPIES, 1, 1, 1)
    return in_unit_range(augment(images, augmentation, generator(seed), views=1)).reshape(BATCH)


def kornia_views_of(steps, seed=1):
    images = digits().repeat(COPIES, 1, 1, 1).to(torch.float32) / 255
    calls = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(GROUPS):
            views = images
            for step in steps:
                views = step(views)
            calls.append(views)
    return torch.stack(calls).reshape(BATCH)


def rotation():
    # kornia's RandomRotation pads with black; RandomAffine is the same with a choice of padding.
    return K.RandomAffine(20, padding_mode="border", align_corners=False, p=1.0)


def crop():
    return K.RandomResizedCrop((28, 28), scale=(0.2, 1.0), align_corners=False)


def jitter(*strengths, p=1.0):
    return K.ColorJitter(*strengths, p=p)


def only_with(**parts):
    return Augmentation(**{**OFF, **parts})


# name -> (augmentation, kornia's steps, bias of a mean, bias of a variance). The bias is what the two may
# differ by beyond sampling error, in any statistic of any digit, in units of the image range.
# Measured with 4,000 views of each digit (standard error at most 0.007):
# - hue turns chroma in YIQ here and in HSV there, which on the saturated palette is not the same
#   colour: the means of a channel differ by up to 0.128 (the blue of orange) and the variances by
#   up to 0.100 (the green of orange); averaged over colours and channels the mean differs by 0.003.
# - the whole jitter adds that values are clamped once, not after every step: up to 0.086 and 0.050
#   (the greys and the untouched, where the two agree, dilute the hue), on average 0.005.
# - kornia's crops are boxes of whole pixels, and it repeats a box's border where here the image
#   goes on: the sharpness differs by 0.001, the ink's mean by 0.02 on average.
SAME = 1e-4  # rounding: the two are the same operation
KORNIA = {
    "brightness": (
        only_with(jitter=(0.4, 0, 0, 0), jitter_p=1),
        [jitter(0.4, 0, 0, 0)],
        SAME,
        SAME,
    ),
    "contrast": (only_with(jitter=(0, 0.4, 0, 0), jitter_p=1), [jitter(0, 0.4, 0, 0)], SAME, SAME),
    "saturation": (
        only_with(jitter=(0, 0, 0.4, 0), jitter_p=1),
        [jitter(0, 0, 0.4, 0)],
        SAME,
        SAME,
    ),
    "hue": (only_with(jitter=(0, 0, 0, 0.1), jitter_p=1), [jitter(0, 0, 0, 0.1)], 0.13, 0.10),
    "jitter": (only_with(jitter=JITTER, jitter_p=0.8), [jitter(*JITTER, p=0.8)], 0.09, 0.055),
    "grey": (only_with(grayscale_p=0.2), [K.RandomGrayscale(p=0.2)], SAME, SAME),
    "rotation": (only_with(rotation=20), [rotation()], SAME, SAME),
    "crop": (only_with(crop_scale=(0.2, 1)), [crop()], 0.02, 0.01),
    "flip": (only_with(flip_p=0.5), [K.RandomHorizontalFlip(p=0.5)], SAME, SAME),
    "default augmentation": (
        Augmentation(),
        [rotation(), jitter(*JITTER, p=0.8), K.RandomGrayscale(p=0.2)],
        0.09,
        0.055,
    ),
    "crop, flip and colour": (
        Augmentation(crop_scale=(0.2, 1), flip_p=0.5, rotation=0),
        [crop(), K.RandomHorizontalFlip(), jitter(*JITTER, p=0.8), K.RandomGrayscale(p=0.2)],
        0.10,
        0.06,
    ),
}


def statistics_of(views):
    """Numbers of one view: colour of a corner, the ink's middle and the whole, and its sharpness."""
    return torch.cat(
        (
            views[..., 1, 1],
            views[..., 13, 14],
            views.mean(dim=(-1, -2)),
            (views[..., 1:] - views[..., :-1]).abs().mean(dim=(-1, -2, -3))[..., None],
        ),
        dim=-1,
    ).double()  # (GROUPS, COPIES, 10, 10)


def mean_and_error(values):
    """Mean over all views and its standard error from the scatter of the groups."""
    groups = values.mean(dim=1)
    return groups.mean(dim=0), groups.std(dim=0) / math.sqrt(GROUPS)


def excess(a, b):
    """By how much two means differ beyond five standard errors, at worst."""
    (mean_a, error_a), (mean_b, error_b) = mean_and_error(a), mean_and_error(b)
    return ((mean_a - mean_b).abs() - 5 * (error_a**2 + error_b**2).sqrt()).max().item()


@pytest.mark.parametrize("part", KORNIA)
def test_mean_and_variance_equal_those_of_kornia_up_to_the_stated_bias(part):
    augmentation, steps, bias_of_mean, bias_of_variance = KORNIA[part]
    a, b = statistics_of(our_views_of(augmentation)), statistics_of(kornia_views_of(steps))
    assert excess(a, b) <= bias_of_mean
    spread_a, spread_b = ((x - x.mean(dim=(0, 1))) ** 2 for x in (a, b))
    assert excess(spread_a, spread_b) <= bias_of_variance


@pytest.fixture(scope="module")
def default_views():
    """Return views of the default augmentation, by biascon and by kornia."""
    augmentation, steps, _, _ = KORNIA["default augmentation"]
    return our_views_of(augmentation), kornia_views_of(steps)


def test_color_survives_jitter_about_as_often_as_in_kornia(default_views):
    # The share of views whose background is still nearest to its own colour of the ten, which is
    # what a network could read off: measured 0.606 here and 0.520 under kornia, standard error
    # 0.005 each. The YIQ turn moves the palette's colours less far than the HSV shift.
    palette = torch.tensor(PALETTES["rebias"]) / 255

    def own_color_share(views):
        nearest = torch.cdist(views[..., 1, 1], palette).argmin(dim=-1)
        return (nearest == torch.arange(10)).float().mean().item()

    our_share, kornia_share = map(own_color_share, default_views)
    assert 0.06 < our_share - kornia_share < 0.11
    assert our_share == pytest.approx(0.606, abs=0.025)


def test_values_fill_the_same_range_as_in_kornia(default_views):
    for views in default_views:
        assert (views.min().item(), views.max().item()) == (0, 1)


# Mid-tones that no draw of the jitter can push out of the range, so that nothing is clamped.
def pastel(n, h=6, w=8):
    top = torch.tensor([150, 110, 100], dtype=torch.uint8)
    bottom = torch.tensor([100, 120, 140], dtype=torch.uint8)
    images = top[:, None, None].repeat(n, 1, h, w)
    images[:, :, h // 3 :] = bottom[:, None, None]
    return images


@pytest.mark.parametrize("jitter_p", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("grayscale_p", [0.0, 0.2, 1.0])
def test_shares_of_untouched_and_gray_views_are_the_probabilities(jitter_p, grayscale_p):
    n = 4000
    images = pastel(n)
    augmentation = only_with(jitter=JITTER, jitter_p=jitter_p, grayscale_p=grayscale_p)
    our_views = in_unit_range(augment(images, augmentation, generator(5), views=1))
    steps = [jitter(*JITTER, p=jitter_p), K.RandomGrayscale(p=grayscale_p)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        kornia_views = steps[1](steps[0](images / 255))
    expected = {"untouched": (1 - jitter_p) * (1 - grayscale_p), "grey": grayscale_p}
    for views in (our_views, kornia_views):
        shares = {
            "untouched": (views - images / 255).abs().amax(dim=(1, 2, 3)) < 1e-5,
            "grey": (views.amax(dim=1) - views.amin(dim=1)).amax(dim=(1, 2)) < 1e-5,
        }
        for kind, share in expected.items():
            error = math.sqrt(share * (1 - share) / n)
            assert shares[kind].float().mean().item() == pytest.approx(share, abs=5 * error + 1e-9)


# The draws, read back from the views


def uniform(values, low, high):
    """Whether a sample may be uniform in [low, high]: bounds, and a Kolmogorov-Smirnov test."""
    values = values.double()
    assert values.min() > low - 1e-3
    assert values.max() < high + 1e-3
    return stats.kstest(values.numpy(), stats.uniform(low, high - low).cdf).pvalue > 1e-3


def test_jitter_draws_four_independent_uniform_strengths():
    # Nothing is clamped, so brightness b, contrast c, saturation s and hue angle h can be solved for:
    # the mean luma is scaled by b, a luma difference by b c, chroma by b c s and turned by h.
    n = 4000
    strengths = (0.2, 0.3, 0.4, 0.05)
    images = pastel(n)
    views = in_unit_range(
        augment(images, only_with(jitter=strengths, jitter_p=1), generator(7), views=1)
    )
    to_iq = torch.tensor([[0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])

    def measures(x):
        luma = torch.einsum("c,nchw->nhw", LUMA_OF, x)
        i, q = torch.einsum("kc,nc->nk", to_iq, x[:, :, 0, 0]).unbind(dim=1)
        return luma.mean(dim=(1, 2)), luma[:, 0, 0] - luma[:, -1, -1], torch.complex(i, q)

    (mean, gap, chroma), (mean_0, gap_0, chroma_0) = measures(views), measures(images / 255)
    b = mean / mean_0
    c = gap / gap_0 / b
    turned = chroma / chroma_0
    s = turned.abs() / (b * c)
    h = turned.angle() / (2 * math.pi)
    assert uniform(b, 0.8, 1.2)
    assert uniform(c, 0.7, 1.3)
    assert uniform(s, 0.6, 1.4)
    assert uniform(h, -0.05, 0.05)
    correlations = torch.corrcoef(torch.stack((b, c, s, h))) - torch.eye(4)
    assert correlations.abs().max() < 5 / math.sqrt(n)


def test_strength_above_one_does_not_make_a_factor_negative():
    # Factors in 0..4; were they in -2..4, a third of the views would be black.
    views = augment(pastel(500), only_with(jitter=(3.0, 0, 0, 0), jitter_p=1), generator(), views=1)
    brightest = in_unit_range(views).amax(dim=(1, 2, 3))
    assert (brightest < 1e-3).float().mean() < 0.02
    assert brightest.min() < 0.1
    assert brightest.max() == 1


def test_rotation_turns_the_image_as_a_rigid_body_by_a_uniform_angle():
    # The center of mass of a dot, in pixels from the middle of an image that is not square.
    n, h, w, radius = 4000, 41, 61, 12
    y = torch.arange(h)[:, None] - (h - 1) / 2
    x = torch.arange(w)[None, :] - (w - 1) / 2
    dot = 255 * torch.exp(-((x - radius) ** 2 + y**2) / 8)
    images = dot.round().to(torch.uint8).expand(n, 3, h, w)
    views = in_unit_range(augment(images, only_with(rotation=30), generator(8), views=1))[
        :, 0
    ].double()
    mass = views.sum(dim=(1, 2))
    dot_x, dot_y = (views * x).sum(dim=(1, 2)) / mass, (views * y).sum(dim=(1, 2)) / mass
    assert torch.hypot(dot_x, dot_y).sub(radius).abs().max() < 0.05
    assert uniform(torch.rad2deg(torch.atan2(dot_y, dot_x)), -30, 30)


def test_among_many_rotations_are_the_quarter_turns():
    # Of 3,000 angles in -180..180 the nearest to a quarter turn is some 0.06 degrees off.
    image = smooth()
    views = augment(image.expand(3000, -1, -1, -1), only_with(rotation=180), generator(9), views=1)
    still = normalize(image[None])
    inside = (slice(None), slice(None), slice(3, -3), slice(3, -3))
    for turns in range(4):
        turned = torch.rot90(still, turns, dims=(2, 3))
        nearest = (views - turned)[inside].abs().amax(dim=(1, 2, 3)).min()
        assert nearest < 0.02
        assert turns == 0 or (turned - still)[inside].abs().max() > 0.5


def ramps(h, w):
    """An image that tells where it was sampled: red grows with x, green with y, by 4 a pixel."""
    image = torch.zeros(3, h, w, dtype=torch.uint8)
    image[0] = 4 * torch.arange(w, dtype=torch.uint8)
    image[1] = 4 * torch.arange(h, dtype=torch.uint8)[:, None]
    return image


def boxes(augmentation, n, h=60, w=60, seed=0):
    """Left, top, width and height of n crops, in pixels, read back from the views of ``ramps``."""
    views = in_unit_range(
        augment(ramps(h, w).expand(n, -1, -1, -1), augmentation, generator(seed), views=1)
    ).double()
    x, y = views[:, 0, h // 2] * 255 / 4 + 0.5, views[:, 1, :, w // 2] * 255 / 4 + 0.5  # in pixels
    start, end = w // 4, w - 1 - w // 4  # away from the border, where the ramp is cut off
    width = (x[:, end] - x[:, start]) / (end - start) * w
    left = x[:, start] - (start + 0.5) / w * width
    start, end = h // 4, h - 1 - h // 4
    height = (y[:, end] - y[:, start]) / (end - start) * h
    top = y[:, start] - (start + 0.5) / h * height
    return left, top, width, height


@pytest.mark.parametrize(("h", "w"), [(60, 60), (40, 60), (60, 30)])
def test_crops_are_distributed_as_in_torchvision(h, w):
    n, scale, ratio = 2000, (0.2, 1.0), (3 / 4, 4 / 3)
    left, top, width, height = boxes(only_with(crop_scale=scale), n, h, w)
    assert min(left.min(), top.min()) > -1e-2
    assert (left + width).max() < w + 1e-2
    assert (top + height).max() < h + 1e-2
    area = width * height / (h * w)
    assert scale[0] - 1e-3 < area.min() < 0.21
    assert scale[1] + 1e-3 > area.max()
    assert ratio[0] - 1e-2 < (width / height).min() < (width / height).max() < ratio[1] + 1e-2

    # torchvision draws whole pixels: an image 20 times as large makes that negligible.
    large = torch.empty(3, 20 * h, 20 * w, device="meta")
    import_torchvision()
    from torchvision.transforms import RandomResizedCrop

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        torchvision_boxes = [
            RandomResizedCrop.get_params(large, list(scale), list(ratio)) for _ in range(n)
        ]
    tv_top, tv_left, tv_height, tv_width = (torch.tensor(torchvision_boxes).double() / 20).T
    pairs = {
        "left": (left, tv_left),
        "top": (top, tv_top),
        "area": (width * height, tv_width * tv_height),
        "ratio": (width / height, tv_width / tv_height),
        "center": (left + width / 2, tv_left + tv_width / 2),
    }
    for name, (a, b) in pairs.items():
        assert stats.ks_2samp(a.numpy(), b.numpy()).pvalue > 1e-3, name


@pytest.mark.parametrize(("h", "w"), [(8, 60), (60, 8)])
def test_crop_of_an_image_too_long_for_any_box_is_the_central_one(h, w):
    left, top, width, height = boxes(only_with(crop_scale=(0.99, 1.0)), 3, h, w)
    long, short = max(h, w), min(h, w)
    box = torch.stack((left, top, width, height), dim=1)
    start, side = (long - short * 4 / 3) / 2, short * 4 / 3
    expected = [start, 0, side, short] if w > h else [0, start, short, side]
    assert torch.allclose(box, torch.tensor(expected).double(), atol=0.02)


def test_crop_keeps_its_position_under_a_flip():
    plain = augment(noise(), only_with(crop_scale=(0.2, 1)), generator(), views=1)
    assert plain.shape == (4, 3, 28, 28)
    left, _, width, _ = boxes(only_with(crop_scale=(0.2, 1), flip_p=1.0), 500)
    assert (width < 0).all()  # mirrored
    assert (left <= 60.01).all()
    assert (left + width >= -0.01).all()


def test_flip_mirrors_left_and_right():
    images = noise(h=20, w=28)
    views = augment(images, only_with(flip_p=1.0), generator(), views=1)
    assert torch.allclose(views, normalize(images).flip(3), atol=1e-4)


def test_flip_happens_with_its_probability():
    n, p = 3000, 0.3
    image = noise(1, 4, 4)
    views = augment(image.expand(n, -1, -1, -1), only_with(flip_p=p), generator(), views=1)
    flipped = (views - normalize(image).flip(3)).abs().amax(dim=(1, 2, 3)) < 1e-4
    still = (views - normalize(image)).abs().amax(dim=(1, 2, 3)) < 1e-4
    assert (flipped ^ still).all()
    share = flipped.float().mean().item()
    assert share == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / n))


def test_gray_views_hold_the_luma_of_the_image():
    images = noise()
    views = augment(images, only_with(grayscale_p=1.0), generator(), views=1)
    luma = torch.einsum("c,nchw->nhw", LUMA_OF, normalize(images))
    assert torch.allclose(views, luma[:, None].expand_as(views), atol=1e-5)


def test_white_and_black_stay_inside_a_constant_image():
    # The border is repeated, not padded with black: a constant image stays constant.
    for level in (0, 255):
        images = torch.full((8, 3, 28, 28), level, dtype=torch.uint8)
        views = augment(
            images, Augmentation(rotation=180, crop_scale=(0.2, 1), jitter_p=0), generator()
        )
        assert torch.allclose(views, normalize(images[:1]).expand_as(views), atol=1e-5)


# The contract


@quick
@given(
    b=st.integers(0, 4),
    h=st.integers(1, 20),
    w=st.integers(1, 20),
    views=st.integers(1, 3),
    crop_low=st.sampled_from([0.2, 1.0]),
    degrees=st.sampled_from([0, 20, 180]),
    p=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 10**6),
)
def test_views_of_any_image_have_shape_dtype_layout_and_range(
    b, h, w, views, crop_low, degrees, p, seed
):
    augmentation = Augmentation(
        crop_scale=(crop_low, 1),
        rotation=degrees,
        flip_p=p,
        jitter=(1.5, 1.5, 1.5, 0.5),
        grayscale_p=p,
    )
    images = noise(b, h, w, seed)
    before = images.clone()
    out = augment(images, augmentation, generator(seed), views)
    assert out.shape == (b * views, 3, h, w)
    assert out.dtype == torch.float32
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert torch.isfinite(out).all()
    assert b == 0 or (out.min() >= -1 and out.max() <= 1)
    assert torch.equal(images, before)


def test_identity_augmentation_is_normalization_of_every_view():
    images = noise()
    views = augment(images, IDENTITY, generator(), views=3)
    # Row b * V + v is view v of image b.
    assert torch.allclose(views, normalize(images).repeat_interleave(3, dim=0), atol=1e-6)


def test_full_crop_ranges_and_zero_strengths_change_nothing():
    images = noise()
    for augmentation in (
        only_with(jitter=(0, 0, 0, 0), jitter_p=1.0),
        only_with(crop_scale=(1.0, 1.0), crop_ratio=(0.1, 10.0)),
    ):
        assert torch.allclose(
            augment(images, augmentation, generator(), 1), normalize(images), atol=1e-6
        )


def test_normalize_maps_bytes_to_the_range_of_minus_one_to_one():
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(2, 3, 16, 16)
    out = normalize(images)
    expected = torch.linspace(-1, 1, 256).reshape(16, 16).expand(2, 3, 16, 16)
    assert torch.allclose(out, expected, atol=1e-6)
    assert out.dtype == torch.float32
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_same_generator_state_gives_the_same_bytes():
    augmentation = Augmentation(crop_scale=(0.2, 1), flip_p=0.5)
    source = generator(3)
    state = source.get_state()
    first = augment(noise(), augmentation, source)
    second = augment(noise(), augmentation, source)
    assert not torch.equal(first, second)
    source.set_state(state)
    assert torch.equal(augment(noise(), augmentation, source), first)
    assert torch.equal(augment(noise(), augmentation, generator(3)), first)
    assert not torch.equal(augment(noise(), augmentation, generator(4)), first)


def test_memory_layout_of_the_input_does_not_matter():
    images = noise(h=20, w=28)
    turned = images.contiguous(memory_format=torch.channels_last)
    augmentation = Augmentation(crop_scale=(0.2, 1))
    contiguous, channels_last = (augment(x, augmentation, generator(), 2) for x in (images, turned))
    assert torch.allclose(contiguous, channels_last, atol=1e-5)


def test_global_random_state_is_neither_read_nor_changed():
    before = torch.get_rng_state()
    first = augment(noise(), Augmentation(crop_scale=(0.2, 1), flip_p=0.5), generator())
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12345)
        again = augment(noise(), Augmentation(crop_scale=(0.2, 1), flip_p=0.5), generator())
    assert torch.equal(first, again)


ONE_PART = {
    "brightness": only_with(jitter=(0.4, 0, 0, 0), jitter_p=1),
    "contrast": only_with(jitter=(0, 0.4, 0, 0), jitter_p=1),
    "saturation": only_with(jitter=(0, 0, 0.4, 0), jitter_p=1),
    "hue": only_with(jitter=(0, 0, 0, 0.1), jitter_p=1),
    "rotation": only_with(rotation=20),
    "crop": only_with(crop_scale=(0.2, 1)),
}


@pytest.mark.parametrize("part", ONE_PART)
def test_every_view_of_every_copy_of_an_image_has_draws_of_its_own(part):
    images = noise(1).expand(6, -1, -1, -1)
    views = augment(images, ONE_PART[part], generator(), views=3).flatten(1)
    apart = torch.cdist(views, views) + 1e9 * torch.eye(18)
    assert apart.min() > 0.01


@pytest.mark.parametrize(
    "augmentation", [only_with(flip_p=0.5), only_with(grayscale_p=0.5)], ids=["flip", "grey"]
)
def test_every_view_flips_its_own_coin(augmentation):
    images = noise(1).expand(64, -1, -1, -1)
    views = augment(images, augmentation, generator(), views=2).reshape(64, 2, -1)
    touched = (views - normalize(images).reshape(64, 1, -1)).abs().amax(dim=2) > 1e-3
    counts = torch.bincount(2 * touched[:, 0].int() + touched[:, 1].int(), minlength=4)
    assert (counts > 4).all()  # all four outcomes of two coins; 16 are expected of each


# Errors


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 3, 8, 8),
        torch.zeros(2, 1, 8, 8, dtype=torch.uint8),
        torch.zeros(2, 8, 8, 3, dtype=torch.uint8),
        torch.zeros(3, 8, 8, dtype=torch.uint8),
        torch.zeros(2, 3, 8, 8, dtype=torch.int64),
    ],
    ids=["float", "one channel", "channels last", "one image", "int64"],
)
def test_images_other_than_a_uint8_batch_are_refused(images):
    expected = r"expected images as uint8 of shape \(N, 3, H, W\), but got torch\."
    with pytest.raises(UsageError, match=expected):
        augment(images, IDENTITY, generator())
    with pytest.raises(UsageError, match=expected):
        normalize(images)


@pytest.mark.parametrize("views", [0, -1])
def test_fewer_than_one_view_is_refused(views):
    with pytest.raises(UsageError, match=f"views to be 1 or more, but got {views}"):
        augment(noise(), IDENTITY, generator(), views)


BAD = [
    *[
        ("crop_scale", value)
        for value in [(0, 1), (-0.1, 1), (0.5, 0.2), (0.5, 1.5), (math.nan, 1)]
    ],
    *[("crop_ratio", value) for value in [(0, 1), (-1, 1), (2, 1), (math.nan, 1)]],
    *[("rotation", value) for value in [-1, 181, math.nan, math.inf]],
    *[
        (key, value)
        for key in ("flip_p", "jitter_p", "grayscale_p")
        for value in [-0.1, 1.1, math.nan]
    ],
    *[
        ("jitter", value)
        for value in [(0.4, 0.4, 0.4), (0.4,) * 5, (-0.1, 0, 0, 0), (0, 0, 0, 0.6)]
    ],
    *[("jitter", tuple(math.nan if i == k else 0.1 for i in range(4))) for k in range(4)],
    ("jitter", (math.inf, 0, 0, 0)),
    ("crop_ratio", (0.5, math.inf)),
]


@pytest.mark.parametrize(("key", "value"), BAD, ids=[f"{key}={value}" for key, value in BAD])
def test_augmentation_out_of_range_is_refused(key, value):
    named = "probability" if key.endswith("_p") else key
    with pytest.raises(UsageError, match=f"expected .*{named}.* but got") as caught:
        Augmentation(**{key: value})
    assert key in str(caught.value)


def test_augmentation_at_the_edge_of_the_range_is_accepted():
    Augmentation(
        crop_scale=(1e-3, 1e-3),
        crop_ratio=(1, 1),
        rotation=180,
        flip_p=1,
        jitter=(0, 0, 0, 0.5),
        jitter_p=0,
        grayscale_p=1,
    )
