"""Losses against recorded values of an independent implementation."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch

from biascon.losses import get_loss

GOLDEN = Path(__file__).parent.parent / "golden" / "losses.json"
CASES = json.loads(GOLDEN.read_text(encoding="utf-8"))["cases"]

# golden name -> (loss, parameters). The values have ten decimals.
LOSSES = {
    "supcon_out": ("supcon", {"form": "out"}),
    "supcon_in": ("supcon", {"form": "in"}),
    "simclr": ("simclr", {}),
    "contex": ("contex", {}),
    "contex_clipped": ("contex-clip", {}),
    "context": ("contex", {"wa": 1.0, "wb": 0.0}),
    "context_clipped": ("contex-clip", {"wa": 1.0, "wb": 0.0}),
    "self": ("contex", {"wa": 0.0, "wb": 1.0}),
    "eps_supinfonce_0.25": ("eps_supinfonce", {"epsilon": 0.25}),
    "eps_supcon_0.25": ("eps_supcon", {"epsilon": 0.25}),
    # Computed by the Python loops of oracles_plain.py from the features of the file.
    "contex_log1p": ("contex", {"form": "log1p", "wa": 0.6, "wb": 0.4}),
    "contex_separate": ("contex", {"form": "separate", "wa": 0.7, "wb": 0.3}),
    "bias_contrastive": ("biascon", {"ce_weight": 0.0, "empty": "zero"}),
}


def compute_golden_value(case, name, **parameters):
    """Return the loss on a golden case. Logits, if the loss takes any, are arbitrary."""
    z = torch.tensor(case["features"], dtype=torch.float64)
    labels, bias = torch.tensor(case["labels"]), torch.tensor(case["biases"])
    loss = get_loss(name, temperature=case["temperature"], **parameters)
    inputs = {"logits": z[..., :4] * 100} if loss.tensor_inputs else {}
    return loss(z, labels, bias, **inputs)


@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("golden", LOSSES)
def test_value_equals_the_golden_value(golden, case):
    name, parameters = LOSSES[golden]
    value = compute_golden_value(CASES[case], name, **parameters)
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(CASES[case]["expected"][golden], rel=0, abs=1e-9)


@pytest.mark.parametrize("case", range(len(CASES)))
def test_every_golden_value_is_checked(case):
    assert set(CASES[case]["expected"]) == set(LOSSES)


@pytest.mark.parametrize("case", range(len(CASES)))
def test_golden_biascon_value_is_a_mean_over_all_anchors(case):
    golden = CASES[case]
    cells = list(zip(golden["labels"], golden["biases"], strict=True))
    n_with_positive = sum(any(y == y2 and b != b2 for y2, b2 in cells) for y, b in cells)
    value = compute_golden_value(golden, "biascon", ce_weight=0, empty="skip").item()
    assert value * n_with_positive / len(cells) == pytest.approx(
        golden["expected"]["bias_contrastive"], rel=0, abs=1e-9
    )


def test_golden_values_of_two_losses_differ():
    names = [name for name in LOSSES if name != "self"]  # equal to simclr
    for first, second in itertools.combinations(names, 2):
        gaps = [abs(case["expected"][first] - case["expected"][second]) for case in CASES]
        assert max(gaps) > 1e-3, (first, second)


def test_self_term_of_the_clipped_loss_is_simclr():
    for case in CASES:
        value = compute_golden_value(case, "contex-clip", wa=0.0, wb=1.0).item()
        assert value == pytest.approx(case["expected"]["simclr"], rel=0, abs=1e-9)
