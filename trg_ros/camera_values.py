"""Numbers that describe a camera, checked: each function returns the value or says what is wrong with it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trg_ros.errors import CameraError

Array = NDArray[np.float64]

_SHORTEST, _LONGEST = 0.05, 200.0
"""Focal lengths that a lens can have, over the image's size: fields of view from 169 down to 0.3 degrees."""


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


def check_focal_lengths(fx: float, fy: float, width: int, height: int) -> None:
    """Numbers that no lens has are of another unit or damaged, and all depths would be wrong."""
    for name, focal, size in (("fx", fx, width), ("fy", fy, height)):
        if not _SHORTEST <= focal / size <= _LONGEST:
            raise CameraError(
                f"{name} is {focal:g} px, for {size} px of image: a lens has {_SHORTEST:g} to {_LONGEST:g} "
                "times that; is it in pixels?"
            )
