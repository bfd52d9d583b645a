"""Seeds by purpose: equal on every machine, different for different purposes."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from biascon.utils.seeds import derive_seed, numpy_generator, permutation, torch_generator

quick = settings(max_examples=50, deadline=None, derandomize=True)


def test_seed_is_the_top_63_bits_of_the_hash_of_seed_and_purpose():
    digest = hashlib.sha256(b"biascon/7/order/3").hexdigest()
    assert derive_seed(7, "order/3") == int(digest[:16], 16) // 2


@pytest.mark.parametrize(
    ("seed", "purpose", "expected"),
    [
        (0, "", 7705775221838915746),
        (0, "weights", 2615638597325276851),
        (1, "weights", 815572261000919643),
    ],
)
def test_seed_equals_the_recorded_value(seed, purpose, expected):
    # Published numbers depend on these values. A change changes every run.
    assert derive_seed(seed, purpose) == expected


def test_permutation_equals_the_recorded_order():
    assert permutation(10, 0, "order/1").tolist() == [4, 2, 7, 3, 6, 0, 1, 8, 9, 5]


@quick
@given(seed=st.integers(0, 2**63), purpose=st.text(max_size=30))
def test_seed_fits_torch_and_numpy(seed, purpose):
    assert 0 <= derive_seed(seed, purpose) < 2**63
    torch_generator(seed, purpose)
    numpy_generator(seed, purpose)


def test_seeds_and_purposes_do_not_collide():
    purposes = ["order", "order/1", "order/11", "views/1", "weights", "1/order", ""]
    derived = [derive_seed(s, p) for s, p in itertools.product((0, 1, 10, 11), purposes)]
    assert len(set(derived)) == len(derived)


@quick
@given(n=st.integers(0, 500), seed=st.integers(0, 1000), purpose=st.text(max_size=5))
def test_permutation_holds_every_index_once(n, seed, purpose):
    order = permutation(n, seed, purpose)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(n))


def test_permutations_of_other_purposes_differ():
    orders = [tuple(permutation(50, s, p)) for s in (0, 1) for p in ("a", "b", "c")]
    assert len(set(orders)) == 6


def test_every_index_is_equally_likely_at_every_position():
    # 2,000 permutations of 5: each of the 25 counts is binomial(2000, 1/5), deviation 17.9.
    counts = np.zeros((5, 5))
    for seed in range(2000):
        counts[np.arange(5), permutation(5, seed, "uniform")] += 1
    assert np.abs(counts - 400).max() < 5 * 17.9


@pytest.mark.parametrize("make", [torch_generator, numpy_generator])
def test_generators_repeat_and_differ_by_seed_and_purpose(make):
    def draw(seed, purpose):
        source = make(seed, purpose)
        if isinstance(source, torch.Generator):
            return tuple(torch.rand(4, generator=source).tolist())
        return tuple(source.random(4).tolist())

    assert draw(0, "a") == draw(0, "a")
    assert len({draw(0, "a"), draw(0, "b"), draw(1, "a"), draw(1, "b")}) == 4


def test_torch_generator_is_on_the_requested_device():
    assert torch_generator(0, "a").device == torch.device("cpu")
    assert torch_generator(0, "a", torch.device("cpu")).initial_seed() == derive_seed(0, "a")


def test_global_generators_are_unchanged():
    torch_before = torch.get_rng_state()
    numpy_before = np.random.get_state()[1].copy()
    torch.rand(3, generator=torch_generator(0, "a"))
    numpy_generator(0, "a").random(3)
    permutation(5, 0, "a")
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)
