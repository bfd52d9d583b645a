"""The loss as an object: what it tells of itself, and that it can be sent elsewhere."""

from __future__ import annotations

import inspect
import pickle

import pytest
import torch

from biascon.losses import LOSSES, NEEDS, default_parameters, get_entry, get_loss, uses_bias_labels
from tests.losses.batches import NAMES, SETTINGS, compute_value, make_batch


@pytest.mark.parametrize(("name", "extra"), SETTINGS)
def test_pickled_loss_equals_the_loss(name, extra):
    loss = get_loss(name, **extra)
    again = pickle.loads(pickle.dumps(loss))
    assert again == loss
    batch = make_batch(name)
    assert torch.equal(compute_value(again, batch), compute_value(loss, batch))


@pytest.mark.parametrize("name", NAMES)
def test_loss_holds_its_entry_and_all_parameters(name):
    loss = get_loss(name)
    known = get_entry(name)
    assert (loss.name, loss.input_kind, loss.needs) == (name, known.input_kind, known.needs)
    assert loss.tensor_inputs == known.tensor_inputs
    assert dict(loss.parameters) == {**default_parameters(name), **known.fixed}
    assert known.formula
    assert known.paper
    assert known.input_kind in ("embeddings", "logits")
    assert set(known.needs) <= set(NEEDS)
    signature = inspect.signature(loss.function).parameters.values()
    given = {p.name for p in signature if p.kind is p.KEYWORD_ONLY and p.default is p.empty}
    assert given == set(known.tensor_inputs) <= set(known.needs)


@pytest.mark.parametrize("name", NAMES)
def test_first_stage_loss_has_no_first_stage(name):
    first = LOSSES[name].first_stage
    assert first is None or LOSSES[first.loss].first_stage is None


def test_methods_without_bias_labels_are_known():
    blind = {name for name in NAMES if not uses_bias_labels(name)}
    expected = {"ce", "simclr", "supcon", "contex", "contex-clip", "eps_supinfonce", "eps_supcon"}
    assert blind == expected | {"gce", "lff", "jtt", "softcon"}


def test_parameters_replace_only_their_defaults():
    loss = get_loss("contex-clip", wa=0.25, temperature=0.2)
    expected = {"temperature": 0.2, "wa": 0.25, "wb": 0.5, "clip": True}
    assert dict(loss.parameters) == expected


@pytest.mark.parametrize("name", NAMES)
def test_integer_parameters_equal_their_floats(name):
    floats = {k: 1.0 for k, v in default_parameters(name).items() if isinstance(v, float)}
    whole = get_loss(name, **dict.fromkeys(floats, 1))
    assert whole == get_loss(name, **floats)
    assert {type(whole.parameters[key]) for key in floats} <= {float}
