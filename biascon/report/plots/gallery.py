"""Gallery of misclassified test images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from biascon.data.dataset import Split
from biascon.report.experiments import Experiment, FinishedRun
from biascon.report.plots.style import PAGE, loss_label, make_axes, plain_label
from biascon.runs.folder import PREDICTIONS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


GALLERY = (3, 8)


def misclassified(run: FinishedRun) -> list[tuple[int, int, int]]:
    """Return (row, label, prediction) of test images, none aligned, that a run gets wrong, surest first."""
    import pyarrow.parquet as pq

    frame = pq.read_table(run.folder / PREDICTIONS).to_pandas()
    scores = frame[[c for c in frame.columns if c.startswith("score_")]].to_numpy()
    of_interest = ~frame["aligned"].astype(bool)  # all of them where no alignment is defined
    wrong = np.flatnonzero((frame["prediction"] != frame["label"]) & of_interest)
    order = wrong[np.argsort(-scores[wrong].max(axis=1), kind="stable")]
    return [(int(r), int(frame["label"][r]), int(frame["prediction"][r])) for r in order]


def draw_gallery(group: Experiment, label: str, test: Split, ax: Axes | None = None) -> Axes:
    """Draw conflicting test images that a loss's first seed gets wrong, those it is most sure of."""
    ax = make_axes(ax, PAGE, 3.0)
    rows, columns = GALLERY
    _, _, h, w = test.images.shape
    gap = max(2, h // 3)
    sheet = np.full((rows * (h + gap), columns * (w + 2), 3), 255, np.uint8)
    names = group.first["labels"]
    for place, (row, told, guessed) in enumerate(
        misclassified(group.losses[label][0])[: rows * columns]
    ):
        y, x = (place // columns) * (h + gap), (place % columns) * (w + 2)
        sheet[y : y + h, x : x + w] = test.images[row].transpose(1, 2, 0)
        text = f"{plain_label(names[told], 12)}, not {plain_label(names[guessed], 12)}"
        ax.text(x + w / 2, y + h + gap / 2, text, ha="center", va="center", fontsize=6)
    ax.imshow(sheet, interpolation="nearest")
    ax.set_axis_off()
    ax.set_title(loss_label(group, label), fontsize="medium")
    return ax
