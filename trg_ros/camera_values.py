"""Numbers that describe a camera, checked: each function returns the value or says what is wrong with it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trg_ros.errors import CameraError

Array = NDArray[np.float64]


def vector(name: str, value: ArrayLike) -> Array:
    try:
        array = np.array(value, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise CameraError(f"{name} is not numbers: {value!r}") from error
    if not np.all(np.isfinite(array)):
        raise CameraError(f"{name} contains NaN or infinity: {array.tolist()}; calibrate the camera again")
    return array


def checked_points(value: ArrayLike, dimensions: int) -> Array:
    points = np.asarray(value, dtype=np.float64)
    if points.ndim < 1 or points.shape[-1] != dimensions:
        raise CameraError(f"points have shape {points.shape}: expected (..., {dimensions})")
    return points


def finite(name: str, value: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise CameraError(f"camera {name} is {value!r}: it must be a number") from error
    if not np.isfinite(number):
        raise CameraError(f"camera {name} is {number}: it must be finite; calibrate the camera again")
    return number


def integer(name: str, value: int) -> int:
    number = finite(name, value)
    if number != int(number):
        raise CameraError(f"camera {name} is {number:g}: it must be a whole number")
    return int(number)


def positive_integer(name: str, value: int) -> int:
    number = integer(name, value)
    if number < 1:
        raise CameraError(f"camera {name} is {number}: it must be at least 1 pixel")
    return number
