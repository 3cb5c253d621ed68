"""Estimated poses against the known motion of a camera that turns and zooms about its optical centre."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trg_ros.geometry import geodesic_distance

FloatArray = npt.NDArray[np.float64]

_SAME_HEAD_DEG = 5.0
"""Two positions in the photo that are seen closer together than this are the same head's."""


@dataclass(frozen=True)
class PoseSample:
    """A head in one image."""

    stamp_ns: int
    position: FloatArray
    """(3,) origin of the face in the camera frame, metres."""
    rotation: FloatArray
    """(3, 3) R_camera_face."""


@dataclass(frozen=True)
class MotionErrors:
    """Errors relative to the first view, in which the estimate is taken for the truth."""

    views: int
    largest_turn_deg: float
    """How far the camera turned from the first view, at most."""
    rotation_median_deg: float
    rotation_max_deg: float
    position_median: float
    """Distance between the estimated and the expected position, as a share of the head's distance."""
    distance_spread: float
    """Standard deviation of the head's distance over its mean; turning and zooming do not change it."""


def compare_with_known_motion(
    samples: Sequence[PoseSample], photo_R_camera: Mapping[int, FloatArray]
) -> MotionErrors | None:
    """Compares every view with the first one, of the head that was seen first.

    Which head that is, its place in the photo tells; a tracker may have lost and numbered it anew.

    The photo does not move: R_photo_camera(t) @ R_camera_face(t) is the same at all times, and so is
    R_photo_camera(t) @ p_camera(t), because the camera turns about its optical centre.

    :param photo_R_camera: stamp in ns -> (3, 3) rotation, camera to photo coordinates.
    :returns: None with fewer than two views of the same head whose truth is known.
    """
    known = [sample for sample in samples if sample.stamp_ns in photo_R_camera]
    if known:
        places = [photo_R_camera[sample.stamp_ns] @ sample.position for sample in known]
        known = [
            sample
            for sample, place in zip(known, places, strict=True)
            if _angle_between_deg(place, places[0]) < _SAME_HEAD_DEG
        ]
    if len(known) < 2:
        return None
    truth = np.stack([photo_R_camera[sample.stamp_ns] for sample in known])
    rotations = truth @ np.stack([sample.rotation for sample in known])
    positions = np.einsum("nij,nj->ni", truth, np.stack([sample.position for sample in known]))
    distances = np.linalg.norm(positions, axis=1)
    rotation_errors = np.rad2deg(geodesic_distance(rotations[1:], rotations[0]))
    position_errors = np.linalg.norm(positions[1:] - positions[0], axis=1) / distances[0]
    return MotionErrors(
        views=len(known),
        largest_turn_deg=float(np.rad2deg(geodesic_distance(truth, truth[0])).max()),
        rotation_median_deg=float(np.median(rotation_errors)),
        rotation_max_deg=float(rotation_errors.max()),
        position_median=float(np.median(position_errors)),
        distance_spread=float(distances.std() / distances.mean()),
    )


def _angle_between_deg(a: FloatArray, b: FloatArray) -> float:
    return float(np.rad2deg(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)))
