"""The forms in which the same value may be written: case, blanks, numbers, tensors as text, dates."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation

MAX_LENGTH = 200  # of a value whose form is compared
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_SEPARATORS = re.compile(r"[\s_-]+")
_CALL = re.compile(r"[A-Za-z_][\w.]*\((.*)\)", re.DOTALL)  # tensor(1), np.int64(1)
_KEYWORDS = re.compile(r",\s*(?:dtype|device|shape|numpy|grad_fn|requires_grad)=.*", re.DOTALL)
_BRACKETS = re.compile(r"\[(.*)\]|\((.*?),?\)", re.DOTALL)
_QUOTES = re.compile(r"b?'(.*)'|b?\"(.*)\"", re.DOTALL)
DATE = re.compile(r"(\d{4})[-/.]?(\d{2})[-/.]?(\d{2})(?:[T ]00:00(?::00(?:\.0+)?)?(?:Z|\+00:00)?)?")


def parse_number(text: str) -> Decimal | None:
    """Return a finite number that text holds, None for other text."""
    if len(text) > 40 or not text.isascii() or "_" in text:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number.adjusted()) < 300 else None


def is_number(text: str) -> bool:
    """Return whether text is a finite number."""
    return parse_number(text) is not None


def is_whole(text: str) -> bool:
    """Return whether text is a whole number."""
    number = parse_number(text)
    return number is not None and number == number.to_integral_value()


def is_fraction(text: str) -> bool:
    """Return whether text is a number that is not whole."""
    return is_number(text) and not is_whole(text)


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
    number = parse_number(text)
    if number is None:
        return text
    return f"{number.normalize():f}" if number else "0"


def _iso_date(text: str) -> str:
    match = DATE.fullmatch(text)
    return text if match is None else "-".join(match.groups())


def _visible(text: str) -> str:
    return " ".join(_INVISIBLE.sub("", text).split())


UNICODE_FORM = "in Unicode form (such as NFC and NFD)"
# What differs -> the function that gives equal values the same text
FORMS: dict[str, Callable[[str], str]] = {
    "in upper and lower case": str.casefold,
    "in blanks or invisible characters": _visible,
    UNICODE_FORM: lambda text: unicodedata.normalize("NFKC", text),
    "in the form of numbers": _plain_number,
    "in brackets, quotes or the name of a tensor": _unwrap,
    "in the form of dates": _iso_date,
    "in blanks, hyphens or underscores": lambda text: _SEPARATORS.sub("_", text),
}


def unicode_form(pairs: Iterable[tuple[str, str]]) -> str:
    """Return the Unicode form in which the values of each pair are equal: NFC if it suffices, or NFKC."""
    is_enough = all(
        unicodedata.normalize("NFC", a) == unicodedata.normalize("NFC", b) for a, b in pairs
    )
    return "NFC" if is_enough else "NFKC"


def all_forms(text: str) -> str:
    """Return text in every form of ``FORMS``, one after the other."""
    for form in (_unwrap, *(form for form in FORMS.values() if form is not _unwrap)):
        text = form(text)
    return text
