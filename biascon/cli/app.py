"""The command line: a roof without logic. Subcommands are imported when they are used.

Exit codes: 0 done, 1 failed with one clear line, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any, TextIO

import click

from biascon.errors import BiasconError, BiasconWarning, did_you_mean
from biascon.utils import entry_points
from biascon.version import __version__

COMMANDS = {
    "make-bmnist": "biascon.cli.make_bmnist:command",
    "make-utkface": "biascon.cli.make_utkface:command",
    "make-celeba": "biascon.cli.make_celeba:command",
    "make-table": "biascon.cli.make_table:command",
    "make-standard": "biascon.cli.make_standard:command",
    "inspect": "biascon.cli.inspect:command",
    "train": "biascon.cli.train:command",
    "evaluate": "biascon.cli.evaluate:command",
    "audit": "biascon.cli.audit:command",
    "compare": "biascon.cli.compare:command",
    "sweep": "biascon.cli.sweep:command",
    "report": "biascon.cli.report:command",
    "list": "biascon.cli.list:command",
    "doctor": "biascon.cli.doctor:command",
    "demo": "biascon.cli.demo:command",
}


class LazyGroup(click.Group):
    """A group that knows its subcommands by name and imports one when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a subcommand, or suggest the nearest name."""
        if cmd_name in COMMANDS:
            found: click.Command = entry_points.load(COMMANDS[cmd_name])
            return found
        if cmd_name.startswith("make-"):
            from biascon.data.registry import plugin_command

            target = plugin_command(cmd_name)
            if target is not None:
                return _outside(target, cmd_name)
        known = f"known: {', '.join(COMMANDS)}"
        ctx.fail(f"unknown command '{cmd_name}'{did_you_mean(cmd_name, COMMANDS)} ({known})")


def _outside(target: str, name: str) -> click.Command:
    """Import the subcommand of an installed package."""
    try:
        found = entry_points.load(target)
    except Exception as error:
        raise BiasconError(f"plug-in command '{name}' fails to import: {error}") from error
    if not isinstance(found, click.Command):
        got = type(found).__name__
        raise BiasconError(f"plug-in command '{name}' is not a click command, but a {got}")
    return found


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="biascon")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Measure whether a model leans on a bias, and whether a contrastive loss cures it.

    \b
    biascon make-bmnist --rho 0.997
    biascon evaluate --loss contex --loss supcon
    biascon report
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    warnings.showwarning = _show_warning
    if "OMP_WAIT_POLICY" not in os.environ:
        # Before PyTorch is imported: threads of GNU's OpenMP that wait for each other give up their core
        # soon. By default, with another process on one of two cores, a step takes ten times as long.
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    words = sys.argv[1:] if arguments is None else arguments
    try:
        cli.main(args=words, prog_name="biascon", standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        resumes = {"train", "evaluate", "demo"} & set(words) and "--no-resume" not in words
        hint = "; the same command goes on from the last finished epoch" if resumes else ""
        if {"make-utkface", "make-celeba", "make-table"} & set(words):
            hint = "; the same command goes on behind the pictures that are done"
        _fail(f"interrupted{hint}", 130)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        if "--debug" in words:
            raise
        if isinstance(error, BiasconError):
            _fail(str(error), error.exit_code)
        if isinstance(error, OSError) and error.strerror:
            _fail(f"{error.strerror}: {error.filename or 'standard output'}", 1)
        _fail(f"unexpected {type(error).__name__}: {error} (biascon --debug shows where)", 1)


def _fail(message: str, code: int) -> None:
    click.echo(f"error: {' '.join(message.split())}", err=True)
    sys.exit(code)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> Any:
    if issubclass(category, BiasconWarning):
        click.echo(f"warning: {message}", err=True)
