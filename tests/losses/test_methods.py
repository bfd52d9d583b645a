"""The direction in which each method changes similarities and gradients, as its paper states."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from biascon.losses import get_loss
from tests.losses.batches import (
    compute_value,
    make_batch,
    make_biased_batch,
    quick,
    valid_views,
    value_and_gradients,
)

FALLS, RISES, STAYS = -1, 1, 0

# One of eight orthogonal images is moved towards another image. Their pair has
#                      same label,  same label,  other label, other label,
#                      same bias    other bias   same bias    other bias
PAIRS = {
    "simclr":           (RISES,       RISES,       RISES,       RISES),
    "supcon":           (FALLS,       FALLS,       RISES,       RISES),
    "contex":           (FALLS,       FALLS,       RISES,       RISES),
    "contex-clip":      (FALLS,       FALLS,       RISES,       RISES),
    "eps_supinfonce":   (FALLS,       FALLS,       RISES,       RISES),
    "eps_supcon":       (FALLS,       FALLS,       RISES,       RISES),
    "biascon":          (RISES,       FALLS,       RISES,       RISES),
    "biascon+biasbal":  (RISES,       FALLS,       RISES,       RISES),
    "softcon":          (RISES,       FALLS,       RISES,       RISES),
    "end":              (RISES,       FALLS,       RISES,       STAYS),
    "supcon+end":       (RISES,       FALLS,       RISES,       RISES),
    "fscl":             (FALLS,       FALLS,       RISES,       STAYS),
    "fscl+":            (FALLS,       FALLS,       RISES,       STAYS),
    "cnc":              (STAYS,       FALLS,       RISES,       STAYS),
}  # fmt: skip
LABELS, BIAS = [0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 0, 0, 1, 1]
OTHER = (1, 2, 4, 6)  # the partner of image 0 in each kind of pair


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("name", PAIRS)
def test_loss_falls_or_rises_with_the_similarity_of_each_kind_of_pair(name, views):
    views = valid_views(name, views)
    batch = make_batch(name, b=8, v=views, d=8, labels=LABELS, bias=BIAS)
    space = "features" if name == "end" else "z"
    frame = torch.eye(8, dtype=torch.float64)
    one_hot = torch.eye(2, dtype=torch.float64)[batch.bias]
    weight = {"alpha": 4.0} if "end" in name else {}
    loss = get_loss(name, **weight, **({} if name == "end" else {"temperature": 1.0}))
    for other, sign in zip(OTHER, PAIRS[name], strict=True):
        values = []
        for step in (0.0, 0.1, 0.2):
            moved = frame.clone()
            moved[0] = F.normalize(frame[0] + step * frame[other], dim=0)
            z = moved[:, None].expand(-1, views, -1)
            values.append(
                compute_value(loss, batch.with_tensors(**{space: z}, bias_features=one_hot)).item()
            )
        if sign == STAYS:
            assert values == pytest.approx(values[:1] * 3, abs=1e-12)
        else:
            assert sign * (values[1] - values[0]) > 1e-5, (other, values)
            assert sign * (values[2] - values[1]) > 1e-5, (other, values)


@pytest.mark.parametrize("name", ["end", "supcon+end"])
def test_end_is_smallest_for_orthogonal_pairs_with_equal_bias(name):
    # The term is the absolute value: it moves negative and positive cosines to 0.
    space = "features" if name == "end" else "z"
    frame = torch.eye(8, dtype=torch.float64)
    batch = make_batch(name, b=8, v=1, d=8, labels=LABELS, bias=BIAS)
    for start in (-0.8, 0.8):
        values = []
        for cosine in (start, start / 2, 0.0):
            z = frame.clone()
            z[0] = cosine * frame[4] + (1 - cosine**2) ** 0.5 * frame[0]
            with_term, without = (
                compute_value(
                    get_loss(name, alpha=alpha, beta=0), batch.with_tensors(**{space: z[:, None]})
                )
                for alpha in (1.0, 0.0)
            )
            values.append((with_term - without).item())
        # R_perp is a mean over the 24 ordered pairs with equal bias; only that of 0 and 4 is not 0.
        assert values == pytest.approx([2 * 0.8 / 24, 2 * 0.4 / 24, 0], abs=1e-12)


def regularizer(name, batch, **extra):
    """Return R of FairKL: the difference of the losses with weight 1 and weight 0."""
    with_r, without_r = (
        compute_value(get_loss(name, weight=w, **extra), batch) for w in (1.0, 0.0)
    )
    return (with_r - without_r).item()


@pytest.mark.parametrize("form", ["paper", "code"])
@pytest.mark.parametrize("name", ["fairkl", "supcon+fairkl"])
def test_fairkl_falls_when_aligned_and_conflicting_pairs_become_similar(name, form):
    # An embedding is the sum of a label direction, a bias direction and noise. The bias gets weaker.
    batch = make_batch(name, b=24, v=1, d=12, labels=[0, 1, 2] * 8, bias=[0] * 12 + [1] * 12)
    frame = torch.eye(12, dtype=torch.float64)
    label_part, bias_part = frame[batch.labels][:, None], frame[6 + batch.bias][:, None]
    values = []
    for strength in (2.0, 1.5, 1.0, 0.5, 0.0):
        z = F.normalize(label_part + strength * bias_part + 0.5 * batch.z, dim=-1)
        values.append(regularizer(name, batch.with_tensors(z=z), form=form))
    assert all(a > b for a, b in itertools.pairwise(values)), values
    assert values[-1] < values[0] / 20


@quick
@given(
    b=st.integers(1, 8), v=st.integers(1, 2), classes=st.integers(1, 4), seed=st.integers(0, 10**6)
)
def test_fairkl_term_of_the_paper_is_never_negative(b, v, classes, seed):
    batch = make_batch("fairkl", b=b, v=v, classes=classes, seed=seed)
    assert regularizer("fairkl", batch, form="paper") >= -1e-9


@pytest.mark.parametrize("name", ["fairkl", "supcon+fairkl"])
def test_fairkl_of_the_code_attracts_conflicting_positives_and_repels_aligned_negatives(name):
    # Eight orthogonal images; image 0 is moved towards a partner of each kind. The statistics of pairs alone
    # (form "paper") would move aligned negatives to conflicting negatives, wherever these are.
    batch = make_batch(name, b=8, v=1, d=8, labels=LABELS, bias=BIAS)
    frame = torch.eye(8, dtype=torch.float64)
    for other, sign in ((2, FALLS), (4, RISES)):
        values = []
        for step in (0.0, 0.1, 0.2):
            moved = frame.clone()
            moved[0] = F.normalize(frame[0] + step * frame[other], dim=0)
            values.append(regularizer(name, batch.with_tensors(z=moved[:, None]), k=0.0))
        assert sign * (values[1] - values[0]) > 1e-3, (other, values)
        assert sign * (values[2] - values[1]) > 1e-3, (other, values)


def test_gradient_of_fairkl_is_bounded_for_one_conflicting_pair():
    # The form "paper" divides by the variance of the conflicting pairs, which is tiny for a single pair.
    batch = make_batch("fairkl", b=32, v=1, labels=[0, 1] * 16, bias=[1, 1] + [0, 1] * 15)
    moved = F.normalize(
        batch.z + 6 * torch.eye(6, dtype=torch.float64)[batch.labels][:, None], dim=-1
    )
    norms = {}
    for form in ("code", "paper"):
        with_r, without_r = (
            value_and_gradients(
                get_loss("fairkl", weight=w, form=form), batch.with_tensors(z=moved)
            )
            for w in (1.0, 0.0)
        )
        norms[form] = (with_r[1]["z"] - without_r[1]["z"]).norm() / without_r[1]["z"].norm()
    assert norms["code"] < norms["paper"] / 5, norms


def test_fairkl_term_is_zero_for_equal_statistics_of_pairs():
    # For each bias value, two images are at one corner and two at another. Half of the 32 ordered pairs with
    # different bias have cosine 1 and half have 0. The same holds for equal bias, including an image with
    # itself. In the form "code", -m_c = -1/2 remains.
    z = torch.eye(2, dtype=torch.float64).repeat(4, 1)[:, None]
    batch = make_batch(
        "fairkl", b=8, v=1, d=2, labels=[1] * 8, bias=[0] * 4 + [1] * 4
    ).with_tensors(z=z)
    assert regularizer("fairkl", batch, form="code") == pytest.approx(-0.5, abs=1e-12)
    # Without these pairs, 8 of 24 have cosine 1: m_a = 1/3, v_a = 2/9, m_c = 1/2, v_c = 1/4, so that (v_a +
    # 1/36) / v_c is 1 and R = -1/2 log(8/9).
    expected = -math.log(8 / 9) / 2
    assert regularizer("fairkl", batch, form="paper") == pytest.approx(expected, abs=1e-12)


def test_biasbal_has_larger_gradients_for_conflicting_images_than_ce():
    batch = make_biased_batch("biasbal").map_tensors(("z",), torch.zeros_like)
    counts = torch.zeros(6, 7, dtype=torch.long)
    counts.index_put_((batch.labels, batch.bias), torch.tensor(1), accumulate=True)
    (gradient,) = value_and_gradients(get_loss("biasbal"), batch.with_tensors(counts=counts))[
        1
    ].values()
    (ce_gradient,) = value_and_gradients(get_loss("ce"), batch._replace(inputs={}))[1].values()
    norms, ce_norms = (x.flatten(1).norm(dim=1) for x in (gradient, ce_gradient))
    conflicting = batch.labels != batch.bias
    assert (norms[conflicting] > ce_norms[conflicting]).all()
    assert (norms[~conflicting] < ce_norms[~conflicting] / 2).all()


@pytest.mark.parametrize("name", ["jtt", "reweight"])
def test_weight_of_an_image_scales_only_its_gradient(name):
    batch = make_biased_batch(name)
    (ce_gradient,) = value_and_gradients(get_loss("ce"), batch._replace(inputs={}))[1].values()
    if name == "jtt":
        weights = torch.arange(1.0, 41.0, dtype=torch.float64)
        batch = batch.with_tensors(weights=weights)
    else:
        counts = batch.inputs["counts"].double()
        weights = (1 / counts)[batch.labels, batch.bias]
        weights = weights / weights.mean()
        assert len(weights.unique()) > 3
    (gradient,) = value_and_gradients(get_loss(name), batch)[1].values()
    assert torch.allclose(gradient, weights[:, None, None] * ce_gradient, rtol=1e-12, atol=1e-15)


def test_lff_gradient_grows_with_the_loss_of_the_biased_network():
    # Eight copies of an image that differ only in the loss of the biased network.
    batch = make_batch("lff", b=8, labels=[1] * 8)
    biased_losses = torch.arange(8).double()
    batch = batch.map_tensors(("z",), lambda x: x[:1].expand_as(x)).with_tensors(
        bias_losses=biased_losses
    )
    (gradient,) = value_and_gradients(get_loss("lff"), batch)[1].values()
    norms = gradient.flatten(1).norm(dim=1)
    assert norms[0] == 0  # the loss of the biased network is 0
    assert (norms.diff() > 0).all()
    own = get_loss("ce")(batch.z, batch.labels)
    expected = biased_losses / (biased_losses + own)
    assert torch.allclose(norms / norms[-1], expected / expected[-1], rtol=1e-12)


@pytest.mark.parametrize("q", [0.1, 0.7, 1.0])
def test_gradient_of_gce_equals_that_of_ce_times_a_power_of_p(q):
    batch = make_batch("gce", b=8)
    (gradient,) = value_and_gradients(get_loss("gce", q=q), batch)[1].values()
    (ce_gradient,) = value_and_gradients(get_loss("ce"), batch)[1].values()
    labels = batch.labels[:, None, None].expand(-1, 2, 1)
    p = batch.z.softmax(dim=-1).gather(2, labels)
    assert torch.allclose(gradient, p**q * ce_gradient, rtol=1e-10, atol=1e-15)


def test_softcon_is_zero_for_equal_bias_features():
    batch = make_batch("softcon", b=8)
    equal = batch.map_tensors(
        ("bias_features",), lambda x: torch.arange(1, 9).double()[:, None] * x[:1]
    )
    loss = get_loss("softcon", ce_weight=0)
    value, gradients = value_and_gradients(loss, equal)
    assert value == 0.0
    assert not gradients["z"].any()
    assert compute_value(loss, batch) > 0.1


@pytest.mark.parametrize("empty", ["zero", "skip"])
@quick
@given(
    b=st.integers(1, 8), v=st.integers(1, 3), classes=st.integers(1, 4), seed=st.integers(0, 10**6)
)
def test_softcon_with_one_hot_bias_features_equals_biascon(empty, b, v, classes, seed):
    batch = make_batch("softcon", b=b, v=v, classes=classes, seed=seed)
    one_hot = 3 * torch.eye(6, dtype=torch.float64)[batch.bias]
    soft = value_and_gradients(
        get_loss("softcon", empty=empty), batch.with_tensors(bias_features=one_hot)
    )
    same = batch._replace(inputs={"logits": batch.inputs["logits"]})
    hard = value_and_gradients(get_loss("biascon", empty=empty), same)
    assert soft[0] == pytest.approx(hard[0], abs=1e-10)
    assert torch.allclose(soft[1]["z"], hard[1]["z"], atol=1e-10)


def test_flac_falls_when_same_label_pairs_move_closer_and_same_bias_pairs_apart():
    # One image of each cell at the corners of a rectangle on the unit sphere. Its width is the distance of
    # images with equal label and different bias, its height that of images with equal bias and different
    # label. Diagonals do not count.
    labels, bias = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    batch = make_batch("flac", b=4, v=1, labels=labels, bias=bias)
    batch = batch.with_tensors(bias_features=4 * torch.eye(2, dtype=torch.float64)[bias])

    def value(width, height):
        corners = torch.stack((width * (bias - 0.5), height * (labels - 0.5)), dim=1).double()
        rest = (1 - corners.square().sum(dim=1, keepdim=True)).sqrt()
        features = torch.cat((corners, rest), dim=1)[:, None]
        return compute_value(
            get_loss("flac", alpha=10.0), batch.with_tensors(features=features)
        ).item()

    narrower = [value(width, 1.0) for width in (1.6, 0.8, 0.4, 0.2)]
    higher = [value(1.0, height) for height in (0.2, 0.4, 0.8, 1.6)]
    for values in (narrower, higher):
        assert all(a > b + 1e-3 for a, b in itertools.pairwise(values)), values
