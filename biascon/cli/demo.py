"""``biascon demo``: build a BiasedMNIST, run two losses on it, and write the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from biascon.cli.options import FOLDER, device_option, no_features_option
from biascon.cli.output import Progress, print_note, print_text

if TYPE_CHECKING:
    from biascon.runs.finished import RunResult

LOSSES = ("contex", "contex-clip", "supcon")  # both forms of ConTeX


@dataclass(frozen=True)
class DemoPlan:
    """The dataset and the runs of the demonstration.

    Attributes:
        source: The source of the digits, a value of ``make-bmnist --source``.
        rho: The correlation between class and color in the training split.
        seeds: The seeds of each loss.
        reason: Why these values were chosen.
        settings: Settings that override the preset ``cpu``, as ``section.key=value``.
    """

    source: str
    rho: float
    seeds: tuple[int, ...]
    reason: str
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class DemoResult:
    """The runs of the demonstration, a verdict for each pair of losses, and the files of the report."""

    runs: list[RunResult]
    verdicts: list[str]
    files: list[Path]


@click.command(name="demo")
@click.option(
    "--out",
    type=FOLDER,
    default="demo",
    show_default=True,
    help="Folder for the dataset, the runs and the report.",
)
@device_option
@no_features_option
def command(out: Path, device: str, no_features: bool) -> None:
    """Build a BiasedMNIST, train ConTeX and SupCon on it, and write the report.

    If MNIST is found or can be downloaded, the dataset is built from MNIST with rho 0.997. Otherwise it is
    built from the 5,000 embedded digits with rho 0.97. The first line of the output names the digits.
    """
    from biascon.cli.evaluate import format_evaluations

    plan = plan_demo()
    print_note(plan.reason)
    result = run_demo(plan, out, device=device, keep_features=not no_features)
    evaluations = [run.evaluation for run in result.runs if run.evaluation is not None]
    print_text(format_evaluations(evaluations))
    print_text("")
    for verdict in result.verdicts:
        print_text(verdict)
    print_text("")
    for path in result.files:
        print_text(f"written: {path}")


def plan_demo() -> DemoPlan:
    """Choose MNIST with rho 0.997 if it is found, else the 5,000 embedded digits with rho 0.97."""
    from biascon.data.builders.mnist_source import find_digits

    digits = find_digits()
    if digits.kind == "mnist":
        reason = (
            f"digits: MNIST, from {digits.origin}; rho 0.997, one seed "
            "(for more seeds: biascon evaluate --loss contex --loss contex-clip --loss supcon --seeds 0,1,2)"
        )
        return DemoPlan("auto", 0.997, (0,), reason)
    reason = (
        f"digits: {digits.origin}, because MNIST was not found and cannot be downloaded; rho 0.97, "
        "because 0.997 would leave about 20 bias-conflicting images; do not compare with results on MNIST"
    )
    return DemoPlan("embedded", 0.97, (0, 1, 2), reason)


def run_demo(
    plan: DemoPlan, out: Path, *, device: str = "auto", keep_features: bool = True
) -> DemoResult:
    """Build the dataset of a plan, run its losses, and write the report.

    Args:
        plan: The plan, from ``plan_demo``.
        out: The folder in which ``data/``, ``runs/`` and ``report/`` are written.
        device: The value of the option ``--device``.
        keep_features: Whether the runs keep their features.

    Raises:
        BiasconError: A step fails.
    """
    from biascon.config.factory import make_config
    from biascon.data import dataset
    from biascon.data.builders.biased_mnist import BiasedMNISTSpec, make_biased_mnist
    from biascon.evaluation.pipeline import evaluate
    from biascon.report.verdicts import compare_losses, describe_difference
    from biascon.report.write import write_report
    from biascon.utils.devices import pick_device

    torch_device = pick_device(device)
    built = make_biased_mnist(
        BiasedMNISTSpec(plan.rho), root=out / "data", source=plan.source, say=print_note
    )
    data = dataset.load(built.folder)
    runs = []
    for seed in plan.seeds:
        for loss in LOSSES:
            config = make_config(loss, seed=seed, preset="cpu", settings=plan.settings)
            progress = Progress(config)
            try:
                run = evaluate(
                    config,
                    data,
                    root=out / "runs",
                    device=torch_device,
                    on_epoch=progress,
                    keep_features=keep_features,
                )
            finally:
                progress.close()
            runs.append(run)
    files, experiments = write_report(
        out / "runs", out / "report", dataset=data.name, data=out / "data"
    )
    verdicts = [
        describe_difference(difference)
        for experiment in experiments
        for difference in compare_losses(experiment)
    ]
    return DemoResult(runs, verdicts, files)
