"""Helpers that do not depend on losses, models or datasets."""
