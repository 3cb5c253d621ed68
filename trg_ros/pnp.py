"""The pose that the paper argues against: landmarks first, then Perspective-n-Point with RANSAC on them.

The network's dense landmarks can't serve as image points here: they are projected with TRG's own pose, which
PnP would simply give back. So the image points are those of the network's 2D head, which knows no pose.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from trg_ros.backends import Backend, NetworkResult
from trg_ros.backends.protocol import Crops, Cutter
from trg_ros.camera import CameraModel
from trg_ros.errors import InputError
from trg_ros.geometry import make_transform

Array = NDArray[np.float64]

POSE_SOURCES = ("trg", "pnp")
#: Points further off than this part of the crop's side are outliers; the 2D head is off by 2 % on a face.
INLIER_DISTANCE = 0.05
_ITERATIONS = 200
_CONFIDENCE = 0.999
_FOCAL = 1000.0  # OpenCV's solvers are made for numbers of the size of pixels


def solve_pnp(points_head: ArrayLike, points_plane: ArrayLike, inlier_distance: float) -> Array | None:
    """The pose that draws 3D points at image points.

    :param points_head: (N, 3) metres, N >= 4.
    :param points_plane: (N, 2) on the normalised image plane.
    :param inlier_distance: on that plane.
    :returns: camera_T_head (4, 4), fitted to the inliers of the best consensus; None if there is none in
        front of the camera.
    :raises InputError: for shapes that don't fit.
    """
    points = np.ascontiguousarray(points_head, np.float64)
    image = np.ascontiguousarray(points_plane, np.float64) * _FOCAL
    if points.ndim != 2 or points.shape[1] != 3 or image.shape != (len(points), 2) or len(points) < 4:
        raise InputError(f"PnP needs points (N, 3) and (N, 2), N >= 4, not {points.shape} and {image.shape}")
    if not (np.isfinite(points).all() and np.isfinite(image).all()):
        return None
    intrinsics = np.diag([_FOCAL, _FOCAL, 1.0])
    try:
        found, rotation, translation, inliers = cv2.solvePnPRansac(
            points, image, intrinsics, None, iterationsCount=_ITERATIONS, confidence=_CONFIDENCE,
            reprojectionError=inlier_distance * _FOCAL, flags=cv2.SOLVEPNP_SQPNP,
        )  # fmt: skip
        if not found or inliers is None or len(inliers) < 4:
            return None
        kept = inliers[:, 0]
        rotation, translation = cv2.solvePnPRefineLM(
            points[kept], image[kept], intrinsics, None, rotation, translation
        )
    except cv2.error:  # OpenCV asserts that the points don't coincide
        return None
    if not (np.isfinite(rotation).all() and translation[2, 0] > 0):
        return None
    return make_transform(cv2.Rodrigues(rotation)[0], translation[:, 0])


class PnPBackend:
    """A backend whose poses come from PnP instead of the network's own; its landmarks stay the network's.

    ``failures`` counts heads without a consensus; they keep TRG's pose.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.failures = 0

    @property
    def name(self) -> str:
        """What runs the network, and that PnP comes after it."""
        return f"{self._backend.name}, PnP"

    @property
    def device(self) -> str:
        """Where the network runs."""
        return self._backend.device

    @property
    def cutter(self) -> Callable[[NDArray[np.uint8], CameraModel], Cutter] | None:
        """How the network's own back end cuts crops, if it does."""
        return getattr(self._backend, "cutter", None)

    def infer(self, crops_rgb: Crops, boxes: NDArray[np.float32]) -> NetworkResult:
        """As `Backend.infer`."""
        result = self._backend.infer(crops_rgb, boxes)
        rotation, translation = result.rotation.copy(), result.translation.copy()
        for index, (center_x, center_y, size) in enumerate(np.asarray(boxes, np.float64)):
            plane = (center_x, center_y) + 0.5 * size * result.landmarks68_crop[index].astype(np.float64)
            pose = solve_pnp(result.landmarks68_head[index], plane, INLIER_DISTANCE * size)
            if pose is None:
                self.failures += 1
                continue
            rotation[index], translation[index] = pose[:3, :3], pose[:3, 3]
        return dataclasses.replace(result, rotation=rotation, translation=translation)


def with_pose_source(backend: Backend, pose_source: str) -> Backend:
    """The backend that answers with poses from "trg" or "pnp". :raises InputError: for another name."""
    if pose_source not in POSE_SOURCES:
        raise InputError(f"pose source {pose_source!r}: it must be {' or '.join(POSE_SOURCES)}")
    return backend if pose_source == "trg" else PnPBackend(backend)
