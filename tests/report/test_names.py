"""Names of values, labels and attributes that a figure could take for a formula, or that are too long."""

from __future__ import annotations

import numpy as np
import pytest

from biascon.report.experiments import Experiment
from biascon.report.plots.accuracy import draw_accuracies, draw_cells
from biascon.report.plots.groups import draw_groups
from biascon.report.plots.style import plain_label
from tests.report.test_report import made_up, one_group

NAMES = ["$a^$", "$$", "_under", "long name " * 20, "two\nlines", r"\frac", "{", "50 %", "<b>", ""]


def with_names(names: list[str], seeds: int = 2) -> Experiment:
    n = len(names)
    counts = np.tile(np.eye(n, dtype=int)[:, None] * 5, (1, n, 1)).tolist()
    bias = {"name": names[0], "values": names}
    runs = [made_up("supcon", s, 0.5, bias=bias, labels=names, counts=counts) for s in range(seeds)]
    return one_group(*runs)


@pytest.mark.filterwarnings("error")
def test_any_name_is_drawn_as_text() -> None:
    one = with_names(NAMES)
    for ax in (draw_cells(one, "supcon"), draw_groups(one, ["supcon"])):
        ax.figure.canvas.draw()
        assert ax.bbox.width > 0.25 * ax.figure.bbox.width


def test_names_of_bars_do_not_lie_on_each_other() -> None:
    ax = draw_groups(with_names([f"a longer name {k}" for k in range(20)]), ["supcon"])
    assert {tick.get_rotation() for tick in ax.get_xticklabels()} == {60.0}
    ax = draw_groups(with_names(["red", "green"]), ["supcon"])
    assert {tick.get_rotation() for tick in ax.get_xticklabels()} == {0.0}


def test_a_legend_has_a_name_that_starts_with_an_underscore() -> None:
    assert plain_label("_x") == " _x"


def test_many_seeds_that_agree_have_bars_without_width() -> None:
    one = with_names(["a", "b"], seeds=9)
    for run in one.losses["supcon"]:
        run.evaluation["counts"] = [[[7, 3], [7, 3]], [[3, 7], [3, 7]]]
    draw_groups(one, ["supcon"])


@pytest.mark.filterwarnings("error")
def test_the_legend_does_not_need_the_first_loss() -> None:
    one = one_group(made_up("supcon", 0, None), made_up("contex", 0, 0.5))
    legend = draw_accuracies(one).get_legend()
    assert legend is not None and len(legend.get_texts()) == 3
    assert draw_accuracies(one_group(made_up("supcon", 0, None))).get_legend() is None
