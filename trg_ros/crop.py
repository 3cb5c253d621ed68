"""Face box -> crop: square windows on the normalised plane, and one resampling of the raw image into each.

The network looks at a face through a *virtual camera*: no distortion, unit focal length, the centre of the
real camera. For a box it has the real camera's axes too, unless the face is far off the optical axis (a
fisheye, a very wide lens); then it turns towards the face. Once TRG has seen the head, the virtual camera of
the next look faces the head and stands upright with it: where the head is in the image and how it leans are
then exact geometry, not something the network has to have learned. The pose that it finds is turned back by
``camera_R_virtual``. A window is a square on the virtual camera's normalised plane, so distortion and
fx != fy are exact.

Crop convention (the paper's release): pixel i of S samples the window at ``left + i * side / (S - 1)``, i = 0
being the left edge and S - 1 the right one; bilinear, zero outside the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trg_ros.camera import CameraModel
from trg_ros.errors import InputError
from trg_ros.resampling import sample_map

Array = NDArray[np.float64]

#: A face whose ray is further off the optical axis than this gets a virtual camera of its own.
MAX_OFF_AXIS_DEG = 40.0
#: Side of a TRG box over the larger extent of the 68 landmarks (TRG.md, "Inputs").
LANDMARK_BOX_SCALE = 1.5
#: A head whose top points along the line of sight has no upright: below this sine of the angle between them.
_MIN_VISIBLE_UP = 0.3
#: Where a lens bends a crop by a polynomial of so many terms to so many pixels, that is what is computed.
_NODES, _EXACT_PX = 12, 1e-4
_HALF_PIXELS = np.array([[0.5, 0.0], [-0.5, 0.0], [0.0, 0.5], [0.0, -0.5]])


@dataclass(frozen=True)
class CropWindows:
    """N square windows, each on the normalised plane of its virtual camera.

    :param center: (N, 2) window centre (x/z, y/z) in the virtual camera.
    :param size: (N,) side of the window, same unit. NaN marks a box that the lens has no rays for.
    :param camera_R_virtual: (N, 3, 3) rotations from the virtual camera's axes to the real camera's.
    """

    center: Array
    size: Array
    camera_R_virtual: Array

    def __len__(self) -> int:
        return len(self.size)

    def __getitem__(self, index: NDArray | slice) -> CropWindows:
        return CropWindows(self.center[index], self.size[index], self.camera_R_virtual[index])

    @property
    def normalised(self) -> NDArray[np.float32]:
        """(N, 3) float32: centre x, centre y, side; what the network is told about its crop."""
        return np.concatenate([self.center, self.size[:, None]], axis=1).astype(np.float32)

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(N,) whether the window is a real one: finite and larger than nothing."""
        return np.isfinite(self.center).all(axis=1) & np.isfinite(self.size) & (self.size > 0)

    @classmethod
    def concatenate(cls, parts: Sequence[CropWindows]) -> CropWindows:
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.center for part in parts]),
            np.concatenate([part.size for part in parts]),
            np.concatenate([part.camera_R_virtual for part in parts]),
        )

    @classmethod
    def from_boxes(cls, camera: CameraModel, boxes: ArrayLike, turn: bool = True) -> CropWindows:
        """Windows of image boxes.

        :param boxes: (N, 4) left, top, right, bottom in px. The window's side is the larger of the two
            extents, measured in rays where the box's centre is.
        :param turn: let virtual cameras turn towards faces far off the axis.
        """
        boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        center_px = 0.5 * (boxes[:, :2] + boxes[:, 2:])
        rays = camera.rays(center_px)
        rotation = _virtual_rotation(rays) if turn else np.tile(np.eye(3), (len(boxes), 1, 1))
        center = _on_virtual_plane(rays[:, None], rotation)[:, 0]
        per_pixel = _plane_units_per_pixel(camera, center_px, rotation)
        size = ((boxes[:, 2:] - boxes[:, :2]) * per_pixel).max(axis=1)
        return cls(center, size, rotation)

    @classmethod
    def from_landmarks68(cls, landmarks68_camera: ArrayLike, up_camera: Array | None = None) -> CropWindows:
        """Windows in TRG's box convention around 68 landmarks (N, 68, 3), camera frame, any unit.

        :param up_camera: (N, 3) unit directions to the tops of the heads, camera frame. With them every
            virtual camera turns to its head and stands upright as the head does, so that the network sees the
            same picture wherever the head is in the image and however it leans.
        """
        points = np.asarray(landmarks68_camera, dtype=np.float64)
        middle = points.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            rays = middle / np.sqrt((middle * middle).sum(axis=1, keepdims=True))
            rotation = _virtual_rotation(rays) if up_camera is None else _upright(rays, up_camera)
            plane = _on_virtual_plane(points, rotation)
        low, high = plane.min(axis=1), plane.max(axis=1)
        return cls(0.5 * (low + high), LANDMARK_BOX_SCALE * (high - low).max(axis=1), rotation)

    def to_boxes(self, camera: CameraModel) -> Array:
        """(N, 4) image boxes LTRB px, the inverse of :meth:`from_boxes`; square where fx = fy."""
        center_px = camera.project(self.rays(self.center))
        half = 0.5 * self.size[:, None] / _plane_units_per_pixel(camera, center_px, self.camera_R_virtual)
        return np.concatenate([center_px - half, center_px + half], axis=1)

    def scaled(self, factor: float) -> CropWindows:
        """The same windows with sides ``factor`` times as long."""
        return CropWindows(self.center, self.size * factor, self.camera_R_virtual)

    def with_rows(self, index: NDArray, rows: CropWindows) -> CropWindows:
        """A copy in which the windows at ``index`` are those of ``rows``."""
        center, size, rotation = self.center.copy(), self.size.copy(), self.camera_R_virtual.copy()
        center[index], size[index], rotation[index] = rows.center, rows.size, rows.camera_R_virtual
        return CropWindows(center, size, rotation)

    def center_in(self, other: CropWindows) -> Array:
        """(N, 2) these windows' centres on the virtual planes of N other windows; NaN behind those."""
        return _on_virtual_plane(self.rays(self.center)[:, None], other.camera_R_virtual)[:, 0]

    def overlap(self, other: CropWindows) -> Array:
        """(N,) intersection over union with N other windows, 0..1; 0 where either is not valid."""
        shift = np.abs(other.center_in(self) - self.center)
        common = 0.5 * (self.size + other.size)[:, None] - shift
        common = np.minimum(np.maximum(common, 0.0), np.minimum(self.size, other.size)[:, None])
        inner = common[:, 0] * common[:, 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.fmax(inner / (self.size * self.size + other.size * other.size - inner), 0.0)  # not NaN

    def rays(self, plane: Array) -> Array:
        """Points (N, ..., 2) of the windows' normalised planes as points (N, ..., 3) in the camera frame."""
        points = np.concatenate([plane, np.ones((*plane.shape[:-1], 1))], axis=-1)
        turned = points.reshape(len(self), -1, 3) @ self.camera_R_virtual.transpose(0, 2, 1)
        return turned.reshape(points.shape)


def cut_windows(
    image: NDArray[np.uint8], camera: CameraModel, windows: CropWindows, size: int
) -> NDArray[np.uint8]:
    """Crops (N, size, size, 3) of an image (H, W, 3), channels in the image's order.

    Each crop is one resampling of the raw image. Where a face is larger than its crop, blocks of pixels are
    averaged first, so that nothing aliases.
    """
    crops = np.zeros((len(windows), size, size, 3), dtype=np.uint8)
    for index in np.flatnonzero(windows.valid):
        pixels = _bent_grid if camera.is_distorted else _straight_grid
        sample_map(image, *pixels(camera, windows[index : index + 1], size), out=crops[index])
    return crops


def _straight_grid(camera: CameraModel, window: CropWindows, size: int) -> tuple[NDArray, NDArray]:
    """Pixels u, v (S, S) of the samples of one window, by a camera without distortion.

    The grid through a homography: as many operations on whole grids as it needs, in single precision.
    """
    x, y = window.center[0, :, None] + window.size[0] * _steps(size)
    homography = camera.K @ window.camera_R_virtual[0]
    across = (homography[:, :1] * x).astype(np.float32)[:, None]
    down = (homography[:, 1:2] * y + homography[:, 2:]).astype(np.float32)[..., None]
    depth = across[2] + down[2]
    if depth.min() <= 0:
        depth[depth <= 0] = np.nan
    scale = np.reciprocal(depth, out=depth)
    return (across[0] + down[0]) * scale, (across[1] + down[1]) * scale


def _bent_grid(camera: CameraModel, window: CropWindows, size: int) -> tuple[NDArray, NDArray]:
    """The same by any camera: pixels of a few samples, and a polynomial through them where it is exact."""
    places, polynomial, checks = _nodes(size)
    few = camera.project(window.rays(window.center + window.size[:, None] * places[None])[0])
    grid, checked = few[: -len(checks)].reshape(_NODES, _NODES, 2), few[-len(checks) :]
    u, v = (polynomial @ grid[..., axis] @ polynomial.T for axis in range(2))
    rows, columns = checks.T
    error = np.abs([u[rows, columns] - checked[:, 0], v[rows, columns] - checked[:, 1]]).max()
    if error < _EXACT_PX:
        return u.astype(np.float32), v.astype(np.float32)
    steps = _steps(size)
    plane = np.stack(np.broadcast_arrays(steps, steps[:, None]), axis=-1)
    pixels = camera.project(window.rays(window.center[:, None, None] + window.size[0] * plane[None])[0])
    return pixels[..., 0], pixels[..., 1]


@cache
def _steps(size: int) -> Array:
    """(size,) where samples lie in a window, in parts of its side from its centre."""
    return np.linspace(-0.5, 0.5, size)


@cache
def _nodes(size: int) -> tuple[Array, Array, NDArray[np.intp]]:
    """Places (M, 2) in a window, in parts of its side from its centre: a grid of Chebyshev points by rows,
    then some samples; the matrix (size, _NODES) that takes values at Chebyshev points to values at samples;
    and which samples those are (K, 2), row and column: the corners and some in between."""
    angles = np.pi * (np.arange(_NODES) + 0.5) / _NODES
    points = 0.5 * np.cos(angles)
    degrees = np.arange(_NODES)
    weights = np.cos(np.arccos(np.clip(2 * _steps(size), -1, 1))[:, None] * degrees) * (2 - (degrees == 0))
    polynomial = weights @ np.cos(angles * degrees[:, None]) / _NODES
    some = np.linspace(0, size - 1, 4).round().astype(np.intp)
    checks = np.stack(np.meshgrid(some, some, indexing="ij"), axis=-1).reshape(-1, 2)
    grid = np.stack(np.meshgrid(points, points), axis=-1).reshape(-1, 2)
    return np.concatenate([grid, _steps(size)[checks[:, ::-1]]]), polynomial, checks


def cut_crops(
    image_bgr: NDArray[np.uint8], camera: CameraModel, boxes: ArrayLike, size: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float64]]:
    """Cut the crops that the network expects.

    :param image_bgr: (H, W, 3) uint8, of the camera's size.
    :param boxes: (N, 4) TRG boxes LTRB px; they may leave the image.
    :param size: side S of a crop in pixels.
    :returns: crops (N, S, S, 3) uint8 RGB; box (N, 3) float32 on the normalised plane of the virtual camera
        (centre x, centre y, side); camera_R_virtual (N, 3, 3).
    :raises InputError: for a box without a ray or without a size.
    """
    windows = CropWindows.from_boxes(camera, boxes)
    if not windows.valid.all():
        index = int(np.argmin(windows.valid))
        box = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)[index]
        raise InputError(
            f"box {index} {box.tolist()} (left, top, right, bottom) has no size, or the "
            "lens sees nothing there"
        )
    crops = cut_windows(image_bgr, camera, windows, size)
    return np.ascontiguousarray(crops[..., ::-1]), windows.normalised, windows.camera_R_virtual


