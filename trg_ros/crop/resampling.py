"""Bilinear resampling that doesn't alias.

Where a crop has fewer pixels than its part of the image, blocks of pixels are averaged first. Positions count
to 1/32 px of what is sampled, as OpenCV's ``remap`` has them: that turns a head by 0.05 degrees, and camera
noise by six times as much.

Pixel (0, 0) is the centre of the upper left one. Outside the image everything is zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

#: Pixels that positions may be off by rounding; blocks must not begin elsewhere for it.
ROUNDING_PX = 1e-3
#: A square is seen from its front if no part of it is nearer than this part of its farthest one.
_LEAST_DEPTH = 1e-3
#: Steps of samples whose ratio is below this are taken for equal.
_ALIKE = 1.25


def sample_map(
    image: NDArray[np.uint8], u: NDArray[np.floating], v: NDArray[np.floating], out: NDArray[np.uint8]
) -> None:
    """Sample ``image`` (H, W, 3) at pixels ``u``, ``v`` (S, S) into ``out`` (S, S, 3); NaN gives zero."""
    region = _Region.around(image, _extent(u), _extent(v), *block_sizes(_step(u), _step(v)))
    if region is None:
        out[...] = 0
        return
    columns = _counted(u - region.origin_x, region.block_x, region.pixels.shape[1])
    rows = _counted(v - region.origin_y, region.block_y, region.pixels.shape[0])
    region.sample(columns, rows, out)


def sample_plane(image: NDArray[np.uint8], homography: NDArray[np.float64], out: NDArray[np.uint8]) -> bool:
    """The same at the pixels of a square, -0.5..0.5 each way, that is seen as a homography says. Its corners
    tell what :func:`sample_map` has to search whole arrays for.

    :param homography: (3, 3), takes (x, y, 1) to (u, v, 1) times a depth.
    :returns: False if nothing was done, as parts of the square are behind the camera or nearly so.
    """
    size = len(out)
    projected = homography @ _few_places(size)
    depth = projected[2]
    if not depth.min() > _LEAST_DEPTH * depth.max():
        return False
    us, vs = (projected[:2] / depth).tolist()
    extent_u, extent_v = ((min(ends[:4]), max(ends[:4])) for ends in (us, vs))
    steps_uv = (_longest([ends[5] - ends[4], ends[7] - ends[6]], size) for ends in (us, vs))
    region = _Region.around(image, extent_u, extent_v, *block_sizes(*steps_uv))
    if region is None:
        out[...] = 0
        return True
    homography = region.from_pixels @ homography
    rows = np.empty((3, size, 2), np.float32)
    rows[..., 0] = homography[:, :1]
    rows[..., 1] = homography[:, 1:2] * steps(size) + homography[:, 2:]
    positions = rows @ _along_x(size)
    columns, rows = positions[:2] / positions[2]
    for coordinate, extent, length in zip(
        (columns, rows), (extent_u, extent_v), image.shape[1::-1], strict=True
    ):
        if extent[0] < 0 or extent[1] > length - 1:  # far outside is as good as just outside
            np.clip(coordinate, -1, length, out=coordinate)
    region.sample(columns, rows, out)
    return True


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
        extent_u: tuple[float, float],
        extent_v: tuple[float, float],
        block_x: int,
        block_y: int,
    ) -> _Region | None:
        """:param extent_u: the least and the largest u of all samples; None if they miss the image."""
        height, width = image.shape[:2]
        span_x, span_y = _span(*extent_u, width, block_x), _span(*extent_v, height, block_y)
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

    @property
    def from_pixels(self) -> NDArray[np.float64]:
        """(3, 3) takes (u, v, 1) to (column, row, 1) of ``pixels``."""
        x, y = self.block_x, self.block_y
        return np.array([[1 / x, 0, -self.origin_x / x], [0, 1 / y, -self.origin_y / y], [0, 0, 1]])

    def sample(self, columns: NDArray[np.float32], rows: NDArray[np.float32], out: NDArray[np.uint8]) -> None:
        """At positions (S, S) that are counted in ``pixels``."""
        cv2.remap(self.pixels, columns, rows, cv2.INTER_LINEAR, out, borderMode=cv2.BORDER_CONSTANT)


def _counted(position: NDArray[np.floating], block: int, length: int) -> NDArray[np.float32]:
    """The same in blocks; what is farther out than -1 or ``length``, or NaN, is there, where all is zero.

    :param position: in pixels; it is overwritten.
    """
    if block > 1:
        position /= block
    if not (position.min() >= -1 and position.max() <= length):  # hardly ever, and if any is NaN
        position = np.fmin(np.fmax(position, -1), length)  # fmax takes NaN to -1
    return position.astype(np.float32, copy=False)


def _extent(coordinate: NDArray[np.floating]) -> tuple[float, float]:
    """The least and the largest; NaN if none is finite."""
    low, high = float(coordinate.min()), float(coordinate.max())
    if not math.isfinite(low + high):
        finite = coordinate[np.isfinite(coordinate)]
        return (float(finite.min()), float(finite.max())) if finite.size else (math.nan, math.nan)
    return low, high


def _span(low: float, high: float, length: int, block: int) -> tuple[int, int] | None:
    """First and last-plus-one pixel that samples need, in whole blocks; None if they miss the image."""
    if not (high > -1 and low < length):
        return None
    start = max(0, math.floor(low + ROUNDING_PX) - 2 * block)
    stop = min(length, math.floor(high) + 2 * block + 1)
    return start, start + -(-(stop - start) // block) * block


def block_sizes(step_u: float, step_v: float) -> tuple[int, int]:
    """Pixels along u and v that one sample stands for, from how many it is away from its neighbours.

    As many both ways if that is nearly the same: OpenCV takes ten times as long for 2 x 1 as for 2 x 2.
    """
    low, high = sorted((step_u, step_v))
    if high < _ALIKE * low:
        step_u = step_v = 0.5 * (low + high)
    return max(1, round(step_u)), max(1, round(step_v))


def _step(coordinate: NDArray[np.floating]) -> float:
    """How many pixels neighbouring samples are apart."""
    quarter = len(coordinate) // 4  # on the lines through the middle, where every lens sees something
    lines = coordinate[2 * quarter], coordinate[:, 2 * quarter]
    return _longest([float(line[3 * quarter] - line[quarter]) for line in lines], len(coordinate))


def _longest(halves: list[float], size: int) -> float:
    """The same from the lengths of the middle halves of both lines; 0 if none is known."""
    known = (abs(half) for half in halves if math.isfinite(half))
    return max(known, default=0.0) / max(1, 2 * (size // 4))


@cache
def steps(size: int) -> NDArray[np.float64]:
    """(size,) where samples lie in a square, in parts of its side from its centre."""
    return np.linspace(-0.5, 0.5, size)


@cache
def _along_x(size: int) -> NDArray[np.float32]:
    """(2, size) x, 1 of the samples in a row of a square."""
    return np.stack([steps(size), np.ones(size)]).astype(np.float32)


@cache
def _few_places(size: int) -> NDArray[np.float64]:
    """(3, 8) x, y, 1 of a square's corners, and of the ends of the middle halves of two lines."""
    low, middle, high = steps(size)[[size // 4, 2 * (size // 4), 3 * (size // 4)]].tolist()
    corners = [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]
    ends = [(low, middle), (high, middle), (middle, low), (middle, high)]
    return np.array([(*place, 1.0) for place in corners + ends]).T
