"""``METHOD@eiil``: variants of methods whose groups are inferred, so that they use no bias labels."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from biascon.errors import UsageError
from biascon.losses import (
    LOSSES,
    FirstStage,
    LossEntry,
    canonical_name,
    default_parameters,
    get_entry,
    get_loss,
    plugins,
    uses_bias_labels,
)
from tests.losses.batches import compute_value, make_batch

# Methods that use bias values in their loss or in the draw of their batches.
WITH_GROUPS = [
    "bias-ce",
    "fairkl",
    "supcon+fairkl",
    "supcon+end",
    "end",
    "biascon",
    "biascon+biasbal",
    "biasbal",
    "reweight",
    "resample",
    "groupdro",
    "fscl",
    "fscl+",
    "lisa",
    "subg",
]
WITH_A_BIAS_NETWORK = ["flac", "badd"]
WITHOUT = [name for name in LOSSES if name not in (*WITH_GROUPS, *WITH_A_BIAS_NETWORK, "dfr")]


@pytest.mark.parametrize("name", WITH_GROUPS)
def test_groups_of_an_early_network_take_the_place_of_bias_labels(name):
    entry = get_entry(f"{name}@eiil")
    assert entry.first_stage == FirstStage("ce", "environments", epochs=1)
    assert entry.first_stage.replaces_bias
    assert entry.first_stage.plain_views
    assert entry.infers_bias
    assert not entry.uses_bias_labels
    assert not uses_bias_labels(f"{name}@eiil")
    assert uses_bias_labels(name)
    assert "EIIL" in entry.paper
    changed = {"first_stage", "paper"}
    for field in dataclasses.fields(LossEntry):
        if field.name not in changed:
            assert getattr(entry, field.name) == getattr(LOSSES[name], field.name)


@pytest.mark.parametrize("name", WITH_A_BIAS_NETWORK)
def test_first_stage_network_predicts_the_inferred_groups(name):
    entry, network = get_entry(f"{name}@eiil"), LOSSES[name].first_stage
    assert entry.first_stage == dataclasses.replace(
        network, loss="bias-ce@eiil", per_attribute=False
    )
    assert get_entry(entry.first_stage.loss).first_stage == FirstStage(
        "ce", "environments", epochs=1
    )
    assert not uses_bias_labels(f"{name}@eiil")
    assert uses_bias_labels(name)


@pytest.mark.parametrize("name", [*WITH_GROUPS, *WITH_A_BIAS_NETWORK])
def test_loss_of_a_variant_is_that_of_the_method(name):
    loss, batch = get_loss(f"{name}@eiil"), make_batch(name, b=6)
    assert loss.name == f"{name}@eiil"
    assert default_parameters(f"{name}@eiil") == default_parameters(name)
    assert torch.equal(compute_value(loss, batch), compute_value(get_loss(name), batch))


REFUSED = {
    "dfr@eiil": "'dfr' fits its last layer on held-out bias labels",
    "groupdro@x": "unknown inference of groups 'x'",
    "groupdro@": "unknown inference of groups ''",
    "groupdr@eiil": "unknown loss 'groupdr'; did you mean 'groupdro'?",
    "groupdro@eiil@eiil": "unknown inference of groups",
    "@eiil": "unknown loss ''",
    **{f"{name}@eiil": f"'{name}' uses no bias labels" for name in WITHOUT},
}


@pytest.mark.parametrize("name", REFUSED)
def test_variant_that_makes_no_sense_is_refused_in_one_line(name):
    for function in (get_entry, get_loss, default_parameters, uses_bias_labels):
        with pytest.raises(UsageError) as caught:
            function(name)
        assert REFUSED[name] in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("GroupDRO@EIIL", "groupdro@eiil"),
        ("group-dro@Eiil", "groupdro@eiil"),
        ("BiasCon+BiasBal@EIIL", "biascon+biasbal@eiil"),
        ("FLAC@eiil", "flac@eiil"),
        ("groupdro@eiil", "groupdro@eiil"),
    ],
)
def test_variants_may_be_spelled_as_in_the_papers(spelling, name):
    assert canonical_name(spelling) == name
    assert get_entry(spelling) == get_entry(name)
    assert get_loss(spelling) == get_loss(name)


def apart(z, labels, bias, *, strength: float = 2.0):
    """A loss of another package that uses bias values."""
    return strength * (z.sum(dim=(1, 2)) * bias).mean()


@pytest.mark.parametrize("batch_inputs", [("labels", "bias"), ("labels",)])
def test_plugin_has_a_variant_if_it_uses_bias_values(batch_inputs, monkeypatch):
    plain = LossEntry(f"{__name__}:apart", "", "A. Nobody, 2026", batch_inputs=batch_inputs)
    monkeypatch.setattr(plugins, "plugin_losses", lambda: {"apart": None})
    monkeypatch.setattr(plugins, "plugin_entry", lambda name, _: plain)
    if "bias" not in batch_inputs:
        with pytest.raises(UsageError, match="'apart' uses no bias labels"):
            get_entry("apart@eiil")
        return
    assert uses_bias_labels("apart")
    assert not uses_bias_labels("apart@eiil")
    assert get_entry("apart@eiil").infers_bias
    loss = get_loss("apart@eiil", strength=3)
    batch = make_batch("supcon", b=4)
    expected = 3 * (batch.z.sum(dim=(1, 2)) * batch.bias).mean()
    assert loss(batch.z, batch.labels, batch.bias).item() == pytest.approx(expected.item())
