"""Tuning studies as data: the table of all runs, selection rules, confirmation, tuning curves."""
