"""Tables of (label, bias) cells, with another number in every cell: priors, weights and group weights."""

from __future__ import annotations

import math

import pytest
import torch

from biascon.errors import UsageError
from biascon.losses import get_loss
from biascon.losses.group_dro import groupdro
from biascon.losses.reweighting import biasbal, reweight
from tests.losses.batches import Batch, check_against_oracle, value_and_gradients
from tests.losses.oracles_bias import groupdro_weights

SHAPES = {"2 x 2": (2, 2), "10 x 10": (10, 10), "3 x 7": (3, 7), "7 x 3": (7, 3), "4 x 1": (4, 1)}
WITH_COUNTS = ["biasbal", "reweight", "biascon+biasbal"]
WITH_TABLES = [*WITH_COUNTS, "groupdro"]


def make_batch_of_all_cells(name, k, m, *, seed=0, empty=(), per_cell=1) -> Batch:
    """Return a shuffled batch with images of every cell, and tables with another number in every cell.

    The cells in ``empty`` have no image in the batch and none in the training split.
    """
    draw = torch.Generator().manual_seed(seed)
    cells = [(y, b) for y in range(k) for b in range(m) if (y, b) not in empty] * per_cell
    order = torch.randperm(len(cells), generator=draw)
    labels, bias = torch.tensor(cells)[order].unbind(dim=1)
    n = len(cells)
    counts = (torch.randperm(k * m, generator=draw) * 3 + 1).view(k, m)
    q = (torch.randperm(k * m, generator=draw) + 1.0).double().view(k, m)
    for cell in empty:
        counts[cell], q[cell] = 0, 0
    logits = torch.randn(n, 2, k, generator=draw, dtype=torch.float64)
    if name == "biascon+biasbal":
        z = torch.nn.functional.normalize(
            torch.randn(n, 2, 8, generator=draw, dtype=torch.float64), dim=-1
        )
        return Batch(z, labels, bias, {"logits": logits, "counts": counts})
    table = {"group_weights": q / q.sum()} if name == "groupdro" else {"counts": counts}
    return Batch(logits, labels, bias, table)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", WITH_TABLES)
def test_value_equals_the_oracle_for_distinct_cell_counts(name, shape):
    k, m = SHAPES[shape]
    check_against_oracle(get_loss(name), make_batch_of_all_cells(name, k, m), 1e-9)


@pytest.mark.parametrize("shape", ["2 x 2", "10 x 10", "3 x 7"])
@pytest.mark.parametrize("name", WITH_TABLES)
def test_value_equals_the_oracle_for_empty_cells(name, shape):
    k, m = SHAPES[shape]
    empty = [(0, m - 1), (k - 1, 0)] if k > 2 else [(0, 1)]
    check_against_oracle(get_loss(name), make_batch_of_all_cells(name, k, m, empty=empty), 1e-9)


@pytest.mark.parametrize("name", WITH_TABLES)
def test_transposed_table_gives_another_value(name):
    # A square table with one image in each cell: only the numbers in the table distinguish the cells.
    batch = make_batch_of_all_cells(name, 10, 10)
    transposed = batch.map_tensors(("counts", "group_weights"), lambda x: x.T.contiguous())
    loss = get_loss(name, **({"ce_weight": 1.0} if "+" in name else {}))
    first, second = (value_and_gradients(loss, b)[0] for b in (batch, transposed))
    assert abs(first - second) > 1e-3


@pytest.mark.parametrize("name", WITH_COUNTS)
def test_image_of_an_empty_cell_has_a_finite_loss(name):
    batch = make_batch_of_all_cells(name, 3, 4)
    counts = batch.inputs["counts"].clone()
    counts[1, 2] = 0
    counts[:, 3] = 0  # and a bias value without training images
    for table in (counts, torch.zeros_like(counts)):
        value, gradients = value_and_gradients(get_loss(name), batch.with_tensors(counts=table))
        assert math.isfinite(value)
        assert all(torch.isfinite(gradient).all() for gradient in gradients.values())


