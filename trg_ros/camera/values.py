"""Numbers that describe a camera, checked: each function returns the value or says what is wrong with it."""

from __future__ import annotations

from reprlib import repr as shortened

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trg_ros.errors import CameraError

Array = NDArray[np.float64]

_SHORTEST, _LONGEST = 0.04, 1000.0
"""Focal lengths that a lens can have, over the image's size: fields of view from 171 degrees to 3 minutes.
A part of an image (a region of interest) has a longer one over its size than the whole."""
_FARTHEST = 30.0
"""The image's centre from the principal point, over the focal length: 88 degrees off the axis."""
WIDEST_FOV_DEG = 170.0
"""Of a pinhole; a wider lens is a fish-eye, and has a calibration."""

_DISTORTION_MODELS = {"none": (0,), "plumb_bob": (4, 5), "rational_polynomial": (8,), "equidistant": (4,)}
"""By name how many coefficients each may have."""
_ALIASES = {"": "none", "fisheye": "equidistant"}  # an empty name is an uncalibrated or rectified CameraInfo


def vector(name: str, value: ArrayLike) -> Array:
    try:
        array = np.array(value, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise CameraError(f"{name} is not numbers: {shortened(value)}") from error
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


def check_lens(name: str, focal: float, center: float, size: int) -> None:
    """Numbers that no lens has are of another unit or damaged, and all depths would be wrong.

    :param name: of the axis: "x" or "y".
    :param focal: focal length along the axis (``center``: principal point; ``size``: of the image), pixels.
    """
    if focal <= 0:
        raise CameraError(
            f"camera focal length f{name} is {focal:g}: it must be positive (pixels); calibrate the camera, "
            "or give a field of view instead"
        )
    if not _SHORTEST <= focal / size <= _LONGEST:
        raise CameraError(
            f"f{name} is {focal:g} px, for {size} px of image: a lens has {_SHORTEST:g} to {_LONGEST:g} "
            "times that; is it in pixels?"
        )
    if abs(center - 0.5 * (size - 1)) > _FARTHEST * focal:
        raise CameraError(
            f"principal point c{name} is {center:g} px, for {size} px of image and f{name} = {focal:g} px: "
            "no lens sees so far from its axis; is it in pixels?"
        )


def checked_distortion(model: str, distortion: ArrayLike) -> tuple[str, Array]:
    """The model's name and its coefficients, which can't be written; "none" where all of them are zero."""
    name = _ALIASES.get(model, model) if isinstance(model, str) else model
    if not isinstance(name, str) or name not in _DISTORTION_MODELS:
        raise CameraError(
            f"distortion model {model!r} is not supported: use one of {', '.join(_DISTORTION_MODELS)}"
        )
    coefficients, counts = vector("distortion", distortion), _DISTORTION_MODELS[name]
    if name != "equidistant" and not np.any(coefficients):
        return "none", np.zeros(0)
    if not np.any(coefficients[counts[-1] :]):  # some drivers pad with zeros to OpenCV's 12 or 14
        coefficients = coefficients[: counts[-1]].copy()
    if len(coefficients) not in counts:
        expected = " or ".join(map(str, counts))
        raise CameraError(
            f"distortion model {name} has {len(coefficients)} coefficients: expected {expected}"
        )
    coefficients.setflags(write=False)
    return name, coefficients
