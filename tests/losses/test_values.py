"""Every loss against its double loop in every precision, and its gradient against finite differences."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from biascon.losses import LOSSES, get_loss
from tests.losses.batches import (
    NAMES,
    SETTINGS,
    check_against_oracle,
    compute_value,
    make_batch,
    quick,
    valid_views,
    value_and_gradients,
)
from tests.losses.oracles import ORACLES
from tests.losses.oracles_bias import groupdro_weights

# Losses with a weight that depends on the network but has no gradient.
WITH_DETACHED_WEIGHT = ("lff", "groupdro")


def test_every_loss_has_an_oracle_and_every_oracle_a_loss():
    assert set(ORACLES) == set(LOSSES)


@pytest.mark.parametrize(("name", "extra"), SETTINGS)
@quick
@given(
    b=st.integers(1, 6),
    v=st.integers(1, 3),
    d=st.integers(2, 6),
    classes=st.integers(1, 6),
    seed=st.integers(0, 10**6),
    dtype=st.sampled_from([(torch.float64, 1e-9), (torch.float32, 1e-5)]),
)
def test_value_equals_the_double_loop_for_any_shape(name, extra, b, v, d, classes, seed, dtype):
    dtype, tolerance = dtype
    v = valid_views(name, v, extra)
    batch = make_batch(name, b=b, v=v, d=d, classes=classes, seed=seed, dtype=dtype)
    check_against_oracle(get_loss(name, **extra), batch, tolerance)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "extra"), SETTINGS)
def test_half_precision_is_cast_to_float32_before_the_first_product(name, extra, dtype):
    # The oracle gets the rounded embeddings. The remaining error is that of the loss, and it must be that of
    # float32 (1e-5), far below the spacing of float16 (1e-3) and bfloat16 (8e-3).
    batch = make_batch(name, b=8, dtype=dtype)
    loss = get_loss(name, **extra)
    check_against_oracle(loss, batch, 1e-9 if dtype == torch.float64 else 1e-5)
    value = compute_value(loss, batch)
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    for gradient in value_and_gradients(loss, batch)[1].values():
        assert gradient.dtype == dtype


@pytest.mark.parametrize("name", NAMES)
def test_autocast_does_not_change_the_value(name):
    batch = make_batch(name, b=8, dtype=torch.float32)
    loss = get_loss(name)
    value, gradients = value_and_gradients(loss, batch)
    bfloat16 = torch.autocast("cpu", dtype=torch.bfloat16)
    autocast_value, autocast_gradients = value_and_gradients(loss, batch, bfloat16)
    assert autocast_value == value
    for key, gradient in gradients.items():
        assert torch.equal(autocast_gradients[key], gradient)


@pytest.mark.parametrize(
    ("name", "extra"), [case for case in SETTINGS if case.values[0] not in WITH_DETACHED_WEIGHT]
)
def test_gradient_equals_finite_differences(name, extra):
    loss = get_loss(name, **extra)
    batch = make_batch(name, b=4, v=2, d=3, labels=[0, 1, 0, 0], bias=[0, 1, 1, 0], seed=2)
    leaves = {
        k: v for k, v in {"z": batch.z, **batch.inputs}.items() if k in ("z", "logits", "features")
    }
    for tensor in leaves.values():
        tensor.requires_grad_()

    def function(*tensors):
        return compute_value(loss, batch.with_tensors(**dict(zip(leaves, tensors, strict=True))))

    assert torch.autograd.gradcheck(function, tuple(leaves.values()))


def test_weights_of_lff_have_no_gradient():
    batch = make_batch("lff", b=6)
    own = torch.nn.functional.cross_entropy(
        batch.z.flatten(0, 1), batch.labels.repeat_interleave(2), reduction="none"
    )
    own = own.view(6, 2).mean(dim=1)
    biased = batch.inputs["bias_losses"]
    same = make_batch("jtt", b=6).with_tensors(weights=biased / (biased + own))
    value, gradients = value_and_gradients(get_loss("lff"), batch)
    expected, expected_gradients = value_and_gradients(get_loss("jtt"), same)
    assert value == pytest.approx(expected, rel=1e-12)
    assert torch.allclose(gradients["z"], expected_gradients["z"], rtol=1e-12, atol=0)


@pytest.mark.parametrize("eta", [0.0, 0.01, 3.0])
def test_weights_of_groupdro_have_no_gradient(eta):
    batch = make_batch("groupdro", b=12, classes=2)
    q = torch.tensor(
        groupdro_weights(
            batch.z.tolist(),
            batch.labels.tolist(),
            batch.bias.tolist(),
            group_weights=batch.inputs["group_weights"].tolist(),
            eta=eta,
        )
    ).double()
    z = batch.z.clone().requires_grad_()
    expected = 0
    for y in range(2):
        for b in range(2):
            in_cell = (batch.labels == y) & (batch.bias == b)
            expected = expected + q[y, b] * get_loss("ce")(z[in_cell], batch.labels[in_cell])
    (gradient,) = torch.autograd.grad(expected, z)
    value, gradients = value_and_gradients(get_loss("groupdro", eta=eta), batch)
    assert value == pytest.approx(expected.item(), rel=1e-7)
    assert torch.allclose(gradients["z"], gradient, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_batch_is_unchanged_and_the_value_repeats(name):
    batch, before = make_batch(name), make_batch(name)
    first = compute_value(get_loss(name), batch)
    assert torch.equal(first, compute_value(get_loss(name), batch))
    for old, new in zip(before[:3], batch[:3], strict=True):
        assert torch.equal(old, new)
    for key, old in before.inputs.items():
        assert torch.equal(old, batch.inputs[key])


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
@pytest.mark.parametrize("name", NAMES)
def test_labels_and_bias_may_be_integers_of_any_width(name, dtype):
    batch = make_batch(name)
    loss = get_loss(name)
    converted = batch.with_tensors(labels=batch.labels.to(dtype), bias=batch.bias.to(dtype))
    assert torch.equal(compute_value(loss, batch), compute_value(loss, converted))


@pytest.mark.parametrize("name", NAMES)
def test_tensors_may_be_strided(name):
    batch = make_batch(name)
    loss = get_loss(name)
    strided = {
        key: torch.stack((tensor, tensor + 1), dim=-1)[..., 0]
        for key, tensor in {**batch._asdict(), **batch.inputs}.items()
        if key != "inputs"
    }
    assert not strided["z"].is_contiguous()
    value = loss(
        strided["z"], strided["labels"], strided["bias"], **{k: strided[k] for k in batch.inputs}
    )
    assert torch.allclose(value, compute_value(loss, batch), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", [name for name in NAMES if "counts" in LOSSES[name].tensor_inputs])
@pytest.mark.parametrize("dtype", [torch.int32, torch.float32, torch.float64])
def test_counts_may_be_of_any_dtype(name, dtype):
    batch = make_batch(name)
    converted = batch.with_tensors(counts=batch.inputs["counts"].to(dtype))
    assert torch.equal(
        compute_value(get_loss(name), batch), compute_value(get_loss(name), converted)
    )
