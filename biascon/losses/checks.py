"""Checks of the tensors of a call: shapes and dtypes at every call, values on demand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from biascon.errors import UsageError
from biascon.losses.pairwise import check_shape
from biascon.losses.per_image import check_range

InputKind = Literal["embeddings", "logits"]


def check_inputs(
    input_kind: InputKind, z: Tensor, bias: Tensor | None, inputs: Mapping[str, Tensor]
) -> None:
    """Refuse a batch without views, inputs whose shape or dtype does not fit, and bias values without a cell.

    Raises:
        UsageError: The message holds what was expected.
    """
    if z.ndim == 2:
        last, fix = (
            ("D", "torch.stack([z1, z2], 1)") if input_kind == "embeddings" else ("K", "z[:, None]")
        )
        raise UsageError(
            f"expected z of shape (B, V, {last}), but got {tuple(z.shape)} (V are views: pass {fix})"
        )
    for name, values in inputs.items():
        if name == "logits" and "logit_labels" in inputs:
            continue  # logits of other images than z; the loss checks them
        if name in ("logits", "features") and z.ndim == 3:
            check_shape(name, values, *z.shape[:2], "K" if name == "logits" else "F")
            if not values.is_floating_point():
                raise UsageError(f"expected {name} to be floating point, but got {values.dtype}")
        if name in ("counts", "group_weights") and values.ndim == 2 and bias is not None:
            check_range("bias", bias, values.shape[1])


def check_values(name: str, input_kind: InputKind, z: Tensor, inputs: Mapping[str, Tensor]) -> None:
    """Refuse values that make a loss NaN or meaningless.

    Raises:
        UsageError: The message names the index of the value.
    """
    for key, values in {"z": z, **inputs}.items():
        if not values.is_floating_point():
            continue
        not_finite = ~values.isfinite()
        if not_finite.any():
            index = ", ".join(map(str, not_finite.nonzero()[0].tolist()))
            raise UsageError(f"loss '{name}': {key}[{index}] is {values[not_finite][0].item()}")
    _check_ranges(name, inputs)
    # The function of the loss refuses another shape or dtype.
    has_norms = z.ndim == 3 and z.is_floating_point() and z.numel() > 0
    if input_kind == "embeddings" and has_norms:
        wide = z.detach().float() if z.device.type == "mps" else z.detach().double()
        norms = wide.norm(dim=-1)
        tolerance = 1e-2 if z.dtype.itemsize < 4 else 1e-4
        not_unit = (norms - 1).abs() > tolerance
        if not_unit.any():
            index = ", ".join(map(str, not_unit.nonzero()[0].tolist()))
            raise UsageError(
                f"loss '{name}': expected embeddings of norm 1 (normalize them), "
                f"but z[{index}] has norm {norms[not_unit][0].item():.4g}"
            )


def _check_ranges(loss: str, inputs: Mapping[str, Tensor]) -> None:
    """Refuse shares outside 0..1, negative weights, and counts that are no numbers of images."""
    for name, values in inputs.items():
        if name == "mix":
            invalid, expected = (values < 0) | (values > 1), "in 0..1"
        elif name == "counts":
            invalid = (values < 0) | (values != values.round())
            expected = "a number of images (not a share)"
        elif name in ("weights", "bias_losses", "group_weights"):
            invalid, expected = values < 0, "at least 0"
        else:
            continue
        if invalid.any():
            index = ", ".join(map(str, invalid.nonzero()[0].tolist()))
            got = f"{values[invalid][0].item():.4g}"
            raise UsageError(
                f"loss '{loss}': expected {name}[{index}] to be {expected}, but got {got}"
            )
        if name == "group_weights" and values.numel() and not values.any():
            raise UsageError(
                f"loss '{loss}': expected a cell with group_weights above 0, but got none"
            )
