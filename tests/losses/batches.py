"""Batches for every loss of the registry, with the inputs that the entry of the loss names.

``make_batch`` draws a batch. ``compute_value`` and ``value_and_gradients`` compute a loss on it;
``compute_oracle`` computes the same loss in Python loops.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import settings
from torch import Tensor

from biascon.losses import LOSSES, Loss, default_parameters, get_entry, get_loss
from biascon.utils.entry_points import load
from tests.losses.oracles import ORACLES

NAMES = list(LOSSES)
EMBEDDING_NAMES = [name for name in NAMES if LOSSES[name].input_kind == "embeddings"]
PAIRWISE_NAMES = [
    name for name in NAMES if name in EMBEDDING_NAMES or "features" in LOSSES[name].tensor_inputs
]
WITH_LABELS = [name for name in NAMES if "labels" in LOSSES[name].batch_inputs]
WITHOUT_LABELS = [name for name in NAMES if "labels" not in LOSSES[name].batch_inputs]
# LISA needs bias values to choose the partners. Its function does not use them.
WITH_BIAS = [name for name in NAMES if "bias" in LOSSES[name].batch_inputs and name != "lisa"]
WITHOUT_BIAS = [name for name in NAMES if name not in WITH_BIAS]
WITH_TEMPERATURE = [name for name in NAMES if "temperature" in default_parameters(name)]
# They differ from "ce" in the draw of batches, in added features, or in a last layer that is fitted later.
SAME_AS_CE = ["resample", "dfr", "badd", "afr", "subg"]
LABEL_PREDICTORS = [name for name in NAMES if LOSSES[name].predicts == "labels"]

# Tensors with a row for each image, and those among them with a row for each view of the image.
PARTNERS = ("partner_labels", "partner_bias", "mix")
IMAGES = ("z", "logits", "features", "bias_features", "bias_losses", "weights", *PARTNERS)
VIEWS = ("z", "logits", "features")
TABLES = ("counts", "group_weights")  # a row for each label, a column for each bias value
INTEGERS = ("counts", "partner_labels", "partner_bias")
NETWORK_OUTPUTS = ("logits", "features")  # inputs with a gradient, beside z
# Parameters that the loss function does not use: the training loop uses them.
TRAINING_PARAMETERS = {
    ("jtt", "up"),
    ("jtt", "first_epochs"),
    ("biascon", "oversample"),
    ("biascon", "contrast_batch"),
    ("biascon+biasbal", "oversample"),
    ("biascon+biasbal", "contrast_batch"),
    ("lisa", "alpha"),
    ("lisa", "p_label"),
    ("lc", "alpha"),
    ("badd", "m"),
    ("afr", "gamma"),
}

# Arguments of ``make_batch`` for batches with few or no pairs.
DEGENERATE: dict[str, dict[str, Any]] = {
    "one label for all": {"b": 4, "labels": [1, 1, 1, 1]},
    "one bias for all": {"b": 4, "labels": [0, 0, 1, 1], "bias": [2, 2, 2, 2]},
    "one label and bias for all": {"b": 4, "labels": [1, 1, 1, 1], "bias": [2, 2, 2, 2]},
    "bias is the label": {"b": 4, "labels": [0, 0, 1, 2], "bias": [0, 0, 1, 2]},
    "one label, all biases distinct": {"b": 4, "labels": [1, 1, 1, 1], "bias": [3, 0, 2, 1]},
    "three anchors of one label, all biases distinct": {
        "b": 3,
        "v": 1,
        "labels": [1, 1, 1],
        "bias": [3, 0, 2],
    },
    "all labels distinct": {"b": 4, "labels": [3, 0, 2, 1]},
    "all labels distinct, one view": {"b": 4, "v": 1, "labels": [3, 0, 2, 1]},
    "all labels and biases distinct, one view": {
        "b": 4,
        "v": 1,
        "labels": [3, 0, 2, 1],
        "bias": [0, 1, 2, 3],
    },
    "one view": {"b": 5, "v": 1, "labels": [0, 1, 0, 1, 2]},
    "one image": {"b": 1},
    "one image, one view": {"b": 1, "v": 1},
    "one image of a rare label": {"b": 4, "v": 1, "labels": [0, 0, 0, 1]},
    "two images": {"b": 2, "v": 1, "labels": [0, 1]},
    "one dimension": {"b": 4, "d": 1, "labels": [0, 0, 0, 0]},
}

quick = settings(max_examples=20, deadline=None, derandomize=True)
quicker = settings(quick, max_examples=8)


class Batch(NamedTuple):
    """The arguments of a loss."""

    z: Tensor
    labels: Tensor
    bias: Tensor
    inputs: dict[str, Tensor]

    def with_tensors(self, **new: Tensor) -> Batch:
        """Return the batch with other tensors, by name. Tensors that the loss does not take are left out."""
        own = {key: value for key, value in new.items() if key in self._fields}
        inputs = {key: new.get(key, value) for key, value in self.inputs.items()}
        return self._replace(inputs=inputs, **own)

    def select_rows(self, order: Tensor) -> Batch:
        """Return the batch of the images in ``order``."""
        inputs = {k: v if k in TABLES else v[order] for k, v in self.inputs.items()}
        return Batch(self.z[order], self.labels[order], self.bias[order], inputs)

    def map_tensors(self, names: tuple[str, ...], function: Any) -> Batch:
        """Return the batch with a function applied to the tensors of these names."""
        tensors = {"z": self.z, **self.inputs}
        return self.with_tensors(**{k: function(v) for k, v in tensors.items() if k in names})


def make_batch(
    name, *, b=4, v=2, d=6, classes=3, seed=0, dtype=torch.float64, labels=None, bias=None
) -> Batch:
    """Draw a batch for a loss: unit embeddings or logits, labels and bias values below D.

    Tables have D labels and D + 1 bias values, so that a transposed table is an error. The counts include the
    images of the batch and other images.
    """
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    def uniform(*shape):
        return torch.rand(*shape, generator=draw, dtype=torch.float64)

    def draw_ids(ids):
        drawn = torch.randint(min(classes, d), (b,), generator=draw)
        return drawn if ids is None else torch.as_tensor(ids, dtype=torch.long)

    z = normal(b, v, d)
    if LOSSES[name].input_kind == "embeddings":
        z = z / z.norm(dim=-1, keepdim=True)
    labels, bias = draw_ids(labels), draw_ids(bias)
    counts = torch.randint(0, 30, (d, d + 1), generator=draw)
    counts = torch.where(counts < 8, 0, counts)  # about one cell in four is empty
    counts.index_put_((labels, bias), torch.ones(b, dtype=torch.long), accumulate=True)
    q = uniform(d, d + 1) + 0.1
    tensors = {
        "logits": normal(b, v, d),
        "features": 2 * normal(b, v, 5),
        "bias_features": normal(b, 4),
        "bias_losses": 2 * uniform(b),
        "weights": uniform(b) + 0.5,
        "counts": counts,
        "group_weights": q / q.sum(),
        "partner_labels": draw_ids(None),
        "partner_bias": draw_ids(None),
        "mix": uniform(b),
    }
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    inputs = {
        key: tensors[key] if key in INTEGERS else tensors[key].to(wide if key in TABLES else dtype)
        for key in LOSSES[name].tensor_inputs
    }
    return Batch(z.to(dtype), labels, bias, inputs)


def make_two_batches(name, b, v, c, w, *, d=6, seed=0, dtype=torch.float64) -> Batch:
    """Draw a batch for the contrast, and logits ``(c, w, d)`` of other images with their labels.

    For a loss that takes the input ``logit_bias``, their bias values are drawn too.
    """
    batch = make_batch(name, b=b, v=v, d=d, seed=seed, dtype=dtype)
    second = make_batch("biasbal", b=c, v=w, d=d, seed=seed + 1, dtype=dtype)
    ids = {"logit_labels": second.labels, "logit_bias": second.bias}
    more = {key: ids[key] for key in LOSSES[name].optional_inputs}
    return batch._replace(inputs={**batch.inputs, "logits": second.z, **more})


def make_biased_batch(name, *, b=40, v=2, d=6, seed=0, dtype=torch.float64) -> Batch:
    """Return a batch of 3 classes. The bias value is the label (90 %) or the next label (10 %)."""
    labels = torch.arange(b) % 3
    bias = torch.where(torch.arange(b) % 10 == 0, (labels + 1) % 3, labels)
    return make_batch(name, b=b, v=v, d=d, seed=seed, dtype=dtype, labels=labels, bias=bias)


def compute_value(loss: Loss, batch: Batch, **more: Any) -> Tensor:
    """Return the loss on a batch. Group weights are copied, because the loss updates them."""
    inputs = {k: x.clone() if k == "group_weights" else x for k, x in batch.inputs.items()}
    return loss(batch.z, batch.labels, batch.bias, **inputs, **more)


def value_and_gradients(
    loss: Loss, batch: Batch, within: AbstractContextManager[object] | None = None, **more: Any
) -> tuple[float, dict[str, Tensor]]:
    """Return the loss, and its gradients with respect to z and to the inputs in ``NETWORK_OUTPUTS``.

    The forward pass runs in the context ``within``.
    """
    leaves = {"z": batch.z, **{k: batch.inputs[k] for k in NETWORK_OUTPUTS if k in batch.inputs}}
    leaves = {key: tensor.clone().requires_grad_() for key, tensor in leaves.items()}
    with within or nullcontext():
        value = compute_value(loss, batch.with_tensors(**leaves), **more)
    assert value.shape == ()
    gradients = torch.autograd.grad(value, list(leaves.values()))
    return value.item(), dict(zip(leaves, gradients, strict=True))


def compute_oracle(loss: Loss, batch: Batch) -> float | None:
    """Return the value of the oracle, None if no anchor counts."""
    free = {key: loss.parameters[key] for key in default_parameters(loss.name)}
    inputs = {
        key: (tensor if key.startswith(("partner", "logit_")) else tensor.double()).tolist()
        for key, tensor in batch.inputs.items()
    }
    lists = batch.z.double().tolist(), batch.labels.tolist(), batch.bias.tolist()
    return ORACLES[loss.name](*lists, **inputs, **free)


def check_against_oracle(loss: Loss, batch: Batch, tolerance: float) -> None:
    """Check the value against the oracle, and that gradients are finite, or 0 if no anchor counts."""
    expected = compute_oracle(loss, batch)
    value, gradients = value_and_gradients(loss, batch)
    for gradient in gradients.values():
        assert torch.isfinite(gradient).all()
    if expected is None:
        assert value == 0.0
        assert not any(gradient.any() for gradient in gradients.values())
    else:
        assert value == pytest.approx(expected, rel=tolerance, abs=tolerance)


def list_choices(name: str, key: str) -> tuple[str, ...]:
    """Return the allowed words of a free parameter, an empty tuple for a number."""
    if key in get_entry(name).fixed:
        return ()
    hint = typing.get_type_hints(load(get_entry(name).target)).get(key)
    return typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()


def needs_views(name: str, extra: Mapping[str, Any] | None = None) -> bool:
    """Return whether a loss with these parameters refuses batches with one view."""
    wb = get_loss(name, **(extra or {})).parameters.get("wb", 1)
    return "views" in LOSSES[name].batch_inputs and wb > 0


def valid_views(name: str, v: int, extra: Mapping[str, Any] | None = None) -> int:
    """Return ``v``, or 2 if it is 1 and the loss refuses batches with one view."""
    return 2 if v == 1 and needs_views(name, extra) else v


def degenerate_shapes(name: str) -> list[str]:
    """Return the names of the batches in ``DEGENERATE`` that the loss accepts."""
    return [
        shape
        for shape, arguments in DEGENERATE.items()
        if arguments.get("v") != 1 or not needs_views(name)
    ]


def choose_other_value(name: str, key: str) -> Any:
    """Return an allowed value that is not the default."""
    default = default_parameters(name)[key]
    words = [word for word in list_choices(name, key) if word != default]
    if words:
        return words[0]
    if key in ("alpha", "beta") and default == 1:
        return 0.4
    if (name, key) == ("lc", "alpha"):  # at most 0.5
        return 0.2
    other = {"q": 0.4, "delta": 1.2, "decoupling": 0.3, "contrast_weight": 0.3, "contrast_batch": 8}
    return other.get(key, min(4 * default, 1.0) if key == "p_label" else 4 * default)


def list_settings(name: str) -> list[dict[str, Any]]:
    """Return the parameters for tests of a loss: defaults, other numbers, and each word of a choice."""
    free = [key for key in default_parameters(name) if (name, key) not in TRAINING_PARAMETERS]
    numbers = {key: choose_other_value(name, key) for key in free if not list_choices(name, key)}
    cases = [{}, numbers] if numbers else [{}]
    for key in free:
        for word in list_choices(name, key):
            if word != default_parameters(name)[key]:
                cases.append({**numbers, key: word})
    return cases + [{"wa": wa, "wb": wb} for wa, wb in ((1, 0), (0, 1)) if "wa" in free]


SETTINGS = [
    pytest.param(name, extra, id="-".join([name, *(f"{k}={v}" for k, v in extra.items())]))
    for name in NAMES
    for extra in list_settings(name)
]
