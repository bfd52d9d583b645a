"""The convolutions of ``fastconvnet``: PyTorch's own, and as matrix products on gathered patches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from machine import seconds_of
from torch import Tensor

N = 256  # images of a step: 128 with two views
ROUNDS = 25
# Channels, side, kernel, stride, padding and output channels.
LAYERS = ((3, 28, 4, 2, 1, 16), (16, 14, 4, 2, 1, 32), (32, 7, 3, 2, 0, 64))
Row = dict[str, Any]


def convolutions(device: torch.device) -> list[Row]:
    """Milliseconds of each convolution with one thread: forward, gradient of the input, of the weight."""
    torch.set_num_threads(1)
    evict = torch.empty(1 << 22, device=device)  # a step does not find its tensors in the cache
    rows = []
    for c, side, kernel, stride, padding, out in LAYERS:
        layer = _Layer(c, side, kernel, stride, padding, out, device)
        layer.check()
        calls: dict[str, Callable[[], Tensor]] = {}
        for name, call in layer.calls().items():
            calls[f"{name} evict"] = lambda: evict.add_(1)
            calls[name] = call
        took = seconds_of(calls, ROUNDS, device)
        for part in ("forward", "input", "weight"):
            ours, theirs = (1000 * took[f"{part}, {way}"] for way in ("products", "own"))
            rows.append(
                {
                    "what": f"{kernel}x{kernel}/{stride}, {c} to {out} channels: {part}",
                    "PyTorch, ms": round(theirs, 2),
                    "patches and matrix product, ms": round(ours, 2),
                }
            )
    return rows


class _Layer:
    """A convolution of a channels-last batch, computed in two ways."""

    def __init__(
        self, c: int, side: int, kernel: int, stride: int, padding: int, out: int, device: Any
    ) -> None:
        draw = torch.Generator().manual_seed(0)
        self.kernel, self.stride, self.padding = kernel, stride, padding
        self.x = self._draw((N, c, side, side), draw, device)
        self.weight = self._draw((out, c, kernel, kernel), draw, device)
        self.side_out = (side + 2 * padding - kernel) // stride + 1
        self.gradient = self._draw((N, out, self.side_out, self.side_out), draw, device)
        self.matrix = self.weight.permute(0, 2, 3, 1).reshape(out, -1)  # (O, k k C)
        self.rows = self.gradient.permute(0, 2, 3, 1).reshape(-1, out)  # (M, O)

    @staticmethod
    def _draw(shape: tuple[int, ...], draw: torch.Generator, device: Any) -> Tensor:
        values = torch.randn(shape, generator=draw).to(device)
        return values.contiguous(memory_format=torch.channels_last)

    def calls(self) -> dict[str, Callable[[], Tensor]]:
        """Return each computation by its part and way."""
        return {
            "forward, own": lambda: torch.conv2d(
                self.x, self.weight, None, self.stride, self.padding
            ),
            "input, own": lambda: self._own([True, False, False])[0],
            "weight, own": lambda: self._own([False, True, False])[1],
            "forward, products": lambda: self._patches() @ self.matrix.T,
            "input, products": self._input_gradient,
            "weight, products": lambda: self.rows.T @ self._patches(),
        }

    def check(self) -> None:
        """Refuse to measure two ways that do not give the same numbers."""
        results = {name: call() for name, call in self.calls().items()}
        n, c = len(self.x), self.x.shape[1]
        side = self.side_out
        forward = results["forward, products"].view(n, side, side, -1).permute(0, 3, 1, 2)
        weight = results["weight, products"].view(-1, self.kernel, self.kernel, c)
        pairs = {
            "forward": forward,
            "input": results["input, products"].permute(0, 3, 1, 2),
            "weight": weight.permute(0, 3, 1, 2),
        }
        for part, result in pairs.items():
            expected = results[f"{part}, own"]
            gap = (result - expected).norm() / expected.norm()
            assert gap < 1e-5, (part, gap)

    def _own(self, mask: list[bool]) -> Any:
        s, p = [self.stride] * 2, [self.padding] * 2
        return torch.ops.aten.convolution_backward(
            self.gradient, self.x, self.weight, None, s, p, [1, 1], False, [0, 0], 1, mask
        )

    def _patches(self) -> Tensor:
        """Return ``(M, k k C)``: the input of each output pixel."""
        p, k, s = self.padding, self.kernel, self.stride
        x = torch.nn.functional.pad(self.x.permute(0, 2, 3, 1), (0, 0, p, p, p, p))
        c, steps = x.shape[3], x.stride()
        windows = x.as_strided(
            (len(x), self.side_out, self.side_out, k, k * c),
            (steps[0], steps[1] * s, steps[2] * s, steps[1], 1),
        )
        return windows.reshape(-1, k * k * c)

    def _input_gradient(self) -> Tensor:
        """Return the gradient of the input ``(N, H, W, C)``: products of patches, added up."""
        k, s, p, side = self.kernel, self.stride, self.padding, self.side_out
        n, c, h, w = self.x.shape
        patches = (self.rows @ self.matrix).view(n, side, side, k, k, c)
        total = patches.new_zeros(n, h + 2 * p, w + 2 * p, c)
        for i in range(k):
            for j in range(k):
                part = total[:, i : i + s * side - s + 1 : s, j : j + s * side - s + 1 : s]
                part += patches[:, :, :, i, j]
        return total[:, p : h + p, p : w + p]
