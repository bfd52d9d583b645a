"""The identity of a run: dataset, method, recipe and seed, as an evaluation states them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from biascon.config.settings import format_setting
from biascon.runs.records import Classifier

AS_BUILT = "as built"


@dataclass(frozen=True)
class ProtocolRecord:
    """How a number was made, in words: the three splits, the selection of the recipe, the classifier."""

    train: str
    val: str
    test: str
    selection: str
    evaluation: str

    def to_json(self) -> dict[str, str]:
        """Return the protocol as plain data."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ProtocolRecord:
        """Return the protocol that ``to_json`` wrote."""
        names = ("train", "val", "test", "selection", "evaluation")
        return cls(*(data[name] for name in names))


@dataclass(frozen=True)
class FirstStageRecord:
    """The first-stage network that a run builds on.

    Attributes:
        loss: The loss that trained it.
        encoder: The name of its encoder.
        epochs: The number of its epochs.
        digest: The digest of its run.
        others: The digests of the runs of further networks: a method may have one for each bias attribute.
    """

    loss: str
    encoder: str
    epochs: int
    digest: str
    others: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain data."""
        data = {k: v for k, v in vars(self).items() if k != "others"}
        return {**data, "others": list(self.others)} if self.others else data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FirstStageRecord:
        """Return the record that ``to_json`` wrote."""
        others = tuple(data.get("others", ()))
        return cls(data["loss"], data["encoder"], data["epochs"], data["digest"], others)


@dataclass(frozen=True)
class BiasRecord:
    """The bias attribute of the dataset of a run.

    Attributes:
        name: The name of the attribute.
        values: The names of its values.
        aligned: Which values go with which label; ``AS_BUILT`` where the dataset states it row by row, and
            None where no alignment is defined.
        chosen: The attributes that ``--bias`` chose, None where the dataset was used as it is.
        base: The name of the dataset that this view was made of, None where it was used as it is.
    """

    name: str
    values: Sequence[str]
    aligned: Any = AS_BUILT
    chosen: Sequence[str] | None = None
    base: str | None = None

    @property
    def knows_aligned(self) -> bool:
        """Whether it is defined which cells are bias-aligned."""
        return self.aligned is not None

    def to_json(self) -> dict[str, Any]:
        """Return the attribute as plain data; what does not apply is left out."""
        data: dict[str, Any] = {"name": self.name, "values": list(self.values)}
        if self.aligned != AS_BUILT:
            data["aligned"] = self.aligned
        if self.chosen is not None:
            data["chosen"] = list(self.chosen)
        if self.base is not None:
            data["of"] = self.base
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> BiasRecord:
        """Return the attribute that ``to_json`` wrote."""
        return cls(
            data["name"],
            data["values"],
            data.get("aligned", AS_BUILT),
            data.get("chosen"),
            data.get("of"),
        )


@dataclass(frozen=True)
class RunIdentity:
    """What was run: the dataset, the method, the recipe and the seed.

    Attributes:
        dataset: The name of the dataset.
        dataset_digest: Its SHA-256.
        builder: The builder of the dataset, such as ``bmnist``; empty in evaluations of format 1.
        source_kind: The kind of its source, such as ``mnist`` or ``mnist5k``; empty where none is stated.
        dataset_parameters: The parameters that it was built with, such as ``rho``; empty in evaluations of
            format 1.
        source: Where its images come from.
        loss: The name of the loss.
        label: The loss with the parameters that differ from their defaults.
        parameters: All parameters of the loss.
        evaluated_by: The classifier of the headline numbers.
        uses_bias_labels: Whether the method uses bias labels of training or validation images.
        first_stage: The first-stage network, if any.
        trained_in_run: The digest of the run that trained the network, if it is another run.
        preset: The name of the preset.
        seed: The seed.
        digest: The digest of the run.
        overrides: The settings that differ from the preset, as ``section.key``.
        config: All settings but the loss and the seed.
        recipe: The digest of ``config`` and the recipe version.
        encoder: The name of the encoder.
        epochs: The number of epochs.
        batch_size: The number of images of a batch.
        labels: The names of the K classes.
        bias: The bias attribute, None where the dataset has none.
        training_n: The number of training images.
        training_cells: ``(K, M)``: the training images of each label and bias value.
        method_settings: The settings whose value comes from the method instead of the preset, as
            ``section.key``. ``config`` and ``recipe`` have the values of the preset in their place, so that
            methods with settings of their own are compared under one recipe.
    """

    dataset: str
    dataset_digest: str
    builder: str
    source_kind: str
    dataset_parameters: Mapping[str, Any]
    source: str
    loss: str
    label: str
    parameters: Mapping[str, Any]
    evaluated_by: Classifier
    uses_bias_labels: bool
    first_stage: FirstStageRecord | None
    trained_in_run: str | None
    preset: str
    seed: int
    digest: str
    overrides: Mapping[str, Any]
    config: Mapping[str, Any]
    recipe: str
    encoder: str
    epochs: int
    batch_size: int
    labels: Sequence[str]
    bias: BiasRecord | None
    training_n: int
    training_cells: Sequence[Sequence[int]]
    method_settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def encoder_dataset(self) -> str:
        """The name of the dataset that the encoder was trained on."""
        return str(self.config.get("origin", {}).get("dataset", self.dataset))

    @property
    def preset_with_overrides(self) -> str:
        """The preset and the settings that differ from it, in a line."""
        return describe_preset(self.preset, self.overrides, self.config)


def describe_preset(preset: str, overrides: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Return a preset and the settings that differ from it, as ``--set`` reads them, in a line.

    Args:
        preset: The name of the preset.
        overrides: The settings that differ from it, by ``section.key``.
        config: All settings; ``origin`` says which dataset an encoder comes from.
    """
    parts = [format_setting(key, _short(key, value)) for key, value in overrides.items()]
    if "origin" in config:
        parts.append(f"encoder from {config['origin']['dataset']}")
    return " + ".join([preset, *parts])


