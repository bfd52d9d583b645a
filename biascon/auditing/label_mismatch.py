"""Labels and predictions whose values do not match because they are written in different ways."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cached_property

from biascon.data.values import sort_values
from biascon.errors import DataError
from biascon.utils.text import join_first, quote_some

_MAX_LENGTH = 200  # of a value whose form is compared
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_SEPARATORS = re.compile(r"[\s_-]+")
_CALL = re.compile(r"[A-Za-z_][\w.]*\((.*)\)", re.DOTALL)  # tensor(1), np.int64(1)
_KEYWORDS = re.compile(r",\s*(?:dtype|device|shape|numpy|grad_fn|requires_grad)=.*", re.DOTALL)
_BRACKETS = re.compile(r"\[(.*)\]|\((.*?),?\)", re.DOTALL)
_QUOTES = re.compile(r"b?'(.*)'|b?\"(.*)\"", re.DOTALL)
_DATE = re.compile(
    r"(\d{4})[-/.]?(\d{2})[-/.]?(\d{2})(?:[T ]00:00(?::00(?:\.0+)?)?(?:Z|\+00:00)?)?"
)
_TRUE = frozenset({"true", "t", "yes", "y", "1", "+1", "positive", "pos", "present", "on"})
_FALSE = frozenset({"false", "f", "no", "n", "0", "-1", "negative", "neg", "absent", "off"})


@dataclass(frozen=True)
class _Columns:
    """The values of label and prediction.

    Attributes:
        pairs: The number of rows of each (label, prediction).
        label: The name of the label column.
        prediction: The name of the prediction column.
    """

    pairs: Mapping[tuple[str, str], int]
    label: str
    prediction: str

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
        return _Columns(pairs, self.prediction, self.label)


def check_labels(pairs: Mapping[tuple[str, str], int], label: str, prediction: str) -> list[str]:
    """Check that label and prediction write their classes in the same way.

    Args:
        pairs: The number of rows of each (label, prediction).
        label: The name of the label column.
        prediction: The name of the prediction column.

    Returns:
        Notes: that no row is right, or that labels may be one class.

    Raises:
        DataError: Values differ by their form only. The message names the likely cause and what to change.
    """
    columns = _Columns(pairs, label, prediction)
    checks = (_fractions, _forms, _signs, _shift, _truth_words, _lists, _dates, _positions)
    if columns.labels - columns.predictions or columns.predictions - columns.labels:
        for check in checks:
            message = check(columns)
            if message:
                raise DataError(f"label and prediction do not match: {message}")
    notes = _similar_labels(columns)
    if pairs and columns.is_disjoint:
        notes.append(
            f"no row is right: label ({quote_some(sort_values(columns.labels))}) and prediction "
            f"({quote_some(sort_values(columns.predictions))}) have no value in common"
        )
    return notes


def _quote(values: set[str]) -> str:
    return quote_some(sort_values(values), 3)


def _number(text: str) -> Decimal | None:
    """Return a finite number that text holds, None for other text."""
    if len(text) > 40 or not text.isascii() or "_" in text:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number.adjusted()) < 300 else None


def _is_whole(text: str) -> bool:
    number = _number(text)
    return number is not None and number == number.to_integral_value()


def is_fraction(text: str) -> bool:
    """Return whether text is a number that is not whole."""
    return _number(text) is not None and not _is_whole(text)


def _fractions(columns: _Columns) -> str | None:
    """Predictions that are fractions where labels are whole numbers, or the reverse."""
    labels, predictions = columns.labels, columns.predictions
    found = sort_values(filter(is_fraction, predictions))
    if found and all(map(_is_whole, labels)):
        is_score = all(0 <= (_number(text) or Decimal(0)) <= 1 for text in predictions)
        way_out = (
            "are they scores? pass the predicted class, such as score > 0.5, as prediction, and the "
            "score by --scores (scores=)"
            if is_score
            else "pass the predicted class, for example the rounded number"
        )
        return (
            f"'{columns.prediction}' has fractions ({quote_some(found, 3)}) where '{columns.label}' has "
            f"whole numbers ({_quote(labels)}); {way_out}"
        )
    found = sort_values(filter(is_fraction, labels))
    if found and columns.is_disjoint and all(map(_number_or_none, predictions)):
        return (
            f"'{columns.label}' has fractions ({quote_some(found, 3)}), and no prediction equals one; "
            "an audit counts classes: pass classes, for example the numbers in ranges"
        )
    return None


def _number_or_none(text: str) -> bool:
    return _number(text) is not None


def _unwrap(text: str) -> str:
    """Return the one value in the text of a tensor, an array, a list or quotes."""
    for _ in range(4):
        call = _CALL.fullmatch(text)
        inner = None if call is None else _KEYWORDS.sub("", call[1])
        for pattern in (_BRACKETS, _QUOTES):
            match = pattern.fullmatch(text) if inner is None else None
            inner = inner if match is None else next(g for g in match.groups() if g is not None)
        if inner is None or "," in inner or not inner.strip():
            return text
        text = inner.strip()
    return text


def _plain_number(text: str) -> str:
    number = _number(text)
    if number is None:
        return text
    return f"{number.normalize():f}" if number else "0"


def _iso_date(text: str) -> str:
    match = _DATE.fullmatch(text)
    return text if match is None else "-".join(match.groups())


def _visible(text: str) -> str:
    return " ".join(_INVISIBLE.sub("", text).split())


_FORMS: dict[str, Callable[[str], str]] = {
    "in upper and lower case": str.casefold,
    "in blanks or invisible characters": _visible,
    "in Unicode form (such as NFC and NFD)": lambda text: unicodedata.normalize("NFKC", text),
    "in the form of numbers": _plain_number,
    "in brackets, quotes or the name of a tensor": _unwrap,
    "in the form of dates": _iso_date,
    "in blanks, hyphens or underscores": lambda text: _SEPARATORS.sub("_", text),
}


def _all_forms(text: str) -> str:
    for form in (_unwrap, *(form for form in _FORMS.values() if form is not _unwrap)):
        text = form(text)
    return text


def _forms(columns: _Columns) -> str | None:
    """Predicted values that are no label, but equal one in another form."""
    unknown = columns.predictions - columns.labels
    for name, form in {**_FORMS, "in form": _all_forms}.items():

        def key(text: str, form: Callable[[str], str] = form) -> str:
            return form(text) if len(text) <= _MAX_LENGTH else text

        by_key = {key(label): label for label in columns.labels}
        if len(by_key) < len(columns.labels):
            continue  # the labels distinguish these forms
        variants = {p: by_key[key(p)] for p in sort_values(unknown) if key(p) in by_key}
        if variants and not _are_letters(variants, columns):
            written = join_first([f"'{p}' for '{y}'" for p, y in variants.items()], 3)
            mapping = join_first([f"{p!r}: {y!r}" for p, y in variants.items()], 3)
            return (
                f"values differ {name}: '{columns.prediction}' has {written} in '{columns.label}'; "
                f"write both the same way (pandas: rows[{columns.prediction!r}].replace({{{mapping}}}))"
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
        is_named = part.is_disjoint and not any(map(_number_or_none, part.labels))
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
        is_date = all(len(text) > 8 and _DATE.fullmatch(text) for text in part.labels)
        if part.is_disjoint and is_date:
            return (
                f"'{part.label}' has dates ({_quote(part.labels)}), '{part.prediction}' has "
                f"{_quote(part.predictions)}; are these the right columns?"
            )
    return None


def _similar_labels(columns: _Columns) -> list[str]:
    """Return a note about labels that differ in form only, so that they may be one class."""
    by_key: dict[str, list[str]] = {}
    for label in sort_values(columns.labels):
        if 1 < len(label) <= _MAX_LENGTH:
            by_key.setdefault(_all_forms(label), []).append(label)
    similar = [labels for labels in by_key.values() if len(labels) > 1]
    if not similar:
        return []
    texts = join_first([" and ".join(f"'{label}'" for label in labels) for labels in similar], 3)
    return [f"labels that differ in form only count as different classes: {texts}"]
