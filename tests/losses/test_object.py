"""The ``Loss`` object: its entry, its parameters and pickling; and the entries of the registry."""

from __future__ import annotations

import inspect
import pickle

import pytest
import torch

from biascon.errors import UsageError
from biascon.losses import (
    LOSSES,
    NEEDS,
    Loss,
    LossEntry,
    Requirement,
    default_parameters,
    get_entry,
    get_loss,
    uses_bias_labels,
)
from biascon.losses.registry import BATCH_INPUTS, REQUIREMENTS, TENSOR_INPUTS
from tests.losses.batches import NAMES, SETTINGS, compute_value, list_choices, make_batch


@pytest.mark.parametrize(("name", "extra"), SETTINGS)
def test_pickled_loss_equals_the_loss(name, extra):
    loss = get_loss(name, **extra)
    copy = pickle.loads(pickle.dumps(loss))
    assert copy == loss
    batch = make_batch(name)
    assert torch.equal(compute_value(copy, batch), compute_value(loss, batch))


@pytest.mark.parametrize("name", NAMES)
def test_loss_holds_its_entry_and_all_parameters(name):
    loss = get_loss(name)
    entry = get_entry(name)
    assert (loss.name, loss.entry) == (name, entry)
    assert (loss.input_kind, loss.tensor_inputs) == (entry.input_kind, entry.tensor_inputs)
    assert dict(loss.parameters) == {**default_parameters(name), **entry.fixed}
    assert entry.formula
    assert entry.paper
    signature = inspect.signature(loss.function).parameters.values()
    required = {p.name for p in signature if p.kind is p.KEYWORD_ONLY and p.default is p.empty}
    assert required == set(entry.tensor_inputs)
    optional = {p.name for p in signature if p.kind is p.KEYWORD_ONLY and p.default is None}
    assert optional == set(loss.optional_inputs) == set(entry.optional_inputs)


@pytest.mark.parametrize("name", NAMES)
def test_needs_join_the_described_inputs_and_requirements(name):
    entry = LOSSES[name]
    assert set(entry.batch_inputs) <= set(BATCH_INPUTS)
    assert set(entry.tensor_inputs) <= set(TENSOR_INPUTS)
    assert set(entry.requires) <= set(Requirement) == set(REQUIREMENTS)
    assert entry.needs == (*entry.batch_inputs, *entry.tensor_inputs, *entry.requires)
    assert get_loss(name).needs == entry.needs
    assert all(NEEDS[need] for need in entry.needs)


# Held-out training images need no bias labels. Added bias features use them in the first stage.
WITHOUT_BIAS_LABELS = {Requirement.HELD_OUT_TRAINING, Requirement.ADDED_BIAS_FEATURES}


@pytest.mark.parametrize("requirement", Requirement)
def test_requirement_that_groups_images_uses_bias_labels(requirement):
    entry = LossEntry("m:f", "", "", requires=(requirement,))
    assert entry.uses_bias_labels == (requirement not in WITHOUT_BIAS_LABELS)
    assert not LossEntry("m:f", "", "").uses_bias_labels


def test_requirements_of_the_methods_are_known():
    expected = {
        "resample": (Requirement.GROUP_SAMPLING,),
        "groupdro": (Requirement.GROUP_SAMPLING,),
        "lisa": (Requirement.GROUP_SAMPLING,),
        "cnc": (Requirement.GROUP_SAMPLING,),
        "subg": (Requirement.GROUP_SUBSAMPLING,),
        "dfr": (Requirement.HELD_OUT_BIAS,),
        "afr": (Requirement.HELD_OUT_TRAINING,),
        "badd": (Requirement.ADDED_BIAS_FEATURES,),
    }
    assert {name: LOSSES[name].requires for name in NAMES if LOSSES[name].requires} == expected


@pytest.mark.parametrize("name", NAMES)
def test_first_stage_loss_has_no_first_stage(name):
    first_stage = LOSSES[name].first_stage
    assert first_stage is None or LOSSES[first_stage.loss].first_stage is None


def test_methods_without_bias_labels_are_known():
    without = {name for name in NAMES if not uses_bias_labels(name)}
    expected = {"ce", "simclr", "supcon", "contex", "contex-clip", "eps_supinfonce", "eps_supcon"}
    assert without == expected | {"gce", "lff", "jtt", "softcon", "afr", "cnc", "lc"}


@pytest.mark.parametrize("name", ["cnc", "lc"])
def test_predictions_of_the_first_stage_replace_bias_labels(name):
    entry = get_entry(name)
    assert entry.groups_by_bias
    assert entry.infers_bias
    assert not entry.uses_bias_labels
    assert entry.first_stage.gives == "predictions"


