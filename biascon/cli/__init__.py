"""Command line: ``biascon``, with one module for each subcommand."""

from biascon.cli.app import main

__all__ = ["main"]
