"""Small records of a run: the classifier of a number, accuracies, and epochs."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class Classifier(enum.Enum):
    """What classifies the test images: the value is what files hold."""

    LINEAR_PROBE = "linear_probe"
    KNN = "knn"
    FINE_TUNED = "fine_tuned"
    OWN = "own"

    @property
    def label(self) -> str:
        """The name in a sentence."""
        return _LABELS[self][0]

    @property
    def short(self) -> str:
        """The name in a table."""
        return _LABELS[self][1]

    @classmethod
    def from_label(cls, label: str) -> Classifier:
        """Return the classifier whose ``label`` is given, as evaluations of format 1 hold it.

        Raises:
            ValueError: No classifier has this label.
        """
        for classifier, (own_label, _) in _LABELS.items():
            if own_label == label:
                return classifier
        raise ValueError(f"unknown classifier '{label}'")


_LABELS = {
    Classifier.LINEAR_PROBE: ("linear probe", "probe"),
    Classifier.KNN: ("kNN", "kNN"),
    Classifier.FINE_TUNED: ("fine-tuning", "fine-tuning"),
    Classifier.OWN: ("own classifier", "classifier"),
}


@dataclass(frozen=True)
class Accuracies:
    """The accuracies of one classifier on one split.

    Attributes:
        n: The number of images.
        values: The accuracies by name, None where undefined.
        counts: The table of counts ``(K, M, K)`` as nested lists: label x bias x prediction. None where it is
            not kept. Without a bias attribute, M is 1.
    """

    n: int
    values: Mapping[str, float | None]
    counts: Sequence[Sequence[Sequence[int]]] | None = None

    def __getitem__(self, name: str) -> float | None:
        """Return the accuracy of that name.

        Raises:
            KeyError: There is no accuracy of that name.
        """
        return self.values[name]

    def to_json(self) -> dict[str, Any]:
        """Return ``{"n", name: value, ...}``, with ``"counts"`` where they are kept."""
        counts = {} if self.counts is None else {"counts": self.counts}
        return {"n": self.n, **self.values, **counts}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Accuracies:
        """Return the accuracies that ``to_json`` wrote."""
        values = {name: value for name, value in data.items() if name not in ("n", "counts")}
        return cls(data["n"], values, data.get("counts"))


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of training or of fine-tuning: one line of ``metrics.jsonl`` or ``finetune.jsonl``.

    Attributes:
        epoch: The number of the epoch, from 1.
        epochs: The number of epochs of the run.
        loss: The mean loss of the epoch.
        lr: The learning rate of the last step.
        seconds: The duration of the epoch.
        views_per_second: Augmented views per second.
        peak_memory_mib: The peak memory in MiB, None where it is not measured.
        probe: Validation accuracies of a linear probe, where ``train.probe_every`` asks for it.
        validation: Validation accuracies of the fine-tuned network.
        stage: What is trained, if it is not the network of the run itself. It is not written to the file.
    """

    epoch: int
    epochs: int
    loss: float
    lr: float
    seconds: float
    views_per_second: float
    peak_memory_mib: int | None = None
    probe: Accuracies | None = None
    validation: Accuracies | None = None
    stage: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the epoch as plain data, without the fields that are None."""
        data: dict[str, Any] = {
            "epoch": self.epoch,
            "epochs": self.epochs,
            "loss": self.loss,
            "lr": self.lr,
            "seconds": self.seconds,
            "views_per_second": self.views_per_second,
        }
        if self.peak_memory_mib is not None:
            data["peak_memory_mib"] = self.peak_memory_mib
        for name in ("probe", "validation"):
            accuracies: Accuracies | None = getattr(self, name)
            if accuracies is not None:
                data[name] = accuracies.to_json()
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EpochRecord:
        """Return the epoch that ``to_json`` wrote."""
        probe, validation = data.get("probe"), data.get("validation")
        return cls(
            epoch=data["epoch"],
            epochs=data["epochs"],
            loss=data["loss"],
            lr=data["lr"],
            seconds=data["seconds"],
            views_per_second=data["views_per_second"],
            peak_memory_mib=data.get("peak_memory_mib"),
            probe=None if probe is None else Accuracies.from_json(probe),
            validation=None if validation is None else Accuracies.from_json(validation),
        )


@dataclass(frozen=True)
class SelectedImages:
    """The training images that a first-stage network singles out, compared with the bias-conflicting ones.

    These are the images that it misclassifies, those whose predicted label differs from their label, or those
    of the smaller inferred group. The comparison only reports; no method uses it.

    Attributes:
        kind: What the images are, in a few words.
        n: The number of training images.
        selected: The number of selected images.
        conflicting: The number of bias-conflicting training images; None where no alignment is defined.
        selected_conflicting: The number of selected images that are bias-conflicting; None likewise.
    """

    kind: str
    n: int
    selected: int
    conflicting: int | None
    selected_conflicting: int | None

    @property
    def recall(self) -> float | None:
        """The share of the bias-conflicting images that are selected, None where undefined."""
        return _share(self.selected_conflicting, self.conflicting)

    @property
    def precision(self) -> float | None:
        """The share of the selected images that are bias-conflicting, None where undefined."""
        return _share(self.selected_conflicting, self.selected)

    def describe(self) -> str:
        """Return the record in a line."""
        text = f"{self.kind}: {self.selected:,} of {self.n:,} training images"
        if self.conflicting is None:
            return text
        recall, precision = (
            "-" if value is None else f"{100 * value:.0f} %"
            for value in (self.recall, self.precision)
        )
        return (
            f"{text}; {recall} of the {self.conflicting:,} bias-conflicting images are among them "
            f"(recall); {precision} of them are bias-conflicting (precision)"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain data."""
        return {**vars(self), "recall": self.recall, "precision": self.precision}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SelectedImages:
        """Return the record that ``to_json`` wrote."""
        names = ("kind", "n", "selected", "conflicting", "selected_conflicting")
        return cls(*(data[name] for name in names))


def _share(part: int | None, whole: int | None) -> float | None:
    return None if part is None or not whole else part / whole
