"""Plain operations on all pairs, one block of pairs, and blocks of rows give the same numbers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from biascon.losses import LOSSES, blockwise, get_loss, pairwise
from tests.losses.batches import (
    DEGENERATE,
    NETWORK_OUTPUTS,
    PAIRWISE_NAMES,
    WITH_LABELS,
    WITH_TEMPERATURE,
    check_against_oracle,
    degenerate_shapes,
    list_choices,
    make_batch,
    needs_views,
    quicker,
    valid_views,
    value_and_gradients,
)

ROWS = 64  # rows of the smallest block
SPANS = {
    "common shift": dict(blockwise.SPAN),
    "a shift for each row": dict.fromkeys(blockwise.SPAN, 0),
}
ONE_BLOCK = "one block"  # the functions of biascon.losses.dense
PATHS = (*SPANS, ONE_BLOCK)


def fail_on_full_matrix(*_):
    raise AssertionError("the full matrix of similarities was computed")


def use_dense_path(patch):
    patch.setattr(pairwise, "DENSE", {"cpu": 10**6})
    patch.setattr(pairwise, "PLAIN", {"cpu": 10**6})


def use_blocked_path(patch, path="common shift"):
    """Use blocks of 64 rows for every batch, and fail if the full matrix is computed.

    ``path`` is a key of ``SPANS``, or ``ONE_BLOCK``: all pairs are then one block.
    """
    if path == ONE_BLOCK:
        patch.setattr(pairwise, "DENSE", {"cpu": 10**6})
        return
    patch.setattr(pairwise, "DENSE", {"cpu": 0})
    patch.setattr(pairwise.Anchors, "similarities", fail_on_full_matrix)
    patch.setattr(blockwise, "CACHE", 1)
    patch.setattr(blockwise, "SPAN", SPANS[path])


def make_skewed_batch(name, *, v, n, seed=0, dtype=torch.float64, far=False):
    """Return a batch of classes of 1, 1, 2, 4, 8, ... images with 5 bias values that depend on the class."""
    draw = torch.Generator().manual_seed(seed)
    b = n // v
    sizes = torch.tensor([1, 1, 2, 4, 8, 16, 32, 64, 128, 256])
    labels = torch.arange(10).repeat_interleave(sizes)[:b][
        torch.randperm(min(b, 512), generator=draw)
    ]
    is_aligned = torch.rand(b, generator=draw) < 0.7
    bias = torch.where(is_aligned, labels % 5, torch.randint(5, (b,), generator=draw))
    batch = make_batch(name, b=b, v=v, d=10, labels=labels, bias=bias, seed=seed, dtype=dtype)
    if far:
        values = torch.tensor([2**40 - 3 * i if i % 2 else -(2**40) + i for i in range(10)])
        batch = batch.with_tensors(labels=values[batch.labels], bias=values[batch.bias])
    return batch


def to_double(batch):
    return batch.map_tensors(("z", *NETWORK_OUTPUTS, "bias_features"), lambda x: x.double())


def check_close(result, expected, tolerance, gradient_tolerance=None):
    """Check a value and its gradients, the latter relative to the largest entry."""
    (value, gradients), (expected_value, expected_gradients) = result, expected
    assert value == pytest.approx(expected_value, rel=tolerance, abs=tolerance)
    for key, gradient in expected_gradients.items():
        largest = gradient.abs().max().item()
        gap = (gradients[key].double() - gradient).abs().max().item()
        assert gap <= (gradient_tolerance or tolerance) * largest + 1e-13, key


def list_temperatures(name):
    return [{"temperature": t} for t in (0.01, 0.1, 1.0)] if name in WITH_TEMPERATURE else [{}]


@pytest.mark.parametrize(
    ("name", "views"),
    [(name, v) for name in PAIRWISE_NAMES for v in (1, 3) if v > 1 or not needs_views(name)],
)
def test_blocked_path_equals_the_dense_path(name, views):
    double = make_skewed_batch(name, v=views, n=240)
    single = to_double(make_skewed_batch(name, v=views, n=240, dtype=torch.float32))
    for extra in list_temperatures(name):
        loss = get_loss(name, **extra)
        with pytest.MonkeyPatch.context() as patch:
            use_dense_path(patch)
            expected = value_and_gradients(loss, double)
            rounded = value_and_gradients(loss, single)
        for span in PATHS:
            with pytest.MonkeyPatch.context() as patch:
                use_blocked_path(patch, span)
                check_close(value_and_gradients(loss, double), expected, 1e-12, 1e-11)
                result = value_and_gradients(
                    loss, make_skewed_batch(name, v=views, n=240, dtype=torch.float32)
                )
                check_close(result, rounded, 1e-5)


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        (name, {key: word})
        for name in PAIRWISE_NAMES
        for key in ("form", "empty")
        for word in list_choices(name, key)[1:]
    ],
)
def test_blocked_path_equals_the_dense_path_in_every_form(name, extra):
    batch = make_skewed_batch(name, v=2, n=200)
    loss = get_loss(name, **extra)
    with pytest.MonkeyPatch.context() as patch:
        use_dense_path(patch)
        expected = value_and_gradients(loss, batch)
    with pytest.MonkeyPatch.context() as patch:
        use_blocked_path(patch)
        check_close(value_and_gradients(loss, batch), expected, 1e-12, 1e-11)


@pytest.mark.parametrize("name", PAIRWISE_NAMES)
def test_blocked_path_in_bfloat16_equals_the_rounded_batch(name):
    batch = make_skewed_batch(name, v=2, n=200, dtype=torch.bfloat16)
    loss = get_loss(name)
    with pytest.MonkeyPatch.context() as patch:
        use_dense_path(patch)
        # The rounded vectors have norms that are not exactly 1.
        expected = value_and_gradients(loss, to_double(batch), check=False)
    with pytest.MonkeyPatch.context() as patch:
        use_blocked_path(patch)
        value, gradients = value_and_gradients(loss, batch)
        check_close(
            (value, gradients), expected, 1e-5, 2**-8
        )  # the gradient is rounded to bfloat16
        assert all(gradient.dtype == torch.bfloat16 for gradient in gradients.values())


@pytest.mark.parametrize("span", PATHS)
@pytest.mark.parametrize("name", PAIRWISE_NAMES)
@quicker
@given(data=st.data())
def test_blocked_path_equals_the_dense_path_for_any_batch_size(name, span, data):
    b = data.draw(st.sampled_from([1, 2, 3, 63, 64, 65, 127, 128, 129, 150]))
    v = valid_views(name, data.draw(st.integers(1, 2)))
    classes = data.draw(st.sampled_from([1, 2, 5, 70]))
    seed = data.draw(st.integers(0, 10**6))
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (b,), generator=draw)
    bias = torch.randint(3, (b,), generator=draw)
    batch = make_batch(
        name, b=b, v=v, d=70 if classes > 5 else 5, labels=labels, bias=bias, seed=seed
    )
    loss = get_loss(name)
    with pytest.MonkeyPatch.context() as patch:
        use_dense_path(patch)
        expected = value_and_gradients(loss, batch)
    with pytest.MonkeyPatch.context() as patch:
        use_blocked_path(patch, span)
        check_close(value_and_gradients(loss, batch), expected, 1e-12, 1e-10)


@pytest.mark.parametrize(
    ("span", "dtype", "tolerance"),
    [
        ("common shift", torch.float64, 1e-9),
        ("a shift for each row", torch.float32, 1e-5),
        (ONE_BLOCK, torch.float32, 1e-5),
    ],
)
@pytest.mark.parametrize("name", PAIRWISE_NAMES)
def test_blocked_path_equals_the_oracle_on_empty_sets(name, span, dtype, tolerance, monkeypatch):
    use_blocked_path(monkeypatch, span)
    for shape in degenerate_shapes(name):
        batch = make_batch(name, dtype=dtype, **DEGENERATE[shape])
        check_against_oracle(get_loss(name), batch, tolerance)


@pytest.mark.parametrize("path", ["dense", *PATHS])
def test_log_sum_over_no_anchor_is_zero_with_a_zero_gradient(path, monkeypatch):
    use_dense_path(monkeypatch) if path == "dense" else use_blocked_path(monkeypatch, path)
    draw = torch.Generator().manual_seed(0)
    cases = {
        "positives": torch.arange(150),
        "negatives": torch.zeros(150, dtype=torch.long),
        "all": torch.zeros(1, dtype=torch.long),
    }
    for empty, labels in cases.items():
        z = torch.randn(len(labels), 1, 4, generator=draw, dtype=torch.float64, requires_grad=True)
        log_sum = getattr(pairwise.make_anchors(z, labels).log_sums("labels"), empty)
        assert not log_sum.any()
        log_sum.sum().backward()
        assert not z.grad.any()


@pytest.mark.parametrize("span", PATHS)
@pytest.mark.parametrize("name", PAIRWISE_NAMES)
def test_blocked_path_is_finite_for_equal_embeddings(name, span):
    v = valid_views(name, 1)
    shape = {"b": 200, "v": v, "d": 10, "labels": [i % 7 for i in range(200)]}
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        batch = make_batch(name, dtype=dtype, bias=[i % 3 for i in range(200)], **shape)
        same = batch.map_tensors(("z", "features"), lambda x: x[:1].expand_as(x))
        with pytest.MonkeyPatch.context() as patch:
            use_dense_path(patch)
            expected, _ = value_and_gradients(get_loss(name), to_double(same))
        with pytest.MonkeyPatch.context() as patch:
            use_blocked_path(patch, span)
            value, gradients = value_and_gradients(get_loss(name), same)
        assert value == pytest.approx(expected, rel=tolerance, abs=tolerance)
        assert all(torch.isfinite(gradient).all() for gradient in gradients.values())


@pytest.mark.parametrize("span", PATHS)
@pytest.mark.parametrize(
    ("dtype", "temperature"),
    [
        (torch.float32, 0.0251),
        (torch.float32, 0.0126),
        (torch.float64, 0.0034),
        (torch.float64, 0.0017),
    ],
)
@pytest.mark.parametrize("name", ["supcon", "contex", "eps_supcon", "biascon"])
def test_blocked_path_equals_the_dense_path_for_an_opposite_anchor(name, dtype, temperature, span):
    # The span of similarities is the largest that the common shift allows, or twice this span.
    batch = make_batch(
        name,
        b=130,
        v=valid_views(name, 1),
        d=6,
        labels=[0, 1] * 65,
        bias=[0, 0, 1, 1, 2] * 26,
        dtype=dtype,
    )
    z = torch.nn.functional.normalize(batch.z.double() * 0.01 + torch.eye(6)[0].double(), dim=-1)
    z[17] *= -1
    batch = batch.with_tensors(z=z.to(dtype))
    loss = get_loss(name, temperature=temperature)
    with pytest.MonkeyPatch.context() as patch:
        use_dense_path(patch)
        expected = value_and_gradients(loss, to_double(batch))
    with pytest.MonkeyPatch.context() as patch:
        use_blocked_path(patch, span)
        result = value_and_gradients(loss, batch)
    check_close(result, expected, 1e-10 if dtype == torch.float64 else 1e-5, 1e-4)


WITH_ANY_LABELS = [
    name
    for name in WITH_LABELS
    if LOSSES[name].input_kind == "embeddings" and "logits" not in LOSSES[name].tensor_inputs
]


@pytest.mark.parametrize(
    "make_path",
    [use_dense_path, use_blocked_path, lambda patch: use_blocked_path(patch, ONE_BLOCK)],
)
@pytest.mark.parametrize("name", WITH_ANY_LABELS)
def test_labels_may_be_as_large_as_two_to_the_fortieth(name, make_path, monkeypatch):
    make_path(monkeypatch)
    expected = value_and_gradients(get_loss(name), make_skewed_batch(name, v=2, n=200))
    result = value_and_gradients(get_loss(name), make_skewed_batch(name, v=2, n=200, far=True))
    check_close(result, expected, 1e-12, 1e-11)


WITHOUT_COUNTS = [name for name in PAIRWISE_NAMES if "counts" not in LOSSES[name].tensor_inputs]


@pytest.mark.parametrize("name", WITHOUT_COUNTS)
def test_bias_values_may_be_as_large_as_two_to_the_fortieth(name, monkeypatch):
    use_blocked_path(monkeypatch)
    batch = make_skewed_batch(name, v=2, n=200)
    far = batch.with_tensors(bias=2**40 - batch.bias)
    loss = get_loss(name)
    check_close(value_and_gradients(loss, far), value_and_gradients(loss, batch), 1e-12, 1e-11)


@pytest.mark.parametrize("name", ["supcon", "contex", "simclr"])
def test_small_batches_on_a_cpu_are_one_block(name, monkeypatch):
    def refuse(*_):
        raise AssertionError("the rows were divided into blocks")

    monkeypatch.setattr(blockwise, "log_sums", refuse)
    value_and_gradients(get_loss(name), make_skewed_batch(name, v=2, n=200))


def test_one_block_is_left_for_a_shift_of_each_row_if_exponentials_could_underflow(monkeypatch):
    calls = []
    log_sums = blockwise.log_sums
    monkeypatch.setattr(blockwise, "log_sums", lambda *a: calls.append(a) or log_sums(*a))
    batch = make_skewed_batch("supcon", v=2, n=200, dtype=torch.float32)
    value_and_gradients(get_loss("supcon", temperature=0.026), batch)
    assert not calls
    value_and_gradients(get_loss("supcon", temperature=0.024), batch)
    assert calls


def test_batches_of_this_module_have_more_than_one_block(monkeypatch):
    use_blocked_path(monkeypatch)
    z = torch.zeros(200, 4)
    blocks = [rows for rows, _ in blockwise.iter_blocks(torch.zeros(200, dtype=torch.long), z)]
    assert [rows.stop - rows.start for rows in blocks] == [ROWS, ROWS, ROWS, 200 - 3 * ROWS]


def test_dense_path_is_used_up_to_1024_anchors():
    z = torch.nn.functional.normalize(torch.randn(513, 2, 4), dim=-1)
    assert pairwise.make_anchors(z[:512], None).dense
    assert not pairwise.make_anchors(z, None).dense
