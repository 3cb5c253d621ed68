"""The smoothing of trg_ros/filtering.py for the node: when, and in which frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import tf2_ros
from rclpy.duration import Duration
from rclpy.time import Time

from trg_ros.errors import InputError
from trg_ros.filtering import PoseSmoother
from trg_ros.geometry import make_transform, matrix_from_quaternion_xyzw

if TYPE_CHECKING:
    from rclpy.node import Node
    from std_msgs.msg import Header

    from trg_ros.camera import CameraModel
    from trg_ros.ros.log import ThrottledLog
    from trg_ros.ros.parameters import Settings
    from trg_ros.tracking import TrackedHead

_WAIT_S = 0.05
"""A transform may come that much later than its image."""


class CameraMotion(Protocol):
    """Knows where the camera is in a frame that stands still."""

    def fixed_T_camera(self, header: Header) -> npt.NDArray[np.float64]:
        """(4, 4) at the time of an image. Raises InputError if nobody tells."""


class FixedFrame:
    """A frame of the robot's TF tree, `filtering_frame`."""

    def __init__(self, node: Node, frame: str) -> None:
        """Listens to /tf from now on.

        Raises InputError where tf2_ros can only send, as the stand-in for machines without a distribution.
        """
        if not hasattr(tf2_ros, "Buffer"):
            raise InputError(
                f"filtering_frame is '{frame}', but this tf2_ros can't listen to transforms: install tf2_ros "
                "of a ROS distribution, or leave filtering_frame empty (the camera's own frame)"
            )
        self._frame = frame
        tf2: Any = tf2_ros
        self._buffer = tf2.Buffer()
        self._listener = tf2.TransformListener(self._buffer, node)
        self._failure = tf2.TransformException

    def fixed_T_camera(self, header: Header) -> npt.NDArray[np.float64]:
        try:
            stamped = self._buffer.lookup_transform(
                self._frame, header.frame_id, Time.from_msg(header.stamp), Duration(seconds=_WAIT_S)
            )
        except self._failure as error:
            raise InputError(
                f"no transform from {header.frame_id} to filtering_frame {self._frame}: {error}; poses are "
                "not smoothed meanwhile"
            ) from error
        rotation, translation = stamped.transform.rotation, stamped.transform.translation
        return make_transform(
            matrix_from_quaternion_xyzw(np.array([rotation.x, rotation.y, rotation.z, rotation.w])),
            np.array([translation.x, translation.y, translation.z]),
        )

    def close(self) -> None:
        """Stop listening."""
        self._listener.unregister()


class Smoothing:
    """Smooths heads as the settings say. For the worker's thread."""

    def __init__(self, motion: CameraMotion | None, log: ThrottledLog) -> None:
        """`motion`: None filters in the camera's frame."""
        self._motion = motion
        self._log = log
        self._smoother = PoseSmoother()

    def apply(
        self,
        heads: Sequence[TrackedHead],
        camera: CameraModel,
        header: Header,
        stamp_s: float,
        settings: Settings,
    ) -> Sequence[TrackedHead]:
        """The heads as they should be published."""
        if not settings.smoothing:
            self.reset()
            return heads
        fixed_T_camera = None
        if self._motion is not None and heads:
            try:
                fixed_T_camera = self._motion.fixed_T_camera(header)
            except InputError as error:
                self._log.warn("filtering_frame", str(error))
                return heads
            self._log.settled("filtering_frame")
        return self._smoother.update(heads, camera, stamp_s, fixed_T_camera)

    def reset(self) -> None:
        """Start afresh with the next image."""
        self._smoother.reset()
