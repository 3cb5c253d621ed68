"""Bilinear resampling that is exact in position and doesn't alias.

OpenCV's ``remap`` and ``warpAffine`` round source coordinates to 1/32 pixel; that is seen in a pose that is
asked for at a hundredth of a pixel, and these few lines of NumPy cost about as little.

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
    x, wx = region.columns(u)
    y, wy = region.rows(v)
    corners = cv2.merge([x.astype(np.int16), y.astype(np.int16)])  # a region is little larger than the crop
    pixels = region.pixels.astype(np.float32)
    to_right, down = (cv2.merge([weight] * 3) for weight in (wx, wy))  # for three channels
    upper = _between_columns(pixels[:-1], corners, to_right)
    lower = _between_columns(pixels[1:], corners, to_right)
    cv2.convertScaleAbs(_mixed(upper, lower, down), out)


def _between_columns(pixels: NDArray[np.float32], corners: Any, weight: Any) -> NDArray[np.float32]:
    """Mixture of the pixels at ``corners`` and of their right neighbours."""
    nothing = np.empty(0)  # a second map, of which whole numbers have no need
    left = cv2.remap(pixels[:, :-1], corners, nothing, cv2.INTER_NEAREST)
    right = cv2.remap(pixels[:, 1:], corners, nothing, cv2.INTER_NEAREST)
    return _mixed(left, right, weight)


def _mixed(first: Any, second: Any, weight: Any) -> NDArray[np.float32]:
    """``first``, and ``weight`` (of the same shape) of the way to ``second``; both are overwritten."""
    second -= first
    second *= weight
    first += second
    return first


@dataclass(frozen=True)
class _Region:
    """The part of an image that a crop needs, averaged in blocks, with zeros where the image ends.

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
        pixels: NDArray[Any] = np.ascontiguousarray(image[y0 : min(y1, height), x0 : min(x1, width)])
        bottom, right = max(y1 - height, 0), max(x1 - width, 0)
        if bottom or right:
            pixels = cv2.copyMakeBorder(pixels, 0, bottom, 0, right, cv2.BORDER_CONSTANT)
        if block_x > 1 or block_y > 1:
            size = (pixels.shape[1] // block_x, pixels.shape[0] // block_y)
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        pixels = cv2.copyMakeBorder(pixels, 1, 1, 1, 1, cv2.BORDER_CONSTANT)
        origin_x, origin_y = (
            start + 0.5 * (block - 1) - block for start, block in ((x0, block_x), (y0, block_y))
        )
        return cls(pixels, origin_x, origin_y, block_x, block_y)

    def columns(self, u: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.float32]]:
        return _split(u - self.origin_x, self.block_x, self.pixels.shape[1])

    def rows(self, v: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.float32]]:
        return _split(v - self.origin_y, self.block_y, self.pixels.shape[0])


def _split(
    position: NDArray[np.floating], block: int, length: int
) -> tuple[NDArray[np.floating], NDArray[np.float32]]:
    """Whole and fractional part, in blocks, clamped into 0..length-1; the pixels at both ends are zeros.

    :param position: in pixels; it is overwritten.
    """
    if block > 1:
        position /= block
    if position.min() >= 0 and position.max() < length - 1:  # nearly always, and not if any is NaN
        whole = np.floor(position)
    else:
        position = np.fmin(np.fmax(position, 0), length - 1)  # fmax takes NaN to 0, a zero
        whole = np.minimum(np.floor(position), length - 2)
    position -= whole
    return whole, position.astype(np.float32, copy=False)


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
