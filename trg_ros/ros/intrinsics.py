"""Which camera an image was taken with: the rules for CameraInfo in one place.

No guess in silence: without a usable calibration there is no pose, unless the user set `assume_fov_deg`.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trg_ros.camera import CameraModel
from trg_ros.errors import CameraError
from trg_ros.ros.camera_info import camera_model_from_info

if TYPE_CHECKING:
    from sensor_msgs.msg import CameraInfo
    from std_msgs.msg import Header

    from trg_ros.ros.parameters import Settings


_REMEMBERED = 10
"""A zooming camera's calibration goes with one image; the newest may be of the next."""


@dataclass(frozen=True)
class Intrinsics:
    """The camera of one image and what the user should know about it."""

    camera: CameraModel
    assumed: bool
    """No calibration: a field of view was assumed."""
    frame_id: str
    """Frame of the camera_info; empty if there is none."""
    warning: str = ""


class IntrinsicsStore:
    """Keeps the newest CameraInfo and turns it into a CameraModel once per change.

    `put` is for the executor, the rest for the worker thread.
    """

    def __init__(self, topic: str = "camera_info") -> None:
        self.topic = topic
        """Where it comes from, for messages to people."""
        self.image_topic = ""
        """Where the images come from that it is for."""
        self._lock = threading.Lock()
        self._messages: deque[CameraInfo] = deque(maxlen=_REMEMBERED)
        self._received_s = 0.0
        self._model: tuple[tuple[object, ...], CameraModel | CameraError] | None = None

    def put(self, message: CameraInfo, now_s: float) -> None:
        """Store what arrived at `now_s` (seconds of any steady clock)."""
        with self._lock:
            self._messages.append(message)
            self._received_s = now_s

    def clear(self) -> None:
        """Forget the calibration."""
        with self._lock:
            self._messages.clear()

    @property
    def received(self) -> bool:
        """Whether any camera_info has come."""
        with self._lock:
            return bool(self._messages)

    def for_image(
        self, header: Header, width: int, height: int, settings: Settings, now_s: float
    ) -> Intrinsics:
        """The camera of an image of that size (px): the calibration with its stamp, else the newest.

        :param header: the image's.
        :raises CameraError: no usable calibration and no field of view to assume; it names topic and fix.
        """
        try:
            message, camera = self._calibrated(header, width, height, settings, now_s)
        except CameraError as error:
            if settings.assume_fov_deg <= 0.0:
                raise
            camera = CameraModel.from_fov(settings.assume_fov_deg, width, height)
            return Intrinsics(
                camera, True, "", f"assuming a field of view of {settings.assume_fov_deg:g} deg: {error}"
            )
        info_frame = message.header.frame_id
        warnings = []
        if header.frame_id and info_frame and info_frame != header.frame_id:
            warnings.append(
                f"{self.topic} has frame_id '{info_frame}', the image '{header.frame_id}'; using the "
                "image's: check that they belong to the same camera"
            )
        if "image_rect" in self.image_topic and camera.is_distorted and not settings.image_rectified:
            warnings.append(
                f"images of {self.image_topic} seem to be rectified, but {self.topic} has a lens with "
                "distortion: set image_rectified to true, or remap image to the raw images"
            )
        return Intrinsics(camera, False, info_frame, "; ".join(warnings))

    def _calibrated(
        self, header: Header, width: int, height: int, settings: Settings, now_s: float
    ) -> tuple[CameraInfo, CameraModel]:
        with self._lock:
            same_time = (info for info in reversed(self._messages) if info.header.stamp == header.stamp)
            message = next(same_time, self._messages[-1] if self._messages else None)
            age_s = now_s - self._received_s
        if message is None:
            raise CameraError(
                f"no CameraInfo on {self.topic} yet: start or remap it "
                "(--ros-args -r camera_info:=/your/camera_info), or set assume_fov_deg to go on without a "
                "calibration"
            )
        if 0.0 < settings.camera_info_timeout < age_s:
            raise CameraError(
                f"the last CameraInfo on {self.topic} is {age_s:.1f} s old, camera_info_timeout is "
                f"{settings.camera_info_timeout:g} s: check the camera driver"
            )
        camera = self._converted(message, settings.image_rectified)
        if (camera.width, camera.height) != (width, height):
            raise CameraError(
                f"the image has {width} x {height} px, but {self.topic} describes {camera.width} x "
                f"{camera.height} px (after its roi and binning): publish the CameraInfo of this image "
                "(image_proc's resize node does both)"
            )
        return message, camera

    def _converted(self, message: CameraInfo, rectified: bool) -> CameraModel:
        """Converted once per content: a camera sends the same calibration with every image."""
        roi = message.roi
        key = (
            rectified,
            message.width,
            message.height,
            message.distortion_model,
            tuple(message.d),
            tuple(message.k),
            tuple(message.p),
            roi.x_offset,
            roi.y_offset,
            roi.width,
            roi.height,
            message.binning_x,
            message.binning_y,
        )
        if self._model is None or self._model[0] != key:
            try:
                self._model = key, camera_model_from_info(message, rectified)
            except CameraError as error:
                self._model = key, CameraError(f"{self.topic}: {error}")
        if isinstance(self._model[1], CameraError):
            raise self._model[1]
        return self._model[1]
