"""The node `video_source`: a photo, folder, video or webcam as Image + CameraInfo."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from geometry_msgs.msg import Quaternion, TransformStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tf2_ros import TransformBroadcaster

from trg_ros.camera import CameraModel
from trg_ros.errors import InputError
from trg_ros.geometry import make_transform
from trg_ros.media.frames import Frame
from trg_ros.media.intrinsics import Intrinsics
from trg_ros.media.sources import Source, open_source
from trg_ros.media.virtual_camera import VirtualCamera
from trg_ros.ros.camera_info import info_from_camera_model
from trg_ros.ros.conversions import image_message
from trg_ros.ros.parameter_table import ParameterTable, parameter
from trg_ros.ros.poses import load_tf_transformations
from trg_ros.ros.runner import run

_PHOTO_RATE = 10.0
_QOS = QoSProfile(depth=2)
_fixed = partial(parameter, read_only=True)


@dataclass(frozen=True)
class VideoSourceSettings(ParameterTable):
    """The parameters of the node `video_source`."""

    source: str = _fixed(
        "",
        "A photo, a folder of photos, a video file, or a webcam's index. Photos of a folder that can't be "
        "read are named and left out.",
    )
    rate: float = _fixed(0.0, "Images per second; 0: the video's own, 10 for photos.", low=0.0, high=1000.0)
    loop: bool = _fixed(True, "Begin again at the end; a photo is repeated.")
    frame_id: str = _fixed(
        "camera_optical_frame", "Frame of the images, an optical one: x right, y down, z forward."
    )
    fov_deg: float = _fixed(
        0.0,
        "Horizontal field of view in degrees; 0: by camera_yaml or a photo's EXIF data, or else uncalibrated "
        "(K of zeros).",
        low=0.0,
        high=170.0,
    )
    camera_yaml: str = _fixed("", "Calibration file of camera_calibration; it must have the images' size.")
    motion: str = _fixed(
        "none",
        "orbit: a virtual camera turns and zooms over the first picture, whose field of view must be known.",
        choices=("none", "orbit"),
    )
    width: int = _fixed(640, "Width of the virtual camera's images in pixels.", low=16, high=8192)
    height: int = _fixed(480, "Height of the virtual camera's images in pixels.", low=16, high=8192)
    look_at_x: float = _fixed(
        0.5, "Where the virtual camera looks at rest, over the picture's width.", low=0.0, high=1.0
    )
    look_at_y: float = _fixed(
        0.5, "Where the virtual camera looks at rest, over the picture's height.", low=0.0, high=1.0
    )
    photo_frame_id: str = _fixed(
        "photo", "Frame of the picture's own camera; /tf tells how the virtual camera is turned in it."
    )


class Picture(NamedTuple):
    """What is published at once."""

    image_bgr: npt.NDArray[np.uint8]
    """(H, W, 3) uint8 BGR."""
    camera: CameraModel | None
    """None: uncalibrated."""
    R_camera_photo: npt.NDArray[np.float64] | None = None
    """(3, 3), photo coordinates to the virtual camera's; None: no virtual camera."""


