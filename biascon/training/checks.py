"""Checks of a run before anything is computed."""

from __future__ import annotations

import warnings

import numpy as np

from biascon.config.run_config import RunConfig
from biascon.data.dataset import BiasedDataset
from biascon.errors import BiasconWarning, DataError, UsageError
from biascon.losses.loss import Loss, get_entry, uses_bias_labels
from biascon.losses.registry import Requirement
from biascon.models.encoders import build_on_meta
from biascon.training.network import trains_classifier
from biascon.utils.distributed import world_size


def check_run(config: RunConfig, data: BiasedDataset) -> None:
    """Refuse a run that cannot be trained or evaluated, before anything is computed.

    Raises:
        UsageError: The batch is larger than the training split, the images are too small for the encoder, the
            loss needs a bias attribute or a validation split that the dataset lacks, or losses are to be
            recorded of a network that does not classify the labels.
        DataError: The training split lacks a class, or the dataset has only one class.
    """
    split, batch = data.splits["train"], config.train.batch_size
    if batch % world_size():
        raise UsageError(
            f"expected batch_size to be a multiple of {world_size()} processes, but got {batch}"
        )
    if batch > len(split):
        raise UsageError(f"expected batch_size of at most {len(split)} images, but got {batch}")
    check_images(config, data)
    entry = get_entry(config.loss)
    if config.train.record_losses and not (trains_classifier(entry) and entry.predicts == "labels"):
        raise UsageError(
            f"the losses of a network trained with '{config.loss}' cannot be recorded, because it does not "
            "classify the labels; a first stage that gives losses needs a loss on logits that predicts "
            "the labels"
        )
    if uses_bias_labels(config.loss) and not data.has_bias:
        raise UsageError(
            f"loss '{config.loss}' needs bias labels, but {data.name} has no bias attribute; "
            "choose a loss without † in: biascon list losses"
        )
    if Requirement.HELD_OUT_BIAS in entry.requires and "val" not in data.splits:
        raise UsageError(
            f"{config.loss} needs a validation split for its last layer, but {data.name} has none; "
            "make the dataset with --val-protocol held-out"
        )


def check_images(config: RunConfig, data: BiasedDataset) -> None:
    """Refuse a training split that does not fit the encoder, or that no classifier can be fitted on.

    Raises:
        UsageError: The images are too small for the encoder, or fewer than a batch of fine-tuning.
        DataError: The training split lacks a class, or the dataset has only one class.
    """
    split, batch = data.splits["train"], config.finetune.batch_size
    smallest = build_on_meta(config.model.encoder).min_side
    side = min(split.images.shape[2:])
    if side < smallest:
        raise UsageError(
            f"expected images of at least {smallest} pixels a side (for {config.model.encoder}), "
            f"but got {side}"
        )
    if data.n_labels < 2:
        raise DataError(
            f"{data.name}: expected two or more labels, but all images have the same one"
        )
    present = len(np.unique(split.labels))
    if present != data.n_labels:
        raise DataError(f"{data.name}: the training split has {present} of {data.n_labels} classes")
    if config.probe.kind == "finetune" and batch > len(split):
        n = len(split)
        raise UsageError(f"expected finetune.batch_size of at most {n} images, but got {batch}")


def warn_of_weak_batches(config: RunConfig, loss: Loss, n_labels: int) -> None:
    """Warn if a term of the loss is 0 because there is one view, or if anchors may lack positives.

    Args:
        config: The configuration of the run.
        loss: Its loss.
        n_labels: The number of classes.
    """
    if "views" in loss.entry.batch_inputs and config.augment.views < 2:
        warnings.warn(
            f"{config.loss} compares views of an image, but augment.views is 1: that term is 0",
            BiasconWarning,
            stacklevel=3,
        )
    is_contrastive = loss.input_kind == "embeddings" and "labels" in loss.entry.batch_inputs
    if is_contrastive and config.train.batch_size <= n_labels:
        warnings.warn(
            f"batch_size {config.train.batch_size} is not larger than the {n_labels} classes: by "
            "Lemma 1 of the ConTeX paper an anchor is then not sure of two positives in its batch",
            BiasconWarning,
            stacklevel=3,
        )