def test_biasbal_equals_ce_for_an_unseen_bias_value():
    batch = make_batch_of_all_cells("biasbal", 3, 4).select_rows(torch.arange(6))
    batch = batch.with_tensors(counts=torch.zeros(3, 4), bias=torch.full((6,), 3))
    value, _ = value_and_gradients(get_loss("biasbal"), batch)
    ce, _ = value_and_gradients(get_loss("ce"), batch._replace(inputs={}))
    assert value == pytest.approx(ce, abs=1e-9)


@pytest.mark.parametrize("name", ["biasbal", "reweight"])
def test_equal_counts_give_cross_entropy(name):
    batch = make_batch_of_all_cells(name, 3, 7)
    even = batch.with_tensors(counts=torch.full((3, 7), 40))
    value, gradients = value_and_gradients(get_loss(name), even)
    ce, ce_gradients = value_and_gradients(get_loss("ce"), batch._replace(inputs={}))
    assert value == pytest.approx(ce, rel=1e-9)
    assert torch.allclose(gradients["z"], ce_gradients["z"], rtol=1e-7)


@pytest.mark.parametrize("name", ["biasbal", "reweight"])
def test_factor_on_all_counts_does_not_change_the_value(name):
    batch = make_batch_of_all_cells(name, 3, 7)
    more = batch.map_tensors(("counts",), lambda x: 1000 * x)
    first, second = (value_and_gradients(get_loss(name), b)[0] for b in (batch, more))
    assert first == pytest.approx(second, rel=1e-9)


@pytest.mark.parametrize("shape", ["2 x 2", "10 x 10", "3 x 7"])
def test_reweight_gives_every_cell_the_same_total_weight(shape):
    # At equal logits, the norm of the gradient of an image is its weight times a constant.
    k, m = SHAPES[shape]
    batch = make_batch_of_all_cells("reweight", k, m, empty=[(0, 1)])
    counts = batch.inputs["counts"]
    even = batch.map_tensors(("z",), torch.zeros_like)
    value, gradients = value_and_gradients(get_loss("reweight"), even)
    norms = gradients["z"].flatten(1).norm(dim=1)
    totals = norms * counts[batch.labels, batch.bias]
    assert totals.tolist() == pytest.approx([totals[0].item()] * len(totals), rel=1e-9)
    assert len(norms.unique()) == len(norms)
    # The weights of the batch sum to 1: the value is that of one image.
    assert value == pytest.approx(math.log(k), rel=1e-9)


def test_prior_of_biasbal_is_conditional_on_the_bias():
    # The gradient of an image with equal logits is softmax - one-hot, and the softmax is the prior.
    batch = make_batch_of_all_cells("biasbal", 3, 7).map_tensors(("z",), torch.zeros_like)
    counts = batch.inputs["counts"].double()
    prior = counts / counts.sum(dim=0)
    one_hot = torch.eye(3, dtype=torch.float64)[batch.labels]
    expected = (prior.T[batch.bias] - one_hot)[:, None].expand(-1, 2, -1) / (2 * len(one_hot))
    gradient = value_and_gradients(get_loss("biasbal"), batch)[1]["z"]
    assert torch.allclose(gradient, expected, atol=1e-9)


