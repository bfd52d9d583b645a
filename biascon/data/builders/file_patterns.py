"""Read a table of images from the names of files and folders, by a pattern: ``{label}/{id}_{bias}.png``.

A pattern is a path relative to the folder, with forward slashes. Each field of it is a column of the table:

- ``{name}`` is one or more characters other than a slash, ``{name:#}`` is digits, ``{name:a|b}`` is one of
  some words, and ``{*}`` is any text that becomes no column.
- A field that occurs twice must hold the same text at both places.
- A file is read only if the label, the bias attributes and the split have one reading.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from biascon.data.builders.folder_layouts import NO_IMAGE_SUFFIX
from biascon.data.builders.table_rows import ImageTable, SourceRow, TableSpec, select_rows
from biascon.data.images.file_names import IMAGE_SUFFIXES
from biascon.errors import DataError, UsageError, did_you_mean
from biascon.utils.files import os_error
from biascon.utils.text import quote_some

FILE = "file"  # the column of files of such a table
NO_MATCH, LINKED_FOLDER = "the pattern does not match", "a link to a folder"
NOT_UTF8 = "its name is not UTF-8"
_FIELD = re.compile(r"\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_PASSED_OVER = ("__MACOSX",)  # folders; names that begin with a dot are passed over too


@dataclass(frozen=True)
class FilePattern:
    """A pattern of file names.

    Attributes:
        text: The pattern.
        fields: The names of its fields, each once.
        greedy: The pattern whose fields are as long as possible, from left to right.
        lazy: The pattern whose fields are as short as possible. Both match equally if a name has one reading.
        loose: The pattern whose repeated fields may differ. Its groups are all fields, in order.
        occurrences: The name of every field of ``loose``, "" for ``{*}``.
        segments: The loose patterns of the folders and of the file name.
    """

    text: str
    fields: tuple[str, ...]
    greedy: re.Pattern[str]
    lazy: re.Pattern[str]
    loose: re.Pattern[str]
    occurrences: tuple[str, ...]
    segments: tuple[re.Pattern[str], ...]

    def repeated_field(self, path: str) -> str:
        """Return the first field that has two texts in a path that matches apart from that, or ""."""
        match = self.loose.fullmatch(path)
        found: dict[str, str] = {}
        for name, text in zip(self.occurrences, match.groups() if match else (), strict=False):
            if name and found.setdefault(name, text) != text:
                return name
        return ""


def parse_pattern(text: str) -> FilePattern:
    """Parse a pattern.

    Raises:
        UsageError: It is not a relative path with fields of the known forms.
    """
    parts = text.split("/")
    if not text or any(part in ("", ".", "..") for part in parts) or "\0" in text:
        raise UsageError(
            f"expected a pattern of files below the folder, such as '{{label}}/{{id}}.png', but got '{text}'"
        )
    occurrences = tuple(_parse_field(text, word)[0] for word in _FIELD.findall(text))
    if re.search(r"\{[^{}:]*\}\{[^{}:]*\}", text):  # also slow on long names
        raise UsageError(
            f"expected text between two fields, but got '{text}'; {{id:#}} is a field of digits"
        )
    if re.search(r"[{}]", _FIELD.sub("", text)) or not any(occurrences):
        raise UsageError(f"expected fields such as {{label}} in the pattern, but got '{text}'")
    return FilePattern(
        text,
        tuple(dict.fromkeys(name for name in occurrences if name)),
        re.compile(_compile(text, lazy=False, linked=True)),
        re.compile(_compile(text, lazy=True, linked=True)),
        re.compile(_compile(text, lazy=False, linked=False)),
        occurrences,
        tuple(re.compile(_compile(part, lazy=False, linked=False)) for part in parts),
    )


def _parse_field(text: str, word: str) -> tuple[str, list[str]]:
    """Return the name of a field ("" for ``{*}``) and its words: none, ``["#"]``, or those it may hold."""
    name, colon, words = word.partition(":")
    choices = words.split("|") if colon else []
    if (word == "*" or _NAME.fullmatch(name)) and all(choices):
        return ("" if word == "*" else name), choices
    raise UsageError(
        f"expected fields such as {{label}}, {{id:#}}, {{split:train|test}} or {{*}}, but got '{{{word}}}' "
        f"in the pattern '{text}'"
    )


def _compile(text: str, *, lazy: bool, linked: bool) -> str:
    """Return a pattern, or a part of one, as a regular expression.

    Args:
        text: The pattern.
        lazy: Whether a field is as short as possible.
        linked: Whether a repeated field must hold the same text; the fields are named groups then.
    """
    out, end, seen = [], 0, set()
    for match in _FIELD.finditer(text):
        name, choices = _parse_field(text, match[1])
        words = sorted(choices, key=len, reverse=not lazy)
        many = "+?" if lazy else "+"
        body = {"": f"[^/]{many}", "#": f"[0-9]{many}"}.get("|".join(words)) or "|".join(
            map(re.escape, words)
        )
        if linked and name and name in seen:
            body = f"(?P={name})"
        else:
            body = f"(?P<{name}>{body})" if linked and name else f"({body})"
        out += [re.escape(text[end : match.start()]), body]
        end = match.end()
        seen.add(name)
    return "".join([*out, re.escape(text[end:])])


def read_pattern_table(
    folder: Path, spec: TableSpec, *, inside: Sequence[str] = ("",)
) -> ImageTable:
    """Read a table from the names of the files in a folder.

    A file is read by the first of ``spec.patterns`` that matches. Names that begin with a dot are passed
    over. Files that are not named like a picture, and those of ``spec.ignore``, are left out on purpose.
    Other files that no pattern matches are left out, and so are links to folders.

    Args:
        folder: The folder.
        spec: The settings.
        inside: The subfolders to read, relative to the folder; "" for all of it.

    Raises:
        UsageError: A pattern is malformed or lacks a field, or a name can be read in two ways.
        DataError: No file matches, or the folder cannot be read.
    """
    patterns = [parse_pattern(text) for text in spec.patterns]
    for pattern in patterns:
        missing = [name for name in spec.columns if name not in pattern.fields]
        if missing:
            raise UsageError(
                f"the pattern '{pattern.text}' has no field {{{missing[0]}}}"
                f"{did_you_mean(missing[0], pattern.fields)} (it has: {quote_some(pattern.fields)})"
            )
    links: list[str] = []
    paths = sorted(path for part in inside for path in _list_files(folder, part, links))
    rows: list[SourceRow] = []
    left_out = [(path, LINKED_FOLDER) for path in links]
    dropped: Counter[str] = Counter()
    for number, path in enumerate(paths):
        ignored = next((glob for glob in spec.ignore if fnmatch.fnmatchcase(path, glob)), None)
        if ignored is not None:
            dropped[f"ignored, {ignored}"] += 1
            continue
        texts = _read_path(path, patterns, spec.columns)
        if isinstance(texts, list):
            rows.append(SourceRow(path, number, texts))
        elif path.lower().endswith(IMAGE_SUFFIXES):
            left_out.append((path, texts))
        else:
            dropped[NO_IMAGE_SUFFIX] += 1
    if not rows:
        raise DataError(_explain_no_match(folder, patterns, [path for path, _ in left_out]))
    return select_rows(rows, spec, where=str(folder), sha256={}, left_out=left_out, dropped=dropped)


def _list_files(folder: Path, part: str, links: list[str]) -> list[str]:
    """Return the paths of the files below a folder, relative to it; append links to folders to ``links``."""
    files: list[str] = []
    remaining = [part]
    while remaining:
        inner = remaining.pop()
        try:
            with os.scandir(folder / inner) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name in _PASSED_OVER:
                        continue
                    path = f"{inner}/{entry.name}" if inner else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        remaining.append(path)
                    else:
                        (links if entry.is_dir() else files).append(path)
        except OSError as error:
            raise os_error(error, "read", folder / inner) from error
    return files


def _read_path(
    path: str, patterns: Sequence[FilePattern], columns: Sequence[str]
) -> list[str] | str:
    """Return the texts of the columns in a path, or the reason why it is left out."""
    reason = NO_MATCH
    if not _is_utf8(path):
        return NOT_UTF8
    for pattern in patterns:
        greedy, lazy = pattern.greedy.fullmatch(path), pattern.lazy.fullmatch(path)
        if greedy is None or lazy is None:
            name = pattern.repeated_field(path)
            reason = f"two values of {name}" if name else reason
            continue
        texts, others = ([match[name] for name in columns] for match in (greedy, lazy))
        if texts != others:
            name, one, other = next(
                (n, a, b) for n, a, b in zip(columns, texts, others, strict=True) if a != b
            )
            raise UsageError(
                f"{path} can be read in two ways by '{pattern.text}': {name} is '{one}' or '{other}'; write "
                f"{{field:#}} for a field of digits, or {{{name}:{one}|...}} with all its values"
            )
        return texts
    return reason


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _explain_no_match(folder: Path, patterns: Sequence[FilePattern], paths: Sequence[str]) -> str:
    """Return the message for a folder in which no file matches, with the file that comes nearest."""
    texts = " or ".join(f"'{pattern.text}'" for pattern in patterns)
    start = f"no picture in {folder} matches the pattern {texts}"
    if not paths:
        return f"{start}: it has no file that is named like a picture (links to folders are not followed)"

    def count_equal(path: str, pattern: FilePattern) -> tuple[bool, int]:
        parts = path.split("/")
        pairs = list(zip(parts, pattern.segments, strict=False))
        return (
            len(parts) == len(pattern.segments),
            sum(segment.fullmatch(part) is not None for part, segment in pairs),
        )

    pairs = [(path, pattern) for pattern in patterns for path in paths[:10_000]]
    path, pattern = max(pairs, key=lambda pair: count_equal(*pair))
    parts, wanted = path.split("/"), pattern.text.split("/")
    if len(parts) != len(wanted):
        why = f"it is in {len(parts) - 1} folders, the pattern has {len(wanted) - 1}"
    elif name := pattern.repeated_field(path):
        why = f"it has two values of {name}"
    else:
        differing = zip(parts, wanted, pattern.segments, strict=True)
        got, expected = next(
            ((part, text) for part, text, segment in differing if not segment.fullmatch(part)),
            (path, pattern.text),
        )
        why = f"'{got}' is not '{expected}'"
    return f"{start}; the nearest is {path}: {why}"
