"""Inputs, parameters and names that a loss refuses, and the error messages."""

from __future__ import annotations

import math
import re

import pytest
import torch

from biascon.errors import UsageError
from biascon.losses import (
    LOSSES,
    canonical_name,
    default_parameters,
    get_entry,
    get_loss,
    uses_bias_labels,
)
from tests.losses.batches import (
    EMBEDDING_NAMES,
    INTEGERS,
    NAMES,
    NETWORK_OUTPUTS,
    PAIRWISE_NAMES,
    WITH_BIAS,
    WITH_LABELS,
    compute_value,
    list_choices,
    make_batch,
)

# z and batch


@pytest.mark.parametrize("shape", [(4, 6), (4, 2, 6, 1), (4,)])
@pytest.mark.parametrize("name", NAMES)
def test_z_with_another_number_of_dimensions_is_refused(name, shape):
    with pytest.raises(UsageError, match=r"expected z of shape \(B, V, [DKM]\), but got \(4"):
        compute_value(get_loss(name), make_batch(name).with_tensors(z=torch.zeros(shape)))


@pytest.mark.parametrize("name", NAMES)
def test_integer_z_is_refused(name):
    batch = make_batch(name)
    with pytest.raises(UsageError, match=r"floating point, but got torch\.int64"):
        compute_value(get_loss(name), batch.with_tensors(z=batch.z.long()))


WRONG_IDS = {
    "short": torch.zeros(3, dtype=torch.long),
    "one for each anchor": torch.zeros(8, dtype=torch.long),
    "two-dimensional": torch.zeros(4, 2).long(),
}
NEEDED = [(name, "labels") for name in WITH_LABELS] + [(name, "bias") for name in WITH_BIAS]


@pytest.mark.parametrize("ids", WRONG_IDS)
@pytest.mark.parametrize(("name", "which"), NEEDED)
def test_labels_and_bias_of_another_shape_are_refused(name, which, ids):
    with pytest.raises(UsageError, match=rf"expected {which} of shape \(4,\), but got"):
        compute_value(get_loss(name), make_batch(name).with_tensors(**{which: WRONG_IDS[ids]}))


@pytest.mark.parametrize(("name", "which"), NEEDED)
def test_float_labels_and_bias_are_refused(name, which):
    batch = make_batch(name)
    floats = getattr(batch, which).float()
    with pytest.raises(UsageError, match=rf"{which} to be integers, but got torch\.float32"):
        compute_value(get_loss(name), batch.with_tensors(**{which: floats}))


@pytest.mark.parametrize(("name", "which"), NEEDED)
def test_missing_labels_and_bias_are_refused(name, which):
    noun = "labels" if which == "labels" else "the bias attribute"
    with pytest.raises(UsageError, match=f"needs {noun}, but got None"):
        compute_value(get_loss(name), make_batch(name).with_tensors(**{which: None}))


CLASSIFIED = [
    name
    for name in WITH_LABELS
    if LOSSES[name].input_kind == "logits" or "logits" in LOSSES[name].tensor_inputs
]


@pytest.mark.parametrize("label", [-1, 6, 2**40])
@pytest.mark.parametrize("name", CLASSIFIED)
def test_label_without_a_logit_is_refused(name, label):
    labels = torch.tensor([0, label, 1, 2])
    low, high = min(label, 0), max(label, 2)
    with pytest.raises(UsageError, match=rf"expected labels in 0\.\.5, but got {low}\.\.{high}"):
        compute_value(get_loss(name), make_batch(name).with_tensors(labels=labels))


@pytest.mark.parametrize("value", [-1, 6, 2**40])
def test_bias_value_without_a_logit_is_refused(value):
    with pytest.raises(UsageError, match=r"expected bias in 0\.\.5, but got"):
        compute_value(
            get_loss("bias-ce"),
            make_batch("bias-ce").with_tensors(bias=torch.tensor([0, value, 1, 2])),
        )


# Inputs


@pytest.mark.parametrize("name", NAMES)
def test_missing_and_unexpected_inputs_are_refused(name):
    batch = make_batch(name)
    loss = get_loss(name)
    optional = [f"{key} (optional)" for key in loss.optional_inputs]
    expected = ", ".join([*loss.tensor_inputs, *optional]) or "none"
    invalid = [{**batch.inputs, "zzz": batch.z}]
    invalid += [{k: v for k, v in batch.inputs.items() if k != key} for key in loss.tensor_inputs]
    for inputs in invalid:
        got = ", ".join(inputs) or "none"
        message = f"loss '{name}' expects the inputs {expected}, but got {got}"
        with pytest.raises(UsageError, match=re.escape(message)):
            loss(batch.z, batch.labels, batch.bias, **inputs)


