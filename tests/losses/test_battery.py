"""One battery over every loss of the registry: a new line in ``LOSSES`` is covered as it stands.

What a test needs to know of a loss (what ``z`` is, which sets it needs, which parameters it has) it
reads from the registry; the values come from ``oracles.py``.
"""

from __future__ import annotations

import itertools
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import ORACLES

from biascon.errors import UsageError
from biascon.losses import LOSSES, entry, get_loss, parameters_of

NAMES = list(LOSSES)
EMBEDDING_NAMES = [name for name in NAMES if LOSSES[name].on == "embeddings"]
LABELLED_NAMES = [name for name in NAMES if "labels" in LOSSES[name].needs]
FREE_OF_LABELS = [name for name in NAMES if "labels" not in LOSSES[name].needs]
FREE_OF_BIAS = [name for name in NAMES if "bias" not in LOSSES[name].needs]
WITH_TEMPERATURE = [name for name in NAMES if "temperature" in parameters_of(name)]

quick = settings(max_examples=20, deadline=None, derandomize=True)


def settings_of(name):
    """The parameter settings under which a loss is checked: its defaults, then each corner."""
    free = parameters_of(name)
    found = [{}]
    found += [{"temperature": 0.5}] if "temperature" in free else []
    found += [{"form": form} for form in ("out", "in") if "form" in free]
    found += [{"wa": wa, "wb": wb} for wa, wb in ((1, 0), (0, 1), (0.3, 2.0)) if "wa" in free]
    return found


SETTINGS = [
    pytest.param(name, extra, id="-".join([name, *(f"{k}={v}" for k, v in extra.items())]))
    for name in NAMES
    for extra in settings_of(name)
]


def make(name, *, b=4, v=2, d=6, classes=3, seed=0, dtype=torch.float64, labels=None):
    """A random batch for a loss: unit embeddings or plain logits, labels and bias below D."""
    draw = torch.Generator().manual_seed(seed)
    z = torch.randn(b, v, d, generator=draw, dtype=torch.float64)
    if LOSSES[name].on == "embeddings":
        z = z / z.norm(dim=-1, keepdim=True)
    if labels is None:
        labels = torch.randint(min(classes, d), (b,), generator=draw)
    bias = torch.randint(min(classes, d), (b,), generator=draw)
    return z.to(dtype), torch.as_tensor(labels), bias


def oracle(loss, z, labels, bias):
    free = {key: loss.parameters[key] for key in parameters_of(loss.name)}
    return ORACLES[loss.name](z.double().tolist(), labels.tolist(), bias.tolist(), **free)


def value_and_gradient(loss, z, labels, bias):
    z = z.clone().requires_grad_()
    value = loss(z, labels, bias)
    assert value.shape == ()
    (gradient,) = torch.autograd.grad(value, z)
    return value.item(), gradient


def check_against_oracle(loss, z, labels, bias, tolerance):
    """The value is the oracle's; the gradient is finite, and exactly 0 where no anchor counts."""
    expected = oracle(loss, z, labels, bias)
    value, gradient = value_and_gradient(loss, z, labels, bias)
    assert torch.isfinite(gradient).all()
    if expected is None:
        assert value == 0.0
        assert not gradient.any()
    else:
        assert value == pytest.approx(expected, rel=tolerance, abs=tolerance)


# Values


def test_every_loss_has_an_oracle_and_every_oracle_a_loss():
    assert set(ORACLES) == set(LOSSES)


@pytest.mark.parametrize(("name", "extra"), SETTINGS)
@quick
@given(
    b=st.integers(1, 6),
    v=st.integers(1, 3),
    d=st.integers(2, 6),
    classes=st.integers(1, 6),
    seed=st.integers(0, 10**6),
    dtype=st.sampled_from([(torch.float64, 1e-9), (torch.float32, 1e-5)]),
)
def test_value_is_the_oracle_s_on_any_shape(name, extra, b, v, d, classes, seed, dtype):
    dtype, tolerance = dtype
    batch = make(name, b=b, v=v, d=d, classes=classes, seed=seed, dtype=dtype)
    check_against_oracle(get_loss(name, **extra), *batch, tolerance)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "extra"), SETTINGS)