def square_box(boxes: ArrayLike, scale: float = 1.0) -> Array:
    """Square boxes (..., 4) LTRB about the centres of ``boxes``; side = ``scale`` times the larger side."""
    boxes = np.asarray(boxes, dtype=np.float64)
    center = 0.5 * (boxes[..., :2] + boxes[..., 2:])
    half = 0.5 * scale * (boxes[..., 2:] - boxes[..., :2]).max(axis=-1, keepdims=True)
    return np.concatenate([center - half, center + half], axis=-1)


def box_from_landmarks68(landmarks68_px: ArrayLike, truncate: bool = False) -> Array:
    """TRG's box (..., 4) LTRB px around 68 image landmarks (..., 68, 2): 1.5 times their larger extent.

    :param truncate: cut the corners to whole pixels, as the paper's release does.
    """
    points = np.asarray(landmarks68_px, dtype=np.float64)
    boxes = square_box(
        np.concatenate([points.min(axis=-2), points.max(axis=-2)], axis=-1), LANDMARK_BOX_SCALE
    )
    return np.trunc(boxes) if truncate else boxes


def shortest_turn(rays: Array) -> Array:
    """(N, 3, 3) the shortest rotations that take the z axis onto unit rays (N, 3) other than -z."""
    flat, z = rays[:, :2], rays[:, 2]
    turn = np.empty((len(rays), 3, 3))
    turn[:, :2, :2] = np.eye(2) - flat[:, :, None] * (flat / np.maximum(1.0 + z, 1e-12)[:, None])[:, None]
    turn[:, :2, 2], turn[:, 2, :2], turn[:, 2, 2] = flat, -flat, z
    return turn


