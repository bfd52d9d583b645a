"""Use wheels of a folder without pip: unpack those that fit this Python, for packages that are missing."""

from __future__ import annotations

import platform
import re
import shutil
import sys
import zipfile
import zlib
from importlib import metadata
from pathlib import Path

from biascon.errors import DataError

_NAME = re.compile(
    r"(?P<name>[^-]+)-(?P<version>[^-]+)(-\d[^-]*)?-(?P<python>[^-]+)-(?P<abi>[^-]+)-(?P<system>[^-]+)"
)


def fits(wheel: str) -> bool:
    """Return whether a wheel fits this interpreter and system, by the tags in its file name."""
    match = _NAME.fullmatch(wheel.removesuffix(".whl"))
    if match is None:
        return False
    return (
        any(map(_fits_system, match["system"].split(".")))
        and any(_fits_abi(abi) for abi in match["abi"].split("."))
        and any(_fits_python(tag, match["abi"]) for tag in match["python"].split("."))
    )


def _fits_python(tag: str, abi: str) -> bool:
    own = sys.version_info.minor
    kind, version = tag[:2], tag[2:]
    if kind == "py":
        return version in ("3", f"3{own}")
    if kind != "cp" or not version.startswith("3") or not version[1:].isdecimal():
        return False
    minor = int(version[1:])
    return minor == own or (abi == "abi3" and minor <= own)


def _fits_abi(abi: str) -> bool:
    return abi in ("none", "abi3", f"cp3{sys.version_info.minor}")


def _fits_system(system: str) -> bool:
    if system == "any":
        return True
    is_linux = sys.platform == "linux" and system.startswith(("manylinux", "linux"))
    return is_linux and system.endswith(platform.machine())


def unpack_missing(wheels: Path, target: Path) -> list[str]:
    """Unpack the wheels of packages that are not installed; return the names of the packages.

    Args:
        wheels: The folder of wheels.
        target: An empty folder, which then goes on ``sys.path``.

    Raises:
        OSError: The folder cannot be read.
        DataError: A wheel is damaged.
    """
    unpacked: list[str] = []
    for path in sorted(wheels.glob("*.whl"), reverse=True):  # of two versions, mostly the newer one
        name = path.name.partition("-")[0]
        if not fits(path.name) or name in unpacked or _is_installed(name):
            continue
        try:
            with zipfile.ZipFile(path) as archive:
                archive.extractall(target)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise DataError(f"the wheel {path} is damaged: {error}") from error
        unpacked.append(name)
    for part in target.glob("*.data/*lib"):  # purelib, platlib
        shutil.copytree(part, target, dirs_exist_ok=True)
    return sorted(unpacked)


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name.replace("_", "-"))
    except metadata.PackageNotFoundError:
        return False
    return True
