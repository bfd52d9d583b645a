"""Changes of a batch or of a parameter that must not change a loss, and changes that must."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from biascon.losses import LOSSES, default_parameters, get_loss
from tests.losses.batches import (
    IMAGES,
    NAMES,
    SETTINGS,
    TABLES,
    TRAINING_PARAMETERS,
    VIEWS,
    WITHOUT_BIAS,
    WITHOUT_LABELS,
    choose_other_value,
    compute_value,
    list_choices,
    make_batch,
    quicker,
    valid_views,
)

SEEDS = st.integers(0, 10**6)


@pytest.mark.parametrize(("name", "extra"), SETTINGS)
@quicker
@given(data=st.data(), b=st.integers(2, 6), v=st.integers(1, 3), seed=SEEDS)
def test_order_of_images_does_not_change_the_value(name, extra, data, b, v, seed):
    batch = make_batch(name, b=b, v=valid_views(name, v, extra), seed=seed)
    order = torch.tensor(data.draw(st.permutations(range(b))))
    loss = get_loss(name, **extra)
    shuffled = compute_value(loss, batch.select_rows(order))
    assert torch.allclose(compute_value(loss, batch), shuffled, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
@quicker
@given(data=st.data(), b=st.integers(1, 4), v=st.integers(2, 4), seed=SEEDS)
def test_order_of_views_does_not_change_the_value(name, data, b, v, seed):
    batch = make_batch(name, b=b, v=v, seed=seed)
    orders = [torch.tensor(data.draw(st.permutations(range(v)))) for _ in range(b)]

    def swap(tensor):
        return torch.stack([views[order] for views, order in zip(tensor, orders, strict=True)])

    loss = get_loss(name)
    swapped = compute_value(loss, batch.map_tensors(VIEWS, swap))
    assert torch.allclose(compute_value(loss, batch), swapped, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
@quicker
@given(seed=SEEDS)
def test_rotation_of_a_feature_space_does_not_change_the_value(name, seed):
    batch = make_batch(name, seed=seed)
    draw = torch.Generator().manual_seed(seed + 1)
    spaces = [
        "features",
        "bias_features",
        *(["z"] if LOSSES[name].input_kind == "embeddings" else []),
    ]

    def rotate(tensor):
        square = torch.randn(2 * tensor.shape[-1:], generator=draw, dtype=torch.float64)
        return tensor @ torch.linalg.qr(square)[0]

    loss = get_loss(name)
    rotated = compute_value(loss, batch.map_tensors(tuple(spaces), rotate))
    assert torch.allclose(compute_value(loss, batch), rotated, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "which"),
    [
        ("end", "features"),
        ("softcon", "bias_features"),
        ("flac", "features"),
        ("flac", "bias_features"),
    ],
)
@quicker
@given(seed=SEEDS)
def test_length_of_features_does_not_change_a_loss_on_directions(name, which, seed):
    batch = make_batch(name, seed=seed)
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.rand(*batch.inputs[which].shape[:-1], 1, generator=draw) * 100 + 0.01
    scaled = batch.with_tensors(**{which: batch.inputs[which] * lengths})
    loss = get_loss(name)
    assert torch.allclose(compute_value(loss, batch), compute_value(loss, scaled), atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
@quicker
@given(seed=SEEDS)
def test_shift_of_all_logits_of_a_view_does_not_change_the_value(name, seed):
    batch = make_batch(name, seed=seed)
    logits = ("logits",) if LOSSES[name].input_kind == "embeddings" else ("z",)
    draw = torch.Generator().manual_seed(seed)
    shifted = batch.map_tensors(
        logits, lambda x: x + 50 * torch.randn(*x.shape[:-1], 1, generator=draw)
    )
    loss = get_loss(name)
    assert torch.allclose(
        compute_value(loss, batch), compute_value(loss, shifted), rtol=1e-9, atol=1e-9
    )


def rename_values(name, batch, data, which):
    """Return the batch with other integers for its labels or bias values.

    Logits and tables are permuted accordingly. Without logits and tables, the integers are arbitrary.
    """
    entry = LOSSES[name]
    old = batch.labels if which == "labels" else batch.bias
    partners = (f"partner_{which}",)
    tables = [key for key in TABLES if key in batch.inputs]
    is_predicted = which == entry.predicts
    logits = "z" if entry.input_kind == "logits" else "logits"
    has_logits = is_predicted and (entry.input_kind == "logits" or "logits" in batch.inputs)
    if not has_logits and not tables:
        distinct = st.lists(st.integers(-(2**40), 2**40), min_size=7, max_size=7, unique=True)
        new = torch.tensor(data.draw(distinct))
        batch = batch.map_tensors(partners, lambda x: new[x])
        return batch.with_tensors(**{which: new[old]})
    n = batch.inputs[tables[0]].shape[which == "bias"] if tables else 6
    new = torch.tensor(data.draw(st.permutations(range(n))))
    dim = 0 if which == "labels" else 1
    batch = batch.map_tensors(tuple(tables), lambda x: torch.empty_like(x).index_copy_(dim, new, x))
    if has_logits:
        batch = batch.map_tensors((logits,), lambda x: torch.empty_like(x).index_copy_(2, new, x))
    batch = batch.map_tensors(partners, lambda x: new[x])
    return batch.with_tensors(**{which: new[old]})


@pytest.mark.parametrize("which", ["labels", "bias"])
@pytest.mark.parametrize("name", NAMES)
@quicker
@given(data=st.data(), seed=SEEDS)
def test_renamed_classes_and_bias_values_do_not_change_the_value(name, which, data, seed):
    batch = make_batch(name, b=6, seed=seed)
    loss = get_loss(name)
    renamed = compute_value(loss, rename_values(name, batch, data, which))
    assert torch.allclose(compute_value(loss, batch), renamed, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_inputs_that_a_loss_does_not_use_do_not_change_it(name):
    batch = make_batch(name)
    loss = get_loss(name)
    before = compute_value(loss, batch)
    if name in WITHOUT_BIAS:
        assert torch.equal(before, loss(batch.z, batch.labels, **batch.inputs))
        assert torch.equal(
            before, compute_value(loss, batch.with_tensors(bias=1 + batch.bias.flip(0)))
        )
    if name in WITHOUT_LABELS:
        assert torch.equal(before, loss(batch.z, None, batch.bias, **batch.inputs))
        assert torch.equal(before, compute_value(loss, batch.with_tensors(labels=torch.arange(4))))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (n, k)
        for n in NAMES
        for k in ("labels", "bias", *IMAGES, *TABLES)
        if k in ("z", *LOSSES[n].needs) and not (k == "bias" and n in WITHOUT_BIAS)
    ],
)
def test_every_input_of_a_loss_changes_it(name, key):
    batch = make_batch(name, b=6, labels=[0, 0, 0, 1, 1, 1], bias=[0, 0, 1, 0, 1, 1])
    tensor = batch._asdict().get(key, batch.inputs.get(key))
    if key in ("labels", "bias"):
        changed_tensor = torch.tensor([0, 1, 2, 0, 1, 0])
    elif key in ("partner_labels", "partner_bias"):
        changed_tensor = (tensor + 1) % 3
    elif key in TABLES:
        changed_tensor = tensor + 10 * torch.eye(*tensor.shape).to(tensor.dtype)
    else:
        changed_tensor = torch.cat((tensor[-1:], tensor[1:]))  # rotated by one image
    loss = get_loss(name)
    changed = compute_value(loss, batch.with_tensors(**{key: changed_tensor}))
    assert abs(compute_value(loss, batch) - changed) > 1e-4


# Parameters that a parameter needs to have an effect.
WITH = {"k": {"form": "code"}}
EVERY_PARAMETER = [(name, key) for name in NAMES for key in default_parameters(name)]


@pytest.mark.parametrize(
    ("name", "key"), [case for case in EVERY_PARAMETER if case not in TRAINING_PARAMETERS]
)
def test_every_parameter_changes_the_loss_and_its_gradient(name, key):
    batch = make_batch(name, labels=[0, 0, 1, 2], bias=[0, 1, 0, 0])
    values = []
    for value in [
        default_parameters(name)[key],
        choose_other_value(name, key),
        *list_choices(name, key)[2:],
    ]:
        loss = get_loss(name, **{**WITH.get(key, {}), key: value})
        values.append(compute_value(loss, batch).item())
    assert all(abs(a - b) > 1e-4 for i, a in enumerate(values) for b in values[:i])


@pytest.mark.parametrize(("name", "key"), sorted(TRAINING_PARAMETERS))
def test_parameter_of_the_training_loop_does_not_change_the_loss(name, key):
    batch = make_batch(name)
    changed = get_loss(name, **{key: choose_other_value(name, key)})
    assert torch.equal(compute_value(get_loss(name), batch), compute_value(changed, batch))


def test_k_of_fairkl_has_no_effect_in_the_paper_form():
    batch = make_batch("fairkl")
    first, second = (compute_value(get_loss("fairkl", form="paper", k=k), batch) for k in (1, 2))
    assert torch.equal(first, second)


# (loss, parameters that remove a term, the loss that remains, its parameters)
LIMITS = {
    "cnc without its contrast": ("cnc", {"contrast_weight": 0}, "ce", {}),
    "eps_supcon without a margin": ("eps_supcon", {"epsilon": 0}, "supcon", {}),
    "fairkl without its weight": ("fairkl", {"weight": 0}, "eps_supinfonce", {}),
    "supcon+fairkl without its weight": ("supcon+fairkl", {"weight": 0}, "supcon", {}),
    "supcon+end without its weights": ("supcon+end", {"alpha": 0, "beta": 0}, "supcon", {}),
    "end without its weights": ("end", {"alpha": 0, "beta": 0}, "ce", {}),
    "flac without its weight": ("flac", {"alpha": 0}, "ce", {}),
    "contex of its self term": ("contex", {"wa": 0, "wb": 1}, "simclr", {}),
    "gce with a tiny q": ("gce", {"q": 1e-9}, "ce", {}),
}


@pytest.mark.parametrize("case", LIMITS)
def test_loss_without_a_term_equals_the_remaining_loss(case):
    name, extra, remaining, parameters = LIMITS[case]
    batch = make_batch(name, b=6)
    logits = batch.inputs.get("logits", batch.z) if remaining == "ce" else batch.z
    expected = compute_value(get_loss(remaining, **parameters), batch._replace(z=logits, inputs={}))
    assert torch.allclose(
        compute_value(get_loss(name, **extra), batch), expected, rtol=1e-6, atol=1e-9
    )


def test_terms_of_end_and_contex_add_up():
    batch = make_batch("end", b=6)
    both, first, second, neither = (
        compute_value(get_loss("end", alpha=a, beta=b), batch)
        for a, b in ((3, 2), (3, 0), (0, 2), (0, 0))
    )
    assert torch.allclose(both + neither, first + second, atol=1e-12)
    batch = make_batch("contex", b=6)
    both, first, second = (
        compute_value(get_loss("contex", wa=a, wb=b), batch) for a, b in ((0.3, 2), (1, 0), (0, 1))
    )
    assert torch.allclose(both, 0.3 * first + 2 * second, atol=1e-12)
