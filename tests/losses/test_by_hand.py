"""Values computed by hand. The comments show the computation."""

from __future__ import annotations

import math
from math import exp, log, sqrt

import pytest
import torch

from biascon.losses import get_loss
from tests.losses.batches import compute_value, make_batch

# Four unit vectors of the plane, a to d, and their cosines:
#       b     c     d
#  a   0.6   0.0  -0.8
#  b         0.8   0.0
#  c               0.6
ABCD = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-0.8, 0.6]], dtype=torch.float64)[:, None]


def compute(z, labels, bias, name, extra=None, **inputs):
    """Return the loss on a batch that is given as lists."""
    loss = get_loss(name, **(extra or {}))
    inputs = {key: torch.as_tensor(value, dtype=torch.float64) for key, value in inputs.items()}
    z = torch.as_tensor(z, dtype=torch.float64)
    return loss(z, torch.tensor(labels), torch.tensor(bias), **inputs).item()


def approx(expected):
    return pytest.approx(expected, rel=0, abs=1e-12)


# FairKL with bias 0, 1, 1, 0. Pairs with equal bias: ad = -0.8 and bc = 0.8, of mean m_a = 0 and
# variance v_a = 0.64. Pairs with different bias: ab = 0.6, ac = 0, bd = 0, cd = 0.6, of mean m_c = 0.3 and
# variance v_c = (0.09 + 0.09 + 0.09 + 0.09) / 4 = 0.09.
# paper: R = 1/2 [(0.64 + 0.3^2) / 0.09 - log(0.64 / 0.09) - 1] = 1/2 [0.73 / 0.09 - log(64 / 9) - 1],
#        which is 1/2 [8.11111 - 1.96166 - 1] = 2.57473.
PAPER = (0.73 / 0.09 - log(64 / 9) - 1) / 2
# code: each of the four pairs of an image with itself is an aligned pair of cosine 1 with equal labels, and a
#        matrix has 16 entries, with 0 for the pairs of other kinds: s^2 = (sum of squares - sum^2 / 16) / 15.
# code, one label: aligned -0.8, -0.8, 0.8, 0.8, 1, 1, 1, 1: m_a = 4 / 8 = 0.5, s_a^2 = (6.56 - 16 / 16) / 15
#        = 5.56 / 15; conflicting four times 0.6 and four times 0: m_c = 0.3, s_c^2 = (1.44 - 2.4^2 / 16) / 15
#        = 1.08 / 15. R = (0.5 - 0.3)^2 + k (sqrt(5.56 / 15) - sqrt(1.08 / 15))^2 - 0.3,
#        which is -0.26 + 0.11594 k.
SPREADS_ONE_LABEL = (sqrt(5.56 / 15) - sqrt(1.08 / 15)) ** 2
CODE_ONE_LABEL = 0.2**2 + 2 * SPREADS_ONE_LABEL - 0.3  # k = 2
# code, four labels: only the four pairs of an image with itself have equal labels: m_a = 1,
#        s_a^2 = (4 - 16 / 16) / 15 = 0.2, and m_c = s_c = 0. The other pairs are those above: m_na = 0,
#        s_na^2 = 2.56 / 15, m_nc = 0.3, s_nc^2 = 1.08 / 15.
#        R = 1 + 0.2 k - 0 + 0.3^2 + k (sqrt(2.56 / 15) - sqrt(1.08 / 15))^2 + 0.
SPREADS_FOUR_LABELS = 0.2 + (sqrt(2.56 / 15) - sqrt(1.08 / 15)) ** 2
CODE_FOUR_LABELS = 1.09 + 2 * SPREADS_FOUR_LABELS  # k = 2


def test_fairkl_constant_equals_the_number_in_its_comment():
    assert pytest.approx(2.57473, abs=1e-5) == PAPER
    assert pytest.approx(0.11594, abs=1e-5) == SPREADS_ONE_LABEL


