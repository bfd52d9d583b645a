"""Builders of datasets, one module for each dataset."""

from biascon.data.registry import Builder

__all__ = ["Builder"]
