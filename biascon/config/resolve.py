"""Resolve the initial weights of an encoder to a file and its SHA-256."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from biascon.config.run_config import FILE, PRETRAINED, RunConfig
from biascon.errors import UsageError
from biascon.models.weights import digest_weights, find_pretrained, read_stamp


def resolve_weights(config: RunConfig, file: Path | None = None) -> RunConfig:
    """Return the configuration with the initial weights of the encoder identified by their SHA-256.

    Args:
        config: The configuration of a run. If ``model.weights`` is resolved already, it is not changed.
        file: A file of initial weights, which replaces ``model.weights``.

    Raises:
        DataError: The file cannot be read, is not a file of weights, or does not fit the encoder.
        BiasconError: The pretrained weights are not on this machine and cannot be downloaded.
        UsageError: The encoder has no pretrained weights, or the configuration has the digest of a file
            but not its path.
    """
    model = config.model
    if file is not None:
        path, kind = file, FILE
    elif model.weights == PRETRAINED:
        path, kind = find_pretrained(model.encoder), PRETRAINED
    elif model.weights == "none" or model.file is not None:
        return config
    elif model.weights.startswith(f"{PRETRAINED}:"):
        path, kind = find_pretrained(model.encoder), PRETRAINED
        if model.weights != f"{PRETRAINED}:{digest_weights(path, read_stamp(path), model.encoder)}":
            raise UsageError(f"expected weights {model.weights}, but {path} holds other weights")
    else:
        raise UsageError(
            f"model.weights is {model.weights}, but its file is not known; pass it with --weights FILE"
        )
    weights = f"{kind}:{digest_weights(path, read_stamp(path), model.encoder)}"
    return dataclasses.replace(config, model=dataclasses.replace(model, weights=weights, file=path))
