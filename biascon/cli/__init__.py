"""The command line: ``biascon`` and one module for each subcommand."""

from biascon.cli.app import main

__all__ = ["main"]
