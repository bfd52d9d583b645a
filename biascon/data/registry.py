"""The datasets that biascon builds: a line each, and nothing that reads data.

An outside package registers one under the entry point ``biascon.datasets``: a ``Builder`` whose ``command``
names the subcommand and whose ``target`` is that subcommand, a click command. It is then listed, and
``biascon make-<name>`` runs it. It writes a dataset folder with ``biascon.data.dataset.save``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any

from biascon.errors import BiasconError
from biascon.utils import entry_points

GROUP = "biascon.datasets"


@dataclass(frozen=True)
class Builder:
    """What is known of a dataset before it is built.

    Attributes:
        classes: How many, in words.
        bias: Its bias attributes, in words; ``"none"`` where it has none.
        needs: What must be on the disk.
        command: The command that builds it, without ``biascon``.
        target: Of an outside package: ``"module:attribute"`` of the subcommand.
    """

    classes: str
    bias: str
    needs: str
    command: str
    target: str = ""


_COLOR, _NONE = "color, at --rho", "none"

# fmt: off
BUILDERS: dict[str, Builder] = {
    "bmnist": Builder("10", _COLOR, "nothing (MNIST, or 5,000 embedded digits)", "make-bmnist"),
    "fashion-bmnist": Builder("10", _COLOR, "FashionMNIST's IDX files, or a network", "make-bmnist --source fashion"),
    "kbmnist": Builder("10", _COLOR, "KMNIST's IDX files, or a network", "make-bmnist --source kmnist"),
    "utkface": Builder("2 (gender)", "race, age", "UTKFace's cropped pictures", "make-utkface RAW"),
    "celeba": Builder("2 (an attribute)", "Male, or another of 40", "img_align_celeba and its two lists", "make-celeba RAW"),
    "table": Builder("any", "any columns", "a CSV and its pictures", "make-table CSV"),
    "cifar10": Builder("10", _NONE, "CIFAR-10's binary version", "make-standard cifar10 RAW"),
    "cifar100": Builder("100", _NONE, "CIFAR-100's binary version", "make-standard cifar100 RAW"),
    "caltech101": Builder("101", _NONE, "101_ObjectCategories", "make-standard caltech101 RAW"),
    "caltech256": Builder("256", _NONE, "256_ObjectCategories", "make-standard caltech256 RAW"),
    "imagenet": Builder("1,000", _NONE, "ILSVRC 2012, train and val", "make-standard imagenet RAW"),
    "folder": Builder("any", _NONE, "train/<class>/*, test/<class>/*", "make-standard folder RAW"),
}
# fmt: on


def list_plugins() -> dict[str, EntryPoint]:
    """Return the entry points of installed packages by name; nothing is imported, no name is taken."""
    return {
        name: point for name, point in entry_points.plugins(GROUP).items() if name not in BUILDERS
    }


def load_plugin(name: str, point: EntryPoint) -> Builder:
    """Return what an installed package says of its dataset.

    Raises:
        BiasconError: It fails to import, or is no ``Builder`` with a target.
    """
    found: Any = entry_points.resolve("dataset", name, {name: point})
    if not isinstance(found, Builder) or not found.target:
        raise BiasconError(
            f"plug-in dataset '{name}' is not a biascon.data.builders.Builder with a target, "
            f"but a {type(found).__name__}"
        )
    return found


def plugin_command(command: str, found: Mapping[str, EntryPoint] | None = None) -> str | None:
    """Return the ``"module:attribute"`` behind ``make-<name>`` of an installed package, None of no other.

    Raises:
        BiasconError: The package fails to import, or is not a dataset.
    """
    name = command.removeprefix("make-")
    found = list_plugins() if found is None else found
    if not command.startswith("make-") or name not in found:
        return None
    return load_plugin(name, found[name]).target


def list_builders() -> dict[str, Builder]:
    """Return all builders, those of installed packages last."""
    return {**BUILDERS, **{name: load_plugin(name, p) for name, p in list_plugins().items()}}
