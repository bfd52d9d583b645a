"""IDX files for the tests of MNIST and its variants."""

from __future__ import annotations

import struct

import numpy as np

from biascon.data.builders.mnist_source import Digits


def encode_idx(array: np.ndarray) -> bytes:
    """Return the IDX file of an array of unsigned bytes."""
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def has_same_digits(a: Digits, b: Digits) -> bool:
    """Return whether two sets of digits have the same images and labels."""
    names = ("train_images", "train_labels", "test_images", "test_labels")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)
