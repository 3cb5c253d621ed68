"""Smoothing of head poses over time: quiet while a head is still, without lag when it moves.

Position and orientation run through a filter each, see ``trg_ros.tracking.motion``. Time is the images'
stamps.
Measurement noise is a part of the heads' own covariance, see :func:`measurement_noise`. Smoothing removes
noise, not bias: the covariance of a smoothed head stays that of its measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from trg_ros.camera import CameraModel
from trg_ros.estimator import HeadPose
from trg_ros.geometry import invert_transform, make_transform
from trg_ros.tracking.motion import filtered_place, filtered_rotation
from trg_ros.tracking.tracker import TrackedHead

Array = NDArray[np.float64]

#: After a longer time without a measurement (occlusion) a filter starts afresh, seconds.
MAX_GAP_S = 0.6
#: A measurement this improbable (squared Mahalanobis distance of 3 numbers: one in a million) is a jump ...
_GATE = 30.7
#: ... and after this many in a row it was no jump but the truth: the filter starts afresh.
_MAX_JUMPS = 3

#: Most of a head's error is a bias that it shares with the images around it. So much of the stated standard
#: deviation changes from image to image while a head moves: a quarter on rendered heads (in the picture of a
#: head at rest it is far less).
NOISE_SHARE = 0.25
#: Along the viewing ray more comes and goes within tenths of a second: blinks, open mouths.
DEPTH_NOISE_SHARE = 0.5
#: Of that, the part that the first place of a head may be off by. A mean of few places would go along with a
#: blink; their bias they share anyway.
_START_SHARE = 0.2


class PoseFilter:
    """Smooths one pose: position and orientation of a frame in a fixed one.

    :param pose: (4, 4) first measurement.
    :param covariance: (6, 6) of its noise: x y z and rotations about the fixed frame's x y z.
    """

    def __init__(self, pose: Array, covariance: Array, stamp_s: float) -> None:
        self._start(pose, covariance, stamp_s)

    def _start(self, pose: Array, covariance: Array, stamp_s: float) -> None:
        self._stamp_s, self._jumps = stamp_s, 0
        self._parts = (
            filtered_place(pose[:3, 3], _START_SHARE**2 * covariance[:3, :3]),
            filtered_rotation(pose[:3, :3], covariance[3:, 3:]),
        )

    def update(self, pose: Array, covariance: Array, stamp_s: float) -> Array:
        """(4, 4) the smoothed pose at ``stamp_s``, given the measurement (4, 4) and its covariance (6, 6).

        An impossible jump is left out, and the prediction returned; three in a row are believed. Time that
        goes backwards, or a long pause, starts afresh.
        """
        step_s = stamp_s - self._stamp_s
        if not 0.0 <= step_s <= MAX_GAP_S:
            self._start(pose, covariance, stamp_s)
            return pose
        self._stamp_s = stamp_s
        measurements = (pose[:3, 3], covariance[:3, :3]), (pose[:3, :3], covariance[3:, 3:])
        for part in self._parts:
            part.predict(step_s)
        pairs = list(zip(self._parts, measurements, strict=True))
        if max(part.surprise(*measurement) for part, measurement in pairs) > _GATE:
            self._jumps += 1
            if self._jumps >= _MAX_JUMPS:
                self._start(pose, covariance, stamp_s)
                return pose
        else:
            self._jumps = 0
            for part, measurement in pairs:
                part.correct(*measurement)
        translation, rotation = (part.settle() for part in self._parts)
        return make_transform(rotation, translation)

    def ahead(self, step_s: float) -> tuple[Array, Array]:
        """(4, 4) the pose ``step_s`` seconds after the last image, and the covariance (6, 6) this adds."""
        (translation, of_place), (rotation, of_rotation) = (part.ahead(step_s) for part in self._parts)
        added = np.zeros((6, 6))
        added[:3, :3], added[3:, 3:] = of_place, of_rotation
        return make_transform(rotation, translation), added


def measurement_noise(covariance: Array, place: Array) -> Array:
    """(6, 6) what changes from image to image in a head's error of this covariance (6, 6).

    :param place: (3,) of the head in the camera's frame, as the covariance is.
    """
    ray = place / max(float(np.linalg.norm(place)), 1e-9)
    share = NOISE_SHARE * np.eye(6)
    share[:3, :3] += (DEPTH_NOISE_SHARE - NOISE_SHARE) * np.outer(ray, ray)
    return share @ covariance @ share


class PoseSmoother:
    """Smooths the heads of one camera, each by its id."""

    def __init__(self) -> None:
        self._filters: dict[int, PoseFilter] = {}
        self._last_s: dict[int, float] = {}
        self._lens: tuple[float, ...] = ()

    def reset(self) -> None:
        """Forget everything."""
        self._filters.clear()
        self._last_s.clear()

    def update(
        self,
        heads: Sequence[TrackedHead],
        camera: CameraModel,
        stamp_s: float,
        fixed_T_camera: Array | None = None,
    ) -> list[TrackedHead]:
        """The same heads with smoothed poses.

        :param stamp_s: of the image, seconds.
        :param fixed_T_camera: (4, 4) where a camera that moves is now: filtered is in the fixed frame.
            None: in the camera's.
        """
        lens = (camera.fx, camera.fy, camera.cx, camera.cy, camera.width, camera.height)
        if lens != self._lens:  # what was measured through another lens has other errors
            self.reset()
        self._lens = lens
        smoothed = [
            replace(one, head=self._smoothed(one.id, one.head, stamp_s, fixed_T_camera)) for one in heads
        ]
        for known in [
            known for known, seen_s in self._last_s.items() if not 0 <= stamp_s - seen_s <= MAX_GAP_S
        ]:
            del self._filters[known], self._last_s[known]
        return smoothed

    def ahead(
        self, heads: Sequence[TrackedHead], step_s: float, fixed_T_camera: Array | None = None
    ) -> list[TrackedHead]:
        """Smoothed heads as they will be ``step_s`` seconds after their image, with more doubt.

        :param heads: what ``update`` just returned; who has no filter stays as it is.
        :param fixed_T_camera: (4, 4) where a camera that moves will be by then.
        """
        return [
            replace(one, head=self._predicted(one.head, self._filters[one.id], step_s, fixed_T_camera))
            if one.id in self._filters
            else one
            for one in heads
        ]

    def _predicted(
        self, head: HeadPose, known: PoseFilter, step_s: float, fixed_T_camera: Array | None
    ) -> HeadPose:
        pose, added = known.ahead(step_s)
        if fixed_T_camera is not None:
            camera_T_fixed = invert_transform(fixed_T_camera)
            pose = camera_T_fixed @ pose
            turn = np.kron(np.eye(2), camera_T_fixed[:3, :3])
            added = turn @ added @ turn.T
        return replace(with_face_pose(head, pose), covariance=head.covariance + added)

    def _smoothed(
        self, identity: int, head: HeadPose, stamp_s: float, fixed_T_camera: Array | None
    ) -> HeadPose:
        pose = head.camera_T_face
        covariance = measurement_noise(head.covariance, pose[:3, 3])
        if fixed_T_camera is not None:
            pose = fixed_T_camera @ pose
            turn = np.kron(np.eye(2), fixed_T_camera[:3, :3])
            covariance = turn @ covariance @ turn.T
        self._last_s[identity] = stamp_s
        known = self._filters.get(identity)
        if known is None:
            self._filters[identity] = PoseFilter(pose, covariance, stamp_s)
            return head
        pose = known.update(pose, covariance, stamp_s)
        if fixed_T_camera is not None:
            pose = invert_transform(fixed_T_camera) @ pose
        return with_face_pose(head, pose)


def with_face_pose(head: HeadPose, camera_T_face: Array) -> HeadPose:
    """The same head somewhere else: its shape stays, whatever depends on its pose follows."""
    face_T_head = invert_transform(head.camera_T_face) @ head.camera_T_head
    camera_T_head = camera_T_face @ face_T_head
    return replace(head, camera_T_head=camera_T_head, camera_T_face=camera_T_face)