def test_fairkl_equals_the_hand_value_for_one_label():
    # Without a negative eps-SupInfoNCE is -eps.
    value = compute(ABCD, [5, 5, 5, 5], [0, 1, 1, 0], "fairkl", {"epsilon": 0.25, "form": "paper"})
    assert value == approx(-0.25 + PAPER)
    value = compute(ABCD, [5, 5, 5, 5], [0, 1, 1, 0], "fairkl", {"form": "code", "k": 2.0})
    assert value == approx(-0.25 + CODE_ONE_LABEL)
    value = compute(ABCD, [5, 5, 5, 5], [0, 1, 1, 0], "fairkl")  # form code, k = 1
    assert value == approx(-0.25 - 0.26 + SPREADS_ONE_LABEL)


def test_fairkl_equals_the_hand_value_for_four_labels():
    # Without a positive eps-SupInfoNCE is 0. No two images have equal labels: in the form "paper", the term
    # of pairs with equal labels is 0.
    extra = {"weight": 3.0, "form": "paper"}
    assert compute(ABCD, [0, 1, 2, 3], [0, 1, 1, 0], "fairkl", extra) == approx(3 * PAPER)
    extra = {"weight": 3.0, "k": 2.0}
    assert compute(ABCD, [0, 1, 2, 3], [0, 1, 1, 0], "fairkl", extra) == approx(
        3 * CODE_FOUR_LABELS
    )


def test_supcon_fairkl_equals_the_hand_value_for_one_label():
    # T = 1. The positives of anchor a are all others, b, c and d, with the mean -0.2 / 3; and so on.
    rows = [(0.6, 0.0, -0.8), (0.6, 0.8, 0.0), (0.0, 0.8, 0.6), (-0.8, 0.0, 0.6)]
    supcon = sum(log(sum(map(exp, row))) - sum(row) / 3 for row in rows) / 4
    for form, r in (("paper", PAPER), ("code", CODE_ONE_LABEL)):
        extra = {"temperature": 1.0, "weight": 0.5, "form": form, "k": 2.0}
        value = compute(ABCD, [0] * 4, [0, 1, 1, 0], "supcon+fairkl", extra)
        assert value == approx(supcon + r / 2)


def test_temperature_does_not_change_the_regularizer_of_fairkl():
    for temperature in (0.1, 1.0):
        for form, r in (("paper", PAPER), ("code", CODE_FOUR_LABELS)):
            extra = {"temperature": temperature, "form": form, "k": 2.0}
            assert compute(ABCD, [0, 1, 2, 3], [0, 1, 1, 0], "fairkl", extra) == approx(r)


# BiasCon with T = 1, labels 0, 0, 0, 1 and bias 0, 1, 0, 0: Q(a) = {b}, Q(b) = {a, c}, Q(c) = {b} and
# Q(d) is empty. With the log sums over A
#   A(a) = log(e^0.6 + e^0 + e^-0.8) = log(1.82212 + 1 + 0.44933) = 1.18523
#   A(b) = log(e^0.6 + e^0.8 + e^0)  = log(1.82212 + 2.22554 + 1) = 1.61893 = A(c)
# the terms are A(a) - 0.6 = 0.58523, A(b) - (0.6 + 0.8) / 2 = 0.91893 and A(c) - 0.8 = 0.81893. Their sum is
# 2.32309. It is divided by 4, or by the 3 anchors with a positive.
BIASCON = (log(exp(0.6) + 1 + exp(-0.8)) - 0.6) + 2 * log(exp(0.6) + exp(0.8) + 1) - 0.7 - 0.8
# Logits log 3 and 0 for all images: p = 3/4 and 1/4. Three labels are 0 and one is 1: ce = (3 log 4/3
# + log 4) / 4 = (3 * 0.28768 + 1.38629) / 4 = 0.56234.
LOGITS = [[[log(3), 0.0]]] * 4
CE = (3 * log(4 / 3) + log(4)) / 4


def test_biascon_constants_equal_the_numbers_in_their_comments():
    assert pytest.approx(2.32309, abs=1e-5) == BIASCON
    assert pytest.approx(0.56234, abs=1e-5) == CE


