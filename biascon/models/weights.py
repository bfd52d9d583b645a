"""Initial weights of an encoder from a file: pretrained weights of torchvision, or a file of the user.

The configuration of a run holds the SHA-256 of the file (``model.weights`` is then ``file:<sha256>`` or
``pretrained:<sha256>``), but not its path. Files are read without running code: safetensors, or a state dict
of tensors through ``torch.load(weights_only=True)``.
"""

from __future__ import annotations

import functools
import hashlib
import io
import pickle
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from biascon.errors import BiasconError, DataError, UsageError
from biascon.models.encoders import TORCHVISION_NETWORKS, build_on_meta, remove_1x1_suffix
from biascon.utils.reading import WEIGHTS, check_file, read_bytes
from biascon.utils.text import join_first, shorten

SHOWN = 3  # keys in a message, for each kind of mismatch


def read_stamp(path: Path) -> tuple[int, int]:
    """Return the size in bytes and the modification time in nanoseconds of a file of weights.

    Raises:
        DataError: The file cannot be read, or is no regular file.
    """
    status = check_file(path, what="weights")
    return status.st_size, status.st_mtime_ns


@functools.lru_cache(maxsize=8)
def digest_weights(path: Path, stamp: tuple[int, int], encoder: str) -> str:
    """Return the SHA-256 of a file of weights, after checking that the weights fit an encoder.

    The result is cached by path and ``stamp``, the result of ``read_stamp``.

    Raises:
        DataError: The file cannot be read, is damaged, or does not fit the encoder.
    """
    blob = read_blob(path)
    match_state_dict(build_on_meta(encoder).state_dict(), read_weights(blob, path), path, encoder)
    return hashlib.sha256(blob).hexdigest()


def read_blob(path: Path) -> bytes:
    """Return the bytes of a file of weights.

    Raises:
        DataError: The file cannot be read, is no regular file, or is too large.
    """
    return read_bytes(path, WEIGHTS, what="weights")


def find_pretrained(encoder: str) -> Path:
    """Return the file of torchvision's default weights for an encoder, and download a missing file.

    The file is in the cache folder of torchvision, so that an earlier download is used.

    Raises:
        UsageError: torchvision has no weights for this encoder.
        BiasconError: The file cannot be downloaded.
    """
    from biascon.models.torchvision import import_torchvision

    if encoder not in TORCHVISION_NETWORKS:
        base = remove_1x1_suffix(encoder)
        by_network = {network: name for name, network in TORCHVISION_NETWORKS.items()}
        raise UsageError(
            f"there are no pretrained weights for {base}; take another encoder (--set model.encoder="
            f"{by_network.get(base, 'resnet18-imagenet')}), or --set model.weights=none"
        )
    weights = import_torchvision().models.get_model_weights(TORCHVISION_NETWORKS[encoder])
    url = str(weights.DEFAULT.url)
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            download(url, path)
        except (OSError, RuntimeError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise BiasconError(
                f"cannot download the pretrained weights of {encoder} from {url}: {reason}; put the file at "
                f"{path}, pass --weights FILE, or --set model.weights=none"
            ) from error
    return path


def download(url: str, path: Path) -> None:
    """Download a file of torchvision. The name of the file holds the first digits of its SHA-256.

    Raises:
        OSError: There is no network, or the disk is full.
        RuntimeError: The SHA-256 of the file does not match its name.
    """
    prefix = path.stem.rpartition("-")[2]
    torch.hub.download_url_to_file(url, str(path), prefix, progress=sys.stderr.isatty())


def read_weights(blob: bytes, path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file of weights by name. No code in the file is run.

    Args:
        blob: The bytes of the file.
        path: The path of the file, for messages.

    Raises:
        DataError: The file is damaged, or holds something else than tensors by name.
    """
    if (
        blob[8:9] == b"{"
    ):  # safetensors: 8 bytes with the length of the header, then the header as JSON
        try:
            return load_safetensors(blob)
        except (SafetensorError, ValueError, KeyError) as error:
            raise DataError(f"{path} is damaged, or no safetensors file: {_line(error)}") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a file without a state dict is refused below
            state = torch.load(io.BytesIO(blob), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path} holds more than tensors (or is damaged), and is not read; save the plain state dict: "
            "torch.save(model.state_dict(), FILE)"
        ) from error
    except Exception as error:  # for damaged bytes the unpickler raises many classes of errors
        raise DataError(f"{path} is damaged, or no file of weights: {_line(error)}") from error
    if not isinstance(state, Mapping):
        raise DataError(f"{path}: expected tensors by name, but got a {type(state).__name__}")
    others = [
        str(key)
        for key, value in state.items()
        if not (isinstance(key, str) and isinstance(value, Tensor))
    ]
    if others:
        raise DataError(
            f"{path}: expected a plain state dict of tensors, but these values are no tensors: "
            f"{_join_some(others)}"
        )
    return dict(state)


def match_state_dict(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], path: Path, name: str
) -> dict[str, Tensor]:
    """Return the tensors of a file under the names of an encoder of biascon.

    A file has the names of biascon or those of torchvision. A classifier of torchvision (``fc``) is left out.

    Args:
        own: The state dict of the encoder; its device may be ``meta``.
        state: The tensors of the file.
        path: The path of the file, for messages.
        name: The name of the encoder, for messages.

    Raises:
        DataError: Names, shapes or kinds of numbers do not fit (the message holds some of each), or values
            are not finite.
    """
    has_own_names = any(key.startswith("body.") for key in state)
    tensors = {key if has_own_names else f"body.{key}": tensor for key, tensor in state.items()}
    tensors = {k: v for k, v in tensors.items() if k in own or not k.startswith("body.fc.")}
    mismatches = [
        f"{len(keys)} {kind}: {_join_some(keys)}"
        for kind, keys in _find_mismatches(own, tensors, name).items()
        if keys
    ]
    if mismatches:
        raise DataError(f"{path} does not fit the encoder {name}: {'; '.join(mismatches)}")
    not_finite = [
        key
        for key in own
        if key in tensors
        and own[key].is_floating_point()
        and not bool(tensors[key].isfinite().all())
    ]
    if not_finite:
        raise DataError(f"{path} has values that are not finite in {_join_some(not_finite)}")
    return tensors


def _find_mismatches(
    own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], name: str
) -> dict[str, list[str]]:
    """Return the keys that do not fit by kind of mismatch."""
    # Old files of torchvision have no num_batches_tracked.
    optional = {key for key in own if key.endswith(".num_batches_tracked")}
    common = [key for key in own if key in tensors]
    return {
        "of another shape": [
            f"{key} {_format_shape(tensors[key])} where {name} has {_format_shape(own[key])}"
            for key in common
            if tensors[key].shape != own[key].shape
        ],
        "of another kind": [
            f"{key} ({tensors[key].dtype})"
            for key in common
            if tensors[key].is_floating_point() != own[key].is_floating_point()
        ],
        "missing": [key for key in own if key not in tensors and key not in optional],
        "unexpected": [key for key in tensors if key not in own],
    }


def _join_some(keys: Sequence[str]) -> str:
    return join_first([shorten(key) for key in keys[:SHOWN]] + list(keys[SHOWN:]), SHOWN)


def _format_shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _line(error: Any) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
