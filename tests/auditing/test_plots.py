"""The plots of an audit: points at the values, intervals, undefined rates, long names, many groups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import biascon
from biascon.auditing import Audit
from biascon.auditing.display.plots import MAX_GROUPS
from biascon.errors import UsageError
from tests.auditing.audit_cases import audit_one_group, audit_rows, make_rows


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    mpl.use("agg")
    yield
    plt.close("all")


def binary_audit() -> Audit:
    return audit_rows(make_rows(classes=2, groups=3))


def drawn_points(ax: Any) -> dict[str, list[float]]:
    """Return the points in percent of each series in the legend."""
    containers, names = ax.get_legend_handles_labels()
    return {
        name: np.asarray(c.lines[0].get_xdata()).tolist()
        for c, name in zip(containers, names, strict=True)
        if hasattr(c, "lines")
    }


def test_the_points_are_the_rates_of_the_groups() -> None:
    audit = binary_audit()
    points = drawn_points(audit.plot())
    positive = audit.cells.xs("1", level="class")
    assert points["accuracy"] == pytest.approx((100 * audit.by_group.accuracy).tolist())
    for name, column in (
        ("selection rate", "selection_rate"),
        ("true positive rate", "true_positive_rate"),
        ("false positive rate", "false_positive_rate"),
    ):
        assert points[name] == pytest.approx((100 * positive[column]).tolist())


def test_the_bars_are_the_intervals() -> None:
    audit = binary_audit()
    (bars,) = (c.lines[2][0] for c in audit.plot(kind="accuracy").containers)
    limits = [(segment[0, 0] / 100, segment[1, 0] / 100) for segment in bars.get_segments()]
    expected = audit.by_group[["ci_low", "ci_high"]].to_numpy()
    np.testing.assert_allclose(limits, expected, atol=1e-12)


def test_differences_have_their_value_by_chance() -> None:
    audit = binary_audit()
    ax = audit.plot(kind="differences")
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert names[:2] == ["demographic parity", "equalized odds"]
    found = drawn_points(ax)["found"]
    assert found[1] == pytest.approx(100 * audit.overall["equalized_odds_difference"])
    chance = [line for line in ax.get_lines() if line.get_label() == "by chance"]
    assert len(chance) == 1 and len(chance[0].get_xdata()) == 3


@pytest.mark.parametrize("kind", ["rates", "accuracy", "differences"])
def test_the_given_axes_are_used(kind: Any) -> None:
    _, ax = plt.subplots()
    assert binary_audit().plot(ax, kind=kind) is ax
    assert len(plt.get_fignums()) == 1


def test_an_undefined_rate_is_a_word_and_no_point() -> None:
    audit = biascon.audit([0, 0, 1, 1], [0, 0, 1, 0], sensitive_features=["a", "a", "b", "b"])
    ax = audit.plot()
    words = [text.get_text() for text in ax.texts]
    assert words == ["undefined", "undefined"]  # no positive in a, no negative in b
    assert len(drawn_points(ax)["true positive rate"]) == 1
    ax.figure.canvas.draw()


def test_one_group_is_drawn() -> None:
    audit = audit_one_group()
    assert [len(points) for points in drawn_points(audit.plot(kind="rates")).values()] == 4 * [1]
    assert all(t.get_text() == "undefined" for t in audit.plot(kind="differences").texts)


def test_of_many_groups_the_worst_are_drawn_and_long_names_keep_their_end() -> None:
    rows = pd.DataFrame({"y": np.arange(400) % 2, "g": np.arange(400) // 2 % 40})
    rows["p"] = np.where(rows.g == 39, 1 - rows.y, rows.y)
    rows["g"] = [f"occupation of a long and $strange$ kind, number {g:02d}" for g in rows.g]
    ax = audit_rows(rows).plot()
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert len(names) == MAX_GROUPS
    assert names[-1].endswith("number 39  (n = 10)") and len(names[-1]) < 50
    assert "30 of 40" in ax.get_title(loc="left")
    ax.figure.canvas.draw()  # no name is taken for a formula


def test_a_group_that_is_too_small_to_compare_is_marked() -> None:
    rows = make_rows(classes=2, groups=2)
    rows.loc[:4, "g"] = "tiny"
    names = [t.get_text() for t in audit_rows(rows, min_group=10).plot().get_yticklabels()]
    assert names[-1] == "tiny  (n = 5, not compared)"
    assert not any("compared" in name for name in names[:-1])


def test_weights_have_no_line_over_all_rows_but_for_the_accuracy() -> None:
    rows = make_rows(classes=2, groups=2)
    weights = np.arange(1, len(rows) + 1)
    audit = biascon.audit(rows.y, rows.p, sensitive_features=rows.g, sample_weight=weights)
    points = drawn_points(audit.plot())
    assert points["selection rate"] == pytest.approx((100 * audit.by_group.selection_rate).tolist())


def test_more_classes_have_the_accuracy_only() -> None:
    ax = audit_rows(make_rows()).plot()
    assert len(ax.containers) == 1 and ax.get_legend() is None
    assert ax.get_xlabel().startswith("accuracy in percent")


def test_more_classes_have_the_multi_class_equalized_odds() -> None:
    audit = audit_rows(make_rows())
    ax = audit.plot(kind="differences")
    names = [text.get_text() for text in ax.get_yticklabels()]
    found = drawn_points(ax)["found"][names.index("multi-class equalized odds")]
    assert found == pytest.approx(100 * audit.overall["multiclass_equalized_odds_difference"])


def test_control_characters_are_drawn_as_escapes() -> None:
    names = {"a": "\u202egroup", "b": "\x1b[31mred", "c": "two\nlines"}
    rows = make_rows(classes=2, groups=3).replace({"g": names}).rename(columns={"g": "\u202eg"})
    for kind in ("rates", "differences"):
        ax = audit_rows(rows, "\u202eg").plot(kind=kind)
        texts = [*(t.get_text() for t in ax.get_yticklabels()), ax.get_title(loc="left")]
        assert all(text.isprintable() for text in texts)
        assert r"\u202eg" in texts[-1]


def test_ax_must_be_axes() -> None:
    with pytest.raises(UsageError, match="expected ax to be axes of matplotlib or None, but got 3"):
        binary_audit().plot(ax=3)  # type: ignore[arg-type]


def test_another_kind_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="did you mean 'rates'"):
        binary_audit().plot(kind="rate")  # type: ignore[arg-type]
