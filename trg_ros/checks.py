"""Checks of what callers hand in: images, boxes, scores."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trg_ros.camera import CameraModel
from trg_ros.errors import InputError

Array = NDArray[np.float64]


def check_image(image_bgr: NDArray[np.uint8]) -> None:
    """:raises InputError: unless the image is (H, W, 3) uint8 and not empty, saying how to make it so."""
    if not isinstance(image_bgr, np.ndarray):
        raise InputError(
            f"image is a {type(image_bgr).__name__}: expected one NumPy array (height, width, 3) uint8, BGR; "
            f"{_remedy(image_bgr)}"
        )
    if image_bgr.dtype != np.uint8 or image_bgr.ndim != 3 or image_bgr.shape[2] != 3:
        raise InputError(
            f"image is {image_bgr.dtype} {image_bgr.shape}: expected uint8 (height, width, 3), BGR; "
            "cv2.cvtColor makes it of grey, RGB or RGBA, and 0..1 has to be scaled to 0..255"
        )
    if 0 in image_bgr.shape:
        raise InputError(f"image is empty: its shape is {image_bgr.shape}")


def _remedy(image: object) -> str:
    if image is None:
        return "cv2.imread gives None for a file that it can't read; trg_ros.read_photo says why"
    if isinstance(image, (str, os.PathLike)):
        return "trg_ros.read_photo reads a file"
    if isinstance(image, (list, tuple)):
        return "give images one at a time"
    return "np.asarray(image)[..., ::-1] makes it of a PIL image in mode RGB"


def checked_crops(crops_rgb: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """:raises InputError: unless the crops are (N, size, size, 3) uint8."""
    crops_rgb = np.asarray(crops_rgb)
    if crops_rgb.dtype != np.uint8 or crops_rgb.ndim != 4 or crops_rgb.shape[1:] != (size, size, 3):
        raise InputError(
            f"crops are {crops_rgb.dtype} {crops_rgb.shape}: expected uint8 (N, {size}, {size}, 3), RGB"
        )
    return crops_rgb


def checked_cameras(camera: CameraModel | Sequence[CameraModel]) -> list[CameraModel]:
    """One camera or several, as a list. :raises InputError: for anything else."""
    cameras = list(camera) if isinstance(camera, Sequence) else [camera]
    for one in cameras:
        if not isinstance(one, CameraModel):
            raise InputError(f"camera is a {type(one).__name__}: expected a trg_ros.CameraModel")
    return cameras


def check_view(image_bgr: NDArray[np.uint8], camera: CameraModel) -> None:
    """:raises InputError: unless the image is (H, W, 3) uint8, not empty, and of the camera's size."""
    check_image(image_bgr)
    if not isinstance(camera, CameraModel):
        raise InputError(
            f"camera is a {type(camera).__name__}: expected a trg_ros.CameraModel; "
            "CameraModel.from_fov(60, width, height) makes one if only the field of view is known"
        )
    height, width = image_bgr.shape[:2]
    if (width, height) != (camera.width, camera.height):
        raise InputError(
            f"the image is {width}x{height} but the camera is calibrated for {camera.width}x{camera.height}: "
            "use the calibration of this image size (CameraModel.scaled if the image was resized, with_roi "
            "if it was cut)"
        )


def checked_boxes(boxes: ArrayLike) -> Array:
    """Boxes as (N, 4) float64. :raises InputError: for another shape, NaN, or a box without a size."""
    try:
        array = np.asarray(boxes, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"boxes are not numbers: {boxes!r}") from error
    if array.size == 0:
        return np.zeros((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        raise InputError(
            f"boxes have shape {array.shape}: expected (N, 4): left, top, right, bottom in pixels; "
            "[box] for a single one"
        )
    for index in np.flatnonzero(~np.isfinite(array).all(axis=1)):
        raise InputError(f"box {index} is {array[index].tolist()}: it must be finite")
    for index in np.flatnonzero((array[:, 2:] <= array[:, :2]).any(axis=1)):
        raise InputError(
            f"box {index} is {array[index].tolist()}: right must exceed left and bottom top "
            "(left, top, right, bottom in pixels)"
        )
    return array


def checked_scores(scores: ArrayLike | None, count: int) -> Array:
    """Scores of ``count`` boxes, ones if there are none. :raises InputError: unless each has one in 0..1."""
    if scores is None:
        return np.ones(count)
    try:
        array = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"scores are not numbers: {scores!r}") from error
    if array.shape != (count,) or not ((array >= 0) & (array <= 1)).all():
        raise InputError(f"scores are {array.tolist()}: expected {count} numbers in 0..1, one for each box")
    return array


def checked_count(name: str, value: int, least: int) -> int:
    """A whole number. :raises InputError: for another type, or a number below ``least``."""
    try:
        number = operator.index(value)
    except TypeError as error:
        raise InputError(f"{name} is {value!r}: it must be a whole number") from error
    if number < least:
        raise InputError(f"{name} is {number}: it must be at least {least}")
    return number
