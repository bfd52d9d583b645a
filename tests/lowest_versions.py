"""Print the lowest versions that ``pyproject.toml`` allows, as requirements of pip: ``numpy==1.26``.

python tests/lowest_versions.py [EXTRA ...]
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def list_lowest(extras: list[str]) -> list[str]:
    """Return a requirement ``name==version`` for each lower bound of the package and of the extras."""
    text = (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    bounds = [*project["dependencies"]]
    for extra in extras:
        bounds += project["optional-dependencies"][extra]
    return [bound.replace(">=", "==") for bound in bounds]


if __name__ == "__main__":
    print("\n".join(list_lowest(sys.argv[1:])))
