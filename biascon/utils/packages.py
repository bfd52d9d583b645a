"""Which packages are installed, and one error that names all that are missing.

A command names the packages that it needs before its first step, so that a run does not train to its end and
then fail at an import.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping

from biascon.errors import MissingPackageError

# The names of packages in an index, where they differ from the names of their modules.
_INSTALL_NAMES = {"PIL": "pillow", "sklearn": "scikit-learn"}


def find_missing(modules: Iterable[str]) -> list[str]:
    """Return the top-level modules that are not installed. No module is imported.

    Args:
        modules: Names of top-level modules.
    """
    return [module for module in modules if not _is_installed(module)]


def _is_installed(module: str) -> bool:
    if module in sys.modules:
        return sys.modules[module] is not None
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False


def check_installed(
    modules: Iterable[str], purpose: str, sometimes: Mapping[str, str] | None = None
) -> None:
    """Raise an error of one line if packages are missing.

    Args:
        modules: The top-level modules that are needed.
        purpose: What needs them, for the message.
        sometimes: Modules that only some uses need, with these uses. They are named in the message if they
            are missing too.

    Raises:
        MissingPackageError: A module of ``modules`` is not installed.
    """
    missing = find_missing(modules)
    if not missing:
        return
    uses = sometimes or {}
    also = [f"{install_name(module)} ({uses[module]})" for module in find_missing(uses)]
    hint = f"; also missing, for some uses: {', '.join(also)}" if also else ""
    raise missing_packages(missing, purpose, hint)


def import_modules(modules: Iterable[str], purpose: str) -> None:
    """Import modules that a run needs only at its end.

    Args:
        modules: Names of modules.
        purpose: What needs them, for the message.

    Raises:
        MissingPackageError: A module is not installed, or fails to import.
    """
    missing, reasons = [], []
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            top = module.partition(".")[0]
            missing.append(top)
            if _is_installed(top):
                reasons.append(f"{module} fails to import: {error}")
    if missing:
        raise missing_packages(missing, purpose, "".join(f"; {reason}" for reason in reasons))


def missing_packages(modules: Iterable[str], purpose: str, hint: str = "") -> MissingPackageError:
    """Return the error for missing packages.

    Args:
        modules: The top-level modules.
        purpose: What needs them.
        hint: More text, before the command that installs them.
    """
    names = " ".join(install_name(module) for module in modules)
    return MissingPackageError(
        f"{purpose} needs packages that are not installed: {names.replace(' ', ', ')}{hint}; "
        f"install them with: pip install {names}"
    )


def install_name(module: str) -> str:
    """Return the name of the package that holds a top-level module.

    >>> install_name("sklearn"), install_name("torch")
    ('scikit-learn', 'torch')
    """
    return _INSTALL_NAMES.get(module, module)
