"""Build hook of hatchling: compile the resizing kernel while a wheel is built or biascon is installed.

Without a C compiler the wheel has no kernel: Pillow then resizes the images, with the same pixels in more
time. ``BIASCON_NO_KERNEL=1`` builds a wheel without the kernel, for every platform.
"""

from __future__ import annotations

import os
import runpy
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = "biascon/data/images"


class KernelBuildHook(BuildHookInterface):
    """Adds the compiled kernel to the wheel, or puts it beside the source of an editable installation."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the kernel."""
        if os.environ.get("BIASCON_NO_KERNEL"):
            return
        compiler = runpy.run_path(str(Path(self.root, FOLDER, "compile_kernel.py")))
        library: Path = compiler["LIBRARY"]
        if version != "editable":
            self.folder = tempfile.TemporaryDirectory()
            library = Path(self.folder.name, library.name)
        reason = compiler["compile_kernel"](library)
        if reason:
            self.app.display_warning(f"no resizing kernel, so Pillow resizes images: {reason}")
        elif version != "editable":
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["force_include"][str(library)] = f"{FOLDER}/{library.name}"
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform}"
