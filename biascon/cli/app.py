"""Command-line entry point. A subcommand is imported when it is used.

Exit codes: 0 success; 1 failure, with one line on standard error; 2 wrong usage; 70 the training diverged; 71
the memory does not suffice; 75 another process works on the folder; 129, 130 and 143 ended by SIGHUP, by
SIGINT (Ctrl-C) and by SIGTERM. The classes in ``biascon.errors`` define the codes 1, 2, 70, 71 and 75.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from types import TracebackType
from typing import NoReturn, TextIO

import click

from biascon.cli.output import DISPLAY, add_quiet_option, print_error
from biascon.cli.requirements import with_check
from biascon.errors import BiasconError, BiasconWarning, did_you_mean
from biascon.utils import entry_points
from biascon.utils.interruption import CHILDREN, Interrupted, Request, signals_as_exceptions
from biascon.utils.packages import missing_packages
from biascon.utils.parent import end_with_parent
from biascon.utils.progress import listen
from biascon.utils.text import visible_lines
from biascon.version import __version__

FAILURE = BiasconError.exit_code
INTERRUPTED = 130  # 128 + SIGINT, as in a shell
COMMANDS = {
    "make-bmnist": "biascon.cli.make_bmnist:command",
    "make-utkface": "biascon.cli.make_utkface:command",
    "make-celeba": "biascon.cli.make_celeba:command",
    "make-table": "biascon.cli.make_table:command",
    "make-waterbirds": "biascon.cli.make_waterbirds:command",
    "make-urbancars": "biascon.cli.make_urbancars:command",
    "make-fairface": "biascon.cli.make_fairface:command",
    "make-debias": "biascon.cli.make_debias:command",
    "make-huggingface": "biascon.cli.make_huggingface:command",
    "make-standard": "biascon.cli.make_standard:command",
    "make-cifar-c": "biascon.cli.make_cifar_c:command",
    "inspect": "biascon.cli.inspect:command",
    "export": "biascon.cli.export:command",
    "train": "biascon.cli.train:command",
    "evaluate": "biascon.cli.evaluate:command",
    "audit": "biascon.cli.audit:command",
    "compare": "biascon.cli.compare:command",
    "sweep": "biascon.cli.sweep:command",
    "tune": "biascon.cli.tune:command",
    "report": "biascon.cli.report:command",
    "list": "biascon.cli.list:command",
    "check": "biascon.cli.check:command",
    "prune": "biascon.cli.prune:command",
    "doctor": "biascon.cli.doctor:command",
    "demo": "biascon.cli.demo:command",
}


_RESUMABLE = {
    "make-utkface", "make-celeba", "make-table", "make-waterbirds", "make-urbancars", "make-fairface",
    "make-debias", "make-huggingface",
}  # fmt: skip


class LazyGroup(click.Group):
    """A group that knows the names of its subcommands and imports a subcommand when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the subcommands in the order of the pipeline."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a subcommand; if the name is unknown, fail and suggest the nearest name."""
        if cmd_name in COMMANDS:
            return add_quiet_option(with_check(cmd_name, entry_points.load(COMMANDS[cmd_name])))
        if cmd_name.startswith("make-"):
            from biascon.data.registry import find_plugin_command

            target = find_plugin_command(cmd_name)
            if target is not None:
                return _load_plugin(target, cmd_name)
        hint = f"known: {', '.join(COMMANDS)}"
        ctx.fail(f"unknown command '{cmd_name}'{did_you_mean(cmd_name, COMMANDS)} ({hint})")


def _load_plugin(target: str, name: str) -> click.Command:
    """Import the subcommand of an installed plug-in."""
    try:
        command = entry_points.load(target)
    except Exception as error:
        raise BiasconError(f"plug-in command '{name}' fails to import: {error}") from error
    if not isinstance(command, click.Command):
        got = type(command).__name__
        raise BiasconError(f"plug-in command '{name}' is not a click command, but a {got}")
    return command


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="biascon")
@click.option("--debug", is_flag=True, help="Show the traceback if an error occurs.")
def cli(debug: bool) -> None:
    """Measure how much an image classifier relies on a spurious attribute, and compare contrastive losses at
    reducing it.

    \b
    biascon make-bmnist --rho 0.997
    biascon evaluate --loss contex --loss contex-clip --loss supcon
    biascon report
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit.

    Args:
        arguments: The words after ``biascon``; None for those of the process.
    """
    warnings.showwarning = _show_warning
    sys.excepthook = _show_traceback
    end_with_parent()
    if "OMP_WAIT_POLICY" not in os.environ:
        # This must be set before PyTorch is imported. Threads of GNU's OpenMP that wait for each other then
        # release their core soon. By default, a step takes ten times as long if another process uses one of
        # two cores.
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    words = sys.argv[1:] if arguments is None else arguments
    DISPLAY.reset()
    DISPLAY.is_silent = False
    with signals_as_exceptions() as request:
        _run(words, request)


def _run(words: list[str], request: Request) -> None:
    """Run a command, and exit with one line if it fails."""
    try:
        with listen(DISPLAY):
            cli.main(args=words, prog_name="biascon", standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt, Interrupted):
        _end_interrupted(words, request)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(visible_lines(error.format_message()), err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except BrokenPipeError:  # the reader of standard output is gone
        sys.stderr.close()
        sys.exit(FAILURE)
    except Exception as error:
        if (
            request.signal_number is not None
        ):  # a library turned the interruption into another error
            _end_interrupted(words, request)
        if "--debug" in words:
            raise
        if isinstance(error, BiasconError):
            _fail(str(error), error.exit_code)
        if isinstance(error, ModuleNotFoundError) and error.name:
            _fail(str(missing_packages([error.name.partition(".")[0]], "biascon")), FAILURE)
        if isinstance(error, OSError) and error.strerror:
            _fail(f"{error.strerror}: {error.filename or 'standard output'}", FAILURE)
        _fail(f"unexpected {type(error).__name__}: {error} (biascon --debug shows where)", FAILURE)


def _end_interrupted(words: list[str], request: Request) -> NoReturn:
    """Stop the processes that this one started, print how to go on, and exit."""
    CHILDREN.stop()
    command = next((word for word in words if not word.startswith("-")), "")
    hint = "; the same command starts again" if command else ""
    if command in ("sweep", "tune"):
        hint = "; the same command resumes: it skips the runs that are finished"
    elif command in _RESUMABLE:
        hint = "; the same command resumes after the last finished image"
    elif command in ("train", "evaluate", "demo") and "--no-resume" not in words:
        hint = "; the same command resumes from the last finished epoch"
    if request.signal_number is None or request.signal_number == signal.SIGINT:
        _fail(f"interrupted{hint}", INTERRUPTED)
    name = signal.Signals(request.signal_number).name
    _fail(f"ended by {name}{hint}", 128 + request.signal_number)


def _fail(message: str, exit_code: int) -> NoReturn:
    """Print an error as one line on standard error, and exit."""
    print_error(f"error: {' '.join(message.split())}")
    sys.exit(exit_code)


def _show_traceback(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print the traceback that ``--debug`` asks for, without control characters."""
    text = "".join(traceback.format_exception(kind, error, trace))
    click.echo(visible_lines(text.rstrip("\n")), err=True)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning of biascon as one line; hide the warnings of other packages."""
    if issubclass(category, BiasconWarning):
        print_error(f"warning: {' '.join(str(message).split())}")
