"""The evaluation of a run: every number of ``evaluation.json``, with the identity of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from biascon.metrics.joint_bias import JointBias
from biascon.metrics.records import Metric, MetricSummary
from biascon.metrics.summary import ACCURACIES, AMPLIFICATIONS, COMPARISONS
from biascon.metrics.weighted_averages import ADJUSTED_AVERAGE, training_shares
from biascon.runs.evaluation_formats import add_adjusted_average, add_positive_class, upgrade
from biascon.runs.identity import (
    ProtocolRecord,
    RunIdentity,
    identity_from_json,
    identity_to_json,
)
from biascon.runs.records import Accuracies, Classifier, SelectedImages

FORMAT = 3
SUMMARIZED = (*ACCURACIES, *COMPARISONS, *AMPLIFICATIONS, ADJUSTED_AVERAGE)
# An evaluation without one of these is no evaluation.
REQUIRED = (
    *ACCURACIES[:5],
    "demographic_parity_difference",
    "equalized_odds_difference",
    "equal_opportunity_difference",
)
_SAME_SHARES = 0.01  # total variation distance of the cells of test and training images
FEATURE_METRICS = (
    "label_readout",
    "bias_readout",
    "class_alignment",
    "bias_alignment",
    "uniformity",
)


@dataclass(frozen=True)
class OtherClassifier:
    """The accuracies of a classifier that does not give the headline numbers."""

    classifier: Classifier
    accuracies: Accuracies

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain data."""
        return {"classifier": self.classifier.value, **self.accuracies.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> OtherClassifier:
        """Return the record that ``to_json`` wrote."""
        values = {name: value for name, value in data.items() if name != "classifier"}
        return cls(Classifier(data["classifier"]), Accuracies.from_json(values))


@dataclass(frozen=True)
class EncoderReference:
    """The run that trained the encoder, where it is another run.

    Attributes:
        run: Its folder below the folder of runs.
        dataset: The name of its dataset.
        dataset_digest: The digest of its dataset.
        digest: Its digest.
        sha256: The SHA-256 of ``encoder.safetensors``.
    """

    run: str
    dataset: str
    dataset_digest: str
    digest: str
    sha256: str

    def to_json(self) -> dict[str, str]:
        """Return the record as plain data."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EncoderReference:
        """Return the record that ``to_json`` wrote."""
        names = ("run", "dataset", "dataset_digest", "digest", "sha256")
        return cls(*(data[name] for name in names))


@dataclass(frozen=True)
class SimilarityHistogram:
    """The cosine similarities of one kind of image pairs.

    Attributes:
        n: The number of pairs.
        mean: The mean cosine, None where undefined.
        sd: The standard deviation, None where undefined.
        counts: The pairs of each bin; the bins divide [-1, 1] evenly.
    """

    n: int
    mean: float | None
    sd: float | None
    counts: Sequence[int]

    def to_json(self) -> dict[str, Any]:
        """Return the histogram as plain data."""
        return {"n": self.n, "mean": self.mean, "sd": self.sd, "counts": list(self.counts)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SimilarityHistogram:
        """Return the histogram that ``to_json`` wrote."""
        return cls(data["n"], data["mean"], data["sd"], data["counts"])


@dataclass(frozen=True)
class FeatureMetrics:
    """Feature metrics of the test images: linear decodability, alignment, uniformity, similarities.

    Attributes:
        fitted_on: The number of held-out images that the probes of the readouts are fitted on, None without.
        without_direction: The number of images whose features are all 0.
        metrics: The metrics of ``FEATURE_METRICS`` by name.
        similarities: Histograms by kind of pair; a kind without a pair is left out.
    """

    fitted_on: int | None
    without_direction: int
    metrics: Mapping[str, Metric]
    similarities: Mapping[str, SimilarityHistogram]

    def to_json(self) -> dict[str, Any]:
        """Return the metrics as plain data."""
        return {
            "fitted_on": self.fitted_on,
            "without_direction": self.without_direction,
            **{name: metric.to_json(interval=False) for name, metric in self.metrics.items()},
            "similarities": {
                kind: histogram.to_json() for kind, histogram in self.similarities.items()
            },
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FeatureMetrics:
        """Return the metrics that ``to_json`` wrote."""
        return cls(
            data["fitted_on"],
            data.get("without_direction", 0),
            {name: Metric.from_json(data[name]) for name in FEATURE_METRICS},
            {
                kind: SimilarityHistogram.from_json(histogram)
                for kind, histogram in data["similarities"].items()
            },
        )


@dataclass(frozen=True)
class GroupCalibration:
    """Calibration in one group: rows, expected calibration error and Brier score."""

    n: int
    error: float | None
    brier: float | None

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain data."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> GroupCalibration:
        """Return the record that ``to_json`` wrote."""
        return cls(data["n"], data["error"], data["brier"])


@dataclass(frozen=True)
class CalibrationRecord:
    """Calibration over all rows, and in each group of the bias attribute."""

    error: Metric
    brier: Metric
    by_group: Sequence[GroupCalibration]

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain data."""
        return {
            "error": self.error.to_json(interval=False),
            "brier": self.brier.to_json(interval=False),
            "by_group": [group.to_json() for group in self.by_group],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CalibrationRecord:
        """Return the record that ``to_json`` wrote."""
        groups = [GroupCalibration.from_json(group) for group in data["by_group"]]
        return cls(Metric.from_json(data["error"]), Metric.from_json(data["brier"]), groups)


@dataclass(frozen=True)
class Evaluation:
    """Every number of a run, each with its n, and the protocol that made it.

    Attributes:
        identity: What was run.
        protocol: The protocol, in words.
        fit_info: How the fit of the headline classifier ended, None if it was trained with the encoder.
        validation: Its accuracies on the validation split, None without such a split.
        other_classifiers: The accuracies of the other classifiers on the test split.
        encoder_from: The run that trained the encoder, where it is another run.
        features: The feature metrics of the test split.
        summary: The metrics of the test split.
        top5: Top-5 accuracy, of 0 rows with five classes or fewer; None in old evaluations.
        calibration: Calibration on the test split; None in old evaluations.
        selected_images: The training images that the first-stage network singles out; None for a method
            that does not use such a choice.
        joint_bias: The metrics of several bias attributes; None for a dataset with fewer than two attributes
            that have alignment pairs, and in old evaluations.
    """

    identity: RunIdentity
    protocol: ProtocolRecord
    fit_info: Mapping[str, Any] | None
    validation: Accuracies | None
    other_classifiers: Sequence[OtherClassifier]
    encoder_from: EncoderReference | None
    features: FeatureMetrics
    summary: MetricSummary
    top5: Metric | None = None
    calibration: CalibrationRecord | None = None
    selected_images: SelectedImages | None = None
    joint_bias: JointBias | None = None

    @property
    def headline(self) -> str:
        """The accuracy that losses are compared in: ``unbiased``, or ``top1`` without a bias attribute."""
        return "unbiased" if self.identity.bias is not None else "top1"

    @property
    def adjusted_differs(self) -> bool:
        """Whether the adjusted average accuracy can differ from top-1 accuracy by more than a point.

        Their difference is at most the total variation distance between the shares of the cells among the
        test images and among the training images. False where the adjusted average is undefined.
        """
        adjusted = self.summary.metrics.get(ADJUSTED_AVERAGE)
        if adjusted is None or adjusted.value is None or self.summary.counts is None:
            return False
        tested = training_shares(np.asarray(self.summary.counts).sum(axis=-1))
        trained = training_shares(np.asarray(self.identity.training_cells))
        return float(np.abs(tested - trained).sum()) / 2 > _SAME_SHARES

    def metric(self, name: str) -> Metric | None:
        """Return the metric of that name, None where an old evaluation lacks it."""
        if name == "top5":
            return self.top5
        if name in self.summary.metrics or self.joint_bias is None:
            return self.summary.metrics.get(name)
        return self.joint_bias.metric(name)

    def to_json(self) -> dict[str, Any]:
        """Return what ``evaluation.json`` holds."""
        validation, encoder, calibration = self.validation, self.encoder_from, self.calibration
        selected, joint = self.selected_images, self.joint_bias
        return {
            "format": FORMAT,
            **identity_to_json(self.identity, self.protocol),
            "probe": None if self.fit_info is None else dict(self.fit_info),
            "validation": None if validation is None else validation.to_json(),
            "other_classifiers": [other.to_json() for other in self.other_classifiers],
            **({} if encoder is None else {"encoder_from": encoder.to_json()}),
            **({} if selected is None else {"selected_images": selected.to_json()}),
            "representation": self.features.to_json(),
            **self.summary.to_json(),
            **({} if self.top5 is None else {"top5": self.top5.to_json()}),
            **({} if calibration is None else {"calibration": calibration.to_json()}),
            **({} if joint is None else {"joint_bias": joint.to_json()}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Evaluation:
        """Return the evaluation that ``to_json`` wrote, in this format or in format 1 or 2.

        Raises:
            KeyError: A key is missing.
            TypeError: A value is of another kind.
            ValueError: The format is unknown, or a value is not allowed.
        """
        if data["format"] == 1:
            data = upgrade(data)
        if data["format"] == 2:
            data = add_positive_class(data)
        if data["format"] != FORMAT:
            raise ValueError(f"unknown format {data['format']!r}")
        data = add_adjusted_average(data)
        validation, encoder = data.get("validation"), data.get("encoder_from")
        calibration = data.get("calibration")
        missing = [name for name in REQUIRED if name not in data]
        if missing:
            raise KeyError(missing[0])
        return cls(
            identity_from_json(data),
            ProtocolRecord.from_json(data["protocol"]),
            data.get("probe"),
            None if validation is None else Accuracies.from_json(validation),
            [OtherClassifier.from_json(other) for other in data["other_classifiers"]],
            None if encoder is None else EncoderReference.from_json(encoder),
            FeatureMetrics.from_json(data["representation"]),
            MetricSummary.from_json(data, SUMMARIZED),
            Metric.from_json(data["top5"]) if "top5" in data else None,
            None if calibration is None else CalibrationRecord.from_json(calibration),
            SelectedImages.from_json(data["selected_images"])
            if "selected_images" in data
            else None,
            JointBias.from_json(data["joint_bias"]) if "joint_bias" in data else None,
        )
