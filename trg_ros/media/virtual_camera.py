"""A photo seen by a virtual camera that turns and zooms: a video whose motion is known exactly.

A camera that only rotates about its optical centre and zooms sees the plane at infinity, and any photo
taken from that centre, through a homography:

    H = K_virtual @ R_virtual_photo @ inv(K_photo)        (photo pixels -> virtual pixels)

(Hartley and Zisserman, Multiple View Geometry, 8.4). So a head at p in the photo camera's frame is at
R_virtual_photo @ p in the virtual camera's frame, whatever its true pose is: relative to the first view
the truth is known although nobody measured the person in the photo.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, pi, sin, tan
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from trg_ros.camera import CameraModel
from trg_ros.errors import InputError

FloatArray = npt.NDArray[np.float64]
ImageArray = npt.NDArray[np.uint8]

_BACKGROUND_BGR = (48, 44, 40)
"""Colour where the virtual camera looks past the photo's edge."""


class VirtualView(NamedTuple):
    """What the virtual camera sees at one moment."""

    image_bgr: ImageArray
    """(H, W, 3) uint8 BGR."""
    camera: CameraModel
    """Its intrinsics now; the focal length changes with the zoom. No distortion."""
    R_virtual_photo: FloatArray
    """(3, 3) rotation, maps the photo camera's optical frame into the virtual camera's."""


@dataclass(frozen=True)
class CameraPath:
    """A smooth path without end: sines of different periods, all zero at t = 0 s.

    Angles are amplitudes in degrees; positive pan turns the camera to its right, positive tilt upwards,
    positive roll clockwise as seen from behind the camera. `zoom` is the largest factor of the
    focal length; the smallest is its inverse.
    """

    pan_deg: float = 5.0
    tilt_deg: float = 2.0
    roll_deg: float = 20.0
    zoom: float = 1.25
    pan_period_s: float = 7.0
    tilt_period_s: float = 4.5
    roll_period_s: float = 9.0
    zoom_period_s: float = 6.0

    def __post_init__(self) -> None:
        """:raises InputError: for amplitudes or periods that make no path."""
        for name, value in vars(self).items():
            if not isfinite(value):
                raise InputError(f"the virtual camera's {name} is {value}; give a finite number")
            if name.endswith("period_s") and value <= 0.0:
                raise InputError(f"the virtual camera's {name} is {value}; it has to be positive")
        if self.zoom < 1.0:
            raise InputError(f"the virtual camera's zoom is {self.zoom}; it is a largest factor, at least 1")

    def rotation(self, t: float) -> FloatArray:
        """(3, 3) rotation from the resting camera's optical frame to the one at time t in seconds."""
        pan = np.deg2rad(self.pan_deg) * sin(2.0 * pi * t / self.pan_period_s)
        tilt = np.deg2rad(self.tilt_deg) * sin(2.0 * pi * t / self.tilt_period_s)
        roll = np.deg2rad(self.roll_deg) * sin(2.0 * pi * t / self.roll_period_s)
        resting_R_camera = _rotation_y(pan) @ _rotation_x(tilt) @ _rotation_z(roll)
        return np.ascontiguousarray(resting_R_camera.T)

    def zoom_factor(self, t: float) -> float:
        """Factor of the resting focal length at time t in seconds."""
        return float(self.zoom ** sin(2.0 * pi * t / self.zoom_period_s))


