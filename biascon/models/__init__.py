"""Encoders, their initial weights, and what goes into and comes out of them."""
