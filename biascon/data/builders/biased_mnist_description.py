"""The description of a BiasedMNIST: the part of its manifest that is known before its images are written."""

from __future__ import annotations

from biascon.data.builders.biased_mnist_spec import (
    COLOR_NAMES,
    FAIRKL_NINTH,
    FOREGROUND_COLORS,
    FOREGROUND_NAMES,
    PALETTES,
    BiasedMNISTSpec,
)
from biascon.data.builders.mnist_source import Digits
from biascon.data.building.splitting import NO_VALIDATION
from biascon.data.manifest import Attribute, BiasAttribute, DatasetDescription

BACKGROUND, FOREGROUND = "background", "foreground"  # the attributes of an FB-Biased-MNIST


def describe_biased_mnist(digits: Digits, spec: BiasedMNISTSpec) -> DatasetDescription:
    """Return the description of a BiasedMNIST.

    Dataset digests depend on every text in it, the British spelling of "colour" and "grey" included. An
    FB-Biased-MNIST has the American spelling.
    """
    bias, attributes = _describe_bias(digits, spec)
    return DatasetDescription(
        name=spec.name(digits.kind),
        builder="bmnist",
        protocol=_describe_protocol(digits, spec),
        parameters=spec.parameters(),
        source={"kind": digits.kind, "origin": digits.origin, "sha256": digits.sha256},
        labels=list(digits.labels),
        bias=bias,
        attributes=attributes,
    )


def _describe_bias(
    digits: Digits, spec: BiasedMNISTSpec
) -> tuple[BiasAttribute, dict[str, Attribute] | None]:
    """Return the bias attribute, and both attributes of an FB-Biased-MNIST."""
    names = list(COLOR_NAMES)
    if spec.variant == "fairkl":
        names[9] = FAIRKL_NINTH
    rgb = [list(color) for color in PALETTES[spec.variant]]
    if spec.foreground_rho is None:
        return BiasAttribute("colour", names, rgb=rgb), None
    names = ["gray" if name == "grey" else name for name in names]
    pairs = {
        name: [list(pair) for pair in zip(digits.labels, values, strict=True)]
        for name, values in ((BACKGROUND, names), (FOREGROUND, FOREGROUND_NAMES))
    }
    foreground_rgb = {"rgb": [list(color) for color in FOREGROUND_COLORS]}
    attributes = {
        BACKGROUND: Attribute(names, pairs[BACKGROUND], {"rgb": rgb}),
        FOREGROUND: Attribute(list(FOREGROUND_NAMES), pairs[FOREGROUND], foreground_rgb),
    }
    aligned = ", ".join(f"{label} = {value}" for label, value in pairs[BACKGROUND])
    return BiasAttribute(BACKGROUND, names, aligned=aligned, rgb=rgb), attributes


def _describe_protocol(digits: Digits, spec: BiasedMNISTSpec) -> dict[str, str]:
    """Return the texts of the splits."""
    test_set = "1,000 held-out digits" if digits.kind == "mnist5k" else f"{digits.title} test set"
    share, held_out = f"10 % of the training {digits.noun}", "held out before coloring"
    if spec.foreground_rho is None:
        train = f"rho {spec.rho!r}, {spec.color} coloured, {digits.noun[:-1]} binarised at 0"
        validation = {
            "held-out": f"{share}, held out before colouring, at rho 0.1",
            "hong": f"{share}, coloured anew at rho 0.1 and kept in training (leaks)",
            "biased": f"{share}, {held_out}, at rho {spec.rho!r} as in training",
        }
        test = f"{test_set} at rho 0.1"
    else:
        train = (
            f"background at rho {spec.rho!r}, {digits.noun[:-1]} (pixels above 0) at rho "
            f"{spec.foreground_rho!r}, assigned independently"
        )
        unbiased = "both attributes at rho 0.1"
        validation = {
            "held-out": f"{share}, {held_out}, {unbiased}",
            "hong": f"{share}, colored again, {unbiased}, and kept in training (leaks)",
            "biased": f"{share}, {held_out}, both attributes colored as in training",
        }
        test = f"{test_set}, {unbiased}"
    if spec.biased_classes is not None:
        classes = ", ".join(map(str, spec.biased_classes))
        train += f"; only in classes {classes}, the other classes at rho 0.1"
    texts = {**validation, "none": NO_VALIDATION}
    return {"train": train, "val": texts[spec.val_protocol], "test": test}
