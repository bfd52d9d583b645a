"""The contrast of one batch with the classifier's loss of another: ``logit_labels`` and ``logit_bias``."""

from __future__ import annotations

import re

import pytest
import torch

from biascon.errors import UsageError
from biascon.losses import LOSSES, get_loss
from biascon.losses.bias_contrastive import biascon_biasbal
from tests.losses.batches import (
    NAMES,
    check_against_oracle,
    compute_value,
    list_choices,
    make_batch,
    make_two_batches,
    value_and_gradients,
)

WITH_SECOND_BATCH = [name for name in NAMES if LOSSES[name].optional_inputs]
each = pytest.mark.parametrize("name", WITH_SECOND_BATCH)


def test_methods_with_a_second_batch_are_known():
    optional = {name: LOSSES[name].optional_inputs for name in WITH_SECOND_BATCH}
    assert optional == {
        "softcon": ("logit_labels",),
        "biascon": ("logit_labels",),
        "biascon+biasbal": ("logit_labels", "logit_bias"),
    }


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(4, 2, 5, 1), (4, 2, 9, 3), (6, 1, 3, 2), (5, 2, 5, 2)])
@each
def test_value_equals_the_double_loop_for_batches_of_other_sizes(name, shape, dtype):
    batch = make_two_batches(name, *shape, dtype=dtype)
    tolerance = 1e-9 if dtype == torch.float64 else 1e-5
    for extra in ({}, *({"empty": word} for word in list_choices(name, "empty"))):
        check_against_oracle(get_loss(name, ce_weight=0.7, **extra), batch, tolerance)


@pytest.mark.parametrize("shape", [(0, 2, 3, 1), (3, 2, 0, 1), (3, 2, 3, 0), (1, 1, 1, 1)])
@each
def test_an_empty_batch_leaves_the_other_term(name, shape):
    check_against_oracle(get_loss(name, ce_weight=0.7), make_two_batches(name, *shape), 1e-9)


@each
def test_gradient_equals_finite_differences_in_both_batches(name):
    batch = make_two_batches(name, 4, 2, 3, 1)
    leaves = batch.z.requires_grad_(), batch.inputs["logits"].requires_grad_()
    loss = get_loss(name, ce_weight=0.7)

    def function(z, logits):
        return compute_value(loss, batch.with_tensors(z=z, logits=logits))

    assert torch.autograd.gradcheck(function, leaves)


@each
def test_terms_of_the_two_batches_add_up(name):
    batch = make_two_batches(name, 5, 2, 7, 1)
    first = {
        key: tensor for key, tensor in batch.inputs.items() if key in ("bias_features", "counts")
    }
    ids = batch.inputs["logit_labels"], batch.inputs.get("logit_bias")
    contrast = get_loss(name, ce_weight=0)(
        batch.z,
        batch.labels,
        batch.bias,
        logits=torch.zeros(5, 2, 6, dtype=torch.float64),
        **first,
    )
    other = "biasbal" if "counts" in first else "ce"
    counts = {"counts": first["counts"]} if "counts" in first else {}
    classifier = get_loss(other)(batch.inputs["logits"], *ids, **counts)
    value = compute_value(get_loss(name, ce_weight=0.3), batch)
    assert value.item() == pytest.approx((contrast + 0.3 * classifier).item(), rel=1e-12)


@each
def test_second_batch_of_the_same_images_gives_the_value_of_one_batch(name):
    batch = make_batch(name, b=6)
    ids = {"logit_labels": batch.labels, "logit_bias": batch.bias}
    same = {key: ids[key] for key in LOSSES[name].optional_inputs}
    loss = get_loss(name, ce_weight=0.7)
    assert torch.equal(compute_value(loss, batch), compute_value(loss, batch, **same))


@each
def test_second_batch_compiles_to_one_graph(name):
    torch._dynamo.reset()
    batch = make_two_batches(name, 6, 2, 4, 1)
    compiled = torch.compile(get_loss(name), fullgraph=True, backend="eager")
    expected, expected_gradients = value_and_gradients(get_loss(name), batch)
    value, gradients = value_and_gradients(compiled, batch)
    assert value == pytest.approx(expected, rel=1e-12)
    for key, gradient in expected_gradients.items():
        assert torch.allclose(gradients[key], gradient, rtol=1e-9, atol=1e-12)


CASES = [(name, key) for name in WITH_SECOND_BATCH for key in LOSSES[name].optional_inputs]
LARGEST = {"logit_labels": 5, "logit_bias": 6}


@pytest.mark.parametrize(("name", "key"), CASES)
def test_labels_and_bias_values_of_the_second_batch_are_checked(name, key):
    batch = make_two_batches(name, 4, 2, 5, 1)
    ids = batch.inputs[key]
    for value in (-1, LARGEST[key] + 1):
        outside = ids.clone()
        outside[2] = value
        message = rf"expected {key} in 0\.\.{LARGEST[key]}, but got"
        with pytest.raises(UsageError, match=message):
            compute_value(get_loss(name), batch.with_tensors(**{key: outside}))
    with pytest.raises(UsageError, match=f"expected {key} to be integers"):
        compute_value(get_loss(name), batch.with_tensors(**{key: ids.float()}))
    for other in (ids[:-1], ids[:, None], ids.repeat(2)):
        with pytest.raises(UsageError, match=rf"expected {key} of shape \(5,\), but got"):
            compute_value(get_loss(name), batch.with_tensors(**{key: other}))


@each
def test_logits_of_the_second_batch_are_checked(name):
    batch = make_two_batches(name, 4, 2, 5, 1)
    logits = batch.inputs["logits"]
    with pytest.raises(UsageError, match=r"expected logits of shape \(C, W, K\), but got \(5, 6\)"):
        compute_value(get_loss(name), batch.with_tensors(logits=logits[:, 0]))
    with pytest.raises(UsageError, match="expected logits to be floating point"):
        compute_value(get_loss(name), batch.with_tensors(logits=logits.long()))
    invalid = logits.clone()
    invalid[4, 0, 5] = torch.nan
    with pytest.raises(UsageError, match=re.escape("logits[4, 0, 5] is nan")):
        compute_value(get_loss(name), batch.with_tensors(logits=invalid), check=True)


@pytest.mark.parametrize("missing", ["logit_labels", "logit_bias"])
def test_labels_without_bias_values_of_the_second_batch_are_refused(missing):
    # With two batches of one size, the value would otherwise mix labels and bias values of other images.
    batch = make_two_batches("biascon+biasbal", 4, 2, 4, 2)
    inputs = {key: tensor for key, tensor in batch.inputs.items() if key != missing}
    message = f"expected logit_labels and logit_bias together, but {missing} is missing"
    with pytest.raises(UsageError, match=message):
        get_loss("biascon+biasbal")(batch.z, batch.labels, batch.bias, **inputs)
    with pytest.raises(UsageError, match=message):
        biascon_biasbal(batch.z, batch.labels, batch.bias, **inputs)