WRONG_INPUTS = {  # of a batch of 4 images with 2 views and 6 classes
    "logits": [(4, 6), (3, 2, 6), (4, 2, 6, 1)],
    "features": [(4, 5), (3, 2, 5), (4, 2, 5, 1)],
    "bias_features": [(4,), (3, 5), (8, 5), (4, 2, 5)],
    "bias_losses": [(3,), (8,), (4, 2), ()],
    "weights": [(3,), (8,), (4, 2), ()],
    "counts": [(5, 7), (7, 6), (6,), (6, 7, 1)],
    "group_weights": [(5, 7), (7, 6), (6,), (6, 7, 1)],
    "partner_labels": [(3,), (8,), (4, 2), ()],
    "partner_bias": [(3,), (8,), (4, 2), ()],
    "mix": [(3,), (8,), (4, 2), ()],
}


@pytest.mark.parametrize(
    ("name", "key", "shape"),
    [(n, k, shape) for n in NAMES for k in LOSSES[n].tensor_inputs for shape in WRONG_INPUTS[k]],
)
def test_input_of_another_shape_is_refused(name, key, shape):
    message = rf"expected {key} of shape .*, but got {re.escape(str(shape))}"
    with pytest.raises(UsageError, match=message):
        compute_value(get_loss(name), make_batch(name).with_tensors(**{key: torch.ones(shape)}))


@pytest.mark.parametrize(
    ("name", "key"),
    [(n, k) for n in NAMES for k in NETWORK_OUTPUTS if k in LOSSES[n].tensor_inputs],
)
def test_integer_output_of_the_network_is_refused(name, key):
    batch = make_batch(name)
    with pytest.raises(UsageError, match=f"expected {key} to be floating point"):
        compute_value(get_loss(name), batch.with_tensors(**{key: batch.inputs[key].long()}))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (n, k)
        for n in NAMES
        for k in ("mix", "weights", "bias_losses")
        if k in LOSSES[n].tensor_inputs
    ],
)
def test_number_of_an_image_that_is_an_integer_is_refused(name, key):
    # A share or a loss that was rounded means nothing.
    batch = make_batch(name)
    with pytest.raises(UsageError, match=rf"{key} to be floating point, but got torch\.int64"):
        compute_value(get_loss(name), batch.with_tensors(**{key: batch.inputs[key].long()}))


@pytest.mark.parametrize(
    ("name", "key", "highest"), [("lisa", "partner_labels", 5), ("lc", "partner_bias", 6)]
)
def test_label_or_bias_value_of_a_partner_is_checked(name, key, highest):
    batch = make_batch(name)
    for value in (-1, highest + 1):
        ids = batch.inputs[key].clone()
        ids[1] = value
        with pytest.raises(UsageError, match=rf"expected {key} in 0\.\.{highest}, but got"):
            compute_value(get_loss(name), batch.with_tensors(**{key: ids}))
    with pytest.raises(UsageError, match=f"expected {key} to be integers"):
        compute_value(get_loss(name), batch.with_tensors(**{key: batch.inputs[key].float()}))


# check=True

REAL = [(n, k) for n in NAMES for k in ("z", *LOSSES[n].tensor_inputs) if k not in INTEGERS]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("name", "key"), REAL)
def test_checked_loss_refuses_values_that_are_not_finite_with_their_index(name, key, value):
    batch = make_batch(name, dtype=torch.float32)
    tensor = {"z": batch.z, **batch.inputs}[key].clone()
    index = tuple(size - 1 for size in tensor.shape)
    tensor[index] = value
    message = f"loss '{name}': {key}[{', '.join(map(str, index))}] is {value}"
    with pytest.raises(UsageError, match=re.escape(message)):
        compute_value(get_loss(name), batch.with_tensors(**{key: tensor}), check=True)


# Values that give a finite but meaningless loss, and the range in the message.
MEANINGLESS = {
    "mix": ((-0.1, 1.1, 50.0), "in 0..1"),
    "weights": ((-1.0,), "at least 0"),
    "bias_losses": ((-1.0,), "at least 0"),
    "group_weights": ((-0.1,), "at least 0"),
    "counts": ((-1.0, 0.25), "a number of images (not a share)"),
}