@pytest.mark.parametrize("eta", [0.01, 2.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_group_weights_after_a_step_equal_the_oracle(shape, eta):
    k, m = SHAPES[shape]
    batch = make_batch_of_all_cells("groupdro", k, m, per_cell=2).select_rows(torch.arange(k * m))
    q = batch.inputs["group_weights"]
    expected = groupdro_weights(
        batch.z.tolist(),
        batch.labels.tolist(),
        batch.bias.tolist(),
        group_weights=q.tolist(),
        eta=eta,
    )
    get_loss("groupdro", eta=eta)(batch.z, batch.labels, batch.bias, group_weights=q)
    assert torch.allclose(q, torch.tensor(expected).double(), rtol=1e-6, atol=0)
    assert q.sum().item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("shape", ["2 x 2", "10 x 10", "3 x 7"])
def test_only_the_cell_of_the_batch_gains_weight(shape):
    # One image at a time: the weight of its cell grows, the others shrink by one common factor.
    k, m = SHAPES[shape]
    batch = make_batch_of_all_cells("groupdro", k, m)
    for i in range(k * m):
        image = batch.select_rows(torch.tensor([i]))
        before, after = image.inputs["group_weights"], image.inputs["group_weights"].clone()
        get_loss("groupdro", eta=1.0)(image.z, image.labels, image.bias, group_weights=after)
        factor = (after / before).flatten()
        own = int(image.labels) * m + int(image.bias)
        assert factor[own] > 1 or k * m == 1
        rest = torch.cat((factor[:own], factor[own + 1 :]))
        assert torch.allclose(rest, rest[:1].expand_as(rest), rtol=1e-9)
        assert (rest < 1).all()


def test_group_weights_grow_for_the_worst_cell_and_stay_zero_for_an_empty_cell():
    batch = make_batch_of_all_cells("groupdro", 3, 7, empty=[(1, 4)], per_cell=2)
    right = 3.0 * torch.eye(3, dtype=torch.float64)[batch.labels][:, None].expand(-1, 2, -1)
    worst = (batch.labels == 2) & (batch.bias == 5)
    z = torch.where(worst[:, None, None], -right, right)
    q = torch.ones(3, 7)
    q[1, 4] = 0
    q /= q.sum()
    shares, values = [], []
    for _ in range(5):
        value = get_loss("groupdro", eta=0.5)(z, batch.labels, batch.bias, group_weights=q)
        shares.append(q[2, 5].item())
        values.append(value.item())
    assert shares == sorted(shares)
    assert values == sorted(values)
    assert shares[-1] > 0.9
    assert q[1, 4] == 0
    assert q.sum().item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_group_weights_are_updated_in_place_without_gradient(dtype):
    batch = make_batch_of_all_cells("groupdro", 3, 7)
    q = batch.inputs["group_weights"].to(dtype)
    address, before = q.data_ptr(), q.clone()
    z = batch.z.clone().requires_grad_()
    loss = get_loss("groupdro", eta=1.0)
    first = loss(z, batch.labels, batch.bias, group_weights=q)
    second = loss(
        z, batch.labels, batch.bias, group_weights=q
    )  # before the backward pass of the first
    (first + second).backward()
    assert q.data_ptr() == address
    assert not torch.equal(q, before)
    assert not q.requires_grad
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("bias", [-1, 7])
@pytest.mark.parametrize("function", [biasbal, reweight, groupdro])
def test_function_refuses_a_bias_value_outside_the_table(function, bias):
    batch = make_batch_of_all_cells(function.__name__, 3, 7)
    other = batch.bias.clone()
    other[0] = bias
    with pytest.raises(UsageError, match=r"expected bias in 0\.\.6, but got"):
        function(batch.z, batch.labels, other, **batch.inputs)


@pytest.mark.parametrize("name", WITH_TABLES)
@pytest.mark.parametrize("shape", [(4, 7), (2, 7), (3,), (3, 7, 1)])
def test_table_of_another_shape_is_refused(name, shape):
    batch = make_batch_of_all_cells(name, 3, 7)
    key = "group_weights" if name == "groupdro" else "counts"
    with pytest.raises(
        UsageError, match=rf"expected {key} of shape \(3, M\), but got \({shape[0]}"
    ):
        value_and_gradients(get_loss(name), batch.with_tensors(**{key: torch.ones(shape)}))


@pytest.mark.parametrize("bias", [-1, 7, 20])
@pytest.mark.parametrize("name", WITH_TABLES)
def test_bias_value_outside_the_table_is_refused(name, bias):
    # The index of a cell is y * M + b, so that b = M would be the first cell of the next label.
    batch = make_batch_of_all_cells(name, 3, 7)
    other = batch.bias.clone()
    other[0] = bias
    with pytest.raises(UsageError, match=r"bias in 0\.\.6, but got"):
        value_and_gradients(get_loss(name), batch.with_tensors(bias=other))
