"""``biascon list spaces``: the search spaces of tuning studies as a table or as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from biascon.cli.output import format_table

if TYPE_CHECKING:
    from biascon.tuning.space import Method


def describe_spaces(loss: str | None, preset: str, *, as_json: bool = False) -> str:
    """Return the search space of one loss, or of all losses.

    Args:
        loss: The name of the loss; None for all.
        preset: The preset that the shared parameters are relative to.
        as_json: Whether the text is JSON: the methods by name, as in the table of a study.

    Raises:
        UsageError: A name is unknown.
    """
    from biascon.losses import usable_losses
    from biascon.tuning.space import make_method

    names = list(usable_losses()) if loss is None else [loss]
    methods = [make_method(name, name, preset) for name in names]
    if as_json:
        spaces = {method.loss: method.to_json() for method in methods}
        return json.dumps({"preset": preset, "methods": spaces})
    return _describe_one(methods[0]) if loss is not None else _describe_all(methods)


def _describe_one(method: Method) -> str:
    from biascon.tuning.space import SHARED

    rows = [
        [key, distribution.describe(), "yes" if key in SHARED else "no"]
        for key, distribution in method.space.items()
    ]
    return format_table(["parameter", "distribution", "shared"], rows, left=3)


def _describe_all(methods: list[Method]) -> str:
    """Return a table of the shared parameters and one of the own parameters of each method."""
    from biascon.tuning.space import SHARED, TEMPERATURE

    shared, own = [], []
    for key in SHARED:
        first = next((method for method in methods if key in method.space), None)
        if first is not None:
            shared.append([key, first.space[key].describe()])
    for method in methods:
        rows = [(key, value) for key, value in method.space.items() if key not in SHARED]
        own += [[method.loss, key, value.describe()] for key, value in rows]
    without = [m.loss for m in methods if not set(m.space) - set(SHARED)]
    cold = [m.loss for m in methods if TEMPERATURE not in m.space]
    return "\n".join(
        [
            format_table(["shared parameter", "distribution"], shared, left=2),
            "",
            f"without {TEMPERATURE}: {', '.join(cold)}",
            "",
            format_table(["method", "own parameter", "distribution"], own, left=3),
            "",
            f"without own parameters: {', '.join(without)}",
        ]
    )