def _virtual_rotation(rays: Array) -> Array:
    """camera_R_virtual (N, 3, 3) for faces along unit rays (N, 3): identity, or z turned onto the ray."""
    rotation = np.tile(np.eye(3), (len(rays), 1, 1))
    far = rays[:, 2] < np.cos(np.deg2rad(MAX_OFF_AXIS_DEG))
    rotation[far] = shortest_turn(rays[far])
    return rotation


def _upright(rays: Array, up: Array) -> Array:
    """camera_R_virtual (N, 3, 3): z along unit rays (N, 3), -y towards ``up`` (N, 3) where that is seen."""
    down = (up * rays).sum(axis=1, keepdims=True) * rays - up
    length = np.sqrt((down * down).sum(axis=1, keepdims=True))
    down /= length
    rotation = np.empty((len(rays), 3, 3))
    rotation[:, :, 0] = _cross(down, rays)
    rotation[:, :, 1], rotation[:, :, 2] = down, rays
    unseen = ~(length[:, 0] > _MIN_VISIBLE_UP)
    if unseen.any():
        rotation[unseen] = shortest_turn(rays[unseen])
    return rotation


def _cross(a: Array, b: Array) -> Array:
    """Cross products of (N, 3); numpy's takes ten times as long for so few."""
    a, b = np.concatenate([a, a[:, :2]], axis=1), np.concatenate([b, b[:, :2]], axis=1)
    return a[:, 1:4] * b[:, 2:] - a[:, 2:] * b[:, 1:4]


def _on_virtual_plane(points: Array, camera_R_virtual: Array) -> Array:
    """Camera-frame points (N, P, 3) -> virtual normalised plane (N, P, 2); NaN behind the virtual camera."""
    local = points @ camera_R_virtual
    return local[..., :2] / np.where(local[..., 2:] > 1e-9, local[..., 2:], np.nan)


def _plane_units_per_pixel(camera: CameraModel, center_px: Array, camera_R_virtual: Array) -> Array:
    """(N, 2): length on the virtual plane of one pixel along u and of one along v, at pixels (N, 2)."""
    plane = _on_virtual_plane(camera.rays(center_px[:, None] + _HALF_PIXELS), camera_R_virtual)
    steps = plane[:, 0::2] - plane[:, 1::2]
    return np.sqrt((steps * steps).sum(axis=-1))
