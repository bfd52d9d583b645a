"""Build the record of an evaluation: what was run, on which data, by which protocol."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from biascon.config.factory import find_overrides
from biascon.config.first_stage import first_stage_config
from biascon.config.method_settings import parameters_for_dataset
from biascon.config.run_config import RECIPE_VERSION, EncoderOrigin, RunConfig
from biascon.data.dataset import ATTRIBUTE, BiasedDataset, Split
from biascon.evaluation.protocols import FittedClassifier
from biascon.evaluation.transfer import EncoderSource
from biascon.losses.loss import get_entry, uses_bias_labels
from biascon.runs.context import RunContext, training_dataset
from biascon.runs.evaluation import EncoderReference
from biascon.runs.folder import ENCODER
from biascon.runs.identity import BiasRecord, FirstStageRecord, ProtocolRecord, RunIdentity
from biascon.training.stages import split_attributes
from biascon.utils.files import digest_of, sha256_file
from biascon.utils.types import Array

SELECTION = "none: the last epoch"


def build_identity(
    context: RunContext, classifier: FittedClassifier, source: EncoderSource | None
) -> RunIdentity:
    """Return what was run.

    Args:
        context: The run.
        classifier: The classifier of the headline numbers.
        source: The run whose encoder was taken instead of training one.
    """
    config, data = context.config, context.data
    # The recipe is that of the preset: methods with settings of their own are compared under it.
    settings = config.without_method_settings().as_dict()
    recipe = {k: v for k, v in settings.items() if k not in ("loss", "seed", "parameters")}
    first_stage = _first_stage_record(config, data)
    epochs = config.train.epochs_for(len(data.splits["train"]))
    if config.origin is not None and source is not None:
        trained = source.run.evaluation.identity
        first_stage, epochs = trained.first_stage, trained.epochs
        recipe["origin"] = {k: v for k, v in recipe["origin"].items() if k != "digest"}
    manifest = data.manifest
    return RunIdentity(
        dataset=data.name,
        dataset_digest=data.digest,
        builder=manifest.builder,
        source_kind=manifest.source.get("kind", ""),
        dataset_parameters=manifest.parameters,
        source=manifest.origin,
        loss=config.loss,
        label=_label(config, data),
        parameters=settings["parameters"],
        evaluated_by=classifier.kind,
        uses_bias_labels=uses_bias_labels(config.loss),
        first_stage=first_stage,
        trained_in_run=_training_run(context),
        preset=config.preset,
        seed=config.seed,
        digest=context.digest,
        overrides=find_overrides(config),
        config=recipe,
        recipe=digest_of({"config": recipe, "version": RECIPE_VERSION}),
        encoder=config.model.encoder,
        epochs=epochs,
        batch_size=config.train.batch_size,
        labels=manifest.labels,
        bias=None if manifest.bias is None else BiasRecord.from_json(manifest.bias.to_json()),
        training_n=manifest.counts["train"].n,
        training_cells=manifest.counts["train"].cells,
        method_settings=config.method_settings,
    )


def build_protocol(context: RunContext, classifier: FittedClassifier) -> ProtocolRecord:
    """Return the protocol of an evaluation, in words."""
    splits = context.data.manifest.protocol
    origin = context.config.origin
    trained_on = "" if origin is None else f"; encoder trained on {origin.dataset}"
    return ProtocolRecord(
        splits["train"],
        splits["val"],
        splits["test"],
        SELECTION,
        classifier.description + trained_on,
    )


def encoder_reference(context: RunContext) -> EncoderReference | None:
    """Return the run that trained the encoder, None if it is this run."""
    config, data = context.config, context.training_data
    if config.origin is None and config.probe.kind == "linear":
        return None
    origin = config.origin or EncoderOrigin(
        config.training_config().digest(data.digest), data.name, data.digest
    )
    return EncoderReference(
        run=f"{origin.dataset}/{config.loss}/seed{config.seed}-{origin.digest[:8]}",
        dataset=origin.dataset,
        dataset_digest=origin.dataset_digest,
        digest=origin.digest,
        sha256=sha256_file(context.folder / ENCODER),
    )


def _training_run(context: RunContext) -> str | None:
    """Return the digest of the run that trained the network on the dataset of which this one is a view."""
    data = context.training_data
    if data is context.data or context.config.origin is not None:
        return None
    return context.config.training_config().digest(data.digest)


def _first_stage_record(config: RunConfig, data: BiasedDataset) -> FirstStageRecord | None:
    first, entry = first_stage_config(config), get_entry(config.loss)
    if first is None or entry.first_stage is None:
        return None
    datasets = split_attributes(data) if entry.first_stage.per_attribute else [data]
    digests = [first.digest(training_dataset(first, view).digest) for view in datasets]
    return FirstStageRecord(
        loss=first.loss,
        encoder=first.model.encoder,
        epochs=first.train.epochs_for(len(data.splits["train"])),
        digest=digests[0],
        others=digests[1:],
    )


def _label(config: RunConfig, data: BiasedDataset) -> str:
    """Return the name of the loss, with the parameters that differ from their defaults for the dataset."""
    manifest = data.manifest
    defaults = parameters_for_dataset(
        config.loss, manifest.builder, manifest.parameters, config.parameters
    )
    changed = [f"{k}={v}" for k, v in config.parameters.items() if defaults.get(k, v) != v]
    return f"{config.loss} ({', '.join(changed)})" if changed else config.loss


def predictions_to_parquet(split: Split, scores: Array, attributes: Sequence[str] = ()) -> bytes:
    """Return the predictions as a Parquet file: one row an image, one score a class.

    Args:
        split: The rows that were predicted.
        scores: float ``(N, K)``.
        attributes: The attributes of the split that the file has as columns ``attribute.NAME``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: Mapping[str, Array] = {
        "index": split.index,
        "label": split.labels,
        "bias": split.bias,
        "aligned": split.aligned,
        "prediction": scores.argmax(axis=1),
        **{f"{ATTRIBUTE}{name}": split.attributes[name] for name in attributes},
        **{f"score_{k}": scores[:, k] for k in range(scores.shape[1])},
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), buffer, compression="zstd")
    return buffer.getvalue()
