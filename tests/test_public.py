"""The public names: light to import, and the same whatever was imported before."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import biascon

NAMES = [name for name in biascon.__all__ if name != "__version__"]


def test_no_public_name_is_that_of_a_module() -> None:
    modules = {module.name for module in pkgutil.iter_modules(biascon.__path__)}
    assert not modules & set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_a_function_each_time(name: str) -> None:
    first = getattr(biascon, name)
    assert callable(first)
    assert getattr(biascon, name) is first
    assert name in dir(biascon)


def test_importing_the_package_imports_nothing_heavy() -> None:
    script = (
        "import sys, biascon; print([m for m in ('torch', 'numpy', 'click') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_another_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = biascon.nothing
