"""Output of the command line: tables, percentages and progress."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from biascon.config.run_config import RunConfig


def print_note(line: str) -> None:
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
            print_note(
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


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
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


def format_percent(metric: dict[str, Any] | None, digits: int = 1) -> str:
    """Write a metric's value in percent, ``-`` where it is undefined."""
    value = None if metric is None else metric["value"]
    return "-" if value is None else f"{100 * value:.{digits}f}"


def format_interval(metric: dict[str, Any]) -> str:
    """Write a metric in percent with its 95 % interval."""
    low, high = metric["ci"]
    if metric["value"] is None or low is None or high is None:
        return format_percent(metric)
    return f"{format_percent(metric)} [{100 * low:.1f}, {100 * high:.1f}]"
