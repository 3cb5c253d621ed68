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
from math import pi, sin
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from trg_ros.camera import CameraModel
from trg_ros.checks import check_view
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

    def rotation(self, t: float) -> FloatArray:
        """(3, 3) rotation from the resting camera's optical frame to the one at time t in seconds."""
        pan = self.pan_deg * sin(2.0 * pi * t / self.pan_period_s)
        tilt = self.tilt_deg * sin(2.0 * pi * t / self.tilt_period_s)
        roll = self.roll_deg * sin(2.0 * pi * t / self.roll_period_s)
        resting_R_camera = _turn(1, pan) @ _turn(0, tilt) @ _turn(2, roll)
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
        path: CameraPath | None = None,
    ) -> None:
        """
        :param photo_bgr: (H, W, 3) uint8 BGR.
        :param photo_camera: intrinsics of the photo, without distortion. At rest the virtual camera sees 0.6
            of the photo's height.
        :param size: (width, height) of the virtual images in pixels.
        :param target_px: the photo pixel that the resting camera looks at; None: the middle of the photo.
        :raises InputError: for an image or a camera that can't be used.
        """
        check_view(photo_bgr, photo_camera)
        if photo_camera.is_distorted:
            model = photo_camera.distortion_model
            raise InputError(f"a virtual camera needs a photo without distortion, not {model}")
        self.width, self.height = size
        self.path = path if path is not None else CameraPath()
        photo_height, photo_width = photo_bgr.shape[:2]
        self._resting_focal = photo_camera.fy * self.height / (0.6 * photo_height)
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
        """The view at time t in seconds."""
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


def _look_at(ray: FloatArray) -> FloatArray:
    """(3, 3) rotation of camera coordinates that turns `ray` onto the optical axis, without roll."""
    z_axis = ray / np.linalg.norm(ray)
    x_axis = np.cross([0.0, 1.0, 0.0], z_axis)
    x_axis /= np.linalg.norm(x_axis)
    return np.stack([x_axis, np.cross(z_axis, x_axis), z_axis])


def _turn(axis: int, angle_deg: float) -> FloatArray:
    """(3, 3) right-handed rotation about the x, y or z axis (0, 1, 2)."""
    return np.asarray(cv2.Rodrigues(np.deg2rad(angle_deg) * np.eye(3)[axis])[0], np.float64)
