"""Labels and predictions whose values do not match because they are written in different ways."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from biascon.auditing.rows.value_forms import (
    DATE,
    FORMS,
    MAX_LENGTH,
    UNICODE_FORM,
    all_forms,
    is_fraction,
    is_number,
    is_whole,
    parse_number,
    unicode_form,
)
from biascon.data.values import sort_values
from biascon.errors import DataError
from biascon.utils.text import join_first, quote_some

_TRUE = frozenset({"true", "t", "yes", "y", "1", "+1", "positive", "pos", "present", "on"})
_FALSE = frozenset({"false", "f", "no", "n", "0", "-1", "negative", "neg", "absent", "off"})


@dataclass(frozen=True)
class _Columns:
    """The values of label and prediction.

    Attributes:
        pairs: The number of rows of each (label, prediction).
        label: The name of the label column.
        prediction: The name of the prediction column.
        is_baseline: Whether the predictions are those of a baseline.
    """

    pairs: Mapping[tuple[str, str], int]
    label: str
    prediction: str
    is_baseline: bool = False

    @cached_property
    def labels(self) -> set[str]:
        """The values of the label."""
        return {label for label, _ in self.pairs}

    @cached_property
    def predictions(self) -> set[str]:
        """The values of the prediction."""
        return {prediction for _, prediction in self.pairs}

    @property
    def is_disjoint(self) -> bool:
        """Whether no value is in both columns."""
        return not self.labels & self.predictions

    def swap(self) -> _Columns:
        """Return the columns with their roles exchanged."""
        pairs = {(p, y): n for (y, p), n in self.pairs.items()}
        return _Columns(pairs, self.prediction, self.label, self.is_baseline)


def check_labels(
    pairs: Mapping[tuple[str, str], int], label: str, prediction: str, *, is_baseline: bool = False
) -> list[str]:
    """Check that label and prediction write their classes in the same way.

    Args:
        pairs: The number of rows of each (label, prediction).
        label: The name of the label column.
        prediction: The name of the prediction column.
        is_baseline: Whether the predictions are those of a baseline.

    Returns:
        Notes: that no row is right, or that labels may be one class.

    Raises:
        DataError: Values differ by their form only. The message names the likely cause and what to change.
    """
    columns = _Columns(pairs, label, prediction, is_baseline)
    role = "baseline" if is_baseline else "prediction"
    checks = (_fractions, _forms, _signs, _shift, _truth_words, _lists, _dates, _positions)
    if columns.labels - columns.predictions or columns.predictions - columns.labels:
        for check in checks:
            message = check(columns)
            if message:
                raise DataError(f"label and {role} do not match: {message}")
    notes = [] if is_baseline else _similar_labels(columns)
    return notes + _few_right_rows(columns)


def explain_difference(known: set[str], values: set[str]) -> str | None:
    """Return the likely cause why two sets of values have none in common; None if no cause is found."""
    for name, form in {**FORMS, "in form": all_forms}.items():
        if {form(t[:MAX_LENGTH]) for t in known} & {form(t[:MAX_LENGTH]) for t in values}:
            return f"they differ {name}"
    if {text.casefold() for text in known | values} <= _TRUE | _FALSE:
        return "they are two ways of writing yes and no"
    for one, other in ((known, values), (values, known)):
        if not any(map(is_number, one)) and all(text.isdecimal() for text in other):
            return "are they names and the positions of names?"
    return None


def _quote(values: set[str]) -> str:
    return quote_some(sort_values(values), 3)


def _fractions(columns: _Columns) -> str | None:
    """Predictions that are fractions where labels are whole numbers, or the reverse."""
    labels, predictions = columns.labels, columns.predictions
    found = sort_values(filter(is_fraction, predictions))
    if found and all(map(is_whole, labels)):
        numbers = [parse_number(text) or Decimal(0) for text in predictions]
        way_out = "pass the predicted class, for example the rounded number"
        if min(numbers) >= 0 and max(numbers) <= 1:
            way_out = "are they scores? pass the predicted class, such as score > 0.5"
            if not columns.is_baseline:
                way_out += ", as prediction, and the score by --scores (scores=)"
        elif len(labels) <= 2 and not -1 <= min(numbers) <= max(numbers) <= 2:
            way_out = "are they logits? pass the predicted class, such as score > 0"
            if not columns.is_baseline:
                way_out += ", as prediction, and 1 / (1 + exp(-score)) by --scores (scores=)"
        return (
            f"'{columns.prediction}' has fractions ({quote_some(found, 3)}) where '{columns.label}' has "
            f"whole numbers ({_quote(labels)}); {way_out}"
        )
    found = sort_values(filter(is_fraction, labels))
    if found and columns.is_disjoint and all(map(is_number, predictions)):
        return (
            f"'{columns.label}' has fractions ({quote_some(found, 3)}), and no prediction equals one; "
            "an audit counts classes: pass classes, for example the numbers in ranges"
        )
    return None


def _forms(columns: _Columns) -> str | None:
    """Predicted values that are no label, but equal one in another form."""
    unknown = columns.predictions - columns.labels
    for name, form in {**FORMS, "in form": all_forms}.items():

        def key(text: str, form: Callable[[str], str] = form) -> str:
            return form(text) if len(text) <= MAX_LENGTH else text

        by_key = {key(label): label for label in columns.labels}
        if len(by_key) < len(columns.labels):
            continue  # the labels distinguish these forms
        variants = {p: by_key[key(p)] for p in sort_values(unknown) if key(p) in by_key}
        if variants and not _are_letters(variants, columns):
            written = join_first([f"'{p}' for '{y}'" for p, y in variants.items()], 3)
            if name == UNICODE_FORM:
                call = f"str.normalize({unicode_form(variants.items())!r}) for both columns"
            else:
                mapping = join_first([f"{p!r}: {y!r}" for p, y in variants.items()], 3)
                call = f"replace({{{mapping}}})"
            return (
                f"values differ {name}: '{columns.prediction}' has {written} in '{columns.label}'; "
                f"write both the same way (pandas: rows[{columns.prediction!r}].{call})"
            )
    return None


def _are_letters(variants: Mapping[str, str], columns: _Columns) -> bool:
    """Return whether the classes are letters, where a and A may differ."""
    is_letter = all(len(text) == 1 for text in columns.labels | columns.predictions)
    return is_letter and any(text in columns.predictions for text in variants.values())


def _integers(values: set[str]) -> set[int] | None:
    return {int(text) for text in values} if all(map(_is_int, values)) else None


def _is_int(text: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]{1,18}", text) is not None


def _signs(columns: _Columns) -> str | None:
    """-1 and 1 against 0 and 1."""
    for part in (columns, columns.swap()):
        if (part.labels, part.predictions) == ({"-1", "1"}, {"0", "1"}):
            return (
                f"'{part.label}' has -1 and 1, '{part.prediction}' has 0 and 1; write both the same way "
                f"(pandas: rows[{part.label!r}].replace({{-1: 0}}))"
            )
    return None


def _shift(columns: _Columns) -> str | None:
    """Whole numbers that start at 0 in one column and at 1 in the other."""
    labels, predictions = _integers(columns.labels), _integers(columns.predictions)
    if not labels or not predictions or min(len(labels), len(predictions)) < 2:
        return None
    for step in (1, -1):
        if {p + step for p in predictions} <= labels and not predictions <= labels:
            n_equal, n_shifted, expected, n = _count_matches(columns, step)
            noise = 3 * math.sqrt(expected * (1 - expected / n))
            if n_shifted > n_equal and n_shifted - expected > noise:
                sign = "+" if step > 0 else "-"
                return (
                    f"'{columns.prediction}' has {min(predictions)} to {max(predictions)}, "
                    f"'{columns.label}' has {min(labels)} to {max(labels)}, and {n_shifted:,} of {n:,} rows "
                    f"are right if {sign}1 is added to the prediction, {n_equal:,} as it is "
                    f"(pandas: rows[{columns.prediction!r}] {sign} 1)"
                )
    return None


def _count_matches(columns: _Columns, step: int) -> tuple[int, int, float, int]:
    """Return the rows that are right as they are and after a shift, the latter by chance, and all rows."""
    n = sum(columns.pairs.values())
    by_label: dict[int, int] = {}
    by_prediction: dict[int, int] = {}
    n_equal = n_shifted = 0
    for (label, prediction), count in columns.pairs.items():
        y, p = int(label), int(prediction)
        by_label[y] = by_label.get(y, 0) + count
        by_prediction[p] = by_prediction.get(p, 0) + count
        n_equal += count if y == p else 0
        n_shifted += count if y == p + step else 0
    expected = sum(count * by_label.get(p + step, 0) for p, count in by_prediction.items()) / n
    return n_equal, n_shifted, expected, n


def _truth_words(columns: _Columns) -> str | None:
    """Two ways of writing yes and no."""
    words = {text.casefold() for text in columns.labels | columns.predictions}
    if not columns.is_disjoint or not words <= _TRUE | _FALSE:
        return None
    pairs = {
        p: y
        for p in sort_values(columns.predictions)
        for y in columns.labels
        if (p.casefold() in _TRUE) == (y.casefold() in _TRUE)
    }
    if not pairs:
        return None
    mapping = ", ".join(f"{p!r}: {y!r}" for p, y in pairs.items())
    return (
        f"'{columns.label}' has {_quote(columns.labels)}, '{columns.prediction}' has "
        f"{_quote(columns.predictions)}; write both the same way (pandas: "
        f"rows[{columns.prediction!r}].astype(str).replace({{{mapping}}}))"
    )


def _positions(columns: _Columns) -> str | None:
    """Names of classes in one column, positions of classes in the other."""
    for part in (columns, columns.swap()):
        is_named = part.is_disjoint and not any(map(is_number, part.labels))
        if is_named and all(text.isdecimal() for text in part.predictions):
            return (
                f"'{part.label}' has names ({_quote(part.labels)}), '{part.prediction}' has whole numbers "
                f"({_quote(part.predictions)}); if they are positions of the classes, write the names, in "
                "the model's order of classes"
            )
    return None


def _lists(columns: _Columns) -> str | None:
    """Several values in one, such as a row of scores."""
    for part in (columns, columns.swap()):
        found = [
            text for text in sort_values(part.predictions) if "," in text and text[-1:] in "])"
        ]
        if part.is_disjoint and found:
            return (
                f"'{part.prediction}' has several values in one ({quote_some(found, 1)}); write one class a "
                "row, for example the position of the largest score"
            )
    return None


def _dates(columns: _Columns) -> str | None:
    """Dates in one column, other text in the other."""
    for part in (columns, columns.swap()):
        # eight digits alone may be any number
        is_date = all(len(text) > 8 and DATE.fullmatch(text) for text in part.labels)
        if part.is_disjoint and is_date:
            return (
                f"'{part.label}' has dates ({_quote(part.labels)}), '{part.prediction}' has "
                f"{_quote(part.predictions)}; are these the right columns?"
            )
    return None


def _few_right_rows(columns: _Columns) -> list[str]:
    """Return a note if no row is right, or, for two classes, fewer than by chance.

    Chance is a permutation of the predictions. The note is made below the mean minus 3 standard deviations,
    if fewer than half of the rows are right, so that the other class is right more often.
    """
    n = sum(columns.pairs.values())
    n_right = sum(
        count for (label, prediction), count in columns.pairs.items() if label == prediction
    )
    classes = sort_values(columns.labels | columns.predictions)
    role = "baseline" if columns.is_baseline else "prediction"
    subject = "prediction of the baseline" if columns.is_baseline else "row"
    if n and columns.is_disjoint:
        return [
            f"no {subject} is right: label ({quote_some(sort_values(columns.labels))}) and {role} "
            f"({quote_some(sort_values(columns.predictions))}) have no value in common"
        ]
    hint = ""
    if len(classes) == 2:
        hint = f"; are the classes '{classes[0]}' and '{classes[1]}' exchanged?"
    if n and not n_right:
        return [f"no {subject} is right{hint}"]
    if len(classes) != 2 or n < 2:
        return []
    a, b = (sum(k for pair, k in columns.pairs.items() if pair[i] == classes[1]) for i in (0, 1))
    expected = (a * b + (n - a) * (n - b)) / n
    spread = 2 * math.sqrt(a * b * (n - a) * (n - b) / (n * n * (n - 1)))
    if n_right >= min(expected - 3 * spread, n / 2):
        return []
    return [
        f"the {role} is right in {n_right:,} of {n:,} rows ({100 * n_right / n:.1f} %), fewer than by chance "
        f"({100 * expected / n:.1f} %){hint}"
    ]


def _similar_labels(columns: _Columns) -> list[str]:
    """Return a note about labels that differ in form only, so that they may be one class."""
    by_key: dict[str, list[str]] = {}
    for label in sort_values(columns.labels):
        if 1 < len(label) <= MAX_LENGTH:
            by_key.setdefault(all_forms(label), []).append(label)
    similar = [labels for labels in by_key.values() if len(labels) > 1]
    if not similar:
        return []
    texts = join_first([" and ".join(f"'{label}'" for label in labels) for labels in similar], 3)
    return [f"labels that differ in form only count as different classes: {texts}"]
