"""What every loss rewards: the step that it asks for lowers it, and no two ask for the same."""

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
    """Each image moved towards a corner for its class (for itself, where the loss has no labels)."""
    known = LOSSES[name]
    of = batch.bias if known.predicts == "bias" else batch.labels
    if "labels" not in known.batch_inputs and known.input_kind == "embeddings":
        of = torch.arange(len(of))
    corners = strength * torch.eye(6, dtype=torch.float64)[of][:, None]
    logits = "z" if known.input_kind == "logits" else "logits"
    moved = batch.map_tensors((logits,), lambda x: x + corners)
    if known.input_kind == "embeddings":
        moved = moved.with_tensors(z=torch.nn.functional.normalize(batch.z + corners, dim=-1))
    return moved


PULL_SETTINGS = [case for case in SETTINGS if "weight" not in case.values[1]]  # FairKL's R may rise


@pytest.mark.parametrize(("name", "extra"), PULL_SETTINGS)
@quicker
@given(seed=st.integers(0, 10**6))
def test_loss_falls_when_positives_are_pulled_together(name, extra, seed):
    across = {"bias", "bias_features"} & set(LOSSES[name].needs)  # positives are of another image
    labels = [0, 0, 1, 1] if across else [0, 1, 2, 3]
    batch = make_batch(name, labels=labels, bias=[0, 1, 2, 3], v=2, seed=seed)
    loss = get_loss(
        name, **{**({"weight": 0} if "weight" in default_parameters(name) else {}), **extra}
    )
    values = [compute_value(loss, pull_to_corners(name, batch, by)).item() for by in (0, 3, 10)]
    assert values[1] < values[0] - 0.01
    assert values[2] < values[0] - 0.01  # no lower than that, for classes also repel each other


@pytest.mark.parametrize("name", NAMES)
def test_loss_falls_step_by_step_when_positives_are_pulled_together(name):
    batch = make_batch(name, b=6, labels=[0, 0, 1, 1, 2, 2], bias=[0, 1, 1, 2, 2, 0])
    loss = get_loss(name, **({"weight": 0} if "weight" in default_parameters(name) else {}))
    values = [compute_value(loss, pull_to_corners(name, batch, by)).item() for by in (0, 0.5, 1)]
    assert values[0] > values[1] > values[2]


@pytest.mark.parametrize(("name", "extra"), SETTINGS)
def test_step_against_the_gradient_lowers_the_loss(name, extra):
    batch = make_batch(name, labels=[0, 0, 1, 2], bias=[0, 1, 0, 2])
    loss = get_loss(name, **extra)
    value, gradients = value_and_gradients(loss, batch)
    tensors = {"z": batch.z, **batch.inputs}
    for key, gradient in gradients.items():  # each by itself
        step = 1e-5 * gradient / gradient.norm()
        assert compute_value(loss, batch.with_tensors(**{key: tensors[key] - step})).item() < value


def make_common_batches(seed=0) -> dict[str, Batch]:
    """For every loss the same batch: unit vectors are valid logits too."""
    given = {"b": 6, "labels": [0, 0, 0, 1, 1, 2], "bias": [0, 1, 2, 0, 0, 2], "seed": seed}
    unit = make_batch(EMBEDDING_NAMES[0], **given).z
    return {name: make_batch(name, **given).with_tensors(z=unit) for name in NAMES}


def test_every_two_losses_differ():
    found = {
        name: value_and_gradients(get_loss(name), batch)
        for name, batch in make_common_batches().items()
    }
    for one, other in itertools.combinations(NAMES, 2):
        (value, gradients), (another, others) = found[one], found[other]
        if {one, other} <= {"ce", *SAME_AS_CE}:
            continue
        assert abs(value - another) > 1e-4, (one, other)
        gaps = [(gradients[key] - others[key]).norm() for key in gradients if key in others]
        assert max(gaps) > 1e-4 or gradients.keys() != others.keys(), (one, other)


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
    # The same logits; a loss on embeddings has others beside them, and embeddings are logits if not.
    batch = make_biased_batch(name, seed=seed)
    value, gradients = value_and_gradients(get_loss(name), batch)
    logits = batch.inputs.get("logits", batch.z)
    erm, erm_gradients = value_and_gradients(
        get_loss("ce"), Batch(logits, batch.labels, batch.bias, {})
    )
    assert abs(value - erm) > 0.01
    theirs = gradients.get("logits", gradients["z"])
    assert (theirs - erm_gradients["z"]).norm() > 0.01 * erm_gradients["z"].norm() or name in (
        "end",
        "flac",
    )
    if "logits" in gradients:
        assert gradients["z"].norm() > 0.01
    if "features" in gradients:
        assert gradients["features"].norm() > 1e-3


@pytest.mark.parametrize("name", LABEL_PREDICTORS)
def test_gradient_at_equal_logits_raises_the_true_class(name):
    # As training begins: equal logits. No loss may ask for less of the true class, or for more of another.
    known = LOSSES[name]
    if known.input_kind == "embeddings" and "logits" not in known.tensor_inputs:
        return
    batch = make_biased_batch(name)
    logits = "z" if known.input_kind == "logits" else "logits"
    batch = batch.map_tensors((logits,), torch.zeros_like)
    gradient = value_and_gradients(get_loss(name), batch)[1][logits]
    right = torch.nn.functional.one_hot(batch.labels, 6).bool()[:, None].expand_as(gradient)
    assert (gradient[right] < 0).all()
    assert (gradient[~right] >= 0).all()
    assert torch.allclose(gradient.sum(dim=-1), torch.zeros(40, 2, dtype=torch.float64), atol=1e-12)
