"""Changed inputs for readers: bytes, JSON trees, and lines of text. A seeded generator draws all changes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np

Mutator = Callable[[bytes, np.random.Generator], bytes]
NUMBERS = (0, 1, -1, 2, 255, 256, 2**31 - 1, 2**31, 2**63 - 1, 2**64, 10**400)
FLOATS = (0.0, -1.0, 0.5, 1.5, 1e-308, 1e308, float("nan"), float("inf"), -float("inf"))
TEXTS = (
    "",
    "x",
    "train",
    "0",
    "../../x",
    "/etc/passwd",
    "\x1b[31m",
    "\u202e",
    "a" * 5000,
    "é",
    "\x00",
    "\n",
)
OTHERS = (None, True, False, [], {}, [[]], [0], ["x"], {"x": 1}, {"value": 1, "n": 1, "ci": None})
SPLICED = (
    b"\x00",
    b"\xff" * 8,
    b"\n",
    b'"',
    b"[" * 3000,
    b"{",
    b"}",
    b",",
    b"1e999",
    b"nan",
    b"-1",
    b"\xef\xbb\xbf",
)


def mutate_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip, delete, repeat, overwrite or insert bytes, one to four times."""
    content = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        size = len(content)
        at, width = int(rng.integers(0, size + 1)), int(rng.integers(1, 64))
        kind = int(rng.integers(0, 7))
        if kind == 0 and size:
            content[min(at, size - 1)] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            del content[at : at + width]
        elif kind == 2:
            del content[at:]
        elif kind == 3:
            content[at:at] = content[at : at + width]
        elif kind == 4:
            content[at : at + 8] = int(rng.choice(NUMBERS[:10])).to_bytes(
                16, "little", signed=True
            )[:8]
        elif kind == 5:
            content[at:at] = SPLICED[int(rng.integers(0, len(SPLICED)))]
        else:
            content[at : at + width] = rng.bytes(width)
    return bytes(content)


def mutate_json(data: bytes, rng: np.random.Generator) -> bytes:
    """Replace, delete, repeat or nest values of a JSON tree, one to three times."""
    tree = json.loads(data)
    for _ in range(int(rng.integers(1, 4))):
        parents = [(tree, key) for key in _keys(tree)]
        for parent, key in parents:  # the list grows while all deeper places are added
            parents.extend((parent[key], inner) for inner in _keys(parent[key]))
            if len(parents) > 3000:
                break
        if not parents:
            break
        parent, key = parents[int(rng.integers(0, len(parents)))]
        kind = int(rng.integers(0, 6))
        if kind == 0:
            del parent[key]
        elif kind == 1 and isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        elif kind == 1:
            parent[_draw(TEXTS, rng)] = copy.deepcopy(parent[key])
        elif kind == 2:
            parent[key] = [parent[key]]
        elif kind == 3:
            other, other_key = parents[int(rng.integers(0, len(parents)))]
            if other_key in (other if isinstance(other, dict) else range(len(other))):
                parent[key] = copy.deepcopy(other[other_key])
        else:
            parent[key] = _draw((*NUMBERS, *FLOATS, *TEXTS, *OTHERS), rng)
    return json.dumps(tree, indent=2).encode("utf-8", "surrogatepass")


def mutate_lines(data: bytes, rng: np.random.Generator) -> bytes:
    """Swap, delete, repeat or rewrite lines or words of a text, or change its bytes."""
    if rng.random() < 0.4:
        return mutate_bytes(data, rng)
    lines = data.split(b"\n")
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(0, len(lines)))
        kind = int(rng.integers(0, 5))
        if kind == 0 and len(lines) > 1:
            del lines[at]
        elif kind == 1:
            lines.insert(at, lines[int(rng.integers(0, len(lines)))])
        elif kind == 2:
            lines[at] = str(_draw((*NUMBERS[:10], *FLOATS, *TEXTS), rng)).encode()
        else:
            words = lines[at].replace(b"=", b" = ").split(b" ")
            words[int(rng.integers(0, len(words)))] = json.dumps(
                _draw((*NUMBERS, *FLOATS, *TEXTS, *OTHERS), rng)
            ).encode()
            lines[at] = b" ".join(words)
    return b"\n".join(lines)


def _draw(values: tuple[Any, ...], rng: np.random.Generator) -> Any:
    return copy.deepcopy(values[int(rng.integers(0, len(values)))])


def _keys(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value)
    return list(range(len(value))) if isinstance(value, list) else []
