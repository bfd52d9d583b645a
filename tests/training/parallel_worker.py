"""The command line with one more encoder, ``plain``, whose layers do not see the batch."""

from __future__ import annotations

import sys

from torch import nn

from biascon.cli import main
from biascon.models.encoders import ENCODERS, Encoder


def plain() -> Encoder:
    """Two convolutions without normalization, 16-d."""
    layers = [nn.Conv2d(3, 8, 4, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 4, 2, 1), nn.ReLU()]
    return Encoder(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 16, 8)


if __name__ == "__main__":
    ENCODERS["plain"] = plain
    main(sys.argv[1:])
