"""Partners and shares of mixed images: which images are drawn, how often, and from which seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from biascon.errors import UsageError
from biascon.training.mixup import PartnerIndex, draw_group_mix, draw_mix

# Two images of cell (0, 0), three of (0, 1), one of (1, 0), one of (1, 1), two of (2, 2).
LABELS = np.array([0, 1, 0, 2, 0, 1, 0, 2, 0])
BIAS = np.array([0, 1, 1, 2, 0, 0, 1, 2, 1])
ACROSS_BIAS = {
    row: {j for j in range(9) if LABELS[j] == LABELS[row] and BIAS[j] != BIAS[row]}
    for row in range(9)
}
ACROSS_LABELS = {
    row: {j for j in range(9) if LABELS[j] != LABELS[row] and BIAS[j] == BIAS[row]}
    for row in range(9)
}
N = 20_000  # draws of a row; the share of one of k candidates has a standard deviation below 0.0036


def draw(row, p_label, *, labels=LABELS, bias=BIAS, seed=0):
    rows = torch.full((N,), row)
    return PartnerIndex(labels, bias).choose(rows, p_label, np.random.PCG64(seed)).numpy()


@pytest.mark.parametrize("row", range(9))
@pytest.mark.parametrize(("p_label", "candidates"), [(1.0, ACROSS_BIAS), (0.0, ACROSS_LABELS)])
def test_every_candidate_is_drawn_equally_often(row, p_label, candidates):
    drawn = draw(row, p_label)
    expected = candidates[row] or {row}
    assert set(drawn.tolist()) == expected
    for partner in expected:
        assert (drawn == partner).mean() == pytest.approx(1 / len(expected), abs=0.02)


def test_partners_keep_the_label_with_the_given_probability():
    drawn = draw(0, 0.3)
    same_label = LABELS[drawn] == LABELS[0]
    assert same_label.mean() == pytest.approx(0.3, abs=0.02)
    assert set(drawn.tolist()) == ACROSS_BIAS[0] | ACROSS_LABELS[0]


def test_a_partner_is_never_of_the_same_cell():
    draws = np.random.default_rng(0)
    labels, bias = draws.integers(0, 10, 5000), draws.integers(0, 10, 5000)
    rows = torch.arange(5000)
    index = PartnerIndex(labels, bias)
    for p_label in (0.0, 0.5, 1.0):
        partner = index.choose(rows, p_label, np.random.PCG64(1)).numpy()
        same_label, same_bias = labels[partner] == labels, bias[partner] == bias
        assert (same_label != same_bias).all()


def test_a_row_without_another_cell_is_its_own_partner():
    labels = bias = np.array([0, 0, 1, 1, 2])
    partner = PartnerIndex(labels, bias).choose(torch.arange(5), 0.5, np.random.PCG64(0))
    assert partner.tolist() == [0, 1, 2, 3, 4]


def test_labels_and_bias_values_may_be_any_integers():
    drawn = draw(0, 0.5, labels=LABELS * 1000 - 7, bias=2**40 - 3 * BIAS)
    assert set(drawn.tolist()) == ACROSS_BIAS[0] | ACROSS_LABELS[0]


def test_conflicting_partners_have_the_label_and_another_prediction_than_it():
    """Predictions of label 0: two right, three wrong. Label 2: all right. Label 1: one of two is right."""
    rows = torch.arange(9).repeat_interleave(2000)
    partner = PartnerIndex(LABELS, BIAS).choose_conflicting(rows, np.random.PCG64(0)).numpy()
    own = rows.numpy()
    assert (LABELS[partner] == LABELS[own]).all()
    assert (BIAS[partner] != LABELS[partner])[LABELS[own] != 2].all()
    for row, candidates in ((0, {2, 6, 8}), (2, {2, 6, 8}), (1, {5}), (3, {3, 7})):
        drawn = partner[own == row]
        assert set(drawn.tolist()) == candidates
        for candidate in candidates:
            assert (drawn == candidate).mean() == pytest.approx(1 / len(candidates), abs=0.06)


def test_partners_depend_on_the_seed_alone():
    first = draw(0, 0.5, seed=3)
    assert draw(0, 0.5, seed=3).tolist() == first.tolist()
    assert draw(0, 0.5, seed=4).tolist() != first.tolist()
    index, rows = PartnerIndex(LABELS, BIAS), torch.arange(9)
    one, two = np.random.PCG64(5), np.random.PCG64(5)
    one.random_raw(18)
    index.choose(rows, 0.5, two)
    assert one.random_raw() == two.random_raw()


def test_a_batch_without_rows_has_no_partners():
    none = torch.zeros(0, dtype=torch.int64)
    index = PartnerIndex(LABELS, BIAS)
    assert index.choose(none, 0.5, np.random.PCG64(0)).tolist() == []
    assert index.choose_conflicting(none, np.random.PCG64(0)).tolist() == []


@pytest.mark.parametrize("alpha", [0.2, 1.0, 2.0, 16.0])
def test_shares_have_the_beta_distribution(alpha):
    mix = draw_mix(alpha, 20_000, np.random.PCG64(0))
    assert mix.dtype == torch.float32
    assert mix.shape == (20_000,)
    assert mix.min() >= 0 and mix.max() <= 1
    assert mix.mean().item() == pytest.approx(0.5, abs=0.02)
    variance = 1 / (4 * (2 * alpha + 1))
    assert mix.var().item() == pytest.approx(variance, rel=0.1)
    gap = stats.kstest(mix.double().numpy(), stats.beta(alpha, alpha).cdf).statistic
    assert gap < 0.02  # exceeded by a right sampler with probability below 1e-6


@pytest.mark.parametrize("alpha", [0.1, 0.5])
def test_shares_of_logit_correction_are_uniform(alpha):
    mix = draw_group_mix(alpha, 20_000, np.random.PCG64(0)).double().numpy()
    low, high = 1 - 2 * alpha, 1 - alpha
    assert low - 1e-6 <= mix.min() and mix.max() <= high + 1e-6
    assert stats.kstest(mix, stats.uniform(low, alpha).cdf).statistic < 0.02


def test_shares_depend_on_the_seed_alone():
    for function, alpha in ((draw_mix, 2.0), (draw_group_mix, 0.5)):
        first = function(alpha, 50, np.random.PCG64(1))
        assert torch.equal(first, function(alpha, 50, np.random.PCG64(1)))
        assert not torch.equal(first, function(alpha, 50, np.random.PCG64(2)))
        assert function(alpha, 0, np.random.PCG64(1)).shape == (0,)


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan")])
def test_a_parameter_of_the_shares_outside_its_range_is_refused(alpha):
    for function in (draw_mix, draw_group_mix):
        with pytest.raises(UsageError, match="expected alpha greater than 0"):
            function(alpha, 3, np.random.PCG64(0))
    with pytest.raises(UsageError, match=r"at most 0\.5"):
        draw_group_mix(0.6, 3, np.random.PCG64(0))


def test_labels_and_bias_values_of_other_lengths_are_refused():
    with pytest.raises(UsageError, match=r"one shape \(N,\)"):
        PartnerIndex(LABELS, BIAS[:-1])