@pytest.mark.parametrize(("empty", "anchors"), [("zero", 4), ("skip", 3)])
def test_biascon_equals_the_hand_value(empty, anchors):
    extra = {"temperature": 1.0, "ce_weight": 0.5, "empty": empty}
    value = compute(ABCD, [0, 0, 0, 1], [0, 1, 0, 0], "biascon", extra, logits=LOGITS)
    assert value == approx(BIASCON / anchors + 0.5 * CE)


# The prior of the counts [[90, 10, 0], [30, 30, 5]]: 120 images have bias 0, p(y|0) = 3/4, 1/4; 40 images
# have bias 1, p(y|1) = 1/4, 3/4; 5 images have bias 2, p(y|2) = 0, 1.
COUNTS = [[90, 10, 0], [30, 30, 5]]


def test_biasbal_equals_the_hand_value():
    # Label 1, bias 0, equal logits: p = 1/4 and the loss log 4.
    # Label 0, bias 1, logits log 3, 0: exp gives 3 * 1/4 and 1 * 3/4, so p = 1/2 and the loss log 2.
    # Label 1, bias 2, equal logits: p = 1 (1e-9 is added to both) and the loss 0.
    logits = [[[0.0, 0.0]], [[log(3), 0.0]], [[0.0, 0.0]]]
    value = compute(logits, [1, 0, 1], [0, 1, 2], "biasbal", counts=COUNTS)
    assert value == pytest.approx(log(8) / 3, abs=1e-8)
    # Label 0, bias 2: the cell has no training image, so that p is 1e-9.
    value = compute(logits[:1], [0], [2], "biasbal", counts=COUNTS)
    assert value == pytest.approx(log(1 + 1e9), abs=1e-8)


@pytest.mark.parametrize(("empty", "anchors"), [("zero", 4), ("skip", 3)])
def test_biascon_with_biasbal_equals_the_hand_value(empty, anchors):
    # BiasCon as above. (label, bias) = (0,0), (0,1), (0,0), (1,0) with e^logits 3 and 1 give
    # 0,0: 3 * 3/4 against 1/4, p = 9/10;   0,1: 3 * 1/4 against 3/4, p = 1/2;   1,0: p = 1/10.
    biasbal = (2 * log(10 / 9) + log(2) + log(10)) / 4
    extra = {"temperature": 1.0, "ce_weight": 0.5, "empty": empty}
    value = compute(
        ABCD, [0, 0, 0, 1], [0, 1, 0, 0], "biascon+biasbal", extra, logits=LOGITS, counts=COUNTS
    )
    assert value == pytest.approx(BIASCON / anchors + 0.5 * biasbal, abs=1e-8)


def test_end_equals_the_hand_value():
    # Features of norms 2, 5, 5 and 5 along a, b, c and d; labels 0, 0, 1, 1 and bias 0, 1, 1, 0.
    # Equal bias: ad = -0.8 and bc = 0.8, R_perp = mean of abs = 0.8.
    # Equal label, different bias: ab = 0.6 and cd = 0.6, R_par = 1 - (1 + 0.6) / 2 = 0.2.
    # Equal logits of two classes: ce = log 2.
    features = ABCD * torch.tensor([2.0, 5.0, 5.0, 5.0])[:, None, None]
    extra = {"alpha": 0.5, "beta": 0.25}
    batch = [[[0.0, 0.0]]] * 4, [0, 0, 1, 1], [0, 1, 1, 0]
    assert compute(*batch, "end", extra, features=features) == approx(
        log(2) + 0.5 * 0.8 + 0.25 * 0.2
    )


def test_supcon_with_end_equals_the_hand_value():
    # The batch above, T = 1: each anchor has one positive, of cosine 0.6. The cosines of a and d to the
    # others are 0.6, 0 and -0.8, those of b and c 0.6, 0.8 and 0.
    outer, inner = log(exp(0.6) + 1 + exp(-0.8)), log(exp(0.6) + exp(0.8) + 1)
    extra = {"temperature": 1.0, "alpha": 0.5, "beta": 0.25}
    value = compute(ABCD, [0, 0, 1, 1], [0, 1, 1, 0], "supcon+end", extra)
    assert value == approx((outer + inner) / 2 - 0.6 + 0.5 * 0.8 + 0.25 * 0.2)


