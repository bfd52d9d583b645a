"""What a preset is for, what it costs on a CPU, and where it comes from: the table ``[about]`` of its file.

The table is no part of the configuration of a run: no digest covers it.
"""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, fields
from importlib import resources
from typing import Any, Literal

from biascon.utils.text import format_duration

ABOUT = "about"  # the name of the table


@dataclass(frozen=True)
class PresetAbout:
    """The description of a preset that comes with the package.

    Attributes:
        data: The pictures that the preset is for.
        pixels: The side of these pictures.
        device: The device that the preset is made for.
        cpu_seconds: The time of one run on a CPU: training, probe and measurements.
        cost: Whether ``cpu_seconds`` is measured, or estimated from the time of some steps.
        cost_of: The dataset and the number of cores that ``cpu_seconds`` is of.
        source: Where the settings come from.
    """

    data: str
    pixels: str
    device: Literal["cpu", "gpu"]
    cpu_seconds: int
    cost: Literal["measured", "estimated"]
    cost_of: str
    source: str

    def __post_init__(self) -> None:
        texts = (self.data, self.pixels, self.cost_of, self.source)
        if not (
            all(isinstance(text, str) and text for text in texts)
            and self.device in ("cpu", "gpu")
            and self.cost in ("measured", "estimated")
            and isinstance(self.cpu_seconds, int)
            and self.cpu_seconds > 0
        ):
            raise ValueError(f"a value of [{ABOUT}] is not allowed: {self}")

    def describe_cost(self) -> str:
        """Return the time of one run on a CPU, with what it is of: ``some 24 h (MNIST, two cores)``."""
        return f"some {format_duration(self.cpu_seconds)} ({self.cost_of}, {self.cost})"

    def to_json(self) -> dict[str, Any]:
        """Return the description as plain data."""
        return asdict(self)


def read_about(preset: str) -> PresetAbout:
    """Return the description of a preset that comes with the package.

    Args:
        preset: A name of ``biascon.config.settings.list_presets``.

    Raises:
        ValueError: The table lacks a key, has an unknown key, or has a value that is not allowed.
    """
    path = resources.files("biascon.config") / "presets" / f"{preset}.toml"
    table = tomllib.loads(path.read_text("utf-8")).get(ABOUT, {})
    keys = {field.name for field in fields(PresetAbout)}
    if set(table) != keys:
        raise ValueError(f"[{ABOUT}] of the preset {preset} has not the keys {sorted(keys)}")
    return PresetAbout(**table)
