"""``SHA256SUMS`` of a report: the SHA-256 of each of its files, in the format of ``sha256sum --check``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from biascon.errors import BiasconError, DataError
from biascon.utils.files import sha256_file

CHECKSUMS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  ([^/\\\0]+(?:/[^/\\\0]+)?)")


def add_checksums(out: Path, files: Mapping[str, bytes | str]) -> dict[str, bytes | str]:
    """Return the files of a report with their ``SHA256SUMS``.

    Files of an earlier report in the same folder keep their lines, unless they are gone or are written again.

    Args:
        out: The folder of the report.
        files: The content of each file, by its name relative to ``out``.
    """
    try:
        earlier = read_checksums(out)
    except BiasconError:
        earlier = {}
    sums = {name: value for name, value in earlier.items() if (out / name).is_file()}
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        sums[name] = hashlib.sha256(data).hexdigest()
    lines = [f"{value}  {name}\n" for name, value in sorted(sums.items())]
    return {**files, CHECKSUMS: "".join(lines)}


def read_checksums(out: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a report, by name; empty if the folder has no ``SHA256SUMS``.

    Raises:
        DataError: The file cannot be read, or has another content.
    """
    path = out / CHECKSUMS
    if not path.is_file():
        return {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    sums = {}
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None or ".." in match[2].split("/"):
            raise DataError(f"{path} is damaged; write the report again")
        sums[match[2]] = match[1]
    return sums


def changed_files(out: Path) -> list[str]:
    """Return what is wrong with the files of a report, a text each.

    Raises:
        DataError: ``SHA256SUMS`` is damaged.
    """
    problems = []
    for name, stated in sorted(read_checksums(out).items()):
        path = out / name
        if not path.is_file():
            problems.append(f"{path} is missing; write the report again")
        elif sha256_file(path) != stated:
            problems.append(f"{path} has changed since it was written; write the report again")
    return problems
