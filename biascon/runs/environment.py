"""The environment of a run: versions, system and device."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from typing import Any

from biascon.utils.devices import count_cpus
from biascon.version import __version__

_PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pandas")


def package_versions() -> dict[str, str]:
    """Return the versions of biascon, of Python, and of the installed packages that a run uses."""
    found = {name: _package_version(name) for name in _PACKAGES}
    versions = {name: version for name, version in found.items() if version is not None}
    return {"biascon": __version__, "python": sys.version.split()[0], **versions}


def describe_environment(device: str) -> dict[str, Any]:
    """Return versions, system and device: times and last digits depend on them."""
    import torch

    from biascon.utils.distributed import world_size

    environment: dict[str, Any] = {
        "biascon": __version__,
        "python": sys.version.split()[0],
        "packages": {name: _package_version(name) for name in _PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "device": device,
        "cores": count_cpus(),
        "threads": torch.get_num_threads(),
        "processes": world_size(),
        "vector": torch.backends.cpu.get_cpu_capability(),
    }
    if device.startswith("cuda"):
        environment["accelerator"] = torch.cuda.get_device_name(torch.device(device))
    return environment


def _package_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
