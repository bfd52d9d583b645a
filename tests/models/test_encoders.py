"""Every encoder of the registry: forward and backward pass, and initial weights."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from torch import nn

from biascon.errors import UsageError
from biascon.models.encoders import ENCODERS, Conv2d, build_encoder, build_head, build_on_meta
from biascon.models.torchvision import import_torchvision

NAMES = list(ENCODERS)
SMALL = [name for name in NAMES if name != "resnet50"]  # resnet50 draws 24 million weights


def make_generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make_images(n, side, seed=0):
    return torch.rand(n, 3, side, side, generator=make_generator(seed)) * 2 - 1


@functools.cache
def get_encoder(name):
    """Return one shared encoder for each name, for tests that do not change its weights."""
    return build_encoder(name, make_generator())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", [28, 32])
def test_encoder_maps_images_to_features_with_gradients(name, side):
    encoder = get_encoder(name).train()
    encoder.zero_grad()
    x = make_images(2, side).requires_grad_()
    features = encoder(x)
    assert features.shape == (2, encoder.dim)
    assert features.dtype == torch.float32
    assert features.std() > 0
    (features * torch.arange(encoder.dim)).sum().backward()
    assert torch.isfinite(x.grad).all()
    for key, parameter in encoder.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
    # Batch norm removes a bias, so that only the gradient of a bias may be 0.
    weights = [p for key, p in encoder.named_parameters() if key.endswith("weight")]
    assert all(p.grad.abs().max() > 0 for p in weights)


@pytest.mark.parametrize("name", NAMES)
def test_encoder_accepts_its_smallest_side(name):
    encoder = get_encoder(name).eval()
    with torch.no_grad():
        features = encoder(make_images(2, encoder.min_side))
    assert features.shape == (2, encoder.dim)
    assert torch.isfinite(features).all()


@pytest.mark.parametrize("name", NAMES)
def test_features_of_an_image_do_not_depend_on_its_batch_in_evaluation(name):
    encoder = get_encoder(name).eval()
    x = make_images(3, 28)
    with torch.no_grad():
        together, alone = encoder(x), encoder(x[1:2])
    assert torch.allclose(together[1:2], alone, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(together[0], together[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", SMALL)
def test_weights_are_those_of_the_generator(name):
    same, other = build_encoder(name, make_generator()), build_encoder(name, make_generator(1))
    drawn = 0
    for (key, a), b, c in zip(
        get_encoder(name).named_parameters(), same.parameters(), other.parameters(), strict=True
    ):
        assert torch.equal(a, b), key
        if "conv" in key or a.ndim > 1:
            drawn += 1
            assert not torch.equal(a, c), key
    assert drawn >= 4


@pytest.mark.parametrize("name", SMALL)
def test_two_encoders_of_one_generator_differ(name):
    shared = make_generator()
    first, second = build_encoder(name, shared), build_encoder(name, shared)
    assert not torch.equal(next(first.parameters()), next(second.parameters()))


@pytest.mark.parametrize("name", NAMES)
def test_global_random_state_is_neither_read_nor_changed(name):
    before = torch.get_rng_state()
    first = build_encoder(name, make_generator())
    assert torch.equal(torch.get_rng_state(), before)
    for key, value in first.state_dict().items():
        assert torch.equal(value, get_fresh_state(name)[key]), key


@functools.cache
def get_fresh_state(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(987)
        return {k: v.clone() for k, v in build_encoder(name, make_generator()).state_dict().items()}


@pytest.mark.parametrize("name", NAMES)
def test_initial_state_is_finite_and_on_the_cpu(name):
    encoder = build_encoder(name, make_generator())
    for key, value in encoder.state_dict().items():
        assert value.device == torch.device("cpu"), key
        assert torch.isfinite(value).all(), key
    for part in encoder.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert (part.weight == 1).all()
            assert not part.bias.any()
            assert not part.running_mean.any()
            assert (part.running_var == 1).all()
            assert part.num_batches_tracked == 0


@pytest.mark.parametrize("name", NAMES)
def test_convolutions_have_the_kaiming_fan_out_deviation(name):
    for part in get_encoder(name).modules():
        if not isinstance(part, nn.Conv2d):
            continue
        weight = part.weight.detach()
        n = weight.numel()
        expected = math.sqrt(2 / (part.out_channels * math.prod(part.kernel_size)))
        # The deviation of n normal draws has the relative standard error 1 / sqrt(2 n).
        assert weight.std().item() == pytest.approx(expected, rel=5 / math.sqrt(2 * n))
        assert abs(weight.mean().item()) < 5 * expected / math.sqrt(n)


def test_simpleconvnet_has_the_layers_of_the_papers():
    body = list(get_encoder("simpleconvnet").body)
    kinds = [type(part).__name__ for part in body]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU"] * 4 + ["AdaptiveAvgPool2d", "Flatten"]
    widths = [3, 16, 32, 64, 128]
    for k, conv in enumerate(body[:12:3]):
        assert (conv.in_channels, conv.out_channels) == (widths[k], widths[k + 1])
        assert (conv.kernel_size, conv.padding, conv.stride) == ((7, 7), (3, 3), (1, 1))
        assert (conv.dilation, conv.groups) == ((1, 1), 1)
        assert conv.bias is not None
        assert body[3 * k + 1].num_features == widths[k + 1]
    assert body[12].output_size == 1
    # 49 (3*16 + 16*32 + 32*64 + 64*128) weights, 240 biases, 2 * 240 of batch norm.
    count = sum(p.numel() for p in get_encoder("simpleconvnet").parameters())
    assert count == 49 * (48 + 512 + 2048 + 8192) + 240 + 480 == 529_920


def test_simpleconvnet_keeps_the_resolution_up_to_the_pooling():
    with torch.no_grad():
        maps = get_encoder("simpleconvnet").body[:12](make_images(2, 28))
    assert maps.shape == (2, 128, 28, 28)


@pytest.mark.parametrize(
    ("name", "dim"), [("resnet18", 512), ("resnet34", 512), ("resnet50", 2048)]
)
def test_resnets_have_a_stem_for_small_images(name, dim):
    encoder = get_encoder(name)
    stem = encoder.body.conv1
    assert (stem.kernel_size, stem.stride, stem.padding) == ((3, 3), (1, 1), (1, 1))
    assert isinstance(encoder.body.maxpool, nn.Identity)
    assert isinstance(encoder.body.fc, nn.Identity)
    assert encoder.dim == dim
    maps = {}
    hook = encoder.body.layer1.register_forward_hook(lambda m, i, o: maps.update(shape=o.shape))
    with torch.no_grad():
        encoder.eval()(make_images(1, 32))
    hook.remove()
    assert maps["shape"][-2:] == (32, 32)  # the stem keeps the resolution


@pytest.mark.parametrize(
    ("name", "dim"), [("resnet18", 512), ("resnet34", 512), ("resnet50", 2048)]
)
def test_imagenet_resnets_have_the_tensors_of_torchvision(name, dim):
    encoder = build_on_meta(f"{name}-imagenet")
    with torch.device("meta"):
        state = getattr(import_torchvision().models, name)(weights=None).state_dict()
    own = {k.removeprefix("body."): v.shape for k, v in encoder.state_dict().items()}
    assert own == {k: v.shape for k, v in state.items() if not k.startswith("fc.")}
    assert (encoder.dim, encoder.min_side) == (dim, 32)


def test_imagenet_encoder_normalizes_its_input():
    encoder = get_encoder("resnet18-imagenet")
    x = torch.tensor([-1.0, 0.0, 1.0])[:, None, None, None].expand(3, 3, 2, 2)  # black, grey, white
    got = encoder.prepare(x)[:, :, 0, 0]
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = (torch.tensor([0.0, 0.5, 1.0])[:, None] - mean) / std
    torch.testing.assert_close(got, expected)
    assert torch.equal(get_encoder("resnet18").prepare(x), x)


def test_the_statistics_of_imagenet_follow_the_network_and_are_not_part_of_its_weights():
    encoder = build_encoder("resnet18-imagenet", make_generator())
    assert {name for name, _ in encoder.named_buffers()} >= {"scale", "shift"}
    assert not {"scale", "shift"} & set(encoder.state_dict())
    elsewhere = encoder.to("meta")
    assert elsewhere.scale.is_meta
    assert elsewhere.shift.is_meta
    x = torch.empty(2, 3, 4, 4, device="meta")  # a tensor of another device would be refused
    assert elsewhere.prepare(x).shape == x.shape


def test_1x1_encoder_does_not_see_neighboring_pixels():
    encoder = build_encoder("resnet18-imagenet-1x1", make_generator()).eval()
    x = make_images(1, 64)
    changed = x.clone()  # in all but every 32nd pixel; the strides select every 32nd
    noise = make_images(1, 64, seed=1)
    mask = torch.ones(64, 64, dtype=torch.bool)
    mask[::32, ::32] = False
    changed[:, :, mask] = noise[:, :, mask]
    with torch.no_grad():
        assert torch.equal(encoder(x), encoder(changed))


def test_unknown_encoder_is_refused_with_the_nearest_one():
    with pytest.raises(UsageError, match="unknown encoder 'resnet81'; did you mean 'resnet18'"):
        build_encoder("resnet81", make_generator())


# Heads


@pytest.mark.parametrize("widths", [(10,), (128, 128), (32, 16, 8)])
def test_head_has_the_requested_widths_with_relu_between(widths):
    head = build_head(24, widths, make_generator())
    linear = [part for part in head if isinstance(part, nn.Linear)]
    assert [part.in_features for part in linear] == [24, *widths[:-1]]
    assert [part.out_features for part in linear] == list(widths)
    kinds = [type(part).__name__ for part in head]
    assert kinds == ["Linear", "ReLU"] * (len(widths) - 1) + ["Linear"]
    out = head(torch.randn(5, 24, generator=make_generator()))
    assert out.shape == (5, widths[-1])
    assert out.min() < 0  # the last layer is not rectified
    out.sum().backward()
    assert all(p.grad.abs().max() > 0 for p in head.parameters())


def test_head_weights_are_uniform_within_one_over_the_root_of_the_inputs():
    layer = build_head(400, (300,), make_generator())[0]
    bound = 1 / math.sqrt(400)
    for values in (layer.weight.detach(), layer.bias.detach()):
        assert 0.95 * bound < values.abs().max() <= bound
        # The deviation of a uniform number is bound / sqrt(3); 300 numbers estimate it within about 3 %.
        assert values.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.12)


def test_head_weights_are_those_of_the_generator():
    before = torch.get_rng_state()
    head, same, other = (build_head(8, (6, 4), make_generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    for a, b, c in zip(head.parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


@pytest.mark.parametrize("widths", [(), (0,), (128, 0), (-1, 8)])
def test_head_without_a_width_of_one_or_more_is_refused(widths):
    with pytest.raises(UsageError, match=r"head widths of 1 or more, but got \["):
        build_head(8, widths, make_generator())


@pytest.mark.parametrize(("side", "kernel"), [(3, 3), (4, 3), (1, 1), (3, 1)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("last", [True, False], ids=["channels-last", "channels-first"])
def test_convolution_of_a_whole_image_equals_torch_convolution(side, kernel, bias, last):
    own = Conv2d(5, 7, kernel, bias=bias).double()
    plain = nn.Conv2d(5, 7, kernel, bias=bias).double()
    plain.load_state_dict(own.state_dict())
    x = torch.rand(4, 5, side, side, dtype=torch.float64, generator=make_generator())
    x = x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    results = []
    for layer in (own, plain):
        leaf = x.clone().requires_grad_()
        out = layer(leaf)
        out.square().sum().backward()
        results.append((out, leaf.grad, *(p.grad for p in layer.parameters())))
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("name", ["simpleconvnet-tanh", "fastconvnet-tanh"])
def test_an_encoder_that_ends_in_tanh_has_features_of_both_signs(name):
    encoder = build_encoder(name, make_generator())
    plain = build_encoder(name.removesuffix("-tanh"), make_generator())
    assert [k for k, layer in enumerate(encoder.body) if isinstance(layer, nn.Tanh)] == [
        max(k for k, layer in enumerate(plain.body) if isinstance(layer, nn.ReLU))
    ]
    assert encoder.state_dict().keys() == plain.state_dict().keys()
    features = encoder(torch.randn(8, 3, 28, 28, generator=make_generator(1)))
    assert (features < 0).any()
    assert (features > 0).any()
    assert features.abs().max() < 1
