"""Where crops lie: square windows, each on the normalised plane of a virtual camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trg_ros.camera import CameraModel
from trg_ros.crop.boxes import LANDMARK_BOX_SCALE
from trg_ros.geometry import shortest_turn

Array = NDArray[np.float64]

#: A face whose ray is further off the optical axis than this gets a virtual camera of its own.
MAX_OFF_AXIS_DEG = 40.0
#: A head whose top points along the line of sight has no upright: below this sine of the angle between them.
_MIN_VISIBLE_UP = 0.3
#: Side of a window on its normalised plane: of a face that is nearer than a hundredth of its size.
_LARGEST = 100.0
#: What isn't further ahead of a virtual camera has no place on its plane.
_BEHIND = 1e-9
_HALF_PIXELS = np.array([[0.5, 0.0], [-0.5, 0.0], [0.0, 0.5], [0.0, -0.5]])
#: A window's centre, and places beside it, in parts of its side: about half a pixel away.
_STEP = 0.005
_CROSS = _STEP * np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


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
        """(N,) whether the window is a real one: finite, and of a size that faces can have."""
        return np.isfinite(self.center.sum(axis=1)) & (self.size > 0) & (self.size <= _LARGEST)

    @classmethod
    def concatenate(cls, parts: Sequence[CropWindows]) -> CropWindows:
        """All windows of one or more parts, in order."""
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
        points = np.asarray(landmarks68_camera, dtype=np.float64).transpose(0, 2, 1)  # sums are quickest so
        middle = points.sum(axis=2)
        with np.errstate(divide="ignore", invalid="ignore"):
            rays = middle / np.sqrt((middle * middle).sum(axis=1, keepdims=True))
            rotation = _virtual_rotation(rays) if up_camera is None else _upright(rays, up_camera)
            local = rotation.transpose(0, 2, 1) @ points
            plane = local[:, :2] / np.where(local[:, 2:] > _BEHIND, local[:, 2:], np.nan)
        low, high = plane.min(axis=2), plane.max(axis=2)
        return cls(0.5 * (low + high), LANDMARK_BOX_SCALE * (high - low).max(axis=1), rotation)

    def to_boxes(self, camera: CameraModel) -> Array:
        """(N, 4) image boxes LTRB px, the inverse of :meth:`from_boxes`; square where fx = fy.

        Without the inverse of the lens, which takes longer than a network.
        """
        pixels = camera.project(self.rays(self.center[:, None] + self.size[:, None, None] * _CROSS))
        sides = (pixels[:, 1:3] - pixels[:, 3:]) / (2 * _STEP)  # of the window, along x and y, as u, v
        area = np.abs(sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0])
        half = 0.5 * area[:, None] / np.sqrt((sides * sides).sum(axis=1))[:, ::-1]
        return np.concatenate([pixels[:, 0] - half, pixels[:, 0] + half], axis=1)

    def scaled(self, factor: float) -> CropWindows:
        """The same windows with sides ``factor`` times as long."""
        return CropWindows(self.center, self.size * factor, self.camera_R_virtual)

    def turned(self, rotation: Array) -> CropWindows:
        """The same windows with their virtual cameras turned about the real one: rotation (3, 3)."""
        return CropWindows(self.center, self.size, rotation @ self.camera_R_virtual)

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
        each = points.reshape(len(self), prod(points.shape[1:-1]), 3)
        return (each @ self.camera_R_virtual.transpose(0, 2, 1)).reshape(points.shape)


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
    return local[..., :2] / np.where(local[..., 2:] > _BEHIND, local[..., 2:], np.nan)


def _plane_units_per_pixel(camera: CameraModel, center_px: Array, camera_R_virtual: Array) -> Array:
    """(N, 2): length on the virtual plane of one pixel along u and of one along v, at pixels (N, 2)."""
    plane = _on_virtual_plane(camera.rays(center_px[:, None] + _HALF_PIXELS), camera_R_virtual)
    steps = plane[:, 0::2] - plane[:, 1::2]
    return np.sqrt((steps * steps).sum(axis=-1))