def test_half_precision_is_raised_to_single_before_anything_is_lost(name, extra, dtype):
    # The oracle sees the rounded embeddings: what is left is the error of the loss itself, and it
    # is that of float32 (1e-5), far below the spacing of float16 (1e-3) and bfloat16 (8e-3).
    z, labels, bias = make(name, b=8, dtype=dtype)
    loss = get_loss(name, **extra)
    check_against_oracle(loss, z, labels, bias, 1e-9 if dtype == torch.float64 else 1e-5)
    value = loss(z, labels, bias)
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert value_and_gradient(loss, z, labels, bias)[1].dtype == dtype


@pytest.mark.parametrize("name", NAMES)
def test_autocast_changes_nothing(name):
    batch = make(name, b=8, dtype=torch.float32)
    loss = get_loss(name)
    plain = loss(*batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert loss(*batch).item() == pytest.approx(plain.item(), rel=1e-6)


@pytest.mark.parametrize(("name", "extra"), SETTINGS)
def test_gradient_is_that_of_finite_differences(name, extra):
    loss = get_loss(name, **extra)
    z, labels, bias = make(name, b=3, v=2, d=4, labels=[0, 1, 0], seed=2)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels, bias), (z.requires_grad_(),))


@pytest.mark.parametrize("name", NAMES)
def test_batch_is_left_as_it_was_and_the_value_repeats(name):
    z, labels, bias = make(name)
    before = z.clone(), labels.clone(), bias.clone()
    first = get_loss(name)(z, labels, bias)
    assert torch.equal(first, get_loss(name)(z, labels, bias))
    for old, new in zip(before, (z, labels, bias), strict=True):
        assert torch.equal(old, new)


# Degenerate batches

DEGENERATE = {
    "one label for all": {"b": 4, "labels": [1, 1, 1, 1]},
    "all labels distinct": {"b": 4, "labels": [3, 0, 2, 1]},
    "all labels distinct, one view": {"b": 4, "v": 1, "labels": [3, 0, 2, 1]},
    "one view": {"b": 5, "v": 1, "labels": [0, 1, 0, 1, 2]},
    "one image": {"b": 1},
    "one image, one view": {"b": 1, "v": 1},
    "one image of a rare label": {"b": 4, "v": 1, "labels": [0, 0, 0, 1]},
    "two images": {"b": 2, "v": 1, "labels": [0, 1]},
    "one dimension": {"b": 4, "d": 1, "labels": [0, 0, 0, 0]},
}


@pytest.mark.parametrize("temperature", [None, 0.01])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-9), (torch.float32, 1e-5), (torch.float16, 1e-5), (torch.bfloat16, 1e-5)],
)
@pytest.mark.parametrize("shape", DEGENERATE)
@pytest.mark.parametrize("name", NAMES)
def test_degenerate_batch_has_the_oracle_s_value_and_a_finite_gradient(
    name, shape, dtype, tolerance, temperature
):
    if temperature is not None and name not in WITH_TEMPERATURE:
        temperature = None
    extra = {} if temperature is None else {"temperature": temperature}
    batch = make(name, dtype=dtype, **DEGENERATE[shape])
    # Similarities in float32 carry an error of 1e-7 / T.
    tolerance = tolerance * (1 if temperature is None else 0.1 / temperature)
    check_against_oracle(get_loss(name, **extra), *batch, tolerance)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("temperature", [0.01, 1.0])
@pytest.mark.parametrize("name", NAMES)
def test_identical_embeddings_have_the_oracle_s_value_and_a_finite_gradient(
    name, temperature, dtype
):
    extra = {"temperature": temperature} if name in WITH_TEMPERATURE else {}
    z, labels, bias = make(name, b=4, labels=[0, 0, 1, 2], dtype=dtype)
    z = z[:1, :1].expand_as(z)
    tolerance = 1e-9 if dtype == torch.float64 else 1e-4
    check_against_oracle(get_loss(name, **extra), z, labels, bias, tolerance)


@pytest.mark.parametrize("shape", [(0, 2, 4), (3, 0, 4)])
@pytest.mark.parametrize("name", NAMES)
def test_empty_batch_gives_zero(name, shape):
    z = torch.zeros(shape, requires_grad=True)
    labels = torch.zeros(shape[0], dtype=torch.long)
    value = get_loss(name)(z, labels, labels)
    value.backward()
    assert value.item() == 0.0