@pytest.mark.parametrize(
    ("name", "key"), [(n, k) for n in NAMES for k in LOSSES[n].tensor_inputs if k in MEANINGLESS]
)
def test_checked_loss_refuses_values_without_a_meaning_with_their_index(name, key):
    values, expected = MEANINGLESS[key]
    batch = make_batch(name)
    for value in values:
        tensor = batch.inputs[key].double()
        index = tuple(size - 1 for size in tensor.shape)
        tensor[index] = value
        invalid = batch.with_tensors(**{key: tensor})
        place = f"{key}[{', '.join(map(str, index))}]"
        message = f"loss '{name}': expected {place} to be {expected}, but got {value:.4g}"
        with pytest.raises(UsageError, match=re.escape(message)):
            compute_value(get_loss(name), invalid)  # the first call is checked
        compute_value(get_loss(name), invalid, check=False)


@pytest.mark.parametrize("name", ["lisa", "lc"])
def test_mixed_shares_of_zero_and_one_are_accepted(name):
    batch = make_batch(name)
    for share in (torch.zeros(4), torch.ones(4)):
        compute_value(get_loss(name), batch.with_tensors(mix=share), check=True)


def test_group_weights_that_are_all_zero_are_refused():
    batch = make_batch("groupdro")
    empty = torch.zeros_like(batch.inputs["group_weights"])
    with pytest.raises(UsageError, match="expected a cell with group_weights above 0"):
        compute_value(get_loss("groupdro"), batch.with_tensors(group_weights=empty))


@pytest.mark.parametrize(("name", "key"), REAL)
def test_unchecked_loss_accepts_values_that_are_not_finite(name, key):
    batch = make_batch(name, dtype=torch.float32)
    tensor = {"z": batch.z, **batch.inputs}[key].clone()
    tensor[(0,) * tensor.ndim] = math.nan
    compute_value(get_loss(name), batch.with_tensors(**{key: tensor}), check=False)


@pytest.mark.parametrize(("name", "key"), REAL)
def test_first_call_of_a_loss_is_checked_by_default(name, key):
    batch = make_batch(name, dtype=torch.float32)
    tensor = {"z": batch.z, **batch.inputs}[key].clone()
    tensor[(0,) * tensor.ndim] = math.nan
    invalid = batch.with_tensors(**{key: tensor})
    loss = get_loss(name)
    for _ in range(2):  # a refused call is not the first one
        with pytest.raises(UsageError, match=f"{key}.*is nan"):
            compute_value(loss, invalid)
    compute_value(loss, batch)
    compute_value(loss, invalid)  # a later call is not checked
    with pytest.raises(UsageError, match="is nan"):
        compute_value(loss, invalid, check=True)


@pytest.mark.parametrize("name", EMBEDDING_NAMES)
def test_first_call_refuses_embeddings_that_are_not_normalized(name):
    batch = make_batch(name)
    with pytest.raises(UsageError, match=r"norm 1 \(normalize them\), but z\[0, 0\] has norm 3"):
        compute_value(get_loss(name), batch.with_tensors(z=3 * batch.z))


@pytest.mark.parametrize("name", NAMES)
def test_batch_without_views_is_refused_with_the_repair(name):
    batch = make_batch(name)
    repair = "torch.stack([z1, z2], 1)" if name in EMBEDDING_NAMES else "z[:, None]"
    with pytest.raises(UsageError, match=re.escape(f"got (4, 6) (V are views: pass {repair})")):
        compute_value(get_loss(name), batch.with_tensors(z=batch.z[:, 0]))


@pytest.mark.parametrize("length", [0.0, 0.99, 1.02, 7.0])
@pytest.mark.parametrize("name", EMBEDDING_NAMES)
def test_checked_loss_refuses_embeddings_of_another_norm_with_their_index(name, length):
    batch = make_batch(name, dtype=torch.float32)
    z = batch.z.clone()
    z[2, 1] *= length
    message = f"expected embeddings of norm 1 (normalize them), but z[2, 1] has norm {length:.4g}"
    with pytest.raises(UsageError, match=re.escape(message)):
        compute_value(get_loss(name), batch.with_tensors(z=z), check=True)
    compute_value(get_loss(name), batch.with_tensors(z=z), check=False)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_checked_loss_equals_the_unchecked_loss_on_a_valid_batch(name, dtype):
    batch = make_batch(name, d=64, classes=6, dtype=dtype)
    loss = get_loss(name)
    assert torch.equal(compute_value(loss, batch, check=True), compute_value(loss, batch))


