"""Errors of pyarrow about damaged files, as one line that names the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from biascon.errors import DataError

_TO_UTF8 = "; convert it, such as iconv -f LATIN1 -t UTF-8 FILE (pandas: read_csv(..., encoding='latin-1'))"


@contextmanager
def convert_errors(name: str) -> Iterator[None]:
    """Convert the errors of reading a damaged file to ``DataError``.

    Args:
        name: What the message calls the file.
    """
    import pyarrow as pa

    try:
        yield
    except UnicodeError as error:
        raise DataError(f"cannot read {name}: it is not UTF-8 text{_TO_UTF8}") from error
    except (pa.ArrowException, OSError, EOFError, OverflowError) as error:
        # pyarrow raises the same class for all of these, so only its message tells them apart.
        message = " ".join(str(error).split()) or type(error).__name__
        if "utf8" in message.lower():
            message = f"it is not UTF-8 text ({message[:150]}){_TO_UTF8}"
        elif "Empty CSV" in message:
            message = "it has no rows"
        elif "straddling" in message:
            message = "a row is longer than a part of the file (8 MiB)"
        raise DataError(f"cannot read {name}: {message[:300]}") from error
