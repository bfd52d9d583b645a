"""FSCL, Correct-n-Contrast, LISA and logit correction: oracles, both engines, empty sets, signs."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from torch.nn import functional as F

from biascon.errors import UsageError
from biascon.losses import blockwise, pairwise
from biascon.losses.cnc import cnc
from biascon.losses.cross_entropy import cross_entropy
from biascon.losses.fscl import fscl
from biascon.losses.lc import lc
from biascon.losses.lisa import lisa
from biascon.losses.reweighting import biasbal
from biascon.losses.supcon import supcon
from tests.losses import oracles_new as oracles
from tests.losses.batches import DEGENERATE

PAIRWISE = {
    "fscl": (fscl, oracles.fscl, {"temperature": 0.1, "group_norm": False}),
    "fscl warm": (fscl, oracles.fscl, {"temperature": 0.7, "group_norm": False}),
    "fscl+": (fscl, oracles.fscl, {"temperature": 0.1, "group_norm": True}),
    "cnc": (cnc, oracles.cnc, {"temperature": 0.05, "contrast_weight": 0.75}),
    "cnc alone": (cnc, oracles.cnc, {"temperature": 0.3, "contrast_weight": 1.0}),
}
each_pairwise = pytest.mark.parametrize("name", PAIRWISE)
ROWS = 64  # rows of the smallest block


def draw_batch(b, v, *, seed=0, d=6, k=3, labels=None, bias=None, dtype=torch.float64):
    """Return unit vectors ``(b, v, d)``, labels, bias values and logits ``(b, v, k)``."""
    draw = torch.Generator().manual_seed(seed)

    def ids(given):
        drawn = torch.randint(k, (b,), generator=draw)
        return drawn if given is None else torch.as_tensor(given)

    z = F.normalize(torch.randn(b, v, d, generator=draw, dtype=torch.float64), dim=-1)
    labels, bias = ids(labels), ids(bias)
    n_classes = max(k, int(labels.max()) + 1) if b else k
    logits = torch.randn(b, v, n_classes, generator=draw, dtype=torch.float64)
    return z.to(dtype), labels, bias, logits.to(dtype)


def bind(name, logits):
    """Return a pairwise loss as a function of z, labels and bias values."""
    function, _, parameters = PAIRWISE[name]
    more = {"logits": logits} if function is cnc else {}
    return functools.partial(function, **more, **parameters)


def ask_oracle(name, z, labels, bias, logits):
    _, oracle, parameters = PAIRWISE[name]
    more = {"logits": logits.double().tolist()} if oracle is oracles.cnc else {}
    lists = z.double().tolist(), labels.tolist(), bias.tolist()
    return oracle(*lists, **more, **parameters)


def value_and_gradient(name, z, labels, bias, logits):
    leaf = z.clone().requires_grad_()
    value = bind(name, logits)(leaf, labels, bias)
    assert value.shape == ()
    return value.item(), torch.autograd.grad(value, leaf)[0]


@each_pairwise
@pytest.mark.parametrize("shape", [(12, 1), (7, 2), (5, 3), (20, 2)])
@pytest.mark.parametrize("seed", range(3))
def test_a_pairwise_loss_equals_its_double_loop(name, shape, seed):
    batch = draw_batch(*shape, seed=seed)
    expected = ask_oracle(name, *batch)
    assert expected is not None
    value, gradient = value_and_gradient(name, *batch)
    assert value == pytest.approx(expected, rel=1e-10)
    assert gradient.abs().max() > 0


@each_pairwise
@pytest.mark.parametrize("case", DEGENERATE)
def test_a_pairwise_loss_without_pairs_is_finite(name, case):
    shape = {"v": 2, "labels": None, "bias": None, **DEGENERATE[case]}
    batch = draw_batch(shape["b"], shape["v"], labels=shape["labels"], bias=shape["bias"], k=4)
    expected = ask_oracle(name, *batch)
    value, gradient = value_and_gradient(name, *batch)
    assert value == pytest.approx(expected or 0.0, rel=1e-10, abs=1e-12)
    assert torch.isfinite(gradient).all()
    if expected is None:
        assert value == 0.0
        assert not gradient.any()


@each_pairwise
@pytest.mark.parametrize("shape", [(0, 2), (3, 0), (1, 1)])
def test_a_pairwise_loss_of_an_empty_batch_is_finite(name, shape):
    value, gradient = value_and_gradient(name, *draw_batch(*shape))
    assert value == value
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["fscl", "fscl+"])
def test_fscl_without_any_negative_has_no_gradient(name):
    z, _, _, logits = draw_batch(6, 2)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    value, gradient = value_and_gradient(name, z, labels, labels, logits)
    assert value == 0.0
    assert not gradient.any()


@each_pairwise
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_pairwise_loss_accepts_every_precision(name, dtype):
    z, labels, bias, logits = draw_batch(12, 2, dtype=dtype)
    value, gradient = value_and_gradient(name, z, labels, bias, logits)
    assert value == pytest.approx(ask_oracle(name, z, labels, bias, logits), rel=1e-3)
    assert gradient.dtype == dtype
    assert torch.isfinite(gradient).all()


@each_pairwise
def test_a_pairwise_loss_has_the_gradient_of_its_value(name):
    z, labels, bias, logits = draw_batch(
        6, 2, k=2, labels=[0, 0, 0, 1, 1, 1], bias=[0, 1, 0, 0, 1, 1]
    )
    z.requires_grad_()
    function = bind(name, logits)
    assert torch.autograd.gradcheck(lambda x: function(x, labels, bias), (z,))


def refuse_full_matrix(*_):
    raise AssertionError("the full matrix of similarities was computed")


@each_pairwise
@pytest.mark.parametrize("n_anchors", [200, 1300])
def test_blocks_of_rows_give_the_numbers_of_the_full_matrix(name, n_anchors, monkeypatch):
    b = n_anchors // 2
    labels = torch.arange(b) % 4
    bias = torch.where(torch.arange(b) % 7 == 0, (labels + 1) % 4, labels)
    batch = draw_batch(b, 2, labels=labels, bias=bias)
    with monkeypatch.context() as patch:
        patch.setattr(pairwise, "DENSE", {"cpu": 10**6})
        patch.setattr(pairwise, "PLAIN", {"cpu": 10**6})
        expected, expected_gradient = value_and_gradient(name, *batch)
    monkeypatch.setattr(pairwise, "DENSE", {"cpu": 0})
    monkeypatch.setattr(pairwise.Anchors, "similarities", refuse_full_matrix)
    monkeypatch.setattr(blockwise, "CACHE", ROWS)
    value, gradient = value_and_gradient(name, *batch)
    assert value == pytest.approx(expected, rel=1e-9)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-7, atol=1e-10)


@each_pairwise
def test_a_large_batch_uses_blocks_by_default(name, monkeypatch):
    monkeypatch.setattr(pairwise.Anchors, "similarities", refuse_full_matrix)
    value, gradient = value_and_gradient(name, *draw_batch(700, 2))
    assert value > 0
    assert torch.isfinite(gradient).all()


@each_pairwise
def test_the_order_of_the_images_does_not_matter(name):
    z, labels, bias, logits = draw_batch(15, 2)
    order = torch.randperm(15, generator=torch.Generator().manual_seed(1))
    value, _ = value_and_gradient(name, z, labels, bias, logits)
    other, _ = value_and_gradient(name, z[order], labels[order], bias[order], logits[order])
    assert other == pytest.approx(value, rel=1e-12)


@each_pairwise
def test_a_missing_bias_attribute_is_refused(name):
    z, labels, _, logits = draw_batch(4, 2)
    with pytest.raises(UsageError, match="needs the bias attribute"):
        bind(name, logits)(z, labels, None)


def place(angles):
    """Return unit vectors ``(B, 1, 2)`` at these angles."""
    angles = torch.as_tensor(angles, dtype=torch.float64)
    return torch.stack((angles.cos(), angles.sin()), dim=-1)[:, None]


def derivative(function, angles, index):
    """Return the derivative of a loss with respect to one angle."""
    angles = torch.tensor(angles, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(function(place(angles)), angles)[0][index].item()


LABELS, VALUES = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 0, 1])


def test_fscl_pushes_only_negatives_with_the_same_bias_value():
    # Image 2 has another label and the bias value of images 0 and 1. Image 3 has another bias value.
    only_first = functools.partial(fscl, labels=LABELS, bias=VALUES)
    assert derivative(only_first, [0.0, 0.0, 0.5, 0.7], 2) < 0
    one_label = torch.tensor([0, 0, 1, 2])
    without_pair = functools.partial(fscl, labels=one_label, bias=VALUES)
    assert derivative(without_pair, [0.0, 0.0, 0.5, 0.7], 3) == 0.0


def test_fscl_pulls_positives_of_both_bias_values():
    labels, bias = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 0])
    loss = functools.partial(fscl, labels=labels, bias=bias)
    assert derivative(loss, [0.0, 0.5, 3.0], 1) > 0


def test_fscl_with_one_bias_value_is_supcon_without_positives_in_the_denominator():
    z = torch.ones(6, 1, 1, dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 0, 1, 1])
    value = fscl(z, labels, torch.zeros_like(labels)).item()
    assert value == pytest.approx((4 * math.log(2) + 2 * math.log(4)) / 6, rel=1e-12)
    assert supcon(z, labels).item() == pytest.approx(math.log(5), rel=1e-12)


def test_fscl_plus_has_the_scale_of_the_authors_code_for_two_labels_and_two_values():
    """Their weights are 1 / (n - 1) for positives of a group of n, and N / (8 n) for its anchors.

    They differ from the formula by n / (n - 1) for positives of another group, here at most 1 / 30.
    """
    labels, bias = torch.tensor([0] * 40 + [1] * 40), torch.tensor(([0] * 24 + [1] * 16) * 2)
    z, *_ = draw_batch(80, 2, labels=labels, bias=bias)
    flat, y, b = z.reshape(160, -1), labels.repeat_interleave(2), bias.repeat_interleave(2)
    sizes = torch.where(b == 0, 48, 32)
    total = 0.0
    for i in range(160):
        s = flat @ flat[i] / 0.1
        negatives = s[(y != y[i]) & (b == b[i])].exp().sum().log()
        positives = (y == y[i]) & (torch.arange(160) != i)
        value = ((negatives - s) / (sizes - 1))[positives].sum()
        total += value.item() * 160 / 8 / sizes[i].item() / 160
    assert fscl(z, labels, bias, group_norm=True).item() == pytest.approx(total, rel=1 / 30)


def test_fscl_plus_weighs_every_group_equally():
    """At equal similarities, an anchor has log n, n the number of images in its group."""
    labels, bias = torch.tensor([0] * 32 + [1] * 32), torch.tensor(([0] * 30 + [1] * 2) * 2)
    z = torch.ones(64, 1, 1, dtype=torch.float64)
    plain = fscl(z, labels, bias).item()
    assert plain == pytest.approx((30 * math.log(30) + 2 * math.log(2)) / 32, rel=1e-12)
    plus = fscl(z, labels, bias, group_norm=True).item()
    assert plus == pytest.approx((math.log(30) + math.log(2)) / 2, rel=1e-12)


def test_fscl_plus_gives_each_group_of_positives_the_same_weight():
    """Images 0 and 1 alone have a negative. Each has one positive in its group and two in the other."""
    labels, bias = torch.tensor([0, 0, 0, 0, 1]), torch.tensor([0, 0, 1, 1, 0])
    z = place([0.0, 0.4, 0.9, 1.3, 2.0])
    s = z[:, 0] @ z[:, 0].T / 0.1
    own, other = s[0, 1], s[:2, 2:4].sum(dim=1).mean()
    plain, plus = fscl(z, labels, bias).item(), fscl(z, labels, bias, group_norm=True).item()
    gap = (own + other) / 3 - (own / 2 + other / 4)
    assert abs(gap) > 0.1
    assert plus - plain == pytest.approx(gap.item(), rel=1e-10)


def test_cnc_pulls_the_same_label_with_another_prediction_only():
    labels, predictions = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 0])
    logits = torch.zeros(3, 1, 2, dtype=torch.float64)
    loss = functools.partial(
        cnc, labels=labels, bias=predictions, logits=logits, contrast_weight=1.0
    )
    assert derivative(loss, [0.0, 0.5, 0.8], 1) > 0
    assert derivative(loss, [0.0, 0.5, 0.8], 2) < 0
    same = functools.partial(
        cnc, labels=labels, bias=torch.zeros(3).long(), logits=logits, contrast_weight=1.0
    )
    assert derivative(same, [0.0, 0.5, 0.8], 1) == 0.0


def test_cnc_with_right_predictions_is_weighted_cross_entropy():
    z, labels, _, logits = draw_batch(8, 2)
    value = cnc(z, labels, labels, logits=logits, contrast_weight=0.75)
    assert value.item() == pytest.approx(0.25 * cross_entropy(logits, labels).item(), rel=1e-12)


def draw_mixed(b=7, v=2, k=4, m=5, seed=0, dtype=torch.float64):
    """Return logits, labels, bias values, and the inputs of the losses on mixed images."""
    draw = torch.Generator().manual_seed(seed)
    labels, partners = (torch.randint(k, (b,), generator=draw) for _ in range(2))
    bias, partner_bias = (torch.randint(m, (b,), generator=draw) for _ in range(2))
    logits = 2 * torch.randn(b, v, k, generator=draw, dtype=torch.float64)
    counts = torch.randint(0, 30, (k, m), generator=draw)
    counts[:, 0] = 0
    mix = torch.rand(b, generator=draw, dtype=torch.float64)
    return logits.to(dtype), labels, bias, partners, partner_bias, counts, mix


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("seed", range(3))
def test_the_losses_on_mixed_images_equal_their_loops(dtype, seed):
    logits, labels, bias, partners, partner_bias, counts, mix = draw_mixed(seed=seed, dtype=dtype)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    lists = logits.double().tolist(), labels.tolist(), bias.tolist()
    expected = oracles.lisa(*lists, partner_labels=partners.tolist(), mix=mix.tolist())
    value = lisa(logits, labels, bias, partner_labels=partners, mix=mix)
    assert value.item() == pytest.approx(expected, rel=tolerance)
    more = {"counts": counts.tolist(), "partner_bias": partner_bias.tolist(), "mix": mix.tolist()}
    value = lc(logits, labels, bias, counts=counts, partner_bias=partner_bias, mix=mix)
    assert value.item() == pytest.approx(oracles.lc(*lists, **more), rel=tolerance)


def test_the_losses_on_mixed_images_have_the_gradient_of_their_value():
    logits, labels, bias, partners, partner_bias, counts, mix = draw_mixed()
    logits.requires_grad_()
    more = {"counts": counts, "partner_bias": partner_bias, "mix": mix}
    assert torch.autograd.gradcheck(
        lambda x: lisa(x, labels, partner_labels=partners, mix=mix), (logits,)
    )
    assert torch.autograd.gradcheck(lambda x: lc(x, labels, bias, **more), (logits,))


@pytest.mark.parametrize("shape", [(0, 2), (3, 0)])
def test_the_losses_on_mixed_images_of_an_empty_batch_are_zero(shape):
    logits, labels, bias, partners, partner_bias, counts, mix = draw_mixed(*shape)
    logits.requires_grad_()
    own = lisa(logits, labels, partner_labels=partners, mix=mix)
    corrected = lc(logits, labels, bias, counts=counts, partner_bias=partner_bias, mix=mix)
    assert own.item() == corrected.item() == 0.0
    assert not torch.autograd.grad(own + corrected, logits)[0].any()


def test_lisa_of_unmixed_images_is_cross_entropy():
    logits, labels, _, partners, *_ = draw_mixed()
    ones = torch.ones(len(labels))
    own = lisa(logits, labels, partner_labels=partners, mix=ones)
    assert own.item() == pytest.approx(cross_entropy(logits, labels).item(), rel=1e-12)
    other = lisa(logits, labels, partner_labels=partners, mix=0 * ones)
    assert other.item() == pytest.approx(cross_entropy(logits, partners).item(), rel=1e-12)
    assert own.item() != pytest.approx(other.item(), rel=1e-3)


def test_lisa_is_cross_entropy_of_mixed_targets():
    logits, labels, _, partners, _, _, mix = draw_mixed(v=1)
    share = mix[:, None]
    target = share * F.one_hot(labels, 4) + (1 - share) * F.one_hot(partners, 4)
    expected = F.cross_entropy(logits[:, 0], target).item()
    value = lisa(logits, labels, partner_labels=partners, mix=mix).item()
    assert value == pytest.approx(expected, rel=1e-12)


def test_logit_correction_of_unmixed_images_is_biasbal():
    logits, labels, bias, _, partner_bias, counts, mix = draw_mixed()
    counts = counts + 20  # no cell is empty, so that the two floors hardly differ
    value = lc(
        logits, labels, bias, counts=counts, partner_bias=partner_bias, mix=torch.ones_like(mix)
    )
    expected = biasbal(logits, labels, bias, counts=counts)
    assert value.item() == pytest.approx(expected.item(), rel=1e-3)


def test_logit_correction_mixes_priors_inside_the_logarithm():
    logits = torch.zeros(1, 1, 2, dtype=torch.float64)
    counts = torch.tensor([[9, 1], [1, 9]])
    ids = torch.tensor([0])
    half = torch.tensor([0.5])
    value = lc(logits, ids, ids, counts=counts, partner_bias=1 - ids, mix=half).item()
    # The mixed prior is (1/2, 1/2). A mixture of the logarithms would give the same here, so take 1/4 too.
    assert value == pytest.approx(torch.log(torch.tensor(2.0)).item(), rel=1e-6)
    quarter = lc(logits, ids, ids, counts=counts, partner_bias=1 - ids, mix=half / 2).item()
    prior = torch.tensor([0.25 * 0.9 + 0.75 * 0.1, 0.25 * 0.1 + 0.75 * 0.9]) + 1e-4
    assert quarter == pytest.approx(-torch.log(prior[0] / prior.sum()).item(), rel=1e-6)


def test_logit_correction_favors_labels_that_the_prior_disfavors():
    """For the same logits, the loss of a rare (label, prediction) pair is larger."""
    logits = torch.zeros(1, 1, 2, dtype=torch.float64)
    counts = torch.tensor([[99, 1], [1, 99]])
    zero, one = torch.tensor([0]), torch.tensor([1])
    rare = lc(logits, zero, one, counts=counts, partner_bias=one, mix=torch.ones(1))
    common = lc(logits, zero, zero, counts=counts, partner_bias=zero, mix=torch.ones(1))
    assert rare.item() > common.item() + 1


def test_inputs_of_partners_that_do_not_fit_are_refused():
    logits, labels, bias, partners, partner_bias, counts, mix = draw_mixed()
    with pytest.raises(UsageError, match=r"partner_labels in 0\.\.3"):
        lisa(logits, labels, partner_labels=partners + 4, mix=mix)
    with pytest.raises(UsageError, match="partner_labels to be integers"):
        lisa(logits, labels, partner_labels=partners.float(), mix=mix)
    with pytest.raises(UsageError, match="partner_labels of shape"):
        lisa(logits, labels, partner_labels=partners[:-1], mix=mix)
    with pytest.raises(UsageError, match="mix of shape"):
        lisa(logits, labels, partner_labels=partners, mix=mix[:-1])
    more = {"counts": counts, "mix": mix}
    with pytest.raises(UsageError, match=r"partner_bias in 0\.\.4"):
        lc(logits, labels, bias, partner_bias=partner_bias + 5, **more)
    with pytest.raises(UsageError, match=r"bias in 0\.\.4"):
        lc(logits, labels, bias + 5, partner_bias=partner_bias, **more)
    with pytest.raises(UsageError, match="needs the bias attribute"):
        lc(logits, labels, None, partner_bias=partner_bias, **more)
    with pytest.raises(UsageError, match="counts of shape"):
        lc(logits, labels, bias, partner_bias=partner_bias, counts=counts.T, mix=mix)
