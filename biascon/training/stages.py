"""Get the trained network of a run: read it from a run folder, or train what is missing.

A method that builds on a first-stage network (``LossEntry.first_stage``) gets that network here. The
first-stage network is a run of its own in a folder of its own. Every method that needs the same first-stage
network shares it.
"""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext, suppress
from pathlib import Path

from safetensors.torch import save as to_bytes
from torch import nn

from biascon.config.first_stage import first_stage_config
from biascon.data.dataset import BiasedDataset, view_by_attributes
from biascon.models.encoders import build_encoder
from biascon.runs.context import RunContext
from biascon.runs.folder import (
    CLASSIFIER,
    DONE,
    ENCODER,
    FEATURES,
    METRICS_LOG,
    SELECTED,
    lock_folder,
    read_artifact,
    read_selected_images,
    record_artifacts,
    stated_sha256,
    write_artifacts,
    write_config,
)
from biascon.runs.restart import start_again
from biascon.training.checks import check_run
from biascon.training.first_stage_inputs import FirstStageNetwork, first_stage_inputs
from biascon.training.loop import train
from biascon.training.loss_inputs import LossInputs
from biascon.training.network import (
    TrainedNetwork,
    build_classifier,
    load_weights,
    to_channels_last,
    trains_classifier,
)
from biascon.utils.distributed import decide, is_main_process
from biascon.utils.files import pretty_json
from biascon.utils.seeds import torch_generator


def get_or_train(context: RunContext) -> TrainedNetwork:
    """Return the trained network of a run whose folder is locked: read it, or train what is missing.

    Two kinds of run take their network from another run, which is trained once for all of them: a run with
    another evaluation protocol than the linear probe, and a run on another view of the dataset.

    Raises:
        RunError: A file is damaged, or training diverged.
    """
    config = context.config
    uses_linear_probe = config.probe.kind == "linear"
    has_encoder = _has_encoder(context)
    if has_encoder and (not uses_linear_probe or _is_finished(context)):
        return _load_or_train(context, None)
    trained_elsewhere = not uses_linear_probe or context.training_data is not context.data
    if trained_elsewhere and not has_encoder:
        training_config = config if uses_linear_probe else config.training_config()
        source = context.for_run(training_config, context.training_data)
        return _copy_network(_get_or_train_other(source), source, context)
    first_stage = context.entry.first_stage
    if first_stage is None or (has_encoder and first_stage.gives != "encoder"):
        return _load_or_train(context, None)
    stages = [
        FirstStageNetwork(stage, _get_or_train_other(stage))
        for stage in first_stage_contexts(context)
    ]
    if first_stage.gives == "encoder":
        return _copy_network(stages[0].network, stages[0].context, context)
    _copy_selected(stages[0].context, context)
    inputs = first_stage_inputs(context, first_stage, stages).from_main_process()
    return _load_or_train(context, inputs)


def first_stage_contexts(context: RunContext) -> list[RunContext]:
    """Return the runs of the first-stage networks of a run: one, or one for each bias attribute.

    Raises:
        UsageError: A run cannot be trained on this dataset.
    """
    first_stage, config = context.entry.first_stage, first_stage_config(context.config)
    if first_stage is None or config is None:
        return []
    datasets = [context.data]
    if first_stage.per_attribute:
        datasets = split_attributes(context.data)
    for data in datasets:
        check_run(config, data)
    if len(datasets) == 1:
        return [context.for_run(config, stage=f"first stage {config.loss}")]
    return [
        context.for_run(config, data, stage=f"first stage {config.loss} of {data.name}")
        for data in datasets
    ]


def split_attributes(data: BiasedDataset) -> list[BiasedDataset]:
    """Return the views of a dataset by each attribute of its product of bias attributes."""
    names = None if data.manifest.bias is None else data.manifest.bias.chosen
    if names is None or len(names) == 1:
        return [data]
    return [view_by_attributes(data, [name]) for name in names]


def _get_or_train_other(context: RunContext) -> TrainedNetwork:
    """Return the network of another run, read from its folder or trained there."""
    with lock_folder(context.folder, wait=True) if is_main_process() else nullcontext():
        if is_main_process():
            start_again(context.folder, resume=context.resume, recompute=context.recompute)
        return get_or_train(context)


def _copy_network(
    network: TrainedNetwork, source: RunContext, context: RunContext
) -> TrainedNetwork:
    """Write the network of another run into the folder of this run, and return it.

    The training log is copied, for the encoder has that history. The features are linked where the file
    system can link files; elsewhere they are computed again.
    """
    if is_main_process():
        folder = context.folder
        write_config(folder, context.config, str(context.device))
        write_artifacts(folder, {METRICS_LOG: read_artifact(source.folder, METRICS_LOG)})
        _copy_selected(source, context)
        for name in FEATURES:
            _link_features(source.folder, folder, name)
        _save(folder, network)
    return network


def _link_features(source: Path, folder: Path, name: str) -> None:
    """Link the features of another run, with the SHA-256 that this run states; they are read later."""
    sha256 = stated_sha256(source, name)
    if sha256 is None or not (source / name).is_file():
        return
    record_artifacts(folder, {name: sha256})
    with suppress(OSError):
        (folder / name).hardlink_to(source / name)


def _copy_selected(source: RunContext, context: RunContext) -> None:
    """Copy the record of the images that the first stage of another run singles out, if it has one."""
    selected = read_selected_images(source.folder)
    if selected is None or not is_main_process():
        return
    if source.data is not context.data:
        # Other images are bias-conflicting by another bias attribute.
        selected = dataclasses.replace(selected, conflicting=None, selected_conflicting=None)
    write_artifacts(context.folder, {SELECTED: pretty_json(selected.to_json())})


def _has_encoder(context: RunContext) -> bool:
    """Whether the main process finds the encoder in the folder of a run."""
    return decide((context.folder / ENCODER).is_file())


def _is_finished(context: RunContext) -> bool:
    """Whether the main process finds the end marker of a run."""
    return decide((context.folder / DONE).is_file())


def _load_or_train(context: RunContext, loss_inputs: LossInputs | None) -> TrainedNetwork:
    """Read the trained network from the folder of its run, or train it."""
    if _has_encoder(context):
        return load_network(context)
    if is_main_process():
        write_config(context.folder, context.config, str(context.device))
    model = train(context, loss_inputs=loss_inputs)
    network = TrainedNetwork(model.encoder, model.classifier)
    if is_main_process():
        _save(context.folder, network)
    return network


def load_network(context: RunContext) -> TrainedNetwork:
    """Return the trained network that the folder of a run holds.

    Raises:
        RunError: A file is damaged.
    """
    config, folder, device = context.config, context.folder, context.device
    generator = torch_generator(config.seed, "weights/encoder")
    encoder = load_weights(build_encoder(config.model.encoder, generator), folder / ENCODER)
    classifier = None
    if trains_classifier(context.entry):
        classifier = build_classifier(config, context.entry, encoder, context.data)
        load_weights(classifier, folder / CLASSIFIER).to(device)
    return TrainedNetwork(to_channels_last(encoder, device), classifier)


def _save(folder: Path, network: TrainedNetwork) -> None:
    files: dict[str, bytes | str] = {ENCODER: _to_bytes(network.encoder)}
    if network.classifier is not None:
        files = {CLASSIFIER: _to_bytes(network.classifier), **files}
    write_artifacts(folder, files)


def _to_bytes(module: nn.Module) -> bytes:
    state = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    return to_bytes(state)
