"""Sweeps: a grid of runs, and pools of workers that run it."""
