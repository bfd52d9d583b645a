"""The environment of a run: versions, system, device, processor and code path.

The last bits of a sum depend on the instructions that compute it. Training makes this difference grow to some
tenths of a point of accuracy. A run therefore states its processor and its code path: the vector instructions
that PyTorch, oneDNN and MKL choose by the processor, or by the environment variables that limit them.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from biascon.utils.devices import count_cpus
from biascon.version import __version__

# Environment variables that limit the vector instructions of a library.
_CODE_PATH_LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR")
_PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pandas")


def package_versions() -> dict[str, str]:
    """Return the versions of biascon, of Python, and of the installed packages that a run uses."""
    found = {name: _package_version(name) for name in _PACKAGES}
    versions = {name: version for name, version in found.items() if version is not None}
    return {"biascon": __version__, "python": sys.version.split()[0], **versions}


@dataclass(frozen=True)
class Processor:
    """The processor and the code path that computed a run.

    Attributes:
        model: The vendor and the name, or the kind of machine where the system does not tell it; empty for a
            run of an earlier version.
        code_path: The vector instructions of PyTorch, and the limits of oneDNN and MKL if they are set.
    """

    model: str
    code_path: str

    def describe(self) -> str:
        """Return both in a line."""
        return f"{self.model or 'unknown processor'}, {self.code_path}"


def find_processor() -> Processor:
    """Return the processor of this machine and the code path of this process."""
    import torch

    parts = [f"PyTorch {torch.backends.cpu.get_cpu_capability()}"]
    parts += [f"{name}={os.environ[name]}" for name in _CODE_PATH_LIMITS if os.environ.get(name)]
    return Processor(_processor_model(), " ".join(parts))


def read_processor(environment: Mapping[str, Any]) -> Processor:
    """Return the processor that an ``environment.json`` states."""
    vector = f"PyTorch {environment.get('vector', 'unknown')}"
    model, path = environment.get("processor", ""), environment.get("code_path", vector)
    return Processor(str(model), str(path))


def describe_other_processor(environment: Any) -> str | None:
    """Return the processor of a run if it is another one than that of this process, else None.

    Runs on another kind of device, and runs of earlier versions with the same vector instructions, give None.
    """
    if not isinstance(environment, Mapping):  # a damaged file
        return None
    stated, own = read_processor(environment), find_processor()
    if not stated.model:
        stated = Processor(own.model, stated.code_path)
    is_cpu = environment.get("device", "cpu") == "cpu"
    return stated.describe() if is_cpu and stated != own else None


def _processor_model() -> str:
    """Return the vendor and the name of the processor, as far as the system tells them."""
    wanted = {"vendor_id": "", "model name": "", "cpu family": "", "model": ""}
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = (part.strip() for part in line.partition(":"))
            if not key and wanted["vendor_id"]:
                break  # the second core
            if key in wanted:
                wanted[key] = value
    except (OSError, ValueError):
        pass
    if not wanted["vendor_id"]:
        return platform.processor() or platform.machine()
    number = f"family {wanted['cpu family']} model {wanted['model']}"
    return f"{wanted['vendor_id']} {wanted['model name']} ({number})"


def describe_environment(device: str) -> dict[str, Any]:
    """Return versions, system and device: times and last digits depend on them."""
    import torch

    from biascon.utils.distributed import world_size

    processor = find_processor()
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
        "processor": processor.model,
        "code_path": processor.code_path,
    }
    if device.startswith("cuda"):
        environment["accelerator"] = torch.cuda.get_device_name(torch.device(device))
    return environment


def _package_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
