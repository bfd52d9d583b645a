"""Readers of files get damaged and invented input: only errors of one line come out."""
