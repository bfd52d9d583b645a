"""Plots of names that matplotlib could take for a formula, or that are too long, and of undefined values."""

from __future__ import annotations

import numpy as np
import pytest

from biascon.report.experiments import Experiment
from biascon.report.plots.accuracy import draw_accuracies, draw_cells
from biascon.report.plots.groups import draw_groups
from biascon.report.plots.style import plain_label
from biascon.runs.identity import BiasRecord
from tests.report.fakes import made_up, one_experiment

NAMES = ["$a^$", "$$", "_under", "long name " * 20, "two\nlines", r"\frac", "{", "50 %", "<b>", ""]


def experiment_with_names(names: list[str]) -> Experiment:
    """An experiment whose labels and bias values have these names."""
    n = len(names)
    counts = np.tile(np.eye(n, dtype=int)[:, None] * 5, (1, n, 1)).tolist()
    bias = BiasRecord(names[0], names)
    return one_experiment(
        *(made_up("supcon", s, 0.5, bias=bias, labels=names, counts=counts) for s in range(2))
    )


@pytest.mark.filterwarnings("error")
def test_any_name_is_drawn_as_text() -> None:
    experiment = experiment_with_names(NAMES)
    for ax in (draw_cells(experiment, "supcon"), draw_groups(experiment, ["supcon"])):
        ax.figure.canvas.draw()
        assert ax.bbox.width > 0.25 * ax.figure.bbox.width


def test_names_that_would_overlap_are_rotated() -> None:
    ax = draw_groups(experiment_with_names([f"a longer name {k}" for k in range(20)]), ["supcon"])
    assert {tick.get_rotation() for tick in ax.get_xticklabels()} == {60.0}
    ax = draw_groups(experiment_with_names(["red", "green"]), ["supcon"])
    assert {tick.get_rotation() for tick in ax.get_xticklabels()} == {0.0}


def test_name_with_an_underscore_first_stays_in_the_legend() -> None:
    assert plain_label("_x") == " _x"


def test_seeds_that_agree_have_intervals_without_width() -> None:
    counts = [[[7, 3], [7, 3]], [[3, 7], [3, 7]]]
    draw_groups(
        one_experiment(*(made_up("supcon", s, 0.5, counts=counts) for s in range(9))), ["supcon"]
    )


@pytest.mark.filterwarnings("error")
def test_legend_does_not_need_the_first_loss() -> None:
    experiment = one_experiment(made_up("supcon", 0, None), made_up("contex", 0, 0.5))
    legend = draw_accuracies(experiment).get_legend()
    assert legend is not None and len(legend.get_texts()) == 3
    assert draw_accuracies(one_experiment(made_up("supcon", 0, None))).get_legend() is None
