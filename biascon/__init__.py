"""biascon: measure how much an image classifier relies on a spurious attribute.

The public names below are imported on first use, so that ``import biascon`` stays light. No public name is
the name of a module: an imported module would take its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from biascon.version import __version__

if TYPE_CHECKING:
    from biascon.auditing import Audit as Audit
    from biascon.auditing import audit as audit
    from biascon.auditing import audit_file as audit_file
    from biascon.auditing.features.api import FeatureAudit as FeatureAudit
    from biascon.auditing.features.api import audit_features as audit_features
    from biascon.config.factory import make_config as make_config
    from biascon.config.run_config import RunConfig as RunConfig
    from biascon.data.bridges.export import export_dataset as export_dataset
    from biascon.data.bridges.torch_dataset import TorchDataset as TorchDataset
    from biascon.data.builders.biased_mnist import BiasedMNISTSpec as BiasedMNISTSpec
    from biascon.data.builders.biased_mnist import make_biased_mnist as make_biased_mnist
    from biascon.data.builders.huggingface import from_huggingface as from_huggingface
    from biascon.data.dataset import BiasedDataset as BiasedDataset
    from biascon.data.dataset import load as load_dataset
    from biascon.evaluation.measurements import measure as measure
    from biascon.evaluation.pipeline import evaluate as evaluate
    from biascon.evaluation.pipeline import evaluate as evaluate_run
    from biascon.evaluation.pipeline import validate as validate
    from biascon.losses import Loss as Loss
    from biascon.losses import get_loss as get_loss
    from biascon.metrics.records import Metric as Metric
    from biascon.metrics.records import MetricSummary as MetricSummary
    from biascon.runs.evaluation import Evaluation as Evaluation
    from biascon.runs.finished import FinishedRun as FinishedRun
    from biascon.runs.finished import RunResult as RunResult
    from biascon.runs.preset_choice import default_preset as default_preset


_PUBLIC = {
    "Audit": "biascon.auditing:Audit",
    "BiasedDataset": "biascon.data.dataset:BiasedDataset",
    "BiasedMNISTSpec": "biascon.data.builders.biased_mnist:BiasedMNISTSpec",
    "Evaluation": "biascon.runs.evaluation:Evaluation",
    "FeatureAudit": "biascon.auditing.features.api:FeatureAudit",
    "FinishedRun": "biascon.runs.finished:FinishedRun",
    "Loss": "biascon.losses:Loss",
    "Metric": "biascon.metrics.records:Metric",
    "MetricSummary": "biascon.metrics.records:MetricSummary",
    "RunConfig": "biascon.config.run_config:RunConfig",
    "RunResult": "biascon.runs.finished:RunResult",
    "TorchDataset": "biascon.data.bridges.torch_dataset:TorchDataset",
    "audit": "biascon.auditing:audit",
    "audit_features": "biascon.auditing.features.api:audit_features",
    "audit_file": "biascon.auditing:audit_file",
    "default_preset": "biascon.runs.preset_choice:default_preset",
    "evaluate": "biascon.evaluation.pipeline:evaluate",
    "export_dataset": "biascon.data.bridges.export:export_dataset",
    "evaluate_run": "biascon.evaluation.pipeline:evaluate",  # the name in earlier versions
    "from_huggingface": "biascon.data.builders.huggingface:from_huggingface",
    "get_loss": "biascon.losses:get_loss",
    "load_dataset": "biascon.data.dataset:load",
    "make_biased_mnist": "biascon.data.builders.biased_mnist:make_biased_mnist",
    "make_config": "biascon.config.factory:make_config",
    "measure": "biascon.evaluation.measurements:measure",
    "validate": "biascon.evaluation.pipeline:validate",
}
__all__ = [
    "Audit", "BiasedDataset", "BiasedMNISTSpec", "Evaluation", "FeatureAudit", "FinishedRun", "Loss",
    "Metric", "MetricSummary", "RunConfig", "RunResult", "TorchDataset", "__version__", "audit",
    "audit_features", "audit_file", "default_preset", "evaluate", "evaluate_run", "export_dataset",
    "from_huggingface", "get_loss", "load_dataset", "make_biased_mnist", "make_config", "measure", "validate",
]  # fmt: skip


if not TYPE_CHECKING:  # a type checker would give every unknown name the type Any

    def __getattr__(name: str) -> Any:
        if name not in _PUBLIC:
            raise AttributeError(f"module 'biascon' has no attribute '{name}'")
        from biascon.utils.entry_points import load

        return load(_PUBLIC[name])


def __dir__() -> list[str]:
    return sorted(__all__)
