"""Resolve the initial weights of an encoder to a file and its SHA-256."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from biascon.config.run_config import FILE, PRETRAINED, RunConfig
from biascon.errors import UsageError
from biascon.models.weights import digest_weights, find_pretrained, read_stamp


def resolve_weights(config: RunConfig, file: Path | None = None) -> RunConfig:
    """Return a configuration that says by digest which weights its encoder starts from.

    Args:
        config: Of a run; ``model.weights`` that is resolved already stays.
        file: The weights to start from, in place of what the configuration says.

    Raises:
        DataError: The file cannot be read, is not one of weights, or does not fit the encoder.
        BiasconError: The pretrained weights are not here and cannot be downloaded.
        UsageError: The encoder has no pretrained weights, or only the digest of a file is known.
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
            raise UsageError(f"{path} holds other weights than that run's, {model.weights}")
    else:
        raise UsageError(
            f"model.weights is {model.weights}, but its file is not known; pass it with --weights FILE"
        )
    said = f"{kind}:{digest_weights(path, read_stamp(path), model.encoder)}"
    return dataclasses.replace(config, model=dataclasses.replace(model, weights=said, file=path))