@pytest.mark.parametrize("name", NAMES)
def test_checked_loss_accepts_an_empty_batch(name):
    batch = make_batch(name, b=0, labels=[], bias=[])
    assert compute_value(get_loss(name), batch, check=True).item() == 0.0


# Parameters

NO_NUMBER = (math.nan, math.inf, -math.inf, "a", True, None, [1])
BELOW_0 = (-1, -1e-9)
POSITIVE, AT_LEAST_0 = (0, 0.0, *BELOW_0), BELOW_0
# parameter -> the range in the message, and values outside the range
RANGES = {
    "temperature": ("larger than 0", POSITIVE),
    "delta": ("larger than 0", POSITIVE),
    "wa": ("at least 0", AT_LEAST_0),
    "wb": ("at least 0", AT_LEAST_0),
    "epsilon": ("at least 0", AT_LEAST_0),
    "weight": ("at least 0", AT_LEAST_0),
    "ce_weight": ("at least 0", AT_LEAST_0),
    "alpha": ("at least 0", AT_LEAST_0),
    "beta": ("at least 0", AT_LEAST_0),
    "eta": ("at least 0", AT_LEAST_0),
    "k": ("at least 0", AT_LEAST_0),
    "decoupling": ("at least 0", AT_LEAST_0),
    "gamma": ("at least 0", AT_LEAST_0),
    "m": ("at least 0", AT_LEAST_0),
    "contrast_weight": ("in 0..1", (*BELOW_0, 1.001, 2)),
    "p_label": ("in 0..1", (*BELOW_0, 1.001, 2)),
    "oversample": ("at least 1", (*POSITIVE, 0.999)),
    "contrast_batch": ("an integer of at least 0 and at most 1,048,576", (-1, 1.5, 1.0)),
    "q": ("in (0, 1]", (*POSITIVE, 1.001, 2)),
    "up": ("at least 1", (*POSITIVE, 0.999)),
    "first_epochs": ("an integer of at least 1 and at most 1,048,576", (0, -1, 1.5, 1.0)),
}
# Ranges that a loss states itself
OWN_RANGES = {
    ("lc", "alpha"): ("in (0, 0.5]", (*POSITIVE, 0.501, 3)),
    ("lisa", "alpha"): ("larger than 0", POSITIVE),
}
EVERY = [(name, key) for name in NAMES for key in default_parameters(name)]


@pytest.mark.parametrize(("name", "key"), [case for case in EVERY if not list_choices(*case)])
def test_number_out_of_range_is_refused(name, key):
    allowed, invalid = OWN_RANGES.get((name, key), RANGES[key])
    for value in (*invalid, *NO_NUMBER):
        message = f"loss '{name}': expected {key} to be {allowed}, but got {value!r}"
        with pytest.raises(UsageError, match=re.escape(message)):
            get_loss(name, **{key: value})


@pytest.mark.parametrize(
    ("name", "key"), [("supcon", "temperature"), ("lc", "alpha"), ("jtt", "up")]
)
def test_an_integer_that_no_float_holds_is_refused_in_one_short_line(name, key):
    with pytest.raises(UsageError, match=rf"expected {key} to be .*, but got 1000000") as caught:
        get_loss(name, **{key: 10**400})
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(("name", "key"), [case for case in EVERY if list_choices(*case)])
def test_unknown_choice_is_refused_with_the_allowed_choices(name, key):
    allowed = " or ".join(map(repr, list_choices(name, key)))
    for value in ("x", "", 1, None, True, ["out"]):
        message = f"expected {key} to be {allowed}, but got {value!r}"
        with pytest.raises(UsageError, match=re.escape(message)):
            get_loss(name, **{key: value})


@pytest.mark.parametrize("name", [name for name in NAMES if default_parameters(name)])
def test_all_invalid_parameters_are_in_one_message(name):
    invalid = dict.fromkeys(default_parameters(name), "x")
    with pytest.raises(UsageError) as caught:
        get_loss(name, **invalid)
    assert str(caught.value).count("but got 'x'") == len(invalid)
    for key in invalid:
        assert f"{key} to be " in str(caught.value)


@pytest.mark.parametrize("name", ["contex", "contex-clip"])
def test_two_weights_of_zero_are_refused(name):
    with pytest.raises(UsageError, match="wa and wb cannot both be 0"):
        get_loss(name, wa=0, wb=0.0)