LOG7 = math.log(7)
# Four images of labels 0, 0, 1, 2 with two views each, all embeddings (or logits) the same: of the
# 8 anchors, the 4 of label 0 have 4 negatives and the other 4 have 6. Every softmax over A(i) is
# uniform over 7, the classifier's over 6 logits.
COLLAPSED_CONTEXT = (4 * math.log(4) + 4 * math.log(6)) / 8
COLLAPSED = {
    "ce": ({}, math.log(6)),
    "simclr": ({}, LOG7),
    "supcon": ({}, LOG7),
    "supcon, form in": ({"form": "in"}, LOG7),
    "contex": ({}, (COLLAPSED_CONTEXT + LOG7) / 2),
    "contex, context alone": ({"wa": 1, "wb": 0}, COLLAPSED_CONTEXT),
    "contex, self alone": ({"wa": 0, "wb": 1}, LOG7),
    "contex-clip": ({}, (COLLAPSED_CONTEXT + LOG7) / 2),
}


@pytest.mark.parametrize("case", COLLAPSED)
def test_collapsed_embeddings_have_the_value_of_a_uniform_choice(case):
    name = case.partition(",")[0]
    extra, expected = COLLAPSED[case]
    z, labels, bias = make(name, labels=[0, 0, 1, 2])
    z = torch.full_like(z, 6**-0.5)  # of norm 1, and equal logits
    assert get_loss(name, **extra)(z, labels, bias).item() == pytest.approx(expected, abs=1e-12)


# (loss, parameters, batch): no anchor counts in it.
NOTHING_COUNTS = {
    "simclr, one view": ("simclr", {}, {"b": 4, "v": 1}),
    "simclr, one image and view": ("simclr", {}, {"b": 1, "v": 1}),
    "supcon, labels distinct, one view": (
        "supcon",
        {},
        DEGENERATE["all labels distinct, one view"],
    ),
    "supcon in, labels distinct, one view": (
        "supcon",
        {"form": "in"},
        DEGENERATE["all labels distinct, one view"],
    ),
    "contex, one label, context alone": (
        "contex",
        {"wa": 1, "wb": 0},
        DEGENERATE["one label for all"],
    ),
    "contex, one view, self alone": ("contex", {"wa": 0, "wb": 1}, DEGENERATE["one view"]),
    "contex, one image and view": ("contex", {}, {"b": 1, "v": 1}),
    "contex, labels distinct, one view": (
        "contex",
        {},
        DEGENERATE["all labels distinct, one view"],
    ),
    "contex-clip, one label, context alone": (
        "contex-clip",
        {"wa": 1, "wb": 0},
        DEGENERATE["one label for all"],
    ),
}


@pytest.mark.parametrize("case", NOTHING_COUNTS)
def test_loss_is_exactly_zero_with_a_zero_gradient_where_no_anchor_counts(case):
    name, extra, shape = NOTHING_COUNTS[case]
    value, gradient = value_and_gradient(get_loss(name, **extra), *make(name, **shape))
    assert value == 0.0
    assert not gradient.any()


@pytest.mark.parametrize("name", ["contex", "contex-clip"])
def test_contex_with_one_label_is_half_of_simclr(name):
    batch = make(name, **DEGENERATE["one label for all"])
    assert torch.allclose(get_loss(name)(*batch), get_loss("simclr")(*batch) / 2, atol=1e-12)


def test_anchor_without_a_positive_is_not_counted():
    # Two of the three anchors count: with the third in the mean the loss would be 2/3 of this.
    z = torch.eye(3, dtype=torch.float64)[:, None]
    value = get_loss("supcon", temperature=1.0)(z, torch.tensor([0, 0, 1]))
    assert value.item() == pytest.approx(math.log(2), abs=1e-12)


def test_clip_stops_where_the_plain_form_still_pulls():
    # Two tight clusters: every positive is far closer than all the negatives together.
    z, labels, bias = make("contex", b=4, v=2, labels=[0, 0, 1, 1])
    direction = torch.zeros(4, 1, 6, dtype=torch.float64)
    direction[:2, :, 0] = direction[2:, :, 1] = 20.0
    z = torch.nn.functional.normalize(z + direction, dim=-1)
    plain = value_and_gradient(get_loss("contex", wa=1, wb=0), z, labels, bias)
    clipped = value_and_gradient(get_loss("contex-clip", wa=1, wb=0), z, labels, bias)
    assert plain[0] < -7
    assert plain[1].norm() > 1
    assert clipped[0] == 0.0
    assert not clipped[1].any()


