"""The loss as an object: what it tells of itself, and that it can be sent elsewhere."""

from __future__ import annotations

import inspect
import pickle

import pytest
import torch

from biascon.losses import LOSSES, NEEDS, default_parameters, get_entry, get_loss, uses_bias_labels
from tests.losses.batches import NAMES, SETTINGS, make, value_of


@pytest.mark.parametrize(("name", "extra"), SETTINGS)
def test_loss_survives_pickling(name, extra):
    loss = get_loss(name, **extra)
    again = pickle.loads(pickle.dumps(loss))
    assert again == loss
    batch = make(name)
    assert torch.equal(value_of(again, batch), value_of(loss, batch))


@pytest.mark.parametrize("name", NAMES)
def test_loss_tells_its_parameters_and_what_it_needs(name):
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
def test_first_stage_is_a_loss_that_needs_no_first_stage(name):
    first = LOSSES[name].first_stage
    assert first is None or LOSSES[first.loss].first_stage is None


def test_which_methods_see_the_bias_labels():
    blind = {name for name in NAMES if not uses_bias_labels(name)}
    expected = {"ce", "simclr", "supcon", "contex", "contex-clip", "eps_supinfonce", "eps_supcon"}
    assert blind == expected | {"gce", "lff", "jtt", "softcon"}


def test_given_parameters_replace_the_defaults_and_nothing_else():
    loss = get_loss("contex-clip", wa=0.25, temperature=0.2)
    expected = {"temperature": 0.2, "wa": 0.25, "wb": 0.5, "clip": True}
    assert dict(loss.parameters) == expected


@pytest.mark.parametrize("name", NAMES)
def test_whole_numbers_are_the_same_as_their_floats(name):
    floats = {k: 1.0 for k, v in default_parameters(name).items() if isinstance(v, float)}
    whole = get_loss(name, **dict.fromkeys(floats, 1))
    assert whole == get_loss(name, **floats)
    assert {type(whole.parameters[key]) for key in floats} <= {float}
