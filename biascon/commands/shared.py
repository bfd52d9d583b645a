"""What several subcommands share: options, progress, and tables of text."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from biascon.config import RunConfig
    from biascon.data.dataset import BiasedDataset

F = TypeVar("F", bound=Callable[..., Any])
FOLDER = click.Path(file_okay=False, path_type=Path)


class Names(click.ParamType):  # type: ignore[type-arg]
    """Names as ``race`` or ``race,age``."""

    name = "names"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[str]:
        """Return the names in the order given."""
        return value if isinstance(value, list) else [n.strip() for n in str(value).split(",")]


bias_option = click.option(
    "--bias",
    type=Names(),
    metavar="NAME[,NAME]",
    help="See the dataset by this attribute, or by the product of several.  [default: its own]",
)


class Seeds(click.ParamType):  # type: ignore[type-arg]
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


def training_options(command: F) -> F:
    """Add the options that decide which runs are meant, for ``train`` and ``evaluate``."""
    options = [
        click.option("--loss", "losses", multiple=True, required=True, metavar="NAME",
                     help="A loss (see: biascon list losses); repeat it for several."),
        click.option("--seeds", type=Seeds(), default="0", show_default=True, metavar="0,1,2",
                     help="Seeds of weights, order and views."),
        click.option("--data", type=FOLDER, help="Dataset folder.  [default: the last made in ./data]"),
        bias_option,
        click.option("--preset", metavar="NAME|FILE", help="Recipe.  [default: cpu; paper on CUDA]"),
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
) -> list[RunConfig]:
    """Resolve every run that the options mean, before the first of them starts."""
    from biascon.config import make_config
    from biascon.errors import UsageError, did_you_mean
    from biascon.losses import names
    from biascon.settings import default_preset

    known = names()
    wrong = [f"'{loss}'{did_you_mean(loss, known)}" for loss in losses if loss not in known]
    if len(wrong) > 1:
        raise UsageError(f"unknown losses: {', '.join(wrong)} (biascon list losses shows all)")
    name = preset or default_preset(device)
    settings = [*settings, *(["train.compile=true"] if compiled else [])]
    return [
        make_config(loss, seed=seed, preset=name, settings=settings)
        for loss in dict.fromkeys(losses)
        for seed in seeds
    ]


def choose_dataset(folder: Path | None) -> Path:
    """Return the folder that was named, or the dataset made last, which is then told."""
    from biascon.data.dataset import latest

    if folder is not None:
        return folder
    found = latest(Path("data"))
    note(f"dataset: {found} (the last made; --data chooses another)")
    return found


def load_dataset(
    folder: Path | None, bias: list[str] | None, *, only: Sequence[str] = ("train", "val", "test")
) -> BiasedDataset:
    """Read a dataset folder, or the one made last, seen by the attributes asked for."""
    from biascon.data.dataset import choose_bias, load

    data = load(choose_dataset(folder), only=only)
    return data if bias is None else choose_bias(data, bias)


def note(line: str) -> None:
    """Print a line of progress to standard error."""
    click.echo(line, err=True)


class Progress:
    """A bar of epochs on a terminal, a line an epoch elsewhere; both to standard error."""

    def __init__(self, config: RunConfig, *, show: bool = True) -> None:
        from tqdm import tqdm

        self.name, self.show = f"{config.loss} seed {config.seed}", show
        bar = show and sys.stderr.isatty()
        self.bar = tqdm(desc=self.name, unit="epoch", leave=False) if bar else None

    def __call__(self, line: dict[str, Any]) -> None:
        """Show the metrics of an epoch."""
        if not self.show:
            return
        name = f"{self.name}, {line['first']}" if "first" in line else self.name
        if self.bar is None:
            note(
                f"{name}: epoch {line['epoch']}/{line['epochs']}, loss {line['loss']:.4f}, "
                f"{line['seconds']:.1f} s, {line['views_per_second']:,.0f} views/s"
            )
        else:
            self.bar.set_description(name)
            self.bar.total = line["epochs"]
            self.bar.update(line["epoch"] - self.bar.n)
            self.bar.set_postfix(loss=f"{line['loss']:.4f}")

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Lay out columns of text; the first ``left`` columns are flush left, the others flush right."""
    widths = [max(len(row[k]) for row in [header, *rows]) for k in range(len(header))]

    def layout(row: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if k < left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return "\n".join(
        [layout(header), layout(["-" * width for width in widths]), *map(layout, rows)]
    )


def percent(metric: dict[str, Any] | None, digits: int = 1) -> str:
    """Write a metric's value in percent, ``-`` where it is undefined."""
    value = None if metric is None else metric["value"]
    return "-" if value is None else f"{100 * value:.{digits}f}"


def percent_interval(metric: dict[str, Any]) -> str:
    """Write a metric in percent with its 95 % interval."""
    low, high = metric["ci"]
    if metric["value"] is None or low is None or high is None:
        return percent(metric)
    return f"{percent(metric)} [{100 * low:.1f}, {100 * high:.1f}]"
