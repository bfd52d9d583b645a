"""Output of the command line: tables, percentages and progress."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import click

from biascon.utils.progress import Listener, ProgressDisplay, Terminal
from biascon.utils.text import format_table as format_table
from biascon.utils.text import message_line, visible_lines

if TYPE_CHECKING:
    from biascon.config.run_config import RunConfig
    from biascon.metrics.records import Metric
    from biascon.runs.records import EpochRecord


TERMINAL = Terminal()  # standard error
DISPLAY = ProgressDisplay(TERMINAL)  # shows the progress of the command that runs


def print_text(text: str) -> None:
    """Print text for people to standard output. No control character of a name in it reaches a terminal."""
    click.echo(visible_lines(text.removesuffix("\n")))


def print_json(text: str) -> None:
    """Print JSON to standard output. Its texts have escapes in place of control characters."""
    click.echo(text.removesuffix("\n").replace("\x7f", "\\u007f"))


def print_note(line: str) -> None:
    """Print a line of progress to standard error, unless the command is quiet."""
    if not DISPLAY.is_silent:
        TERMINAL.write(line)


def print_error(line: str) -> None:
    """Print a warning or an error to standard error, also if the command is quiet."""
    TERMINAL.clear()
    click.echo(message_line(line), err=True)


def _be_quiet(context: click.Context, option: click.Parameter, value: bool) -> None:
    DISPLAY.is_silent = DISPLAY.is_silent or value


def add_quiet_option(command: click.Command) -> click.Command:
    """Return a command that has the option ``--quiet`` too."""
    result = copy.copy(command)
    option = click.Option(
        ["--quiet"],
        is_flag=True,
        expose_value=False,
        callback=_be_quiet,
        help="Print no progress to standard error.",
    )
    result.params = [*command.params, option]
    return result


class Progress:
    """Progress of a run on standard error: one line on a terminal, elsewhere also a line for each epoch.

    Args:
        config: The configuration of the run.
        show: Whether anything is printed.
        watch: Called with every report of progress.
    """

    def __init__(
        self, config: RunConfig, *, show: bool = True, watch: Listener | None = None
    ) -> None:
        self.name, self.show = f"{config.loss} seed {config.seed}", show
        self._was_silent = DISPLAY.is_silent
        DISPLAY.reset(self.name)
        DISPLAY.watch = watch
        DISPLAY.is_silent = DISPLAY.is_silent or not show

    def __call__(self, record: EpochRecord) -> None:
        """Show the record of an epoch."""
        if not self.show:
            return
        if TERMINAL.is_live:
            DISPLAY.note = f"loss {record.loss:.4f}"
            return
        name = f"{self.name}, {record.stage}" if record.stage else self.name
        print_note(
            f"{name}: epoch {record.epoch}/{record.epochs}, loss {record.loss:.4f}, "
            f"{record.seconds:.1f} s, {record.views_per_second:,.0f} views/s"
        )

    def close(self) -> None:
        """Remove the line of the run."""
        DISPLAY.reset()
        DISPLAY.is_silent = self._was_silent


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