class VirtualCamera:
    """A photo seen by a camera at the photo camera's optical centre that turns and zooms."""

    def __init__(
        self,
        photo_bgr: ImageArray,
        photo_camera: CameraModel,
        size: tuple[int, int] = (640, 480),
        *,
        target_px: tuple[float, float] | None = None,
        fov_deg: float | None = None,
        path: CameraPath | None = None,
    ) -> None:
        """
        :param photo_bgr: (H, W, 3) uint8 BGR.
        :param photo_camera: intrinsics of the photo, without distortion.
        :param size: (width, height) of the virtual images in pixels.
        :param target_px: the photo pixel that the resting camera looks at; None: the middle of the photo.
        :param fov_deg: horizontal field of view at rest in degrees; None: 0.6 of the photo's height fits in.
        :raises InputError: for an image, a size or an angle that can't be used.
        """
        _check_photo(photo_bgr, photo_camera)
        self.width, self.height = int(size[0]), int(size[1])
        if self.width < 2 or self.height < 2:
            raise InputError(f"the virtual camera has {self.width}x{self.height} pixels; it needs 2x2")
        if fov_deg is not None and not 0.0 < fov_deg < 170.0:
            raise InputError(f"a virtual field of view of {fov_deg} degrees; it has to lie between 0 and 170")
        self.path = path if path is not None else CameraPath()
        photo_height, photo_width = photo_bgr.shape[:2]
        if fov_deg is None:
            self._resting_focal = photo_camera.fy * self.height / (0.6 * photo_height)
        else:
            self._resting_focal = 0.5 * self.width / tan(0.5 * np.deg2rad(fov_deg))
        if target_px is None:
            target_px = (0.5 * (photo_width - 1), 0.5 * (photo_height - 1))
        self._R_resting_photo = _look_at(np.linalg.inv(photo_camera.K) @ [target_px[0], target_px[1], 1.0])
        self._photo, self._K_photo = self._shrunk(photo_bgr, photo_camera)

    def camera(self, t: float) -> CameraModel:
        """Intrinsics at time t in seconds; the principal point is the middle of the image."""
        focal = self._resting_focal * self.path.zoom_factor(t)
        return CameraModel.pinhole(
            focal, focal, 0.5 * (self.width - 1), 0.5 * (self.height - 1), self.width, self.height
        )

    def rotation(self, t: float) -> FloatArray:
        """(3, 3) R_virtual_photo at time t in seconds: maps photo camera coordinates to virtual ones."""
        return self.path.rotation(t) @ self._R_resting_photo

    def frame(self, t: float) -> VirtualView:
        """The view at time t in seconds.

        :raises InputError: if t isn't finite.
        """
        if not isfinite(t):
            raise InputError(f"the virtual camera's time is {t}; give a finite number of seconds")
        camera, R_virtual_photo = self.camera(t), self.rotation(t)
        homography = camera.K @ R_virtual_photo @ np.linalg.inv(self._K_photo)
        image = cv2.warpPerspective(
            self._photo,
            homography,
            (self.width, self.height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=_BACKGROUND_BGR,
        )
        return VirtualView(np.asarray(image, np.uint8), camera, R_virtual_photo)

    def _shrunk(self, photo: ImageArray, camera: CameraModel) -> tuple[ImageArray, FloatArray]:
        """The photo no finer than the virtual camera ever sees it, so that sampling it does not alias."""
        scale = self._resting_focal * self.path.zoom / max(camera.fx, camera.fy)
        if scale >= 0.75:
            return photo, camera.K
        small_camera = camera.scaled(scale)
        small_size = small_camera.width, small_camera.height
        small = cv2.resize(photo, small_size, interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.uint8), small_camera.K


def _check_photo(photo: ImageArray, camera: CameraModel) -> None:
    if not isinstance(photo, np.ndarray) or photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
        raise InputError("the virtual camera's photo has to be an (H, W, 3) uint8 BGR array")
    if photo.shape[0] < 2 or photo.shape[1] < 2:
        raise InputError(
            f"the photo has {photo.shape[1]}x{photo.shape[0]} pixels; a virtual camera needs 2x2"
        )
    if (camera.width, camera.height) != (photo.shape[1], photo.shape[0]):
        raise InputError(
            f"the photo has {photo.shape[1]}x{photo.shape[0]} pixels, its camera model "
            f"{camera.width}x{camera.height}; both have to agree"
        )
    if camera.is_distorted:
        raise InputError(f"a virtual camera needs a photo without distortion, not {camera.distortion_model}")


def _look_at(ray: FloatArray) -> FloatArray:
    """(3, 3) rotation of camera coordinates that turns `ray` onto the optical axis, without roll."""
    z_axis = ray / np.linalg.norm(ray)
    x_axis = np.cross([0.0, 1.0, 0.0], z_axis)
    x_axis /= np.linalg.norm(x_axis)
    return np.stack([x_axis, np.cross(z_axis, x_axis), z_axis])


def _rotation_x(angle: float) -> FloatArray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def _rotation_y(angle: float) -> FloatArray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def _rotation_z(angle: float) -> FloatArray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
