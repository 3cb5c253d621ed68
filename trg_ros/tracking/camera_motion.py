"""How the camera turned between two images, seen in the images themselves: robots pan their heads faster than
people walk.

The image is sampled along azimuth and elevation, through the lens, so that a camera that turns shifts what it
sees as it is. Corners of what isn't people are followed from one image to the next (Lucas and Kanade 1981).
The rotation that most of them agree on is the camera's.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from trg_ros.camera import CameraModel
from trg_ros.crop import CropWindows

Array = NDArray[np.float64]
Picture = NDArray[np.uint8]

#: Columns or rows of the sampled picture, whichever are more, and how far it reaches from the axis.
_SIZE, _REACH_DEG = 128, 50.0
#: So many corners are followed, so clear against the clearest one (clouds have corners, too), and so many
#: cells apart. Sides of what of them is looked at to choose and to follow them, cells, and octaves.
_CORNERS, _CLEAR, _APART = 40, 0.001, 5.0
_BLOCK, _WINDOW, _OCTAVES = 7, (11, 11), 4
#: When they are near enough.
_UNTIL = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 8, 0.03)
#: So many cells from what most did, and then from the rotation that these agree on, a corner moved alike.
_ROUGHLY, _ALIKE = 1.0, 0.3
#: They are believed if they are so many, such a part of all, and spread over such a part of the picture.
_FEWEST, _MAJORITY, _SPREAD = 10, 0.5, 0.3
#: A turn that can't be measured is so much of the one before.
_GOES_ON = 0.8
#: Smaller turns are noise, radians.
_STILL = math.radians(0.02)
#: Of a person: left, top and right in sides of the TRG box about its middle. A body reaches down.
_PERSON = (-1.0, -0.8, 1.0)


class CameraMotion:
    """Measures from image to image how a camera turns."""

    def __init__(self) -> None:
        self._view: _View | None = None
        self.forget()

    def forget(self) -> None:
        """The next image is the first one."""
        self._before: Picture | None = None
        self._turn = np.zeros(3)  # the last one, a rotation vector

    def turn(self, image_bgr: Picture, camera: CameraModel, people: CropWindows | None) -> Array | None:
        """now_R_before (3, 3): what stood still in the last image is there now. None if the camera stood
        still as well. Where nobody can tell, a camera goes on turning, less and less.

        :param image_bgr: (H, W, 3) uint8, raw.
        :param people: the windows of the heads in the last image; None for none.
        """
        if self._view is None or camera != self._view.camera:
            self._view = _View(camera)
            self.forget()
        now = self._view.sampled(image_bgr)
        before, self._before = self._before, now
        if before is None:
            return None
        measured = self._view.turn(before, now, people)
        self._turn = _GOES_ON * self._turn if measured is None else _rodrigues(measured)[:, 0]
        return None if np.linalg.norm(self._turn) < _STILL else _rodrigues(self._turn)


class _View:
    """What a camera sees by azimuth and elevation: pictures whose cells are equal angles."""

    def __init__(self, camera: CameraModel) -> None:
        self.camera = camera
        right, low = camera.width - 1.0, camera.height - 1.0
        edges = [[right / 2, low / 2], [0, low / 2], [right, low / 2], [right / 2, 0], [right / 2, low]]
        angles, reach = _angles(camera.rays(edges)), math.radians(_REACH_DEG)
        middle, first, last = np.nan_to_num(angles[0]), angles[[1, 3], [0, 1]], angles[[2, 4], [0, 1]]
        # Where the lens has no rays (NaN) it is looked at up to there.
        self._first = np.fmax(first, middle - reach)
        extent = np.maximum(np.fmin(last, middle + reach) - self._first, _STILL)
        self._cell = float(extent.max()) / _SIZE
        self._size = tuple(int(side) for side in np.maximum(np.rint(extent / self._cell), 8))
        columns, rows = (np.arange(2 * side) / 2 - 0.25 for side in self._size)  # two samples a cell
        pixels = camera.project(self._rays(np.stack(np.meshgrid(columns, rows), axis=-1)))
        pixels = np.nan_to_num(pixels, nan=-1.0).astype(np.float32)
        self._pixels = cv2.convertMaps(pixels[..., 0], pixels[..., 1], cv2.CV_16SC2)

    def sampled(self, image_bgr: Picture) -> Picture:
        """(rows, columns) grey values of the image."""
        fine = cv2.remap(image_bgr, *self._pixels, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        grey = cv2.cvtColor(fine, cv2.COLOR_BGR2GRAY)
        return np.asarray(cv2.resize(grey, self._size, interpolation=cv2.INTER_AREA), np.uint8)

    def turn(self, before: Picture, now: Picture, people: CropWindows | None) -> Array | None:
        """now_R_before (3, 3) as most corners tell, without these people; None where they don't agree."""
        mask = self._without(people)
        corners = cv2.goodFeaturesToTrack(before, _CORNERS, _CLEAR, _APART, mask=mask, blockSize=_BLOCK)
        if corners is None or len(corners) < _FEWEST:
            return None
        there = np.zeros_like(corners)
        moved, status, _ = cv2.calcOpticalFlowPyrLK(
            before, now, corners, there, winSize=_WINDOW, maxLevel=_OCTAVES, criteria=_UNTIL
        )
        found = status[:, 0] > 0
        start, end = (np.asarray(places[:, 0], np.float64) for places in (corners, moved))
        step = end - start
        usual = np.sort(step[found], axis=0)[found.sum() // 2] if found.any() else np.zeros(2)
        alike = found & (np.abs(step - usual).max(axis=1) < _ROUGHLY)
        if alike.sum() < max(_FEWEST, _MAJORITY * len(step)):
            return None
        if np.ptp(start[alike, 0]) < _SPREAD * self._size[0]:
            return None
        old, new = self._rays(start[alike]), self._rays(end[alike])
        alike = np.abs(new - old @ _rotation(old, new).T).max(axis=1) < _ALIKE * self._cell
        return _rotation(old[alike], new[alike]) if alike.sum() >= _FEWEST else None

    def _without(self, people: CropWindows | None) -> Picture:
        """(rows, columns) 0 where people are with these heads, 255 elsewhere."""
        mask = np.full(self._size[::-1], 255, np.uint8)
        if people is None:
            return mask
        middles = (_angles(people.rays(people.center)) - self._first) / self._cell
        for (x, y), side in zip(middles.tolist(), (people.size / self._cell).tolist(), strict=True):
            left, top, right = (max(int(a + b * side), 0) for a, b in zip((x, y, x), _PERSON, strict=True))
            mask[top:, left:right] = 0
        return mask

    def _rays(self, cells: Array) -> Array:
        """Unit rays (..., 3) of places (..., 2) in the pictures, cells."""
        azimuth, elevation = np.moveaxis(cells * self._cell + self._first, -1, 0)
        flat = np.cos(elevation)
        return np.stack([np.sin(azimuth) * flat, np.sin(elevation), np.cos(azimuth) * flat], axis=-1)


def _angles(rays: Array) -> Array:
    """(N, 2) azimuth to the right and elevation downwards of rays (N, 3), radians."""
    x, y, z = rays.T
    return np.stack([np.arctan2(x, z), np.arctan2(y, np.hypot(x, z))], axis=1)


def _rotation(before: Array, now: Array) -> Array:
    """now_R_before (3, 3) that brings rays (N, 3) nearest to where they are now (Kabsch 1976)."""
    left, _, right = np.linalg.svd(now.T @ before)
    return left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right


def _rodrigues(rotation: Array) -> Array:
    """(3, 1) rotation vector of a matrix, (3, 3) matrix of a vector."""
    return np.asarray(cv2.Rodrigues(rotation)[0], np.float64)
