"""Crops on the device where the network runs: one upload of the raw image, then all faces at once.

What comes out is what `trg_ros.crop.cut_crops` makes, within a grey level or two: the same virtual cameras
and lenses, the same blocks of pixels where a face is larger than its crop, zeros outside the image. It is
plain torch, so that the CPU can show that it is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from trg_ros.backends.cuda_lens import project
from trg_ros.camera import CameraModel
from trg_ros.crop import CropWindows
from trg_ros.crop.resampling import ROUNDING_PX, block_sizes

Array = NDArray[np.float64]
Block = tuple[int, int]  # image pixels along u and v that one sample stands for

_FAR = 1e6  # in blocks, from anything that is in an image


class DeviceFrame:
    """One image on a device, and crops of it. Belongs to one thread.

    :param image_bgr: (H, W, 3) uint8; what happens to it afterwards doesn't matter.
    :param size: side of a crop in pixels.
    """

    def __init__(
        self, image_bgr: NDArray[np.uint8], camera: CameraModel, size: int, device: torch.device
    ) -> None:
        self._camera = camera
        self._size = size
        self._device = device
        self._image = upload(image_bgr, torch.uint8, device)
        self._steps = torch.linspace(-0.5, 0.5, size, device=device)
        self._tables: dict[Block, Tensor] = {}

    @torch.inference_mode()
    def cut(self, windows: CropWindows) -> Tensor:
        """Crops (N, S, S, 3) uint8 RGB on the device, N >= 1; nothing waits for them."""
        blocks = _blocks(self._camera, windows, self._size)
        order = np.lexsort(blocks.T)  # faces with the same blocks stand together
        windows, blocks = windows[order], blocks[order]
        starts = _starts(self._camera, windows, blocks, self._size)
        numbers = np.concatenate(
            [_sample_rays(windows).reshape(-1, 9), starts, np.argsort(order)[:, None]], axis=1
        )
        rays, start, position = upload(numbers, torch.float32, self._device).split([9, 2, 1], dim=1)
        u, v = project(self._camera, self._grid(rays.unflatten(1, (3, 3))))
        parts = [self._sample(u[part], v[part], start[part], block) for block, part in _runs(blocks)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)[position[:, 0].long()]

    def _grid(self, rays: Tensor) -> Tensor:
        """Rays (N, 3, S, S) of all samples. No matrix product: TF32 would move samples by whole pixels."""
        along_x, along_y, middle = rays[..., None, None].unbind(2)
        return along_x * self._steps + (along_y * self._steps[:, None] + middle)

    def _sample(self, u: Tensor, v: Tensor, start: Tensor, block: Block) -> Tensor:
        """Crops of faces with the same blocks: bilinear between the blocks' means."""
        height, width = self._image.shape[:2]
        if block not in self._tables:
            self._tables[block] = _block_means(self._image, block)
        table = self._tables[block]
        x, weight_x = _neighbours(u, start[:, 0, None, None], block[0], width)
        y, weight_y = _neighbours(v, start[:, 1, None, None], block[1], height)
        values = table.reshape(-1, 3)[y[:, None] * table.shape[1] + x]
        mixed = (values * (weight_y[:, None] * weight_x)[..., None]).sum((0, 1))
        return (mixed + 0.5).to(torch.uint8).flip(-1)


def upload(array: NDArray, dtype: torch.dtype, device: torch.device) -> Tensor:
    """An array as a tensor on the device, through pinned memory; nothing waits for the copy.

    torch keeps the pinned memory until the copy is done, and gives it to the next one then.
    """
    staging = torch.empty(array.shape, dtype=dtype, pin_memory=device.type == "cuda")
    np.copyto(staging.numpy(), array, casting="same_kind")
    return staging.to(device, non_blocking=True)


