"""Every loss falls along its gradient and when positives come closer; every two losses differ."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from biascon.losses import LOSSES, default_parameters, get_loss
from tests.losses.batches import (
    EMBEDDING_NAMES,
    LABEL_PREDICTORS,
    NAMES,
    SAME_AS_CE,
    SETTINGS,
    Batch,
    compute_value,
    make_batch,
    make_biased_batch,
    quicker,
    value_and_gradients,
)


def pull_to_corners(name, batch, strength):
    """Move each image towards a corner of its class (its own corner if the loss does not use labels)."""
    entry = LOSSES[name]
    ids = batch.bias if entry.predicts == "bias" else batch.labels
    if "labels" not in entry.batch_inputs and entry.input_kind == "embeddings":
        ids = torch.arange(len(ids))
    corners = strength * torch.eye(6, dtype=torch.float64)[ids][:, None]
    logits = "z" if entry.input_kind == "logits" else "logits"
    moved = batch.map_tensors((logits,), lambda x: x + corners)
    if entry.input_kind == "embeddings":
        moved = moved.with_tensors(z=torch.nn.functional.normalize(batch.z + corners, dim=-1))
    return moved


# R of FairKL may rise, and spectral decoupling rises with the size of the logits.
PULL_SETTINGS = [case for case in SETTINGS if not {"weight", "decoupling"} & set(case.values[1])]


@pytest.mark.parametrize(("name", "extra"), PULL_SETTINGS)
@quicker
@given(seed=st.integers(0, 10**6))
def test_loss_falls_when_positives_are_pulled_together(name, extra, seed):
    # Positives of these losses are views of another image.
    across = {"bias", "bias_features"} & set(LOSSES[name].needs)
    labels = [0, 0, 1, 1] if across else [0, 1, 2, 3]
    # Negatives of FSCL and CnC have the same bias value.
    bias = [0, 1, 0, 1] if name in ("fscl", "fscl+", "cnc") else [0, 1, 2, 3]
    batch = make_batch(name, labels=labels, bias=bias, v=2, seed=seed)
    batch = batch.with_tensors(partner_labels=batch.labels)
    loss = get_loss(
        name, **{**({"weight": 0} if "weight" in default_parameters(name) else {}), **extra}
    )
    values = [compute_value(loss, pull_to_corners(name, batch, by)).item() for by in (0, 3, 10)]
    assert values[1] < values[0] - 0.01
    assert (
        values[2] < values[0] - 0.01
    )  # not below the last value, because classes repel each other


@pytest.mark.parametrize("name", NAMES)
def test_loss_falls_step_by_step_when_positives_are_pulled_together(name):
    batch = make_batch(name, b=6, labels=[0, 0, 1, 1, 2, 2], bias=[0, 1, 1, 2, 2, 0])
    batch = batch.with_tensors(partner_labels=batch.labels)
    loss = get_loss(name, **({"weight": 0} if "weight" in default_parameters(name) else {}))
    values = [compute_value(loss, pull_to_corners(name, batch, by)).item() for by in (0, 0.5, 1)]
    assert values[0] > values[1] > values[2]


@pytest.mark.parametrize(("name", "extra"), SETTINGS)
def test_step_against_the_gradient_lowers_the_loss(name, extra):
    batch = make_batch(name, labels=[0, 0, 1, 2], bias=[0, 1, 0, 2])
    loss = get_loss(name, **extra)
    value, gradients = value_and_gradients(loss, batch)
    tensors = {"z": batch.z, **batch.inputs}
    for key, gradient in gradients.items():  # one tensor at a time
        step = 1e-5 * gradient / gradient.norm()
        assert compute_value(loss, batch.with_tensors(**{key: tensors[key] - step})).item() < value


def make_common_batches(seed=0) -> dict[str, Batch]:
    """Return the same batch for every loss. Unit vectors are valid logits too."""
    shape = {"b": 6, "labels": [0, 0, 0, 1, 1, 2], "bias": [0, 1, 2, 0, 0, 2], "seed": seed}
    unit = make_batch(EMBEDDING_NAMES[0], **shape).z
    return {name: make_batch(name, **shape).with_tensors(z=unit) for name in NAMES}


def test_every_two_losses_differ():
    results = {
        name: value_and_gradients(get_loss(name), batch)
        for name, batch in make_common_batches().items()
    }
    for first, second in itertools.combinations(NAMES, 2):
        (value, gradients), (other_value, other_gradients) = results[first], results[second]
        if {first, second} <= {"ce", *SAME_AS_CE}:
            continue
        assert abs(value - other_value) > 1e-4, (first, second)
        gaps = [
            (gradients[key] - other_gradients[key]).norm()
            for key in gradients
            if key in other_gradients
        ]
        assert max(gaps) > 1e-4 or gradients.keys() != other_gradients.keys(), (first, second)


@pytest.mark.parametrize("name", SAME_AS_CE)
def test_method_that_changes_only_the_run_equals_cross_entropy(name):
    assert LOSSES[name].requires
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        batch = make_biased_batch(name, dtype=dtype)
        value, gradients = value_and_gradients(get_loss(name), batch)
        expected, expected_gradients = value_and_gradients(get_loss("ce"), batch)
        assert value == expected
        assert torch.equal(gradients["z"], expected_gradients["z"])


DIFFERENT = [name for name in NAMES if name not in ("ce", *SAME_AS_CE)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", DIFFERENT)
def test_loss_differs_from_cross_entropy_on_biased_data(name, seed):
    # The same logits. For a loss on embeddings without logits, the embeddings serve as logits.
    # The counts are those of the batch.
    batch = make_biased_batch(name, seed=seed)
    counts = torch.zeros(6, 7, dtype=torch.long)
    counts.index_put_((batch.labels, batch.bias), torch.tensor(1), accumulate=True)
    batch = batch.with_tensors(counts=counts)
    value, gradients = value_and_gradients(get_loss(name), batch)
    logits = batch.inputs.get("logits", batch.z)
    erm, erm_gradients = value_and_gradients(
        get_loss("ce"), Batch(logits, batch.labels, batch.bias, {})
    )
    assert abs(value - erm) > 0.01
    gradient = gradients.get("logits", gradients["z"])
    assert (gradient - erm_gradients["z"]).norm() > 0.01 * erm_gradients["z"].norm() or name in (
        "end",
        "flac",
    )
    if "logits" in gradients:
        assert gradients["z"].norm() > 0.01
    if "features" in gradients:
        assert gradients["features"].norm() > 1e-3


@pytest.mark.parametrize("name", LABEL_PREDICTORS)
def test_gradient_at_equal_logits_raises_the_true_class(name):
    # The start of training. No step may lower the logit of the true class or raise another logit.
    entry = LOSSES[name]
    if entry.input_kind == "embeddings" and "logits" not in entry.tensor_inputs:
        return
    batch = make_biased_batch(name)
    logits = "z" if entry.input_kind == "logits" else "logits"
    batch = batch.map_tensors((logits,), torch.zeros_like)
    batch = batch.with_tensors(partner_labels=batch.labels)  # of one class, as lc mixes
    gradient = value_and_gradients(get_loss(name), batch)[1][logits]
    right = torch.nn.functional.one_hot(batch.labels, 6).bool()[:, None].expand_as(gradient)
    assert (gradient[right] < 0).all()
    assert (gradient[~right] >= 0).all()
    assert torch.allclose(gradient.sum(dim=-1), torch.zeros(40, 2, dtype=torch.float64), atol=1e-12)
