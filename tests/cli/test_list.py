"""``biascon list`` and ``biascon doctor``."""

from __future__ import annotations

import json
from typing import Any

import pytest

from biascon.config.settings import list_presets
from biascon.version import __version__


def test_it_lists_the_presets(cli: Any) -> None:
    outcome = cli("list", "presets")
    assert (outcome.code, outcome.err) == (0, "")
    rows = {line.split()[0]: line for line in outcome.out.splitlines()[2:-2]}
    assert list(rows) == list_presets()
    assert "digits" in rows["cpu"]
    assert "some 70 s (MNIST, one core, measured)" in rows["cpu"]
    assert all("GPU" in rows[name] for name in ("gpu", "utkface", "celeba", "cifar", "paper-hong"))
    assert "Barbano et al. (ICLR 2023)" in rows["paper-barbano"]


def test_it_lists_the_presets_as_json(cli: Any) -> None:
    presets = json.loads(cli("list", "presets", "--json").out)
    assert list(presets) == list_presets()
    assert presets["faces-cpu"]["device"] == "cpu"
    assert presets["celeba"]["pixels"] == "224"
    assert presets["celeba"]["cost"] in ("measured", "estimated")


def test_it_lists_the_losses_and_marks_those_with_bias_labels(cli: Any) -> None:
    from biascon.losses import LOSSES, uses_bias_labels

    outcome = cli("list", "losses")
    assert outcome.code == 0
    _, _, *rows = outcome.out.splitlines()
    assert [row.split()[0] for row in rows[: len(LOSSES)]] == list(LOSSES)
    marked = {row.split()[0] for row in rows[: len(LOSSES)] if row.split()[1] == "†"}
    assert marked == {name for name in LOSSES if uses_bias_labels(name)}
    assert {"biasbal", "dfr", "flac", "resample"} < marked
    assert not marked & {"ce", "contex", "supcon", "lff", "jtt", "softcon"}
    assert any(row.startswith("bias_features ") for row in rows)  # the legend of the inputs
    assert all(entry.paper in outcome.out for entry in LOSSES.values())


def test_it_lists_the_encoders(cli: Any) -> None:
    from biascon.models.encoders import ENCODERS

    outcome = cli("list", "encoders")
    assert outcome.code == 0
    assert [row.split()[0] for row in outcome.out.splitlines()[2:]] == list(ENCODERS)


def test_doctor_prints_versions_and_digits(cli: Any, small_digits: None) -> None:
    outcome = cli("doctor")
    assert outcome.code == 0
    values = dict(line.split(maxsplit=1) for line in outcome.out.splitlines())
    assert values["biascon"] == __version__
    assert values["MNIST"] == "made for the tests (1,000 training digits)"
    assert "torch" in values


def test_it_lists_the_search_spaces_of_all_methods(cli: Any) -> None:
    from biascon.losses import LOSSES

    outcome = cli("list", "spaces")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert (
        "optimizer.lr            log-uniform in 0.002 to 0.064" in lines
    )  # 0.016 / 8 to 4 x 0.016
    assert "contex           loss.wb               1 - wa" in lines
    (cold,) = [line for line in lines if line.startswith("without loss.temperature: ")]
    assert "groupdro" in cold
    assert "supcon" not in cold
    own = [line.split()[:2] for line in lines if "  loss." in line]
    for name, entry in LOSSES.items():
        assert [key for loss, key in own if loss == name] == [f"loss.{key}" for key in entry.search]
    assert lines[-1].startswith("without own parameters: ce, simclr, supcon, ")


def test_it_lists_the_search_space_of_one_method(cli: Any) -> None:
    outcome = cli("list", "spaces", "JTT", "--preset", "smoke")
    assert outcome.code == 0
    rows = {line.split()[0]: line.split()[1:] for line in outcome.out.splitlines()[2:]}
    assert rows["loss.first_epochs"] == ["one", "of", "1,", "2", "no"]
    assert rows["optimizer.lr"][-1] == "yes"
    assert "loss.temperature" not in rows


def test_the_search_space_as_json_is_that_of_a_study(cli: Any) -> None:
    from biascon.tuning.space import make_method

    outcome = cli("list", "spaces", "contex", "--json")
    data = json.loads(outcome.out)
    assert data["preset"] == "cpu"
    assert data["methods"] == {"contex": make_method("contex", "contex", "cpu").to_json()}


@pytest.mark.parametrize(
    ("words", "owner"),
    [
        (("losses", "jtt"), "LOSS belongs to: biascon list spaces"),
        (("runs", "--json"), "--json belongs to: biascon list spaces and presets"),
        (("spaces", "--verify"), "--verify belongs to: biascon list runs"),
    ],
)
def test_options_of_another_list_are_refused(cli: Any, words: Any, owner: str) -> None:
    outcome = cli("list", *words)
    assert outcome.code == 2
    assert outcome.err == f"error: {owner}\n"


def test_an_unknown_loss_has_no_search_space(cli: Any) -> None:
    outcome = cli("list", "spaces", "supconn")
    assert outcome.code == 2
    assert "did you mean 'supcon'?" in outcome.err
