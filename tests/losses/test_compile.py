"""Losses under ``torch.compile``: one graph without a break on the dense path."""

from __future__ import annotations

import pytest
import torch

from biascon.losses import get_loss
from tests.losses.batches import NAMES, make_batch, value_and_gradients


@pytest.fixture(autouse=True)
def reset_compiler():
    """Reset the compiler, so that earlier tests do not use up its limit on compilations."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("name", NAMES)
def test_loss_compiles_to_one_graph(name):
    batch = make_batch(name, b=6)
    loss = get_loss(name)
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    expected, expected_gradients = value_and_gradients(loss, batch)
    value, gradients = value_and_gradients(compiled, batch)
    assert value == pytest.approx(expected, rel=1e-12, abs=1e-12)
    for key, gradient in expected_gradients.items():
        assert torch.allclose(gradients[key], gradient, rtol=1e-9, atol=1e-12)


def test_compiled_groupdro_updates_its_weights_in_place():
    batch = make_batch("groupdro", b=6)
    loss = get_loss("groupdro", eta=1.0)
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    expected, q = (batch.inputs["group_weights"].clone() for _ in range(2))
    for _ in range(3):
        loss(batch.z, batch.labels, batch.bias, group_weights=expected)
        compiled(batch.z, batch.labels, batch.bias, group_weights=q)
    assert torch.equal(q, expected)
    assert not torch.equal(q, batch.inputs["group_weights"])
