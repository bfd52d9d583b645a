"""Train runs in all processes of a launcher; the main process then goes on alone."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from biascon.cli.output import Progress
from biascon.cli.presets import watch_cost

if TYPE_CHECKING:
    import torch

    from biascon.config.run_config import RunConfig
    from biascon.data.dataset import BiasedDataset


def train_in_processes(
    configs: Sequence[RunConfig],
    dataset: BiasedDataset,
    *,
    root: Path,
    device: torch.device,
    resume: bool,
    recompute: bool = False,
) -> list[RunConfig]:
    """Train the networks of all runs, then release the other processes: they have nothing more to do.

    Args:
        configs: The configurations of the runs.
        dataset: The dataset.
        root: The folder of all runs.
        device: The device of this process.
        resume: Whether an interrupted run resumes from its last epoch. Otherwise it starts again.
        recompute: Whether a file of an interrupted run that was found damaged is computed again.

    Returns:
        The configurations with the number of processes. With them, one process can evaluate the runs.

    Raises:
        BiasconError: A run cannot be trained, or another process failed.
    """
    from biascon.evaluation.pipeline import train_network
    from biascon.utils.distributed import is_main_process, release_others

    trained = []
    for config in configs:
        watch = watch_cost(config.preset, dataset.manifest, device.type)
        with closing(Progress(config, show=is_main_process(), watch=watch)) as progress:
            trained.append(
                train_network(
                    config,
                    dataset,
                    root=root,
                    device=device,
                    resume=resume,
                    recompute=recompute,
                    on_epoch=progress,
                )
            )
    release_others()
    return trained