def _short(key: str, value: Any) -> Any:
    """Return a value for a line of text: of the digest of weights the first eight digits are shown."""
    if key == "model.weights" and isinstance(value, str):
        kind, colon, sha256 = value.partition(":")
        return f"{kind}{colon}{sha256[:8]}"
    return value


def identity_to_json(identity: RunIdentity, protocol: ProtocolRecord) -> dict[str, Any]:
    """Return the first keys of an ``evaluation.json``."""
    i = identity
    first_stage = i.first_stage
    return {
        "dataset": i.dataset,
        "dataset_digest": i.dataset_digest,
        "builder": i.builder,
        "source_kind": i.source_kind,
        "dataset_parameters": dict(i.dataset_parameters),
        "source": i.source,
        "protocol": protocol.to_json(),
        "loss": i.loss,
        "label": i.label,
        "parameters": dict(i.parameters),
        "evaluated_by": i.evaluated_by.value,
        "uses_bias_labels": i.uses_bias_labels,
        "first_stage": None if first_stage is None else first_stage.to_json(),
        **({} if i.trained_in_run is None else {"trained_in_run": i.trained_in_run}),
        "preset": i.preset,
        "seed": i.seed,
        "digest": i.digest,
        "overrides": dict(i.overrides),
        "config": dict(i.config),
        "recipe": i.recipe,
        **({"method_settings": dict(i.method_settings)} if i.method_settings else {}),
        "encoder": i.encoder,
        "epochs": i.epochs,
        "batch_size": i.batch_size,
        "labels": list(i.labels),
        "bias": None if i.bias is None else i.bias.to_json(),
        "training": {"n": i.training_n, "cells": i.training_cells},
    }


def identity_from_json(data: Mapping[str, Any]) -> RunIdentity:
    """Return the identity that ``identity_to_json`` wrote, in format 2."""
    first_stage, bias = data["first_stage"], data["bias"]
    return RunIdentity(
        dataset=data["dataset"],
        dataset_digest=data["dataset_digest"],
        builder=data["builder"],
        source_kind=data["source_kind"],
        dataset_parameters=data["dataset_parameters"],
        source=data["source"],
        loss=data["loss"],
        label=data["label"],
        parameters=data["parameters"],
        evaluated_by=Classifier(data["evaluated_by"]),
        uses_bias_labels=data["uses_bias_labels"],
        first_stage=None if first_stage is None else FirstStageRecord.from_json(first_stage),
        trained_in_run=data.get("trained_in_run"),
        preset=data["preset"],
        seed=data["seed"],
        digest=data["digest"],
        overrides=data["overrides"],
        config=data["config"],
        recipe=data["recipe"],
        encoder=data["encoder"],
        epochs=data["epochs"],
        batch_size=data["batch_size"],
        labels=data["labels"],
        bias=None if bias is None else BiasRecord.from_json(bias),
        training_n=data["training"]["n"],
        training_cells=data["training"]["cells"],
        method_settings=data.get("method_settings", {}),
    )
