"""Inferred environments: the maximum of the objective, conflicting images, and images without influence."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional as F

from biascon.errors import UsageError
from biascon.training.inferred_groups import infer_environments


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def draw_predictor(n, *, k=10, margin=8.0, share=0.02, seed=0):
    """Return logits and labels, and which images contradict the predictor: a share, one image at least."""
    draw = seeded(seed)
    labels = torch.randint(k, (n,), generator=draw)
    contradicts = torch.randperm(n, generator=draw) < max(1, int(share * n))
    shift = torch.randint(1, k, (n,), generator=draw)
    predicted = torch.where(contradicts, (labels + shift) % k, labels)
    logits = torch.rand(n, k, generator=draw) + margin * F.one_hot(predicted, k)
    return logits, labels, contradicts


def penalties(logits, labels, q):
    """Return the objective by automatic differentiation, as its definition reads."""
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    losses = F.cross_entropy(scale * logits.double(), labels, reduction="none")
    total = 0.0
    for weight in (q, 1 - q):
        (gradient,) = torch.autograd.grad((weight * losses).mean(), scale, retain_graph=True)
        total += gradient.item() ** 2
    return total


@pytest.mark.parametrize("n", [1000, pytest.param(5000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("margin", [8.0, 30.0])
@pytest.mark.parametrize("seed", range(3))
def test_environment_one_holds_the_images_that_contradict_the_predictor(n, margin, seed):
    logits, labels, contradicts = draw_predictor(n, margin=margin, seed=seed)
    found = infer_environments(logits, labels, generator=seeded(seed)) == 1
    assert (found & contradicts).sum() >= 0.98 * contradicts.sum()
    assert (found & contradicts).sum() >= 0.95 * found.sum()


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_the_split_has_the_largest_objective_of_all_splits(k, seed):
    draw = seeded(seed)
    logits = 2 * torch.randn(8, k, generator=draw)
    labels = torch.randint(k, (8,), generator=draw)
    found = infer_environments(logits, labels, generator=seeded(seed))
    best = max(
        penalties(logits, labels, torch.tensor(q, dtype=torch.float64))
        for q in itertools.product((0.0, 1.0), repeat=8)
    )
    assert penalties(logits, labels, found.double()) == pytest.approx(best, rel=1e-9)


def test_environment_one_is_the_smaller_one():
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        logits, labels, contradicts = draw_predictor(400, share=share)
        found = infer_environments(logits, labels, generator=seeded())
        smaller = contradicts if share <= 0.5 else ~contradicts
        assert torch.equal(found, smaller.long())


def test_the_split_does_not_depend_on_the_start():
    logits, labels, _ = draw_predictor(500, margin=2.0)
    splits = [infer_environments(logits, labels, generator=seeded(seed)) for seed in range(4)]
    assert all(torch.equal(split, splits[0]) for split in splits)


def test_a_sure_predictor_leaves_no_image_in_its_random_environment():
    """The gradient of a right image is about 1e-12 here. An Adam with its usual 1e-8 would not move it."""
    logits, labels, contradicts = draw_predictor(2000, margin=32.0)
    found = infer_environments(logits, labels, generator=seeded())
    assert torch.equal(found, contradicts.long())


def test_too_few_steps_leave_the_random_start():
    logits, labels, contradicts = draw_predictor(2000)
    found = infer_environments(logits, labels, steps=1, generator=seeded())
    assert not torch.equal(found, contradicts.long())
    assert 0.4 < found.double().mean() <= 0.5


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        pytest.param(torch.zeros(50, 4), torch.arange(50) % 4, id="logits of 0"),
        pytest.param(torch.full((50, 4), 7.0), torch.arange(50) % 4, id="equal logits"),
        pytest.param(9 * torch.eye(4)[torch.arange(50) % 4], torch.arange(50) % 4, id="all right"),
        pytest.param(1e4 * torch.eye(4)[torch.arange(50) % 4], torch.arange(50) % 4, id="all sure"),
        pytest.param(
            9 * torch.eye(4)[torch.zeros(50).long()], torch.ones(50).long(), id="all wrong"
        ),
        pytest.param(torch.zeros(0, 4), torch.zeros(0).long(), id="no image"),
        pytest.param(
            torch.randn(50, 1, generator=seeded()), torch.zeros(50).long(), id="one label"
        ),
        pytest.param(9 * torch.eye(4)[:1], torch.zeros(1).long(), id="one image"),
    ],
)
def test_images_that_do_not_differ_share_environment_zero(logits, labels):
    found = infer_environments(logits, labels, generator=seeded())
    assert found.dtype == torch.int64
    assert found.tolist() == [0] * len(labels)


def test_an_image_without_influence_gets_environment_zero():
    logits, labels, contradicts = draw_predictor(300, share=0.3)
    logits = torch.cat((logits, torch.zeros(200, 10)))
    labels = torch.cat((labels, torch.zeros(200).long()))
    found = infer_environments(logits, labels, generator=seeded())
    assert torch.equal(found, torch.cat((contradicts, torch.zeros(200, dtype=torch.bool))).long())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_logits_of_every_precision_are_accepted(dtype):
    logits, labels, contradicts = draw_predictor(300)
    found = infer_environments(logits.to(dtype), labels, generator=seeded())
    assert torch.equal(found, contradicts.long())


def test_inputs_that_do_not_fit_are_refused():
    logits, labels, _ = draw_predictor(20)
    with pytest.raises(UsageError, match="finite logits"):
        infer_environments(logits * torch.nan, labels, generator=seeded())
    with pytest.raises(UsageError, match="shape"):
        infer_environments(logits[:, None], labels, generator=seeded())
    with pytest.raises(UsageError, match="shape"):
        infer_environments(logits, labels[:-1], generator=seeded())
    with pytest.raises(UsageError, match=r"labels in 0\.\.9"):
        infer_environments(logits, labels + 10, generator=seeded())
