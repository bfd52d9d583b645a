"""Transfer: evaluate the encoder of a finished run on another dataset, or by another protocol.

The result is a run of its own in a folder of its own. It has the recipe of the run that trained the encoder,
and an origin that names that run. Only ``encoder.safetensors`` is taken; first-stage networks and
checkpoints are not read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from biascon.config.factory import with_protocol
from biascon.config.run_config import EncoderOrigin, RunConfig, read_config
from biascon.data.dataset import BiasedDataset
from biascon.errors import DataError, RunError
from biascon.models.encoders import build_encoder
from biascon.runs.context import RunContext, training_dataset
from biascon.runs.finished import FinishedRun
from biascon.runs.folder import (
    CLASSIFIER,
    ENCODER,
    METRICS_LOG,
    SELECTED,
    read_artifact,
    stated_sha256,
    write_artifacts,
    write_config,
)
from biascon.training.network import TrainedNetwork, load_weights, to_channels_last
from biascon.training.stages import load_network
from biascon.utils.files import sha256_file
from biascon.utils.reading import TOML, parse_toml, read_bytes
from biascon.utils.seeds import torch_generator


@dataclass(frozen=True)
class EncoderSource:
    """A finished run whose encoder is taken.

    Attributes:
        run: The finished run.
        config: The configuration of the run that trained the encoder.
        origin: The digest of that run, and its dataset.
        sha256: The SHA-256 of the file of the encoder.
    """

    run: FinishedRun
    config: RunConfig
    origin: EncoderOrigin
    sha256: str


def read_source(folder: Path) -> EncoderSource:
    """Read and verify the run that an encoder is taken from.

    Raises:
        RunError: The folder is not a run, or the run is not finished, is damaged, or is of another version.
    """
    settings = folder / "config.toml"
    if not settings.is_file():
        raise RunError(
            f"{folder} is not a run: it has no config.toml; pass a folder like runs/DATASET/LOSS/seed0-..."
        )
    run = FinishedRun.read(folder)
    if run is None:
        raise RunError(
            f"the run {folder} is not finished; finish it with the biascon evaluate that began it"
        )
    other_version = RunError(f"{folder} is a run of another version of biascon; evaluate it again")
    identity = run.evaluation.identity
    try:
        config = read_config(parse_toml(read_bytes(settings, TOML), str(settings)))
    except (KeyError, TypeError, ValueError, DataError) as error:
        raise other_version from error
    if config.digest(identity.dataset_digest) != identity.digest:
        raise other_version
    training_config = config.training_config()
    origin = config.origin or EncoderOrigin(
        training_config.digest(identity.dataset_digest), identity.dataset, identity.dataset_digest
    )
    training_config = dataclasses.replace(training_config, origin=None)
    return EncoderSource(run, training_config, origin, sha256_file(folder / ENCODER))


def transfer_config(
    source: EncoderSource,
    data: BiasedDataset,
    *,
    protocol: str | None = None,
    preset: str | None = None,
    settings: Sequence[str] = (),
) -> RunConfig:
    """Return the configuration that evaluates an encoder on a dataset.

    If the encoder was trained on this dataset, the configuration has no origin: it is that of an ordinary run
    with this protocol.

    Args:
        source: The run that the encoder comes from.
        data: The dataset that the encoder is evaluated on.
        protocol: The evaluation protocol, ``probe.kind``; None is ``linear``.
        preset: The preset whose [probe] and [finetune] are used; None uses those of the source.
        settings: ``probe.KEY=VALUE`` and ``finetune.KEY=VALUE``.

    Raises:
        UsageError: A setting belongs to the training, is unknown, or has a value that is not allowed.
    """
    config = with_protocol(source.config, protocol=protocol, preset=preset, settings=settings)
    dataset_digests = (data.digest, training_dataset(config, data).digest)
    is_trained_here = source.origin.dataset_digest in dataset_digests
    return dataclasses.replace(config, origin=None if is_trained_here else source.origin)


def copy_encoder(source: EncoderSource, context: RunContext) -> TrainedNetwork:
    """Copy the encoder of another run into the folder of this run, if it is missing; return the network.

    Args:
        source: The run that the encoder comes from.
        context: The run that evaluates the encoder, its folder locked.

    Raises:
        RunError: A file is damaged.
        BiasconError: The folder is not writable, or the disk is full.
    """
    config, folder = context.config, context.folder
    if not (folder / ENCODER).is_file():
        write_config(folder, config, str(context.device))
        names = [METRICS_LOG, ENCODER]
        if config.origin is None and (source.run.folder / CLASSIFIER).is_file():
            names.insert(0, CLASSIFIER)
        if config.origin is None and (source.run.folder / SELECTED).is_file():
            names.insert(0, SELECTED)
        write_artifacts(folder, {name: read_artifact(source.run.folder, name) for name in names})
    if stated_sha256(folder, ENCODER) not in (None, source.sha256):
        raise RunError(
            f"{folder / ENCODER} is not the encoder of {source.run.folder}; pass --no-resume to start the "
            "run again"
        )
    if config.origin is None:
        return load_network(context)
    encoder = build_encoder(config.model.encoder, torch_generator(config.seed, "weights/encoder"))
    encoder = to_channels_last(load_weights(encoder, folder / ENCODER), context.device)
    return TrainedNetwork(encoder, None)