def test_softcon_equals_the_hand_value():
    # T = 1, one label. Bias features along a, c, c, b: 1 - cos is 1 for ab, 1 for ac, 0.4 for ad; 0 for
    # bc, 0.2 for bd and for cd. The columns of ABCD give, with the weights (of b, c, d), (a, c, d), ...:
    # a: (1 * 0.6 + 1 * 0 + 0.4 * -0.8) / 2.4 = 0.28 / 2.4
    # b: (1 * 0.6 + 0 * 0.8 + 0.2 * 0) / 1.2 = 0.6 / 1.2
    # c: (1 * 0 + 0 * 0.8 + 0.2 * 0.6) / 1.2 = 0.12 / 1.2
    # d: (0.4 * -0.8 + 0.2 * 0 + 0.2 * 0.6) / 0.8 = -0.2 / 0.8
    attraction = 0.28 / 2.4 + 0.6 / 1.2 + 0.12 / 1.2 - 0.2 / 0.8
    outer, inner = log(exp(0.6) + 1 + exp(-0.8)), log(exp(0.6) + exp(0.8) + 1)
    expected = (2 * outer + 2 * inner - attraction) / 4 + 0.5 * log(2)
    bias_features = [[3.0, 0.0], [0.0, 2.0], [0.0, 1.0], [0.6, 0.8]]
    inputs = {"logits": [[[0.0, 0.0]]] * 4, "bias_features": bias_features}
    extra = {"temperature": 1.0, "ce_weight": 0.5}
    assert compute(ABCD, [0] * 4, [0] * 4, "softcon", extra, **inputs) == approx(expected)


def test_flac_equals_the_hand_value():
    # delta = 1, labels 0, 0, 1. All norms differ from 1. Bias features along x, y and x: d is sqrt 2 between
    # the first two and between the last two, s_b = 1 / (1 + sqrt 2) = 0.41421. Between the first and the last
    # d is 0.001 (the root of 1e-6), and s_b is 1/1.001 = 0.999. th = (0.999 + 0.41421) / 2. Pairs that count:
    # first and second (equal labels, 0.41421 < th), first and third (different labels, 0.999 > th), each in
    # both orders: four pairs. First anchor: 1 - s_b is 0.585787 and 0.000999, p = 0.585787 / 0.586786 =
    # 0.998298 and 0.001702. Features along x, y and -x: d is sqrt 2 and 2, s_f is 0.41421 and 1/3,
    # q = 0.554097 and 0.445903: (p - 0.554097) (log 1.80167 - log 0.0038178) = 2.73515. The other two anchors
    # have one pair each, p = q = 1 and a divergence of 0.
    far = sqrt(2 + 1e-6)
    p, q = far / (1 + far), 1 / (1 + far)
    p, q = p / (p + 0.001 / 1.001), q / (q + 1 / (1 + sqrt(4 + 1e-6)))
    j = (p - q) * (log(p / q) - log((1 - p) / (1 - q))) / 4
    features = torch.tensor([[2.0, 0.0], [0.0, 3.0], [-0.5, 0.0]])[:, None]
    inputs = {"features": features, "bias_features": [[4.0, 0.0], [0.0, 1.0], [0.1, 0.0]]}
    extra = {"delta": 1.0, "alpha": 2.0}
    value = compute([[[0.0, 0.0]]] * 3, [0, 0, 1], [0] * 3, "flac", extra, **inputs)
    assert value == approx(log(2) + 2 * j)
    assert j == pytest.approx(2.73515 / 4, abs=1e-4)


def test_spectral_decoupling_squares_only_the_logit_of_the_label():
    # Logits of the labels 3 and 2, squares 9 and 4 of mean 6.5; ce = (log(1 + e^-3) + log(1 + e^-3)) / 2.
    batch = [[[3.0, 0.0]], [[-1.0, 2.0]]], [0, 1], [0, 0], "ce"
    assert compute(*batch) == approx(log(1 + exp(-3)))
    assert compute(*batch, {"decoupling": 0.2}) == approx(log(1 + exp(-3)) + 0.2 * 6.5)
    other = [[[3.0, 1.0]], [[-1.0, 2.0]]], [0, 1], [0, 0], "ce"
    added = compute(*other, {"decoupling": 0.2}) - compute(*other)
    assert added == approx(0.2 * 6.5)  # the logit of the other class is not squared


