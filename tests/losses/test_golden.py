"""The losses against values that were computed independently, once, and written down."""

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
}


@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("golden", LOSSES)
def test_value_equals_the_golden_one(golden, case):
    name, parameters = LOSSES[golden]
    given = CASES[case]
    z = torch.tensor(given["features"], dtype=torch.float64)
    loss = get_loss(name, temperature=given["temperature"], **parameters)
    value = loss(z, torch.tensor(given["labels"]), torch.tensor(given["biases"]))
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(given["expected"][golden], rel=0, abs=1e-9)


def test_golden_cases_tell_every_two_losses_apart():
    names = [name for name in LOSSES if name != "self"]  # which is simclr
    for one, other in itertools.combinations(names, 2):
        gaps = [abs(case["expected"][one] - case["expected"][other]) for case in CASES]
        assert max(gaps) > 1e-3, (one, other)


def test_self_term_of_the_clipped_loss_is_simclr_too():
    for given in CASES:
        z = torch.tensor(given["features"], dtype=torch.float64)
        loss = get_loss("contex-clip", temperature=given["temperature"], wa=0.0, wb=1.0)
        value = loss(z, torch.tensor(given["labels"])).item()
        assert value == pytest.approx(given["expected"]["simclr"], rel=0, abs=1e-9)
