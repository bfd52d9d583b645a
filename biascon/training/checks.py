"""Checks of a run before anything is computed."""

from __future__ import annotations

import math
import warnings

import numpy as np

from biascon.config.method_settings import check_head
from biascon.config.run_config import RunConfig
from biascon.data.dataset import BiasedDataset
from biascon.errors import BiasconWarning, DataError, UsageError
from biascon.losses.loss import Loss, get_entry, uses_bias_labels
from biascon.losses.registry import LossEntry, Requirement
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
    n_kept = len(split) - config.train.count_held_out(len(split))
    if batch > n_kept:
        raise UsageError(
            f"expected batch_size of at most {n_kept} images (the others are held out for the last layer), "
            f"but got {batch}"
        )
    check_images(config, data)
    entry = get_entry(config.loss)
    check_head(config, entry)
    _check_views(config, entry)
    _check_parameters(config, entry, data)
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


def _check_views(config: RunConfig, entry: LossEntry) -> None:
    """Refuse one view of each image for a loss that compares views."""
    has_view_term = config.parameters.get("wb", 1.0) > 0
    if "views" in entry.batch_inputs and has_view_term and config.augment.views < 2:
        raise UsageError(
            f"loss '{config.loss}' compares views of an image: expected augment.views of 2 or more, "
            f"but got {config.augment.views}"
        )


def _check_parameters(config: RunConfig, entry: LossEntry, data: BiasedDataset) -> None:
    """Refuse parameters that this dataset or this first stage does not allow."""
    first_stage, parameters = entry.first_stage, config.parameters
    if first_stage is not None and first_stage.gives == "errors" and "up" not in parameters:
        raise UsageError(
            f"loss '{config.loss}' asks for the errors of its first-stage network, but has no "
            "parameter 'up' (the weight of a misclassified image)"
        )
    if "mix" in entry.tensor_inputs:
        largest = 0.5 if "partner_bias" in entry.tensor_inputs else math.inf
        if not 0 < parameters["alpha"] <= largest:
            limit = "" if largest == math.inf else f" and at most {largest}"
            raise UsageError(
                f"loss '{config.loss}': expected alpha larger than 0{limit}, but got {parameters['alpha']}"
            )
    knows_conflicting = data.knows_aligned or entry.infers_bias
    if parameters.get("oversample", 1.0) > 1 and not knows_conflicting:
        raise UsageError(
            f"loss.oversample draws bias-conflicting images more often, but {data.name} does not define "
            "which images are bias-conflicting; pass --set loss.oversample=1"
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


MIN_CONFLICTING = 5  # bias-conflicting images of a batch that a variance in a denominator needs


def warn_of_weak_batches(config: RunConfig, loss: Loss, data: BiasedDataset) -> None:
    """Warn if anchors may lack positives, or if a statistic is of very few images.

    Args:
        config: The configuration of the run.
        loss: Its loss.
        data: The dataset.
    """
    n_labels, split = data.n_labels, data.splits["train"]
    in_batch = config.train.batch_size * float((~split.aligned).mean())
    has_variance = "fairkl" in config.loss and config.parameters.get("form") == "paper"
    if has_variance and data.knows_aligned and in_batch < MIN_CONFLICTING:
        warnings.warn(
            f"{config.loss}, form=paper: a batch of {config.train.batch_size} images has on average "
            f"{in_batch:.1f} bias-conflicting images; the variance of their cosines is in a denominator, "
            "and the regularizer outweighs the loss; use form=code, or a larger batch",
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
