"""biascon: measure whether a model leans on a bias, and whether a contrastive loss cures it.

The public names below are imported on first use, so that ``import biascon`` stays light. None is the name
of a module, which would take its place as soon as it is imported.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "get_loss": "biascon.losses:get_loss",
    "load_dataset": "biascon.data.dataset:load",
    "make_biased_mnist": "biascon.data.builders.biased_mnist:make_biased_mnist",
    "make_config": "biascon.config.run_config:make_config",
    "evaluate_run": "biascon.evaluation.pipeline:evaluate",
    "measure": "biascon.evaluation.measurements:measure",
    "audit": "biascon.auditing:audit",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'biascon' has no attribute '{name}'")
    from biascon.utils.entry_points import load

    return load(_PUBLIC[name])


def __dir__() -> list[str]:
    return sorted(__all__)
