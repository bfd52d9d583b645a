"""The weights that an encoder starts from: drawn, torchvision's pretrained ones, or those of a file.

What a run started from is part of its configuration by the SHA-256 of the file (``model.weights`` is then
``file:<sha256>`` or ``pretrained:<sha256>``); where the file lies is not. Files are read as data:
safetensors, or a state dict of tensors through ``torch.load(weights_only=True)``.
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
from biascon.models.encoders import IMAGENET, KERNEL_1X1_SUFFIX, build_on_meta

SHOWN = 3  # of the keys of one kind that do not fit


def _stamp(path: Path) -> tuple[int, int]:
    try:
        about = path.stat()
    except OSError as error:
        raise DataError(f"cannot read weights {path}: {error.strerror or error}") from error
    if path.is_dir():
        raise DataError(f"cannot read weights {path}: it is a folder; pass a file")
    return about.st_size, about.st_mtime_ns


@functools.lru_cache(maxsize=8)
def _sha256(path: Path, stamp: tuple[int, int], encoder: str) -> str:
    """Return the digest of a file of weights that fit an encoder: refused before a run begins."""
    blob = _bytes(path)
    match_state_dict(build_on_meta(encoder).state_dict(), read_weights(blob, path), path, encoder)
    return hashlib.sha256(blob).hexdigest()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read weights {path}: {error.strerror or error}") from error


def find_pretrained(encoder: str) -> Path:
    """Return the file of torchvision's default weights of an encoder, downloaded if it is not here.

    It lies where torchvision keeps it, so that one that was downloaded before is used.

    Raises:
        UsageError: There are none for this encoder.
        BiasconError: They cannot be downloaded.
    """
    from biascon.models.torchvision import import_torchvision

    if not encoder.endswith(IMAGENET):
        instead = f"{encoder}{IMAGENET}" if encoder.startswith("resnet") else "resnet18-imagenet"
        raise UsageError(
            f"there are no pretrained weights for {encoder.removesuffix(KERNEL_1X1_SUFFIX)}; take another encoder "
            f"(--set model.encoder={instead}), or --set model.weights=none"
        )
    known = import_torchvision().models.get_model_weights(encoder.removesuffix(IMAGENET))
    url = str(known.DEFAULT.url)
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            download(url, path)
        except (OSError, RuntimeError, ValueError) as error:
            told = getattr(error, "reason", None) or error
            raise BiasconError(
                f"cannot download the pretrained weights of {encoder} from {url}: {told}; put the file at "
                f"{path}, pass --weights FILE, or --set model.weights=none"
            ) from error
    return path


def download(url: str, path: Path) -> None:
    """Fetch a file of torchvision's, whole or not at all; its name holds the start of its SHA-256.

    Raises:
        OSError: No network, or the disk is full.
        RuntimeError: The file is not the one that its name says.
    """
    prefix = path.stem.rpartition("-")[2]
    torch.hub.download_url_to_file(url, str(path), prefix, progress=sys.stderr.isatty())


def read_weights(blob: bytes, path: Path) -> dict[str, Tensor]:
    """Return the tensors by name of a file of weights; nothing in it is run.

    Raises:
        DataError: It is damaged, or holds anything but tensors by name.
    """
    if blob[8:9] == b"{":  # safetensors: the length of the header, then the header as JSON
        try:
            return load_safetensors(blob)
        except (SafetensorError, ValueError, KeyError) as error:
            raise DataError(f"{path} is damaged, or no safetensors file: {_line(error)}") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is not a state dict is told below
            found = torch.load(io.BytesIO(blob), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path} holds more than tensors (or is damaged), and is not read; save the plain state dict: "
            "torch.save(model.state_dict(), FILE)"
        ) from error
    except Exception as error:  # damaged bytes make the unpickler raise nearly anything
        raise DataError(f"{path} is damaged, or no file of weights: {_line(error)}") from error
    if not isinstance(found, Mapping):
        raise DataError(f"{path}: expected tensors by name, but got a {type(found).__name__}")
    wrong = [str(k) for k, v in found.items() if not (isinstance(k, str) and isinstance(v, Tensor))]
    if wrong:
        raise DataError(
            f"{path}: expected a plain state dict of tensors, but got {_some(wrong)} that are none"
        )
    return dict(found)


def match_state_dict(
    own: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path, name: str
) -> dict[str, Tensor]:
    """Return tensors of torchvision's names or ours under ours; a classifier ``fc`` is dropped.

    Args:
        own: What the encoder has, also on the ``meta`` device.
        found: What the file has.
        path: The file.
        name: The encoder's.

    Raises:
        DataError: Names or shapes that do not fit, all told together, at most some of each kind by name; or
            values that are not finite.
    """
    ours = any(key.startswith("body.") for key in found)
    given = {key if ours else f"body.{key}": tensor for key, tensor in found.items()}
    given = {k: v for k, v in given.items() if k in own or not k.startswith("body.fc.")}
    counts = {
        k for k in own if k.endswith(".num_batches_tracked")
    }  # old files of torchvision lack them
    both = [key for key in own if key in given]
    shapes = [
        f"{key} {_shape(given[key])} where {name} has {_shape(own[key])}"
        for key in both
        if given[key].shape != own[key].shape
    ]
    kinds = [
        f"{key} ({given[key].dtype})"
        for key in both
        if given[key].is_floating_point() != own[key].is_floating_point()
    ]
    parts = [
        f"{len(keys)} {kind}: {_some(keys)}"
        for kind, keys in (
            ("of another shape", shapes),
            ("of another kind", kinds),
            ("missing", [k for k in own if k not in given and k not in counts]),
            ("unexpected", [k for k in given if k not in own]),
        )
        if keys
    ]
    if parts:
        raise DataError(f"{path} does not fit the encoder {name}: {'; '.join(parts)}")
    odd = [k for k in both if own[k].is_floating_point() and not bool(given[k].isfinite().all())]
    if odd:
        raise DataError(f"{path} has values that are not finite in {_some(odd)}")
    return given


def _some(keys: Sequence[str]) -> str:
    more = len(keys) - SHOWN
    return ", ".join(keys[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _line(error: Any) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