@pytest.mark.parametrize("name", ["flac", "badd"])
def test_bias_labels_of_the_first_stage_count_for_the_method(name):
    assert not get_entry(name).uses_bias_labels
    assert get_entry(name).first_stage.loss == "bias-ce"
    assert uses_bias_labels(name)


def test_parameters_replace_only_their_defaults():
    loss = get_loss("contex-clip", wa=0.25, temperature=0.2)
    expected = {"temperature": 0.2, "wa": 0.25, "wb": 0.5, "form": "clip"}
    assert dict(loss.parameters) == expected


WEIGHTS = {"plain": (0.5, 0.5), "clip": (0.5, 0.5), "log1p": (0.6, 0.4), "separate": (0.7, 0.3)}


@pytest.mark.parametrize("form", list_choices("contex", "form"))
def test_default_weights_of_contex_depend_on_the_form(form):
    wa, wb = WEIGHTS[form]
    assert dict(get_loss("contex", form=form).parameters) == {
        "temperature": 0.1,
        "wa": wa,
        "wb": wb,
        "form": form,
    }
    assert get_loss("contex", form=form, wa=0.2).parameters["wa"] == 0.2
    assert get_loss("contex", form=form, wa=0.2).parameters["wb"] == wb
    defaults = default_parameters("contex", {"form": form, "wa": 0.2})
    assert (defaults["wa"], defaults["wb"]) == (wa, wb)
    assert default_parameters("contex")["wa"] == 0.5


def test_default_by_value_replaces_a_free_parameter_of_the_loss():
    for name, entry in LOSSES.items():
        free = set(default_parameters(name)) - set(entry.fixed)
        for key, by_value in entry.defaults_by_value.items():
            assert key in free
            assert set(by_value) <= set(list_choices(name, key))
            assert all(set(values) <= free for values in by_value.values())


@pytest.mark.parametrize("name", NAMES)
def test_integer_parameters_equal_their_floats(name):
    ranges = get_entry(name).ranges
    floats = {
        key: 1.0
        for key, value in default_parameters(name).items()
        if isinstance(value, float) and (key not in ranges or ranges[key].contains(1.0))
    }
    with_integers = get_loss(name, **dict.fromkeys(floats, 1))
    assert with_integers == get_loss(name, **floats)
    assert {type(with_integers.parameters[key]) for key in floats} <= {float}


def with_offset(z, labels, bias=None, *, features, weights=None, scale: float = 1.0):
    """A loss with a required and an optional input."""
    value = scale * (z.sum() + features.sum())
    return value if weights is None else value + weights.sum()


def test_optional_input_may_be_given_or_left_out():
    entry = LossEntry(
        "m:f",
        "",
        "",
        input_kind="logits",
        tensor_inputs=("features",),
        optional_inputs=("weights",),
    )
    loss = Loss("mine", entry, {"scale": 2.0}, with_offset)
    z, features, weights = torch.ones(3, 1, 2), torch.ones(3, 1, 4), torch.ones(3)
    labels = torch.zeros(3, dtype=torch.long)
    assert loss(z, labels, features=features) == 36
    assert loss(z, labels, features=features, weights=None) == 36
    assert loss(z, labels, features=features, weights=weights) == 39
    message = r"expects the inputs features, weights \(optional\), but got weights"
    with pytest.raises(UsageError, match=message):
        loss(z, labels, weights=weights)
    with pytest.raises(UsageError, match="but got features, counts"):
        loss(z, labels, features=features, counts=weights)
    with pytest.raises(UsageError, match=r"weights\[0\] is nan"):
        loss(z, labels, features=features, weights=weights * torch.nan, check=True)


def test_optional_input_is_no_free_parameter(monkeypatch):
    entry = LossEntry(
        f"{__name__}:with_offset",
        "",
        "",
        tensor_inputs=("features",),
        optional_inputs=("weights",),
    )
    monkeypatch.setitem(LOSSES, "mine", entry)
    assert default_parameters("mine") == {"scale": 1.0}
    with pytest.raises(UsageError, match="has no parameter 'weights'"):
        get_loss("mine", weights=1)


def test_values_are_checked_at_the_first_call_that_does_not_forbid_it():
    loss = get_loss("supcon")
    z, labels = 2 * torch.ones(4, 2, 3), torch.tensor([0, 0, 1, 1])
    loss(z, labels, check=False)
    with pytest.raises(UsageError, match="norm 1"):
        loss(z, labels)