def _block_means(image: Tensor, block: Block) -> Tensor:
    """(H + by + 1, W + bx + 1, 3): [y, x] is the mean of the block that begins at pixel (x - bx, y - by);
    what is outside the image counts as zero."""
    bx, by = block
    padded = functional.pad(image, (0, 0, bx, bx, by, by))
    if block == (1, 1):
        return padded
    planes = padded.permute(2, 0, 1)[None].float()
    return functional.avg_pool2d(planes, (by, bx), stride=1)[0].permute(1, 2, 0).contiguous()


def _neighbours(coordinate: Tensor, start: Tensor, block: int, length: int) -> tuple[Tensor, Tensor]:
    """Where in a table of block means the two blocks are that a sample lies between, and their weights.

    :param coordinate: (n, S, S) pixels; NaN is outside.
    :param start: (n, 1, 1) a pixel where a block begins.
    :returns: both (2, n, S, S).
    """
    blocks = (coordinate - (start + 0.5 * (block - 1))) / block
    blocks = blocks.clamp(-_FAR, _FAR).nan_to_num(-_FAR)
    whole = blocks.floor()
    first = start + whole * block
    both = torch.stack([first, first + block]).clamp(-block, length) + block
    weight = blocks - whole
    return both.long(), torch.stack([1 - weight, weight])


def _sample_rays(windows: CropWindows) -> Array:
    """(N, 3, 3): the ray of a sample is the sum of the columns times (x, y, 1), x and y -0.5..0.5."""
    on_plane = np.zeros((len(windows), 3, 3))
    on_plane[:, 0, 0] = on_plane[:, 1, 1] = windows.size
    on_plane[:, :2, 2], on_plane[:, 2, 2] = windows.center, 1.0
    return windows.camera_R_virtual @ on_plane


def _blocks(camera: CameraModel, windows: CropWindows, size: int) -> NDArray[np.int64]:
    """(N, 2) pixels along u and v that a sample stands for, as `trg_ros.crop.resampling` counts them."""
    quarter = size // 4
    low, middle, high = np.linspace(-0.5, 0.5, size)[[quarter, 2 * quarter, 3 * quarter]]
    ends = np.array([[low, middle], [high, middle], [middle, low], [middle, high]])
    pixels = _project(camera, windows, ends)
    steps = np.abs(pixels[:, 1::2] - pixels[:, 0::2]) / (2 * quarter)
    longest = np.where(np.isfinite(steps), steps, 0.0).max(axis=1)
    return np.array([block_sizes(*each) for each in longest.tolist()], np.int64).reshape(-1, 2)


def _starts(camera: CameraModel, windows: CropWindows, blocks: NDArray[np.int64], size: int) -> Array:
    """(N, 2) pixels where blocks begin; zeros for a face whose samples stand for single pixels."""
    starts = np.zeros((len(windows), 2))
    large = np.flatnonzero((blocks > 1).any(axis=1))
    if len(large):
        steps, ends = np.linspace(-0.5, 0.5, size), np.full(size, 0.5)
        sides = [(steps, -ends), (steps, ends), (-ends, steps), (ends, steps)]
        border = np.concatenate([np.stack(side, axis=1) for side in sides])
        first = np.fmin.reduce(_project(camera, windows[large], border), axis=1)  # NaN only if all are
        starts[large] = np.maximum(np.nan_to_num(np.floor(first + ROUNDING_PX) - 2 * blocks[large]), 0)
    return starts


def _project(camera: CameraModel, windows: CropWindows, places: Array) -> Array:
    """(N, P, 2) pixels of places (P, 2) in windows, -0.5..0.5 over their sides."""
    return camera.project(windows.rays(windows.center[:, None] + windows.size[:, None, None] * places))


def _runs(blocks: NDArray[np.int64]) -> Iterator[tuple[Block, slice]]:
    """Each block and the rows that have it; rows with the same one stand together."""
    changes = np.flatnonzero((blocks[1:] != blocks[:-1]).any(axis=1)) + 1
    bounds = [0, *changes.tolist(), len(blocks)]
    for first, last in pairwise(bounds):
        yield (int(blocks[first, 0]), int(blocks[first, 1])), slice(first, last)
