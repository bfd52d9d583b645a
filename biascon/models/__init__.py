"""Encoders: networks, initial weights, input normalization and feature extraction."""
