"""One collective operation for all tensors of a step: gather the rows of every process, with gradient.

The tensors of a process are packed into one message of bytes, together with the number of rows of each. When
tensors of a kind (names, dtypes, sizes of a row) are gathered for the first time, or with more bytes than
before, the processes first compare these numbers. From then on a message of this kind has this size, so that
one operation is enough, and batches with fewer rows do not change the size of a message. A process with more
bytes than before compares by a message of the size before: the others may have fewer rows, and then send one
of this size.
"""

from __future__ import annotations

import math
import weakref
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from biascon.errors import UsageError

SLOTS = (
    16  # int64 numbers at the start of a message: the kind, then the number of rows of each tensor
)
ALIGN = 16  # bytes; the start of each tensor in a message is a multiple
HEADER = 8 * SLOTS

Kind = tuple[tuple[str, torch.dtype, tuple[int, ...], str], ...]


@dataclass(frozen=True)
class _Layout:
    """The place of each tensor in a message.

    Attributes:
        kind: The name, the dtype, the shape of a row and the device of each tensor.
        rows: The number of rows of each tensor.
        starts: The first byte of each tensor.
        nbytes: The size of the message.
    """

    kind: Kind
    rows: tuple[int, ...]
    starts: tuple[int, ...]
    nbytes: int

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> _Layout:
        starts, stop = [], HEADER
        for x in tensors.values():
            starts.append(stop)
            stop += -(-x.nbytes // ALIGN) * ALIGN
        kind = tuple(
            (name, x.dtype, tuple(x.shape[1:]), str(x.device.type)) for name, x in tensors.items()
        )
        return cls(kind, tuple(len(x) for x in tensors.values()), tuple(starts), stop)

    def header(self, device: torch.device) -> Tensor:
        """Return int64 ``(SLOTS,)``: a checksum of the kind, then the numbers of rows, then -1."""
        numbers = [zlib.crc32(repr(self.kind).encode()), *self.rows]
        return torch.tensor(numbers + [-1] * (SLOTS - len(numbers)), device=device)

    def pack(self, header: Tensor, tensors: tuple[Tensor, ...], size: int) -> Tensor:
        """Return uint8 ``(size,)``: the header and the tensors."""
        message = torch.empty(size, dtype=torch.uint8, device=header.device)
        message[:HEADER].view(torch.int64).copy_(header)
        for x, start in zip(tensors, self.starts, strict=True):
            message[start : start + x.nbytes].view(x.dtype).copy_(x.reshape(-1))
        return message

    def unpack(self, messages: Tensor) -> list[Tensor]:
        """Return the rows of all processes, tensor by tensor, from uint8 ``(W, size)``."""
        gathered = []
        for (_, dtype, row, _), rows, start in zip(self.kind, self.rows, self.starts, strict=True):
            nbytes = rows * math.prod(row) * dtype.itemsize
            part = messages[:, start : start + nbytes].view(dtype)
            gathered.append(part.reshape(len(messages) * rows, *row))
        return gathered


@dataclass
class _Agreements:
    """What the processes of a group have agreed on.

    Attributes:
        group: The process group.
        sizes: The size of the messages of each kind.
        headers: The headers that were compared, on the device, by kind and numbers of rows.
    """

    group: weakref.ref[Any]
    sizes: dict[Kind, int] = field(default_factory=dict)
    headers: dict[tuple[Kind, tuple[int, ...]], Tensor] = field(default_factory=dict)


_agreements: _Agreements | None = None


def _current_agreements() -> _Agreements:
    """Return the agreements of the current process group."""
    global _agreements
    if _agreements is None or _agreements.group() is not dist.group.WORLD:
        _agreements = _Agreements(weakref.ref(dist.group.WORLD))
    return _agreements


class _Gather(torch.autograd.Function):
    """Concatenate the tensors of W ranks; the gradient is W times the slice of the own rank."""

    @staticmethod
    def forward(ctx: Any, layout: _Layout, header: Tensor, size: int, *tensors: Tensor) -> Any:
        message = layout.pack(header, tensors, size)
        messages = message.new_empty(dist.get_world_size(), size)
        dist.all_gather(list(messages.unbind()), message)
        gathered = layout.unpack(messages)
        headers = messages[:, :HEADER].view(torch.int64).clone()
        ctx.rows = layout.rows
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(headers, *(x for x in gathered if not x.is_floating_point()))
        return (headers, *gathered)

    @staticmethod
    def backward(ctx: Any, _: Any, *grads: Tensor | None) -> Any:
        own, world = dist.get_rank(), dist.get_world_size()
        slices = [
            None if grad is None else grad[own * rows : (own + 1) * rows] * world
            for grad, rows in zip(grads, ctx.rows, strict=True)
        ]
        return (None, None, None, *slices)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def gather_rows(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
    """Concatenate tensors of all processes along the first dimension.

    The backward pass multiplies the gradient of the own rows by the number of processes, see
    ``biascon.losses.gather``. All processes call this function equally often, with the same kinds of tensors
    in the same order: a kind that is new to some processes only is not recognized.

    Args:
        tensors: The tensors of this process by name, each ``(B, ...)``, on one device.

    Returns:
        The tensors of all processes by name, and bool ``()``: whether all processes have as many rows. On a
        CPU it is true. On a GPU it stays on the device, because reading it would wait for the device.

    Raises:
        UsageError: The processes have other numbers of rows, or all of them have tensors of a new kind, and
            these differ. On a GPU this is raised only by a process to which these numbers are new.
    """
    layout, agreements = _Layout.of(tensors), _current_agreements()
    device = next(iter(tensors.values())).device
    key = (layout.kind, layout.rows)
    is_new = key not in agreements.headers
    header = layout.header(device) if is_new else agreements.headers[key]
    size = agreements.sizes.get(layout.kind, 0)
    if layout.nbytes > size:
        own = header.new_full((max(size, HEADER) // header.itemsize,), -1)
        own[:SLOTS] = header
        messages = own.new_empty(dist.get_world_size(), len(own))
        # A process with fewer rows gathers bytes.
        dist.all_gather(list(messages.view(torch.uint8).unbind()), own.view(torch.uint8))
        _compare(layout, messages[:, :SLOTS])
        size = agreements.sizes[layout.kind] = layout.nbytes
    headers, *gathered = _Gather.apply(layout, header, size, *tensors.values())  # type: ignore[no-untyped-call]
    if is_new or device.type == "cpu":
        _compare(layout, headers)
        agreements.headers[key] = header
    return dict(zip(tensors, gathered, strict=True)), (headers == header).all()


def _compare(layout: _Layout, headers: Tensor) -> None:
    """Refuse headers of the processes, ``(W, SLOTS)``, that are not equal."""
    table = headers.tolist()
    if len({row[0] for row in table}) > 1:
        raise UsageError(
            "expected the same inputs on every rank (names, dtypes, sizes of a row), but got others than "
            f"{', '.join(name for name, *_ in layout.kind)}"
        )
    for k, (name, *_) in enumerate(layout.kind, start=1):
        numbers = [row[k] for row in table]
        if len(set(numbers)) > 1:
            noun = "images" if name == "z" else f"rows of {name}"
            got = ", ".join(map(str, numbers))
            raise UsageError(f"expected as many {noun} on every rank, but got {got}")
