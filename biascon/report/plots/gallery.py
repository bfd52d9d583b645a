"""Gallery of misclassified test images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from biascon.data.dataset import Split
from biascon.report.experiments import Experiment
from biascon.report.plots.style import PAGE, loss_label, make_axes, plain_label
from biascon.runs.finished import FinishedRun
from biascon.runs.folder import PREDICTIONS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GRID = (3, 8)  # rows and columns


def misclassified(run: FinishedRun) -> list[tuple[int, int, int]]:
    """Return (row, label, prediction) of the misclassified test images that are not bias-aligned.

    The images with the highest scores come first. Where no alignment is defined, all images are considered.
    """
    import pyarrow.parquet as pq

    frame = pq.read_table(run.folder / PREDICTIONS).to_pandas()
    scores = frame[[name for name in frame.columns if name.startswith("score_")]].to_numpy()
    is_candidate = ~frame["aligned"].astype(bool)
    wrong = np.flatnonzero((frame["prediction"] != frame["label"]) & is_candidate)
    order = wrong[np.argsort(-scores[wrong].max(axis=1), kind="stable")]
    return [(int(r), int(frame["label"][r]), int(frame["prediction"][r])) for r in order]


def draw_gallery(experiment: Experiment, label: str, test: Split, ax: Axes | None = None) -> Axes:
    """Draw the misclassified test images of the first seed of a loss that have the highest scores.

    Args:
        experiment: The runs.
        label: The loss.
        test: The test split of their dataset.
        ax: The axes to draw on.
    """
    ax = make_axes(ax, PAGE, 3.0)
    rows, columns = GRID
    _, _, h, w = test.images.shape
    gap = max(2, h // 3)
    sheet = np.full((rows * (h + gap), columns * (w + 2), 3), 255, np.uint8)
    names = [plain_label(name, 12) for name in experiment.identity.labels]
    errors = misclassified(experiment.losses[label][0])[: rows * columns]
    for k, (row, true_label, prediction) in enumerate(errors):
        y, x = (k // columns) * (h + gap), (k % columns) * (w + 2)
        sheet[y : y + h, x : x + w] = test.images[row].transpose(1, 2, 0)
        text = f"{names[true_label]}, not {names[prediction]}"
        ax.text(x + w / 2, y + h + gap / 2, text, ha="center", va="center", fontsize=6)
    ax.imshow(sheet, interpolation="nearest")
    ax.set_axis_off()
    ax.set_title(loss_label(experiment, label), fontsize="medium")
    return ax
