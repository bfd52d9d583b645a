"""Compile the resizing kernel ``resample.c`` to a shared library beside it.

``pip install`` of biascon from its source does this if there is a C compiler (``hatch_build.py``). Without
the library, Pillow resizes the images: the same pixels, in more time. This file imports nothing of biascon,
for it runs before biascon is installed. To compile the library later::

    python -m biascon.data.images.compile_kernel
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import zlib
from pathlib import Path

SOURCE = Path(__file__).with_name("resample.c")
LIBRARY = Path(__file__).with_name("_resample.so")
FLAGS = ("-O3", "-fPIC", "-shared")
COMPILE_SECONDS = 120  # a compiler that takes longer is ended


def source_crc() -> int:
    """Return the CRC-32 of the source. The library holds it, so that one of another source is not used."""
    return zlib.crc32(SOURCE.read_bytes())


def compile_kernel(library: Path = LIBRARY) -> str:
    """Compile the kernel with ``$CC``, or ``cc``.

    Args:
        library: The file to write. It is replaced only if the compiler succeeds.

    Returns:
        "" after success, otherwise the reason why there is no library, in one line.
    """
    if os.name != "posix":
        return "the kernel is compiled on Linux and macOS only"
    compiler = shlex.split(os.environ.get("CC") or "cc")
    new = library.with_name(f"{library.name}.{os.getpid()}.new")
    try:
        result = subprocess.run(
            [*compiler, *FLAGS, f"-DSOURCE_CRC={source_crc()}u", "-o", str(new), str(SOURCE)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMPILE_SECONDS,
            check=False,
        )
        if result.returncode:
            lines = [line for line in result.stderr.splitlines() if line.strip()]
            return f"{shlex.join(compiler)} failed: {lines[0] if lines else result.returncode}"
        new.replace(library)
    except (OSError, subprocess.SubprocessError) as error:
        return f"cannot run {shlex.join(compiler)}: {error}"
    finally:
        new.unlink(missing_ok=True)
    return ""


def main() -> int:
    """Compile the kernel, print where it is or why there is none, and return the exit code."""
    reason = compile_kernel()
    print(reason or f"{LIBRARY}: compiled", file=sys.stderr if reason else sys.stdout)
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main())
