"""Paired tests between the losses of an experiment: over seeds, and over the test images of each seed."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from biascon.metrics import accuracy
from biascon.metrics.intervals import Mean, t_interval
from biascon.metrics.paired_tests import (
    JointCounts,
    count_jointly,
    holm,
    mcnemar,
    paired_bootstrap,
    paired_t,
    wilcoxon,
)
from biascon.report.experiments import Experiment
from biascon.runs.finished import FinishedRun
from biascon.runs.folder import PREDICTIONS
from biascon.utils.seeds import numpy_generator


@dataclass(frozen=True)
class ImageTest:
    """Two runs of one seed, a and b, tested on the same test images.

    Attributes:
        seed: The seed of both runs.
        n: The number of test images.
        only_a: The number of images that only a classifies correctly.
        only_b: The number of images that only b classifies correctly.
        mcnemar: The two-sided mid-p-value of McNemar's test.
        difference: The headline accuracy of a minus that of b.
        low: The lower limit of its 95 % interval, a paired bootstrap over the images.
        high: The upper limit.
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
        a: The label of loss a.
        b: The label of loss b.
        seeds: The number of seeds that both losses have.
        difference: The mean of a minus b over these seeds; NaN without a seed.
        low: The lower limit of its 95 % t interval; NaN below two seeds.
        high: The upper limit.
        p_t: The p-value of the paired t test.
        p_t_holm: The same p-value, adjusted by Holm over all pairs that are tested together.
        p_wilcoxon: The p-value of Wilcoxon's signed-rank test.
        images: One test for each seed that both losses have and whose test images agree.
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

    def to_json(self) -> dict[str, Any]:
        """Return the test as plain data; NaN is None."""
        data = asdict(self)
        data["images"] = [_without_nan(image_test) for image_test in data["images"]]
        return _without_nan(data)


def _without_nan(data: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in data.items()
    }


@dataclass(frozen=True)
class _SeedTest:
    """The tests of one pair of losses over the seeds that both have; ``mean`` is None without a seed."""

    a: str
    b: str
    seeds: int
    mean: Mean | None
    p_t: float
    p_wilcoxon: float


def run_paired_tests(
    experiment: Experiment, against: str | None = None, *, images: bool = True
) -> list[PairedTest]:
    """Return the tests of every pair of losses, or of each loss against one; Holm adjusts over these.

    Args:
        experiment: Runs of one dataset and recipe.
        against: The label of the loss that the others are tested against; None tests every pair.
        images: Whether to test each seed on its test images too, which reads the predictions.
    """
    labels = list(experiment.losses)
    if against is None:
        pairs = [(b, a) for i, a in enumerate(labels) for b in labels[i + 1 :]]
    else:
        pairs = [(label, against) for label in labels if label != against]
    tests = [_test_over_seeds(experiment, a, b) for a, b in pairs]
    adjusted = holm(np.array([test.p_t for test in tests], dtype=float)).tolist()
    return [
        PairedTest(
            a=test.a,
            b=test.b,
            seeds=test.seeds,
            difference=math.nan if test.mean is None else test.mean.mean,
            low=math.nan if test.mean is None else test.mean.low,
            high=math.nan if test.mean is None else test.mean.high,
            p_t=test.p_t,
            p_t_holm=float(p_holm),
            p_wilcoxon=test.p_wilcoxon,
            images=_test_each_seed(experiment, test.a, test.b) if images else (),
        )
        for test, p_holm in zip(tests, adjusted, strict=True)
    ]


def _test_over_seeds(experiment: Experiment, a: str, b: str) -> _SeedTest:
    values_a = experiment.values(a, experiment.headline)
    values_b = experiment.values(b, experiment.headline)
    common = sorted(values_a.keys() & values_b.keys())
    x = np.array([values_a[seed] for seed in common])
    y = np.array([values_b[seed] for seed in common])
    mean = t_interval(x - y) if common else None
    p_t, p_wilcoxon = (
        test(x, y).p if len(common) > 1 else math.nan for test in (paired_t, wilcoxon)
    )
    return _SeedTest(a, b, len(common), mean, p_t, p_wilcoxon)


def _test_each_seed(experiment: Experiment, a: str, b: str) -> tuple[ImageTest, ...]:
    """Return the tests on the test images, one for each seed that both losses have."""
    run_of_b = {run.seed: run for run in experiment.losses[b]}
    tests = [
        compare_on_images(run, run_of_b[run.seed])
        for run in experiment.losses[a]
        if run.seed in run_of_b
    ]
    return tuple(test for test in tests if test is not None)


def compare_on_images(a: FinishedRun, b: FinishedRun) -> ImageTest | None:
    """Test two runs on their test images; None unless both have the same images in the same order.

    The test is about these two encoders. It does not show how other seeds would differ.
    """
    counts = _count_both(a, b)
    if counts is None:
        return None
    only_a, only_b = counts.discordant
    metric = accuracy.unbiased if a.has_bias else accuracy.top1
    difference = paired_bootstrap(
        counts,
        lambda tables: {"accuracy": metric(tables)},
        numpy_generator(a.seed, "bootstrap/paired"),
    )["accuracy"]
    return ImageTest(
        seed=a.seed,
        n=int(counts.n.sum()),
        only_a=only_a,
        only_b=only_b,
        mcnemar=mcnemar(only_a, only_b).mid,
        difference=float(difference.value),
        low=float(difference.low),
        high=float(difference.high),
    )


def _count_both(a: FinishedRun, b: FinishedRun) -> JointCounts | None:
    """Return the joint counts of two runs, None unless both have the same images in the same order."""
    import pyarrow.parquet as pq

    if not all((run.folder / PREDICTIONS).is_file() for run in (a, b)):
        return None
    keys = ["index", "label", "bias"]
    columns = [*keys, "prediction"]
    frame_a, frame_b = (
        pq.read_table(run.folder / PREDICTIONS, columns=columns).to_pandas() for run in (a, b)
    )
    if not frame_a[keys].equals(frame_b[keys]):
        return None
    bias = a.evaluation.identity.bias
    return count_jointly(
        frame_a["label"].to_numpy(),
        frame_a["bias"].to_numpy(),
        frame_a["prediction"].to_numpy(),
        frame_b["prediction"].to_numpy(),
        n_labels=len(a.evaluation.identity.labels),
        n_bias=1 if bias is None else len(bias.values),
    )
