"""Paired tests between the losses of a group: over seeds, and over the test images of each seed."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from biascon.metrics import accuracy
from biascon.metrics.intervals import t_interval
from biascon.metrics.paired_tests import (
    JointCounts,
    count_jointly,
    holm,
    mcnemar,
    paired_bootstrap,
    paired_t,
    wilcoxon,
)
from biascon.report.experiments import Experiment, FinishedRun
from biascon.runs.folder import PREDICTIONS
from biascon.utils.seeds import numpy_generator


@dataclass(frozen=True)
class ImageTest:
    """Two runs of one seed on the same test images.

    Attributes:
        seed: Of both.
        n: Test images.
        only_a: Images that only a gets right.
        only_b: Images that only b gets right.
        mcnemar: Mid-p of McNemar's test, two-sided.
        difference: Headline accuracy (``Run.headline``) of a minus that of b.
        low: Of its 95 % interval, a paired bootstrap over the images.
        high: Of the same.
    """

    seed: int
    n: int
    only_a: int
    only_b: int
    mcnemar: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedTest:
    """Loss a against loss b in headline accuracy: unbiased, or top-1 without a bias attribute.

    Attributes:
        a: A label of the group.
        b: Another.
        seeds: How many seeds both have.
        difference: Mean over these of a minus b; NaN without one.
        low: Of its 95 % t interval; NaN below two seeds.
        high: Of the same.
        p_t: Of the paired t test.
        p_t_holm: The same, adjusted by Holm over all pairs of the family.
        p_wilcoxon: Of Wilcoxon's signed ranks.
        images: For each seed that both have and whose test images agree.
    """

    a: str
    b: str
    seeds: int
    difference: float
    low: float
    high: float
    p_t: float
    p_t_holm: float
    p_wilcoxon: float
    images: tuple[ImageTest, ...]

    def plain(self) -> dict[str, Any]:
        """Return plain data; NaN is None."""
        found = asdict(self)
        found["images"] = [_plain(one) for one in found["images"]]
        return _plain(found)


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    undefined = {k for k, v in found.items() if isinstance(v, float) and not math.isfinite(v)}
    return {k: None if k in undefined else v for k, v in found.items()}


def run_paired_tests(
    group: Experiment, against: str | None = None, *, images: bool = True
) -> list[PairedTest]:
    """Return the tests of every pair of losses, or of each against one; Holm is over these.

    Args:
        group: Runs of one dataset and recipe.
        against: A label of the group.
        images: Whether each seed is tested on its test images too, which reads their predictions.
    """
    labels = list(group.losses)
    if against is None:
        pairs = [(b, a) for i, a in enumerate(labels) for b in labels[i + 1 :]]
    else:
        pairs = [(label, against) for label in labels if label != against]
    values = {label: group.values(label, group.headline) for label in labels}
    rows = []
    for a, b in pairs:
        common = sorted(values[a].keys() & values[b].keys())
        x = np.array([values[a][seed] for seed in common])
        y = np.array([values[b][seed] for seed in common])
        mean = t_interval(x - y) if common else None
        p_t, p_w = (test(x, y).p if len(common) > 1 else math.nan for test in (paired_t, wilcoxon))
        rows.append((a, b, len(common), mean, p_t, p_w))
    adjusted = holm(np.array([row[4] for row in rows], dtype=float)).tolist()
    nan = math.nan
    return [
        PairedTest(
            a, b, n, *(nan, nan, nan) if mean is None else (mean.mean, mean.low, mean.high),
            p_t, float(p_holm), p_w, tuple(_on_images(group, a, b)) if images else (),
        )
        for (a, b, n, mean, p_t, p_w), p_holm in zip(rows, adjusted, strict=True)
    ]  # fmt: skip


def _on_images(group: Experiment, a: str, b: str) -> list[ImageTest]:
    second = {run.seed: run for run in group.losses[b]}
    found = [
        compare_on_images(run, second[run.seed]) for run in group.losses[a] if run.seed in second
    ]
    return [one for one in found if one is not None]


def compare_on_images(a: FinishedRun, b: FinishedRun) -> ImageTest | None:
    """Test two runs on their test images, which must be the same in the same order; None if they are not.

    It says how sure the difference between these two encoders is, and nothing about other seeds.
    """
    both = _joint(a, b)
    if both is None:
        return None
    only_a, only_b = both.discordant
    metric = accuracy.unbiased if a.has_bias else accuracy.top1
    difference = paired_bootstrap(
        both,
        lambda tables: {"accuracy": metric(tables)},
        numpy_generator(a.seed, "bootstrap/paired"),
    )["accuracy"]
    return ImageTest(
        seed=a.seed,
        n=int(both.n.sum()),
        only_a=only_a,
        only_b=only_b,
        mcnemar=mcnemar(only_a, only_b).mid,
        difference=float(difference.value),
        low=float(difference.low),
        high=float(difference.high),
    )


def _joint(a: FinishedRun, b: FinishedRun) -> JointCounts | None:
    """Return the joint counts of two runs, None if they were not tested on the same images in one order."""
    import pyarrow.parquet as pq

    if not all((run.folder / PREDICTIONS).is_file() for run in (a, b)):
        return None
    columns = ["index", "label", "bias", "prediction"]
    one, other = (
        pq.read_table(run.folder / PREDICTIONS, columns=columns).to_pandas() for run in (a, b)
    )
    keys = ["index", "label", "bias"]
    if not one[keys].equals(other[keys]):
        return None
    return count_jointly(
        one["label"].to_numpy(),
        one["bias"].to_numpy(),
        one["prediction"].to_numpy(),
        other["prediction"].to_numpy(),
        n_labels=len(a.evaluation["labels"]),
        n_bias=len(a.evaluation["bias"]["values"]) if a.has_bias else 1,
    )
