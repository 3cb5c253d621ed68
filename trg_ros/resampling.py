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

Array = NDArray[np.float64]


def sample_axis_aligned(image: NDArray[np.uint8], u: Array, v: Array, out: NDArray[np.uint8]) -> None:
    """Sample ``image`` (H, W, 3) at columns ``u`` (S,) and rows ``v`` (S,), equidistant, into ``out``."""
    region = _Region.around(image, u, v, _block(u), _block(v))
    if region is None:
        out[...] = 0
        return
    x, wx = region.columns(u)
    y, wy = region.rows(v)
    x, y = x.astype(np.intp), y.astype(np.intp)
    pixels = region.pixels[y[0] : y[-1] + 2, x[0] : x[-1] + 2].astype(np.float32)
    x, y = x - x[0], y - y[0]
    rows = pixels[y]
    rows += (pixels[y + 1] - rows) * wy[:, None, None]
    result = rows[:, x]
    result += (rows[:, x + 1] - result) * wx[:, None]
    _store(result, out)


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
    corners = cv2.merge([x, y]).astype(np.int16)  # a region is little larger than the crop
    pixels = region.pixels.astype(np.float32)
    upper = _between_columns(pixels[:-1], corners, wx)
    lower = _between_columns(pixels[1:], corners, wx)
    cv2.convertScaleAbs(cv2.blendLinear(upper, lower, 1 - wy, wy), out)


def _between_columns(
    pixels: NDArray[np.float32], corners: NDArray[np.int16], weight: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Mixture of the pixels at ``corners`` and of their right neighbours."""
    nothing = np.empty(0)  # a second map, of which whole numbers have no need
    left = cv2.remap(pixels[:, :-1], corners, nothing, cv2.INTER_NEAREST)
    right = cv2.remap(pixels[:, 1:], corners, nothing, cv2.INTER_NEAREST)
    return np.asarray(cv2.blendLinear(left, right, 1 - weight, weight), np.float32)


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
        return _split((u - self.origin_x) / self.block_x, self.pixels.shape[1])

    def rows(self, v: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.float32]]:
        return _split((v - self.origin_y) / self.block_y, self.pixels.shape[0])


def _split(coordinate: NDArray[np.floating], length: int) -> tuple[NDArray[np.floating], NDArray[np.float32]]:
    """Whole and fractional part, clamped into 0..length-1; the pixels at both ends are zeros."""
    inside = np.fmin(np.fmax(coordinate, 0), length - 1)  # fmax takes NaN to 0, a zero
    whole = np.minimum(np.floor(inside), length - 2)
    return whole, (inside - whole).astype(np.float32)


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
    start = max(0, math.floor(low) - 2 * block)
    stop = min(length, math.floor(high) + 2 * block + 1)
    return start, start + -(-(stop - start) // block) * block


def _block(coordinate: NDArray[np.floating]) -> int:
    """How many image pixels one sample stands for, from the distance between neighbouring samples."""
    if coordinate.ndim == 1:  # equidistant
        return max(1, round((coordinate[-1] - coordinate[0]) / (len(coordinate) - 1)))
    quarter = len(coordinate) // 4  # on the lines through the middle, where every lens sees something
    lines = coordinate[2 * quarter], coordinate[:, 2 * quarter]
    steps = [abs(float(line[3 * quarter] - line[quarter])) / max(1, 2 * quarter) for line in lines]
    return max(1, round(max((step for step in steps if math.isfinite(step)), default=1.0)))


def _store(values: NDArray[np.float32], out: NDArray[np.uint8]) -> None:
    np.add(values, 0.5, out=values)
    out[...] = values