def test_gce_equals_the_hand_value():
    # p = 1/4: (1 - (1/4)^(1/2)) / (1/2) = 1. p = 1/4 and q = 1: 1 - 1/4.
    assert compute([[[0.0] * 4]], [2], [0], "gce", {"q": 0.5}) == approx(1.0)
    assert compute([[[0.0] * 4]], [2], [0], "gce", {"q": 1.0}) == approx(0.75)


def test_lff_equals_the_hand_value():
    # Both images have L_d = log 2; with L_b = log 2 and 3 log 2 the weights are 1/2 and 3/4.
    logits = [[[0.0, 0.0]], [[1.0, 1.0]]]
    value = compute(logits, [0, 1], [0, 0], "lff", bias_losses=[log(2), 3 * log(2)])
    assert value == approx(log(2) * 5 / 8)


def test_lff_is_zero_if_both_losses_are_zero():
    # In float64 softmax(0, 1000) is exactly 1: L_d = 0, and 0 / 0 must not give NaN.
    assert compute([[[0.0, 1000.0]]], [1], [0], "lff", bias_losses=[0.0]) == 0.0


def test_jtt_equals_the_hand_value():
    value = compute([[[0.0, 0.0]], [[1.0, 1.0]]], [0, 1], [0, 0], "jtt", weights=[2.0, 0.5])
    assert value == approx(log(2) * 2.5 / 2)


def test_reweight_equals_the_hand_value():
    # 12 images in three cells of 6, 2 and 4: w = 2, 6 and 3, of sum 11. Losses log 2, log 4, log 4/3.
    logits = [[[0.0, 0.0]], [[0.0, log(3)]], [[0.0, log(3)]]]
    value = compute(logits, [0, 0, 1], [0, 1, 1], "reweight", counts=[[6, 2], [0, 4]])
    assert value == approx((2 * log(2) + 6 * log(4) + 3 * log(4 / 3)) / 11)


def test_reweight_of_one_image_is_its_cross_entropy_in_any_cell():
    for bias, n in ((0, 60_000), (1, 1), (2, 0)):
        value = compute(
            [[[0.0, log(3)]]], [0], [bias], "reweight", counts=[[60_000, 1, 0], [5, 5, 5]]
        )
        assert value == approx(log(4)), n


def test_groupdro_equals_the_hand_value_and_updates_its_weights():
    # Two cells with q = 1/4 and 3/4 and mean losses log 2 and log 4: with eta = 1, q e^L is 1/4 * 2 = 1/2 and
    # 3/4 * 4 = 3, so that q becomes 1/7 and 6/7. The other cells are not in the batch, and their q = 0 stays
    # 0.
    logits = [[[0.0, 0.0]], [[0.0, log(3)]], [[5.0, 5.0]]]
    q = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    loss = get_loss("groupdro", eta=1.0)
    z, labels, bias = (
        torch.tensor(logits).double(),
        torch.tensor([0, 0, 0]),
        torch.tensor([0, 1, 0]),
    )
    value = loss(z, labels, bias, group_weights=q)
    assert value.item() == pytest.approx(log(2) / 7 + 6 * log(4) / 7, abs=1e-7)
    assert torch.allclose(q[0], torch.tensor([1 / 7, 6 / 7, 0.0]).double(), atol=1e-7)
    assert not q[1].any()


