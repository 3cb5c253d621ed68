"""How heads move: a Kalman filter for three degrees of freedom that rest or go on with a constant velocity.

Two filters run at once (interacting multiple models, Blom and Bar-Shalom 1988): one believes that the head
rests, the other that it moves with a constant velocity. How well each one predicts the measurements decides,
from image to image, how much it counts: that is the adaptive process noise. Orientations are filtered as
small rotations about the current one (error state), so there is no singularity.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

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


class MotionFilter:
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


def filtered_place(place: Array, covariance: Array) -> MotionFilter:
    """A filter for a place (3,) measured with that covariance (3, 3)."""
    return MotionFilter(
        place.copy(), covariance, TRANSLATION_NOISE, _translation_difference, _translation_moved
    )


def filtered_rotation(rotation: Array, covariance: Array) -> MotionFilter:
    """A filter for a rotation (3, 3) measured with that covariance (3, 3) about the fixed frame's axes."""
    return MotionFilter(rotation.copy(), covariance, ROTATION_NOISE, _rotation_difference, _rotation_moved)


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
