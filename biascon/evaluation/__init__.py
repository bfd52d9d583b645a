"""Evaluate a trained encoder: protocols, features, measurements, transfer."""
