"""Import torchvision, even if its compiled operators do not match the installed PyTorch.

A package index may hold only a CUDA build of torchvision beside a CPU build of PyTorch. The operators of
torchvision then fail to load, and ``import torchvision`` fails at the first operator. biascon does not use
these operators, which serve object detection. They are therefore declared without an implementation, so that
the models and the datasets of torchvision can be imported.
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
from biascon.utils.packages import missing_packages

_MISSING = re.compile(r"operator torchvision::(\w+) does not exist")
_LIMIT = 50  # attempts; torchvision has about ten operators


@functools.cache
def import_torchvision() -> ModuleType:
    """Import and return torchvision.

    Raises:
        MissingPackageError: torchvision is not installed.
        BiasconError: The installed torchvision does not fit the installed PyTorch.
    """
    for _ in range(_LIMIT):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return importlib.import_module("torchvision")
        except ModuleNotFoundError as error:
            if error.name != "torchvision":
                raise
            raise missing_packages(["torchvision"], "an encoder of torchvision") from error
        except RuntimeError as error:
            missing = _MISSING.search(str(error))
            if missing is None:
                raise
            for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
                del sys.modules[name]
            library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
            library.define(f"{missing[1]}(Tensor boxes, Tensor scores, float threshold) -> Tensor")  # type: ignore[no-untyped-call]
            _KEPT.append(library)
    raise BiasconError("torchvision does not fit the installed torch; reinstall the two together")


_KEPT: list[torch.library.Library] = []  # the declarations of a library live as long as the object
