"""Tuning studies: search spaces, paired draws, and the runs of the trials and of the confirmation."""
