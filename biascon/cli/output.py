"""Output of the command line: tables, percentages and progress."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import click

from biascon.utils.text import format_table as format_table

if TYPE_CHECKING:
    from biascon.config.run_config import RunConfig
    from biascon.metrics.records import Metric
    from biascon.runs.records import EpochRecord


def print_note(line: str) -> None:
    """Print a line of progress to standard error."""
    click.echo(line, err=True)


def make_bar(**options: Any) -> Any:
    """Return a bar of tqdm on standard error, None where that is no terminal or tqdm is not installed.

    Args:
        options: The options of the bar.
    """
    if not sys.stderr.isatty():
        return None
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(leave=False, **options)


class Progress:
    """Progress of a run on standard error: a bar on a terminal, one line for each epoch elsewhere.

    Args:
        config: The configuration of the run.
        show: Whether anything is printed.
    """

    def __init__(self, config: RunConfig, *, show: bool = True) -> None:
        self.name, self.show = f"{config.loss} seed {config.seed}", show
        self.bar = make_bar(desc=self.name, unit="epoch") if show else None

    def __call__(self, record: EpochRecord) -> None:
        """Show the record of an epoch."""
        if not self.show:
            return
        name = f"{self.name}, {record.stage}" if record.stage else self.name
        if self.bar is None:
            print_note(
                f"{name}: epoch {record.epoch}/{record.epochs}, loss {record.loss:.4f}, "
                f"{record.seconds:.1f} s, {record.views_per_second:,.0f} views/s"
            )
        else:
            self.bar.set_description(name)
            self.bar.total = record.epochs
            self.bar.update(record.epoch - self.bar.n)
            self.bar.set_postfix(loss=f"{record.loss:.4f}")

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.close()


def format_percent(metric: Metric | None) -> str:
    """Return a metric in percent with one decimal, or ``-`` where it is undefined."""
    if metric is None or metric.value is None:
        return "-"
    return f"{100 * metric.value:.1f}"


def format_interval(metric: Metric | None) -> str:
    """Return a metric in percent with its 95 % interval, if it has one."""
    text = format_percent(metric)
    if metric is None or metric.interval is None or metric.value is None:
        return text
    low, high = metric.interval
    return f"{text} [{100 * low:.1f}, {100 * high:.1f}]"


def format_p(value: float) -> str:
    """Return a p-value with three decimals, or ``-`` where it is undefined."""
    if math.isnan(value):
        return "-"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
