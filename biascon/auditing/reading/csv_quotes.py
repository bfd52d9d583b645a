"""Check of the quotes in a CSV file, a part at a time: a quote that is not closed hides rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from biascon.utils.types import Array

_QUOTE = ord('"')
_LITERAL = ord(
    "x"
)  # stands for the byte before, if it is a quote that is only a character of its value


class QuoteError(Exception):
    """A quote is not closed, or text follows a closing quote.

    Attributes:
        opened: The position of the byte of the opening quote.
        closed: The position of the closing quote that text follows; None if no quote closes.
        text: The text that follows.
    """

    def __init__(self, opened: int, closed: int | None = None, text: str = "") -> None:
        super().__init__(opened, closed, text)
        self.opened = opened
        self.closed = closed
        self.text = text


class _Quotes(NamedTuple):
    """The Q quotes of a part, arrays ``(Q,)``: their positions, and what the bytes around them allow.

    Attributes:
        positions: int64.
        is_start: bool: a delimiter or the end of a row is before the quote.
        follows_quote: bool: a quote is before the quote.
        cannot_open: bool: the quote neither opens a value nor continues one.
        cannot_close: bool: neither a delimiter, the end of a row nor a quote is after the quote.
    """

    positions: Array
    is_start: Array
    follows_quote: Array
    cannot_open: Array
    cannot_close: Array


class QuoteChecker:
    """Checks that every quoted value is closed and that a delimiter or the end of its row follows.

    A quote opens a value at its start only. Elsewhere in an unquoted value it is a character. Two quotes in
    a quoted value are one character. This is the rule of RFC 4180, with blanks allowed after a closing quote.

    The check looks at the bytes around each quote, and a part without a quote costs a search for one byte.

    Args:
        delimiter: The delimiter, one byte.
    """

    def __init__(self, delimiter: str) -> None:
        self._starts = np.zeros(256, dtype=bool)  # bytes before an opening quote
        self._starts[[ord(delimiter), ord("\n"), ord("\r")]] = True
        self._ends = self._starts.copy()  # bytes after a closing quote
        self._ends[_QUOTE] = True
        self._blank = b" " if delimiter == "\t" else b" \t"
        self._last = b""  # the last byte, which waits for the byte after it
        self._before = ord("\n")  # the byte before it
        self._position = 0  # of the last byte
        self._is_open = False
        self._opened = 0

    def feed(self, part: bytes) -> None:
        """Check the next part of the file.

        Raises:
            QuoteError: Text follows a closing quote.
        """
        data = self._last + part
        if not data:
            return
        n = len(data) - 1
        before = data[n - 1] if n else self._before
        if data.find(b'"', 0, n) >= 0 and self._check(data, n):
            before = _LITERAL
        self._before = before
        self._last = data[-1:]
        self._position += n

    def finish(self) -> None:
        """Check the end of the file.

        Raises:
            QuoteError: A quote is not closed, or text follows a closing quote.
        """
        self.feed(b"\n")
        if self._is_open:
            raise QuoteError(self._opened)

    @property
    def opened(self) -> int | None:
        """The position of the quote that is open, None if no quote is."""
        return self._opened if self._is_open else None

    def _check(self, data: bytes, n: int) -> bool:
        """Check the quotes among the first n bytes; return whether byte n - 1 is a quote as a character."""
        values = np.frombuffer(data, dtype=np.uint8)
        positions = np.flatnonzero(values[:n] == _QUOTE)
        if self._alternates(values, positions):
            return False
        before = values[positions - 1]
        if positions[0] == 0:
            before[0] = self._before
        follows_quote = before == _QUOTE
        is_start = self._starts[before]
        quotes = _Quotes(
            positions,
            is_start,
            follows_quote,
            cannot_open=~(is_start | follows_quote),
            cannot_close=~self._ends[values[positions + 1]],
        )
        quotes = self._drop_characters(quotes)
        if not len(quotes.positions):
            return False
        first, is_literal = self._skip_exceptions(data, quotes)
        n_quotes = len(quotes.positions)
        parity = (first + int(self._is_open)) % 2
        self._note_opening(quotes, first, n_quotes, parity)
        self._is_open = (n_quotes - parity) % 2 == 1
        return is_literal and first == n_quotes and int(quotes.positions[-1]) == n - 1

    def _alternates(self, values: Array, positions: Array) -> bool:
        """Return whether every second quote opens a value and the others close it; if so, go on after them.

        This is the usual case, without quotes in values. It needs half the memory accesses.
        """
        is_open = int(self._is_open)
        opening, closing = positions[is_open::2], positions[1 - is_open :: 2]
        before = values[opening - 1]
        if len(opening) and opening[0] == 0:
            before[0] = self._before
        if not (self._starts[before].all() and self._ends[values[closing + 1]].all()):
            return False
        if len(opening):
            self._opened = self._position + int(opening[-1])
        self._is_open = (len(positions) + is_open) % 2 == 1
        return True

    def _drop_characters(self, quotes: _Quotes) -> _Quotes:
        """Drop the quotes inside of unquoted text at once, if all other quotes alternate."""
        is_character = quotes.cannot_open & quotes.cannot_close
        if not is_character.any():
            return quotes
        others = _Quotes(*(array[~is_character] for array in quotes))
        is_odd = (np.arange(len(others.positions)) + int(self._is_open)) % 2 == 1
        is_exception = np.where(is_odd, others.cannot_close, others.cannot_open)
        is_inside = (np.cumsum(~is_character)[is_character] + int(self._is_open)) % 2 == 1
        return quotes if is_exception.any() or is_inside.any() else others

    def _skip_exceptions(self, data: bytes, quotes: _Quotes) -> tuple[int, bool]:
        """Step over the quotes that do not alternate between opening and closing.

        Returns:
            The first quote from which all quotes alternate, and whether the one before is a character.
        """
        odd = np.arange(len(quotes.positions)) % 2 == 1
        # exceptions[r]: quotes that break the rule if those of parity r are the opening ones
        exceptions = [
            np.flatnonzero(np.where(odd == bool(r), quotes.cannot_open, quotes.cannot_close))
            for r in (0, 1)
        ]
        first, parity, is_literal = 0, int(self._is_open), False
        while True:
            k = int(np.searchsorted(exceptions[parity], first))
            if k == len(exceptions[parity]):
                return first, is_literal
            index = int(exceptions[parity][k])
            self._note_opening(quotes, first, index, parity)
            first = index + 1
            is_literal = index % 2 == parity
            if is_literal:  # a character of an unquoted value, with the quotes that touch it
                while first < len(odd) and quotes.follows_quote[first]:
                    first += 1
            else:
                self._check_blanks(data, int(quotes.positions[index]))
            self._is_open = False
            parity = first % 2

    def _note_opening(self, quotes: _Quotes, first: int, end: int, parity: int) -> None:
        """Keep the position of the last quote that opens a value, among quotes first to end - 1."""
        opening = first + (first % 2 != parity)
        found = np.flatnonzero(quotes.is_start[opening:end:2])
        if len(found):
            self._opened = self._position + int(quotes.positions[opening + 2 * int(found[-1])])

    def _check_blanks(self, data: bytes, quote: int) -> None:
        """Check that only blanks are between a closing quote and the end of its value.

        Raises:
            QuoteError: Text follows.
        """
        rest = data[quote + 1 : quote + 200].lstrip(self._blank)
        if rest and (rest[:1] == b'"' or not self._ends[rest[0]]):
            text = rest[:20].decode(errors="replace").split("\n")[0]
            raise QuoteError(self._opened, self._position + quote, text)
