"""The record of an audit of features: readouts of label and bias, geometry, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from biascon.metrics.records import Metric

FORMAT = 1


@dataclass(frozen=True)
class FeatureSource:
    """Where features, labels and bias values come from.

    Attributes:
        label: The name of the label.
        bias: The name of the bias attribute.
        features: The file of the features, None for an array.
        sha256: Its SHA-256, None for an array.
        columns: The file of the labels and bias values, None for arrays.
    """

    label: str
    bias: str
    features: str | None = None
    sha256: str | None = None
    columns: str | None = None


@dataclass(frozen=True)
class Readout:
    """How well linear probes read one column out of features; each row is predicted by an unseen probe.

    Attributes:
        accuracy: The share of correct rows, with its Wilson interval.
        unbiased: The mean over the cells of label and bias value, with its interval.
        majority: The accuracy of the best constant prediction: the share of the most frequent value.
        unbiased_majority: The unbiased accuracy of the best constant prediction.
        from_other: The accuracy of the best prediction from the other column alone, without features: from
            the label for the bias, from the bias value for the label.
        unbiased_from_other: The unbiased accuracy of such a prediction.
        penalties: The C that the inner folds chose, by outer fold.
        converged: Whether the solver met its tolerance in every fold.
        counts: The table ``(K, M, K)``: value, value of the other column, prediction. None if it is large.
    """

    accuracy: Metric
    unbiased: Metric
    majority: float
    unbiased_majority: float
    from_other: float
    unbiased_from_other: float
    penalties: tuple[float, ...]
    converged: bool
    counts: Sequence[Sequence[Sequence[int]]] | None

    def to_json(self) -> dict[str, Any]:
        """Return the readout as plain data."""
        return {
            **self.accuracy.to_json(),
            "unbiased": self.unbiased.to_json(),
            "majority": self.majority,
            "unbiased_majority": self.unbiased_majority,
            "from_other": self.from_other,
            "unbiased_from_other": self.unbiased_from_other,
            "penalties": list(self.penalties),
            "converged": self.converged,
            "counts": self.counts,
        }


@dataclass(frozen=True)
class PairSimilarity:
    """The cosines of one kind of pairs of rows.

    Attributes:
        n: The number of pairs.
        mean: The mean cosine, None where undefined.
        sd: The standard deviation, None where undefined.
        counts: The pairs of each bin; the bins divide [-1, 1] evenly.
    """

    n: int
    mean: float | None
    sd: float | None
    counts: tuple[int, ...]


@dataclass(frozen=True)
class FeatureRecord:
    """Everything that ``biascon audit --features --json`` prints of one bias column.

    Attributes:
        source: Where the rows come from.
        rows: N, the rows that were measured.
        dropped: The rows that were left out because they lack a label or a bias value.
        dim: D, the number of features.
        folds: The number of outer folds.
        seed: The seed of the folds and of the rows of the pairs.
        labels: The K classes.
        bias_values: The M values of the bias attribute.
        label_readout: The readout of the label.
        bias_readout: The readout of the bias attribute.
        pair_rows: The rows whose pairs the geometry is of.
        without_direction: How many of these have features that are all 0; they are in no pair.
        class_alignment: The mean squared distance of unit features of one label; n is the number of pairs.
        bias_alignment: The same of one bias value.
        uniformity: The uniformity of Wang and Isola (ICML 2020).
        similarities: The cosines by kind of pair.
        notes: What a reader should know.
    """

    source: FeatureSource
    rows: int
    dropped: int
    dim: int
    folds: int
    seed: int
    labels: tuple[str, ...]
    bias_values: tuple[str, ...]
    label_readout: Readout
    bias_readout: Readout
    pair_rows: int
    without_direction: int
    class_alignment: Metric
    bias_alignment: Metric
    uniformity: Metric
    similarities: Mapping[str, PairSimilarity]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain data. The keys of metrics are those of ``evaluation.json``."""
        return {
            "format": FORMAT,
            **asdict(self.source),
            "rows": self.rows,
            "dropped": self.dropped,
            "dim": self.dim,
            "folds": self.folds,
            "seed": self.seed,
            "labels": list(self.labels),
            "bias_values": list(self.bias_values),
            "label_readout": self.label_readout.to_json(),
            "bias_readout": self.bias_readout.to_json(),
            "pair_rows": self.pair_rows,
            "without_direction": self.without_direction,
            "class_alignment": self.class_alignment.to_json(interval=False),
            "bias_alignment": self.bias_alignment.to_json(interval=False),
            "uniformity": self.uniformity.to_json(interval=False),
            "similarities": {
                kind: {**asdict(pairs), "counts": list(pairs.counts)}
                for kind, pairs in self.similarities.items()
            },
            "notes": list(self.notes),
        }
