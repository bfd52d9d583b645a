"""Devices: MPS is taken only if PyTorch can draw views there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from biascon.errors import UsageError
from biascon.utils.devices import can_draw_views, pick_device


@pytest.fixture
def mps(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with MPS and without CUDA; tensors of ``mps`` are on the CPU."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("ones", "full"):
        make = getattr(torch, name)

        def make_on_cpu(*arguments: Any, make: Any = make, device: Any = None, **rest: Any) -> Any:
            return make(*arguments, **rest)

        monkeypatch.setattr(torch, name, make_on_cpu)
    can_draw_views.cache_clear()
    yield
    can_draw_views.cache_clear()


def refuse_border(*_: Any, padding_mode: str, **__: Any) -> Any:
    raise RuntimeError(f"MPS: Unsupported {padding_mode} padding mode")


@pytest.mark.usefixtures("mps")
def test_mps_with_border_padding_is_taken() -> None:
    assert pick_device("auto").type == "mps"
    assert pick_device("mps").type == "mps"


@pytest.mark.usefixtures("mps")
def test_mps_without_border_padding_is_left_out_by_auto_and_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.nn.functional, "grid_sample", refuse_border)
    assert pick_device("auto").type == "cpu"
    with pytest.raises(UsageError, match="cannot draw views on MPS") as error:
        pick_device("mps")
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("mps")
def test_mps_whose_border_padding_gives_other_values_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        torch.nn.functional, "grid_sample", lambda *_, **__: torch.zeros(1, 1, 1, 1)
    )
    assert pick_device("auto").type == "cpu"


def test_the_cpu_draws_views() -> None:
    assert can_draw_views("cpu")
