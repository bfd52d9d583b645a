"""``biascon train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from biascon.cli.options import load_dataset, training_options
from biascon.cli.output import Progress, format_table, print_text
from biascon.cli.presets import make_run_configs, watch_cost
from biascon.cli.processes import train_in_processes

if TYPE_CHECKING:
    from biascon.config.run_config import RunConfig


@click.command(name="train")
@training_options
def command(
    losses: tuple[str, ...],
    seeds: list[int],
    data: Path | None,
    bias: list[str] | None,
    preset: str | None,
    settings: tuple[str, ...],
    weights: Path | None,
    protocol: str | None,
    device: str,
    compiled: bool,
    resume: bool,
    recompute: bool,
    root: Path,
) -> None:
    """Train encoders and measure them on the validation split; the test split is not read.

    Use this command to choose a recipe. An interrupted run resumes from its last epoch. If torchrun or srun
    starts the command, all processes train one network: torchrun --nproc-per-node 4 -m biascon train ...
    """
    from biascon.evaluation.pipeline import validate
    from biascon.metrics.summary import ACCURACIES
    from biascon.utils.devices import pick_device
    from biascon.utils.distributed import distributed_session, is_main_process, world_size

    rows: list[list[str]] = []
    notes: list[str] = []
    with distributed_session(pick_device(device)) as session_device:
        configs, folder = make_run_configs(
            losses, seeds, preset, settings, data, session_device.type,
            compiled=compiled, weights=weights, protocol=protocol,
        )  # fmt: skip
        dataset = load_dataset(folder, bias, only=("train", "val"))
        if world_size() > 1:
            configs = train_in_processes(
                configs, dataset, root=root, device=session_device, resume=resume,
                recompute=recompute,
            )  # fmt: skip
            if not is_main_process():
                return
            resume = True  # what was just trained is not trained again
        for config in configs:
            watch = watch_cost(config.preset, dataset.manifest, session_device.type)
            progress = Progress(config, watch=watch)
            try:
                folder, accuracies = validate(
                    config,
                    dataset,
                    root=root,
                    device=session_device,
                    resume=resume,
                    on_epoch=progress,
                    recompute=recompute,
                )
            finally:
                progress.close()
            names = ACCURACIES[:5]
            values = [None if accuracies is None else accuracies[name] for name in names]
            cells = ["-" if value is None else f"{100 * value:.1f}" for value in values]
            rows.append([config.loss, str(config.seed), *cells, str(folder)])
            notes += describe_run(config, folder, accuracies is None)
    n = len(dataset.splits["val"]) if "val" in dataset.splits else 0
    print_text(f"{dataset.name}, validation (n = {n:,}), preset {configs[0].preset}, percent")
    header = ["loss", "seed", "top-1", "unbiased", "aligned", "conflicting", "worst", "run"]
    print_text("\n".join([format_table(header, rows), *notes]))


def describe_run(config: RunConfig, folder: Path, lacks_accuracies: bool) -> list[str]:
    """Return lines about a run: the images that its first stage singles out, and why values are missing.

    Args:
        config: The configuration of the run.
        folder: Its folder.
        lacks_accuracies: Whether the run has no accuracies on the validation split.
    """
    from biascon.losses import Requirement, get_entry
    from biascon.runs.folder import read_selected_images

    run, selected = f"{config.loss} seed {config.seed}", read_selected_images(folder)
    lines = [] if selected is None else [f"{run}: {selected.describe()}"]
    if lacks_accuracies and Requirement.HELD_OUT_BIAS in get_entry(config.loss).requires:
        lines.append(
            f"{run}: the last layer is fitted on the validation split, so that it is not measured there; "
            "biascon evaluate measures it on the test split"
        )
    elif lacks_accuracies:
        lines.append(
            f"{run}: the dataset has no validation split; make it with --val-protocol held-out"
        )
    return lines
