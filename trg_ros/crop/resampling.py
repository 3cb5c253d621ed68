"""Bilinear resampling that doesn't alias.

Where a crop has fewer pixels than its part of the image, blocks of pixels are averaged first. Positions count
to 1/32 px of what is sampled, as OpenCV's ``remap`` has them: that turns a head by 0.05 degrees, and camera
noise by six times as much.

Pixel (0, 0) is the centre of the upper left one. Outside the image everything is zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

#: Pixels that positions may be off by rounding; blocks must not begin elsewhere for it.
ROUNDING_PX = 1e-3


def sample_map(
    image: NDArray[np.uint8], u: NDArray[np.floating], v: NDArray[np.floating], out: NDArray[np.uint8]
) -> None:
    """Sample ``image`` (H, W, 3) at pixels ``u``, ``v`` (S, S) into ``out`` (S, S, 3); NaN gives zero."""
    region = _Region.around(image, u, v, _block(u), _block(v))
    if region is None:
        out[...] = 0
        return
    cv2.remap(
        region.pixels,
        region.columns(u),
        region.rows(v),
        cv2.INTER_LINEAR,
        out,
        borderMode=cv2.BORDER_CONSTANT,
    )


@dataclass(frozen=True)
class _Region:
    """The part of an image that a crop needs, averaged in blocks.

    Pixel i of ``pixels`` along u is centred at ``origin_x + i * block_x`` of the image.
    """

    pixels: NDArray[Any]
    origin_x: float
    origin_y: float
    block_x: int
    block_y: int

    @classmethod
    def around(
        cls,
        image: NDArray[np.uint8],
        u: NDArray[np.floating],
        v: NDArray[np.floating],
        block_x: int,
        block_y: int,
    ) -> _Region | None:
        height, width = image.shape[:2]
        span_x, span_y = _span(u, width, block_x), _span(v, height, block_y)
        if span_x is None or span_y is None:
            return None
        (x0, x1), (y0, y1) = span_x, span_y
        pixels: NDArray[Any] = image[y0 : min(y1, height), x0 : min(x1, width)]
        if block_x > 1 or block_y > 1:
            bottom, right = max(y1 - height, 0), max(x1 - width, 0)
            if bottom or right:
                pixels = cv2.copyMakeBorder(pixels, 0, bottom, 0, right, cv2.BORDER_CONSTANT)
            size = (pixels.shape[1] // block_x, pixels.shape[0] // block_y)
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        origin_x, origin_y = (start + 0.5 * (block - 1) for start, block in ((x0, block_x), (y0, block_y)))
        return cls(pixels, origin_x, origin_y, block_x, block_y)

    def columns(self, u: NDArray[np.floating]) -> NDArray[np.float32]:
        return _counted(u - self.origin_x, self.block_x, self.pixels.shape[1])

    def rows(self, v: NDArray[np.floating]) -> NDArray[np.float32]:
        return _counted(v - self.origin_y, self.block_y, self.pixels.shape[0])


def _counted(position: NDArray[np.floating], block: int, length: int) -> NDArray[np.float32]:
    """The same in blocks; what is farther out than -1 or ``length``, or NaN, is there, where all is zero.

    :param position: in pixels; it is overwritten.
    """
    if block > 1:
        position /= block
    if not (position.min() >= -1 and position.max() <= length):  # hardly ever, and if any is NaN
        position = np.fmin(np.fmax(position, -1), length)  # fmax takes NaN to -1
    return position.astype(np.float32, copy=False)


def _span(coordinate: NDArray[np.floating], length: int, block: int) -> tuple[int, int] | None:
    """First and last-plus-one pixel that samples need, in whole blocks; None if they miss the image."""
    low, high = float(coordinate.min()), float(coordinate.max())
    if not math.isfinite(low + high):
        finite = coordinate[np.isfinite(coordinate)]
        if not finite.size:
            return None
        low, high = float(finite.min()), float(finite.max())
    if high <= -1 or low >= length:
        return None
    start = max(0, math.floor(low + ROUNDING_PX) - 2 * block)
    stop = min(length, math.floor(high) + 2 * block + 1)
    return start, start + -(-(stop - start) // block) * block


def _block(coordinate: NDArray[np.floating]) -> int:
    """How many image pixels one sample stands for, from the distance between neighbouring samples."""
    quarter = len(coordinate) // 4  # on the lines through the middle, where every lens sees something
    lines = coordinate[2 * quarter], coordinate[:, 2 * quarter]
    steps = [abs(float(line[3 * quarter] - line[quarter])) / max(1, 2 * quarter) for line in lines]
    return max(1, round(max((step for step in steps if math.isfinite(step)), default=1.0)))
