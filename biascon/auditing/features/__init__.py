"""Audits of the features of an encoder."""
