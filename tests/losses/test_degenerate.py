"""Batches with few or no pairs: the value equals the oracle, and is never NaN."""

from __future__ import annotations

import math

import pytest
import torch

from biascon.errors import UsageError
from biascon.losses import LOSSES, get_loss
from tests.losses.batches import (
    DEGENERATE,
    NAMES,
    PAIRWISE_NAMES,
    WITH_TEMPERATURE,
    check_against_oracle,
    compute_value,
    degenerate_shapes,
    list_choices,
    make_batch,
    value_and_gradients,
)

CONTEX_FORMS = list_choices("contex", "form")
DTYPES = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 1e-5}


@pytest.mark.parametrize(
    ("name", "shape"), [(name, shape) for name in NAMES for shape in degenerate_shapes(name)]
)
def test_degenerate_batch_equals_the_oracle_with_a_finite_gradient(name, shape):
    for dtype, tolerance in DTYPES.items():
        batch = make_batch(name, dtype=dtype, **DEGENERATE[shape])
        check_against_oracle(get_loss(name), batch, tolerance)
        if name in WITH_TEMPERATURE:  # similarities in float32 have an error of 1e-7 / T
            check_against_oracle(get_loss(name, temperature=0.01), batch, 10 * tolerance)


@pytest.mark.parametrize("form", CONTEX_FORMS)
@pytest.mark.parametrize("shape", DEGENERATE)
def test_every_form_of_contex_equals_the_oracle_on_few_pairs(shape, form):
    for extra in ({"wa": 1, "wb": 0}, {}):
        if DEGENERATE[shape].get("v") != 1 or extra:
            batch = make_batch("contex", **DEGENERATE[shape])
            check_against_oracle(get_loss("contex", form=form, **extra), batch, 1e-9)


@pytest.mark.parametrize(
    ("name", "extra"),
    [("simclr", {}), ("contex-clip", {}), *(("contex", {"form": form}) for form in CONTEX_FORMS)],
)
def test_one_view_is_refused_where_views_are_needed(name, extra):
    batch = make_batch(name, b=5, v=1, labels=[0, 1, 0, 1, 2])
    with pytest.raises(
        UsageError, match=r"two views or more .* got z of shape \(5, 1, 6\)"
    ) as caught:
        compute_value(get_loss(name, **extra), batch)
    assert "torch.stack([z1, z2], 1)" in str(caught.value)
    assert "augment.views=2" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["paper", "code"])
@pytest.mark.parametrize("shape", DEGENERATE)
@pytest.mark.parametrize("name", ["fairkl", "supcon+fairkl"])
def test_both_forms_of_fairkl_equal_the_oracle_on_few_pairs(name, shape, form):
    check_against_oracle(get_loss(name, form=form), make_batch(name, **DEGENERATE[shape]), 1e-9)


@pytest.mark.parametrize("temperature", [0.01, 1.0])
@pytest.mark.parametrize("name", NAMES)
def test_identical_embeddings_equal_the_oracle_with_a_finite_gradient(name, temperature):
    extra = {"temperature": temperature} if name in WITH_TEMPERATURE else {}
    for dtype in DTYPES:
        batch = make_batch(name, b=4, labels=[0, 0, 1, 2], bias=[0, 1, 1, 2], dtype=dtype)
        same = batch.map_tensors(("z", "logits", "features"), lambda x: x[:1, :1].expand_as(x))
        check_against_oracle(
            get_loss(name, **extra), same, 1e-9 if dtype == torch.float64 else 1e-4
        )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", NAMES)
