"""Paired tests between the losses of an experiment: over seeds, and over the test images of each seed."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np

from biascon.metrics.intervals import Mean, t_interval
from biascon.metrics.joint_counts import count_jointly
from biascon.metrics.paired_difference import paired_accuracy_difference
from biascon.metrics.paired_tests import holm, mcnemar, paired_t, wilcoxon
from biascon.report.experiments import Experiment
from biascon.report.predictions import Predictions, read_predictions
from biascon.runs.finished import FinishedRun
from biascon.utils.devices import count_cpus
from biascon.utils.progress import Say, say_nothing, with_progress

T = TypeVar("T")


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
        low: The lower limit of its 95 % interval over the images (``paired_difference``).
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
        data["images"] = [without_nan(image_test) for image_test in data["images"]]
        return without_nan(data)


def without_nan(data: dict[str, Any]) -> dict[str, Any]:
    """Return plain data with None in place of numbers that are not finite."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in data.items()
    }


@dataclass(frozen=True)
class SeedTest:
    """The tests of one pair of losses over the seeds that both have; ``mean`` is None without a seed."""

    a: str
    b: str
    seeds: int
    mean: Mean | None
    p_t: float
    p_wilcoxon: float


def run_paired_tests(
    experiment: Experiment,
    against: str | None = None,
    *,
    images: bool = True,
    say: Say = say_nothing,
) -> list[PairedTest]:
    """Return the tests of every pair of losses, or of each loss against one; Holm adjusts over these.

    Args:
        experiment: Runs of one dataset and recipe.
        against: The label of the loss that the others are tested against; None tests every pair.
        images: Whether to test each seed on its test images too, which reads the predictions.
        say: Called with a line of progress every few seconds.
    """
    pairs = list_pairs(experiment, against)
    tests = [compare_over_seeds(experiment, a, b, experiment.headline) for a, b in pairs]
    adjusted = holm(np.array([test.p_t for test in tests], dtype=float)).tolist()
    on_images = _test_each_seed(experiment, pairs, say) if images else [()] * len(pairs)
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
            images=image_tests,
        )
        for test, p_holm, image_tests in zip(tests, adjusted, on_images, strict=True)
    ]


def list_pairs(experiment: Experiment, against: str | None) -> list[tuple[str, str]]:
    """Return the losses a and b of each comparison: every pair, or each loss against one."""
    labels = list(experiment.losses)
    if against is None:
        return [(b, a) for i, a in enumerate(labels) for b in labels[i + 1 :]]
    return [(label, against) for label in labels if label != against]


def compare_over_seeds(experiment: Experiment, a: str, b: str, metric: str) -> SeedTest:
    """Return the tests of two losses in a metric over the seeds for which both have a value."""
    return compare_values_over_seeds(
        a, b, experiment.values(a, metric), experiment.values(b, metric)
    )


def compare_values_over_seeds(
    a: str, b: str, values_a: Mapping[int, float], values_b: Mapping[int, float]
) -> SeedTest:
    """Return the tests of two losses, given the value of each by seed, over the seeds that both have."""
    common = sorted(values_a.keys() & values_b.keys())
    x = np.array([values_a[seed] for seed in common])
    y = np.array([values_b[seed] for seed in common])
    mean = t_interval(x - y) if common else None
    p_t, p_wilcoxon = (
        test(x, y).p if len(common) > 1 else math.nan for test in (paired_t, wilcoxon)
    )
    return SeedTest(a, b, len(common), mean, p_t, p_wilcoxon)


def _test_each_seed(
    experiment: Experiment, pairs: Sequence[tuple[str, str]], say: Say
) -> list[tuple[ImageTest, ...]]:
    """Return, for each pair of losses, the tests on the test images: one for each seed that both have."""
    of_pair = [pair_runs(experiment, a, b) for a, b in pairs]
    found = iter(compare_pairs_on_images([pair for each in of_pair for pair in each], say))
    return [tuple(test for _ in each if (test := next(found)) is not None) for each in of_pair]


def pair_runs(experiment: Experiment, a: str, b: str) -> list[tuple[FinishedRun, FinishedRun]]:
    """Return the runs of losses a and b for each seed that both have."""
    run_of_b = {run.seed: run for run in experiment.losses[b]}
    return [(run, run_of_b[run.seed]) for run in experiment.losses[a] if run.seed in run_of_b]


def compare_pairs_on_images(
    pairs: Sequence[tuple[FinishedRun, FinishedRun]], say: Say = say_nothing
) -> list[ImageTest | None]:
    """Return ``compare_on_images`` of many pairs of runs, computed by a thread for each core.

    Nearly all of the time is spent in draws of random numbers, during which numpy lets other threads run.
    Each pair has its own generator, so that the results do not depend on the number of threads.

    Args:
        pairs: The runs a and b of each test.
        say: Called with a line of progress every few seconds.
    """
    return map_pairs(compare_on_images, pairs, say)


def map_pairs(
    test: Callable[[FinishedRun, FinishedRun], T],
    pairs: Sequence[tuple[FinishedRun, FinishedRun]],
    say: Say,
) -> list[T]:
    """Return the test of each pair of runs on their test images, computed by a thread for each core."""
    if len(pairs) < 2:
        return [test(a, b) for a, b in pairs]
    import scipy.stats  # noqa: F401 - before the threads: two threads may not import it at a time

    pool = ThreadPoolExecutor(max_workers=count_cpus())
    try:
        found = pool.map(lambda pair: test(*pair), pairs)
        return list(with_progress(found, "tests on the test images", len(pairs), say))
    finally:  # an interrupted command does not wait for the remaining pairs
        pool.shutdown(cancel_futures=True)


def compare_on_images(a: FinishedRun, b: FinishedRun) -> ImageTest | None:
    """Test two runs on their test images; None unless both have the same images in the same order.

    The test is about these two encoders. It does not show how other seeds would differ.
    """
    read_a, read_b = read_predictions(a), read_predictions(b)
    if read_a is None or read_b is None or not same_rows(read_a, read_b):
        return None
    bias = a.evaluation.identity.bias
    n_labels, n_bias = len(a.evaluation.identity.labels), 1 if bias is None else len(bias.values)
    return _compare(read_a, read_b, a.seed, n_labels, n_bias, a.has_bias)


def same_rows(a: Predictions, b: Predictions) -> bool:
    """Whether two sets of predictions are of the same images in the same order."""
    return all(x is y for x, y in zip(a.rows, b.rows, strict=True))


@functools.lru_cache(maxsize=1 << 16)
def _compare(
    a: Predictions, b: Predictions, seed: int, n_labels: int, n_bias: int, has_bias: bool
) -> ImageTest:
    """Test two sets of predictions of the same images; the formats of a report share the result."""
    _, labels, bias = a.rows
    counts = count_jointly(labels, bias, a.predicted, b.predicted, n_labels=n_labels, n_bias=n_bias)
    only_a, only_b = counts.discordant
    difference = paired_accuracy_difference(counts, over_rows=not has_bias)
    return ImageTest(
        seed=seed,
        n=int(counts.n.sum()),
        only_a=only_a,
        only_b=only_b,
        mcnemar=mcnemar(only_a, only_b).mid,
        difference=float(difference.value),
        low=float(difference.low),
        high=float(difference.high),
    )
