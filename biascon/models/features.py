"""Extract the features of images with a trained encoder, block by block.

Features are computed in float32, without autocast.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor, nn

from biascon.data.memory_map import release_pages
from biascon.errors import DivergedError
from biascon.models.encoders import Encoder
from biascon.models.preprocess import normalize
from biascon.utils.devices import free_memory
from biascon.utils.progress import report_progress
from biascon.utils.types import Array

PIXELS = 784_000  # pixels of a block on the CPU: 1,000 images of 28 x 28
MAX_BLOCK_IMAGES = 8192
PROBED_IMAGES = 4  # images of the forward pass that measures the memory of activations
MEMORY_SHARE = 4  # the activations of a block take at most this part of the free memory: 1 / 4


def fixed_block_size(images: Array) -> int:
    """Return the images of a block that does not depend on the device: 1,000 of 28 x 28 pixels."""
    return min(1000, max(1, PIXELS // math.prod(images.shape[2:])))


def fitting_block_size(network: nn.Module, images: Array, device: torch.device) -> int:
    """Return the images of a block whose activations fit into a quarter of the free memory of a GPU.

    A forward pass of four images measures the memory of an image. On other devices the block has a fixed
    number of pixels.

    Args:
        network: The network, on ``device``, in evaluation mode.
        images: uint8 ``(N, 3, H, W)``.
        device: The device.
    """
    if device.type != "cuda" or not len(images):
        return fixed_block_size(images)
    block = torch.zeros(PROBED_IMAGES, *images.shape[1:], dtype=torch.uint8, device=device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    with torch.inference_mode():
        network(normalize(block))
    per_image = (torch.cuda.max_memory_allocated(device) - before) / PROBED_IMAGES
    fitting = int(free_memory(device) / MEMORY_SHARE / max(per_image, 1))
    return min(MAX_BLOCK_IMAGES, max(1, fitting))


def iter_outputs(
    network: nn.Module,
    images: Array,
    *,
    device: torch.device,
    prepare: Callable[[Tensor], Tensor] = normalize,
    batch_size: int | None = None,
) -> Iterator[tuple[slice, Tensor]]:
    """Yield rows and the outputs of a network for them, float32 on the CPU, in order.

    The network is in evaluation mode while a block is computed. Images that are decoded when they are read
    are decoded while the device works on the previous block.

    Args:
        network: The network, on ``device``.
        images: uint8 ``(N, 3, H, W)``, an array or an array-like that decodes its rows.
        device: The device of the computation.
        prepare: Maps a block of uint8 images to the input of the network.
        batch_size: Images in a block. The default is that of ``fitting_block_size``.
    """
    training = network.training
    network.eval()
    try:
        size = batch_size or fitting_block_size(network, images, device)
        for rows, block in _read_ahead(images, size):
            with torch.inference_mode():
                output = network(prepare(torch.from_numpy(block).to(device))).float().cpu()
            yield rows, output
            release_pages(images)
            report_progress("features", min(rows.stop, len(images)), len(images), "images")
    finally:
        network.train(training)


def _read_ahead(images: Array, size: int) -> Iterator[tuple[slice, Array]]:
    """Yield rows and their images; a thread reads the next block of images that must be decoded."""
    blocks = [slice(start, start + size) for start in range(0, len(images), size)]
    on_demand = not isinstance(images, np.ndarray)  # images are decoded when they are read
    if not (on_demand and blocks):
        for rows in blocks:
            yield rows, images[rows]
        return
    with ThreadPoolExecutor(1) as reader:
        following = reader.submit(images.__getitem__, blocks[0])
        for k, rows in enumerate(blocks):
            block = following.result()
            if k + 1 < len(blocks):
                following = reader.submit(images.__getitem__, blocks[k + 1])
            yield rows, block


def extract_features(
    encoder: Encoder,
    images: Array,
    *,
    device: torch.device,
    prepare: Callable[[Tensor], Tensor] = normalize,
    batch_size: int | None = None,
) -> Array:
    """Return float32 ``(N, D)``: the features of images without augmentation, in evaluation mode.

    Args:
        encoder: The encoder, on ``device``.
        images: uint8 ``(N, 3, H, W)``.
        device: The device of the computation.
        prepare: Maps a block of uint8 images to the input of the encoder. It is called for each block, in
            order.
        batch_size: Images in a block. The default is 1,000 images of 28 x 28 pixels and fewer larger images;
            on a GPU as many as fit.

    Raises:
        DivergedError: A feature is not finite.
    """
    features = torch.empty(len(images), encoder.dim)
    blocks = iter_outputs(encoder, images, device=device, prepare=prepare, batch_size=batch_size)
    for rows, output in blocks:
        features[rows] = output
    check_finite(features)
    array: Array = features.numpy()
    return array


def check_finite(features: Tensor) -> None:
    """Refuse features that are not finite.

    Raises:
        DivergedError: A feature is not finite.
    """
    if not bool(features.isfinite().all()):
        raise DivergedError("the encoder gives features that are not finite; its training diverged")
