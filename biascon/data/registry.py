"""Registry of dataset builders, one line each. This module reads no data.

Another package registers a builder under the entry point ``biascon.datasets``: a ``Builder`` whose ``command``
names the subcommand and whose ``target`` is that subcommand, a click command. ``biascon list datasets`` then
lists the builder, and ``biascon make-<name>`` runs it. The builder writes a dataset folder with
``biascon.data.dataset.save``, which takes a ``DatasetDescription`` or a mapping with the same keys.
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
    """The entry of a dataset in the registry.

    Attributes:
        classes: The number of classes, as text.
        bias: The bias attributes, as text; ``"none"`` without a bias attribute.
        needs: The files that the builder needs, as text.
        command: The command that builds the dataset, without ``biascon``.
        target: ``"module:attribute"`` of the subcommand, for a builder of another package.
    """

    classes: str
    bias: str
    needs: str
    command: str
    target: str = ""


_COLOR, _NONE = "color, at --rho", "none"

# fmt: off
BUILDERS: dict[str, Builder] = {
    "bmnist": Builder("10", f"{_COLOR}; or background, foreground", "nothing (MNIST, or 5,000 embedded digits)", "make-bmnist"),
    "fashion-bmnist": Builder("10", _COLOR, "FashionMNIST's IDX files, or a network", "make-bmnist --source fashion"),
    "kbmnist": Builder("10", _COLOR, "KMNIST's IDX files, or a network", "make-bmnist --source kmnist"),
    "utkface": Builder("2 (gender)", "race, age", "the cropped images of UTKFace", "make-utkface RAW"),
    "celeba": Builder("2 (an attribute)", "Male, or another of 40", "img_align_celeba and its two lists", "make-celeba RAW"),
    "table": Builder("any", "any columns", "a CSV and its images, or labels in file names", "make-table CSV|FOLDER"),
    "waterbirds": Builder("2", "place", "metadata.csv and its images", "make-waterbirds RAW"),
    "urbancars": Builder("2 (obj)", "bg, co_occur_obj", "the folders of UrbanCars", "make-urbancars RAW"),
    "fairface": Builder("2 (gender), 7, 9", "race, age, gender", "two tables and the images", "make-fairface RAW"),
    "debias": Builder("any", "in the file names", "a set of DisEnt: C-MNIST, Corrupted CIFAR-10, bFFHQ", "make-debias RAW"),
    "bar": Builder("6 (actions)", _NONE, "train and test of BAR", "make-debias RAW"),
    "huggingface": Builder("any", "any columns", "a Hugging Face dataset on disk", "make-huggingface FOLDER"),
    "cifar10": Builder("10", _NONE, "the binary version of CIFAR-10", "make-standard cifar10 RAW"),
    "cifar100": Builder("100", _NONE, "the binary version of CIFAR-100", "make-standard cifar100 RAW"),
    "corrupted-cifar10": Builder("10", "corruption, at --conflicting", "the binary version of CIFAR-10, pictures of frost", "make-cifar-c RAW"),
    "caltech101": Builder("101", _NONE, "101_ObjectCategories", "make-standard caltech101 RAW"),
    "caltech256": Builder("256", _NONE, "256_ObjectCategories", "make-standard caltech256 RAW"),
    "imagenet": Builder("1,000", _NONE, "ILSVRC 2012, train and val", "make-standard imagenet RAW"),
    "folder": Builder("any", _NONE, "train/<class>/*, test/<class>/*", "make-standard folder RAW"),
}
# fmt: on


def list_plugins() -> dict[str, EntryPoint]:
    """Return the entry points of other packages by name. Their modules are not imported."""
    return {
        name: point for name, point in entry_points.plugins(GROUP).items() if name not in BUILDERS
    }


def load_plugin(name: str, point: EntryPoint) -> Builder:
    """Import the builder of another package.

    Raises:
        BiasconError: The import fails, or the object is no ``Builder`` with a target.
    """
    builder: Any = entry_points.resolve("dataset", name, {name: point})
    if not isinstance(builder, Builder) or not builder.target:
        raise BiasconError(
            f"plug-in dataset '{name}' is not a biascon.data.builders.Builder with a target, "
            f"but a {type(builder).__name__}"
        )
    return builder


def find_plugin_command(
    command: str, plugins: Mapping[str, EntryPoint] | None = None
) -> str | None:
    """Return the target of the plug-in that defines a command, or None if no plug-in defines it.

    Args:
        command: The command, ``make-<name>``.
        plugins: Entry points by name, or None for those of the installed packages.

    Raises:
        BiasconError: The import of the plug-in fails, or it is no ``Builder`` with a target.
    """
    name = command.removeprefix("make-")
    plugins = list_plugins() if plugins is None else plugins
    if not command.startswith("make-") or name not in plugins:
        return None
    return load_plugin(name, plugins[name]).target


def list_builders() -> dict[str, Builder]:
    """Return all builders by name, those of other packages last.

    A plug-in that cannot be used is left out, with a warning.
    """
    entry_points.warn_of_shadows("dataset", entry_points.plugins(GROUP), BUILDERS)
    points = list_plugins()
    usable = entry_points.load_usable(
        "dataset", points, lambda name: load_plugin(name, points[name])
    )
    return {**BUILDERS, **usable}
