"""The figure of the report: accuracy on aligned, all and conflicting cells, by loss."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from biascon.report.collect import Group
from biascon.report.compare import summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, told apart by marker as well.
SERIES = (
    ("bias_aligned", "bias-aligned cells", "#E69F00", "^"),
    ("unbiased", "all cells (unbiased)", "#0072B2", "o"),
    ("bias_conflicting", "bias-conflicting cells", "#D55E00", "v"),
)


def draw_group(group: Group, ax: Axes) -> Axes:
    """Draw a group: a row a loss, a small mark a seed, the mean with its 95 % t interval."""
    labels = list(group.losses)
    for metric, name, colour, marker in SERIES:
        for row, label in enumerate(labels):
            values = [100 * value for value in group.values(label, metric).values()]
            mean = summary(group, label, metric)
            if mean is None:
                continue
            legend = name if row == 0 else None
            ax.plot(values, [row] * len(values), marker, color=colour, ms=4, alpha=0.45, mew=0)
            ax.plot(100 * mean.mean, row, marker, color=colour, ms=8, label=legend)
            if metric == "unbiased" and mean.n > 1:
                ax.plot([100 * mean.low, 100 * mean.high], [row, row], color=colour, lw=2)
    seeds = sorted({len(found) for found in group.losses.values()})
    n = group.first["top1"]["n"]
    names = [
        label + " (c)" * (found[0].judge == "own classifier") + " †" * found[0].sees_bias
        for label, found in group.losses.items()
    ]
    ax.set_yticks(range(len(labels)), names)
    ax.set_ylim(len(labels) + 0.1, -0.6)
    ax.set_xlim(right=101)
    ax.set_xlabel(
        "test accuracy, %\n(c): by its own classifier; †: is given bias labels", fontsize="small"
    )
    counted = " or ".join(str(k) for k in seeds)
    ax.set_title(
        f"{group.first['dataset']}, preset {group.preset}\n"
        f"{counted} seed{'s' if seeds != [1] else ''}, n = {n:,} test images",
        fontsize="medium",
    )
    protocol = group.first["protocol"]
    about = (
        f"{group.first['source']}; test: {protocol['test']}; selection: {protocol['selection']}\n"
        f"{protocol['evaluation']}; dataset {group.first['dataset_digest'][:8]}, "
        f"recipe {group.first['recipe'][:8]}"
    )
    ax.text(0.01, 0.02, about.replace("$", r"\$"), transform=ax.transAxes, fontsize=6, color="0.35")
    ax.grid(axis="x", alpha=0.3)
    return ax


def figure(groups: Sequence[Group]) -> bytes:
    """Return the figure as a PNG: one panel a group."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [1.9 + 0.38 * len(group.losses) for group in groups]
    page = Figure(figsize=(8.5, sum(heights) + 0.6), layout="constrained")
    FigureCanvasAgg(page)
    axes = page.subplots(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    for group, ax in zip(groups, axes, strict=True):
        draw_group(group, ax)
    handles, names = axes[0].get_legend_handles_labels()
    page.legend(
        handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize="small"
    )
    buffer = io.BytesIO()
    page.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()
