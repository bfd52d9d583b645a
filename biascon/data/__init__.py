"""Datasets: where images come from, the builders, and the dataset folder that they write."""
