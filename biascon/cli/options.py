"""What several subcommands share: options, progress, and tables of text."""

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


class NamesType(click.ParamType):  # type: ignore[type-arg]
    """Names as ``race`` or ``race,age``."""

    name = "names"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[str]:
        """Return the names in the order given."""
        return value if isinstance(value, list) else [n.strip() for n in str(value).split(",")]


bias_option = click.option(
    "--bias",
    type=NamesType(),
    metavar="NAME[,NAME]",
    help="See the dataset by this attribute, or by the product of several.  [default: its own]",
)


class SeedsType(click.ParamType):  # type: ignore[type-arg]
    """Seeds as ``0,1,2`` or ``0-4``."""

    name = "seeds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[int]:
        """Return the seeds in the order given, each once."""
        if isinstance(value, list):
            return value
        seeds: list[int] = []
        for part in str(value).split(","):
            low, dash, high = part.strip().partition("-")
            if not low.isdecimal() or (dash and not high.isdecimal()):
                self.fail(f"expected seeds like 0,1,2 or 0-4, but got '{value}'", param, ctx)
            first, last = int(low), int(high if dash else low)
            if last - first >= 1000:
                self.fail(f"expected at most 1,000 seeds, but got '{value}'", param, ctx)
            seeds += range(first, last + 1)
        if not seeds:
            self.fail(f"expected at least one seed, but got '{value}'", param, ctx)
        return list(dict.fromkeys(seeds))


def training_options(command: F, *, trains: bool = True) -> F:
    """Add the options that decide which runs are meant, for ``train`` and ``evaluate``.

    Args:
        command: The command.
        trains: Whether a loss must be named; else runs may be.
    """
    options = [
        click.option("--loss", "losses", multiple=True, required=trains, metavar="NAME",
                     help="A loss (see: biascon list losses); repeat it for several."),
        click.option("--seeds", type=SeedsType(), default="0", show_default=True, metavar="0,1,2",
                     help="Seeds of weights, order and views."),
        click.option("--data", type=FOLDER, help="Dataset folder.  [default: the last made in ./data]"),
        bias_option,
        click.option("--preset", metavar="NAME|FILE", help="Recipe.  [default: cpu; paper on CUDA]"),
        click.option("--weights", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
                     help="Weights that the encoder starts from: safetensors, or a plain state dict."),
        click.option("--protocol", type=click.Choice(["linear", "knn", "finetune"]),
                     help="Who judges the encoder (probe.kind).  [default: the preset's; linear]"),
        click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE",
                     help="Override a number of the preset; repeat it for several."),
        click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda|mps"),
        click.option("--compile", "compiled", is_flag=True,
                     help="Compile the network (train.compile): faster on a GPU, after a slow start."),
        click.option("--resume/--no-resume", default=True, show_default=True,
                     help="Go on from the last epoch of an interrupted run, or start it anew."),
        click.option("--runs", "root", type=FOLDER, default="runs", show_default=True,
                     help="Folder of runs."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def configurations(
    losses: Sequence[str],
    seeds: Sequence[int],
    preset: str | None,
    settings: Sequence[str],
    device: str,
    *,
    compiled: bool = False,
    weights: Path | None = None,
    protocol: str | None = None,
) -> list[RunConfig]:
    """Resolve every run that the options mean, before the first of them starts."""
    from biascon.config.resolve import resolve_weights
    from biascon.config.run_config import make_config
    from biascon.config.settings import default_preset
    from biascon.errors import UsageError, did_you_mean
    from biascon.losses.loss import list_losses

    known = list_losses()
    wrong = [f"'{loss}'{did_you_mean(loss, known)}" for loss in losses if loss not in known]
    if len(wrong) > 1:
        raise UsageError(f"unknown losses: {', '.join(wrong)} (biascon list losses shows all)")
    name = preset or default_preset(device)
    settings = [*settings, *(["train.compile=true"] if compiled else [])]
    settings = [*settings, *([] if protocol is None else [f"probe.kind={protocol}"])]
    return [
        resolve_weights(make_config(loss, seed=seed, preset=name, settings=settings), weights)
        for loss in dict.fromkeys(losses)
        for seed in seeds
    ]


def choose_dataset(folder: Path | None) -> Path:
    """Return the folder that was named, or the dataset made last, which is then told."""
    from biascon.data.dataset import find_latest

    if folder is not None:
        return folder
    found = find_latest(Path("data"))
    print_note(f"dataset: {found} (the last made; --data chooses another)")
    return found


def load_dataset(
    folder: Path | None, bias: list[str] | None, *, only: Sequence[str] = ("train", "val", "test")
) -> BiasedDataset:
    """Read a dataset folder, or the one made last, seen by the attributes asked for."""
    from biascon.data.dataset import load, view_by_attributes

    data = load(choose_dataset(folder), only=only)
    return data if bias is None else view_by_attributes(data, bias)
