"""A split as a ``torch.utils.data.Dataset``. Only this module of ``biascon.data`` imports PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from biascon.data.memory_map import MappedFile, map_file
from biascon.errors import DataError, UsageError, did_you_mean
from biascon.utils.types import Array

Transform = Callable[[Any], Any]


class TorchDataset(Dataset[tuple[Any, ...]]):
    """The images of a split with their labels and bias values.

    An item is ``(image, label, bias)``: ``image`` is a uint8 tensor ``(C, H, W)``, or what ``transform``
    returns for it; ``label`` and ``bias`` are int. With ``attributes``, a fourth entry is a dictionary of int
    by name. A ``DataLoader`` collates items to ``(B, C, H, W)`` and int64 ``(B,)``.

    A memory-mapped file is not copied to the worker processes of a ``DataLoader``: a worker that is started
    by spawn opens the file again. Every image is a copy, so a transform may change it in place.

    Attributes:
        images: uint8 ``(N, C, H, W)``.
        labels: int64 ``(N,)``.
        bias: int64 ``(N,)``.
        attributes: int64 ``(N,)`` by name: the further values of an item.
        transform: Called with each image, or None.
        target_transform: Called with each label, or None.
        pil: Whether images are Pillow images instead of tensors.

    Args:
        images: See above.
        labels: See above.
        bias: See above.
        available: The arrays ``(N,)`` that ``attributes`` may name.
        attributes: The names of the further values of an item.
        transform: See above.
        target_transform: See above.
        pil: See above.

    Raises:
        UsageError: A name of ``attributes`` is unknown, or a transform cannot be called.
    """

    def __init__(
        self,
        images: Array,
        labels: Array,
        bias: Array,
        available: Mapping[str, Array],
        *,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        attributes: Sequence[str] = (),
        pil: bool = False,
    ) -> None:
        for name, function in (("transform", transform), ("target_transform", target_transform)):
            if function is not None and not callable(function):
                raise UsageError(f"expected {name} to be a function, but got {function!r}")
        names = [attributes] if isinstance(attributes, str) else list(attributes)
        for name in names:
            if name not in available:
                hint = did_you_mean(str(name), available)
                raise UsageError(
                    f"the split has no attribute '{name}'{hint} (it has: {', '.join(available)})"
                )
        self.images: Any = images  # an array, or LazyImages
        self.labels, self.bias = labels, bias
        self.attributes = {name: available[name] for name in names}
        self.transform, self.target_transform, self.pil = transform, target_transform, pil
        self._file = map_file(images)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Any, ...]:
        row = range(len(self))[row]  # a negative row counts from the end; IndexError beyond it
        return self._make_item(np.array(self.images[row]), row)

    def __getitems__(self, rows: Sequence[int]) -> list[tuple[Any, ...]]:
        """Return several items; a ``DataLoader`` calls this for a batch. The images are read at once."""
        valid = range(len(self))
        rows = [valid[row] for row in rows]
        if isinstance(self.images, np.ndarray):
            images: Any = self.images[rows]
        elif get_worker_info() is None:
            images = self.images[np.array(rows, dtype=np.int64)]  # decoded by threads
        else:  # each worker is one thread
            images = (np.array(self.images[row]) for row in rows)
        return [self._make_item(image, row) for image, row in zip(images, rows, strict=True)]

    def _make_item(self, pixels: Array, row: int) -> tuple[Any, ...]:
        """Return an item; ``pixels`` is a copy of the image, uint8 ``(C, H, W)``."""
        image: Any = self._to_pil(pixels) if self.pil else torch.from_numpy(pixels)
        label: Any = int(self.labels[row])
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            label = self.target_transform(label)
        item = (image, label, int(self.bias[row]))
        if not self.attributes:
            return item
        return (*item, {name: int(array[row]) for name, array in self.attributes.items()})

    @staticmethod
    def _to_pil(pixels: Array) -> Any:
        from PIL import Image

        if pixels.shape[0] == 1:
            return Image.fromarray(pixels[0])
        return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if self._file is not None:
            state["images"] = None  # the file is opened again
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        file: MappedFile | None = self._file
        if file is not None:
            try:
                self.images = file.open()
            except DataError as error:
                raise DataError(f"a worker process cannot read the images: {error}") from error