def test_collapsed_classes_equal_the_oracle(name, dtype):
    # The end of training: all images of a class have one embedding, orthogonal to the other classes.
    batch = make_batch(name, b=12, labels=[0, 1, 2] * 4, bias=[0] * 6 + [1] * 6, dtype=dtype)
    corners = torch.linalg.qr(
        torch.randn(6, 6, dtype=torch.float64, generator=torch.manual_seed(0))
    )[0]
    corners = corners.to(dtype)[batch.labels][:, None]
    if LOSSES[name].input_kind == "embeddings":
        batch = batch.with_tensors(z=corners.expand(-1, 2, -1))
    batch = batch.with_tensors(features=3 * corners.expand(-1, 2, -1))
    check_against_oracle(get_loss(name), batch, 1e-9 if dtype == torch.float64 else 1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", ["softcon", "flac"])
def test_equal_bias_features_equal_the_oracle(name, dtype):
    batch = make_batch(name, b=8, dtype=dtype)
    same = batch.map_tensors(("bias_features",), lambda x: 7.3 * x[:1].expand_as(x))
    check_against_oracle(get_loss(name), same, 1e-9 if dtype == torch.float64 else 1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("delta", [0.5, 1.0, 2.0])
def test_flac_has_no_pairs_for_bias_features_of_one_direction(delta, dtype):
    # Every s_b is then the threshold. Rounding of lengths and distances must not choose pairs.
    for seed in range(10):
        batch = make_batch("flac", b=6, v=3, labels=[0, 0, 1, 1, 0, 1], seed=seed, dtype=dtype)
        lengths = torch.arange(1, 7, dtype=dtype)[:, None] / 7
        same = batch.map_tensors(("bias_features",), lambda x, by=lengths: by * x[:1])
        value, gradients = value_and_gradients(get_loss("flac", delta=delta), same)
        expected = get_loss("ce")(batch.z, batch.labels).item()
        assert value == pytest.approx(expected, rel=1e-6)
        assert not gradients["features"].any()


@pytest.mark.parametrize("name", ["softcon", "flac"])
def test_zero_bias_features_equal_the_oracle(name):
    batch = make_batch(name, b=6)
    features = batch.inputs["bias_features"].clone()
    features[:3] = 0
    check_against_oracle(get_loss(name), batch.with_tensors(bias_features=features), 1e-9)


@pytest.mark.parametrize("name", ["end", "flac"])
def test_zero_features_equal_the_oracle_with_a_zero_gradient(name):
    # The features of an image are all 0: they have no direction.
    batch = make_batch(
        name, b=6, labels=[0, 0, 0, 1, 1, 1], bias=[0, 1, 2, 0, 1, 2], dtype=torch.float32
    )
    features = batch.inputs["features"].clone()
    features[0] = 0
    batch = batch.with_tensors(features=features)
    check_against_oracle(get_loss(name), batch, 1e-5)
    gradients = value_and_gradients(get_loss(name), batch)[1]["features"].flatten(1).norm(dim=1)
    assert (gradients[0] == 0).all()
    assert gradients[1:].max() > 1e-4


@pytest.mark.parametrize("shape", [(0, 2, 4), (3, 0, 4), (0, 0, 4)])
@pytest.mark.parametrize("name", NAMES)
def test_empty_batch_gives_zero(name, shape):
    batch = make_batch(
        name, b=shape[0], v=shape[1], d=4, labels=[0] * shape[0], bias=[0] * shape[0]
    )
    batch.z.requires_grad_()
    value = compute_value(get_loss(name), batch)
    value.backward()
    assert value.item() == 0.0


@pytest.mark.parametrize("name", [name for name in NAMES if name not in PAIRWISE_NAMES])
@pytest.mark.parametrize("size", [1e3, 1e4])
def test_logits_of_any_size_give_finite_values_and_gradients(name, size):
    # A run that diverges must give a large loss, not NaN.
    batch = make_batch(name, b=6, dtype=torch.float32).map_tensors(
        ("z", "bias_losses"), lambda x: x * size
    )
    value, gradients = value_and_gradients(get_loss(name), batch)
    assert math.isfinite(value)
    assert torch.isfinite(gradients["z"]).all()


@pytest.mark.parametrize("eta", [0.01, 1.0])
def test_groupdro_weights_sum_to_one_for_large_losses(eta):
    batch = make_batch("groupdro", b=6, dtype=torch.float32)
    q = batch.inputs["group_weights"]
    for _ in range(50):
        get_loss("groupdro", eta=eta)(100 * batch.z, batch.labels, batch.bias, group_weights=q)
    assert torch.isfinite(q).all()
    assert q.sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("delta", [0.1, 1.0, 2.0, 4.0])
def test_flac_is_finite_at_every_delta(delta, dtype):
    # Images with different labels and equal bias features: 1 - s_b is nearly 0.
    batch = make_batch("flac", b=6, labels=[0, 1, 2, 0, 1, 2], dtype=dtype)
    batch = batch.with_tensors(bias_features=batch.inputs["bias_features"][[0, 0, 0, 1, 1, 1]])
    value, gradients = value_and_gradients(get_loss("flac", delta=delta), batch)
    assert math.isfinite(value)
    assert torch.isfinite(gradients["features"]).all()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("which", ["features", "bias_features"])
def test_flac_in_float32_resolves_close_features(which, seed):
    # The width of a cluster is 1/1000 of its distance from the origin, as for a trained network.
    batch = make_batch("flac", b=12, labels=[0, 1, 2] * 4, seed=seed)
    near = 10 * batch.inputs[which][torch.arange(12) // 4] + 0.01 * batch.inputs[which]
    batch = batch.with_tensors(**{which: near})
    single = make_batch("flac", b=12, labels=[0, 1, 2] * 4, seed=seed, dtype=torch.float32)
    check_against_oracle(get_loss("flac"), single.with_tensors(**{which: near.float()}), 1e-4)
    check_against_oracle(get_loss("flac"), batch, 1e-9)


DISTINCT = DEGENERATE["all labels distinct, one view"]
ALONE = DEGENERATE["all labels and biases distinct, one view"]
ONE_LABEL = DEGENERATE["one label for all"]
BIAS_IS_LABEL = DEGENERATE["bias is the label"]
# (loss, parameters, batch without an anchor that counts)
NOTHING_COUNTS = {
    "supcon, labels distinct, one view": ("supcon", {}, DISTINCT),
    "supcon in, labels distinct, one view": ("supcon", {"form": "in"}, DISTINCT),
    "eps_supinfonce, labels distinct, one view": ("eps_supinfonce", {}, DISTINCT),
    "eps_supcon, labels distinct, one view": ("eps_supcon", {}, DISTINCT),
    "contex, one label, context alone": ("contex", {"wa": 1, "wb": 0}, ONE_LABEL),
    "contex, one image and view": ("contex", {"wb": 0}, {"b": 1, "v": 1}),
    "contex, labels distinct, one view": ("contex", {"wb": 0}, DISTINCT),
    "contex log1p, labels distinct, one view": ("contex", {"form": "log1p", "wb": 0}, DISTINCT),
    "contex separate, one image": ("contex", {"form": "separate"}, {"b": 1}),
    "contex separate, labels distinct, context alone": (
        "contex",
        {"form": "separate", "wb": 0},
        DEGENERATE["all labels distinct"],
    ),
    "contex-clip, one label, context alone": ("contex-clip", {"wa": 1, "wb": 0}, ONE_LABEL),
    "biascon, bias is the label": ("biascon", {"ce_weight": 0}, BIAS_IS_LABEL),
    "biascon skip, bias is the label": (
        "biascon",
        {"ce_weight": 0, "empty": "skip"},
        BIAS_IS_LABEL,
    ),
    "biascon+biasbal, bias is the label": ("biascon+biasbal", {"ce_weight": 0}, BIAS_IS_LABEL),
    "softcon, labels distinct": ("softcon", {"ce_weight": 0}, DEGENERATE["all labels distinct"]),
    "fairkl, labels and biases distinct": ("fairkl", {"form": "paper"}, ALONE),
    "supcon+fairkl, labels and biases distinct": ("supcon+fairkl", {"form": "paper"}, ALONE),
    "supcon+end, labels and biases distinct": ("supcon+end", {}, ALONE),
}


@pytest.mark.parametrize("case", NOTHING_COUNTS)
def test_loss_and_gradient_are_zero_if_no_anchor_counts(case):
    name, extra, shape = NOTHING_COUNTS[case]
    value, gradients = value_and_gradients(get_loss(name, **extra), make_batch(name, **shape))
    assert value == 0.0
    assert not gradients["z"].any()


@pytest.mark.parametrize("name", ["contex", "contex-clip"])
def test_contex_with_one_label_is_half_of_simclr(name):
    batch = make_batch(name, **ONE_LABEL)
    half = compute_value(get_loss("simclr"), batch) / 2
    assert torch.allclose(compute_value(get_loss(name), batch), half, atol=1e-12)


def test_anchor_without_a_positive_is_not_counted():
    # Two of the three anchors count. With the third in the mean the loss would be 2/3 of this value.
    z = torch.eye(3, dtype=torch.float64)[:, None]
    value = get_loss("supcon", temperature=1.0)(z, torch.tensor([0, 0, 1]))
    assert value.item() == pytest.approx(math.log(2), abs=1e-12)


@pytest.mark.parametrize("name", ["biascon", "biascon+biasbal", "softcon"])
def test_anchor_without_a_positive_counts_as_zero_or_is_skipped(name):
    # The 4 anchors of images 0 and 1 have a positive in Q. Images are orthogonal, views are equal.
    z = torch.eye(3, dtype=torch.float64)[:, None].expand(-1, 2, -1)
    batch = make_batch(name, b=3, labels=[0, 0, 1], bias=[0, 1, 1])
    batch = batch.with_tensors(z=z, bias_features=torch.eye(2, dtype=torch.float64)[batch.bias])
    term = math.log(math.e + 4)  # of an anchor: cosine 1 to its other view, 0 to four others
    values = {
        empty: compute_value(get_loss(name, temperature=1, ce_weight=0, empty=empty), batch).item()
        for empty in ("zero", "skip")
    }
    assert values == pytest.approx({"zero": 4 * term / 6, "skip": term}, abs=1e-12)


def test_clip_gives_zero_where_the_plain_form_still_attracts():
    # Two tight clusters: every positive is much closer than all negatives together.
    batch = make_batch("contex", b=4, v=2, labels=[0, 0, 1, 1])
    direction = torch.zeros(4, 1, 6, dtype=torch.float64)
    direction[:2, :, 0] = direction[2:, :, 1] = 20.0
    batch = batch.with_tensors(z=torch.nn.functional.normalize(batch.z + direction, dim=-1))
    plain, gradients = value_and_gradients(get_loss("contex", wa=1, wb=0), batch)
    clipped, clipped_gradients = value_and_gradients(get_loss("contex-clip", wa=1, wb=0), batch)
    assert plain < -7
    assert gradients["z"].norm() > 1
    assert clipped == 0.0
    assert not clipped_gradients["z"].any()


def test_clip_applies_to_each_positive_and_not_to_the_anchor():
    # One positive of anchor 0 is closer than the negatives, one is much less close, and so is their mean.
    def unit(degrees):
        return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]

    z = torch.tensor([unit(0), unit(1), unit(120), unit(60)], dtype=torch.float64)[:, None]
    labels = torch.tensor([0, 0, 0, 1])
    loss = get_loss("contex-clip", wa=1, wb=0, temperature=0.5)
    # u of (0,1), (0,2), (1,0), (1,2), (2,0), (2,1), from cosines over T; anchor 3 has no positive.
    cos = [math.cos(math.radians(angle)) for angle in range(181)]
    terms = [
        [cos[1] - cos[60], cos[120] - cos[60]],
        [cos[1] - cos[59], cos[119] - cos[59]],
        [cos[120] - cos[60], cos[119] - cos[60]],
    ]
    expected = -sum(min(2 * u, 0) for row in terms for u in row) / 6
    assert loss(z, labels).item() == pytest.approx(expected, abs=1e-12)
