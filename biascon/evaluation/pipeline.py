"""From a configuration to an evaluation: train, fit classifiers, predict the test split, measure.

The training split trains the encoder and the classifiers. The validation split is for the choice between
recipes: ``validate`` measures on it and reads nothing of the test split. The test split is read once, after
everything is fixed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from biascon.config.method_settings import resolve_parameters
from biascon.config.resolve import resolve_weights
from biascon.config.run_config import RunConfig
from biascon.data.dataset import BiasedDataset
from biascon.evaluation.features import two_view_features
from biascon.evaluation.joint_bias import measure_joint
from biascon.evaluation.measurements import (
    measure,
    measure_accuracies,
    measure_calibration,
    measure_top5,
)
from biascon.evaluation.monitor import build_monitor
from biascon.evaluation.protocols import EncoderEvaluation, FittedClassifier, fit_classifiers
from biascon.evaluation.record import (
    build_identity,
    build_protocol,
    encoder_reference,
    predictions_to_parquet,
)
from biascon.evaluation.representation import measure_representation
from biascon.evaluation.transfer import EncoderSource, copy_encoder
from biascon.runs.computing import compute, evaluate_trained
from biascon.runs.context import EpochCallback, RunContext, ignore_epoch
from biascon.runs.evaluation import Evaluation, FeatureMetrics, OtherClassifier
from biascon.runs.finished import FinishedRun, RunResult
from biascon.runs.folder import (
    DONE,
    EVALUATION,
    FEATURES,
    PREDICTIONS,
    UNFINISHED,
    check_seal,
    lock_folder,
    mark_finished,
    read_seal,
    read_selected_images,
    write_artifacts,
)
from biascon.runs.records import Accuracies
from biascon.runs.restart import start_again
from biascon.runs.seals import Check
from biascon.training.checks import check_images, check_run
from biascon.training.network import TrainedNetwork
from biascon.training.run_size import check_run_size
from biascon.training.stages import first_stage_contexts, get_or_train
from biascon.utils.distributed import (
    barrier,
    decide,
    is_main_process,
    world_size,
)
from biascon.utils.files import pretty_json
from biascon.utils.packages import import_modules
from biascon.utils.types import Array

# What is imported at the end of a run, after hours of training; the linear probe needs the first alone.
IMPORTED_LATE = (
    "sklearn.linear_model",
    "scipy.stats",
    "pandas",
    "pyarrow.parquet",
)


def evaluate(
    config: RunConfig,
    data: BiasedDataset,
    *,
    root: Path = Path("runs"),
    device: torch.device,
    resume: bool = True,
    on_epoch: EpochCallback = ignore_epoch,
    source: EncoderSource | None = None,
    keep_features: bool = True,
    recompute: bool = False,
) -> RunResult:
    """Return the folder and the evaluation of a run; compute what is missing.

    A finished run is only read. An interrupted run resumes from its last checkpoint. With several processes
    (``biascon.utils.distributed``) all of them train, the first one evaluates, and the others get a result
    without an evaluation.

    Args:
        config: The configuration of the run.
        data: The dataset, with ``train`` and ``test``; ``val`` is measured too where the dataset has it.
        root: The folder of all runs.
        device: The device to compute on.
        resume: Whether an interrupted run resumes from its last epoch. Otherwise it starts again.
        on_epoch: Called with the record of each epoch.
        source: The run whose encoder is used instead of training one (``biascon.evaluation.transfer``).
        keep_features: Whether the finished run keeps its features. The run and its digest are the same
            without.
        recompute: Whether a file of an interrupted run that was found damaged is computed again.

    Raises:
        BiasconError: The folder is not writable, in use, or damaged; or training diverged.
        MissingPackageError: A package is not installed that the evaluation needs.
    """
    context = _prepare(config, data, root, device, resume, on_epoch, source)
    context = dataclasses.replace(context, keep_features=keep_features, recompute=recompute)
    finished = _read_finished(context)
    if finished is not None:
        return finished
    import_modules(IMPORTED_LATE, "an evaluation")
    with _lock(context):
        # Another command may have finished the run in between.
        finished = _read_finished(context) if world_size() == 1 else None
        if finished is not None:
            return finished
        network = _get_network(context, source)
        if not is_main_process():
            return RunResult(context.folder, None, reused=False)
        with evaluate_trained(context):
            encoder = EncoderEvaluation(context, network)
            classifiers = fit_classifiers(encoder)
            scores = classifiers[0].predict_proba("test")
            evaluation = _measure(encoder, classifiers, scores, source)
            _write_results(context, evaluation, scores)
    return RunResult(context.folder, evaluation, reused=False)


def train_network(
    config: RunConfig,
    data: BiasedDataset,
    *,
    root: Path = Path("runs"),
    device: torch.device,
    resume: bool = True,
    on_epoch: EpochCallback = ignore_epoch,
    recompute: bool = False,
) -> RunConfig:
    """Train the network of a run where it is missing, in all processes, and evaluate nothing.

    ``evaluate`` or ``validate``, with the configuration that is returned and with ``resume``, then reads the
    network. One process is enough for that.

    Args:
        config: The configuration of the run.
        data: The dataset, with ``train``.
        root: The folder of all runs.
        device: The device of this process.
        resume: Whether an interrupted run resumes from its last epoch. Otherwise it starts again.
        on_epoch: Called with the record of each epoch.
        recompute: Whether a file of an interrupted run that was found damaged is computed again.

    Returns:
        The configuration of the run, with the number of processes.

    Raises:
        BiasconError: The folder is not writable, in use, or damaged; or training diverged.
    """
    context = _prepare(config, data, root, device, resume, on_epoch, None)
    context = dataclasses.replace(context, recompute=recompute)
    if not decide((context.folder / DONE).is_file()):
        with _lock(context):
            get_or_train(context)
    return context.config


def validate(
    config: RunConfig,
    data: BiasedDataset,
    *,
    root: Path = Path("runs"),
    device: torch.device,
    resume: bool = True,
    on_epoch: EpochCallback = ignore_epoch,
    recompute: bool = False,
) -> tuple[Path, Accuracies | None]:
    """Train what is missing; return the run folder and the accuracies on the validation split, if any.

    ``data`` may lack its test split: it is not read. With several processes
    (``biascon.utils.distributed``) all of them train and the first one measures. ``recompute`` is that of
    ``evaluate``.
    """
    context = _prepare(config, data, root, device, resume, on_epoch, None)
    context = dataclasses.replace(context, recompute=recompute)
    import_modules(IMPORTED_LATE[:1], "a linear probe")
    with _lock(context):
        seal = read_seal(context.folder) if is_main_process() else None
        if seal is not None:
            check_seal(context.folder, seal, Check.FULL)
        network = get_or_train(context)
        if not is_main_process():
            return context.folder, None
        with evaluate_trained(context):
            classifiers = fit_classifiers(EncoderEvaluation(context, network))
        return context.folder, classifiers[0].validation


def _prepare(
    config: RunConfig,
    data: BiasedDataset,
    root: Path,
    device: torch.device,
    resume: bool,
    on_epoch: EpochCallback,
    source: EncoderSource | None,
) -> RunContext:
    """Check a run before anything is written, and return its context with the configuration resolved."""
    manifest = data.manifest
    config = resolve_parameters(config, manifest.builder, manifest.parameters)
    if source is None:
        check_run(config, data)
        config = resolve_weights(config).for_device(device.type, world_size())
    else:
        check_images(config, data)
        config = config.for_evaluation(device.type)
    if device.type == "cpu":
        torch.set_num_threads(config.train.threads)
    context = RunContext(config, data, root, device, resume, on_epoch, build_monitor)
    if source is None:
        first_stage_contexts(context)  # refuses a first-stage network that cannot be trained
    return context


def _read_finished(context: RunContext) -> RunResult | None:
    run = FinishedRun.read(context.folder, context.digest)
    if run is None:
        return None
    return RunResult(run.folder, run.evaluation, reused=True, other_processor=run.other_processor)


@contextmanager
def _lock(context: RunContext) -> Iterator[None]:
    """Lock the run folder, and set how the run is computed; the first process locks for all of them."""
    check_run_size(context)
    lock = lock_folder(context.folder) if is_main_process() else nullcontext()
    with lock, compute(context):
        if is_main_process():
            start_again(context.folder, resume=context.resume, recompute=context.recompute)
        barrier()
        yield


def _get_network(context: RunContext, source: EncoderSource | None) -> TrainedNetwork:
    """Return the trained network of a run, or that of the run whose encoder it takes."""
    if source is None:
        return get_or_train(context)
    if is_main_process():
        network = copy_encoder(source, context)
    barrier()
    return network if is_main_process() else copy_encoder(source, context)


def _measure(
    encoder: EncoderEvaluation,
    classifiers: Sequence[FittedClassifier],
    scores: Array,
    source: EncoderSource | None,
) -> Evaluation:
    """Return every number of a run on the test split.

    Args:
        encoder: The trained network and its run.
        classifiers: The classifier of the headline numbers, then the others.
        scores: ``(N, K)``, the probabilities of the headline classifier for the test split.
        source: The run whose encoder was taken instead of training one.
    """
    context = encoder.context
    data, headline = context.data, classifiers[0]
    test, predictions = data.splits["test"], scores.argmax(axis=1)
    others = [
        OtherClassifier(
            classifier.kind,
            measure_accuracies(test, classifier.predict_proba("test").argmax(axis=1), data),
        )
        for classifier in classifiers[1:]
    ]
    return Evaluation(
        identity=build_identity(context, headline, source),
        protocol=build_protocol(context, headline),
        fit_info=headline.fit_info,
        validation=headline.validation,
        other_classifiers=others,
        encoder_from=encoder_reference(context),
        features=_measure_features(encoder),
        summary=measure(data, "test", predictions, seed=context.config.seed),
        top5=measure_top5(test.labels, scores),
        calibration=measure_calibration(test, scores, data.n_bias),
        selected_images=read_selected_images(context.folder),
        joint_bias=measure_joint(data, "test", predictions),
    )


def _measure_features(encoder: EncoderEvaluation) -> FeatureMetrics:
    """Measure the features of the test split, with probes fitted on the validation split if there is one."""
    context = encoder.context
    config, data = context.config, context.data
    fitted = (encoder.features("val"), data.splits["val"]) if "val" in data.splits else None
    test = data.splits["test"]
    views = two_view_features(
        encoder.network.encoder,
        test.images,
        config.augment,
        seed=config.seed,
        device=context.device,
    )
    with threadpool_limits(config.train.threads):
        return measure_representation(
            encoder.features("test"),
            test,
            fitted=fitted,
            n_labels=data.n_labels,
            n_bias=data.n_bias if data.has_bias else None,
            config=config.probe,
            views=views,
            device=context.device,
        )


def _write_results(context: RunContext, evaluation: Evaluation, scores: Array) -> None:
    """Write predictions and evaluation, mark the run as finished, and delete its checkpoints."""
    folder = context.folder
    joint = evaluation.joint_bias
    attributes = [] if joint is None else joint.names
    table = predictions_to_parquet(context.data.splits["test"], scores, attributes)
    write_artifacts(folder, {PREDICTIONS: table, EVALUATION: pretty_json(evaluation.to_json())})
    if not context.keep_features:
        for name in FEATURES:
            (folder / name).unlink(missing_ok=True)
    mark_finished(folder, context.digest)
    for name in UNFINISHED:
        (folder / name).unlink(missing_ok=True)