def test_clip_is_taken_per_positive_and_not_per_anchor():
    # Of anchor 0's positives one is above the negatives and one far below: their mean is below.
    def unit(degrees):
        return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]

    z = torch.tensor([unit(0), unit(1), unit(120), unit(60)], dtype=torch.float64)[:, None]
    labels = torch.tensor([0, 0, 0, 1])
    loss = get_loss("contex-clip", wa=1, wb=0, temperature=0.5)
    # u of (0,1), (0,2), (1,0), (1,2), (2,0), (2,1), from cosines over T; anchor 3 has no positive.
    cos = [math.cos(math.radians(angle)) for angle in range(181)]
    terms = [
        [cos[1] - cos[60], cos[120] - cos[60]],
        [cos[1] - cos[59], cos[119] - cos[59]],
        [cos[120] - cos[60], cos[119] - cos[60]],
    ]
    expected = -sum(min(2 * u, 0) for row in terms for u in row) / 6
    assert loss(z, labels).item() == pytest.approx(expected, abs=1e-12)


# Invariances


@pytest.mark.parametrize(("name", "extra"), SETTINGS)
@quick
@given(data=st.data(), b=st.integers(2, 6), v=st.integers(1, 3), seed=st.integers(0, 10**6))
def test_order_of_images_does_not_matter(name, extra, data, b, v, seed):
    z, labels, bias = make(name, b=b, v=v, seed=seed)
    order = torch.tensor(data.draw(st.permutations(range(b))))
    loss = get_loss(name, **extra)
    shuffled = loss(z[order], labels[order], bias[order])
    assert torch.allclose(loss(z, labels, bias), shuffled, atol=1e-10)


@pytest.mark.parametrize(("name", "extra"), SETTINGS)
@quick
@given(data=st.data(), b=st.integers(1, 4), v=st.integers(2, 4), seed=st.integers(0, 10**6))
def test_order_of_the_views_of_an_image_does_not_matter(name, extra, data, b, v, seed):
    z, labels, bias = make(name, b=b, v=v, seed=seed)
    orders = [torch.tensor(data.draw(st.permutations(range(v)))) for _ in range(b)]
    swapped = torch.stack([views[order] for views, order in zip(z, orders, strict=True)])
    loss = get_loss(name, **extra)
    assert torch.allclose(loss(z, labels, bias), loss(swapped, labels, bias), atol=1e-10)


@pytest.mark.parametrize(
    ("name", "extra"), [case for case in SETTINGS if case.values[0] in EMBEDDING_NAMES]
)
@quick
@given(seed=st.integers(0, 10**6))
def test_rotation_of_the_embedding_space_does_not_matter(name, extra, seed):
    z, labels, bias = make(name, seed=seed)
    draw = torch.Generator().manual_seed(seed + 1)
    rotation, _ = torch.linalg.qr(torch.randn(6, 6, generator=draw, dtype=torch.float64))
    loss = get_loss(name, **extra)
    assert torch.allclose(loss(z, labels, bias), loss(z @ rotation, labels, bias), atol=1e-9)


@pytest.mark.parametrize(("name", "extra"), SETTINGS)
@quick
@given(data=st.data(), seed=st.integers(0, 10**6))
def test_names_of_the_classes_do_not_matter(name, extra, data, seed):
    z, labels, bias = make(name, seed=seed)
    loss = get_loss(name, **extra)
    before = loss(z, labels, bias)
    if LOSSES[name].on == "logits":  # a logit goes with its class
        new = torch.tensor(data.draw(st.permutations(range(6))))
        z = torch.empty_like(z).index_copy_(2, new, z)
    else:
        distinct = st.lists(st.integers(-(2**40), 2**40), min_size=6, max_size=6, unique=True)
        new = torch.tensor(data.draw(distinct))
    assert torch.allclose(before, loss(z, new[labels], bias), atol=1e-10)


@pytest.mark.parametrize("name", EMBEDDING_NAMES)
def test_what_a_loss_does_not_need_does_not_change_it(name):
    z, labels, bias = make(name)
    loss = get_loss(name)
    before = loss(z, labels, bias)
    if name in FREE_OF_BIAS:
        assert torch.equal(before, loss(z, labels))
        assert torch.equal(before, loss(z, labels, 1 + bias.flip(0)))
    if name in FREE_OF_LABELS:
        assert torch.equal(before, loss(z, None, bias))
        assert torch.equal(before, loss(z, torch.arange(4), bias))


