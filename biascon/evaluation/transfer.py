"""Transfer: the encoder of a finished run, judged on another dataset (or on its own by another protocol).

The result is a run of its own in a folder of its own: it has the recipe of the run that it comes from, which
trained the encoder, and an origin, which says where. ``first`` networks and checkpoints are not looked at:
``encoder.safetensors`` is all that is taken.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from biascon.config.run_config import EncoderOrigin, RunConfig, read_config, with_protocol
from biascon.data.dataset import BiasedDataset
from biascon.errors import BiasconError, RunError
from biascon.models.encoders import build_encoder
from biascon.runs.checkpoint import damaged_file_error
from biascon.runs.context import training_dataset
from biascon.runs.folder import CLASSIFIER, ENCODER, read_finished, write_config
from biascon.training.network import load_weights, to_channels_last
from biascon.training.stages import TrainedNetwork, load_network
from biascon.utils.files import sha256_file, write_together
from biascon.utils.seeds import torch_generator


@dataclass(frozen=True)
class Source:
    """A finished run whose encoder is taken.

    Attributes:
        folder: Where it is.
        config: Of the run that trained the encoder.
        origin: That run, and its dataset.
        evaluation: Of the finished run.
        sha256: Of the encoder's file.
    """

    folder: Path
    config: RunConfig
    origin: EncoderOrigin
    evaluation: Mapping[str, Any]
    sha256: str

    @property
    def run(self) -> str:
        """The place of the run that trained the encoder, in a folder of runs."""
        digest = self.origin.digest[:8]
        return f"{self.origin.dataset}/{self.config.loss}/seed{self.config.seed}-{digest}"


def read_source(folder: Path) -> Source:
    """Read and verify a run whose encoder is wanted.

    Raises:
        RunError: It is no run, not finished, damaged, or of another version.
    """
    settings = folder / "config.toml"
    if not settings.is_file():
        raise RunError(
            f"{folder} is not a run: it has no config.toml; pass a folder like runs/DATASET/LOSS/seed0-..."
        )
    evaluation = read_finished(folder)
    if evaluation is None:
        raise RunError(
            f"the run {folder} is not finished; end it with the biascon evaluate that began it"
        )
    other = RunError(f"{folder} is a run of another version of biascon; evaluate it again")
    try:
        config = read_config(tomllib.loads(settings.read_text(encoding="utf-8")))
        name, digest = evaluation["dataset"], evaluation["dataset_digest"]
        if config.digest(digest) != evaluation["digest"]:
            raise other
        before = config.training_config()
        origin = config.origin or EncoderOrigin(before.digest(digest), name, digest)
        _ = evaluation["epochs"], evaluation["first"]  # what this run's evaluation says again
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise other from error
    before = dataclasses.replace(before, origin=None)
    return Source(folder, before, origin, evaluation, sha256_file(folder / ENCODER))


def transfer_config(
    source: Source,
    data: BiasedDataset,
    *,
    protocol: str | None = None,
    preset: str | None = None,
    settings: Sequence[str] = (),
) -> RunConfig:
    """Return the configuration under which an encoder is judged on a dataset.

    On the dataset that it was trained on it is the ordinary one of that protocol.

    Args:
        source: Where the encoder comes from.
        data: What it is judged on.
        protocol: ``probe.kind``; None is ``linear``.
        preset: Whose [probe] and [finetune] are taken; None is those of the source.
        settings: ``probe.KEY=VALUE`` and ``finetune.KEY=VALUE``.

    Raises:
        UsageError: Another setting.
    """
    config = with_protocol(source.config, protocol=protocol, preset=preset, settings=settings)
    own = source.origin.dataset_digest in (data.digest, training_dataset(config, data).digest)
    return dataclasses.replace(config, origin=None if own else source.origin)


def copy_encoder(
    source: Source, config: RunConfig, data: BiasedDataset, folder: Path, device: torch.device
) -> TrainedNetwork:
    """Copy a source's encoder into a run's folder, if it is not there, and return the network.

    Args:
        source: Where it comes from.
        config: Of the run that judges it.
        data: The dataset that it is judged on.
        folder: The run's, locked.
        device: Where to place it.

    Raises:
        RunError: A file is damaged.
        BiasconError: The folder is not writable, or the disk is full.
    """
    if not (folder / ENCODER).is_file():
        write_config(folder, config, str(device))
        names = ["metrics.jsonl", ENCODER]
        if config.origin is None and (source.folder / CLASSIFIER).is_file():
            names.insert(0, CLASSIFIER)
        try:
            copies: dict[Path, bytes | str] = {
                folder / name: (source.folder / name).read_bytes() for name in names
            }
        except OSError as error:
            raise BiasconError(f"cannot read {source.folder}: {error.strerror or error}") from error
        write_together(copies)
    if sha256_file(folder / ENCODER) != source.sha256:
        raise damaged_file_error(folder / ENCODER)
    if config.origin is None:
        return load_network(config, data, folder, device)
    encoder = build_encoder(config.model.encoder, torch_generator(config.seed, "weights/encoder"))
    return TrainedNetwork(to_channels_last(load_weights(encoder, folder / ENCODER), device), None)
