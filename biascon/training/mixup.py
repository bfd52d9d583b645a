"""Partners for mixing images (placeholder until the vectorized version lands)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Partners:
    @classmethod
    def make(cls, labels: Any, bias: Any) -> Partners:
        raise NotImplementedError

    def draw(self, rows: Any, p_label: float, generator: Any) -> Any:
        raise NotImplementedError


def draw_mix(alpha: float, n: int, generator: Any) -> Any:
    raise NotImplementedError