@pytest.mark.parametrize("name", LABELLED_NAMES)
def test_labels_change_a_loss_that_needs_them(name):
    z, labels, bias = make(name, labels=[0, 0, 1, 1])
    loss = get_loss(name)
    assert abs(loss(z, labels, bias) - loss(z, torch.tensor([0, 1, 2, 0]), bias)) > 1e-3


@pytest.mark.parametrize(
    ("name", "key"), [(name, key) for name in NAMES for key in parameters_of(name)]
)
def test_every_parameter_changes_the_loss(name, key):
    batch = make(name, labels=[0, 0, 1, 2])
    default = parameters_of(name)[key]
    other = {"out": "in", "in": "out"}[default] if isinstance(default, str) else default * 1.5
    changed = get_loss(name, **{key: other})(*batch)
    assert abs(get_loss(name)(*batch) - changed) > 1e-3


# What a loss rewards


def pulled(name, z, labels, strength):
    """Positives pulled together: classes where the loss needs labels, views of an image else."""
    b, _, d = z.shape
    if LOSSES[name].on == "logits":
        target = torch.eye(d, dtype=z.dtype)[labels]
        return z + strength * target[:, None]
    of = labels if "labels" in LOSSES[name].needs else torch.arange(b)
    return torch.nn.functional.normalize(
        z + strength * torch.eye(d, dtype=z.dtype)[of][:, None], dim=-1
    )


@pytest.mark.parametrize(("name", "extra"), SETTINGS)
@quick
@given(seed=st.integers(0, 10**6))
def test_loss_falls_when_positives_are_pulled_together(name, extra, seed):
    z, labels, bias = make(name, labels=[0, 1, 2, 3], v=2, seed=seed)
    loss = get_loss(name, **extra)
    values = [loss(pulled(name, z, labels, by), labels, bias).item() for by in (0, 3, 10)]
    assert values[1] < values[0] - 0.05
    assert values[2] <= values[1]


@pytest.mark.parametrize("name", LABELLED_NAMES)
def test_loss_falls_when_images_of_a_class_are_pulled_together(name):
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    z, _, bias = make(name, b=6, labels=labels)
    loss = get_loss(name)
    values = [loss(pulled(name, z, labels, by), labels, bias).item() for by in (0, 0.5, 1)]
    assert values[0] > values[1] > values[2]


@pytest.mark.parametrize("name", NAMES)
def test_a_step_against_the_gradient_lowers_the_loss(name):
    z, labels, bias = make(name, labels=[0, 0, 1, 2])
    loss = get_loss(name)
    value, gradient = value_and_gradient(loss, z, labels, bias)
    assert loss(z - 1e-4 * gradient, labels, bias).item() < value


@pytest.mark.parametrize("pair", list(itertools.combinations(NAMES, 2)), ids="-".join)
def test_no_two_losses_are_the_same(pair):
    # Unit vectors are also valid logits, so that cross-entropy can be compared with all others.
    z, labels, bias = make(EMBEDDING_NAMES[0], labels=[0, 0, 1, 2])
    (one, g1), (other, g2) = (value_and_gradient(get_loss(n), z, labels, bias) for n in pair)
    assert abs(one - other) > 1e-3
    assert (g1 - g2).norm() > 1e-3


# The object


@pytest.mark.parametrize(("name", "extra"), SETTINGS)
def test_loss_survives_pickling(name, extra):
    loss = get_loss(name, **extra)
    again = pickle.loads(pickle.dumps(loss))
    assert again == loss
    batch = make(name)
    assert torch.equal(again(*batch), loss(*batch))


@pytest.mark.parametrize("name", NAMES)
def test_loss_tells_its_parameters_and_what_it_needs(name):
    loss = get_loss(name)
    known = entry(name)
    assert (loss.name, loss.on, loss.needs) == (name, known.on, known.needs)
    assert dict(loss.parameters) == {**parameters_of(name), **known.fixed}
    assert known.formula
    assert known.source
    assert known.on in ("embeddings", "logits")
    assert set(known.needs) <= {"views", "labels", "bias"}


def test_given_parameters_replace_the_defaults_and_nothing_else():
    loss = get_loss("contex-clip", wa=0.25, temperature=0.2)
    expected = {"temperature": 0.2, "wa": 0.25, "wb": 0.5, "clip": True}
    assert dict(loss.parameters) == expected


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
@pytest.mark.parametrize("name", NAMES)
def test_labels_may_be_integers_of_either_width(name, dtype):
    z, labels, bias = make(name)
    loss = get_loss(name)
    assert torch.equal(loss(z, labels, bias), loss(z, labels.to(dtype), bias.to(dtype)))


