"""Eight files of predictions as users have them, made from seeds; ``python -m`` this module writes them.

    python -m tests.auditing.realistic_files FOLDER

The rows are made up. Sizes and error rates of the groups are in the code, so that a reader knows the truth.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class RealisticFile:
    """A file of predictions, and the words of the command that audits it.

    Attributes:
        name: The name of the file.
        make: Returns the rows.
        label: The column of labels.
        prediction: The column of predictions.
        bias: The bias columns.
        scores: The columns of scores.
        write: Writes the rows to a path.
        worst: The cell with the lowest accuracy by construction: label, group. None where it is up to chance.
    """

    name: str
    make: Callable[[], pd.DataFrame]
    label: str
    prediction: str
    bias: tuple[str, ...]
    worst: tuple[str, str] | None
    scores: tuple[str, ...] = ()
    write: Callable[[pd.DataFrame, Path], None] = field(
        default=lambda rows, path: rows.to_csv(path, index=False, lineterminator="\n")
    )

    def words(self, path: Path) -> list[str]:
        """Return the arguments of ``biascon audit``."""
        words = [str(path), "--label", self.label, "--prediction", self.prediction]
        for column in self.bias:
            words += ["--bias", column]
        return [*words, *(["--scores", ",".join(self.scores)] if self.scores else [])]


def _cells(sizes: Sequence[tuple[Any, ...]], columns: Sequence[str], seed: int) -> pd.DataFrame:
    """Return shuffled rows of cells ``(value of each column, ..., n, accuracy)``, with ``right``."""
    rng = np.random.default_rng(seed)
    parts = []
    for *values, n, accuracy in sizes:
        part = pd.DataFrame(
            {name: [value] * n for name, value in zip(columns, values, strict=True)}
        )
        part["right"] = np.arange(n) < round(accuracy * n)
        parts.append(part)
    rows = pd.concat(parts, ignore_index=True)
    return rows.iloc[rng.permutation(len(rows))].reset_index(drop=True)


def _flip(rows: pd.DataFrame, label: str, classes: Sequence[Any]) -> list[Any]:
    """Return predictions: the label where a row is right, else the next class."""
    following = dict(zip(classes, [*classes[1:], classes[0]], strict=True))
    pairs = zip(rows[label], rows["right"], strict=True)
    return [y if right else following[y] for y, right in pairs]


def make_income() -> pd.DataFrame:
    """Income of adults, by sex and race: the rich of the small groups are found less often."""
    sizes = [
        ("<=50K", "Male", "White", 1100, 0.92), (">50K", "Male", "White", 520, 0.66),
        ("<=50K", "Male", "Black", 120, 0.94), (">50K", "Male", "Black", 36, 0.58),
        ("<=50K", "Female", "White", 640, 0.96), (">50K", "Female", "White", 110, 0.55),
        ("<=50K", "Female", "Black", 130, 0.97), (">50K", "Female", "Black", 14, 0.36),
    ]  # fmt: skip
    rows = _cells(sizes, ("income", "sex", "race"), 1)
    rows["predicted"] = _flip(rows, "income", ["<=50K", ">50K"])
    return rows.drop(columns="right")


def make_celeba() -> pd.DataFrame:
    """Blond hair by Male, both 0 or 1, with the shares of the test split of CelebA."""
    sizes = [(0, 0, 1960, 0.96), (0, 1, 1510, 0.995), (1, 0, 500, 0.88), (1, 1, 36, 0.42)]
    rows = _cells(sizes, ("Blond_Hair", "Male"), 2)
    rows["pred"] = _flip(rows, "Blond_Hair", [0, 1])
    rows.insert(0, "image_id", [f"{182638 + k:06d}.jpg" for k in range(len(rows))])
    return rows.drop(columns="right")


def make_waterbirds() -> pd.DataFrame:
    """Birds and backgrounds, with the sizes of the test split of Waterbirds."""
    sizes = [
        ("landbird", "land", 2255, 0.994), ("landbird", "water", 2255, 0.81),
        ("waterbird", "land", 642, 0.72), ("waterbird", "water", 642, 0.963),
    ]  # fmt: skip
    rows = _cells(sizes, ("y", "place"), 3)
    rows["y_hat"] = _flip(rows, "y", ["landbird", "waterbird"])
    return rows.drop(columns="right")


def make_nli() -> pd.DataFrame:
    """Sentence pairs of three classes, by whether the hypothesis has a negation."""
    sizes = [
        ("contradiction", "negation", 310, 0.95), ("contradiction", "none", 690, 0.79),
        ("entailment", "negation", 60, 0.48), ("entailment", "none", 940, 0.88),
        ("neutral", "negation", 80, 0.61), ("neutral", "none", 920, 0.83),
    ]  # fmt: skip
    rows = _cells(sizes, ("gold_label", "hypothesis"), 4)
    rows["predicted_label"] = _flip(rows, "gold_label", ["entailment", "contradiction", "neutral"])
    return rows.drop(columns="right")


def make_probabilities() -> pd.DataFrame:
    """Readmission of patients with a probability that is 10 points too low for the oldest."""
    rng = np.random.default_rng(5)
    age = rng.choice(["18-39", "40-64", "65+"], 1800, p=[0.3, 0.45, 0.25])
    risk = np.clip(rng.beta(2, 3, 1800) + 0.1 * (age == "65+"), 0, 1)
    probability = np.clip(risk - 0.1 * (age == "65+"), 0, 1).round(4)
    return pd.DataFrame(
        {
            "readmitted": (rng.random(1800) < risk).astype(int),
            "predicted": (probability >= 0.5).astype(int),
            "probability": probability,
            "age": age,
        }
    )


def make_comments() -> pd.DataFrame:
    """Comments that name an identity are taken for toxic more often."""
    sizes = [
        (False, "none", 900, 0.95), (True, "none", 200, 0.7),
        (False, "muslim", 80, 0.72), (True, "muslim", 40, 0.85),
        (False, "gay", 60, 0.6), (True, "gay", 45, 0.87),
    ]  # fmt: skip
    rows = _cells(sizes, ("toxic", "identity"), 6)
    rows["predicted"] = _flip(rows, "toxic", [False, True])
    rows.insert(0, "text", [f'comment {k}, with a "quote" and a comma' for k in range(len(rows))])
    return rows.drop(columns="right")


def make_credit() -> pd.DataFrame:
    """Credit decisions with a score, from a spreadsheet in German."""
    rng = np.random.default_rng(7)
    sex = rng.choice(["weiblich", "männlich"], 1000, p=[0.31, 0.69])
    score = np.clip(rng.beta(4, 2, 1000) - 0.06 * (sex == "weiblich"), 0.01, 0.99).round(3)
    good = rng.random(1000) < np.clip(score + 0.06 * (sex == "weiblich"), 0, 1)
    return pd.DataFrame(
        {
            "bonität": np.where(good, "gut", "schlecht"),
            "entscheidung": np.where(score >= 0.6, "gut", "schlecht"),
            "p_schlecht": (1 - score).round(3),
            "geschlecht": sex,
        }
    )


def make_hospitals() -> pd.DataFrame:
    """Ten hospitals with 12 to 2,400 patients; one is worse, and it is not the smallest."""
    sizes = []
    for k, n in enumerate([12, 25, 40, 80, 150, 220, 400, 700, 1200, 2400], start=1):
        accuracy = 0.74 if k == 6 else 0.9
        sizes += [
            ("healthy", f"hospital {k:02d}", n - n // 4, accuracy),
            ("ill", f"hospital {k:02d}", n // 4, accuracy - 0.14 * (k == 6)),
        ]
    rows = _cells(sizes, ("diagnosis", "site"), 8)
    rows["model"] = _flip(rows, "diagnosis", ["healthy", "ill"])
    return rows.drop(columns="right")


def _write_json_lines(rows: pd.DataFrame, path: Path) -> None:
    rows.to_json(path, orient="records", lines=True, force_ascii=False)


def _write_semicolons(rows: pd.DataFrame, path: Path) -> None:
    rows.to_csv(path, index=False, sep=";", decimal=",", lineterminator="\n", encoding="utf-8")


FILES = (
    RealisticFile(
        "income.csv", make_income, "income", "predicted", ("sex", "race"), (">50K", "Female x Black")
    ),
    RealisticFile("celeba.csv", make_celeba, "Blond_Hair", "pred", ("Male",), ("1", "1")),
    RealisticFile(
        "waterbirds.csv", make_waterbirds, "y", "y_hat", ("place",), ("waterbird", "land")
    ),
    RealisticFile(
        "nli.csv", make_nli, "gold_label", "predicted_label", ("hypothesis",),
        ("entailment", "negation"),
    ),
    RealisticFile(
        "readmission.csv", make_probabilities, "readmitted", "predicted", ("age",), None,
        ("probability",),
    ),
    RealisticFile(
        "comments.jsonl", make_comments, "toxic", "predicted", ("identity",), ("False", "gay"),
        write=_write_json_lines,
    ),
    RealisticFile(
        "kredit.csv", make_credit, "bonität", "entscheidung", ("geschlecht",),
        None, ("p_schlecht",), write=_write_semicolons,
    ),
    RealisticFile(
        "hospitals.csv", make_hospitals, "diagnosis", "model", ("site",), ("ill", "hospital 06")
    ),
)  # fmt: skip


def main(folder: Path) -> None:
    """Write every file to a folder, and print the commands that audit them."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in FILES:
        file.write(file.make(), folder / file.name)
        print("biascon audit", *file.words(folder / file.name))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