@pytest.mark.parametrize(("name", "key"), EVERY)
def test_all_unknown_parameters_are_in_one_message_with_suggestions(name, key):
    misspelled = key[:-1] if len(key) > 3 else None
    if misspelled is None or misspelled in default_parameters(name):
        return
    with pytest.raises(UsageError) as caught:
        get_loss(name, **{misspelled: 1, "zzz": 2})
    message = str(caught.value)
    assert f"'{misspelled}'; did you mean '{key}'?" in message
    assert "'zzz'" in message
    assert f"(it has: {', '.join(default_parameters(name))})" in message


@pytest.mark.parametrize("name", [name for name in NAMES if not default_parameters(name)])
def test_loss_without_parameters_refuses_any_parameter(name):
    with pytest.raises(UsageError, match=rf"'{name}' has no parameter 'x' \(it has: none\)"):
        get_loss(name, x=1)


@pytest.mark.parametrize("name", NAMES)
def test_fixed_parameters_and_tensor_inputs_are_no_free_parameters(name):
    for key in (*LOSSES[name].fixed, *LOSSES[name].tensor_inputs, "bias", "z"):
        with pytest.raises(UsageError, match=f"has no parameter '{key}'"):
            get_loss(name, **{key: 1})


# Names

SPELLINGS = {
    "ConTeX": "contex",
    "contex_clip": "contex-clip",
    "ConTeX clip": "contex-clip",
    "SupCon": "supcon",
    "SimCLR": "simclr",
    "GroupDRO": "groupdro",
    "group-dro": "groupdro",
    "FairKL": "fairkl",
    "SupCon+FairKL": "supcon+fairkl",
    "BiasCon": "biascon",
    "BiasCon+BiasBal": "biascon+biasbal",
    "FLAC": "flac",
    "EnD": "end",
    "LfF": "lff",
    "JTT": "jtt",
    "eps-SupInfoNCE": "eps_supinfonce",
    "eps-supcon": "eps_supcon",
    "bias_ce": "bias-ce",
    "re-weight": "reweight",
    "FSCL+": "fscl+",
    "CnC": "cnc",
    "BAdd": "badd",
    "LISA": "lisa",
    "AFR": "afr",
    "SUBG": "subg",
    "LC": "lc",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_names_as_the_papers_spell_them_are_accepted(spelling):
    name = SPELLINGS[spelling]
    assert canonical_name(spelling) == name
    assert get_loss(spelling).name == name
    assert get_loss(spelling) == get_loss(name)
    assert get_entry(spelling) is LOSSES[name]
    assert default_parameters(spelling) == default_parameters(name)
    assert uses_bias_labels(spelling) == uses_bias_labels(name)


@pytest.mark.parametrize("name", [*NAMES, "qqq", "supcn"])
def test_canonical_and_unknown_names_are_returned_unchanged(name):
    assert canonical_name(name) == name


def test_every_two_losses_are_spelled_differently():
    spellings = {re.sub("[-_ ]", "", name.lower()) for name in NAMES}
    assert len(spellings) == len(NAMES)


NEAR = {
    "contx": "contex",
    "SupConn": "supcon",
    "supcon-fairkl": "supcon+fairkl",
    "biascon-biasbal": "biascon+biasbal",
    "bias-cee": "bias-ce",
    "group-dr": "groupdro",
    "eps_supinfonc": "eps_supinfonce",
    "contex_clp": "contex-clip",
    "re-weigh": "reweight",
}


@pytest.mark.parametrize("unknown", NEAR)
@pytest.mark.parametrize("function", [get_loss, get_entry, default_parameters])
def test_unknown_loss_is_refused_with_a_suggestion(function, unknown):
    message = re.escape(f"unknown loss '{unknown}'; did you mean '{NEAR[unknown]}'?")
    with pytest.raises(UsageError, match=message) as caught:
        function(unknown)
    for name in NAMES:
        assert name in str(caught.value)


def test_unknown_loss_unlike_any_name_gets_no_suggestion():
    with pytest.raises(UsageError) as caught:
        get_loss("qqqqqq")
    assert "did you mean" not in str(caught.value)


def test_tables_of_this_module_hold_every_input_and_parameter():
    assert {key for name in NAMES for key in LOSSES[name].tensor_inputs} <= set(WRONG_INPUTS)
    assert {key for name, key in EVERY if not list_choices(name, key)} <= set(RANGES)
    assert set(PAIRWISE_NAMES) >= set(EMBEDDING_NAMES)
