"""The demonstration: does ConTeX lean less on color than SupCon, on the digits that are there?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from biascon.config.run_config import RunConfig, make_config
from biascon.data import dataset
from biascon.data.builders.biased_mnist import BiasedMNISTSpec, make_biased_mnist
from biascon.data.builders.mnist_source import find_digits
from biascon.evaluation.pipeline import evaluate
from biascon.report.verdicts import compare_losses, describe_difference
from biascon.report.write import write_report
from biascon.runs.evaluation import Evaluation
from biascon.runs.records import EpochRecord
from biascon.utils.devices import pick_device

LOSSES = ("contex", "supcon")


class Watch(Protocol):
    """What shows the epochs of a run."""

    def __call__(self, record: EpochRecord) -> None:
        """Show an epoch."""

    def close(self) -> None:
        """End."""


@dataclass(frozen=True)
class Plan:
    """What the demonstration runs, and why that."""

    source: str
    rho: float
    seeds: tuple[int, ...]
    settings: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class Outcome:
    """Evaluations with whether each was there before, the verdicts, and the report's files."""

    runs: list[tuple[Evaluation, bool]]
    verdicts: list[str]
    files: list[Path]


def plan() -> Plan:
    """Choose by what digits are found: MNIST at rho 0.997, or the embedded 5,000 at rho 0.97."""
    digits = find_digits()
    if digits.kind == "mnist":
        why = (
            f"digits: MNIST, from {digits.origin}: rho 0.997, one seed "
            "(more: biascon evaluate --loss contex --loss supcon --seeds 0,1,2)"
        )
        return Plan("auto", 0.997, (0,), (), why)
    return Plan(
        "embedded",
        0.97,
        (0, 1, 2),
        (),
        f"digits: {digits.origin}, for MNIST was neither found nor could be downloaded: rho 0.97, "
        "since 0.997 would leave some 20 conflicting images; these are not MNIST's numbers",
    )


def run(
    chosen: Plan,
    out: Path,
    *,
    device: str = "auto",
    say: Callable[[str], None],
    progress: Callable[[RunConfig], Watch],
) -> Outcome:
    """Run a plan from digits to report, in a folder of its own.

    Args:
        chosen: From ``plan``.
        out: Gets ``data/``, ``runs/`` and ``report/``.
        device: As ``--device``.
        say: Called with lines of progress.
        progress: Makes what shows the epochs of a run.

    Raises:
        BiasconError: As of the steps.
    """
    place = pick_device(device)
    made = make_biased_mnist(
        BiasedMNISTSpec(chosen.rho), root=out / "data", source=chosen.source, say=say
    )
    data = dataset.load(made.folder)
    found = []
    for seed in chosen.seeds:
        for loss in LOSSES:
            config = make_config(loss, seed=seed, preset="cpu", settings=chosen.settings)
            watch = progress(config)
            try:
                result = evaluate(config, data, root=out / "runs", device=place, on_epoch=watch)
            finally:
                watch.close()
            if result.evaluation is not None:
                found.append((result.evaluation, result.reused))
    files, groups = write_report(out / "runs", out / "report", dataset=data.name, data=out / "data")
    verdicts = [
        describe_difference(difference) for one in groups for difference in compare_losses(one)
    ]
    return Outcome(found, verdicts, files)
