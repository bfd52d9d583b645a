"""``biascon list`` and ``biascon doctor``."""

from __future__ import annotations

from typing import Any

from biascon.version import __version__


def test_it_lists_the_presets(cli: Any) -> None:
    assert cli("list", "presets") == (
        0,
        "celeba\ncifar\ncontex-paper\ncpu\ngpu\npaper-barbano\npaper-hong\nsmoke\nutkface\n",
        "",
    )


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
