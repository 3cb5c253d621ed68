"""Windows -> crops: one resampling of the raw image into each, through the lens."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from trg_ros.camera import CameraModel
from trg_ros.crop.resampling import sample_map, sample_plane, steps
from trg_ros.crop.windows import CropWindows

Array = NDArray[np.float64]

#: Chebyshev nodes per axis between which a lens's pixels are interpolated, and the largest error allowed.
_NODES, _EXACT_PX = 12, 1e-4


def cut_crops(
    image_bgr: NDArray[np.uint8], camera: CameraModel, windows: CropWindows, size: int
) -> NDArray[np.uint8]:
    """What networks read: the crops (N, size, size, 3) of :func:`cut_windows` in RGB, of a BGR image."""
    crops = cut_windows(image_bgr, camera, windows, size)
    if len(crops):
        rows = crops.reshape(-1, *crops.shape[2:])
        cv2.cvtColor(rows, cv2.COLOR_BGR2RGB, dst=rows)
    return crops


def cut_windows(
    image: NDArray[np.uint8], camera: CameraModel, windows: CropWindows, size: int
) -> NDArray[np.uint8]:
    """Crops (N, size, size, 3) of an image (H, W, 3), channels in the image's order.

    Each crop is one resampling of the raw image. Where a face is larger than its crop, blocks of pixels are
    averaged first, so that nothing aliases.
    """
    crops = np.zeros((len(windows), size, size, 3), dtype=np.uint8)
    for index in np.flatnonzero(windows.valid):
        window, crop = windows[index : index + 1], crops[index]
        if camera.is_distorted or not sample_plane(image, _homography(camera, window), crop):
            sample_map(image, *_grid(camera, window, size), out=crop)
    return crops


def _homography(camera: CameraModel, window: CropWindows) -> Array:
    """(3, 3) from places in a window, in parts of its side from its centre, to pixels times depth; by a
    camera without distortion."""
    (x, y), side = window.center[0].tolist(), float(window.size[0])
    return camera.K @ window.camera_R_virtual[0] @ np.array([[side, 0, x], [0, side, y], [0, 0, 1]])


def _grid(camera: CameraModel, window: CropWindows, size: int) -> tuple[NDArray, NDArray]:
    """Pixels u, v (S, S) of the samples of one window, by any camera: Chebyshev interpolation between a few
    exact pixels where that is exact enough, which some more samples tell; otherwise all are projected."""
    places, polynomial, checks = _nodes(size)
    few = camera.project(window.rays(window.center + window.size[:, None] * places[None])[0])
    grid, checked = few[: -len(checks)].reshape(_NODES, _NODES, 2), few[-len(checks) :]
    u, v = (polynomial @ grid[..., axis] @ polynomial.T for axis in range(2))
    rows, columns = checks.T
    error = np.abs([u[rows, columns] - checked[:, 0], v[rows, columns] - checked[:, 1]]).max()
    if error < _EXACT_PX:
        return u.astype(np.float32), v.astype(np.float32)
    across = steps(size)
    plane = np.stack(np.broadcast_arrays(across, across[:, None]), axis=-1)
    pixels = camera.project(window.rays(window.center[:, None, None] + window.size[0] * plane[None])[0])
    return pixels[..., 0], pixels[..., 1]


@cache
def _nodes(size: int) -> tuple[Array, Array, NDArray[np.intp]]:
    """Places (M, 2) in a window, in parts of its side from its centre: a grid of Chebyshev points by rows,
    then some samples; the matrix (size, _NODES) that takes values at Chebyshev points to values at samples;
    and which samples those are (K, 2), row and column: the corners and some in between."""
    angles = np.pi * (np.arange(_NODES) + 0.5) / _NODES
    points = 0.5 * np.cos(angles)
    degrees = np.arange(_NODES)
    weights = np.cos(np.arccos(np.clip(2 * steps(size), -1, 1))[:, None] * degrees) * (2 - (degrees == 0))
    polynomial = weights @ np.cos(angles * degrees[:, None]) / _NODES
    some = np.linspace(0, size - 1, 4).round().astype(np.intp)
    checks = np.stack(np.meshgrid(some, some, indexing="ij"), axis=-1).reshape(-1, 2)
    grid = np.stack(np.meshgrid(points, points), axis=-1).reshape(-1, 2)
    return np.concatenate([grid, steps(size)[checks[:, ::-1]]]), polynomial, checks


def crop_camera(box: ArrayLike, size: int) -> CameraModel:
    """The pinhole camera whose whole picture of ``size`` px is the crop of a window.

    :param box: (3,) centre x, y and side of the window on the normalised plane.
    """
    center_x, center_y, side = np.asarray(box, np.float64).tolist()
    focal, middle = (size - 1) / side, (size - 1) / 2
    return CameraModel.pinhole(focal, focal, middle - focal * center_x, middle - focal * center_y, size, size)
