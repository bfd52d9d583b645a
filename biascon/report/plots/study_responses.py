"""Plot of the scores of the trials of a study against single parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from biascon.report.plots.study_curves import grid_shape, set_plain_log_axis, split_axes
from biascon.report.plots.style import COLORS, MARKERS, plain_label
from biascon.studies.multiverse import Response

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MIN_FITTED = 6  # trials below which no line is drawn


def draw_responses(
    panels: Mapping[str, Sequence[Response]], methods: Sequence[str], ax: Axes
) -> Axes:
    """Draw a panel for each parameter: the score of each trial, and a quadratic for each method.

    Args:
        panels: The scores of the methods by parameter.
        methods: The methods, which decide colors and markers.
        ax: The axes that the panels replace.
    """
    rows, columns = grid_shape(len(panels))
    axes = split_axes(ax, rows, columns, sharey=True)
    handles: dict[str, Any] = {}
    for panel, (parameter, responses) in zip(axes.flat, panels.items(), strict=False):
        for response in responses:
            k = methods.index(response.method)
            color, marker = COLORS[k], MARKERS[k]
            (points,) = panel.plot(
                response.x, 100 * response.scores, marker, color=color, ms=3, mew=0, alpha=0.75
            )
            handles.setdefault(response.method, points)
            if (
                len(response.x) >= MIN_FITTED
                and np.ptp(response.x) > 0
                and not response.is_category
            ):
                low, high = response.x.min(), response.x.max()
                grid = (
                    np.geomspace(low, high, 60) if response.is_log else np.linspace(low, high, 60)
                )
                panel.plot(grid, 100 * response.fitted(grid), color=color, lw=1.1)
        if any(response.is_log for response in responses):
            set_plain_log_axis(panel)
        panel.set_xlabel(plain_label(parameter))
        panel.grid(alpha=0.25)
    for panel in axes.flat[len(panels) :]:
        panel.set_axis_off()
    figure = axes[0, 0].figure
    figure.supylabel("validation score, %", fontsize="medium")
    figure.legend(
        handles.values(),
        [plain_label(method) for method in handles],
        loc="outside upper center",
        ncols=4,
        frameon=False,
    )
    return axes[0, 0]  # type: ignore[no-any-return]
