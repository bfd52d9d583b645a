"""torchvision, also where its compiled operators do not match the installed PyTorch.

A package index may hold torchvision only as built for CUDA while PyTorch is a CPU build. Its
operators then do not load and ``import torchvision`` fails on the first of them. Nothing here uses
those operators (they serve detection), so they are declared, and the models and the datasets work.
"""

from __future__ import annotations

import functools
import importlib
import re
import sys
import warnings
from types import ModuleType

import torch

from biascon.errors import BiasconError

_MISSING = re.compile(r"operator torchvision::(\w+) does not exist")
_LIMIT = 50  # torchvision has some ten operators; a message that repeats must not loop for ever


@functools.cache
def import_torchvision() -> ModuleType:
    """Import and return torchvision."""
    for _ in range(_LIMIT):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return importlib.import_module("torchvision")
        except RuntimeError as error:
            missing = _MISSING.search(str(error))
            if missing is None:
                raise
            for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
                del sys.modules[name]
            library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
            library.define(f"{missing[1]}(Tensor boxes, Tensor scores, float threshold) -> Tensor")  # type: ignore[no-untyped-call]
            _KEPT.append(library)
    raise BiasconError("torchvision does not fit the installed torch; reinstall the two together")


_KEPT: list[torch.library.Library] = []  # a library's definitions live as long as the object
