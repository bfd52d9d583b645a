"""Options that several subcommands share, and the configurations and datasets that they stand for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from biascon.cli.output import print_note

if TYPE_CHECKING:
    from biascon.config.run_config import RunConfig
    from biascon.data.dataset import BiasedDataset

F = TypeVar("F", bound=Callable[..., Any])
FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
MAX_SEEDS = 1000  # of one range such as 0-4
MAX_DIGITS = 18  # of a seed


class NamesType(click.ParamType):  # type: ignore[type-arg]
    """Names separated by commas: ``race`` or ``race,age``."""

    name = "names"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[str]:
        """Return the names in the order of the option."""
        return value if isinstance(value, list) else [n.strip() for n in str(value).split(",")]


class SeedsType(click.ParamType):  # type: ignore[type-arg]
    """Seeds as a list or a range: ``0,1,2`` or ``0-4``."""

    name = "seeds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[int]:
        """Return the seeds in the order of the option, without duplicates."""
        if isinstance(value, list):
            return value
        seeds: list[int] = []
        for part in str(value).split(","):
            low, dash, high = part.strip().partition("-")
            if not low.isdecimal() or (dash and not high.isdecimal()):
                self.fail(f"expected seeds like 0,1,2 or 0-4, but got '{value}'", param, ctx)
            if max(len(low), len(high)) > MAX_DIGITS:
                self.fail(
                    f"expected seeds of at most {MAX_DIGITS} digits, but got '{value}'", param, ctx
                )
            first, last = int(low), int(high if dash else low)
            if last - first >= MAX_SEEDS:
                self.fail(f"expected at most {MAX_SEEDS:,} seeds, but got '{value}'", param, ctx)
            seeds += range(first, last + 1)
        if not seeds:
            self.fail(f"expected at least one seed, but got '{value}'", param, ctx)
        return list(dict.fromkeys(seeds))


bias_option = click.option(
    "--bias",
    type=NamesType(),
    metavar="NAME[,NAME]",
    help="Bias attribute; several names: the combinations of their values.  [default: the dataset's own]",
)

device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda|mps",
    help="Device to compute on.",
)

runs_option = click.option(
    "--runs", "root", type=FOLDER, default="runs", show_default=True, help="Folder of runs."
)


verify_option = click.option(
    "--verify",
    is_flag=True,
    help="Hash every file of the runs, features and weights too. Otherwise what is read is checked, and a "
    "file with unchanged size and times is not hashed again.",
)


no_features_option = click.option(
    "--no-features",
    "no_features",
    is_flag=True,
    help="Keep no features in the folders of finished runs. The runs are the same, without t-SNE maps.",
)


def training_options(command: F, *, requires_loss: bool = True) -> F:
    """Add the options of ``train`` and ``evaluate`` that select and configure runs.

    Args:
        command: The command.
        requires_loss: Whether the option ``--loss`` is required.
    """
    options = [
        click.option("--loss", "losses", multiple=True, required=requires_loss, metavar="NAME",
                     help="Loss (see: biascon list losses); repeat the option for several losses."),
        click.option("--seeds", type=SeedsType(), default="0", show_default=True, metavar="0,1,2",
                     help="Seeds of the runs: initial weights, order of images, augmentation."),
        click.option("--data", type=FOLDER,
                     help="Dataset folder.  [default: the newest dataset in ./data]"),
        bias_option,
        click.option("--preset", metavar="NAME|FILE",
                     help="Preset with all settings.  [default: cpu for digits, faces-cpu for other "
                          "pictures; gpu on CUDA]"),
        click.option("--weights", type=FILE, metavar="FILE",
                     help="Initial weights of the encoder: safetensors, or a plain state dict."),
        click.option("--protocol", type=click.Choice(["linear", "knn", "finetune"]),
                     help="Evaluation protocol: linear probe, kNN or fine-tuning (sets probe.kind).  "
                          "[default: the preset's; linear]"),
        click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE",
                     help="Override a setting of the preset; repeat the option for several settings."),
        device_option,
        click.option("--compile", "compiled", is_flag=True,
                     help="Compile the network (sets train.compile): faster on a GPU, slower to start."),
        click.option("--resume/--no-resume", default=True, show_default=True,
                     help="Resume an interrupted run from its last epoch, or start it again."),
        click.option("--recompute", is_flag=True,
                     help="Compute files of an interrupted run again that were found damaged."),
        runs_option,
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def make_configs(
    losses: Sequence[str],
    seeds: Sequence[int],
    preset: str,
    settings: Sequence[str],
    *,
    compiled: bool = False,
    weights: Path | None = None,
    protocol: str | None = None,
) -> list[RunConfig]:
    """Return the resolved configuration of every run: all losses x all seeds.

    Args:
        losses: The names of the losses.
        seeds: The seeds.
        preset: The name or file of the preset.
        settings: Settings that override the preset, as ``section.key=value``.
        compiled: Whether the network is compiled.
        weights: A file with the initial weights of the encoder.
        protocol: The evaluation protocol; None for the protocol of the preset.

    Raises:
        UsageError: A name or a setting is unknown, or a value is not allowed.
    """
    from biascon.config.factory import make_config
    from biascon.config.resolve import resolve_weights
    from biascon.losses.loss import canonical_name

    settings = [*settings, *(["train.compile=true"] if compiled else [])]
    settings = [*settings, *([] if protocol is None else [f"probe.kind={protocol}"])]
    return [
        resolve_weights(make_config(loss, seed=seed, preset=preset, settings=settings), weights)
        for loss in dict.fromkeys(map(canonical_name, losses))
        for seed in seeds
    ]


def check_losses(losses: Sequence[str]) -> None:
    """Refuse unknown losses, all of them in one message, before the dataset is read.

    Raises:
        UsageError: There is no loss of a name.
    """
    from biascon.errors import UsageError
    from biascon.losses.loss import get_entry

    unknown = [message for message in map(_unknown_loss, losses) if message]
    if len(unknown) > 1:
        raise UsageError(f"unknown losses: {', '.join(unknown)} (biascon list losses shows all)")
    for name in losses:
        get_entry(name)


def _unknown_loss(name: str) -> str:
    """Return the name with a suggestion, empty if there is a loss of this name."""
    from biascon.errors import UsageError, did_you_mean
    from biascon.losses.loss import get_entry, list_losses

    try:
        get_entry(name)
    except UsageError:
        return f"'{name}'{did_you_mean(name, list_losses())}"
    return ""


def choose_dataset(folder: Path | None) -> Path:
    """Return the dataset folder of the option, or the newest one in ``data``, whose name is printed."""
    from biascon.data.dataset import find_latest

    if folder is not None:
        return folder
    newest = find_latest(Path("data"))
    print_note(f"dataset: {newest} (the last made; --data chooses another)")
    return newest


def load_dataset(
    folder: Path | None, bias: list[str] | None, *, only: Sequence[str] = ("train", "val", "test")
) -> BiasedDataset:
    """Load a dataset folder, or the newest one, and view it by the bias attributes of the option.

    Args:
        folder: The dataset folder; None for the newest one in ``data``.
        bias: The names of the bias attributes; None for the bias attribute of the dataset.
        only: The splits to load.

    Raises:
        DataError: There is no dataset, or it is damaged.
        UsageError: The dataset does not have an attribute of that name.
    """
    from biascon.data.dataset import load, view_by_attributes

    data = load(choose_dataset(folder), only=only)
    return data if bias is None else view_by_attributes(data, bias)