# Three orthogonal images of labels 0, 0 and 1 with two equal views, T = 1: s is 1 to the own other view and 0
# to the four others. Four anchors have label 0, with P = own view and two of mean 1/3, and N of two anchors;
# two anchors have label 1, with P = own view and N of four anchors.
SELF = log(math.e + 4) - 1
FORMS = {
    "plain": (4 * (log(2) - 1 / 3) + 2 * (log(4) - 1)) / 6 + SELF,
    # s - log sum_N is 1 - log 2 and twice -log 2 for label 0, 1 - log 4 for label 1: two are clamped at 0.
    "clip": (4 * (2 * log(2) / 3) + 2 * (log(4) - 1)) / 6 + SELF,
    "log1p": (4 * (log(3) - 1 / 3) + 2 * (log(5) - 1)) / 6 + SELF,
    # Without the own view, only label 0 has positives, of similarity 0. Lb = -log(1 + e / 4).
    "separate": log(2) - log(1 + math.e / 4),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_contex_equals_the_hand_value(form):
    z = torch.eye(3, dtype=torch.float64)[:, None].expand(-1, 2, -1)
    extra = {"form": form, "temperature": 1.0, "wa": 1.0, "wb": 1.0}
    assert compute(z, [0, 0, 1], [0, 0, 0], "contex", extra) == approx(FORMS[form])


LOG7 = math.log(7)
# Four images of labels 0, 0, 1, 2 with two views each and equal embeddings (or logits): of the 8 anchors,
# the 4 of label 0 have 4 negatives and the other 4 have 6. Every softmax over A(i) is uniform over 7
# anchors, that of the classifier over 6 logits. Only the second image has another bias value.
COLLAPSED_CONTEXT = (4 * math.log(4) + 4 * math.log(6)) / 8
MARGIN = math.exp(-0.25)
# 16, 8, 24 and 16 of 64 pairs are aligned and conflicting with equal labels, aligned and conflicting with
# different labels, all of cosine 1: s^2 = n (1 - n / 64) / 63 is 12, 7, 15 and 12 over 63, and
# -m_c + m_na is 0.
COLLAPSED_CODE = ((sqrt(12) - sqrt(7)) ** 2 + (sqrt(15) - sqrt(12)) ** 2) / 63
INFONCE = (log(MARGIN + 4) + log(MARGIN + 6)) / 2
COLLAPSED = {
    "ce": ({}, math.log(6)),
    "bias-ce": ({}, math.log(6)),
    "simclr": ({}, LOG7),
    "supcon": ({}, LOG7),
    "supcon, form in": ({"form": "in"}, LOG7),
    "contex": ({}, (COLLAPSED_CONTEXT + LOG7) / 2),
    "contex, context alone": ({"wa": 1, "wb": 0}, COLLAPSED_CONTEXT),
    "contex, self alone": ({"wa": 0, "wb": 1}, LOG7),
    "contex-clip": ({}, (COLLAPSED_CONTEXT + LOG7) / 2),
    "eps_supinfonce": ({}, INFONCE),
    "eps_supcon": ({}, (log(3 * MARGIN + 4) + log(MARGIN + 6)) / 2),
    "fairkl": ({}, INFONCE + COLLAPSED_CODE),
    "fairkl, paper": ({"form": "paper"}, INFONCE),  # all cosines are 1: R = 0
    "supcon+fairkl": ({}, LOG7 + COLLAPSED_CODE),
    "biascon": ({}, LOG7 / 2 + 0.01 * log(6)),  # half of the anchors have a positive in Q
    "biascon, skip": ({"empty": "skip"}, LOG7 + 0.01 * log(6)),
    "supcon+end": ({}, LOG7 + 1),  # R_perp = 1, R_par = 0
    "end": ({}, log(6) + 1),
    "gce": ({"q": 0.5}, 2 * (1 - 6**-0.5)),
}


@pytest.mark.parametrize("case", COLLAPSED)
def test_collapsed_embeddings_give_the_loss_of_a_uniform_softmax(case):
    name = case.partition(",")[0]
    extra, expected = COLLAPSED[case]
    batch = make_batch(name, labels=[0, 0, 1, 2], bias=[0, 1, 0, 0])
    collapsed = batch.map_tensors(
        ("z", "logits", "features"), lambda x: torch.full_like(x, 6**-0.5)
    )
    assert compute_value(get_loss(name, **extra), collapsed).item() == pytest.approx(
        expected, abs=1e-12
    )
