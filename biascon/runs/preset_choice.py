"""The preset of a run for which the user names none: by the pictures of the dataset and by the device."""

from __future__ import annotations

from dataclasses import dataclass

from biascon.data.dataset import BiasedDataset
from biascon.data.manifest import Manifest
from biascon.utils.devices import pick_device

DIGITS = ("bmnist",)  # builders whose pictures are digits, or other shapes of MNIST's format
_SHAPES = ("fashion-mnist", "kmnist")  # kinds of sources of these builders that are not digits
# Builders whose pictures are natural ones. The pictures of other builders are the user's, and may be digits.
NATURAL = (
    "utkface", "celeba", "waterbirds", "urbancars", "fairface", "bar", "standard", "corrupted-cifar10",
)  # fmt: skip
_FACES, _FACES_IMAGES = "faces-cpu", 9_639  # training images that faces-cpu was chosen with
_LONG = 4  # times as many training images get a line


@dataclass(frozen=True)
class PresetChoice:
    """A preset that is taken because the user names none.

    Attributes:
        name: The name of the preset.
        reason: Why it is taken.
    """

    name: str
    reason: str

    def describe(self, how: str = "--preset") -> str:
        """Return the choice as one line for the user.

        Args:
            how: What chooses another preset: an option, or a key of a file.
        """
        return f"preset: {self.name} ({self.reason}; {how} chooses another, biascon list presets has all)"


def has_digits(manifest: Manifest) -> bool:
    """Return whether the pictures of a dataset are digits, or other shapes of MNIST's format."""
    return manifest.builder in DIGITS


def choose_preset(manifest: Manifest, device_type: str) -> PresetChoice:
    """Return the default preset of a dataset on a device.

    ``gpu`` on CUDA, for every dataset. Elsewhere ``cpu`` for digits, and ``faces-cpu`` for other pictures.

    Args:
        manifest: The manifest of the dataset.
        device_type: The type of the device, such as ``cpu`` or ``cuda``.
    """
    if device_type == "cuda":
        published = _find_published(manifest)
        if published is not None:
            reason = f"CUDA; a recipe for digits: {published} has the published one of this dataset"
        elif has_digits(manifest):
            reason = "digits on CUDA"
        else:
            reason = "CUDA; a recipe for digits"
        return PresetChoice("gpu", reason)
    if has_digits(manifest):
        is_shape = manifest.source.get("kind") in _SHAPES
        return PresetChoice("cpu", f"{'shapes like digits' if is_shape else 'digits'}, no CUDA")
    if manifest.builder in NATURAL and manifest.source.get("kind") != "folder":
        return PresetChoice(_FACES, "pictures that are not digits, no CUDA")
    return PresetChoice(
        _FACES, "your own pictures, no CUDA; it mirrors them, so take cpu for digits"
    )


def describe_length(choice: PresetChoice, manifest: Manifest) -> str:
    """Return a line about a long run with a default preset; "" if the dataset is not large.

    The cost of ``faces-cpu`` is that of UTKFace with its 9,639 training images.
    """
    n = manifest.counts["train"].n
    ratio = n / _FACES_IMAGES
    if choice.name != _FACES or ratio <= _LONG:
        return ""
    return (
        f"{n:,} training images: at equal size and epochs, a run takes {ratio:.0f} times as long as on "
        "UTKFace; --set train.epochs=N shortens it"
    )


def default_preset(dataset: BiasedDataset, device: str = "auto") -> str:
    """Return the name of the preset that the command line takes for a dataset if none is named.

    >>> make_config("supcon", preset=default_preset(dataset))  # doctest: +SKIP

    Args:
        dataset: The dataset.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``, as the option ``--device``.

    Raises:
        UsageError: The device is unknown, or this machine has no such device.
    """
    return choose_preset(dataset.manifest, pick_device(device).type).name


def _find_published(manifest: Manifest) -> str | None:
    """Return the preset with the published recipe of a dataset, if there is one."""
    if manifest.builder in ("utkface", "celeba"):
        return manifest.builder
    is_cifar = manifest.source.get("kind") in ("cifar10", "cifar100")
    return "cifar" if manifest.builder == "standard" and is_cifar else None