# Errors


@pytest.mark.parametrize("shape", [(4, 6), (4, 2, 6, 1), (4,)])
@pytest.mark.parametrize("name", NAMES)
def test_z_of_another_rank_is_refused(name, shape):
    _, labels, bias = make(name)
    with pytest.raises(UsageError, match=r"expected z of shape \(B, V, [DK]\), but got \(4"):
        get_loss(name)(torch.zeros(shape), labels, bias)


@pytest.mark.parametrize("name", NAMES)
def test_integer_z_is_refused(name):
    z, labels, bias = make(name)
    with pytest.raises(UsageError, match=r"floating point, but got torch\.int64"):
        get_loss(name)(z.long(), labels, bias)


@pytest.mark.parametrize(
    "labels",
    [torch.zeros(3, dtype=torch.long), torch.zeros(8, dtype=torch.long), torch.zeros(4, 2).long()],
    ids=["short", "one an anchor", "two-dimensional"],
)
@pytest.mark.parametrize("name", LABELLED_NAMES)
def test_labels_of_another_shape_are_refused(name, labels):
    z, _, bias = make(name)
    with pytest.raises(UsageError, match=r"expected labels of shape \(4,\), but got"):
        get_loss(name)(z, labels, bias)


@pytest.mark.parametrize("name", LABELLED_NAMES)
def test_float_labels_are_refused(name):
    z, labels, bias = make(name)
    with pytest.raises(UsageError, match=r"to be integers, but got torch\.float32"):
        get_loss(name)(z, labels.float(), bias)


@pytest.mark.parametrize("name", LABELLED_NAMES)
def test_missing_labels_are_refused(name):
    z, _, bias = make(name)
    with pytest.raises(UsageError, match="needs labels, but got None"):
        get_loss(name)(z, None, bias)


@pytest.mark.parametrize("value", [0, 0.0, -1, math.nan, math.inf, "a", True, None])
@pytest.mark.parametrize("name", WITH_TEMPERATURE)
def test_temperature_that_is_no_positive_number_is_refused(name, value):
    with pytest.raises(UsageError, match="temperature to be larger than 0, but got"):
        get_loss(name, temperature=value)


@pytest.mark.parametrize("key", ["wa", "wb"])
@pytest.mark.parametrize("value", [-1, -1e-9, math.nan, math.inf, "a", True, None])
@pytest.mark.parametrize("name", ["contex", "contex-clip"])
def test_weight_that_is_no_number_of_zero_or_more_is_refused(name, key, value):
    with pytest.raises(UsageError, match=f"{key} to be at least 0, but got"):
        get_loss(name, **{key: value})


def test_weights_that_are_both_zero_are_refused():
    with pytest.raises(UsageError, match="wa and wb cannot both be 0"):
        get_loss("contex", wa=0, wb=0.0)


def test_unknown_form_is_refused():
    with pytest.raises(UsageError, match="expected form to be 'out' or 'in', but got 'x'"):
        get_loss("supcon", form="x")


def test_unknown_parameters_are_named_all_at_once_with_the_nearest_ones():
    with pytest.raises(UsageError) as caught:
        get_loss("supcon", temprature=0.1, fomr="in", zzz=1)
    message = str(caught.value)
    assert "'temprature'; did you mean 'temperature'?" in message
    assert "'fomr'; did you mean 'form'?" in message
    assert "'zzz'" in message
    assert "(it has: temperature, form)" in message


@pytest.mark.parametrize("name", NAMES)
def test_parameter_that_the_name_fixes_cannot_be_given(name):
    for key in LOSSES[name].fixed:
        with pytest.raises(UsageError, match=f"has no parameter '{key}'"):
            get_loss(name, **{key: LOSSES[name].fixed[key]})


@pytest.mark.parametrize("ask", [get_loss, entry, parameters_of])
def test_unknown_loss_suggests_the_nearest(ask):
    with pytest.raises(
        UsageError, match="unknown loss 'contx'; did you mean 'contex'\\?"
    ) as caught:
        ask("contx")
    for name in NAMES:
        assert name in str(caught.value)


def test_unknown_loss_that_is_like_none_suggests_nothing():
    with pytest.raises(UsageError) as caught:
        get_loss("qqqqqq")
    assert "did you mean" not in str(caught.value)
