"""Build the record of an evaluation: what was run, on which data, by which protocol."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from biascon.config.first_stage import first_stage_config
from biascon.config.run_config import RECIPE_VERSION, EncoderOrigin, RunConfig
from biascon.data.dataset import BiasedDataset, Split
from biascon.evaluation.protocols import FittedClassifier
from biascon.evaluation.transfer import Source
from biascon.losses.loss import default_parameters, uses_bias_labels
from biascon.runs.context import training_dataset
from biascon.runs.folder import (
    ENCODER,
)
from biascon.utils.files import digest_of, sha256_file
from biascon.utils.types import Array


def _encoder_from(config: RunConfig, data: BiasedDataset, folder: Path) -> dict[str, Any]:
    """Say which run trained the encoder, where it is not this one."""
    if config.origin is None and config.probe.kind == "linear":
        return {}
    base = training_dataset(config, data)
    own = EncoderOrigin(config.training_config().digest(base.digest), base.name, base.digest)
    origin = config.origin or own
    where = f"{origin.dataset}/{config.loss}/seed{config.seed}-{origin.digest[:8]}"
    return {
        "encoder_from": {
            "run": where,
            "dataset": origin.dataset,
            "dataset_digest": origin.dataset_digest,
            "digest": origin.digest,
            "sha256": sha256_file(folder / ENCODER),
        }
    }


def _identity(
    config: RunConfig,
    data: BiasedDataset,
    digest: str,
    judge: FittedClassifier,
    source: Source | None,
) -> dict[str, Any]:
    manifest = data.manifest
    plain = config.as_dict()
    recipe = {k: v for k, v in plain.items() if k not in ("loss", "seed", "parameters")}
    before = first_stage_config(config)
    first = None if before is None else _before(before, data)
    epochs = config.train.epochs_for(len(data.splits["train"]))
    if config.origin is not None and source is not None:
        first, epochs = source.evaluation["first"], source.evaluation["epochs"]
        recipe["origin"] = {k: v for k, v in recipe["origin"].items() if k != "digest"}
    return {
        "dataset": data.name,
        "dataset_digest": data.digest,
        "source": manifest["source"]["origin"],
        "protocol": {
            **manifest["protocol"],
            "selection": "none: the last epoch",
            "evaluation": judge.description + _elsewhere(config),
        },
        "loss": config.loss,
        "label": _label(config),
        "parameters": plain["parameters"],
        "judged": judge.name,
        "sees_bias": uses_bias_labels(config.loss),
        "first": first,
        **_shared(config, data),
        "preset": config.preset,
        "seed": config.seed,
        "digest": digest,
        "changes": config.changes(),
        "config": recipe,
        "recipe": digest_of({"config": recipe, "version": RECIPE_VERSION}),
        "encoder": config.model.encoder,
        "epochs": epochs,
        "batch_size": config.train.batch_size,
        "labels": manifest["labels"],
        "bias": _bias(manifest["bias"]),
        "training": {
            "n": manifest["counts"]["train"]["n"],
            "cells": manifest["counts"]["train"]["cells"],
        },
    }


def _shared(config: RunConfig, data: BiasedDataset) -> dict[str, str]:
    """Return the digest of the run that trained the network, where that is another."""
    base = training_dataset(config, data)
    if base is data or config.origin is not None:
        return {}
    return {"network_of": config.training_config().digest(base.digest)}


def _bias(bias: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the name and values of the bias attribute, and, where it says so, what is aligned."""
    kept = ("name", "values", "aligned", "chosen", "of")
    return None if bias is None else {key: bias[key] for key in kept if key in bias}


def _before(config: RunConfig, data: BiasedDataset) -> dict[str, Any]:
    """What a reader must know of the network that a run builds on."""
    return {
        "loss": config.loss,
        "encoder": config.model.encoder,
        "epochs": config.train.epochs_for(len(data.splits["train"])),
        "digest": config.digest(training_dataset(config, data).digest),
    }


def _elsewhere(config: RunConfig) -> str:
    return "" if config.origin is None else f"; encoder trained on {config.origin.dataset}"


def _label(config: RunConfig) -> str:
    """Return the loss's name, with the parameters that are not its defaults."""
    defaults = default_parameters(config.loss)
    changed = [f"{k}={v}" for k, v in config.parameters.items() if defaults.get(k, v) != v]
    return f"{config.loss} ({', '.join(changed)})" if changed else config.loss


def _parquet(split: Split, scores: Array) -> bytes:
    """Return the predictions as a Parquet file: one row an image, one score a class."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: Mapping[str, Array] = {
        "index": split.index,
        "label": split.labels,
        "bias": split.bias,
        "aligned": split.aligned,
        "prediction": scores.argmax(axis=1),
        **{f"score_{k}": scores[:, k] for k in range(scores.shape[1])},
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), buffer, compression="zstd")
    return buffer.getvalue()