class VideoSourceNode(Node):
    """Publishes `image` and `camera_info` with equal stamps at a steady rate.

    :raises TrgRosError: by the constructor, for a source or calibration that can't be used.
    """

    def __init__(self, **node_options: Any) -> None:
        self._source: Source | None = None
        super().__init__("video_source", **node_options)
        self.settings = VideoSourceSettings.declare(self)
        if not self.settings.source:
            raise InputError(
                "parameter 'source' is empty: give a photo, a folder, a video file or a webcam's index"
            )
        self.finished = False
        self._intrinsics = Intrinsics(self.settings.fov_deg or None, self.settings.camera_yaml or None)
        source = self._source = open_source(self.settings.source, self.settings.loop, self._left_out)
        self._is_live = source.kind == "webcam"
        rate = self.settings.rate or source.fps or _PHOTO_RATE
        pictures = self._moving(source, rate) if self.settings.motion == "orbit" else self._still(source)
        self._image = self.create_publisher(Image, "image", _QOS)
        self._camera_info = self.create_publisher(CameraInfo, "camera_info", _QOS)
        self._broadcaster = TransformBroadcaster(self)
        # What can't be read fails here, not later; the other pictures are fetched when they are due.
        first = next(pictures, None)
        if first is None:
            raise InputError(f"no picture of '{self.settings.source}' can be read")
        self._pictures = itertools.chain([first], pictures)
        self.create_timer(1.0 / rate, self._publish)
        self.get_logger().info(
            f"{source.kind} {source.name} at {rate:g} Hz on "
            f"{self._image.topic_name} and {self._camera_info.topic_name}"
        )

    def destroy_node(self) -> None:
        """Give the file or webcam back."""
        if self._source is not None:
            self._source.close()
        super().destroy_node()

    def _paused(self) -> bool:
        """A file waits while nobody listens; a webcam's pictures would grow old in its queue."""
        if self._is_live:
            return False
        publishers = self._image, self._camera_info, self._broadcaster.pub_tf
        return all(publisher.get_subscription_count() == 0 for publisher in publishers)

    def _publish(self) -> None:
        if self._paused():
            return
        picture = next(self._pictures, None)
        if picture is None:
            self.get_logger().info("the source has ended")
            self.finished = True
            return
        image, camera = picture.image_bgr, picture.camera
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=self.settings.frame_id)
        info = info_from_camera_model(camera, image.shape[1], image.shape[0])
        info.header = header
        self._camera_info.publish(info)
        if self._image.get_subscription_count() > 0:
            self._image.publish(image_message(header, image))
        if picture.R_camera_photo is not None:
            self._broadcaster.sendTransform(self._camera_in_photo(header, picture.R_camera_photo))

    def _camera_in_photo(self, header: Header, R_camera_photo: npt.NDArray[np.float64]) -> TransformStamped:
        """Where the virtual camera looks: in a frame that stands still, a head of the photo stands still."""
        photo_T_camera = make_transform(R_camera_photo.T, np.zeros(3))
        quaternion = load_tf_transformations("motion 'orbit'").quaternion_from_matrix(photo_T_camera)
        x, y, z, w = (float(value) for value in quaternion)
        transform = TransformStamped(child_frame_id=header.frame_id)
        transform.header = Header(stamp=header.stamp, frame_id=self.settings.photo_frame_id)
        transform.transform.rotation = Quaternion(x=x, y=y, z=z, w=w)
        return transform

    def _still(self, source: Source) -> Iterator[Picture]:
        for frame in source:
            yield Picture(frame.image_bgr, self._calibration(frame))

    def _moving(self, source: Source, rate: float) -> Iterator[Picture]:
        """The first picture for ever, or one round of 10 s, seen by a camera that turns and zooms."""
        load_tf_transformations("motion 'orbit'")  # fails with the first picture, not later
        frame = next(iter(source), None)
        if frame is None:
            return
        photo, photo_camera = frame.image_bgr, self._calibration(frame)
        if photo_camera is None:
            raise InputError("motion 'orbit' needs the picture's camera: give fov_deg or camera_yaml")
        target_px = (
            self.settings.look_at_x * (photo_camera.width - 1),
            self.settings.look_at_y * (photo_camera.height - 1),
        )
        size = self.settings.width, self.settings.height
        virtual = VirtualCamera(photo, photo_camera, size, target_px=target_px)
        index = 0
        while self.settings.loop or index < 10.0 * rate:
            view = virtual.frame(index / rate)
            yield Picture(*view)
            index += 1

    def _left_out(self, error: InputError) -> None:
        self.get_logger().warning(f"left out: {error}")

    def _calibration(self, frame: Frame) -> CameraModel | None:
        """None: nobody knows."""
        return None if self._intrinsics.origin(frame) == "assumed" else self._intrinsics.of(frame)


def main(args: list[str] | None = None) -> int:
    """Run until the source ends, SIGINT or SIGTERM: status 0; 2 for a source that can't be used."""
    return run("video_source", VideoSourceNode, finished=lambda node: node.finished, args=args)


if __name__ == "__main__":
    sys.exit(main())
