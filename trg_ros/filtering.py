"""Smoothing of head poses over time: quiet while a head is still, without lag when it moves.

Position and orientation each run through two Kalman filters at once (interacting multiple models, Blom and
Bar-Shalom 1988): one believes that the head rests, the other that it moves with a constant velocity. How well
each one predicts the measurements decides, from image to image, how much it counts: that is the adaptive
process noise. Orientations are filtered as small rotations about the current one (error state), so there is
no singularity.

Time is the images' stamps. Measurement noise is a part of the heads' own covariance, see
:func:`measurement_noise`. Smoothing removes noise, not bias: the covariance of a smoothed head stays that of
its measurement.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from trg_ros.camera import CameraModel
from trg_ros.estimator import HeadPose
from trg_ros.geometry import invert_transform, make_transform
from trg_ros.tracking import TrackedHead

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

_REST, _MOVE = 0, 1
#: How often a resting head starts to move, and a moving one comes to rest: per second.
_START_RATE, _STOP_RATE = 1.0, 1.5
#: A head that rests loses its velocity within this time, seconds.
_REST_TIME_S = 0.08


@dataclass(frozen=True)
class MotionNoise:
    """How heads move, as the power of white noise; per axis, in the unit u of the quantity (m or rad).

    :param drift: of a resting head's place, u^2 / s.
    :param acceleration: of a moving head, u^2 / s^3.
    :param speed: usual speed of a moving head, u / s.
    """

    drift: float
    acceleration: float
    speed: float


TRANSLATION_NOISE = MotionNoise(drift=0.0006**2, acceleration=0.8**2, speed=0.5)
ROTATION_NOISE = MotionNoise(drift=0.006**2, acceleration=4.0**2, speed=2.0)


class _MotionFilter:
    """Estimates a quantity with three degrees of freedom and its velocity.

    Everything is kept relative to ``value``, the current estimate: (2, 6) offsets (place, velocity) and their
    (2, 6, 6) covariances, one for each model.

    :param difference: (value, other) -> (3,) the step that leads from the first to the second.
    :param moved: (value, step) -> the value after that step.
    """

    def __init__(
        self,
        value: Array,
        covariance: Array,
        noise: MotionNoise,
        difference: Callable[[Array, Array], Array],
        moved: Callable[[Array, Array], Array],
    ) -> None:
        self.value = value
        self._noise = noise
        self._difference = difference
        self._moved = moved
        self._offset = np.zeros((2, 6))
        self._covariance = np.zeros((2, 6, 6))
        self._covariance[:, :3, :3] = covariance
        self._covariance[_MOVE, 3:, 3:] = noise.speed**2 * np.eye(3)
        self._covariance[_REST, 3:, 3:] = 1e-12 * np.eye(3)
        self._weight = np.array([0.8, 0.2])

    def predict(self, step_s: float) -> None:
        """Let time pass."""
        transition = _markov(step_s)
        weight = self._weight @ transition
        mixing = transition * self._weight[:, None] / weight  # [from, to]
        offset = mixing.T @ self._offset
        apart = self._offset[:, None] - offset[None]  # [from, to]
        covariance = np.einsum("ft,fij->tij", mixing, self._covariance)
        covariance += np.einsum("ft,fti,ftj->tij", mixing, apart, apart)
        matrix, noise = _models(step_s, self._noise)
        self._offset = np.einsum("mij,mj->mi", matrix, offset)
        self._covariance = matrix @ covariance @ matrix.transpose(0, 2, 1) + noise
        self._weight = weight

    def surprise(self, measured: Array, noise: Array) -> float:
        """Squared Mahalanobis distance of a measurement from what the better model expects."""
        residual = self._difference(self.value, measured) - self._offset[:, :3]
        expected = self._covariance[:, :3, :3] + noise
        return float(
            np.einsum("mi,mi->m", residual, np.linalg.solve(expected, residual[..., None])[..., 0]).min()
        )

    def correct(self, measured: Array, noise: Array) -> None:
        """Take a measurement with covariance (3, 3) into account."""
        residual = self._difference(self.value, measured) - self._offset[:, :3]
        expected = self._covariance[:, :3, :3] + noise
        inverse = np.linalg.inv(expected)
        gain = self._covariance[:, :, :3] @ inverse
        self._offset += np.einsum("mij,mj->mi", gain, residual)
        self._covariance -= gain @ self._covariance[:, :3, :]
        self._covariance = 0.5 * (self._covariance + self._covariance.transpose(0, 2, 1))
        distance = np.einsum("mi,mij,mj->m", residual, inverse, residual)
        log_weight = np.log(self._weight) - 0.5 * (distance + np.linalg.slogdet(expected)[1])
        weight = np.exp(log_weight - log_weight.max())
        self._weight = np.maximum(weight / weight.sum(), 1e-6)
        self._weight /= self._weight.sum()

    def settle(self) -> Array:
        """Make the weighted estimate the new ``value`` and return it."""
        step = self._weight @ self._offset[:, :3]
        self.value = self._moved(self.value, step)
        self._offset[:, :3] -= step
        return self.value

    def ahead(self, step_s: float) -> tuple[Array, Array]:
        """The value as it will be, and the covariance (3, 3) that this adds; the filter stays where it is.

        A velocity counts as far as moving is likelier than resting: extrapolated noise would make heads at
        rest tremble.
        """
        matrix, noise = _models(step_s, self._noise)
        moving = max(0.0, 2.0 * float(self._weight[_MOVE]) - 1.0)
        step = moving * step_s * self._offset[_MOVE, 3:]
        grown = matrix @ self._covariance @ matrix.transpose(0, 2, 1) + noise - self._covariance
        return self._moved(self.value, step), np.einsum("m,mij->ij", self._weight, grown[:, :3, :3])


def _markov(step_s: float) -> Array:
    start, stop = -math.expm1(-_START_RATE * step_s), -math.expm1(-_STOP_RATE * step_s)
    return np.array([[1 - start, start], [stop, 1 - stop]])


def _models(step_s: float, noise: MotionNoise) -> tuple[Array, Array]:
    """(2, 6, 6) transition and process noise: rest, and constant velocity with white acceleration."""
    matrix, process = np.zeros((2, 2, 2)), np.zeros((2, 2, 2))
    matrix[_REST] = [[1.0, 0.0], [0.0, math.exp(-step_s / _REST_TIME_S)]]
    matrix[_MOVE] = [[1.0, step_s], [0.0, 1.0]]
    process[_REST] = [[noise.drift * step_s, 0.0], [0.0, noise.acceleration * step_s * 1e-3]]
    process[_MOVE] = noise.acceleration * np.array([[step_s**3 / 3, step_s**2 / 2], [step_s**2 / 2, step_s]])
    return _for_each_axis(matrix), _for_each_axis(process)


def _for_each_axis(blocks: Array) -> Array:
    """(2, 2, 2) -> (2, 6, 6): the same for x, y and z."""
    return np.einsum("mij,ab->miajb", blocks, np.eye(3)).reshape(2, 6, 6)


def _translation_difference(value: Array, other: Array) -> Array:
    return other - value


def _translation_moved(value: Array, step: Array) -> Array:
    return value + step


def _rotation_difference(value: Array, other: Array) -> Array:
    """The rotation vector, in the fixed frame's axes, that turns ``value`` into ``other``."""
    return np.asarray(cv2.Rodrigues(other @ value.T)[0][:, 0], dtype=np.float64)


def _rotation_moved(value: Array, step: Array) -> Array:
    """Orthonormal again, however often it is called."""
    left, _, right = np.linalg.svd(cv2.Rodrigues(step)[0] @ value)
    return left @ right


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
            _MotionFilter(
                pose[:3, 3].copy(),
                covariance[:3, :3],
                TRANSLATION_NOISE,
                _translation_difference,
                _translation_moved,
            ),
            _MotionFilter(
                pose[:3, :3].copy(), covariance[3:, 3:], ROTATION_NOISE, _rotation_difference, _rotation_moved
            ),
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
